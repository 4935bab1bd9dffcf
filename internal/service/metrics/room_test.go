package metrics_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/service/metrics"
)

// inBubble runs a service under virtual time.
func inBubble(t *testing.T, f func(*world), change func(*metrics.Config)) {
	path := filepath.Join(t.TempDir(), "x.db")
	synctest.Test(t, func(t *testing.T) {
		db, err := store.OpenSQLite(t.Context(), path)
		ok(t, err)
		w := newWorld(t, db, change)
		stop := w.run()
		f(w)
		stop()
		ok(t, w.Close())
		ok(t, db.Close())
	})
}

// There is no room for a new fleet's metrics: who relies on them is told, and
// that of no other fleet.
func TestWhoReliesOnSamplesIsToldThatTheyAreDropped(t *testing.T) {
	inBubble(t, func(w *world) {
		w.Sample(sample(true))
		if g := w.Dropped(sample(true).Key, traffic.FleetRef{Config: "c"}); !g.Until.IsZero() {
			w.t.Errorf("dropped of what was measured: %+v", g)
		}
		time.Sleep(2 * time.Second)
		x := sample(true)
		x.Config, x.Fleet = "new", "f-1"
		w.Sample(x)
		green := traffic.FleetRef{ID: "f-1", Config: "new"}
		if g := w.Dropped(x.Key, green); time.Until(g.Until).Abs() > time.Second || g.Missed == "" {
			w.t.Errorf("not told: %+v", g)
		}
		for _, other := range []traffic.FleetRef{{Config: "c"}, {ID: "f-2", Config: "new"}} {
			if g := w.Dropped(x.Key, other); !g.Until.IsZero() {
				w.t.Errorf("told of %+v: %+v", other, g)
			}
		}
	}, func(c *metrics.Config) { c.MaxOwn = 14 })
}

// A name after the other comes and goes, more than there may be at a time.
func TestEndpointsThatComeAndGoLeaveRoomForTheNext(t *testing.T) {
	inBubble(t, func(w *world) {
		for n := range 100 {
			x := sample(true)
			x.At, x.Key.Name = time.Now(), fmt.Sprint("e", n)
			w.Sample(x)
			if got := w.stat(errorsOf(x.Key.Name, "v", "c"), metric.Sum); got != 1 {
				w.t.Fatalf("endpoint %d was not measured: %v", n, got)
			}
			time.Sleep(20 * time.Minute)
		}
		if page, _ := w.Metrics(scope, metrics.MetricsFilter{Limit: 1000}); len(page) > 200+14 {
			w.t.Errorf("%d metrics are left", len(page))
		}
	}, func(c *metrics.Config) { c.MaxSeries, c.MaxOwn = 200, 300 })
}
