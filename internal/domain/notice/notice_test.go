package notice_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/notice"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares JSON, indented for people, with a file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("%s:\n%s", name, d)
	}
}

var (
	t0    = time.Date(2021, 10, 25, 1, 52, 12, 181e6, time.UTC)
	scope = arn.Scope{Region: "us-west-2", Account: "123456789012"}
	tags  = []hosting.Tag{{Key: "team", Value: "ships"}}
)

func fleet(id hosting.FleetID, config string, n int) hosting.Launch {
	return hosting.Launch{
		Deployment: hosting.DeploymentID("d-" + config), Fleet: id, Now: t0,
		Config: hosting.EndpointConfig{
			Scope: scope, Name: config,
			Variants: []hosting.Variant{{Name: "AllTraffic", ModelName: "m", InstanceCount: n, Weight: 1}},
		},
		Models: map[string]hosting.Model{"m": {Containers: []hosting.Container{{Name: "primary", Image: "i"}}}},
	}
}

// advance brings up what is wanted and takes turns until the deployment is in
// phase, or over.
func advance(t *testing.T, e *hosting.Endpoint, phase rollout.Phase) []hosting.Instance {
	t.Helper()
	var is []hosting.Instance
	for range 50 {
		missing, _ := e.Reconcile(is)
		for _, m := range missing {
			is = append(is, hosting.Instance{
				ID: hosting.InstanceID(m.Fleet), Endpoint: e.ID, Fleet: m.Fleet, Variant: m.Spec.Variant.Name,
				Ordinal: m.Ordinal,
				Wanted:  true, Status: hosting.InstanceReady, Created: t0,
			})
		}
		if e.Deployment == nil || e.Deployment.State.Phase == phase {
			return is
		}
		next, _ := rollout.Next(e.Deployment.Plan, e.Deployment.State, e.Facts(is, nil, t0))
		e.Apply(next, t0)
		if e.Ended() {
			e.Deployment = nil
		}
	}
	t.Fatal("it never came there")
	return nil
}

func serving(t *testing.T) *hosting.Endpoint {
	t.Helper()
	e, err := hosting.Create("e-1", "sample-endpoint", fleet("f-1", "sample-endpoint-config-1", 3), nil)
	if err != nil {
		t.Fatal(err)
	}
	advance(t, e, "")
	return e
}

func tell(t *testing.T, k notice.Kind, e *hosting.Endpoint, is []hosting.Instance) []byte {
	t.Helper()
	b, err := notice.Compose(k,
		notice.Subject{ID: "0bd4a141-0a02-9d8a-f977-3924c3fb259c", At: t0, View: e.View(is), Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAStateChangeIsWhatEventBridgeWouldSend(t *testing.T) {
	e := serving(t)
	golden(t, "in-service.json", tell(t, notice.StateChange, e, advance(t, e, "")))

	e.FailureReason = "Endpoint deployment was rolled back because the following CloudWatch alarm(s) are in ALARM " +
		"state: [errors]."
	golden(t, "rolled-back.json", tell(t, notice.StateChange, e, advance(t, e, "")))
}

func TestANewEndpointIsToldOfWithTheVariantsThatComeUp(t *testing.T) {
	e, err := hosting.Create("e-1", "sample-endpoint", fleet("f-1", "sample-endpoint-config-1", 3), nil)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "creating.json", tell(t, notice.StateChange, e, nil))
}

func TestADeploymentChangeIsWhatEventBridgeWouldSend(t *testing.T) {
	e := serving(t)
	err := e.Update(hosting.Update{
		Launch: fleet("f-2", "sample-endpoint-config-2", 3),
		DeploymentConfig: &hosting.DeploymentConfig{Policy: &rollout.Policy{
			Strategy: rollout.Canary, CanarySize: rollout.Size{Type: rollout.InstanceCount, Value: 1},
			WaitInterval: 10 * time.Minute,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "baking.json", tell(t, notice.DeploymentChange, e, advance(t, e, rollout.Baking)))
}

func TestAChangeOfCapacityHasNoPendingDeployment(t *testing.T) {
	e := serving(t)
	if err := e.Scale("d-2", []hosting.Desire{{Variant: "AllTraffic", Count: new(6)}}, t0); err != nil {
		t.Fatal(err)
	}
	is := advance(t, e, rollout.Launching)
	golden(t, "scaling.json", tell(t, notice.DeploymentChange, e, is[:3]))
	if !notice.Doing(e.View(is)) {
		t.Error("nothing is being done")
	}
	advance(t, e, "")
	if notice.Doing(e.View(is)) {
		t.Error("something is still being done")
	}
}

func TestStatusesAreSpeltInUpperCase(t *testing.T) {
	e := serving(t)
	for s, want := range map[hosting.Status]string{
		hosting.Creating: "CREATING", hosting.InService: "IN_SERVICE", hosting.Updating: "UPDATING",
		hosting.RollingBack:    "ROLLING_BACK",
		hosting.SystemUpdating: "SYSTEM_UPDATING", hosting.OutOfService: "OUT_OF_SERVICE", hosting.Deleting: "DELETING",
		hosting.Failed:               "FAILED",
		hosting.UpdateRollbackFailed: "UPDATE_ROLLBACK_FAILED",
	} {
		e.Status = s
		if !bytes.Contains(tell(t, notice.StateChange, e, nil), []byte(`"EndpointStatus":"`+want+`"`)) {
			t.Errorf("%s is not told of as %s", s, want)
		}
	}
}
