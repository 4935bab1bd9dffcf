package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	store "github.com/slipway-ml/slipway/internal/platform/store/edge"
	"github.com/slipway-ml/slipway/internal/service/fleet"
)

func (w *world) policy(plan string, p edge.Policy) {
	w.t.Helper()
	ok(w.t, w.SetPolicy(w.t.Context(), scope, plan, p, "somebody"))
	w.settle()
}

func names(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("d%03d", i))
	}
	return out
}

func TestAStageThatFailsTooOftenIsStopped(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 10)
		w.plan("p", percent("s", 100))
		refused(
			t, w.SetPolicy(t.Context(), scope, "p", edge.Policy{FailureThreshold: 1}, ""), fault.Invalid,
			"needs a reaction",
		)
		w.policy("p", edge.Policy{FailureThreshold: 20, MinSample: 4, OnFailure: edge.StopStage})
		w.start("p", "s")
		w.work("FAIL", "d000")
		w.work("SUCCESS", "d001", "d002")
		w.want("p", "s", edge.StageInProgress, edge.Counts{Ready: 7, Deployed: 2, Failed: 1})
		w.work("SUCCESS", "d003")
		w.want("p", "s", edge.StageStopped, edge.Counts{Deployed: 3, Failed: 1, Stopped: 6})
		if st := w.stage("p", "s"); st.Verdict != edge.Refused ||
			st.Message != "1 of 4 devices failed, more than 20 %" {
			t.Errorf("%+v", st)
		}
		w.start("p", "s") // a person knows better
		w.work("SUCCESS", names(10)...)
		w.want("p", "s", edge.StageDeployed, edge.Counts{Deployed: 10})
	})
}

func TestAPlanThatFailsTooOftenGoesBackToWhatDevicesHad(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 6)
		w.plan("old", named("s", "d000", "d001"))
		w.start("old", "s")
		w.work("SUCCESS", "d000", "d001")
		w.plan("new", named("one", "d000", "d002"), named("two", "d001", "d003", "d004", "d005"))
		w.policy("new", edge.Policy{FailureThreshold: 30, OnFailure: edge.RollBackPlan})
		w.start("new", "one")
		w.work("SUCCESS", "d000", "d002")
		w.want("new", "one", edge.StageDeployed, edge.Counts{Deployed: 2})
		w.start("new", "two")
		w.work("SUCCESS", "d001")
		order := w.poll("d003")[0].Name // it has the order when all goes wrong
		w.work("FAIL", "d004")
		w.want("new", "one", edge.StageInProgress, edge.Counts{Ready: 2})
		w.want("new", "two", edge.StageInProgress, edge.Counts{Ready: 2, Failed: 1, Stopped: 1})
		w.report("d003", order, "SUCCESS") // too late: it is told to go back
		old := edge.Definition{Handle: "m", S3URL: "s3://b/old-job", SHA1: "sha1-of-old-job", State: edge.Deploy}
		none := edge.Definition{Handle: "m", State: edge.Undeploy}
		for d, want := range map[string]edge.Definition{"d000": old, "d001": old, "d002": none, "d003": none} {
			if o := w.poll(d); len(o) != 1 || o[0].Definitions[0] != want || o[0].Name == order {
				t.Errorf("%s: %+v", d, o)
			}
		}
		if o := w.poll("d005"); len(o) != 0 {
			t.Error("offered after all:", o)
		}
		w.work("SUCCESS", "d000", "d001", "d003")
		w.work("FAIL", "d002")
		w.want("new", "one", edge.StageFailed, edge.Counts{Failed: 2})
		w.want("new", "two", edge.StageFailed, edge.Counts{Failed: 3, Stopped: 1})
		rows := w.rows("new", "one")
		if !strings.HasPrefix(rows["d000"].Message, "rolled back: 1 of 2 devices failed") ||
			!strings.HasPrefix(rows["d002"].Message, "rollback failed") {
			t.Errorf("%+v", rows)
		}
		refused(t, w.StartStage(t.Context(), scope, "new", "one"), fault.Invalid, "rolled back")
		// A later plan that is undone goes back to the same.
		w.plan("third", named("s", "d000", "d005"))
		w.policy("third", edge.Policy{OnFailure: edge.RollBackPlan})
		w.start("third", "s")
		w.work("SUCCESS", "d000")
		w.work("FAIL", "d005")
		if o := w.poll("d000"); len(o) != 1 || o[0].Definitions[0] != old {
			t.Errorf("%+v", o)
		}
	})
}

func TestTheNextStageStartsByItself(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 4)
		w.plan("p", percent("a", 50), containing("none", "zzz"), percent("b", 100))
		w.policy("p", edge.Policy{AutoNext: true})
		w.start("p", "a")
		w.work("SUCCESS", names(4)...)
		w.want("p", "a", edge.StageDeployed, edge.Counts{Deployed: 2})
		w.want("p", "none", edge.StageReady, edge.Counts{}) // it cannot start; that is told, and is how it stays
		w.want("p", "b", edge.StageReady, edge.Counts{})
		h, err := w.History(t.Context(), scope, "p")
		ok(t, err)
		if last := h[len(h)-1]; last.Stage != "none" || !strings.Contains(last.Text, "not started: Nothing to deploy") {
			t.Errorf("%+v", last)
		}
		w.plan("q", percent("a", 50), percent("b", 100))
		w.policy("q", edge.Policy{AutoNext: true})
		w.start("q", "a")
		w.work("SUCCESS", names(4)...)
		w.want("q", "b", edge.StageInProgress, edge.Counts{Ready: 2})
		w.work("SUCCESS", names(4)...)
		w.want("q", "b", edge.StageDeployed, edge.Counts{Deployed: 2})
	})
}

func TestTimePassesForStagesToo(t *testing.T) {
	path := t.TempDir() + "/x.db"
	synctest.Test(t, func(t *testing.T) {
		db, err := openSQLite(t.Context(), path)
		ok(t, err)
		defer db.Close()
		s, stop := withLoop(t, db)
		defer stop()
		makeFleet(t, s, "f", 6)
		w := &world{Service: s, t: t, db: db}
		w.plan("p", percent("s", 100))
		policy := edge.Policy{SuccessThreshold: 50, Reachable: time.Hour, AutoNext: true, Bake: time.Hour}
		ok(t, s.SetPolicy(t.Context(), scope, "p", policy, ""))
		ok(t, s.AddStages(t.Context(), scope, "p", []edge.Stage{percent("next", 100)}))
		ok(t, s.Register(t.Context(), scope, "f", []edge.Device{{Name: "never"}}, nil))
		ok(t, s.StartStage(t.Context(), scope, "p", "s"))
		time.Sleep(5 * time.Second)
		order := w.poll("d000")[0].Name
		w.report("d000", order, "SUCCESS")
		w.beat(edge.Heartbeat{Device: "d001", AgentVersion: "1"})
		time.Sleep(30 * time.Minute)
		if v := w.stage("p", "s").Verdict; v != edge.Undecided {
			t.Error("a device that was heard of was not waited for:", v)
		}
		time.Sleep(40 * time.Minute)
		if st := w.stage("p", "s"); st.Verdict != edge.Passed || st.Late != 6 || st.Status != edge.StageInProgress {
			t.Errorf("%+v", st)
		}
		ok(t, s.Register(t.Context(), scope, "f", []edge.Device{{Name: "new"}}, nil))
		time.Sleep(time.Hour)
		if st := w.stage("p", "next"); st.Status != edge.StageInProgress || st.Counts.Ready != 1 {
			t.Errorf("after its bake: %+v", st)
		}
		// The others get what they were to get still, until their time is over.
		w.report("d001", order, "SUCCESS")
		ok(t, s.SetPolicy(t.Context(), scope, "p", edge.Policy{DeviceTimeout: 3 * time.Hour}, ""))
		w.poll("d002")
		time.Sleep(2 * time.Hour)
		if st := w.stage("p", "s"); st.Counts != (edge.Counts{InProgress: 1, Deployed: 2, Failed: 4}) {
			t.Errorf("%+v", st)
		}
		time.Sleep(2 * time.Hour)
		w.want("p", "s", edge.StageFailed, edge.Counts{Deployed: 2, Failed: 5})
		if r := w.rows("p", "s")["d002"]; r.Message != "no result within 3h0m0s" {
			t.Errorf("%+v", r)
		}
		w.want("p", "next", edge.StageFailed, edge.Counts{Failed: 1})
		// A stage that was stopped waits for a day.
		ok(t, s.SetPolicy(t.Context(), scope, "p", edge.Policy{}, ""))
		ok(t, s.StartStage(t.Context(), scope, "p", "s"))
		time.Sleep(5 * time.Second)
		w.poll("d003")
		ok(t, s.StopStage(t.Context(), scope, "p", "s"))
		time.Sleep(23 * time.Hour)
		w.want("p", "s", edge.StageStopping, edge.Counts{Stopping: 1, Deployed: 2, Stopped: 4})
		time.Sleep(2 * time.Hour)
		w.want("p", "s", edge.StageStopped, edge.Counts{Deployed: 2, Stopped: 5})
	})
}

func TestOnlyOneOfTwoPlansGetsAHandle(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 20)
		for round := range 5 {
			won := 0
			var mu sync.Mutex
			var wg sync.WaitGroup
			for i := range 4 {
				plan := fmt.Sprintf("p%d-%d", round, i)
				w.plan(
					plan,
					[]edge.Stage{
						percent("s", 10), percent("s", 100), named("s", "d001", "d002"), containing("s", "d0"),
					}[i],
				)
				wg.Go(func() {
					err := w.StartStage(t.Context(), scope, plan, "s")
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						won++
					} else if !errors.Is(err, fault.Invalid) && !errors.Is(err, fault.Unavailable) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			w.settle()
			if won == 0 {
				t.Error("nobody could start")
			}
			seen := map[string]string{}
			for i := range 4 {
				plan := fmt.Sprintf("p%d-%d", round, i)
				if w.stage(plan, "s").Status != edge.StageInProgress {
					continue
				}
				for _, d := range devices(w.rows(plan, "s")) {
					if seen[d] != "" {
						t.Errorf("%s is deployed to by %s and %s", d, seen[d], plan)
					}
					seen[d] = plan
				}
			}
			w.work("SUCCESS", names(20)...)
		}
	})
}

func TestStartsAndStopsAtTheSameTimeEndSomewhere(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 30)
		w.plan("p", percent("a", 50), containing("b", "d00"), percent("c", 100))
		var wg sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		for _, stage := range []string{"a", "b", "c"} {
			for _, ask := range []func(string) error{
				func(s string) error { return w.StartStage(ctx, scope, "p", s) },
				func(s string) error { return w.StopStage(ctx, scope, "p", s) },
			} {
				wg.Go(func() {
					for range 10 {
						if err := ask(stage); err != nil && !errors.Is(err, fault.Invalid) &&
							!errors.Is(err, fault.Unavailable) {
							t.Error(err)
						}
					}
				})
			}
		}
		wg.Go(func() {
			for range 3 {
				for _, d := range names(30) {
					for _, o := range w.poll(d) {
						w.report(d, o.Name, "SUCCESS")
					}
				}
			}
		})
		wg.Wait()
		stop()
		w.settle()
		p, err := w.Plan(t.Context(), scope, "p")
		ok(t, err)
		checkCounters(t, w.db, p)
		for _, st := range p.Stages {
			if st.Sweep.Kind != edge.NoSweep || st.Status == edge.StageStarting {
				t.Errorf("%s: %s %+v", st.Name, st.Status, st.Sweep)
			}
		}
	})
}

// withLoop returns a service whose loop runs, and what stops it.
func withLoop(t *testing.T, db store.DB) (*fleet.Service, func()) {
	wake, log := loop.NewWakeup(), slog.New(slog.DiscardHandler)
	s := fleet.New(fleet.Config{
		Store: db, Packages: &depot{}, Log: log, Wake: wake,
	})
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	r := loop.Runner{
		Queue: db.Stages(), Turn: s.Turn, Log: log, Wake: wake, Poll: time.Minute, Lease: time.Minute,
		Retry: time.Second,
	}
	wg.Go(func() { r.Run(ctx) })
	return s, func() { stop(); wg.Wait() }
}
