package e2e

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"

	"github.com/slipway-ml/slipway/internal/openload"
)

// gated makes a configuration of a model, with gates by what they look at.
func (c *sdk) gated(name, model string, instances int32, gates map[string]string) {
	c.t.Helper()
	var tags []types.Tag
	for kind, words := range gates {
		tags = append(tags, types.Tag{Key: aws.String("slipway:gate:" + kind), Value: &words})
	}
	_, err := c.sagemaker.CreateEndpointConfig(c.t.Context(), &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: &name, Tags: tags,
		ProductionVariants: []types.ProductionVariant{variant("main", model, instances)},
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// updateOf begins an update of any endpoint by a canary of one instance.
func (c *sdk) updateOf(endpoint, config string, seconds int32) {
	c.t.Helper()
	d := canaryFor(seconds)
	d.BlueGreenUpdatePolicy.TerminationWaitInSeconds = aws.Int32(0)
	_, err := c.sagemaker.UpdateEndpoint(c.t.Context(), &sagemaker.UpdateEndpointInput{
		EndpointName: &endpoint, EndpointConfigName: &config, DeploymentConfig: d,
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// ended is how the last update of an endpoint came out: what serves, and why.
func (c *sdk) ended(endpoint string) (serves, reason string) {
	c.t.Helper()
	serves = c.awaitInService(endpoint)
	return serves, aws.ToString(c.describe(endpoint).FailureReason)
}

// lastRecord is what `slipway deployment` prints of an endpoint's last update.
func (s *server) lastRecord(endpoint string) string {
	s.t.Helper()
	out := s.wantSlipway(0, "d-", "deployments", endpoint)
	id, _, _ := strings.Cut(out[strings.Index(out, "d-"):], " ")
	return s.wantSlipway(0, endpoint, "deployment", id)
}

// asks is open-loop traffic of one kind to an endpoint, none of which may fail.
func (c *sdk) asks(endpoint string, rate float64, in sagemakerruntime.InvokeEndpointInput) (finish func() int) {
	halt, done := make(chan struct{}), make(chan struct{})
	in.EndpointName = &endpoint
	var report *openload.Report
	cfg := openload.Config{Rate: rate, Duration: 24 * time.Hour, MaxInFlight: 64, Grace: time.Minute, Stop: halt}
	go func() { // ends when halt is closed, which finish waits for
		defer close(done)
		report, _ = openload.Run(c.t.Context(), cfg, func(ctx context.Context, seq int) error {
			one := in
			one.Body = append(fmt.Appendf(nil, "%9d", seq), in.Body...) // each is another request
			_, err := c.once.InvokeEndpoint(ctx, &one)
			return err
		})
	}()
	return sync.OnceValue(func() int {
		close(halt)
		<-done
		if n := report.Count(openload.OK); n != report.Requests {
			c.t.Errorf("%s: %d of %d requests were answered: %v", endpoint, n, report.Requests, report)
		}
		return report.Requests
	})
}

const alike = " mirror=1 sideeffects=none tolerance=0.1 patience=10s"

// Gates are set on an endpoint that does not answer what they expect. Nothing is
// compared then, nobody is rolled back for it, and the record says so and why.
func TestAGateThatFindsNothingToCompareSaysSo(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("good", 2, nil)
	c.deployable("next", 2, nil)
	json := sagemakerruntime.InvokeEndpointInput{ContentType: aws.String("text/plain")}
	text := json
	text.CustomAttributes = aws.String("chunks=2") // "chunk 0\nchunk 1\n", of no known type
	long := json
	long.CustomAttributes = aws.String("bytes=2000000")
	for name, of := range map[string]struct {
		in    sagemakerruntime.InvokeEndpointInput
		words string
		said  string
	}{
		"elsewhere": {json, "output=json:predictions.0.label", "neither has json:predictions.0.label."},
		"unread":    {text, "", "they are texts, or could not be read"},
		"long":      {long, "", "one is longer than 1 MiB"},
	} {
		c.gated(name, "next", 2, map[string]string{
			"disagreement": strings.TrimSpace("action=rollback first=3s " + of.words + alike),
		})
		c.createEndpoint(name, "good")
		finish := c.asks(name, 20, of.in)
		c.updateOf(name, name, 2)
		if serves, reason := c.ended(name); serves != name {
			t.Errorf("%s: %s serves: %s", name, serves, reason)
		}
		finish()
		if text := s.lastRecord(name); !strings.Contains(text, "nothing was compared: "+of.said) ||
			!strings.Contains(text, "Nothing was compared, so nothing could be seen.") {
			t.Errorf("%s: the record does not say why nothing was compared:\n%s", name, text)
		}
	}
	s.stop()
}

// Bodies as large as they may be, to a variant that is shadowed and whose new fleet is
// mirrored: every one is answered in full.
func TestTheLargestBodiesAreMirroredAndShadowed(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("good", 2, nil)
	c.deployable("next", 2, nil)
	_, err := c.sagemaker.CreateEndpointConfig(t.Context(), &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName:       aws.String("shadowed"),
		ProductionVariants:       []types.ProductionVariant{variant("main", "good", 2)},
		ShadowProductionVariants: []types.ProductionVariant{variant("beside", "next", 1)},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.gated("mirrored", "next", 2, map[string]string{"disagreement": "action=report first=5s" + alike})
	c.createEndpoint("live", "shadowed")
	c.updateOf("live", "mirrored", 2)
	body := bytes.Repeat([]byte("x"), 6<<20)
	var wg sync.WaitGroup
	var answered atomic.Int64
	for caller := range 3 {
		wg.Go(func() {
			for i := 0; c.t.Context().Err() == nil && s.exposed("slipway_mirror_copies_total") < 10; i++ {
				own := bytes.Clone(body)
				copy(own, fmt.Sprintf("%d %d", caller, i))
				out, err := c.once.InvokeEndpoint(t.Context(), &sagemakerruntime.InvokeEndpointInput{
					EndpointName: aws.String("live"), CustomAttributes: aws.String("echo=1"), Body: own,
				})
				if err != nil || !bytes.Equal(out.Body, own) {
					t.Errorf("a large body was not answered: %v", err)
					return
				}
				answered.Add(1)
			}
		})
	}
	wg.Wait()
	c.awaitInService("live")
	eventually(t, 30*time.Second, "no copy is in flight", func() bool {
		return s.exposed("slipway_copies_in_flight") == 0
	})
	if held := s.exposed("slipway_hook_bytes"); held != 0 {
		t.Errorf("%v bytes of bodies are held after the last copy", held)
	}
	t.Logf("%d answered; %v copies to the shadow, %v to the new fleet", answered.Load(),
		s.exposed("slipway_shadow_copies_total"), s.exposed("slipway_mirror_copies_total"))
	s.stop()
}

// Two endpoints are updated at the same time: each is judged by its own requests.
func TestTwoUpdatesAtTheSameTimeAreJudgedEachByItself(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("good", 2, nil)
	c.deployable("next", 2, nil)
	c.deployable("bad", 2, broken(60))
	judged := map[string]string{"errors": "action=rollback patience=10s"}
	c.gated("next-judged", "next", 2, judged)
	c.gated("bad-judged", "bad", 2, judged)
	c.createEndpoint("a", "good")
	c.createEndpoint("b", "good")
	finish := c.asks("a", 40, sagemakerruntime.InvokeEndpointInput{})
	stop := c.invokesAnyhow("b", 40)
	c.updateOf("a", "next-judged", 10)
	c.updateOf("b", "bad-judged", 120)
	serves, reason := c.ended("b")
	if serves != "good" || !strings.Contains(reason, `gate "errors" fired: bad-judged fails `) {
		t.Errorf("of b %s serves: %s", serves, reason)
	}
	if serves, reason := c.ended("a"); serves != "next-judged" {
		t.Errorf("of a %s serves: %s", serves, reason)
	}
	finish()
	stop()
	s.stop()
}

// invokesAnyhow sends requests that may fail, until it is stopped.
func (c *sdk) invokesAnyhow(endpoint string, rate float64) (stop func()) {
	halt, done := make(chan struct{}), make(chan struct{})
	cfg := openload.Config{Rate: rate, Duration: 24 * time.Hour, MaxInFlight: 64, Grace: time.Minute, Stop: halt}
	go func() { // ends when halt is closed, which stop waits for
		defer close(done)
		_, _ = openload.Run(c.t.Context(), cfg, func(ctx context.Context, _ int) error {
			_, err := c.once.InvokeEndpoint(ctx, &sagemakerruntime.InvokeEndpointInput{
				EndpointName: &endpoint, Body: []byte("x"),
			})
			return err
		})
	}()
	return func() { close(halt); <-done }
}

// What both fleets depend on fails a third of the requests of either. A new fleet that
// fails no more passes; one that fails nearly all is found.
func TestABadFleetIsFoundBehindABadUpstreamAndAGoodOneIsNotBlamed(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("good", 2, broken(33))
	c.deployable("next", 2, broken(33))
	c.deployable("bad", 2, broken(95))
	judged := map[string]string{"errors": "action=rollback patience=10s"}
	c.gated("next-judged", "next", 2, judged)
	c.gated("bad-judged", "bad", 2, judged)
	c.createEndpoint("live", "good")
	stop := c.invokesAnyhow("live", 60)
	c.updateOf("live", "next-judged", 12)
	if serves, reason := c.ended("live"); serves != "next-judged" {
		t.Errorf("%s serves: %s", serves, reason)
	}
	c.updateOf("live", "bad-judged", 240)
	serves, reason := c.ended("live")
	if serves != "next-judged" || !strings.Contains(reason, `gate "errors" fired: bad-judged fails `) {
		t.Errorf("%s serves: %s", serves, reason)
	}
	t.Log(reason)
	stop()
	s.stop()
}

// The instances of a new fleet are killed while it gets copies alone: no request notices,
// and copies go on once they are back.
func TestNobodyNoticesThatAMirroredFleetIsKilled(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("good", 2, nil)
	c.deployable("next", 2, nil)
	c.gated("mirrored", "next", 2, map[string]string{
		"disagreement": "action=report first=2m failures=0.5 output=json:bytes" + alike,
	})
	c.createEndpoint("live", "good")
	old := map[int]bool{}
	for _, i := range s.instances() {
		old[i.pid] = true
	}
	finish := c.asks("live", 40, sagemakerruntime.InvokeEndpointInput{})
	c.updateOf("live", "mirrored", 2)
	compared := func() float64 { return s.exposed("slipway_mirror_pairs_total", `result="compared"`) }
	eventually(t, time.Minute, "pairs", func() bool { return compared() > 20 })
	for _, i := range s.instances() {
		if !old[i.pid] {
			_ = syscall.Kill(i.pid, syscall.SIGKILL) // it may have ended
		}
	}
	eventually(t, 30*time.Second, "copies that no instance takes are left out", func() bool {
		return s.exposed("slipway_mirror_dropped_total", `cause="instance"`)+
			s.exposed("slipway_mirror_pairs_total", `result="new failed"`) > 0 || compared() > 40
	})
	before := compared()
	eventually(t, time.Minute, "copies are compared again", func() bool { return compared() > before+20 })
	s.wantSlipway(0, "", "abort", "live")
	if serves, _ := c.ended("live"); serves != "good" {
		t.Errorf("%s serves", serves)
	}
	if n := finish(); n == 0 {
		t.Error("no request was sent")
	}
	s.stop()
}
