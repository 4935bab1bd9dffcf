package cloudwatch_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/google/go-cmp/cmp"
)

// The labels were observed on CloudWatch (records of LocalStack's tests, 2025).
func TestMetricsAreLabelledByWhatTheyDifferIn(t *testing.T) {
	w := newWorld(t)
	begin := minute(10 * time.Minute)
	of := func(id, statistic string, period int32, change ...func(*types.MetricDataQuery)) types.MetricDataQuery {
		q := stat(id, "Orders", statistic, true)
		q.MetricStat.Period = &period
		for _, c := range change {
			c(&q)
		}
		return q
	}
	hidden := func(q *types.MetricDataQuery) { q.ReturnData = aws.Bool(false) }
	called := func(q *types.MetricDataQuery) { q.Label = aws.String("mine") }
	for name, c := range map[string]struct {
		queries []types.MetricDataQuery
		labels  []string
	}{
		"one": {[]types.MetricDataQuery{of("a", "Sum", 60)}, []string{"Orders"}},
		"statistics": {
			[]types.MetricDataQuery{of("a", "Sum", 60), of("b", "Minimum", 60)},
			[]string{"Orders Sum", "Orders Minimum"},
		},
		"periods": {
			[]types.MetricDataQuery{of("a", "Sum", 60), of("b", "Sum", 120)}, []string{"Orders 60", "Orders 120"},
		},
		"both": {
			[]types.MetricDataQuery{of("a", "Sum", 60), of("b", "Minimum", 120)},
			[]string{"Orders Sum 60", "Orders Minimum 120"},
		},
		"neither": {
			[]types.MetricDataQuery{of("a", "Sum", 60), of("b", "Sum", 60)}, []string{"Orders", "Orders"},
		},
		"one is hidden": {
			[]types.MetricDataQuery{of("a", "Sum", 60), of("b", "Minimum", 60, hidden)}, []string{"Orders"},
		},
		"one has a name": {
			[]types.MetricDataQuery{of("a", "Sum", 60), of("b", "p90", 60, called)}, []string{"Orders Sum", "mine"},
		},
		"an expression": {
			[]types.MetricDataQuery{
				of("a", "Sum", 60, hidden), of("b", "Minimum", 60, hidden),
				{Id: aws.String("e"), Expression: aws.String("a-b")},
			}, []string{"e"},
		},
	} {
		out := must(w.GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{
			StartTime: &begin, EndTime: aws.Time(begin.Add(5 * time.Minute)), MetricDataQueries: c.queries,
		}))(t)
		var got []string
		for _, r := range out.MetricDataResults {
			got = append(got, *r.Label)
		}
		if diff := cmp.Diff(c.labels, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Seconds and milliseconds have no sum: CloudWatch answers for one unit, and
// says that there are others.
func TestSamplesOfSeveralUnitsAreNotAddedUp(t *testing.T) {
	w := newWorld(t)
	begin := minute(10 * time.Minute)
	in := func(unit types.StandardUnit, v float64) types.MetricDatum {
		d := datum(begin, v)
		d.Unit = unit
		return d
	}
	w.ok(w.putData(in(types.StandardUnitSeconds, 60), in(types.StandardUnitMilliseconds, 60000)))
	get := func(begin time.Time, queries ...types.MetricDataQuery) []types.MetricDataResult {
		return must(w.GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{
			StartTime: &begin, EndTime: aws.Time(begin.Add(time.Minute)), MetricDataQueries: queries,
		}))(t).MetricDataResults
	}
	of := func(unit types.StandardUnit) types.MetricDataQuery {
		q := stat("m", "Orders", "Sum", true)
		q.MetricStat.Unit = unit
		return q
	}
	several := []types.MessageData{{
		Code: aws.String("MultipleUnits"), Value: aws.String("Multiple units returned: '[Milliseconds, Seconds]'"),
	}}
	for unit, want := range map[types.StandardUnit]struct {
		sum      float64
		messages []types.MessageData
	}{
		"":                             {60000, several},
		types.StandardUnitSeconds:      {60, nil},
		types.StandardUnitMilliseconds: {60000, nil},
	} {
		r := get(begin, of(unit))[0]
		if diff := cmp.Diff([]float64{want.sum}, r.Values); diff != "" {
			t.Errorf("unit %q: %s", unit, diff)
		}
		if len(r.Messages) != len(want.messages) || len(r.Messages) == 1 &&
			(*r.Messages[0].Code != *want.messages[0].Code || *r.Messages[0].Value != *want.messages[0].Value) {
			t.Errorf("unit %q: messages %v", unit, r.Messages)
		}
	}
	// An expression is of the same samples as the metric beside it.
	rs := get(begin, of(""), types.MetricDataQuery{Id: aws.String("e"), Expression: aws.String("m * 2")})
	if got := rs[1].Values; len(got) != 1 || got[0] != 120000 {
		t.Errorf("twice the metric is %v", got)
	}
	// What came in one unit alone is told without a word, whatever came before.
	later := in(types.StandardUnitSeconds, 7)
	later.Timestamp = aws.Time(begin.Add(2 * time.Minute))
	w.ok(w.putData(later))
	if r := get(begin.Add(2*time.Minute), of(""))[0]; len(r.Values) != 1 || r.Values[0] != 7 || len(r.Messages) != 0 {
		t.Errorf("one unit: %v, messages %v", r.Values, r.Messages)
	}
}

func TestRefusalsAreWordedAsCloudWatchWordsThem(t *testing.T) {
	w := newWorld(t)
	begin := minute(10 * time.Minute)
	_, err := w.PutMetricAlarm(t.Context(), watching("a", func(in *cloudwatch.PutMetricAlarmInput) {
		in.Statistic, in.ExtendedStatistic = "", aws.String("90")
	}))
	w.refused(
		err, http.StatusBadRequest, "InvalidParameterValue",
		"The value 90 for parameter ExtendedStatistic is not supported.",
	)
	_, err = w.PutMetricAlarm(t.Context(), watching("a", func(in *cloudwatch.PutMetricAlarmInput) {
		in.Statistic, in.ExtendedStatistic = "", aws.String("p90")
		in.EvaluateLowSampleCountPercentile = aws.String("unknown")
	}))
	w.refused(
		err, http.StatusBadRequest, "ValidationError",
		"Option unknown is not supported. Supported options for parameter EvaluateLowSampleCountPercentile are "+
			"evaluate and ignore.",
	)
	_, err = w.GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{
		StartTime: &begin, EndTime: aws.Time(begin.Add(time.Minute)),
		MetricDataQueries: []types.MetricDataQuery{{Id: aws.String("m"), Label: aws.String("l")}},
	})
	w.refused(
		err, http.StatusBadRequest, "ValidationError",
		"The parameter MetricDataQueries.member.1.MetricStat is required.",
	)
	_, err = w.ListMetrics(t.Context(), &cloudwatch.ListMetricsInput{NextToken: aws.String("x")})
	w.refused(err, http.StatusBadRequest, "InvalidParameterValue", "Request parameter NextToken is invalid")
}
