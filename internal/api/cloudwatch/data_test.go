package cloudwatch_test

import (
	"fmt"
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

func TestQueriesThatCannotBeAreRefused(t *testing.T) {
	w := newWorld(t)
	begin := minute(10 * time.Minute)
	for name, c := range map[string]struct {
		change func(*cloudwatch.GetMetricDataInput)
		text   string
	}{
		"no time": {
			func(in *cloudwatch.GetMetricDataInput) { in.EndTime = in.StartTime },
			"The parameter StartTime must not equal parameter EndTime.",
		},
		"less than a second": {
			func(in *cloudwatch.GetMetricDataInput) {
				in.StartTime = aws.Time(begin.Add(20 * time.Millisecond))
				in.EndTime = aws.Time(begin.Add(987 * time.Millisecond))
			},
			"The parameter StartTime must not equal parameter EndTime.",
		},
		"backwards": {
			func(in *cloudwatch.GetMetricDataInput) { in.StartTime, in.EndTime = in.EndTime, in.StartTime },
			"The parameter EndTime must be greater than StartTime.",
		},
		"ids": {
			func(in *cloudwatch.GetMetricDataInput) {
				in.MetricDataQueries[0].Id, in.MetricDataQueries[1].Id = aws.String("5xx"), aws.String("a-b")
			},
			"The value 5xx for parameter MetricDataQueries.member.1.Id is not matching the expected pattern " +
				"^[a-z][a-zA-Z0-9_]*$.\nThe value a-b for parameter MetricDataQueries.member.2.Id is not matching the " +
				"expected pattern ^[a-z][a-zA-Z0-9_]*$.",
		},
		"a statistic": {
			func(in *cloudwatch.GetMetricDataInput) { in.MetricDataQueries[1].MetricStat.Stat = aws.String("None") },
			"The value None for parameter MetricDataQueries.member.2.MetricStat.Stat is not a valid statistic.",
		},
	} {
		t.Log(name)
		in := &cloudwatch.GetMetricDataInput{
			StartTime: &begin, EndTime: aws.Time(begin.Add(time.Minute)), MetricDataQueries: []types.MetricDataQuery{
				stat("m1", "Orders", "Sum", true), stat("m2", "Orders", "Maximum", true),
			},
		}
		_, err := w.GetMetricData(t.Context(), in)
		w.ok(err)
		c.change(in)
		_, err = w.GetMetricData(t.Context(), in)
		w.refused(err, http.StatusBadRequest, "ValidationError", c.text)
	}
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
