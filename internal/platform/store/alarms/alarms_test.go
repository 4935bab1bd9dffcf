package alarms_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/platform/store/alarms"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
)

const region = "us-east-1"

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)

func change(t *testing.T, db alarms.DB, f func(context.Context, alarms.Tx) error) {
	t.Helper()
	if err := db.Change(t.Context(), func(tx alarms.Tx) error { return f(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

func anAlarm(name string) alarm.Record {
	return alarm.Record{
		Region: region, Configured: t0.Truncate(time.Microsecond), State: alarm.Initial(t0),
		Definition: alarm.Definition{Name: name, Threshold: new(1.5), AlarmActions: []string{"x"}},
	}
}

func TestAnAlarmIsReadAsItWasWritten(t *testing.T) {
	storetest.OnBoth(t, func(t *testing.T, open *store.DB) {
		db := alarms.New(open)
		r := anAlarm("a")
		change(t, db, func(ctx context.Context, tx alarms.Tx) error { return tx.SaveAlarm(ctx, &r) })
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
	storetest.OnBoth(t, func(t *testing.T, open *store.DB) {
		db := alarms.New(open)
		r := anAlarm("a")
		change(t, db, func(ctx context.Context, tx alarms.Tx) error { return tx.SaveAlarm(ctx, &r) })
		late := r
		change(t, db, func(ctx context.Context, tx alarms.Tx) error { // deleted and put again
			if _, err := tx.DeleteAlarm(ctx, r.Region, "a"); err != nil {
				return err
			}
			return tx.SaveAlarm(ctx, &r)
		})
		change(t, db, func(ctx context.Context, tx alarms.Tx) error {
			late.State.Value = alarm.StateAlarm
			if wrote, err := tx.SaveState(ctx, &late); err != nil || wrote {
				t.Errorf("wrote %v, %v", wrote, err)
			}
			r.State.Value = alarm.StateOK
			wrote, err := tx.SaveState(ctx, &r)
			if !wrote {
				t.Error("the newest version was not written")
			}
			return err
		})
		change(t, db, func(ctx context.Context, tx alarms.Tx) error {
			got, err := tx.Alarm(ctx, r.Region, "a")
			if err == nil && (got.State.Value != alarm.StateOK || got.Version != r.Version) {
				t.Errorf("%+v", got)
			}
			return err
		})
	})
}

// moved is a line of history, so many hours after t0.
func moved(name string, hours int) alarm.HistoryItem {
	at := t0.Add(time.Duration(hours) * time.Hour)
	return alarm.HistoryItem{Region: region, Alarm: name, At: at, Kind: alarm.StateUpdate, Data: "{}"}
}

func TestHistoryIsPrunedByAgeAndByNumber(t *testing.T) {
	storetest.OnBoth(t, func(t *testing.T, open *store.DB) {
		db := alarms.New(open)
		change(t, db, func(ctx context.Context, tx alarms.Tx) error {
			for i := range 10 {
				for _, name := range []string{"a", "b"} {
					if err := tx.Record(ctx, moved(name, i)); err != nil {
						return err
					}
				}
			}
			return tx.Record(ctx, moved("c", 5))
		})
		if err := db.PruneHistory(t.Context(), t0.Add(4*time.Hour), 3); err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		got, more, err := db.History(t.Context(), alarm.HistoryFilter{Region: region, Limit: 100})
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
		got, _, err = db.History(t.Context(), alarm.HistoryFilter{
			Region: region, Limit: 100, From: t0.Add(8 * time.Hour), Until: t0.Add(9 * time.Hour), Ascending: true,
		})
		if err != nil || len(got) != 2 {
			t.Errorf("%d lines of one hour, %v", len(got), err)
		}
	})
}
