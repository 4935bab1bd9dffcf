package metrics_test

import (
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
	"github.com/slipway-ml/slipway/internal/service/metrics"
)

// An alarm that names no unit never sees the sum of seconds and milliseconds.
func TestSamplesOfDifferentUnitsAreNotAddedUp(t *testing.T) {
	storetest.OnBoth(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		at := time.Now().Truncate(time.Minute)
		put := func(unit metric.Unit, minute int, values ...float64) {
			for _, v := range values {
				stamp := at.Add(time.Duration(minute)*time.Minute - 10*time.Minute)
				ok(t, w.Put(scope, "Shop", []metrics.Datum{
					{Name: "Wait", Datum: metric.Datum{Value: &v, Unit: unit, Timestamp: stamp}},
				}))
			}
		}
		put("Milliseconds", 0, 3, 4)
		put("Count", 0, 6)
		put("Count", 1, 1)
		id := metric.ID{Namespace: "Shop", Name: "Wait"}
		ask := func(unit metric.Unit, worse func(a, b float64) bool) (got [3]float64) {
			ps := w.Reader(scope.Region)(alarm.Question{
				Key: id.Key(), Metric: id, Unit: unit, Stat: metric.Sum, Worse: worse,
				Window: metric.Window{Start: at.Add(-10 * time.Minute), Period: time.Minute, Count: 3},
			})
			for i, p := range ps {
				if p.Known() {
					got[i] = p.Value
				}
			}
			return got
		}
		for name, c := range map[string]struct{ got, want [3]float64 }{
			"where more is worse": {ask("", func(a, b float64) bool { return a > b }), [3]float64{7, 1, 0}},
			"where less is worse": {ask("", func(a, b float64) bool { return a < b }), [3]float64{6, 1, 0}},
			"where neither is":    {ask("", nil), [3]float64{6, 1, 0}},
			"in one of them":      {ask("Milliseconds", nil), [3]float64{7, 0, 0}},
		} {
			if c.got != c.want {
				t.Errorf("%s: %v, want %v", name, c.got, c.want)
			}
		}
	})
}
