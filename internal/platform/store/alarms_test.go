package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

func anAlarm(name string) alarm.Record {
	return alarm.Record{
		Region: scope.Region, Configured: t0.Truncate(time.Microsecond), State: alarm.Initial(t0),
		Definition: alarm.Definition{Name: name, Threshold: new(1.5), AlarmActions: []string{"x"}},
	}
}

func TestAnAlarmIsReadAsItWasWritten(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		r := anAlarm("a")
		change(t, db, func(ctx context.Context, tx *store.Tx) error { return tx.SaveAlarm(ctx, &r) })
		all, err := db.Alarms(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		if d := cmp.Diff(r, all[0]); d != "" {
			t.Error(d)
		}
	})
}

func TestAStateIsNotWrittenOverAChangeOfItsAlarm(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		r := anAlarm("a")
		change(t, db, func(ctx context.Context, tx *store.Tx) error { return tx.SaveAlarm(ctx, &r) })
		late := r
		change(t, db, func(ctx context.Context, tx *store.Tx) error { // deleted and put again
			if _, err := tx.DeleteAlarm(ctx, r.Region, "a"); err != nil {
				return err
			}
			return tx.SaveAlarm(ctx, &r)
		})
		change(t, db, func(ctx context.Context, tx *store.Tx) error {
			late.State.Value = alarm.StateAlarm
			if wrote, err := tx.SaveAlarmState(ctx, &late); err != nil || wrote {
				t.Errorf("wrote %v, %v", wrote, err)
			}
			r.State.Value = alarm.StateOK
			wrote, err := tx.SaveAlarmState(ctx, &r)
			if !wrote {
				t.Error("the newest version was not written")
			}
			return err
		})
		change(t, db, func(ctx context.Context, tx *store.Tx) error {
			got, err := tx.Alarm(ctx, r.Region, "a")
			if err == nil && (got.State.Value != alarm.StateOK || got.Version != r.Version) {
				t.Errorf("%+v", got)
			}
			return err
		})
	})
}

func TestHistoryIsPrunedByAgeAndByNumber(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		change(t, db, func(ctx context.Context, tx *store.Tx) error {
			for i := range 10 {
				for _, name := range []string{"a", "b"} {
					h := alarm.HistoryItem{Region: scope.Region, Alarm: name, At: t0.Add(time.Duration(i) * time.Hour), Kind: alarm.StateUpdate, Data: "{}"}
					if err := tx.RecordAlarm(ctx, h); err != nil {
						return err
					}
				}
			}
			return tx.RecordAlarm(ctx, alarm.HistoryItem{Region: scope.Region, Alarm: "c", At: t0.Add(5 * time.Hour), Kind: alarm.StateUpdate, Data: "{}"})
		})
		if err := db.PruneAlarmHistory(t.Context(), t0.Add(4*time.Hour), 3); err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		got, more, err := db.AlarmHistory(t.Context(), alarm.HistoryFilter{Region: scope.Region, Limit: 100})
		if err != nil || more {
			t.Fatal(more, err)
		}
		for _, h := range got {
			count[h.Alarm]++
		}
		if d := cmp.Diff(map[string]int{"a": 3, "b": 3, "c": 1}, count); d != "" {
			t.Error(d)
		}
		if got[0].Alarm != "c" || !got[1].At.Equal(t0.Add(9*time.Hour).Truncate(time.Microsecond)) {
			t.Errorf("the newest are %+v and %+v", got[0], got[1])
		}
		got, _, err = db.AlarmHistory(t.Context(), alarm.HistoryFilter{Region: scope.Region, Limit: 100, From: t0.Add(8 * time.Hour), Until: t0.Add(9 * time.Hour), Ascending: true})
		if err != nil || len(got) != 2 {
			t.Errorf("%d lines of one hour, %v", len(got), err)
		}
	})
}

func TestOnlyTheDeploymentsThatAnAlarmJudgesAreWoken(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		for _, name := range []string{"judged", "other"} {
			e := endpoint(t, name, 1)
			e.Deployment.Plan.Policy.Alarms = []string{"errors <" + name + ">"}
			e.Deployment.Plan.Kind = rollout.Update
			insert(t, db, e)
		}
		due := func() map[string]bool {
			t.Helper()
			got := map[string]bool{}
			for {
				c, _, err := db.Deploying().Claim(t.Context(), t0.Add(2*time.Hour), t0.Add(3*time.Hour))
				if err != nil {
					t.Fatal(err)
				}
				if c.Key == "" {
					break
				}
				got[c.Key] = true
				if err := db.Deploying().Release(t.Context(), c, t0.Add(24*time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			return got
		}
		if got := due(); len(got) != 2 {
			t.Fatal(got)
		}
		wake := func(region, name string) {
			t.Helper()
			change(t, db, func(ctx context.Context, tx *store.Tx) error {
				return tx.WakeWatchers(ctx, region, name, t0.Add(time.Hour))
			})
		}
		wake("eu-west-1", "errors <judged>")
		wake(scope.Region, "errors")
		if got := due(); len(got) != 0 {
			t.Errorf("woken: %v", got)
		}
		wake(scope.Region, "errors <judged>")
		if d := cmp.Diff(map[string]bool{"d-judged": true}, due()); d != "" {
			t.Error(d)
		}
	})
}

func TestSamplesAreReplacedChunkByChunkAndForgotten(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		id := metric.ID{Namespace: "n", Name: "m", Dimensions: []metric.Dimension{{Name: "a", Value: `"'<`}, {Name: "b", Value: "ü"}}}
		all := []metric.Stored{
			{Region: "r1", Metric: id, Unit: "None", Chunks: []metric.Chunk{{Tier: 0, Start: 60, Data: []byte{0, 1, 255}}, {Tier: 1, Start: 3600, Data: []byte("x")}}},
			{Region: "r1", Metric: id, Unit: "Count", Chunks: []metric.Chunk{{Tier: 0, Start: 60, Data: []byte("c")}}},
			{Region: "r2", Metric: metric.ID{Namespace: "n", Name: "m"}, Unit: "None", Chunks: []metric.Chunk{{Tier: 0, Start: -60, Data: []byte("y")}}},
		}
		save := func(s ...metric.Stored) {
			t.Helper()
			if err := db.SaveSamples(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		save(all...)
		save(metric.Stored{Region: "r1", Metric: id, Unit: "None", Chunks: []metric.Chunk{{Tier: 0, Start: 60, Data: []byte("new")}, {Tier: 1, Start: 3600}}})
		all[0].Chunks = []metric.Chunk{{Tier: 0, Start: 60, Data: []byte("new")}}
		wantSamples(t, db, all)
		if err := db.ForgetSeries(t.Context(), []metric.Stored{{Region: "r1", Metric: id, Unit: "Count"}, {Region: "r9", Metric: id}}); err != nil {
			t.Fatal(err)
		}
		wantSamples(t, db, []metric.Stored{all[0], all[2]})
	})
}

func wantSamples(t *testing.T, db *store.DB, want []metric.Stored) {
	t.Helper()
	var got []metric.Stored
	err := db.Samples(t.Context(), func(s metric.Stored) error { got = append(got, s); return nil })
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" || err != nil {
		t.Error(err, d)
	}
}
