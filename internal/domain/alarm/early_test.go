package alarm_test

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
)

func TestAnOpenPeriodDecidesWhenNothingCanUndoIt(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*alarm.Definition)
		samples []float64
		early   bool
	}{
		"a sum of errors that is reached": {func(*alarm.Definition) {}, []float64{0, 1}, true},
		"a sum of errors that is not yet": {func(*alarm.Definition) {}, []float64{0, 0}, false},
		"a sum of anything":               {func(d *alarm.Definition) { d.Metric = custom }, []float64{5}, false},
		"a sum that is low so far": {
			func(d *alarm.Definition) { d.ComparisonOperator = alarm.Less },
			[]float64{0},
			false,
		},
		"a maximum that is exceeded": {
			func(d *alarm.Definition) { d.Metric, d.Statistic = custom, "Maximum" },
			[]float64{2},
			true,
		},
		"a maximum that is low so far": {func(d *alarm.Definition) {
			d.Metric, d.Statistic,
				d.ComparisonOperator = custom, "Maximum", alarm.Less
		}, []float64{0}, false},
		"a minimum that is undercut": {func(d *alarm.Definition) {
			d.Metric, d.Statistic, d.ComparisonOperator = custom, "Minimum", alarm.LessOrEqual
		}, []float64{-1}, true},
		"a minimum that is high so far": {func(d *alarm.Definition) {
			d.Metric, d.Statistic = custom,
				"Minimum"
		}, []float64{9}, false},
		"enough samples": {func(d *alarm.Definition) {
			d.Metric, d.Statistic = custom,
				"SampleCount"
		}, []float64{0}, true},
		"an average": {
			func(d *alarm.Definition) { d.Statistic = "Average" },
			[]float64{1, 1, 1},
			false,
		},
		"a percentile": {func(d *alarm.Definition) {
			d.Statistic, d.ExtendedStatistic = "",
				"p100"
		}, []float64{1}, false},
		"one bad period of two that are needed": {
			func(d *alarm.Definition) { d.EvaluationPeriods = 2 },
			[]float64{1},
			false,
		},
		"one bad period of one that is needed": {func(d *alarm.Definition) {
			d.EvaluationPeriods,
				d.DatapointsToAlarm = 2, 1
		}, []float64{1}, true},
		"a second bad period": {func(d *alarm.Definition) {
			d.EvaluationPeriods,
				d.TreatMissingData = 2, alarm.Breaching
		}, []float64{1}, true},
		"a period of a second":                   {func(d *alarm.Definition) { d.Period = 1 }, []float64{1}, true},
		"metric math, which could be undone too": {mathOf("m1 * 1"), []float64{1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJudge(t, threshold(c.change))
			s := samples{}
			now := t0.Add(500 * time.Millisecond)
			for _, v := range c.samples {
				for _, id := range []metric.ID{errors5xx, custom} {
					s.series(id, metric.UnitNone).Add(now, v)
				}
			}
			o := j.Evaluate(s.read, ok(), now)
			if o.Early != c.early || (o.State.Value == alarm.StateAlarm) != c.early {
				t.Errorf("early %v, state %s: %s", o.Early, o.State.Value, o.State.Reason)
			}
			if c.early && !j.DecidesEarly() {
				t.Error("the judge did not say that it decides early")
			}
		})
	}
}

func TestAnOpenPeriodNeverEndsAnAlarm(t *testing.T) {
	j := newJudge(t, threshold(func(d *alarm.Definition) { d.EvaluationPeriods = 2 }))
	s := samples{}
	s.series(errors5xx, metric.UnitNone).Add(t0.Add(-30*time.Second), 0)
	s.series(errors5xx, metric.UnitNone).Add(t0, 1)
	if o := j.Evaluate(s.read, ok(), t0.Add(time.Second)); o.Early ||
		!o.Points[len(o.Points)-1].Start.Equal(t0.Add(-time.Minute)) {
		t.Errorf("an open period decided for OK: %+v", o)
	}
}

func mathOf(expression string) func(*alarm.Definition) {
	return func(d *alarm.Definition) {
		stat := func(name string) *alarm.MetricStat {
			id := errors5xx
			id.Name = name
			return &alarm.MetricStat{Metric: id, Period: d.Period, Stat: "Sum"}
		}
		d.Metrics = []alarm.Query{
			{ID: "m1", Stat: stat("Invocation5XXErrors"), ReturnData: new(false)},
			{ID: "m2", Stat: stat("Invocations"), ReturnData: new(false)},
			{ID: "e1", Expression: expression},
		}
		d.Metric, d.Statistic, d.ExtendedStatistic, d.Period = metric.ID{}, "", "", 0
	}
}

// A sample that lies at most a second back is in the evaluation of the next
// full second.
func TestABadSecondIsJudgedWhenItIsOver(t *testing.T) {
	j := newJudge(
		t, threshold(func(d *alarm.Definition) { d.Period, d.Statistic, d.Threshold = 1, "Average", new(0.5) }),
	)
	s := samples{}
	state := ok()
	errors := s.series(errors5xx, metric.UnitNone)
	bad := t0.Add(10*time.Second + 130*time.Millisecond) // when the new fleet begins to fail
	var fired time.Time
	for now := t0; now.Before(t0.Add(15 * time.Second)); now = now.Add(5 * time.Millisecond) {
		v := 0.0
		if !now.Before(bad) {
			v = 1
		}
		errors.Add(now, v)
		o := j.Evaluate(s.read, state, now)
		state = o.State
		if o.Transition && state.Value == alarm.StateAlarm && fired.IsZero() {
			fired = now
		}
	}
	if late := fired.Sub(bad); fired.IsZero() || late > time.Second {
		t.Errorf("the alarm fired %v after the first bad sample", late)
	}
}

// drawAlarm draws alarms of every kind that is evaluated by itself.
func drawAlarm(t *rapid.T) alarm.Definition {
	d := threshold()
	d.Statistic = rapid.SampledFrom([]string{"SampleCount", "Average", "Sum", "Minimum", "Maximum"}).Draw(t,
		"statistic")
	if rapid.IntRange(0, 5).Draw(t, "extended") == 0 {
		d.Statistic, d.ExtendedStatistic = "", rapid.SampledFrom([]string{"p50", "p99", "tm90", "IQM"}).Draw(t,
			"extended statistic")
		d.EvaluateLowSampleCountPercentile = rapid.SampledFrom([]string{"", alarm.IgnoreLowSamples}).Draw(t, "low")
	}
	d.Metric = rapid.SampledFrom([]metric.ID{errors5xx, custom}).Draw(t, "metric")
	d.Period = rapid.SampledFrom([]int{1, 5, 10, 30, 60, 120}).Draw(t, "period")
	d.EvaluationPeriods = rapid.IntRange(1, 4).Draw(t, "N")
	d.DatapointsToAlarm = rapid.IntRange(0, d.EvaluationPeriods).Draw(t, "M")
	d.Threshold = new(float64(rapid.IntRange(-2, 5).Draw(t, "threshold")))
	d.ComparisonOperator = rapid.SampledFrom([]string{
		alarm.Greater, alarm.GreaterOrEqual, alarm.Less,
		alarm.LessOrEqual,
	}).Draw(t, "operator")
	d.TreatMissingData = rapid.SampledFrom([]string{
		"", alarm.Missing, alarm.Ignore, alarm.Breaching,
		alarm.NotBreaching,
	}).Draw(t, "missing")
	if rapid.IntRange(0, 5).Draw(t, "math") == 0 {
		mathOf(rapid.SampledFrom([]string{"m1", "IF(m2 > 0, m1 / m2, 0)", "FILL(m1, 0) + AVG(m2)"}).Draw(t,
			"expression"))(&d)
	}
	return d
}

func drawState(t *rapid.T) alarm.State {
	s := ok()
	s.Value = rapid.SampledFrom([]alarm.StateValue{
		alarm.StateOK, alarm.StateAlarm,
		alarm.StateInsufficientData,
	}).Draw(t, "state")
	return s
}

// What an open period decided is confirmed by the scheduled evaluation at its
// end, whatever samples come until then.
func TestAnEarlyAlarmIsNeverUndoneByLaterSamples(t *testing.T) {
	early := 0
	rapid.Check(t, func(t *rapid.T) {
		d := drawAlarm(t)
		j, err := alarm.NewJudge(d)
		if err != nil {
			t.Fatal(err)
		}
		s, state := samples{}, drawState(t)
		least := 0 // the endpoint's own metrics are never negative
		if d.Metric.Key() == custom.Key() {
			least = -3
		}
		add := func(from, to time.Time, label string) {
			for range rapid.IntRange(0, 8).Draw(t, label) {
				at := from.Add(time.Duration(rapid.Int64Range(0, int64(to.Sub(from))-1).Draw(t, label+" at")))
				v := float64(rapid.IntRange(least, 3).Draw(t, label+" value"))
				s.series(errors5xx, metric.UnitNone).Add(at, max(0, v))
				s.series(custom, metric.UnitNone).Add(at, v)
			}
		}
		now := t0.Add(time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "now")))
		add(now.Add(-10*time.Minute), now, "old")
		add(now.Add(-10*time.Second), now, "recent")
		o := j.Evaluate(s.read, state, now)
		if o.Early && o.State.Value != alarm.StateAlarm {
			t.Fatalf("an early look ended in %s", o.State.Value)
		}
		if !o.Early {
			return
		}
		early++
		add(now, o.Next, "later")
		for _, before := range []alarm.State{o.State, state} {
			if after := j.Evaluate(s.read, before, o.Next); after.State.Value != alarm.StateAlarm {
				t.Errorf("undone at %v: %s", o.Next, after.State.Reason)
			}
		}
		if between := j.Evaluate(s.read, o.State,
			o.Next.Add(-time.Nanosecond)); between.State.Value != alarm.StateAlarm {
			t.Errorf("undone before %v: %s", o.Next, between.State.Reason)
		}
	})
	if early == 0 {
		t.Error("no early alarm was drawn")
	}
}

func TestEvaluationIsDeterministicAndChangesNothingTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j, err := alarm.NewJudge(drawAlarm(t))
		if err != nil {
			t.Fatal(err)
		}
		s, state := samples{}, drawState(t)
		for range rapid.IntRange(0, 20).Draw(t, "samples") {
			at := t0.Add(-time.Duration(rapid.IntRange(0, 600).Draw(t, "age")) * time.Second)
			s.series(errors5xx, metric.UnitNone).Add(at, float64(rapid.IntRange(0, 1).Draw(t, "value")))
			s.series(custom, metric.UnitNone).Add(at, float64(rapid.IntRange(-5, 5).Draw(t, "value")))
		}
		first, second := j.Evaluate(s.read, state, t0), j.Evaluate(s.read, state, t0)
		if !reflect.DeepEqual(first, second) {
			t.Errorf("twice the same question:\n%+v\n%+v", first, second)
		}
		if again := j.Evaluate(s.read, first.State, t0); again.Changed || again.State != first.State {
			t.Errorf("evaluating again changed\n%+v\nto\n%+v", first.State, again.State)
		}
		if !first.Next.After(t0) || first.Next.Sub(t0) > time.Minute {
			t.Errorf("the next evaluation is in %v", first.Next.Sub(t0))
		}
	})
}

func BenchmarkEvaluate(b *testing.B) {
	s := samples{}
	for i := range 600 * 200 {
		at := t0.Add(time.Duration(i)*time.Second/200 - 600*time.Second)
		for _, name := range []string{"Invocation5XXErrors", "Invocations", "ModelLatency"} {
			id := errors5xx
			id.Name = name
			s.series(id, metric.UnitNone).Add(at, float64(i%977))
		}
	}
	latency := errors5xx
	latency.Name = "ModelLatency"
	for name, change := range map[string]func(*alarm.Definition){
		"sum of one second":   func(d *alarm.Definition) { d.Period = 1 },
		"average of a minute": func(d *alarm.Definition) { d.Statistic = "Average" },
		"p99 of three seconds": func(d *alarm.Definition) {
			d.Metric, d.Statistic, d.ExtendedStatistic, d.Period, d.EvaluationPeriods = latency, "", "p99", 1, 3
		},
		"ratio of one second": func(d *alarm.Definition) { d.Period = 1; mathOf("IF(m2 > 0, m1 / m2, 0)")(d) },
	} {
		b.Run(name, func(b *testing.B) {
			j := newJudge(b, threshold(change))
			b.ReportAllocs()
			for b.Loop() {
				j.Evaluate(s.read, ok(), t0.Add(time.Millisecond))
			}
		})
	}
}
