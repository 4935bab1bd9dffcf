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
			"The value NaN for parameter Value is invalid.",
		},
		"infinite": {
			[]types.MetricDatum{datum(now, 1), datum(now, math.Inf(-1))},
			"InvalidParameterValue",
			"The value -Inf for parameter Value is invalid.",
		},
		"too large": {
			[]types.MetricDatum{datum(now, math.Ldexp(1.01, 360))},
			"InvalidParameterValue",
			"for parameter Value is invalid.",
		},
		"too many": {
			many, "InvalidParameterValue", "The collection MetricData must not have a size greater than 1000.",
		},
		"too many values": {
			[]types.MetricDatum{{MetricName: aws.String("m"), Values: make([]float64, 151)}},
			"InvalidParameterValue",
			"must not have a size greater than 150.",
		},
		"too old": {
			[]types.MetricDatum{datum(now.Add(-15*24*time.Hour), 1)}, "InvalidParameterValue", "two weeks in the past",
		},
		"too soon": {
			[]types.MetricDatum{datum(now.Add(3*time.Hour), 1)}, "InvalidParameterValue", "two hours in the future",
		},
		"of the year 1": {
			[]types.MetricDatum{datum(time.Time{}, 1)}, "InvalidParameterValue", "two weeks in the past",
		},
		"without a value": {
			[]types.MetricDatum{{MetricName: aws.String("m")}},
			"MissingParameter",
			"At least one of the parameters must be specified",
		},
		"with two": {
			[]types.MetricDatum{{MetricName: aws.String("m"), Value: aws.Float64(1), Values: []float64{1}}},
			"InvalidParameterCombination", "mutually exclusive",
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
			func(in *cloudwatch.GetMetricStatisticsInput) { in.Statistics = nil }, "MissingParameter",
			"Must specify either Statistics or ExtendedStatistics",
		},
		"both": {
			func(in *cloudwatch.GetMetricStatisticsInput) { in.ExtendedStatistics = []string{"p9"} },
			"InvalidParameterCombination", "mutually exclusive",
		},
		"an unknown one": {func(in *cloudwatch.GetMetricStatisticsInput) {
			in.Statistics, in.ExtendedStatistics = nil, []string{"p101"}
		}, "InvalidParameterValue", `"p101"`},
		"a plain one as extended": {func(in *cloudwatch.GetMetricStatisticsInput) {
			in.Statistics, in.ExtendedStatistics = nil, []string{"Sum"}
		}, "InvalidParameterValue", "belongs in Statistics"},
		"too many datapoints": {
			func(in *cloudwatch.GetMetricStatisticsInput) { in.StartTime = aws.Time(end.Add(-1441 * time.Minute)) },
			"InvalidParameterCombination", "more than 1440 datapoints",
		},
		"no time": {
			func(in *cloudwatch.GetMetricStatisticsInput) { in.StartTime = &end }, "InvalidParameterCombination",
			"StartTime must be less than",
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

func stat(id, name, stat string, returned bool) types.MetricDataQuery {
	return types.MetricDataQuery{Id: &id, ReturnData: &returned, MetricStat: &types.MetricStat{
		Period: aws.Int32(60), Stat: &stat, Metric: &types.Metric{Namespace: aws.String("Shop"), MetricName: &name},
	}}
}

func TestMetricDataIsComputedAndOrdered(t *testing.T) {
	w := newWorld(t)
	begin := minute(10 * time.Minute)
	for i := range 4 {
		w.ok(w.putData(datum(begin.Add(time.Duration(i)*time.Minute), float64(i+1))))
	}
	in := &cloudwatch.GetMetricDataInput{
		StartTime: &begin, EndTime: aws.Time(begin.Add(5 * time.Minute)), ScanBy: types.ScanByTimestampAscending,
		MetricDataQueries: []types.MetricDataQuery{
			stat("m1", "Orders", "Sum", true),
			{Id: aws.String("e1"), Expression: aws.String("FILL(m1, 0) * 10"), Label: aws.String("tenfold")},
			stat("m2", "Nothing", "Sum", true),
			stat("hidden", "Orders", "Maximum", false),
		},
	}
	show := func(out *cloudwatch.GetMetricDataOutput) (all []string) {
		for _, r := range out.MetricDataResults {
			var times []string
			for _, at := range r.Timestamps {
				times = append(times, at.Sub(begin).String())
			}
			all = append(all, fmt.Sprintf("%s %s %s %v %v", *r.Id, *r.Label, r.StatusCode, times, r.Values))
		}
		return all
	}
	want := []string{
		"m1 Orders Complete [0s 1m0s 2m0s 3m0s] [1 2 3 4]",
		"e1 tenfold Complete [0s 1m0s 2m0s 3m0s 4m0s] [10 20 30 40 0]", "m2 Nothing Complete [] []",
	}
	if diff := cmp.Diff(want, show(must(w.GetMetricData(t.Context(), in))(t))); diff != "" {
		t.Error(diff)
	}
	in.ScanBy, in.MetricDataQueries = "", in.MetricDataQueries[:1]
	if diff := cmp.Diff(
		[]string{"m1 Orders Complete [3m0s 2m0s 1m0s 0s] [4 3 2 1]"}, show(must(w.GetMetricData(t.Context(), in))(t)),
	); diff != "" {
		t.Error(diff)
	}
}

func TestMetricDataComesInPages(t *testing.T) {
	w := newWorld(t)
	begin := minute(10 * time.Minute)
	var data []types.MetricDatum
	for i := range 4 {
		data = append(data, datum(begin.Add(time.Duration(i)*time.Minute), float64(i+1)))
	}
	w.ok(w.putData(data...))
	for limit := int32(1); limit <= 9; limit++ {
		for _, order := range []types.ScanBy{types.ScanByTimestampAscending, types.ScanByTimestampDescending} {
			in := &cloudwatch.GetMetricDataInput{
				StartTime: &begin, EndTime: aws.Time(begin.Add(4 * time.Minute)), ScanBy: order, MaxDatapoints: &limit,
				MetricDataQueries: []types.MetricDataQuery{
					stat("m1", "Orders", "Sum", true), stat("m2", "Nothing", "Sum", true),
					stat("m3", "Orders", "Maximum", true),
				},
			}
			got := map[string][]float64{}
			complete := map[string]int{}
			pages := cloudwatch.NewGetMetricDataPaginator(w.Client, in)
			for pages.HasMorePages() {
				page := must(pages.NextPage(t.Context()))(t)
				n := 0
				for _, r := range page.MetricDataResults {
					n += len(r.Values)
					got[*r.Id] = append(got[*r.Id], r.Values...)
					if r.StatusCode == types.StatusCodeComplete {
						complete[*r.Id]++
					}
				}
				if n > int(limit) {
					t.Errorf("a page of at most %d has %d", limit, n)
				}
			}
			all := []float64{1, 2, 3, 4}
			if order == types.ScanByTimestampDescending {
				slices.Reverse(all)
			}
			if diff := cmp.Diff(map[string][]float64{"m1": all, "m2": nil, "m3": all}, got); diff != "" ||
				len(complete) != 3 || complete["m1"] != 1 || complete["m3"] != 1 {
				t.Errorf("pages of %d: complete %v\n%s", limit, complete, diff)
			}
		}
	}
	in := &cloudwatch.GetMetricDataInput{
		StartTime: &begin, EndTime: aws.Time(begin.Add(time.Minute)), NextToken: aws.String("x"),
		MetricDataQueries: []types.MetricDataQuery{stat("m", "Orders", "Sum", true)},
	}
	_, err := w.GetMetricData(t.Context(), in)
	w.refused(err, http.StatusBadRequest, "InvalidNextToken", "invalid")
	in.NextToken, in.MaxDatapoints = nil, aws.Int32(100_801)
	_, err = w.GetMetricData(t.Context(), in)
	w.refused(err, http.StatusBadRequest, "ValidationError", "MaxDatapoints")
}

func TestMetricMathThatCannotBeIsRefused(t *testing.T) {
	w := newWorld(t)
	begin := minute(10 * time.Minute)
	for expression, text := range map[string]string{
		"nobody + 1":                         `no query with the Id "nobody"`,
		"e":                                  "depends on itself",
		"1":                                  "must return a time series",
		"m1 +":                               "Error in expression",
		`SEARCH('{Shop} Orders', 'Sum', 60)`: "Error in expression",
		"SELECT AVG(Orders) FROM Shop":       "Error in expression",
		strings.Repeat("(", 900) + "m1":      "Error in expression",
		"ANOMALY_DETECTION_BAND(m1)":         "Error in expression",
		strings.Repeat("m1+", 500) + "m1":    "",
		"METRICS()":                          "",
		strings.Repeat("AVG(METRICS())+", 120) + "m1":  "",
		strings.Repeat("m1+", 681) + "m1" + "+m1 +m11": "2048",
	} {
		_, err := w.GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{
			StartTime: &begin, EndTime: aws.Time(begin.Add(5 * time.Minute)),
			MetricDataQueries: []types.MetricDataQuery{
				stat("m1", "Orders", "Sum", false), {Id: aws.String("e"), Expression: &expression},
			},
		})
		if text == "" {
			w.ok(err)
		} else {
			w.refused(err, http.StatusBadRequest, "ValidationError", text)
		}
	}
	// What is asked for in all is bounded, too.
	week := begin.Add(-100_000 * time.Minute)
	queries := []types.MetricDataQuery{stat("m1", "Orders", "Sum", false)}
	for i := range 499 {
		queries = append(queries, types.MetricDataQuery{
			Id: aws.String(fmt.Sprintf("e%d", i)), Expression: aws.String("FILL(m1, 0)"),
		})
	}
	_, err := w.GetMetricData(
		t.Context(), &cloudwatch.GetMetricDataInput{StartTime: &week, EndTime: &begin, MetricDataQueries: queries},
	)
	w.refused(err, http.StatusBadRequest, "ValidationError", "more than 2016000 datapoints in all")
	queries = append(queries, stat("m2", "Orders", "Sum", false))
	_, err = w.GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{
		StartTime: aws.Time(begin.Add(-time.Hour)), EndTime: &begin, MetricDataQueries: queries,
	})
	w.refused(err, http.StatusBadRequest, "ValidationError", "500")
}

func TestMetricsAreListed(t *testing.T) {
	w := newWorld(t)
	var data []types.MetricDatum
	for i := range 1200 {
		data = append(data, types.MetricDatum{MetricName: aws.String(fmt.Sprintf("m%04d", i)), Value: aws.Float64(1)})
	}
	w.ok(w.putData(data[:600]...))
	w.ok(w.putData(data[600:]...))
	w.ok(w.putData(
		types.MetricDatum{
			MetricName: aws.String("old"), Value: aws.Float64(1), Timestamp: aws.Time(minute(5 * time.Hour)),
		},
		types.MetricDatum{MetricName: aws.String("sized"), Value: aws.Float64(1), Dimensions: []types.Dimension{
			{Name: aws.String("b"), Value: aws.String("2")}, {Name: aws.String("a"), Value: aws.String("1")},
		}},
	))
	list := func(in cloudwatch.ListMetricsInput) (all []types.Metric) {
		pages := cloudwatch.NewListMetricsPaginator(w.Client, &in)
		for pages.HasMorePages() {
			page := must(pages.NextPage(t.Context()))(t)
			if len(page.Metrics) > 500 {
				t.Errorf("a page has %d", len(page.Metrics))
			}
			all = append(all, page.Metrics...)
		}
		return all
	}
	filter := func(name, value string) []types.DimensionFilter {
		f := types.DimensionFilter{Name: &name}
		if value != "" {
			f.Value = &value
		}
		return []types.DimensionFilter{f}
	}
	for name, c := range map[string]struct {
		in   cloudwatch.ListMetricsInput
		want int
	}{
		"all":                {cloudwatch.ListMetricsInput{}, 1202},
		"recently active":    {cloudwatch.ListMetricsInput{RecentlyActive: types.RecentlyActivePt3h}, 1201},
		"by name":            {cloudwatch.ListMetricsInput{MetricName: aws.String("m0007")}, 1},
		"of a namespace":     {cloudwatch.ListMetricsInput{Namespace: aws.String("Elsewhere")}, 0},
		"with a dimension":   {cloudwatch.ListMetricsInput{Dimensions: filter("a", "")}, 1},
		"with a value":       {cloudwatch.ListMetricsInput{Dimensions: filter("b", "2")}, 1},
		"with another value": {cloudwatch.ListMetricsInput{Dimensions: filter("b", "3")}, 0},
		"of another account": {cloudwatch.ListMetricsInput{OwningAccount: aws.String("999999999999")}, 0},
		"of its own account": {
			cloudwatch.ListMetricsInput{OwningAccount: aws.String(account), MetricName: aws.String("old")}, 1,
		},
		"with no such metric": {cloudwatch.ListMetricsInput{MetricName: aws.String("m7")}, 0},
	} {
		if got := list(c.in); len(got) != c.want {
			t.Errorf("%s: %d metrics, want %d", name, len(got), c.want)
		}
	}
	if got := list(cloudwatch.ListMetricsInput{MetricName: aws.String("sized")})[0]; len(got.Dimensions) != 2 ||
		*got.Dimensions[0].Name != "a" || *got.Namespace != "Shop" {
		t.Errorf("%+v", got)
	}
	linked := must(
		w.ListMetrics(t.Context(), &cloudwatch.ListMetricsInput{
			MetricName: aws.String("old"), IncludeLinkedAccounts: aws.Bool(true),
		}),
	)(t)
	if !slices.Equal(linked.OwningAccounts, []string{account}) {
		t.Errorf("the owners are %v", linked.OwningAccounts)
	}
	_, err := w.ListMetrics(t.Context(), &cloudwatch.ListMetricsInput{NextToken: aws.String("x")})
	w.refused(err, http.StatusBadRequest, "InvalidParameterValue", "invalid")
}
