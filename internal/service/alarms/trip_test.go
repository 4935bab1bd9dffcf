package alarms_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
	"github.com/slipway-ml/slipway/internal/service/alarms"
	"github.com/slipway-ml/slipway/internal/service/metrics"
)

// tripped is what a router was told.
type tripped struct {
	mu     sync.Mutex
	guards []string
	told   []hosting.TrippedAlarm
}

func (r *tripped) trip(_ string, a hosting.TrippedAlarm) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, a)
}

func (r *tripped) names() map[string][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return map[string][]string{scope.Region: r.guards}
}

func (r *tripped) of(name string) (a hosting.TrippedAlarm, told bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.told, func(a hosting.TrippedAlarm) bool { return a.Name == name })
	if i < 0 {
		return a, false
	}
	return r.told[i], true
}

// freeze has no write of the database come to an end until the function that it
// returns is called, and none that the service makes be the first to wait.
func (w *world) freeze() (thaw func()) {
	frozen, release, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		_ = w.db.Change(context.WithoutCancel(w.t.Context()), func(*store.Tx) error { // it may be cut off
			close(frozen)
			<-release
			return nil
		})
	}()
	<-frozen
	return func() { close(release); <-over }
}

// Whichever way an alarm is found to be in ALARM, the router is told before
// anything is written: here nothing can be.
func TestTheRouterIsToldOfEveryAlarmWhileTheDatabaseIsFrozen(t *testing.T) {
	average := func(name string, threshold float64) alarm.Definition {
		return watching(func(d *alarm.Definition) { // of which no single sample is sure
			d.Name, d.Statistic, d.Threshold = name, "Average", &threshold
		})
	}
	early := watching(func(d *alarm.Definition) { d.Name, d.Threshold = "early", new(5.0) })
	late := average("late", 5)
	const soon, inASecond = 100 * time.Millisecond, 1100 * time.Millisecond
	for name, c := range map[string]struct {
		alarms []alarm.Definition // the last one is the guard
		within time.Duration      // of the sample
	}{
		"that a sample decides":    {[]alarm.Definition{early}, soon},
		"at the end of a period":   {[]alarm.Definition{late}, inASecond},
		"that depends on a sample": {[]alarm.Definition{early, {Name: "top", Rule: "ALARM(early)"}}, soon},
		"that depends on a period": {[]alarm.Definition{late, {Name: "top", Rule: "ALARM(late)"}}, inASecond},
		"that depends on another one": {
			[]alarm.Definition{early, {Name: "mid", Rule: "ALARM(early)"}, {Name: "top", Rule: "ALARM(mid)"}}, soon,
		},
		"that depends on two": {
			[]alarm.Definition{early, late, {Name: "top", Rule: "ALARM(late) AND ALARM(early)"}}, inASecond,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &tripped{}
				w := newWorld(t, storetest.SQLite(t), func(a *alarms.Config, _ *metrics.Config) {
					a.Trip, a.Guards = r.trip, r.names
				})
				w.put(watching(func(d *alarm.Definition) { d.Name = "first" }))
				for _, d := range c.alarms {
					w.put(d)
				}
				r.guards = []string{c.alarms[len(c.alarms)-1].Name}
				stop := w.run()
				defer stop()
				time.Sleep(2500 * time.Millisecond)
				thaw := w.freeze()
				w.order(1) // "first" goes into ALARM, and its write waits
				time.Sleep(600 * time.Millisecond)
				guard := r.guards[0]
				if a, told := r.of(guard); told {
					t.Fatalf("told too early: %+v", a)
				}
				w.order(20)
				time.Sleep(c.within)
				a, told := r.of(guard)
				if !told || a.Reason == "" || a.Since.IsZero() {
					t.Errorf("told %v: %+v", told, a)
				}
				w.is(guard, alarm.StateOK) // by the records
				thaw()
			})
		})
	}
}

// What a person does to an alarm is told once it is written: a refusal changes
// nothing.
func TestTheRouterIsToldOfWhatPeopleDoToAnAlarm(t *testing.T) {
	inBubble(t, func(w *world) {
		r := &tripped{}
		w.Service.Trip = r.trip
		w.put(watching())
		w.put(alarm.Definition{Name: "top", Rule: "ALARM(a)"})
		if err := w.SetAlarmState(w.t.Context(), scope, "a", "PANIC", "x", ""); err == nil {
			w.t.Error("no such state")
		}
		if len(r.told) != 0 {
			w.t.Errorf("told of %+v", r.told)
		}
		ok(w.t, w.SetAlarmState(w.t.Context(), scope, "a", alarm.StateAlarm, "by hand", ""))
		for name, reason := range map[string]string{"a": "by hand", "top": ""} {
			if a, told := r.of(name); !told || reason != "" && a.Reason != reason {
				w.t.Errorf("told %v: %+v", told, a)
			}
		}
		w.put(watching(func(d *alarm.Definition) { d.Name = "b" }))
		ok(w.t, w.DeleteAlarms(w.t.Context(), scope, []string{"b"}))
		if a, told := r.of("b"); !told || !a.Deleted {
			w.t.Errorf("of one that was deleted: %v %+v", told, a)
		}
	})
}

// A server that ended between the write of an alarm's state and that of the rollback
// leaves an alarm in ALARM, and a route that does not know of it.
func TestTheNextServerTellsOfAlarmsThatFiredUnderTheLast(t *testing.T) {
	inBubble(t, func(w *world) {
		w.put(watching())
		w.put(watching(func(d *alarm.Definition) { d.Name = "calm" }))
		ok(w.t, w.SetAlarmState(w.t.Context(), scope, "a", alarm.StateAlarm, "by hand", ""))
		r := &tripped{guards: []string{"a", "calm"}}
		next := newWorld(w.t, w.db, func(a *alarms.Config, _ *metrics.Config) { a.Trip, a.Guards = r.trip, r.names })
		next.TripFiring()
		if a, told := r.of("a"); len(r.told) != 1 || !told || a.Reason != "by hand" {
			w.t.Errorf("told of %+v", r.told)
		}
	})
}

// An alarm on evidence whose missing data are breaching goes into ALARM while there
// are none, as after a restart: that says nothing against a fleet. On what is bad it
// is told at once, and so is one above it.
func TestTheRouterIsToldOfEvidenceOnlyWhenItIsBad(t *testing.T) {
	odds := metric.ID{Namespace: alarm.Evidence, Name: "AnyEvidence", Dimensions: []metric.Dimension{
		{Name: "EndpointName", Value: "e"}, {Name: "VariantName", Value: "v"},
	}}
	inBubble(t, func(old *world) {
		r := &tripped{guards: []string{"odds", "above"}}
		w := newWorld(old.t, old.db, func(a *alarms.Config, _ *metrics.Config) { a.Trip, a.Guards = r.trip, r.names })
		w.put(watching(func(d *alarm.Definition) {
			d.Name, d.Metric, d.TreatMissingData, d.Threshold = "odds", odds, alarm.Breaching, new(2.0)
		}))
		w.put(alarm.Definition{Name: "above", Rule: `ALARM("odds")`})
		defer w.run()()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := w.state("odds").Value; got != alarm.StateAlarm {
			w.t.Fatalf("it is in %s without data", got)
		}
		if len(r.told) > 0 {
			w.t.Errorf("without evidence the router is told of %+v", r.told)
		}
		ok(w.t, w.Begin(w.t.Context(), scope, odds))
		for _, x := range []float64{0, 0, 0, 0, 0, 0, 0, 0, 5, 5} {
			ok(w.t, w.Metrics.PutEvidence(scope, odds, time.Now(), x))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		for _, n := range r.guards {
			if a, told := r.of(n); !told || !a.OfEvidence || a.Shown.IsZero() {
				w.t.Errorf("on bad evidence the router is told %+v of %s", a, n)
			}
		}
	})
}

// Series for which there is room begin though there is none for the next: what their
// alarms had against the deployment before is nothing against this one.
func TestSeriesThatBeginBeforeThereIsNoRoomHaveTheirAlarmsEvaluated(t *testing.T) {
	series := func(name string) metric.ID {
		return metric.ID{Namespace: alarm.Evidence, Name: name, Dimensions: []metric.Dimension{
			{Name: "EndpointName", Value: "e"}, {Name: "VariantName", Value: "v"},
		}}
	}
	inBubble(t, func(old *world) {
		w := newWorld(old.t, old.db, func(_ *alarms.Config, m *metrics.Config) { m.MaxSeries, m.MaxOwn = 1, 1 })
		w.put(watching(func(d *alarm.Definition) {
			d.Name, d.Metric, d.Threshold = "odds", series("AnyEvidence"), new(2.0)
		}))
		ok(w.t, w.Begin(w.t.Context(), scope, series("AnyEvidence")))
		defer w.run()()
		for range 10 {
			ok(w.t, w.Metrics.PutEvidence(scope, series("AnyEvidence"), time.Now(), 5))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if got := w.state("odds").Value; got != alarm.StateAlarm {
			w.t.Fatalf("it is in %s on bad evidence", got)
		}
		err := w.Begin(w.t.Context(), scope, series("AnyEvidence"), series("ErrorRateEvidence"))
		if !errors.Is(err, fault.Limit) {
			w.t.Fatalf("there is room: %v", err)
		}
		if got := w.state("odds").Value; got == alarm.StateAlarm {
			w.t.Error("it is in ALARM by the deployment before")
		}
	})
}
