package alarm_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
)

const keep = "keep"

// The check table of spec §7.4: newest on the right, X breaching, 0 fine, -
// missing.
var checkTable = map[string]struct {
	n, m                                     int
	missing, ignore, breaching, notBreaching string
}{
	"0 - X - X 3/3": {3, 3, "OK", "OK", "OK", "OK"},
	"0 - - - - 3/3": {3, 3, "OK", "OK", "OK", "OK"},
	"- - - - - 3/3": {3, 3, "INSUFFICIENT_DATA", keep, "ALARM", "OK"},
	"0 X X - X 3/3": {3, 3, "ALARM", "ALARM", "ALARM", "ALARM"},
	"- - X - - 3/3": {3, 3, "ALARM", keep, "ALARM", "OK"},
	"0 - X - X 3/2": {3, 2, "ALARM", "ALARM", "ALARM", "ALARM"},
	"0 0 X 0 X 3/2": {3, 2, "ALARM", "ALARM", "ALARM", "ALARM"},
	"0 - X - - 3/2": {3, 2, "OK", "OK", "ALARM", "OK"},
	"- - - - 0 3/2": {3, 2, "OK", "OK", "ALARM", "OK"},
	"- - - X - 3/2": {3, 2, "ALARM", keep, "ALARM", "OK"},
	// What the table leaves open, by the rules beside it:
	"- - - - X 3/3": {3, 3, keep, keep, "ALARM", "OK"}, // too young to be judged alone
	"- - - X X 3/3": {3, 3, keep, keep, "ALARM", "OK"},
	"X - - - - 3/3": {3, 3, "ALARM", keep, "ALARM", "OK"},
	"X X X 0 0 3/3": {3, 3, "OK", "OK", "OK", "OK"},
	"- - - - X 3/1": {3, 1, "ALARM", "ALARM", "ALARM", "ALARM"},
	"- - X 0 - 3/2": {3, 2, "OK", "OK", "ALARM", "OK"},
}

func TestMissingDataIsTreatedAsTheTableSays(t *testing.T) {
	for row, want := range checkTable {
		for treat, verdict := range map[string]string{
			alarm.Missing: want.missing, "": want.missing, alarm.Ignore: want.ignore,
			alarm.Breaching: want.breaching, alarm.NotBreaching: want.notBreaching,
		} {
			for _, before := range []alarm.StateValue{alarm.StateOK, alarm.StateAlarm, alarm.StateInsufficientData} {
				t.Run(row+" "+treat+" from "+string(before), func(t *testing.T) {
					j := newJudge(t, threshold(func(d *alarm.Definition) {
						d.Metric, d.TreatMissingData = custom, treat
						d.EvaluationPeriods, d.DatapointsToAlarm = want.n, want.m
					}))
					s := ok()
					s.Value = before
					got := j.Evaluate(pattern(strings.Fields(row)[:5]), s, t0.Add(time.Second))
					expect := alarm.StateValue(verdict)
					if verdict == keep {
						expect = before
					}
					if got.State.Value != expect {
						t.Errorf("state %s, want %s", got.State.Value, expect)
					}
					if got.Transition != (expect != before) || got.Changed != got.Transition {
						t.Errorf("changed %v, transition %v", got.Changed, got.Transition)
					}
				})
			}
		}
	}
}

// pattern answers with one point for each letter.
func pattern(letters []string) alarm.Reader {
	return func(alarm.Question) []metric.Point {
		ps := make([]metric.Point, len(letters))
		for i, l := range letters {
			switch l {
			case "X":
				ps[i] = metric.Point{Value: 1, Samples: 1}
			case "0":
				ps[i] = metric.Point{Value: 0, Samples: 1}
			}
		}
		return ps
	}
}

var reasons = map[string]struct {
	pattern string
	change  func(*alarm.Definition)
	from    alarm.StateValue
	want    string
}{
	"one breach": {
		"- - X", func(*alarm.Definition) {}, "OK",
		"Threshold Crossed: 1 datapoint [1.0 (21/11/26 18:59:00)] was greater than or equal to the threshold (1.0).",
	},
	"one that is fine": {
		"X X 0", func(*alarm.Definition) {}, "ALARM",
		"Threshold Crossed: 1 datapoint [0.0 (21/11/26 18:59:00)] was not greater than or equal to the threshold (1.0).",
	},
	"several breaches": {
		"0 0 X X X", func(d *alarm.Definition) { d.EvaluationPeriods = 3 }, "OK",
		"Threshold Crossed: 3 datapoints [1.0 (21/11/26 18:59:00), 1.0 (21/11/26 18:58:00), 1.0 (21/11/26 18:57:00)] " +
			"were greater than or equal to the threshold (1.0).",
	},
	"M out of N": {
		"0 0 X 0 X", func(d *alarm.Definition) { d.EvaluationPeriods, d.DatapointsToAlarm = 3, 2 }, "OK",
		"Threshold Crossed: 2 out of the last 3 datapoints [1.0 (21/11/26 18:59:00), 1.0 (21/11/26 18:57:00)] were " +
			"greater than or equal to the threshold (1.0) (minimum 2 datapoints for OK -> ALARM transition).",
	},
	"back to OK": {
		"0 0 X X 0", func(d *alarm.Definition) { d.EvaluationPeriods, d.DatapointsToAlarm = 3, 3 }, "ALARM",
		"Threshold Crossed: 1 out of the last 3 datapoints [0.0 (21/11/26 18:59:00)] was not greater than or equal " +
			"to the threshold (1.0) (minimum 1 datapoint for ALARM -> OK transition).",
	},
	"nothing came, which is fine": {
		"- - -", func(d *alarm.Definition) { d.TreatMissingData = alarm.NotBreaching }, "ALARM",
		"Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint was treated as " +
			"[NonBreaching].",
	},
	"nothing came, which is bad": {
		"- - - -", func(d *alarm.Definition) { d.EvaluationPeriods, d.TreatMissingData = 2, alarm.Breaching }, "OK",
		"Threshold Crossed: no datapoints were received for 2 periods and 2 missing datapoints were treated as " +
			"[Breaching].",
	},
	"some are missing": {
		"- - - X -", func(d *alarm.Definition) { d.EvaluationPeriods, d.TreatMissingData = 3, alarm.Breaching }, "OK",
		"Threshold Crossed: 1 datapoint [1.0 (21/11/26 18:58:00)] was greater than or equal to the threshold (1.0) " +
			"and 2 missing datapoints were treated as [Breaching].",
	},
	"nothing is known": {
		"- - -", func(*alarm.Definition) {}, "OK",
		"Insufficient Data: 1 datapoint was unknown.",
	},
	"nothing is known of five": {
		"- - - - - - -", func(d *alarm.Definition) { d.EvaluationPeriods = 5 }, "OK",
		"Insufficient Data: 5 datapoints were unknown.",
	},
	"many": {
		"0 0 X X X X X X", func(d *alarm.Definition) { d.EvaluationPeriods = 6 }, "OK",
		"Threshold Crossed: 6 datapoints were greater than or equal to the threshold (1.0). The most recent " +
			"datapoints which crossed the threshold: [1.0 (21/11/26 18:59:00), 1.0 (21/11/26 18:58:00), 1.0 " +
			"(21/11/26 18:57:00), 1.0 (21/11/26 18:56:00), 1.0 (21/11/26 18:55:00)].",
	},
	"five": {
		"0 0 X X X X X", func(d *alarm.Definition) { d.EvaluationPeriods, d.DatapointsToAlarm = 5, 4 }, "OK",
		"Threshold Crossed: 5 out of the last 5 datapoints were greater than or equal to the threshold (1.0). The " +
			"most recent datapoints which crossed the threshold: [1.0 (21/11/26 18:59:00), 1.0 (21/11/26 18:58:00), " +
			"1.0 (21/11/26 18:57:00), 1.0 (21/11/26 18:56:00), 1.0 (21/11/26 18:55:00)] (minimum 4 datapoints for OK " +
			"-> ALARM transition).",
	},
	"only missing ones speak for OK": {
		"- - - - X", func(d *alarm.Definition) { d.EvaluationPeriods, d.TreatMissingData = 3, alarm.NotBreaching },
		"ALARM",
		"Threshold Crossed: 1 datapoint [1.0 (21/11/26 18:59:00)] was greater than or equal to the threshold (1.0) " +
			"and 2 missing datapoints were treated as [NonBreaching].",
	},
}

func TestReasonsAreCloudWatchs(t *testing.T) {
	for name, c := range reasons {
		t.Run(name, func(t *testing.T) {
			j := newJudge(t, threshold(func(d *alarm.Definition) { d.Metric = custom }, c.change))
			s := ok()
			s.Value = c.from
			got := j.Evaluate(pattern(strings.Fields(c.pattern)), s, t0)
			if got.State.Reason != c.want {
				t.Errorf("reason\n%s\nwant\n%s", got.State.Reason, c.want)
			}
		})
	}
}

func TestReasonDataIsCloudWatchs(t *testing.T) {
	j := newJudge(t, threshold(func(d *alarm.Definition) { d.Metric, d.EvaluationPeriods = custom, 2 }))
	got := j.Evaluate(pattern([]string{"-", "X", "-", "X"}), ok(), t0.Add(44984*time.Millisecond)).State.ReasonData
	want := `{"version":"1.0","queryDate":"2026-11-21T19:00:44.984+0000","startDate":"2026-11-21T18:57:00.000+0000","statistic":"Sum","period":60,` +
		`"recentDatapoints":[1.0,1.0],"threshold":1.0,"evaluatedDatapoints":[{"timestamp":"2026-11-21T18:59:00.000+0000","sampleCount":1.0,"value":1.0},` +
		`{"timestamp":"2026-11-21T18:58:00.000+0000"},{"timestamp":"2026-11-21T18:57:00.000+0000","sampleCount":1.0,"value":1.0}]}`
	if got != want {
		t.Errorf("reason data\n%s\nwant\n%s", got, want)
	}
}

func TestReasonsStayWithinTheirLimits(t *testing.T) {
	j := newJudge(t, threshold(func(d *alarm.Definition) {
		d.Metric, d.EvaluationPeriods, d.DatapointsToAlarm, d.Unit = custom, 1000, 900, "Kilobytes/Second"
		d.Threshold, d.ComparisonOperator = new(-1.7976931348623157e+300), alarm.Greater
	}))
	got := j.Evaluate(func(q alarm.Question) []metric.Point {
		ps := make([]metric.Point, q.Window.Count)
		for i := range ps {
			ps[i] = metric.Point{Value: -1.2345678901234567e-300, Samples: 1234567.8901234567}
		}
		return ps
	}, ok(), t0)
	if n := len(got.State.Reason); n > 1023 || n == 0 {
		t.Errorf("the reason has %d characters", n)
	}
	if n := len(got.State.ReasonData); n > 4000 || !json.Valid([]byte(got.State.ReasonData)) {
		t.Errorf("the reason's data has %d characters: %s", n, got.State.ReasonData)
	}
}

func TestAWindowSlidesByItsCadence(t *testing.T) {
	for name, c := range map[string]struct {
		period     int
		now        time.Duration
		last, next time.Duration
	}{
		"five minutes are looked at every minute": {300, 61 * time.Second, time.Minute, 2 * time.Minute},
		"a minute every minute":                   {60, 59999 * time.Millisecond, 0, time.Minute},
		"30 s every ten":                          {30, 19 * time.Second, 10 * time.Second, 20 * time.Second},
		"10 s every ten":                          {10, 10 * time.Second, 10 * time.Second, 20 * time.Second},
		"5 s every second":                        {5, 1500 * time.Millisecond, time.Second, 2 * time.Second},
		"1 s every second":                        {1, 999 * time.Millisecond, 0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJudge(t, threshold(func(d *alarm.Definition) { d.Period = c.period }))
			last, next := j.Schedule(t0.Add(c.now))
			if !last.Equal(t0.Add(c.last)) || !next.Equal(t0.Add(c.next)) {
				t.Errorf("scheduled %v and %v", last.Sub(t0), next.Sub(t0))
			}
			var end time.Time
			j.Evaluate(func(q alarm.Question) []metric.Point { end = q.Window.End(); return nil }, ok(), t0.Add(c.now))
			if !end.Equal(last) {
				t.Errorf("the window ends at %v, not at %v", end, last)
			}
		})
	}
}

func TestAWrongUnitLeavesAnAlarmWithoutData(t *testing.T) {
	s := samples{}
	s.series(custom, "Count").Add(t0.Add(-30*time.Second), 5)
	right := newJudge(t, threshold(func(d *alarm.Definition) { d.Metric, d.Unit = custom, "Count" }))
	wrong := newJudge(t, threshold(func(d *alarm.Definition) { d.Metric, d.Unit = custom, "Seconds" }))
	if got := right.Evaluate(s.read, ok(), t0).State.Value; got != alarm.StateAlarm {
		t.Errorf("with the right unit: %s", got)
	}
	if got := wrong.Evaluate(s.read, ok(), t0).State.Value; got != alarm.StateInsufficientData {
		t.Errorf("with a wrong unit: %s", got)
	}
}

func TestPercentilesOfFewSamplesCanBeIgnored(t *testing.T) {
	p90 := func(d *alarm.Definition) {
		d.Metric, d.Statistic, d.ExtendedStatistic = custom, "", "p90"
		d.EvaluateLowSampleCountPercentile = alarm.IgnoreLowSamples
	}
	points := func(samples ...float64) alarm.Reader {
		return func(alarm.Question) []metric.Point {
			ps := make([]metric.Point, len(samples))
			for i, n := range samples {
				ps[i] = metric.Point{Value: 5, Samples: n}
			}
			return ps
		}
	}
	evaluate := func(r alarm.Reader, change ...func(*alarm.Definition)) alarm.StateValue {
		return newJudge(t, threshold(append([]func(*alarm.Definition){p90}, change...)...)).Evaluate(r, ok(),
			t0).State.Value
	}
	if got := evaluate(points(0, 0, 99)); got != alarm.StateOK {
		t.Errorf("99 samples changed the state to %s", got)
	}
	if got := evaluate(points(0, 0, 100)); got != alarm.StateAlarm {
		t.Errorf("100 samples left the state at %s", got)
	}
	if got := evaluate(points(0, 0, 1),
		func(d *alarm.Definition) { d.EvaluateLowSampleCountPercentile = "" }); got != alarm.StateAlarm {
		t.Errorf("evaluated all the same: %s", got)
	}
	if got := evaluate(points(0, 0, 100, 3, 100),
		func(d *alarm.Definition) { d.EvaluationPeriods, d.DatapointsToAlarm = 3, 2 }); got != alarm.StateAlarm {
		t.Errorf("two good points of three decide, but: %s", got)
	}
	hold := newJudge(t, threshold(p90,
		func(d *alarm.Definition) { d.EvaluationPeriods, d.DatapointsToAlarm, d.Threshold = 3, 2, new(6.0) }))
	firing := ok()
	firing.Value = alarm.StateAlarm
	if got := hold.Evaluate(points(0, 0, 3, 3, 100), firing, t0).State.Value; got != alarm.StateAlarm {
		t.Errorf("one good point of three does not end an alarm of two, but: %s", got)
	}
	if got := hold.Evaluate(points(0, 0, 3, 100, 100), firing, t0).State.Value; got != alarm.StateOK {
		t.Errorf("two good points of three end an alarm of two, but: %s", got)
	}
	p10 := func(d *alarm.Definition) { d.ExtendedStatistic = "p10" }
	if got := evaluate(points(0, 0, 99), p10); got != alarm.StateOK {
		t.Errorf("p10 of 99 samples: %s", got)
	}
	if got := evaluate(points(0, 0, 100), p10); got != alarm.StateAlarm {
		t.Errorf("p10 of 100 samples: %s", got)
	}
}

func TestAStateSaysWhenItWasUpdatedAndWhenItTransitioned(t *testing.T) {
	j := newJudge(t, threshold(func(d *alarm.Definition) { d.Metric = custom }))
	s := alarm.Initial(t0)
	if s.Value != alarm.StateInsufficientData || s.Reason != "Unchecked: Initial alarm creation" || s.ReasonData != "" {
		t.Fatalf("initial state %+v", s)
	}
	first := t0.Add(61 * time.Second)
	s = j.Evaluate(pattern([]string{"-", "-", "-"}), s, first).State
	if s.Reason != "Insufficient Data: 1 datapoint was unknown." || !s.Updated.Equal(first) ||
		!s.Transitioned.Equal(t0) {
		t.Errorf("after nothing came: %+v", s)
	}
	second := first.Add(time.Minute)
	s = j.Evaluate(pattern([]string{"-", "-", "X"}), s, second).State
	if !s.Updated.Equal(second) || !s.Transitioned.Equal(second) {
		t.Errorf("after a transition: %+v", s)
	}
	if o := j.Evaluate(pattern([]string{"-", "X", "X"}), s, second.Add(time.Minute)); o.Changed || o.State != s {
		t.Errorf("the same verdict changed the state: %+v", o.State)
	}
}

func TestAStateSetByHandStandsUntilTheNextScheduledEvaluation(t *testing.T) {
	j := newJudge(t, threshold(func(d *alarm.Definition) { d.Metric, d.Period = custom, 10 }))
	fine := pattern([]string{"0", "0", "0"})
	s, err := ok().Set(alarm.StateAlarm, "drill", `{"who":"me"}`, t0.Add(3*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if !s.Transitioned.Equal(t0.Add(3*time.Second)) || s.Reason != "drill" {
		t.Errorf("set by hand: %+v", s)
	}
	if o := j.Evaluate(fine, s, t0.Add(9*time.Second)); o.Changed || o.State.Value != alarm.StateAlarm ||
		!o.Next.Equal(t0.Add(10*time.Second)) {
		t.Errorf("before the next evaluation: %+v", o)
	}
	if o := j.Evaluate(fine, s, t0.Add(10*time.Second)); !o.Transition || o.State.Value != alarm.StateOK ||
		o.State.ByHand {
		t.Errorf("at the next evaluation: %+v", o)
	}
	same, err := ok().Set(alarm.StateOK, "all well", "", t0)
	if err != nil || !same.Transitioned.Equal(ok().Transitioned) || !same.Updated.Equal(t0) {
		t.Errorf("setting the same value: %+v, %v", same, err)
	}
	for name, set := range map[string]func() error{
		"an unknown state": func() error { _, err := s.Set("FINE", "", "", t0); return err },
		"a long reason":    func() error { _, err := s.Set("OK", strings.Repeat("x", 1024), "", t0); return err },
		"long data": func() error {
			_,
				err := s.Set("OK", "", `"`+strings.Repeat("x", 4000)+`"`, t0)
			return err
		},
		"data without JSON": func() error { _, err := s.Set("OK", "", "{", t0); return err },
	} {
		if set() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
