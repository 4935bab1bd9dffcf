package fleet_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	store "github.com/slipway-ml/slipway/internal/platform/store/edge"
	"github.com/slipway-ml/slipway/internal/service/fleet"
)

// inBubble runs f in a world on virtual time whose service runs its loop, and
// may be restarted.
func inBubble(t *testing.T, f func(t *testing.T, w *world, restart func(down time.Duration))) {
	path := t.TempDir() + "/x.db"
	synctest.Test(t, func(t *testing.T) {
		db, err := openSQLite(t.Context(), path)
		ok(t, err)
		defer db.Close()
		w := &world{t: t, db: db}
		var stop func()
		w.Service, stop = withLoop(t, db)
		defer func() { stop() }()
		f(t, w, func(down time.Duration) {
			stop()
			time.Sleep(down)
			w.Service, stop = withLoop(t, db)
			time.Sleep(time.Second)
		})
	})
}

func (w *world) told(plan, part string) bool {
	w.t.Helper()
	h, err := w.History(w.t.Context(), scope, plan)
	ok(w.t, err)
	for _, e := range h {
		if strings.Contains(e.Text, part) {
			return true
		}
	}
	return false
}

func TestABakeIsNoTimeInWhichTheServerWasDown(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, restart func(time.Duration)) {
		makeFleet(t, w.Service, "f", 4)
		w.plan("p", named("canary", "d000"), percent("rest", 100))
		ok(t, w.SetPolicy(t.Context(), scope, "p", edge.Policy{AutoNext: true, Bake: 15 * time.Second}, ""))
		ok(t, w.StartStage(t.Context(), scope, "p", "canary"))
		time.Sleep(3 * time.Second)
		w.report("d000", w.poll("d000")[0].Name, "SUCCESS")
		time.Sleep(3 * time.Second)
		w.want("p", "canary", edge.StageDeployed, edge.Counts{Deployed: 1})
		restart(18 * time.Second)
		time.Sleep(5 * time.Second)
		w.want("p", "rest", edge.StageReady, edge.Counts{})
		if !w.told("p", "that time does not count, and the bake starts over") {
			t.Error("the record does not say what was missed")
		}
		time.Sleep(12 * time.Second)
		w.want("p", "rest", edge.StageInProgress, edge.Counts{Ready: 3})
	})
}

func TestNobodyIsUnreachableWhileTheServerIsDown(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, restart func(time.Duration)) {
		makeFleet(t, w.Service, "f", 2)
		w.plan("p", percent("s", 100))
		ok(t, w.SetPolicy(t.Context(), scope, "p", edge.Policy{SuccessThreshold: 50, DeviceTimeout: 5 * time.Hour}, ""))
		ok(t, w.StartStage(t.Context(), scope, "p", "s"))
		time.Sleep(3 * time.Second)
		w.beat(edge.Heartbeat{Device: "d001", AgentVersion: "1"}) // it is there, and slow
		w.poll("d001")
		w.report("d000", w.poll("d000")[0].Name, "SUCCESS")
		time.Sleep(20 * time.Minute)
		restart(10 * time.Hour)
		time.Sleep(20 * time.Minute)
		if st := w.stage("p", "s"); st.Verdict != edge.Undecided || st.Counts.InProgress != 1 {
			t.Errorf("passed over, or failed, a device that nobody listened to: %+v", st)
		}
		time.Sleep(time.Hour)
		if st := w.stage("p", "s"); st.Verdict != edge.Passed || st.Late != 1 {
			t.Errorf("a device that is silent was waited for: %+v", st)
		}
		time.Sleep(4 * time.Hour)
		w.want("p", "s", edge.StageFailed, edge.Counts{Deployed: 1, Failed: 1})
	})
}

// What devices say while the database is away, nobody hears.
func TestABakeStartsOverWhenTheDatabaseWasAway(t *testing.T) {
	onBoth(t, func(t *testing.T, db store.DB) {
		var away atomic.Bool
		w := newWorld(t, db, fleet.Config{Change: func(ctx context.Context, f func(store.Tx) error) error {
			if away.Load() {
				return errors.New("the database is away")
			}
			return db.Change(ctx, f)
		}})
		makeFleet(t, w.Service, "f", 4)
		w.plan("p", named("canary", "d000"), percent("rest", 100))
		bake := edge.Policy{AutoNext: true, Bake: time.Hour}
		w.policy("p", bake)
		w.start("p", "canary")
		w.work("SUCCESS", "d000")
		w.policy("p", bake) // the stage has a turn
		if w.told("p", "the bake starts over") {
			t.Error("it started over for nothing")
		}
		away.Store(true)
		h := edge.Heartbeat{Fleet: "f", Device: "d001"}
		if _, err := w.Heartbeat(t.Context(), scope, edge.Caller{}, h); err == nil {
			t.Error("written all the same")
		}
		away.Store(false)
		w.policy("p", bake)
		if !w.told("p", "the bake starts over") {
			t.Error("the record does not say what was missed")
		}
	})
}
