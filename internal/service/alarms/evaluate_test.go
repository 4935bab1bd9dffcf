package alarms_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
	"github.com/slipway-ml/slipway/internal/service/alarms"
	"github.com/slipway-ml/slipway/internal/service/metrics"
)

// inBubble runs f in virtual time, with a running service.
func inBubble(t *testing.T, f func(*world)) {
	path := filepath.Join(t.TempDir(), "x.db")
	synctest.Test(t, func(t *testing.T) {
		db, err := store.OpenSQLite(t.Context(), path)
		ok(t, err)
		w := newWorld(t, db)
		stop := w.run()
		f(w)
		stop()
		ok(t, w.Metrics.Close())
		ok(t, db.Close())
	})
}

// till sleeps until a full minute and so much more.
func till(after time.Duration) {
	now := time.Now()
	time.Sleep(now.Truncate(time.Minute).Add(time.Minute + after).Sub(now))
}

func TestAnAlarmOfAMinuteIsJudgedWhenTheMinuteIsOver(t *testing.T) {
	inBubble(t, func(w *world) {
		w.put(watching(func(d *alarm.Definition) { d.Period = 60; d.Statistic = "Average" }))
		till(0)
		w.order(5)
		time.Sleep(59 * time.Second)
		w.is("a", alarm.StateOK)
		time.Sleep(time.Second + 100*time.Millisecond)
		w.is("a", alarm.StateAlarm)
		if s := w.state("a"); !strings.HasPrefix(s.Reason, "Threshold Crossed: 1 datapoint [5.0 (") {
			w.t.Errorf("reason %q", s.Reason)
		}
		if w.woken.Load() != 1 {
			w.t.Errorf("deployments were woken %d times", w.woken.Load())
		}
		// Two more minutes without a sample, and it is out of the window.
		time.Sleep(3 * time.Minute)
		w.is("a", alarm.StateOK)
	})
}

func TestAlarmsOfTenSecondsAndOfASecondFollowTheirClocks(t *testing.T) {
	inBubble(t, func(w *world) {
		w.put(watching(func(d *alarm.Definition) { d.Name = "ten"; d.Period = 10; d.Statistic = "Average" }))
		w.put(watching(func(d *alarm.Definition) { d.Name = "one"; d.Statistic = "Average" }))
		till(300 * time.Millisecond)
		w.order(5)
		time.Sleep(600 * time.Millisecond)
		w.is("one", alarm.StateOK)
		time.Sleep(200 * time.Millisecond) // 1.1 s
		w.is("one", alarm.StateAlarm)
		w.is("ten", alarm.StateOK)
		time.Sleep(9 * time.Second) // 10.1 s
		w.is("ten", alarm.StateAlarm)
	})
}

func TestASampleThatDecidesIsNotKeptWaiting(t *testing.T) {
	inBubble(t, func(w *world) {
		w.put(watching(func(d *alarm.Definition) { d.Period = 60 }))
		till(10 * time.Second)
		w.is("a", alarm.StateOK)
		w.order(1)
		time.Sleep(20 * time.Millisecond)
		w.is("a", alarm.StateAlarm)
	})
}

func TestARequestThatDecidesIsNotKeptWaiting(t *testing.T) {
	for name, change := range map[string]func(*alarm.Definition){
		"errors of the variant": func(d *alarm.Definition) { d.Metric = errorsOf("e", "v", ""); d.Statistic = "Sum" },
		"errors of the fleet":   func(d *alarm.Definition) { d.Metric = errorsOf("e", "v", "c"); d.Statistic = "Sum" },
		"slow answers": func(d *alarm.Definition) {
			d.Metric = errorsOf("e", "v", "")
			d.Metric.Name, d.Threshold = "ModelLatency", new(2e6)
		},
		"a composite alarm of them": nil,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.Metrics.Sample(sample(false)) // the fleet is known before the alarm, or after
				if change == nil {
					w.put(watching(func(d *alarm.Definition) {
						d.Name, d.Metric, d.Statistic = "b", errorsOf("e", "v", ""), "Sum"
					}))
					w.put(alarm.Definition{Name: "a", Rule: "ALARM(b)"})
				} else {
					w.put(watching(change))
				}
				till(300 * time.Millisecond)
				w.Metrics.Sample(sample(false))
				time.Sleep(20 * time.Millisecond)
				w.is("a", alarm.StateOK)
				bad := sample(true)
				bad.ModelLatency, bad.At = 3*time.Second, bad.At.Add(-3*time.Second)
				w.Metrics.Sample(bad)
				time.Sleep(20 * time.Millisecond)
				w.is("a", alarm.StateAlarm)
			})
		})
	}
}

func TestWhatAPersonSaysLastsUntilTheNextEvaluation(t *testing.T) {
	inBubble(t, func(w *world) {
		w.put(watching(func(d *alarm.Definition) { d.Period = 10 }))
		till(time.Second)
		ok(w.t, w.SetAlarmState(w.t.Context(), scope, "a", alarm.StateAlarm, "a drill", ""))
		time.Sleep(8 * time.Second)
		w.is("a", alarm.StateAlarm)
		tripped, _, err := w.Firing(w.t.Context(), scope, []string{"a"}, time.Time{})
		if ok(w.t, err); len(tripped) != 1 || tripped[0].Reason != "a drill" {
			w.t.Errorf("tripped %+v", tripped)
		}
		time.Sleep(2 * time.Second)
		w.is("a", alarm.StateOK)
	})
}

func TestAnAlarmThatFiredAndRecoveredHasFired(t *testing.T) {
	inBubble(t, func(w *world) {
		w.put(watching())
		firing := func(since time.Time) []hosting.TrippedAlarm {
			w.t.Helper()
			ts, _, err := w.Firing(w.t.Context(), scope, []string{"a"}, since)
			ok(w.t, err)
			return ts
		}
		till(200 * time.Millisecond)
		before := time.Now()
		w.order(3)
		time.Sleep(5 * time.Second)
		w.is("a", alarm.StateOK)
		if ts := firing(time.Time{}); len(ts) != 0 {
			w.t.Errorf("firing at this moment: %+v", ts)
		}
		ts := firing(before)
		if len(ts) != 1 || !strings.Contains(ts[0].Reason, "[3.0 (") || ts[0].Since.Sub(before) > 100*time.Millisecond {
			w.t.Errorf("fired since: %+v", ts)
		}
		if ts := firing(time.Now()); len(ts) != 0 {
			w.t.Errorf("fired since now: %+v", ts)
		}
		again := newWorld(w.t, w.db)
		if after, _, err := again.Firing(w.t.Context(), scope, []string{"a"}, before); err != nil || len(after) != 1 ||
			after[0].Reason != ts[0].Reason {
			w.t.Errorf("after a restart: %+v, %v", after, err)
		}
	})
}

func TestFiringLooksAtThisMomentAndAtWhatIsGone(t *testing.T) {
	storetest.OnBoth(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db) // nothing runs: whatever is evaluated, Firing did it
		w.put(watching(func(d *alarm.Definition) { d.Metric = errorsOf("e", "v", "c"); d.Statistic = "Sum" }))
		w.put(alarm.Definition{Name: "top", Rule: "ALARM(a)"})
		w.put(watching(func(d *alarm.Definition) { d.Name = "fine" }))
		w.Metrics.Sample(sample(true))
		ts, _, err := w.Firing(t.Context(), scope, []string{"fine", "top", "gone"}, time.Time{})
		if ok(t, err); len(ts) != 2 || ts[0].Name != "top" || ts[1].Name != "gone" ||
			ts[0].Deleted || ts[1].Reason != "The alarm was deleted." || !ts[1].Deleted {
			t.Errorf("%+v", ts)
		}
		w.is("a", alarm.StateAlarm)
		h, _, err := w.History(t.Context(), scope, alarm.HistoryFilter{Kind: alarm.StateUpdate, Composite: new(true)})
		if ok(t, err); len(h) != 2 || h[0].Summary != "Alarm updated from OK to ALARM" ||
			!strings.Contains(h[0].Data, `"newState":{"stateReason":"`+scope.Alarm("a")) {
			t.Errorf("%+v", h)
		}
	})
}

func TestThousandsOfAlarmsDoNotKeepTheOneWaitingThatASampleDecides(t *testing.T) {
	inBubble(t, func(w *world) {
		for i := range 300 {
			w.put(watching(func(d *alarm.Definition) {
				d.Name = "m" + string(rune('a'+i%26)) + string(rune('a'+i/26))
				d.Period = 60
			}))
		}
		w.put(watching(func(d *alarm.Definition) { d.Metric.Name = "Other" }))
		till(10 * time.Millisecond)
		ok(w.t, w.Metrics.Put(scope, "Shop", []metrics.Datum{{Name: "Other", Datum: metric.Datum{Value: new(1.0)}}}))
		time.Sleep(30 * time.Millisecond)
		w.is("a", alarm.StateAlarm)
		w.is("maa", alarm.StateOK)
	})
}

func BenchmarkEvaluate(b *testing.B) {
	w := newWorld(b, storetest.SQLite(b))
	w.put(watching(func(d *alarm.Definition) { d.Metric = errorsOf("e", "v", "c"); d.Statistic = "Sum" }))
	for range 1000 {
		w.Metrics.Sample(sample(false))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := w.Firing(b.Context(), scope, []string{"a"}, time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
}

// late asks for the gaps of alarm a.
func (w *world) late() rollout.Gap {
	w.t.Helper()
	_, late, err := w.Firing(w.t.Context(), scope, []string{"a"}, time.Time{})
	ok(w.t, err)
	return late
}

// Nobody evaluates an alarm for a while: what breached in that time is not seen
// any more, and whoever relies on the alarm is told so.
func TestWhoReliesOnAnAlarmIsToldThatItWasNotEvaluated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	synctest.Test(t, func(t *testing.T) {
		db, err := store.OpenSQLite(t.Context(), path)
		ok(t, err)
		w := newWorld(t, db)
		stop := w.run()
		w.put(watching())
		time.Sleep(time.Minute)
		if g := w.late(); !g.Until.IsZero() {
			t.Errorf("evaluated each second, it was late: %+v", g)
		}
		stop()
		w.order(3)
		time.Sleep(20 * time.Second)
		if g := w.late(); time.Since(g.Until) != 0 || g.Until.Sub(g.From) < 18*time.Second ||
			g.Missed != `alarm "a" was not evaluated in time` {
			t.Errorf("not evaluated for 20 s: %+v", g)
		}
		w.is("a", alarm.StateOK) // it has seen nothing
		stop = w.run()
		time.Sleep(time.Minute)
		if g := w.late(); time.Since(g.Until) != time.Minute {
			t.Errorf("a minute later: %+v", g)
		}
		stop()
		ok(t, w.Metrics.Close())
		ok(t, db.Close())
	})
}

// A state that cannot be written is worked out again, by other samples.
func TestWhoReliesOnAnAlarmIsToldThatItsStateWasNotSaved(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	w.put(watching())
	w.late()
	w.order(3)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := w.Firing(gone, scope, []string{"a"}, time.Time{}); err == nil {
		t.Fatal("it was saved")
	}
	if g := w.late(); time.Since(g.Until) > time.Minute || g.Missed != `the state of alarm "a" was not saved` {
		t.Errorf("told %+v", g)
	}
}

// Nothing can be written: whoever moves traffic is told all the same.
func TestAnAlarmThatASampleDecidesWaitsForNoDatabase(t *testing.T) {
	tripped := make(chan hosting.TrippedAlarm, 100)
	w := newWorld(t, storetest.SQLite(t), func(c *alarms.Config, _ *metrics.Config) {
		c.Trip = func(_ string, a hosting.TrippedAlarm) { tripped <- a }
	})
	w.put(watching())
	w.put(watching(func(d *alarm.Definition) { d.Name, d.Metric.Name = "first", "Other" }))
	w.late() // both are OK
	defer w.run()()
	held, release := make(chan struct{}), make(chan struct{})
	var holding sync.WaitGroup
	holding.Go(func() {
		ok(t, w.db.Change(t.Context(), func(*store.Tx) error { close(held); <-release; return nil }))
	})
	<-held
	for _, name := range []string{"Other", "Orders"} { // the evaluation waits to write the first
		d := metrics.Datum{Name: name, Datum: metric.Datum{Value: new(3.0)}}
		ok(t, w.Metrics.Put(scope, orders.Namespace, []metrics.Datum{d}))
		for a := range tripped {
			if want := map[string]string{"Other": "first", "Orders": "a"}[name]; a.Name == want {
				break
			}
		}
	}
	close(release)
	holding.Wait()
}
