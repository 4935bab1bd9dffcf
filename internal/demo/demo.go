// Package demo is `slipway demo`: it does Slipway's main job on real input, with
// unmodified AWS clients against a server of its own, and tells a person what
// happens. It believes nothing it has not checked. Measuring how fast Slipway
// can be is not its job.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/slipway-ml/slipway/models"
)

// Options are what a person may ask of a demo.
type Options struct {
	Out   io.Writer
	Plain bool // plain lines, even on a terminal
	Keep  bool // keep the temporary directory
	// Program is the slipway program to serve with; "" is the running one.
	Program string
}

const (
	endpoint  = "digits"
	variant   = "main"
	bucket    = "models"
	instances = 4
	rate      = 200  // requests per second
	broken    = "v3" // fails on a third of what it is sent
	wrong     = "v4" // answers all of it, and an eight never rightly
	// unmirrored is v4 in a configuration that asks for no copies of requests.
	unmirrored = wrong + "-unmirrored"
	// How long one instance of a new version is watched before the others get
	// traffic, and these before the old version is stopped, in seconds.
	canaryBake, finalBake = 4, 2
	// tolerated is the percentage of errors that an alarm lets pass.
	tolerated = 5
	// promised is how long the broken version may get requests after its first
	// bad answer.
	promised = 2 * time.Second
	// pause is how long the load goes on before, between and after the updates.
	pause = 3 * time.Second
	// limit bounds the whole demo, should something hang.
	limit = 3 * time.Minute
)

// versions of the model, in the order in which they are deployed.
func versions() []string { return []string{"v1", "v2", broken, wrong} }

// Run shows the demo and returns an error unless every check held.
func Run(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dir, err := os.MkdirTemp("", "slipway-demo-")
	if err != nil {
		return err
	}
	s := newScreen(o.Out, o.Plain)
	defer s.close()
	s.title(
		"Slipway demo: a model goes live; a better one replaces it by canary; one that fails, and one that is only\n" +
			"  wrong, take themselves back; and then the same on a fleet of devices",
	)

	began := time.Now()
	failed, err := perform(ctx, s, o, dir)
	switch {
	case o.Keep:
		s.note("everything is kept in " + dir)
	case err != nil:
		s.note("the server's log is " + filepath.Join(dir, "server.log"))
	default:
		err = os.RemoveAll(dir)
	}
	if err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d checks failed", failed)
	}
	s.note(fmt.Sprintf("all checks held, in %.0f s", time.Since(began).Seconds()))
	return nil
}

// perform returns how many checks failed. Its error means that the demo could
// not go on.
func perform(ctx context.Context, s *screen, o Options, dir string) (failed int, err error) {
	began := time.Now()
	srv, err := startServer(ctx, o.Program, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, srv.stop()) }()
	s.done("server", "ready at "+srv.url, time.Since(began))

	c, err := newClients(ctx, srv)
	if err != nil {
		return 0, err
	}
	d := &show{screen: s, clients: c, server: srv, dir: dir}
	for _, step := range []func(context.Context) error{
		d.upload, d.create, d.deployUnderLoad, d.account, d.records, d.remove, d.edge,
	} {
		if err := step(ctx); err != nil {
			return d.failed, err
		}
	}
	return d.failed, nil
}

// show is a demo under way.
type show struct {
	*screen
	*clients
	server   *server
	dir      string // temporary
	traffic  *traffic
	observed []observed // of the update under way, or of the last
	failed   int
}

// observed is a stage that DescribeEndpoint answered with, and who had answered
// requests by then.
type observed struct {
	stage
	by shares
}

// check prints what was expected of the facts, and counts what did not hold.
func (d *show) check(held bool, format string, args ...any) {
	if !held {
		d.failed++
	}
	d.screen.check(held, fmt.Sprintf(format, args...))
}

func (d *show) upload(ctx context.Context) error {
	began := time.Now()
	if err := d.makeBucket(ctx, bucket); err != nil {
		return err
	}
	size := 0
	for _, v := range versions() {
		archive := models.Archive(v)
		size += len(archive)
		if err := d.put(ctx, bucket, v+"/model.tar.gz", archive); err != nil {
			return err
		}
		if err := d.createModel(ctx, v); err != nil {
			return err
		}
		if err := d.createConfig(ctx, v, v, gatesOf(v)); err != nil {
			return err
		}
	}
	if err := d.createConfig(ctx, unmirrored, wrong, gatesOf(unmirrored)); err != nil {
		return err
	}
	d.done(
		"upload",
		fmt.Sprintf("four ONNX models that read handwritten digits (%.0f KiB) to s3://%s", float64(size)/1024, bucket),
		time.Since(began),
	)
	return nil
}

func (d *show) create(ctx context.Context) error {
	began := time.Now()
	if err := d.createEndpoint(ctx, "v1"); err != nil {
		return err
	}
	d.done("deploy", fmt.Sprintf("v1 in service on %d instances", instances), time.Since(began))

	images, labels := models.TestSet()
	a, err := d.classify(ctx, images[0])
	if err != nil {
		return err
	}
	d.picture(
		images[0], fmt.Sprintf("sent to the endpoint: %s reads it as %d; it is %d", a.version, a.digit, labels[0]),
	)
	return nil
}

// deployUnderLoad is the heart of it: steady traffic, and updates meanwhile.
func (d *show) deployUnderLoad(ctx context.Context) error {
	images, labels := models.TestSet()
	d.note(fmt.Sprintf(
		"now %d requests a second, whatever the answers do: the test set of %d images, again and again", rate,
		len(images),
	))
	d.traffic = newTraffic(d.clients, images, labels)
	d.traffic.start(ctx)
	err := d.updates(ctx)
	return errors.Join(err, d.traffic.finish())
}

func (d *show) updates(ctx context.Context) error {
	if err := d.watch(ctx, pause); err != nil {
		return err
	}
	if err := d.improve(ctx); err != nil {
		return err
	}
	if err := d.watch(ctx, pause); err != nil {
		return err
	}
	if err := d.breakIt(ctx); err != nil {
		return err
	}
	if err := d.watch(ctx, pause); err != nil {
		return err
	}
	if err := d.mislead(ctx); err != nil {
		return err
	}
	if err := d.watch(ctx, pause); err != nil {
		return err
	}
	if err := d.drift(ctx); err != nil {
		return err
	}
	return d.watch(ctx, pause)
}

// improve replaces v1 by v2.
func (d *show) improve(ctx context.Context) error {
	d.head(fmt.Sprintf(
		"v2 by canary: 1 of %d instances for %d s, then all; an alarm on more than %d %% errors in a second would "+
			"undo it",
		instances, canaryBake, tolerated,
	))
	began := time.Now()
	out, err := d.replace(ctx, "v2", canary{1, canaryBake}, v2Began)
	if err != nil {
		return err
	}
	d.done("update", "v2 in service, v1 stopped, under load", time.Since(began))
	serves := aws.ToString(out.EndpointConfigName)
	d.check(out.EndpointStatus == types.EndpointStatusInService && serves == configOf("v2") && out.FailureReason == nil,
		"the endpoint is %s on %s%s", out.EndpointStatus, serves, because(out.FailureReason))
	share, of := d.canaryShare("v2")
	const quarter, off = 1. / instances, 0.15 // what is seen of a stage comes a little late
	d.check(
		of > 0 && share > quarter-off && share < quarter+off,
		"the canary took its share: %.1f %% of %d requests, where 1 of %d instances is %.0f %%", 100*share, of,
		instances, 100*quarter,
	)
	return nil
}

// breakIt tries to replace v2 by v3, as v2 replaced v1.
func (d *show) breakIt(ctx context.Context) error {
	d.head("v3 the same way: it starts and passes its health check, but fails on about a third of what people send")
	began := time.Now()
	out, err := d.replace(ctx, broken, canary{1, canaryBake}, v3Began)
	if err != nil {
		return err
	}
	d.done("rollback", "v2 serves everything, v3 stopped, under load", time.Since(began))
	d.verdict(ctx)
	d.note("FailureReason: " + aws.ToString(out.FailureReason))
	serves := aws.ToString(out.EndpointConfigName)
	d.check(
		out.EndpointStatus == types.EndpointStatusInService && serves == configOf("v2"), "the endpoint is %s on %s",
		out.EndpointStatus, serves,
	)
	d.check(
		strings.Contains(aws.ToString(out.FailureReason), alarmOf(broken)), "it says which alarm undid the update: %s",
		alarmOf(broken),
	)
	return nil
}

// verdict tells when v3 began to fail, when its alarm saw it, and when its last
// request was sent.
func (d *show) verdict(ctx context.Context) {
	at, reason, err := d.tripped(ctx, broken)
	if err != nil || at.IsZero() {
		d.check(false, "the alarm %s went off: %v", alarmOf(broken), err)
		return
	}
	e := d.traffic.exposed()
	if e.firstBad.IsZero() {
		return // a check will tell
	}
	since := func(t time.Time) time.Duration { return t.Sub(d.traffic.began) }
	d.event(since(e.firstBad), broken, "gave its first bad answer")
	d.event(since(at), broken, "has its alarm in ALARM: "+reason)
	d.event(since(e.lastSent), broken, "was sent its last request")
}

func because(reason *string) string {
	if reason == nil {
		return ""
	}
	return ": " + *reason
}

// replace updates the endpoint to a version and shows what happens until the
// update is over. The mark of its begin is given, that of its end follows it.
func (d *show) replace(
	ctx context.Context, version string, first canary, began int,
) (out *sagemaker.DescribeEndpointOutput, err error) {
	if err := d.putAlarm(ctx, version); err != nil {
		return nil, err
	}
	d.observed = nil
	d.traffic.mark(began)
	if err := d.update(ctx, version, first); err != nil {
		return nil, err
	}
	stages, over := make(chan stage), make(chan struct{})
	go func() {
		defer close(over)
		out, err = d.follow(ctx, func(s stage) {
			select {
			case stages <- s:
			case <-ctx.Done():
			}
		})
	}()
	d.watchUntil(over, stages, version == broken)
	d.traffic.mark(began + 1)
	return out, err
}

// canaryShare is the part of the traffic that a version took while its canary
// was watched.
func (d *show) canaryShare(version string) (share float64, of int) {
	i := slices.IndexFunc(d.observed, func(t observed) bool { return t.status == "Baking" })
	if i < 0 || i+1 >= len(d.observed) {
		return 0, 0
	}
	by := d.observed[i+1].by.since(d.observed[i].by)
	return float64(by[slices.Index(versions(), version)]) / max(1, float64(by.total())), by.total()
}

// watch shows the traffic for a while.
func (d *show) watch(ctx context.Context, long time.Duration) error {
	while, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	d.watchUntil(while.Done(), nil, false)
	return ctx.Err()
}

// watchUntil shows the traffic, and the stages of an update, until over is
// closed.
func (d *show) watchUntil(over <-chan struct{}, stages <-chan stage, fast bool) {
	tick := time.NewTicker(d.interval(fast))
	defer tick.Stop()
	doing := ""
	for {
		select {
		case <-over:
			return
		case s := <-stages:
			d.observed = append(d.observed, observed{s, d.traffic.shares()})
			doing = d.stage(time.Since(d.traffic.began), s)
		case <-tick.C:
			g := d.traffic.glance(d.window())
			g.stage = doing
			d.live(g)
		}
	}
}
