package fleet_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// compares is a policy that has devices compare models, and starts the next stage.
func compares() edge.Policy {
	return edge.Policy{
		AutoNext: true, Mirror: &edge.Mirror{MaxDisagreement: 1, Time: 10 * time.Minute, MinPairs: 100},
	}
}

// ask polls as an agent that can compare models.
func (w *world) ask(device string) []edge.Deployment {
	w.t.Helper()
	ds, _, err := w.Deployments(w.t.Context(), scope, edge.Caller{Mirrors: true}, "f", device)
	ok(w.t, err)
	return ds
}

// compared reports how a device fared that compared models.
func (w *world) compared(device, order, status string, c edge.Comparison) {
	w.t.Helper()
	w.beat(edge.Heartbeat{Device: device, AgentVersion: "1", Result: &edge.Result{
		Deployment: order, Status: status, Models: []edge.ModelResult{
			{Handle: "m", Desired: edge.Deploy, State: edge.Deploy, Status: status, Comparison: &c},
		},
	}})
}

func TestTheNextStageFollowsDevicesThatComparedTheModels(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 4)
		w.plan("p", named("canary", "d000", "d001"), percent("rest", 100))
		w.policy("p", compares())
		w.start("p", "canary")
		w.policy("p", edge.Policy{AutoNext: true}) // what has started keeps to what it started with
		orders := w.ask("d000")
		if len(orders) != 1 || orders[0].Mirror == nil || orders[0].Mirror.MinPairs != 100 {
			t.Fatalf("the order is %+v", orders)
		}
		order := orders[0].Name
		w.ask("d001")
		running := edge.Comparison{
			Finding: edge.Comparing, Old: "1.0", Ran: 2 * time.Minute, Pairs: edge.Pairs{Compared: 40, Differing: 1},
		}
		w.beat(edge.Heartbeat{Device: "d000", AgentVersion: "1", Comparisons: []edge.DeviceComparison{
			{Deployment: order, Handle: "m", Comparison: running},
		}})
		if d := w.rows("p", "canary")["d000"]; d.Status != edge.DeviceInProgress ||
			d.Message != "m runs beside 1.0 for 2m0s of 10m0s: 1 of 40 requests differ; 1 % is allowed" {
			t.Errorf("while it compares: %s %q", d.Status, d.Message)
		}
		if m := w.stage("p", "canary").Trouble; m != "" {
			t.Errorf("a comparison that goes on is no trouble: %q", m)
		}
		agrees := edge.Comparison{
			Finding: edge.Agrees, Old: "1.0", Ran: 10 * time.Minute, Pairs: edge.Pairs{Compared: 300, Differing: 2},
		}
		for range 2 { // what is said twice counts once
			w.compared("d000", order, "SUCCESS", agrees)
		}
		w.settle()
		w.want("p", "rest", edge.StageReady, edge.Counts{})
		w.compared("d001", order, "SUCCESS", edge.Comparison{Finding: edge.NothingBefore})
		w.settle()
		w.want("p", "canary", edge.StageDeployed, edge.Counts{Deployed: 2})
		want := edge.Mirrored{Agreed: 1, Fresh: 1, Compared: 300, Differing: 2}
		if got := w.stage("p", "canary").Mirrored; got != want {
			t.Errorf("the stage knows %+v", got)
		}
		w.want("p", "rest", edge.StageInProgress, edge.Counts{Ready: 2})
		if o := w.poll("d002"); len(o) != 1 || o[0].Mirror != nil {
			t.Errorf("the next stage has the policy as it is now: %+v", o)
		}
	})
}

func TestAStageWhoseDevicesDisagreeOrComparedNothingGoesNoFurther(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 4)
		for plan, c := range map[string]edge.Comparison{
			"disagrees": {Finding: edge.Disagrees, Pairs: edge.Pairs{Compared: 50, Differing: 30}},
			"unproven":  {Finding: edge.NotProven, Ran: 10 * time.Minute, Pairs: edge.Pairs{Compared: 7}},
			"pretends":  {Finding: edge.Agrees, Ran: 10 * time.Minute, Pairs: edge.Pairs{Compared: 7}},
			"silent":    {},
		} {
			w.planOf(plan, []edge.ModelConfig{{Handle: plan, Job: plan}}, named("canary", "d000"), percent("rest", 100))
			w.policy(plan, compares())
			w.start(plan, "canary")
			order := w.ask("d000")[0].Name
			status, want, counts := "FAIL", edge.StageFailed, edge.Counts{Failed: 1}
			if plan == "pretends" || plan == "silent" {
				status, want, counts = "SUCCESS", edge.StageDeployed, edge.Counts{Deployed: 1}
			}
			w.compared("d000", order, status, c)
			w.settle()
			w.want(plan, "canary", want, counts)
			w.want(plan, "rest", edge.StageReady, edge.Counts{})
			st := w.stage(plan, "canary")
			const without = "1 of 1 devices took the new models without comparing"
			if status == "SUCCESS" && !strings.Contains(st.Message, without) {
				t.Errorf("%s: %q", plan, st.Message)
			}
			if st.Mirrored.Compared != c.Compared || st.Verdict == edge.Passed {
				t.Errorf("%s: %+v, %s", plan, st.Mirrored, st.Verdict)
			}
		}
	})
}

// An agent that would leave the comparison out is not given the order.
func TestAnAgentThatCannotCompareGetsNoOrderThatAsksForIt(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 2)
		w.plan("p", percent("s", 100))
		w.policy("p", compares())
		w.start("p", "s")
		if o := w.poll("d000"); len(o) != 0 {
			t.Errorf("it was given %+v", o)
		}
		if o := w.ask("d001"); len(o) != 1 {
			t.Errorf("another was given %+v", o)
		}
		if o := w.poll("d001"); len(o) != 0 { // an older agent was put in its place
			t.Errorf("it was given %+v", o)
		}
		w.settle()
		w.want("p", "s", edge.StageFailed, edge.Counts{Failed: 2})
		for name, d := range w.rows("p", "s") {
			if !strings.Contains(d.Message, "this device's agent does not say that it can; update the agent") {
				t.Errorf("%s: %q", name, d.Message)
			}
		}
		if m := w.stage("p", "s").Message; !strings.Contains(m, "this device's agent does not say that it can") {
			t.Errorf("the stage says %q", m)
		}
	})
}

// To go back is never a matter of comparing.
func TestARollbackComparesNothing(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 2)
		w.plan("p", percent("s", 100))
		p := compares()
		p.OnFailure, p.FailureThreshold, p.MinSample = edge.RollBackPlan, 10, 2
		w.policy("p", p)
		w.start("p", "s")
		order := w.ask("d000")[0].Name
		w.ask("d001")
		w.compared("d000", order, "SUCCESS", edge.Comparison{
			Finding: edge.Agrees, Ran: 10 * time.Minute, Pairs: edge.Pairs{Compared: 200},
		})
		w.compared("d001", order, "FAIL", edge.Comparison{Finding: edge.Disagrees})
		w.settle()
		if o := w.poll("d000"); len(o) != 1 || o[0].Mirror != nil || o[0].Name == order {
			t.Errorf("the order to go back is %+v", o)
		}
	})
}

// What was deployed without a comparison stays so: a stage that could never pass is
// not started again.
func TestAStageThatDeployedUncomparedIsNotStartedAgainWithAComparison(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 2)
		w.plan("p", percent("s", 100))
		w.start("p", "s")
		order := w.ask("d000")[0].Name
		w.ask("d001")
		w.compared("d000", order, "SUCCESS", edge.Comparison{})
		w.compared("d001", order, "FAIL", edge.Comparison{})
		w.settle()
		w.want("p", "s", edge.StageFailed, edge.Counts{Deployed: 1, Failed: 1})
		w.policy("p", compares())
		err := w.StartStage(t.Context(), scope, "p", "s")
		if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "1 of its devices took the new models") {
			t.Errorf("the start: %v", err)
		}
		w.want("p", "s", edge.StageFailed, edge.Counts{Deployed: 1, Failed: 1})
		w.policy("p", edge.Policy{AutoNext: true})
		w.start("p", "s")
		order = w.ask("d001")[0].Name
		w.compared("d001", order, "SUCCESS", edge.Comparison{})
		w.settle()
		w.want("p", "s", edge.StageDeployed, edge.Counts{Deployed: 2})
	})
}

// Where no device has taken anything yet, a comparison may be asked for later.
func TestAStageThatDeployedNothingMayBeStartedAgainWithAComparison(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 1)
		w.plan("p", percent("s", 100))
		w.start("p", "s")
		w.compared("d000", w.ask("d000")[0].Name, "FAIL", edge.Comparison{})
		w.settle()
		w.policy("p", compares())
		w.start("p", "s")
		if o := w.ask("d000"); len(o) != 1 || o[0].Mirror == nil {
			t.Errorf("it was given %+v", o)
		}
	})
}
