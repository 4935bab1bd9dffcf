package alarms_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
	"github.com/slipway-ml/slipway/internal/service/alarms"
	"github.com/slipway-ml/slipway/internal/service/metrics"
)

func TestAnAlarmKeepsItsStateOverUpdatesAndRestarts(t *testing.T) {
	storetest.OnBoth(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ok(t, w.PutAlarm(t.Context(), scope, watching(), []hosting.Tag{{Key: "team", Value: "shop"}}))
		w.is("a", alarm.StateInsufficientData)
		ok(t, w.SetAlarmState(t.Context(), scope, "a", alarm.StateAlarm, "by hand", `{"why":1}`))
		ok(t, w.PutAlarm(t.Context(), scope, watching(func(d *alarm.Definition) { d.Threshold = new(7.0) }),
			[]hosting.Tag{{Key: "x", Value: "y"}}))

		w = newWorld(t, db)
		w.is("a", alarm.StateAlarm)
		as, _ := w.Alarms(scope, alarms.AlarmFilter{Metric: true})
		if len(as) != 1 || *as[0].Definition.Threshold != 7 || as[0].State.Reason != "by hand" {
			t.Errorf("%+v", as)
		}
		tags, err := w.Tags(t.Context(), scope, scope.Alarm("a"))
		if ok(t, err); !slices.Equal(tags, []hosting.Tag{{Key: "team", Value: "shop"}}) {
			t.Errorf("tags %v: an update must not change them", tags)
		}
		h, _, err := w.History(t.Context(), scope, alarm.HistoryFilter{})
		ok(t, err)
		var lines []string
		for _, i := range h {
			lines = append(lines, i.Summary)
		}
		const want = `Alarm "a" updated; Alarm updated from INSUFFICIENT_DATA to ALARM; Alarm "a" created`
		if got := strings.Join(lines, "; "); got != want {
			t.Errorf("history %s\nwant %s", got, want)
		}
	})
}

func TestDeletingTakesWhatThereIsAndKeepsTheHistory(t *testing.T) {
	storetest.OnBoth(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ok(t, w.PutAlarm(t.Context(), scope, watching(), []hosting.Tag{{Key: "k", Value: "v"}}))
		ok(t, w.DeleteAlarms(t.Context(), scope, []string{"nobody", "a"}))
		if got := w.Missing(scope, []string{"a", "a", "b"}); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("missing %v", got)
		}
		if _, err := w.Tags(t.Context(), scope, scope.Alarm("a")); !errors.Is(err, fault.NotFound) {
			t.Errorf("tags of what is gone: %v", err)
		}
		h, more, err := w.History(t.Context(), scope, alarm.HistoryFilter{Alarm: "a", Ascending: true, Limit: 1})
		if ok(t, err); len(h) != 1 || !more || h[0].Summary != `Alarm "a" created` {
			t.Errorf("%v %v", h, more)
		}
		h, more, err = w.History(t.Context(),
			scope, alarm.HistoryFilter{Alarm: "a", Ascending: true, Limit: 1, After: h[0].Seq})
		if ok(t, err); len(h) != 1 || more || h[0].Summary != `Alarm "a" deleted` {
			t.Errorf("%v %v", h, more)
		}
		w.put(watching()) // the name is free again, and its tags are gone
		if tags, err := w.Tags(t.Context(), scope, scope.Alarm("a")); err != nil || len(tags) > 0 {
			t.Errorf("tags %v, %v", tags, err)
		}
	})
}

func TestAlarmsAreFoundByEveryFilter(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	w.put(watching(func(d *alarm.Definition) { d.Name = "orders-1"; d.AlarmActions = []string{"arn:aws:sns:x"} }))
	w.put(watching(func(d *alarm.Definition) { d.Name = "orders-2"; d.Statistic = "Sum" }))
	w.put(alarm.Definition{Name: "both", Rule: `ALARM(orders-1) AND ALARM("` + scope.Alarm("orders-2") + `")`})
	ok(t, w.PutAlarm(t.Context(), other, watching(), nil))
	ok(t, w.SetAlarmState(t.Context(), scope, "orders-2", alarm.StateAlarm, "r", ""))
	for name, tt := range map[string]struct {
		f    alarms.AlarmFilter
		want string
	}{
		"only metric alarms":    {alarms.AlarmFilter{Metric: true}, "orders-1 orders-2"},
		"only composite alarms": {alarms.AlarmFilter{Composite: true}, "both"},
		"no type":               {alarms.AlarmFilter{}, ""},
		"by name": {
			alarms.AlarmFilter{Metric: true, Names: []string{"orders-2", "nobody"}}, "orders-2",
		},
		"by prefix": {
			alarms.AlarmFilter{Metric: true, Composite: true, Prefix: "ord"}, "orders-1 orders-2",
		},
		"by state":  {alarms.AlarmFilter{Metric: true, State: alarm.StateAlarm}, "orders-2"},
		"by action": {alarms.AlarmFilter{Metric: true, ActionPrefix: "arn:aws:sns"}, "orders-1"},
		"children": {
			alarms.AlarmFilter{Metric: true, Composite: true, ChildrenOf: "both"}, "orders-1 orders-2",
		},
		"parents":                 {alarms.AlarmFilter{Metric: true, Composite: true, ParentsOf: "orders-1"}, "both"},
		"parents of nobody":       {alarms.AlarmFilter{Metric: true, Composite: true, ParentsOf: "both"}, ""},
		"the page after the last": {alarms.AlarmFilter{Metric: true, After: "orders-1"}, "orders-2"},
	} {
		t.Run(name, func(t *testing.T) {
			as, more := w.Alarms(scope, tt.f)
			if got := names(as); got != tt.want || more {
				t.Errorf("got %q, more %v; want %q", got, more, tt.want)
			}
		})
	}
	if as, more := w.Alarms(scope, alarms.AlarmFilter{Metric: true, Limit: 1}); names(as) != "orders-1" || !more {
		t.Errorf("first page %v, more %v", names(as), more)
	}
	if got := names(w.AlarmsForMetric(scope, alarms.MetricFilter{Metric: orders})); got != "orders-1 orders-2" {
		t.Errorf("for the metric: %s", got)
	}
	sums := alarms.MetricFilter{Metric: orders, Statistic: "Sum"}
	if got := names(w.AlarmsForMetric(scope, sums)); got != "orders-2" {
		t.Errorf("for its sum: %s", got)
	}
}

func names(as []alarm.Record) string {
	var ns []string
	for _, a := range as {
		ns = append(ns, a.Definition.Name)
	}
	return strings.Join(ns, " ")
}

func TestCompositeAlarmsFollowTheirChildren(t *testing.T) {
	storetest.OnBoth(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.put(watching())
		w.put(watching(func(d *alarm.Definition) { d.Name = "b" }))
		w.put(alarm.Definition{Name: "both", Rule: "ALARM(a) AND ALARM(b)"})
		w.put(alarm.Definition{Name: "top", Rule: `NOT OK("both")`})
		w.is("both", alarm.StateOK)
		w.is("top", alarm.StateOK)
		for _, n := range []string{"a", "b"} {
			ok(t, w.SetAlarmState(t.Context(), scope, n, alarm.StateAlarm, "r", ""))
		}
		w.is("both", alarm.StateAlarm)
		w.is("top", alarm.StateAlarm)
		if s := w.state("top"); !strings.HasPrefix(s.Reason, scope.Alarm("both")+" transitioned to ALARM at ") {
			t.Errorf("reason %q", s.Reason)
		}
		ok(t, w.SetAlarmState(t.Context(), scope, "a", alarm.StateOK, "r", ""))
		w.is("top", alarm.StateOK)
	})
}

func TestCompositeAlarmsAreRefusedWhatCannotWork(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	w.put(watching())
	w.put(alarm.Definition{Name: "up", Rule: "ALARM(a)"})
	w.put(alarm.Definition{Name: "upper", Rule: "ALARM(up)"})
	for name, tt := range map[string]struct {
		d    alarm.Definition
		want string
	}{
		"a child that is not there": {
			alarm.Definition{Name: "c", Rule: "ALARM(a) OR ALARM(x)"},
			"AlarmRule refers to alarms that do not exist: [x].",
		},
		"itself": {
			alarm.Definition{Name: "c", Rule: "ALARM(c)"}, "AlarmRule makes the alarm depend on itself: c -> c.",
		},
		"a circle": {
			alarm.Definition{Name: "up", Rule: "OK(upper)"},
			"AlarmRule makes the alarm depend on itself: up -> upper -> up.",
		},
		"another region": {
			alarm.Definition{Name: "c", Rule: `ALARM("` + other.Alarm("a") + `")`},
			`AlarmRule may only refer to alarms of its own region, but "` + other.Alarm("a") + `" is not.`,
		},
		"another type": {
			alarm.Definition{Name: "a", Rule: "ALARM(up)"}, "AlarmRule makes the alarm depend on itself: a -> up -> a.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := w.PutAlarm(t.Context(), scope, tt.d, nil)
			if _, text := fault.Public(err); text != tt.want {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
	err := w.DeleteAlarms(t.Context(), scope, []string{"a"})
	if _, text := fault.Public(err); text != "Cannot delete a as there are composite alarm(s) depending on it: [up]." {
		t.Error(err)
	}
	ok(t, w.DeleteAlarms(t.Context(), scope, []string{"upper"}))
	ok(t, w.DeleteAlarms(t.Context(), scope, []string{"a", "up"}))
}

func TestACompositeAlarmIsRightAfterItsChildrenRaced(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	w.put(watching())
	w.put(watching(func(d *alarm.Definition) { d.Name = "b" }))
	w.put(alarm.Definition{Name: "either", Rule: "ALARM(a) OR ALARM(b)"})
	states := []alarm.StateValue{alarm.StateOK, alarm.StateAlarm}
	for range 20 {
		var wg sync.WaitGroup
		for _, n := range []string{"a", "b"} {
			wg.Go(func() {
				for range 5 {
					if err := w.SetAlarmState(t.Context(), scope, n, states[rand.IntN(2)], "r", ""); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		want := alarm.StateOK
		if w.state("a").Value == alarm.StateAlarm || w.state("b").Value == alarm.StateAlarm {
			want = alarm.StateAlarm
		}
		if w.is("either", want); t.Failed() {
			return
		}
	}
}

func TestAnAlarmThatWasDeletedAndPutAgainTripsWhoWasJudgedByIt(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	w.put(watching())
	before := time.Now()
	ok(t, w.DeleteAlarms(t.Context(), scope, []string{"a"}))
	w.put(watching())
	if ts, _, err := w.Firing(t.Context(), scope, []string{"a"}, before); err != nil || len(ts) != 1 ||
		ts[0].Reason != "The alarm was deleted." {
		t.Errorf("%+v, %v", ts, err)
	}
	if ts, _, err := w.Firing(t.Context(), scope, []string{"a"}, time.Now()); err != nil || len(ts) != 0 {
		t.Errorf("%+v, %v", ts, err)
	}
}

func TestActionsAreSwitchedAndTagsChanged(t *testing.T) {
	storetest.OnBoth(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.put(watching())
		ok(t, w.EnableActions(t.Context(), scope, []string{"a", "nobody"}, false))
		if as, _ := w.Alarms(scope, alarms.AlarmFilter{Metric: true}); !as[0].Definition.ActionsDisabled {
			t.Error("actions are on")
		}
		a := scope.Alarm("a")
		ok(t, w.AddTags(t.Context(), scope, a, []hosting.Tag{{Key: "x", Value: "1"}, {Key: "y", Value: "2"}}))
		ok(t, w.RemoveTags(t.Context(), scope, a, []string{"x", "z"}))
		if tags, err := w.Tags(t.Context(), scope, a); err != nil ||
			!slices.Equal(tags, []hosting.Tag{{Key: "y", Value: "2"}}) {
			t.Errorf("%v %v", tags, err)
		}
		if err := w.AddTags(t.Context(), other, a, nil); !errors.Is(err, fault.NotFound) {
			t.Errorf("another region's alarm: %v", err)
		}
	})
}

func TestThereAreOnlySoManyAlarms(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), func(c *alarms.Config, _ *metrics.Config) { c.MaxAlarms = 1 })
	w.put(watching())
	w.put(watching())
	second := watching(func(d *alarm.Definition) { d.Name = "b" })
	if err := w.PutAlarm(t.Context(), scope, second, nil); !errors.Is(err, fault.Limit) {
		t.Error(err)
	}
	ok(t, w.PutAlarm(t.Context(), other, watching(), nil))
}

// The rows become those of an earlier state: one alarm is as it was, one is not
// there, and one that was deleted is back.
func TestAlarmsOfAStoreThatRanBackwardsAreReadAnew(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	named := func(name string, threshold float64) alarm.Definition {
		return watching(func(d *alarm.Definition) { d.Name, d.Threshold = name, &threshold })
	}
	rows := func(statements ...string) {
		t.Helper()
		ok(t, w.db.Change(t.Context(), func(tx *store.Tx) error {
			for _, s := range statements {
				if err := tx.Run(t.Context(), "test", s); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	w.put(named("changed", 1))
	w.put(named("deleted", 1))
	rows(`create table earlier as select * from alarm`)
	w.put(named("changed", 2))
	w.put(named("new", 1))
	ok(t, w.DeleteAlarms(t.Context(), scope, []string{"deleted"}))
	rows(`delete from alarm`, `insert into alarm select * from earlier`)
	ok(t, w.Reread(t.Context()))
	got := map[string]float64{}
	as, _ := w.Alarms(scope, alarms.AlarmFilter{Metric: true})
	for _, a := range as {
		got[a.Definition.Name] = *a.Definition.Threshold
	}
	if want := map[string]float64{"changed": 1, "deleted": 1}; !maps.Equal(got, want) {
		t.Errorf("the thresholds are %v, want %v", got, want)
	}
}
