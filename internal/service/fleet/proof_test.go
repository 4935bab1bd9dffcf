package fleet_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
)

func (w *world) wantMessage(plan, stage, part string) {
	w.t.Helper()
	if st := w.stage(plan, stage); !strings.Contains(st.Message, part) {
		w.t.Errorf("%s of %s says %q, want %q in it", stage, plan, st.Message, part)
	}
}

func TestAStageThatReachedNobodyHasFailed(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 4)
		w.plan("p", named("canary", "d000", "d001"), percent("rest", 100))
		w.policy("p", edge.Policy{AutoNext: true})
		w.start("p", "canary")
		w.poll("d000")
		ok(t, w.Deregister(t.Context(), scope, "f", []string{"d000", "d001"}))
		w.settle()
		w.want("p", "canary", edge.StageFailed, edge.Counts{Stopped: 2})
		w.wantMessage("p", "canary", "nobody was reached: all 2 devices left the fleet")
		w.want("p", "rest", edge.StageReady, edge.Counts{})
	})
}

func TestDevicesThatLeftAreNoSample(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 10)
		w.plan("p", named("canary", "d000", "d001", "d002"), percent("rest", 100))
		w.policy("p", edge.Policy{AutoNext: true, SuccessThreshold: 90, MinSample: 5})
		w.start("p", "canary")
		w.work("SUCCESS", "d000")
		ok(t, w.Deregister(t.Context(), scope, "f", []string{"d001", "d002"}))
		w.settle()
		w.want("p", "canary", edge.StageDeployed, edge.Counts{Deployed: 1, Stopped: 2})
		w.wantMessage("p", "canary", "not passed: 1 devices reported, the policy wants 3")
		w.want("p", "rest", edge.StageReady, edge.Counts{})
	})
}

func TestACanaryThatLeftDuringItsBakeStartsNothing(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 4)
		w.plan("p", named("canary", "d000", "d001"), percent("rest", 100))
		w.policy("p", edge.Policy{AutoNext: true, Bake: 100 * 24 * time.Hour})
		w.start("p", "canary")
		w.work("SUCCESS", "d000", "d001")
		ok(t, w.Deregister(t.Context(), scope, "f", []string{"d000", "d001"}))
		w.policy("p", edge.Policy{AutoNext: true}) // the bake is over
		w.want("p", "canary", edge.StageDeployed, edge.Counts{Deployed: 2})
		w.wantMessage("p", "canary", "the next stage was not started: every device that was deployed to has left")
		w.want("p", "rest", edge.StageReady, edge.Counts{})
	})
}

func TestAStageThatCouldNotFollowSaysSoItself(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 4)
		w.plan("p", percent("a", 50), containing("none", "zzz"))
		w.policy("p", edge.Policy{AutoNext: true})
		w.start("p", "a")
		w.work("SUCCESS", names(4)...)
		w.want("p", "none", edge.StageReady, edge.Counts{})
		w.wantMessage("p", "none", "not started: Nothing to deploy")
		ok(t, w.Register(t.Context(), scope, "f", []edge.Device{{Name: "zzz"}}, nil))
		w.start("p", "none")
		if st := w.stage("p", "none"); st.Status != edge.StageInProgress || st.Message != "" {
			t.Errorf("started by hand it is %s %q", st.Status, st.Message)
		}
	})
}

// A device takes an order and dies; the stage is stopped. Every device's next
// plan can start at once, and the dead one's, too: it comes after.
func TestADeadDeviceDoesNotBlockTheNextPlan(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 4)
		w.plan("p", percent("all", 100))
		w.start("p", "all")
		dead := w.poll("d000")[0].Name
		ok(t, w.StopStage(t.Context(), scope, "p", "all"))
		w.plan("q", percent("all", 100))
		w.policy("q", edge.Policy{OnFailure: edge.RollBackPlan})
		ok(t, w.StartStage(t.Context(), scope, "q", "all"))
		w.settle()
		w.want("p", "all", edge.StageStopping, edge.Counts{Stopping: 1, Stopped: 3})
		w.want("q", "all", edge.StageInProgress, edge.Counts{Ready: 4})
		w.work("SUCCESS", "d001", "d002")
		order := w.poll("d000") // it is alive again
		if len(order) != 1 || order[0].Name == dead {
			t.Fatalf("offered %+v, want the order of q alone", order)
		}
		w.report("d000", order[0].Name, "SUCCESS")
		w.work("FAIL", "d003") // and all goes back, though p waits for d000 still
		w.want("q", "all", edge.StageInProgress, edge.Counts{Ready: 3, Failed: 1})
		w.report("d000", dead, "SUCCESS")
		w.settle()
		w.want("p", "all", edge.StageStopped, edge.Counts{Deployed: 1, Stopped: 3})
	})
}

func (w *world) trouble(device, deployment, status, message string) {
	w.t.Helper()
	w.beat(edge.Heartbeat{
		Device: device, AgentVersion: "1",
		Result: &edge.Result{Deployment: deployment, Status: status, Message: message},
	})
}

// What a device says is in the way, people see at once, and once.
func TestTheFirstReasonIsWherePeopleLook(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 3)
		w.plan("p", percent("all", 100))
		w.start("p", "all")
		order := w.poll("d000")[0].Name
		w.trouble("d000", order, "", "the disk is full")
		w.trouble("d000", order, "", "the disk is full")
		w.want("p", "all", edge.StageInProgress, edge.Counts{Ready: 2, InProgress: 1})
		w.wantMessage("p", "all", "d000: the disk is full")
		if r := w.rows("p", "all")["d000"]; r.Message != "the disk is full" || r.Status != edge.DeviceInProgress {
			t.Errorf("%+v", r)
		}
		w.trouble("d001", order, "FAIL", "the object does not exist")
		w.report("d002", order, "SUCCESS")
		w.report("d000", order, "SUCCESS")
		w.settle()
		w.want("p", "all", edge.StageFailed, edge.Counts{Deployed: 2, Failed: 1})
		w.wantMessage("p", "all", "1 of 3 devices failed; the first is d001: the object does not exist")
		h, err := w.History(t.Context(), scope, "p")
		ok(t, err)
		told := 0
		for _, e := range h {
			if e.Kind == edge.EventDevice {
				told++
			}
		}
		if told != 2 || !w.told("p", "d001: the object does not exist") || !w.told("p", "d000: the disk is full") {
			t.Errorf("told %d times: %+v", told, h)
		}
	})
}

func TestADeviceThatTimesOutSaysWhatItSaidLast(t *testing.T) {
	r := edge.Row{Attempt: 1, Status: edge.DeviceInProgress}
	r, _ = edge.NextDevice(r, edge.Event{Kind: edge.Reported, Attempt: 1, Message: "the disk is full"})
	r, _ = edge.NextDevice(r, edge.Event{Kind: edge.TimedOut, Message: "no result within 1h0m0s"})
	if r.Message != "no result within 1h0m0s; it said: the disk is full" {
		t.Error(r.Message)
	}
}

// What another plan wants of a device goes first only where it decides what the
// device has in the end: about the same handle.
func TestAPlanWithOtherHandlesKeepsNobodyFromGoingBack(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 2)
		w.plan("p", percent("all", 100))
		w.policy("p", edge.Policy{OnFailure: edge.RollBackPlan, MinSample: 2})
		w.start("p", "all")
		w.work("SUCCESS", "d000")
		w.planOf("q", []edge.ModelConfig{{Handle: "other", Job: "q-job"}}, percent("all", 100))
		w.start("q", "all")
		w.report("d001", w.poll("d001")[0].Name, "FAIL")
		w.settle()
		w.want("p", "all", edge.StageInProgress, edge.Counts{Ready: 1, Failed: 1})
		orders := w.poll("d000")
		if len(orders) != 2 || orders[0].Definitions[0].State != edge.Undeploy {
			t.Errorf("%+v", orders)
		}
	})
}
