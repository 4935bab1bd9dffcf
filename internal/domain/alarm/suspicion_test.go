package alarm_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
)

const time30 = 30 * time.Second

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// named changes the endpoint's metric and what it is compared with.
func named(name, stat, op string, threshold float64) func(*alarm.Definition) {
	return func(d *alarm.Definition) {
		d.Metric.Name, d.Statistic, d.ComparisonOperator, d.Threshold = name, stat, op, new(threshold)
	}
}

var doubts = map[string]struct {
	change func(*alarm.Definition)
	state  alarm.StateValue
	bake   time.Duration
	want   []alarm.SuspicionKind
	text   string
}{
	"a good guard": {func(*alarm.Definition) {}, "OK", time.Minute, nil, ""},
	"it is in ALARM": {
		func(*alarm.Definition) {}, "ALARM", time.Minute,
		[]alarm.SuspicionKind{alarm.AlreadyInAlarm},
		"is in ALARM already: fine",
	},
	"the bake is too short": {
		func(d *alarm.Definition) { d.EvaluationPeriods = 3 }, "OK", 2 * time.Minute,
		[]alarm.SuspicionKind{alarm.BakeTooShort},
		"looks at 3 periods of 1m0s, but the bake of step 2 lasts 2m0s",
	},
	"there is no bake": {func(d *alarm.Definition) { d.EvaluationPeriods = 3 }, "OK", 0, nil, ""},
	"AWS's own example": {
		named("Invocation5XXErrors", "Average", alarm.Greater, 1), "OK", time.Hour,
		[]alarm.SuspicionKind{alarm.NeverFires},
		"the Average of Invocation5XXErrors is between 0.0 and 1.0, never greater than 1.0.",
	},
	"the same of other errors": {
		named("InvocationModelErrors", "Average", alarm.GreaterOrEqual, 5), "OK", time.Hour,
		[]alarm.SuspicionKind{alarm.NeverFires},
		"",
	},
	"a maximum of 4XX": {
		named("Invocation4XXErrors", "Maximum", alarm.Greater, 1), "OK", time.Hour,
		[]alarm.SuspicionKind{alarm.NeverFires},
		"",
	},
	"every request must fail": {
		named("Invocation5XXErrors", "Average", alarm.GreaterOrEqual, 1), "OK", time.Hour,
		[]alarm.SuspicionKind{alarm.OnlyIfAllFail},
		"only when every request",
	},
	"a rate of errors": {named("Invocation5XXErrors", "Average", alarm.Greater, 0.05), "OK", time.Hour, nil, ""},
	"many errors":      {named("Invocation5XXErrors", "Sum", alarm.Greater, 100), "OK", time.Hour, nil, ""},
	"a negative latency": {
		named("ModelLatency", "Average", alarm.Less, 0), "OK", time.Hour,
		[]alarm.SuspicionKind{alarm.NeverFires},
		"is at least 0.0, never less than 0.0",
	},
	"no samples in a period": {
		named("ModelLatency", "SampleCount", alarm.Less, 1), "OK", time.Hour,
		[]alarm.SuspicionKind{alarm.NeverFires},
		"",
	},
	"no samples, missing is bad": {func(d *alarm.Definition) {
		named("ModelLatency", "SampleCount", alarm.Less, 1)(d)
		d.TreatMissingData = alarm.Breaching
	}, "OK", time.Hour, nil, ""},
	"any sum": {
		named("Invocation5XXErrors", "Sum", alarm.GreaterOrEqual, 0), "OK", time.Hour,
		[]alarm.SuspicionKind{alarm.AlwaysFires},
		"fires on any data",
	},
	"a percentile above 1": {func(d *alarm.Definition) {
		named("Invocation5XXErrors", "", alarm.Greater, 1)(d)
		d.ExtendedStatistic = "p99"
	}, "OK", time.Hour, []alarm.SuspicionKind{alarm.NeverFires}, ""},
	"memory above 100 %": {func(d *alarm.Definition) {
		named("MemoryUtilization", "Average", alarm.Greater, 100)(d)
		d.Metric.Namespace = "/aws/sagemaker/Endpoints"
	}, "OK", time.Hour, []alarm.SuspicionKind{alarm.NeverFires}, ""},
	"a metric of one's own": {
		func(d *alarm.Definition) { d.Metric, d.Statistic = custom, "Average" }, "OK",
		time.Hour, nil, "",
	},
	"nothing came": {
		func(d *alarm.Definition) { d.Metric.Name = "MidStreamErrors" }, "OK", time.Hour,
		[]alarm.SuspicionKind{alarm.NoData},
		"MidStreamErrors had no sample in the last 15m0s.",
	},
	"nothing came, and it is fine": {func(d *alarm.Definition) {
		d.Metric.Name, d.TreatMissingData = "MidStreamErrors",
			alarm.NotBreaching
	}, "OK", time.Hour, []alarm.SuspicionKind{alarm.NoData, alarm.SilentOnMissing}, ""},
	"the wrong unit": {
		func(d *alarm.Definition) { d.Unit = "Seconds" }, "OK", time.Hour,
		[]alarm.SuspicionKind{alarm.WrongUnit},
		"in Seconds, but its samples are in None.",
	},
	"no unit where there are two": {
		func(d *alarm.Definition) { d.Metric, d.Statistic = twofold, "Average" }, "OK", time.Hour,
		[]alarm.SuspicionKind{alarm.SeveralUnits},
		"the samples of Twofold are in several: [Count Seconds].",
	},
	"a day of seconds": {
		func(d *alarm.Definition) { d.Period, d.EvaluationPeriods = 1, 86400 }, "OK", 24 * time.Hour,
		[]alarm.SuspicionKind{alarm.LongerThanKept},
		"",
	},
	"a ratio": {mathOf("m1 / m2"), "OK", time.Hour, nil, ""},
}

func TestADoubtfulGuardIsPointedOut(t *testing.T) {
	for name, c := range doubts {
		t.Run(name, func(t *testing.T) {
			s := samples{}
			for _, name := range []string{
				"Invocation5XXErrors", "Invocation4XXErrors", "InvocationModelErrors",
				"Invocations", "ModelLatency", "MemoryUtilization",
			} {
				id := errors5xx
				id.Name = name
				s.series(id, metric.UnitNone).Add(t0.Add(-10*time.Minute), 1)
				id.Namespace = "/aws/sagemaker/Endpoints"
				s.series(id, metric.UnitNone).Add(t0.Add(-10*time.Minute), 1)
			}
			s.series(custom, metric.UnitNone).Add(t0, 1)
			s.series(twofold, "Seconds").Add(t0.Add(-time.Minute), 1)
			s.series(twofold, "Count").Add(t0.Add(-time.Minute), 1)
			state := ok()
			state.Value = c.state
			found := newJudge(t, threshold(c.change)).Suspicions(alarm.Look{
				State: state, Guarded: alarm.Guarded{Step: 2, Bake: c.bake}, Now: t0, Read: s.read,
				Units: func(k metric.Key) []metric.Unit {
					var units []metric.Unit
					for u := range s[k] {
						units = append(units, u)
					}
					return units
				},
			})
			var kinds []alarm.SuspicionKind
			var texts []string
			for _, f := range found {
				kinds = append(kinds, f.Kind)
				texts = append(texts, f.Text)
				if f.Alarm != "a" || !strings.HasPrefix(f.Text, `Alarm "a" `) {
					t.Errorf("it does not name the alarm: %+v", f)
				}
			}
			if !slices.Equal(kinds, c.want) || !strings.Contains(strings.Join(texts, "\n"), c.text) {
				t.Errorf("found %v, want %v; %q", kinds, c.want, texts)
			}
		})
	}
}

func TestARuleThatCannotHoldIsPointedOut(t *testing.T) {
	for rule, want := range map[string]bool{
		"ALARM(a)":                             false,
		"ALARM(a) AND OK(a)":                   true,
		"FALSE":                                true,
		"ALARM(a) AND NOT (ALARM(a) OR FALSE)": true,
		"AT_LEAST(2, ALARM, (a, b)) AND OK(c)": false,
		// too long to try
		"ALARM(a) AND OK(a) AND (OK(b) OR OK(c) OR OK(d) OR OK(e) OR OK(f) OR OK(g) OR OK(h))": false,
	} {
		found := newJudge(t, alarm.Definition{Name: "c", Rule: rule}).Suspicions(alarm.Look{State: ok(), Now: t0})
		if got := len(found) == 1 && found[0].Kind == alarm.NeverFires; got != want {
			t.Errorf("%s: found %v", rule, found)
		}
	}
}

func TestNobodyElsePutsSamplesIntoSlipwaysNamespaces(t *testing.T) {
	for namespace, want := range map[string]bool{
		"AWS/SageMaker": true, "/aws/sagemaker/Endpoints": true, "Shop": false,
		"MyAWS/SageMaker": false,
	} {
		if got := alarm.Reserved(namespace); got != want {
			t.Errorf("%s: %v", namespace, got)
		}
	}
}

func TestEvidenceIsReadByItsHighestValueAlone(t *testing.T) {
	odds := metric.ID{Namespace: alarm.Evidence, Name: "AnyEvidence", Dimensions: errors5xx.Dimensions}
	on := func(change func(*alarm.Definition)) alarm.Definition {
		return threshold(func(d *alarm.Definition) {
			d.Metric, d.Statistic, d.Threshold, d.ComparisonOperator = odds, "Maximum", new(2.0), alarm.Greater
			d.Period, d.TreatMissingData = 10, alarm.NotBreaching
			change(d)
		})
	}
	for want, change := range map[string]func(*alarm.Definition){
		"":                                 func(*alarm.Definition) {},
		"takes the Average of":             func(d *alarm.Definition) { d.Statistic = "Average" },
		"fires when AnyEvidence is low":    func(d *alarm.Definition) { d.ComparisonOperator = alarm.Less },
		"takes missing data for bad":       func(d *alarm.Definition) { d.TreatMissingData = alarm.Breaching },
		"rolls back when AnyProof is high": func(d *alarm.Definition) { d.Metric.Name = "AnyProof" },
		"computes with AnyEvidence": func(d *alarm.Definition) {
			stat := alarm.MetricStat{Metric: odds, Period: 10, Stat: "Maximum"}
			d.Metrics = []alarm.Query{
				{ID: "a", Stat: &stat, ReturnData: new(false)}, {ID: "b", Expression: "a*2", ReturnData: new(true)},
			}
			d.Metric, d.Statistic, d.Period = metric.ID{}, "", 0
		},
	} {
		j := newJudge(t, on(change))
		got := j.Suspicions(alarm.Look{
			Now: t0, State: ok(), Read: samples{}.read, Guarded: alarm.Guarded{Endpoint: "e", Variants: []string{"v"}},
		})
		text := ""
		for _, s := range got {
			text += string(s.Kind) + ": " + s.Text
		}
		if want == "" && text != "" || !strings.Contains(text, want) || want != "" && len(got) != 1 {
			t.Errorf("%q: %s", want, text)
		}
	}
}

func TestOnlySlipwayPutsEvidence(t *testing.T) {
	for namespace, want := range map[string]bool{
		alarm.Evidence: true, "Slipway/": true, "AWS/SageMaker": true, "Slipways": false, "slipway/x": false,
		"Shop": false,
	} {
		if alarm.Reserved(namespace) != want {
			t.Errorf("%q is reserved: %v", namespace, !want)
		}
	}
}
