package alarm_test

import (
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
)

// t0 is a full hour.
var t0 = time.Date(2026, 11, 21, 19, 0, 0, 0, time.UTC)

var errors5xx = metric.ID{Namespace: "AWS/SageMaker", Name: "Invocation5XXErrors", Dimensions: []metric.Dimension{
	{Name: "EndpointName", Value: "e"}, {Name: "VariantName", Value: "v"},
}}

var (
	custom  = metric.ID{Namespace: "Shop", Name: "Orders"}
	twofold = metric.ID{Namespace: "Shop", Name: "Twofold"} // has samples in two units
)

// threshold returns an alarm on the Sum of the endpoint's 5XX errors being at
// least 1 in one period of a minute, changed as the test likes.
func threshold(change ...func(*alarm.Definition)) alarm.Definition {
	d := alarm.Definition{
		Name: "a", Metric: errors5xx, Statistic: "Sum", Period: 60, EvaluationPeriods: 1,
		Threshold: new(1.0), ComparisonOperator: alarm.GreaterOrEqual,
	}
	for _, c := range change {
		c(&d)
	}
	return d
}

func newJudge(t testing.TB, d alarm.Definition) *alarm.Judge {
	t.Helper()
	j, err := alarm.NewJudge(d)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// samples holds series by metric and unit, as the service does.
type samples map[metric.Key]map[metric.Unit]*metric.Series

func (s samples) series(id metric.ID, u metric.Unit) *metric.Series {
	if s[id.Key()] == nil {
		s[id.Key()] = map[metric.Unit]*metric.Series{}
	}
	if s[id.Key()][u] == nil {
		s[id.Key()][u] = new(metric.Series)
	}
	return s[id.Key()][u]
}

func (s samples) read(q alarm.Question) []metric.Point {
	for u, series := range s[q.Key] {
		if q.Unit == "" || q.Unit == u {
			return series.Points(q.Window, q.Stat)
		}
	}
	return nil
}

func ok() alarm.State {
	return alarm.State{
		Value: alarm.StateOK, Reason: "fine", Updated: t0.Add(-time.Hour),
		Transitioned: t0.Add(-time.Hour),
	}
}
