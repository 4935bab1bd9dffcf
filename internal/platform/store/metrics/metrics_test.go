package metrics_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/platform/store/metrics"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
)

func TestSamplesAreReplacedChunkByChunkAndForgotten(t *testing.T) {
	storetest.OnBoth(t, func(t *testing.T, open *store.DB) {
		db := metrics.New(open)
		dims := []metric.Dimension{{Name: "a", Value: `"'<`}, {Name: "b", Value: "ü"}}
		id := metric.ID{Namespace: "n", Name: "m", Dimensions: dims}
		all := []metric.Stored{
			{Region: "r1", Metric: id, Unit: "None", Chunks: []metric.Chunk{
				{Tier: 0, Start: 60, Data: []byte{0, 1, 255}}, {Tier: 1, Start: 3600, Data: []byte("x")},
			}},
			{Region: "r1", Metric: id, Unit: "Count", Chunks: []metric.Chunk{{Tier: 0, Start: 60, Data: []byte("c")}}},
			{Region: "r2", Metric: metric.ID{Namespace: "n", Name: "m"}, Unit: "None", Chunks: []metric.Chunk{
				{Tier: 0, Start: -60, Data: []byte("y")},
			}},
		}
		save := func(s ...metric.Stored) {
			t.Helper()
			if err := db.SaveSamples(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		save(all...)
		save(metric.Stored{Region: "r1", Metric: id, Unit: "None", Chunks: []metric.Chunk{
			{Tier: 0, Start: 60, Data: []byte("new")}, {Tier: 1, Start: 3600},
		}})
		all[0].Chunks = []metric.Chunk{{Tier: 0, Start: 60, Data: []byte("new")}}
		wantSamples(t, db, all)
		gone := []metric.Stored{{Region: "r1", Metric: id, Unit: "Count"}, {Region: "r9", Metric: id}}
		if err := db.ForgetSeries(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		wantSamples(t, db, []metric.Stored{all[0], all[2]})
	})
}

func wantSamples(t *testing.T, db metrics.DB, want []metric.Stored) {
	t.Helper()
	var got []metric.Stored
	err := db.Samples(t.Context(), func(s metric.Stored) error { got = append(got, s); return nil })
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" || err != nil {
		t.Error(err, d)
	}
}
