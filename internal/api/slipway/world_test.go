package slipway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	hostingapi "github.com/slipway-ml/slipway/internal/api/sagemaker"
	api "github.com/slipway-ml/slipway/internal/api/slipway"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	base "github.com/slipway-ml/slipway/internal/platform/store"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
	"github.com/slipway-ml/slipway/internal/service/control"
	"github.com/slipway-ml/slipway/internal/service/deployer"
	"github.com/slipway-ml/slipway/internal/service/evidence"
	"github.com/slipway-ml/slipway/internal/wire/access"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var scope = arn.Scope{Region: "us-east-1", Account: "000000000000"}

// world is both APIs over the real services and store, under virtual time.
// Instances are ready when a test settles; alarms fire when it says so.
type world struct {
	t        *testing.T
	db       *store.DB
	handlers map[string]http.Handler // by target prefix
	turns    *deployer.Deployer
	firing   []hosting.TrippedAlarm
	gap      rollout.Gap
	answered int64
	seen     []gate.Fact
	data     string // the version of the model data that is there
}

func inWorld(t *testing.T, f func(w *world)) {
	path := filepath.Join(t.TempDir(), "x.db")
	synctest.Test(t, func(t *testing.T) {
		opened, err := base.OpenSQLite(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		db := store.New(opened)
		w := &world{t: t, db: db, data: "0cc175b9c0f1b6a831c399e269772661"}
		ctl := control.New(control.Config{
			Store: db, Notify: func() {},
			ModelVersion: func(context.Context, hosting.ModelData) (string, error) { return w.data, nil },
			Allowance: control.Allowance{
				Download: 20 * time.Minute, Startup: 8 * time.Minute, Stop: 10 * time.Minute,
			},
			Seen:    w.Facts,
			Chances: func(arn.Scope, []string) []float64 { return []float64{0.01} },
			Suspect: func(context.Context, *hosting.Endpoint) ([]record.Finding, error) {
				return []record.Finding{{Severity: record.Info, Code: "Looked", Message: "Somebody looked."}}, nil
			},
		})
		log := slog.New(slog.NewTextHandler(t.Output(), nil))
		w.handlers = map[string]http.Handler{
			"SageMaker": hostingapi.NewHandler(ctl, log, nil),
			"Slipway":   api.NewHandler(api.Services{Control: ctl}, log),
		}
		w.turns = &deployer.Deployer{
			Log: slog.New(slog.DiscardHandler), Changed: func() {},
			Change:   db.Change,
			Evidence: &evidence.Source{Endpoints: db, Alarms: w, Gates: w, Routers: w, Watch: w},
		}
		f(w)
	})
}

// Firing implements evidence.Alarms.
func (w *world) Firing(
	context.Context, arn.Scope, []string, time.Time,
) ([]hosting.TrippedAlarm, rollout.Gap, error) {
	return w.firing, rollout.Gap{}, nil
}

// Facts implements evidence.Gates.
func (w *world) Facts(hosting.DeploymentID) []gate.Fact { return w.seen }

// LastGap implements evidence.Watcher.
func (w *world) LastGap() rollout.Gap { return w.gap }

// Tripped implements evidence.Routers.
func (w *world) Tripped(hosting.DeploymentID) (a hosting.TrippedAlarm, ok bool) { return a, false }

// Answered implements evidence.Routers.
func (w *world) Answered(traffic.Key, traffic.FleetRef) []traffic.Reading {
	return []traffic.Reading{{Router: "r", Requests: w.answered}}
}

// call posts a body to an operation such as Slipway.ListDeployments.
func (w *world) call(target, body string) (int, string) {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("X-Amz-Target", target)
	c := access.Caller{
		AccessKeyID: "AKID", ARN: "arn:aws:iam::000000000000:user/ada", Account: scope.Account, Region: scope.Region,
	}
	rec := httptest.NewRecorder()
	prefix, _, _ := strings.Cut(target, ".")
	w.handlers[prefix].ServeHTTP(rec, r.WithContext(access.With(r.Context(), c)))
	return rec.Code, rec.Body.String()
}

func (w *world) ok(target, body string) string {
	w.t.Helper()
	status, out := w.call(target, body)
	if status != http.StatusOK {
		w.t.Fatalf("%s %s: %d %s", target, body, status, out)
	}
	return out
}

func (w *world) refused(target, body, want string) {
	w.t.Helper()
	if status, out := w.call(target, body); status != http.StatusBadRequest || out != want {
		w.t.Errorf("%s %s: %d\ngot  %s\nwant %s", target, body, status, out, want)
	}
}

// endpoint creates endpoint e of four instances of configuration v1 and waits
// until it serves; v2 is there to be deployed.
func (w *world) endpoint() {
	w.t.Helper()
	w.ok("SageMaker.CreateModel", `{"ModelName":"m","PrimaryContainer":{"Image":"i","ModelDataUrl":"s3://b/m.tar.gz"}}`)
	for _, c := range []string{"v1", "v2"} {
		w.ok(
			"SageMaker.CreateEndpointConfig",
			`{"EndpointConfigName":"`+c+
				`","ProductionVariants":[{"VariantName":"main","ModelName":"m","InitialInstanceCount":4,`+
				`"InstanceType":"ml.m5.large"}]}`,
		)
	}
	w.ok("SageMaker.CreateEndpoint", `{"EndpointName":"e","EndpointConfigName":"v1"}`)
	w.settle()
	w.policy()
	time.Sleep(time.Hour)
}

// canary updates with the guardrails that policy has set.
const canary = `{"EndpointName":"e","EndpointConfigName":"v2","RetainDeploymentConfig":true}`

// policy makes guardrails the endpoint's: a canary of one instance for five
// minutes, watched by an alarm, unless change says otherwise.
func (w *world) policy(change ...func(*rollout.Policy)) {
	w.t.Helper()
	p := rollout.Policy{
		Strategy: rollout.Canary, CanarySize: rollout.Size{Type: rollout.InstanceCount, Value: 1},
		WaitInterval: 5 * time.Minute, TerminationWait: 2 * time.Minute, MaximumExecutionTimeout: time.Hour,
		Alarms: []string{"errors"},
	}
	for _, c := range change {
		c(&p)
	}
	err := w.db.ChangeEndpoint(w.t.Context(), scope, "e", func(_ store.Tx, e *hosting.Endpoint) error {
		e.LastConfig = &hosting.DeploymentConfig{Document: []byte(`{}`), Policy: &p}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// settle lets everything happen that can happen at this moment.
func (w *world) settle() {
	w.t.Helper()
	ctx, now := w.t.Context(), time.Now().UTC()
	for range 20 {
		e, is, err := w.db.EndpointView(ctx, scope, "e")
		if err != nil {
			w.t.Fatal(err)
		}
		moved := false
		for _, i := range is {
			switch {
			case !i.Wanted:
				moved = true
				_, err = w.db.RemoveInstance(ctx, i.ID, now)
			case i.Status != hosting.InstanceReady:
				moved = true
				_, err = w.db.ReportInstance(
					ctx, hosting.InstanceReport{ID: i.ID, Status: hosting.InstanceReady, Address: "a"}, now,
				)
			}
			if err != nil {
				w.t.Fatal(err)
			}
		}
		if e.Deployment == nil && !moved {
			return
		}
		if e.Deployment != nil {
			before := e.Deployment.State
			if _, err := w.turns.Turn(ctx, string(e.Deployment.ID)); err != nil {
				w.t.Fatal(err)
			}
			if e, _, err = w.db.EndpointView(ctx, scope, "e"); err != nil {
				w.t.Fatal(err)
			}
			moved = moved || e.Deployment == nil || !cmp.Equal(before, e.Deployment.State)
		}
		if !moved {
			return
		}
	}
	w.t.Fatal("it never came to rest")
}

// after lets time pass.
func (w *world) after(d time.Duration) {
	time.Sleep(d)
	w.settle()
}

// last returns the id of the endpoint's newest deployment.
func (w *world) last() string {
	w.t.Helper()
	var out struct {
		Deployments []struct{ DeploymentId string }
	}
	if err := json.Unmarshal([]byte(w.ok("Slipway.ListDeployments", `{"EndpointName":"e"}`)), &out); err != nil {
		w.t.Fatal(err)
	}
	return out.Deployments[0].DeploymentId
}

func (w *world) describe() string {
	w.t.Helper()
	return w.ok("Slipway.DescribeDeployment", `{"DeploymentId":"`+w.last()+`"}`)
}

var randomID = regexp.MustCompile(`d-[0-9a-f]{20}`)

// golden compares an answer, indented for people, with a file; ids are made the
// same in all runs.
func (w *world) golden(name, got string) {
	w.t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(got), "", " "); err != nil {
		w.t.Fatalf("%v\n%s", err, got)
	}
	b.WriteByte('\n')
	text := randomID.ReplaceAllString(b.String(), "d-1")
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	if d := cmp.Diff(string(want), text); d != "" {
		w.t.Errorf("%s:\n%s", name, d)
	}
}
