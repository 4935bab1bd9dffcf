package e2e

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/internal/service/notify"
)

// slipway runs the command line against the server and returns what it printed
// and its exit code.
func (s *server) slipway(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(s.t, "slipway"), args...)
	cmd.Env = s.environment()
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (s *server) wantSlipway(code int, word string, args ...string) (stdout string) {
	s.t.Helper()
	out, errs, got := s.slipway(args...)
	if got != code || !strings.Contains(out+errs, word) {
		s.t.Fatalf(
			"slipway %s: exit code %d, want %d with %q\n%s%s", strings.Join(args, " "), got, code, word, out, errs,
		)
	}
	return out
}

// update begins an update of endpoint "live".
func (c *sdk) update(config string, d *types.DeploymentConfig) {
	c.t.Helper()
	_, err := c.sagemaker.UpdateEndpoint(c.t.Context(), &sagemaker.UpdateEndpointInput{
		EndpointName: aws.String("live"), EndpointConfigName: &config, DeploymentConfig: d,
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// canaryFor is a canary of half the instances for so long.
func canaryFor(seconds int32) *types.DeploymentConfig {
	return &types.DeploymentConfig{BlueGreenUpdatePolicy: &types.BlueGreenUpdatePolicy{
		TrafficRoutingConfiguration: &types.TrafficRoutingConfig{
			Type: types.TrafficRoutingConfigTypeCanary, WaitIntervalInSeconds: &seconds,
			CanarySize: &types.CapacitySize{Type: types.CapacitySizeTypeInstanceCount, Value: aws.Int32(1)},
		},
	}}
}

func TestSlipwayWaitFailsWhereOtherWaitersCallARollbackASuccess(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("v1", 1, nil)
	c.deployable("v2", 1, nil)
	c.deployable("broken", 1, map[string]string{"TESTMODEL_EXIT": "1"})
	s.wantSlipway(
		1, `Could not find endpoint "arn:aws:sagemaker:us-east-1:123456789012:endpoint/live".`, "wait", "live",
	)
	c.createEndpoint("live", "v1")

	c.update("v2", nil)
	s.wantSlipway(0, `The update to "v2" succeeded after `, "wait", "live")
	if got := aws.ToString(c.describe("live").EndpointConfigName); got != "v2" {
		t.Errorf("after slipway wait the endpoint serves %s", got)
	}

	c.update("broken", nil)
	s.wantSlipway(3, `Still not over after 1ms: `, "wait", "live", "--timeout", "1ms", "--poll", "1h")
	if got := c.awaitInService("live"); got != "v2" { // the SDK's own waiter, content
		t.Errorf("in service is %s", got)
	}
	if out, errs, code := s.slipway("wait", "live"); code != 2 ||
		!strings.HasPrefix(out, `The update to "broken" was rolled back after `) || errs != "" {
		t.Errorf("exit code %d, printed %q and %q; the verdict is said once", code, out, errs)
	}
	var last struct{ DeploymentId, Verdict, StartedBy string }
	if err := json.Unmarshal([]byte(s.wantSlipway(2, "", "wait", "live", "--json")), &last); err != nil ||
		last.Verdict != "RolledBack" || last.StartedBy == "" {
		t.Errorf("%+v, %v", last, err)
	}
	s.wantSlipway(0, "RolledBack", "deployments", "live")
	s.wantSlipway(0, "Withdrawing", "deployment", last.DeploymentId)

	c.deleteEndpoint("live")
	s.wantSlipway(0, "Delete", "deployments", "live") // the record outlives the endpoint
	s.wantSlipway(0, "The deletion succeeded", "wait", "live")
	s.stop()
	s.wantSlipway(1, "no server answers at http://127.0.0.1:", "wait", "live")
}

func TestPeopleStepInFromTheCommandLine(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("v1", 2, nil)
	c.deployable("v2", 2, nil)
	c.createEndpoint("live", "v1")
	plan := s.wantSlipway(0, "CANARY", "plan", "update-endpoint", "--endpoint-name", "live", "--endpoint-config-name",
		"v2", "--deployment-config",
		`{"BlueGreenUpdatePolicy":{"TrafficRoutingConfiguration":{"Type":"CANARY","WaitIntervalInSeconds":60,`+
			`"CanarySize":{"Type":"INSTANCE_COUNT","Value":1}}}}`)
	for _, word := range []string{"50%", "1m0s", "4 instance(s)", "NothingWatched", "NoTraffic"} {
		if !strings.Contains(plan, word) {
			t.Errorf("no %q in the plan:\n%s", word, plan)
		}
	}
	c.guard("live", "v1")
	s.wantSlipway(0, `Alarm "v1-5xx" cannot see the new instances: it watches those of "v1", the configuration `+
		`before, not those of "v2".`,
		"plan", "update-endpoint", "--endpoint-name", "live", "--endpoint-config-name", "v2", "--deployment-config",
		`{"AutoRollbackConfiguration":{"Alarms":[{"AlarmName":"v1-5xx"}]}}`)
	s.wantSlipway(1, "has no deployment in progress", "pause", "live")

	baking := func() bool {
		p := c.describe("live").PendingDeploymentSummary
		return p != nil && len(p.ProductionVariants[0].VariantStatus) > 0 &&
			p.ProductionVariants[0].VariantStatus[0].Status == types.VariantStatusBaking
	}
	c.update("v2", canaryFor(600))
	eventually(t, 30*time.Second, "the canary bakes", baking)
	s.wantSlipway(0, "Aborted deployment d-", "abort", "live")
	s.wantSlipway(2, "was aborted by arn:aws:iam::123456789012:", "wait", "live")

	c.update("v2", canaryFor(600))
	eventually(t, 30*time.Second, "the canary bakes", baking)
	s.wantSlipway(0, "Paused deployment d-", "pause", "live")
	s.wantSlipway(1, "The deployment is paused already.", "pause", "live")
	s.wantSlipway(0, "Resumed deployment d-", "resume", "live")
	s.wantSlipway(0, "Promoted deployment d-", "promote", "live")
	s.wantSlipway(0, `The update to "v2" succeeded`, "wait", "live")
	s.wantOrders("live", "Pause", "Resume", "Promote")
}

// wantOrders checks what the record of the endpoint's last deployment says that
// people told it.
func (s *server) wantOrders(endpoint string, want ...string) {
	t := s.t
	t.Helper()
	var d struct {
		Orders []struct{ Order, By, Effect string }
	}
	var all struct {
		Deployments []struct{ DeploymentId string }
	}
	out := s.wantSlipway(0, "", "deployments", endpoint, "--json", "--limit", "1")
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all.Deployments) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	out = s.wantSlipway(0, "", "deployment", all.Deployments[0].DeploymentId, "--json")
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatal(err)
	}
	var orders []string
	for _, o := range d.Orders {
		orders = append(orders, o.Order)
		if !strings.HasPrefix(o.By, "arn:aws:iam::123456789012:") || o.Effect == "" {
			t.Errorf("%+v", o)
		}
	}
	if diff := cmp.Diff(want, orders); diff != "" {
		t.Error(diff)
	}
}

// webhook is a receiver that refuses everything until it is up.
type webhook struct {
	mu     sync.Mutex
	up     bool
	events []string // "<status>" or "<status> <what the fleet does>", those accepted
}

const webhookSecret = "e2e webhook secret"

func (w *webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	m := hmac.New(sha256.New, []byte(webhookSecret))
	m.Write([]byte(r.Header.Get("Webhook-Id") + "." + r.Header.Get("Webhook-Timestamp") + "."))
	m.Write(body)
	if err != nil || r.Header.Get("Webhook-Signature") != "v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil)) {
		http.Error(rw, "not signed", http.StatusForbidden)
		return
	}
	type variants []struct{ VariantStatus []struct{ Status string } }
	var e struct {
		Detail struct {
			EndpointStatus           string
			ProductionVariants       variants
			PendingDeploymentSummary struct{ ProductionVariants variants }
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if json.Unmarshal(body, &e) != nil || !w.up {
		http.Error(rw, "not now", http.StatusServiceUnavailable)
		return
	}
	line := e.Detail.EndpointStatus
	for _, v := range append(e.Detail.ProductionVariants, e.Detail.PendingDeploymentSummary.ProductionVariants...) {
		for _, st := range v.VariantStatus {
			line += " " + st.Status
		}
	}
	if n := len(w.events); n == 0 || w.events[n-1] != line { // at least once
		w.events = append(w.events, line)
	}
}

func (w *webhook) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.events...)
}

func TestAWebhookIsToldOfEverythingThoughItAndTheServerWereDown(t *testing.T) {
	w := &webhook{}
	hook := httptest.NewServer(w)
	defer hook.Close()
	s := startServer(t, func(c *config.Config) {
		c.Webhooks = []config.Webhook{{Name: "test", URL: config.Secret(hook.URL), Secret: webhookSecret}}
	})
	c := s.sdk()
	c.deployable("v1", 2, nil)
	c.deployable("v2", 2, nil)
	c.createEndpoint("live", "v1")
	c.update("v2", canaryFor(1))
	s.wantSlipway(0, "succeeded", "wait", "live")
	s.kill()
	w.mu.Lock()
	w.up = true
	w.mu.Unlock()
	s.restart()
	want := []string{
		"CREATING", "CREATING Creating", "CREATING ActivatingTraffic", "IN_SERVICE",
		"UPDATING", "UPDATING Creating", "UPDATING ActivatingTraffic", "UPDATING Baking", "UPDATING ActivatingTraffic",
		"UPDATING Deleting", "IN_SERVICE",
	}
	eventually(t, 30*time.Second, "everything was told", func() bool { return len(w.all()) >= len(want) })
	if d := cmp.Diff(want, w.all()); d != "" {
		t.Error(d)
	}
}

// The code that the documentation gives to receivers.
func TestTheDocumentedReceiverVerifiesASignature(t *testing.T) {
	page, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, found := strings.Cut(string(page), "cat > receiver.py <<'END'\n")
	code, _, closed := strings.Cut(code, "class Receiver") // what is before it does not serve yet
	if !found || !closed {
		t.Fatal("docs/webhooks.md has no receiver")
	}
	for _, secret := range []string{webhookSecret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"} {
		key, err := notify.SigningKey(secret)
		if err != nil {
			t.Fatal(err)
		}
		now, old := strconv.FormatInt(time.Now().Unix(), 10), strconv.FormatInt(time.Now().Unix()-3600, 10)
		body := `{"detail":"é"}`
		for _, c := range []struct{ stamp, signed, want string }{
			{now, notify.Signature(key, "id", now, []byte(body)), "True"},
			{now, notify.Signature(key, "id", old, []byte(body)), "False"},
			{old, notify.Signature(key, "id", old, []byte(body)), "False"},
		} {
			call := fmt.Sprintf(
				"\nprint(verify(%q, {'Webhook-Id': 'id', 'Webhook-Timestamp': %q, 'Webhook-Signature': %q}, "+
					"'%s'.encode()))\n",
				secret, c.stamp, c.signed, body,
			)
			out, err := exec.Command("python3", "-c", code+call).CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != c.want {
				t.Errorf("%v: %s, want %s", err, got, c.want)
			}
		}
	}
}
