package alarm_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

var refusedAlarms = map[string]func(*alarm.Definition){
	"no name":                    func(d *alarm.Definition) { d.Name = "" },
	"a long name":                func(d *alarm.Definition) { d.Name = strings.Repeat("x", 256) },
	"a control character":        func(d *alarm.Definition) { d.Name = "a\x00" },
	"a long description":         func(d *alarm.Definition) { d.Description = strings.Repeat("x", 1025) },
	"six actions":                func(d *alarm.Definition) { d.OKActions = make([]string, 6) },
	"an empty action":            func(d *alarm.Definition) { d.AlarmActions = []string{""} },
	"no metric":                  func(d *alarm.Definition) { d.Metric = metric.ID{} },
	"no namespace":               func(d *alarm.Definition) { d.Metric.Namespace = "" },
	"no statistic":               func(d *alarm.Definition) { d.Statistic = "" },
	"two statistics":             func(d *alarm.Definition) { d.ExtendedStatistic = "p99" },
	"an unknown statistic":       func(d *alarm.Definition) { d.Statistic = "Median" },
	"a percentile as Statistic":  func(d *alarm.Definition) { d.Statistic = "p99" },
	"a sum as ExtendedStatistic": func(d *alarm.Definition) { d.Statistic, d.ExtendedStatistic = "", "Sum" },
	"no period":                  func(d *alarm.Definition) { d.Period = 0 },
	"a negative period":          func(d *alarm.Definition) { d.Period = -60 },
	"a period of 2":              func(d *alarm.Definition) { d.Period = 2 },
	"a period of 90":             func(d *alarm.Definition) { d.Period = 90 },
	"no periods":                 func(d *alarm.Definition) { d.EvaluationPeriods = 0 },
	"more than a day":            func(d *alarm.Definition) { d.EvaluationPeriods = 1441 },
	"more than a week":           func(d *alarm.Definition) { d.Period, d.EvaluationPeriods = 3600, 169 },
	"periods beyond counting":    func(d *alarm.Definition) { d.EvaluationPeriods = math.MaxInt },
	"M above N":                  func(d *alarm.Definition) { d.DatapointsToAlarm = 2 },
	"M below 0":                  func(d *alarm.Definition) { d.DatapointsToAlarm = -1 },
	"no operator":                func(d *alarm.Definition) { d.ComparisonOperator = "" },
	"an unknown operator":        func(d *alarm.Definition) { d.ComparisonOperator = "NotEqual" },
	"no threshold":               func(d *alarm.Definition) { d.Threshold = nil },
	"a threshold of NaN":         func(d *alarm.Definition) { d.Threshold = new(math.NaN()) },
	"unknown missing data":       func(d *alarm.Definition) { d.TreatMissingData = "Breaching" },
	"unknown low samples":        func(d *alarm.Definition) { d.EvaluateLowSampleCountPercentile = "no" },
	"an unknown unit":            func(d *alarm.Definition) { d.Unit = "Parsecs" },
	"a suppressor":               func(d *alarm.Definition) { d.Suppressor = "b" },
	"a metric and a rule":        func(d *alarm.Definition) { d.Rule = "TRUE" },
	"a metric and math":          func(d *alarm.Definition) { m := d.Metric; mathOf("m1")(d); d.Metric = m },
	"math of nothing":            func(d *alarm.Definition) { mathOf("m1")(d); d.Metrics = d.Metrics[2:] },
	"an unknown query":           mathOf("m1 + m3"),
	"an expression on itself":    mathOf("m1 + e1"),
	"a scalar":                   mathOf("SUM(m1)"),
	"a list":                     mathOf("METRICS()"),
	"an unknown function":        mathOf("SEARCH(m1)"),
	"an expression cut short":    mathOf("m1 +"),
	"no result":                  func(d *alarm.Definition) { mathOf("m1")(d); d.Metrics[2].ReturnData = new(false) },
	"two results":                func(d *alarm.Definition) { mathOf("m1")(d); d.Metrics[0].ReturnData = nil },
	"an Id twice":                func(d *alarm.Definition) { mathOf("m1")(d); d.Metrics[1].ID = "m1" },
	"an Id in capitals":          func(d *alarm.Definition) { mathOf("m1")(d); d.Metrics[1].ID = "M2" },
	"different periods":          func(d *alarm.Definition) { mathOf("m1")(d); d.Metrics[1].Stat.Period = 120 },
	"a query of both":            func(d *alarm.Definition) { mathOf("m1")(d); d.Metrics[0].Expression = "m2" },
	"a query of neither":         func(d *alarm.Definition) { mathOf("m1")(d); d.Metrics[0].Stat = nil },
	"a bad statistic in math":    func(d *alarm.Definition) { mathOf("m1")(d); d.Metrics[0].Stat.Stat = "p" },
	"a bad unit in math":         func(d *alarm.Definition) { mathOf("m1")(d); d.Metrics[0].Stat.Unit = "x" },
	"a bad period in math":       func(d *alarm.Definition) { mathOf("m1")(d); d.Metrics[0].Stat.Period = 7 },
	"eleven metrics": func(d *alarm.Definition) {
		mathOf("m1")(d)
		for i := range 9 {
			q := d.Metrics[0]
			q.ID = "x" + strings.Repeat("x", i)
			d.Metrics = append(d.Metrics, q)
		}
	},
	"too much to compute": func(d *alarm.Definition) {
		d.Period, d.EvaluationPeriods = 1, 86400
		mathOf("m1" + strings.Repeat("+m1", 500))(d)
	},
}

func TestAlarmsThatTheAPIRefusesAreRefused(t *testing.T) {
	for name, change := range refusedAlarms {
		t.Run(name, func(t *testing.T) {
			d := threshold(change)
			err := d.Validate()
			if !errors.Is(err, fault.Invalid) {
				t.Errorf("the answer was %v", err)
			}
			if _, public := fault.Public(err); err != nil && !strings.HasSuffix(public, ".") {
				t.Errorf("%q is no sentence", public)
			}
		})
	}
}

func TestAnomalyDetectionIsNotSupported(t *testing.T) {
	for name, change := range map[string]func(*alarm.Definition){
		"its operator":  func(d *alarm.Definition) { d.ComparisonOperator = "GreaterThanUpperThreshold" },
		"its threshold": func(d *alarm.Definition) { d.ThresholdMetricID = "ad1" },
	} {
		d := threshold(change)
		if err := d.Validate(); !errors.Is(err, fault.Unsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAlarmsThatTheAPITakesAreTaken(t *testing.T) {
	for name, change := range map[string]func(*alarm.Definition){
		"a sum of a minute":    func(*alarm.Definition) {},
		"1 s":                  func(d *alarm.Definition) { d.Period = 1 },
		"5 s":                  func(d *alarm.Definition) { d.Period = 5 },
		"20 s":                 func(d *alarm.Definition) { d.Period = 20 },
		"a day of minutes":     func(d *alarm.Definition) { d.EvaluationPeriods = 1440 },
		"a week of hours":      func(d *alarm.Definition) { d.Period, d.EvaluationPeriods = 3600, 168 },
		"a week in one":        func(d *alarm.Definition) { d.Period = 7 * 86400 },
		"M out of N":           func(d *alarm.Definition) { d.EvaluationPeriods, d.DatapointsToAlarm = 3, 1 },
		"a percentile":         func(d *alarm.Definition) { d.Statistic, d.ExtendedStatistic = "", "p99.9" },
		"a trimmed mean":       func(d *alarm.Definition) { d.Statistic, d.ExtendedStatistic = "", "tm95" },
		"the usual ratio":      mathOf("IF(m2 > 0, m1 / m2, 0)"),
		"a list made a series": mathOf("SUM(METRICS())"),
		"two steps, last first": func(d *alarm.Definition) {
			mathOf("e2 * 100")(d)
			d.Metrics = append(d.Metrics, alarm.Query{ID: "e2", Expression: "m1 / m2", ReturnData: new(false)})
		},
		"a metric of one query": func(d *alarm.Definition) {
			mathOf("m1")(d)
			d.Metrics = d.Metrics[:1]
			d.Metrics[0].ReturnData = nil
		},
		"a composite": func(d *alarm.Definition) { *d = alarm.Definition{Name: "c", Rule: "ALARM(a)"} },
		"a suppressed one": func(d *alarm.Definition) {
			*d = alarm.Definition{
				Name: "c", Rule: "ALARM(a)", Suppressor: "b", SuppressorWaitPeriod: new(1),
				SuppressorExtensionPeriod: new(0),
			}
		},
	} {
		d := threshold(change)
		if err := d.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCompositesThatTheAPIRefusesAreRefused(t *testing.T) {
	for name, d := range map[string]alarm.Definition{
		"a bad rule":            {Name: "c", Rule: "ALARM("},
		"a wait without object": {Name: "c", Rule: "TRUE", SuppressorWaitPeriod: new(1)},
		"no waits":              {Name: "c", Rule: "TRUE", Suppressor: "b"},
		"a negative wait": {
			Name: "c", Rule: "TRUE", Suppressor: "b", SuppressorWaitPeriod: new(-1),
			SuppressorExtensionPeriod: new(0),
		},
	} {
		if err := d.Validate(); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMathIsComparedWithTheThreshold(t *testing.T) {
	s := samples{}
	for i := range 10 {
		errors := errors5xx
		invocations := errors5xx
		invocations.Name = "Invocations"
		at := t0.Add(-time30 + seconds(i))
		s.series(invocations, metric.UnitNone).Add(at, 1)
		s.series(errors, metric.UnitNone).Add(at, float64(i%2))
	}
	d := threshold(mathOf("IF(m2 > 0, m1 / m2, 0)"))
	d.Threshold = new(0.5)
	o := newJudge(t, d).Evaluate(s.read, ok(), t0)
	if o.State.Value != alarm.StateAlarm ||
		o.State.Reason != "Threshold Crossed: 1 datapoint [0.5 (21/11/26 18:59:00)] was greater than or equal to the "+
			"threshold (0.5)." {
		t.Errorf("%+v", o.State)
	}
	if strings.Contains(o.State.ReasonData, "statistic") || strings.Contains(o.State.ReasonData, "sampleCount") {
		t.Errorf("math has no statistic: %s", o.State.ReasonData)
	}
	if got := len(newJudge(t, d).Metrics()); got != 2 {
		t.Errorf("it watches %d metrics", got)
	}
}
