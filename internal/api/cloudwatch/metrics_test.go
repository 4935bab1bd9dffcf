package cloudwatch_test

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/google/go-cmp/cmp"
)

// minute is the beginning of a minute some time ago.
func minute(ago time.Duration) time.Time { return time.Now().Add(-ago).Truncate(time.Minute).UTC() }

func datum(at time.Time, value float64) types.MetricDatum {
	return types.MetricDatum{
		MetricName: aws.String("Orders"), Timestamp: &at, Value: &value, Unit: types.StandardUnitCount,
	}
}

func (w *world) putData(data ...types.MetricDatum) error {
	_, err := w.PutMetricData(
		w.t.Context(), &cloudwatch.PutMetricDataInput{Namespace: aws.String("Shop"), MetricData: data},
	)
	return err
}

func TestSamplesThatWerePutAreRead(t *testing.T) {
	w := newWorld(t)
	begin := minute(10 * time.Minute)
	w.ok(w.putData(
		datum(begin, 3), datum(begin.Add(30*time.Second), 5),
		types.MetricDatum{
			MetricName: aws.String("Orders"), Timestamp: aws.Time(begin.Add(time.Minute)),
			Unit: types.StandardUnitCount, Values: []float64{1, 7}, Counts: []float64{3, 1},
		},
		types.MetricDatum{MetricName: aws.String("Orders"), Timestamp: aws.Time(
			begin.Add(2 * time.Minute),
		), Unit: types.StandardUnitCount, StatisticValues: &types.StatisticSet{
			SampleCount: aws.Float64(4), Sum: aws.Float64(10), Minimum: aws.Float64(1), Maximum: aws.Float64(6),
		}},
	))
	out, err := w.GetMetricStatistics(t.Context(), &cloudwatch.GetMetricStatisticsInput{
		Namespace: aws.String("Shop"), MetricName: aws.String("Orders"), StartTime: &begin,
		EndTime: aws.Time(begin.Add(10 * time.Minute)), Period: aws.Int32(60),
		Statistics: []types.Statistic{
			types.StatisticSampleCount, types.StatisticAverage, types.StatisticSum, types.StatisticMinimum,
			types.StatisticMaximum,
		},
	})
	w.ok(err)
	var got []string
	for _, p := range out.Datapoints {
		got = append(got, fmt.Sprintf(
			"%v %s n=%v avg=%v sum=%v %v..%v", p.Timestamp.Sub(begin), p.Unit, *p.SampleCount, *p.Average, *p.Sum,
			*p.Minimum, *p.Maximum,
		))
	}
	slices.Sort(got)
	want := []string{
		"0s Count n=2 avg=4 sum=8 3..5", "1m0s Count n=4 avg=2.5 sum=10 1..7", "2m0s Count n=4 avg=2.5 sum=10 1..6",
	}
	if diff := cmp.Diff(want, got); diff != "" || aws.ToString(out.Label) != "Orders" {
		t.Errorf("label %q\n%s", aws.ToString(out.Label), diff)
	}
	// A sum of samples does not tell percentiles.
	ranks, err := w.GetMetricStatistics(t.Context(), &cloudwatch.GetMetricStatisticsInput{
		Namespace: aws.String("Shop"), MetricName: aws.String("Orders"), StartTime: &begin,
		EndTime: aws.Time(begin.Add(10 * time.Minute)), Period: aws.Int32(60),
		ExtendedStatistics: []string{"p0.0", "p100"}, Unit: types.StandardUnitCount,
	})
	w.ok(err)
	if len(ranks.Datapoints) != 2 {
		t.Fatalf("%d periods have percentiles", len(ranks.Datapoints))
	}
	for _, p := range ranks.Datapoints {
		if low, high := p.ExtendedStatistics["p0.0"], p.ExtendedStatistics["p100"]; low >= high || high < 4.9 ||
			high > 7.1 {
			t.Errorf("at %v: %v", p.Timestamp, p.ExtendedStatistics)
		}
	}
	none, err := w.GetMetricStatistics(t.Context(), &cloudwatch.GetMetricStatisticsInput{
		Namespace: aws.String("Shop"), MetricName: aws.String("Orders"), StartTime: &begin,
		EndTime: aws.Time(begin.Add(time.Minute)), Period: aws.Int32(60),
		Statistics: []types.Statistic{types.StatisticSum}, Unit: types.StandardUnitBytes,
	})
	w.ok(err)
	if len(none.Datapoints) != 0 {
		t.Errorf("in another unit: %v", none.Datapoints)
	}
}

func TestSamplesThatCannotBeAreRefused(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	many := slices.Repeat([]types.MetricDatum{datum(now, 1)}, 1001)
	for name, c := range map[string]struct {
		data []types.MetricDatum
		code string
		text string
	}{
		"not a number": {
			[]types.MetricDatum{datum(now, math.NaN())},
			"InvalidParameterValue",
			"The value NaN for parameter MetricData.member.1.Value is invalid.",
		},
		"infinite": {
			[]types.MetricDatum{datum(now, 1), datum(now, math.Inf(-1))},
			"InvalidParameterValue",
			"The value -Infinity for parameter MetricData.member.2.Value is invalid.",
		},
		"too large": {
			[]types.MetricDatum{datum(now, math.Ldexp(1.01, 360))},
			"InvalidParameterValue",
			"for parameter MetricData.member.1.Value is invalid.",
		},
		"too many": {
			many, "InvalidParameterValue", "The collection MetricData must not have a size greater than 1000.",
		},
		"several at once": {
			[]types.MetricDatum{
				datum(now, 1), datum(now, math.NaN()), {
					MetricName: aws.String("m"), Value: aws.Float64(1), Dimensions: []types.Dimension{
						{Name: aws.String("d"), Value: aws.String("v")},
						{Name: aws.String("é"), Value: aws.String(strings.Repeat("ä", 600))},
					},
				},
			},
			"InvalidParameterValue",
			"The value NaN for parameter MetricData.member.2.Value is invalid.\n" +
				"The value for parameter MetricData.member.3.Dimensions.member.2.Name contains non-ASCII " +
				"characters.\n" +
				"The value for parameter MetricData.member.3.Dimensions.member.2.Value contains non-ASCII " +
				"characters.\n" +
				"The parameter MetricData.member.3.Dimensions.member.2.Value must be shorter than 1025 characters.",
		},
		"values and counts that differ": {
			[]types.MetricDatum{{MetricName: aws.String("m"), Values: []float64{1, 10}, Counts: []float64{2, 4, 5}}},
			"InvalidParameterValue",
			"The parameters MetricData.member.1.Values and MetricData.member.1.Counts must be of the same size.",
		},
		"too many values": {
			[]types.MetricDatum{{MetricName: aws.String("m"), Values: make([]float64, 151)}},
			"InvalidParameterValue",
			"must not have a size greater than 150.",
		},
		"too old": {
			[]types.MetricDatum{datum(now.Add(-15*24*time.Hour), 1)},
			"InvalidParameterValue",
			"The parameter MetricData.member.1.Timestamp must specify a time within the past two weeks.",
		},
		"too soon": {
			[]types.MetricDatum{datum(now.Add(3*time.Hour), 1)},
			"InvalidParameterValue",
			"MetricData.member.1.Timestamp must specify a time no more than two hours in the future.",
		},
		"of the year 1": {
			[]types.MetricDatum{datum(time.Time{}, 1)},
			"InvalidParameterValue",
			"The parameter MetricData.member.1.Timestamp must specify a time within the past two weeks.",
		},
		"without a value": {
			[]types.MetricDatum{{MetricName: aws.String("m")}},
			"MissingParameter",
			"At least one of the parameters must be specified",
		},
		"with two": {
			[]types.MetricDatum{{MetricName: aws.String("m"), Value: aws.Float64(1), Values: []float64{1}}},
			"InvalidParameterCombination",
			"The parameters MetricData.member.1.Value and MetricData.member.1.Values are " +
				"mutually exclusive and you have specified both.",
		},
		"an odd resolution": {
			[]types.MetricDatum{{MetricName: aws.String("m"), Value: aws.Float64(1), StorageResolution: aws.Int32(5)}},
			"InvalidParameterValue", "StorageResolution",
		},
		"nothing": {nil, "MissingParameter", "The parameter MetricData is required."},
	} {
		t.Log(name)
		w.refused(w.putData(c.data...), http.StatusBadRequest, c.code, c.text)
	}
	for _, namespace := range []string{"AWS/SageMaker", "/aws/sagemaker/Endpoints"} {
		_, err := w.PutMetricData(t.Context(), &cloudwatch.PutMetricDataInput{
			Namespace: &namespace, MetricData: []types.MetricDatum{datum(now, 1)},
		})
		w.refused(
			err, http.StatusBadRequest, "InvalidParameterValue",
			"The value "+namespace+" for parameter Namespace is invalid",
		)
	}
	if out := must(w.ListMetrics(t.Context(), &cloudwatch.ListMetricsInput{}))(t); len(out.Metrics) != 0 {
		t.Errorf("refused samples made the metrics %v", out.Metrics)
	}
	w.ok(w.putData(many[:1000]...))
}

func TestSamplesOfAnEntityAreKept(t *testing.T) {
	w := newWorld(t)
	in := &cloudwatch.PutMetricDataInput{Namespace: aws.String("Shop"), EntityMetricData: []types.EntityMetricData{{
		Entity:     &types.Entity{KeyAttributes: map[string]string{"Type": "Service", "Name": "x"}},
		MetricData: []types.MetricDatum{datum(time.Now(), 1)},
	}}}
	_, err := w.PutMetricData(t.Context(), in)
	w.ok(err)
	if out := must(w.ListMetrics(t.Context(), &cloudwatch.ListMetricsInput{}))(t); len(out.Metrics) != 1 {
		t.Errorf("the metrics are %v", out.Metrics)
	}
	in.StrictEntityValidation = aws.Bool(true)
	_, err = w.PutMetricData(t.Context(), in)
	w.refused(err, http.StatusBadRequest, "ValidationError", "StrictEntityValidation is not supported by Slipway.")
}

func TestStatisticsThatCannotBeAreRefused(t *testing.T) {
	w := newWorld(t)
	end := minute(0)
	for name, c := range map[string]struct {
		change func(*cloudwatch.GetMetricStatisticsInput)
		code   string
		text   string
	}{
		"none": {
			func(in *cloudwatch.GetMetricStatisticsInput) { in.Statistics = nil }, "InvalidParameterCombination",
			"Must specify either Statistics or ExtendedStatistics",
		},
		"both": {
			func(in *cloudwatch.GetMetricStatisticsInput) { in.ExtendedStatistics = []string{"p9"} },
			"InvalidParameterCombination", "mutually exclusive",
		},
		"an unknown one": {func(in *cloudwatch.GetMetricStatisticsInput) {
			in.Statistics, in.ExtendedStatistics = nil, []string{"p101"}
		}, "InvalidParameterValue", "The value p101"},
		"a plain one as extended": {func(in *cloudwatch.GetMetricStatisticsInput) {
			in.Statistics, in.ExtendedStatistics = nil, []string{"Sum"}
		}, "InvalidParameterValue", "belongs in Statistics"},
		"too many datapoints": {
			func(in *cloudwatch.GetMetricStatisticsInput) { in.StartTime = aws.Time(end.Add(-1441 * time.Minute)) },
			"InvalidParameterCombination",
			"You have requested up to 1441 datapoints, which exceeds the limit of 1440. " +
				"You may reduce the datapoints requested by increasing Period, or decreasing the time range.",
		},
		"no time": {
			func(in *cloudwatch.GetMetricStatisticsInput) { in.StartTime = &end }, "InvalidParameterValue",
			"The parameter StartTime must be less than the parameter EndTime.",
		},
		"less than a second": {
			func(in *cloudwatch.GetMetricStatisticsInput) {
				in.StartTime = aws.Time(end.Add(20 * time.Millisecond))
				in.EndTime = aws.Time(end.Add(987 * time.Millisecond))
			},
			"InvalidParameterValue", "The parameter StartTime must be less than the parameter EndTime.",
		},
		"an odd period": {
			func(in *cloudwatch.GetMetricStatisticsInput) { in.Period = aws.Int32(7) }, "InvalidParameterValue",
			"Period",
		},
	} {
		t.Log(name)
		in := &cloudwatch.GetMetricStatisticsInput{
			Namespace: aws.String("Shop"), MetricName: aws.String("Orders"),
			StartTime: aws.Time(end.Add(-1440 * time.Minute)), EndTime: &end, Period: aws.Int32(60),
			Statistics: []types.Statistic{types.StatisticSum},
		}
		_, err := w.GetMetricStatistics(t.Context(), in)
		w.ok(err)
		c.change(in)
		_, err = w.GetMetricStatistics(t.Context(), in)
		w.refused(err, http.StatusBadRequest, c.code, c.text)
	}
}
