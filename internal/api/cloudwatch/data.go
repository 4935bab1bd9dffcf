package cloudwatch

import (
	"context"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/service/metrics"
	"github.com/slipway-ml/slipway/internal/wire/page"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
)

// maxPage is how many datapoints a page of GetMetricData may have, and how many
// it has unless the request asks for fewer (spec §7.3).
const maxPage = 100_800

// maxTotal is how many datapoints a request may ask for over all of its pages
// and queries. Each page is cut out of all of them: without a bound, a few
// requests would take the memory that requests for models need.
const maxTotal = 20 * maxPage

func (a *api) getMetricData(
	ctx context.Context, in cloudwatch.GetMetricDataInput,
) (out cloudwatch.GetMetricDataOutput, err error) {
	s, err := scopeOfAll(ctx, "GetMetricData")
	if err != nil {
		return out, err
	}
	limit := maxPage
	if in.MaxDatapoints != nil {
		if limit = int(*in.MaxDatapoints); limit < 1 || limit > maxPage {
			return out, fault.New(fault.Invalid, "The parameter MaxDatapoints must be between 1 and %d.", maxPage)
		}
	}
	request := []any{in.MetricDataQueries, in.StartTime, in.EndTime, in.ScanBy}
	p, from, err := page.Open[position]("GetMetricData", s, request, in.NextToken)
	if err != nil {
		return out, badToken("InvalidNextToken", err)
	}
	if datapointsOf(in) > maxTotal {
		return out, fault.New(
			fault.Invalid,
			"The request asks for more than %d datapoints in all. You may reduce them by increasing Period, or "+
				"decreasing the time range or the number of queries.",
			maxTotal,
		)
	}
	queries, err := queriesIn(s, in.MetricDataQueries)
	if err != nil {
		return out, err
	}
	ascending := shape.Val(in.ScanBy) == cloudwatch.ScanByTimestampAscending
	results, err := a.metrics.Data(
		s, metrics.DataQuery{Queries: queries, Start: in.StartTime.Time, End: in.EndTime.Time, Ascending: ascending},
	)
	if err != nil {
		return out, err
	}
	some, next := cut(results, from, limit, ascending)
	out.MetricDataResults, out.Messages = some, []cloudwatch.MessageData{}
	if next != nil {
		out.NextToken = p.Next(*next)
	}
	return out, nil
}

// datapointsOf is how many datapoints all queries together may have; an
// expression as many as the metric with the shortest period.
func datapointsOf(in cloudwatch.GetMetricDataInput) (n int64) {
	span := in.EndTime.Unix() - in.StartTime.Unix()
	most, expressions := int64(0), int64(0)
	for _, q := range in.MetricDataQueries {
		if q.MetricStat == nil {
			expressions++
			continue
		}
		periods := span/int64(max(1, *q.MetricStat.Period)) + 1
		n += periods
		most = max(most, periods)
	}
	return n + expressions*most
}

// position is how far the pages of GetMetricData have come. It names a time
// and not a number of datapoints, so that samples which come late move nothing.
type position struct {
	Result int        `json:"r"`           // of the request's time series, the one that is next
	Time   *time.Time `json:"t,omitempty"` // of its last datapoint that was handed out
}

// cut returns the page of at most limit datapoints that begins at from, and
// where the next one begins, if there is one. A time series that goes on there
// is PartialData.
func cut(
	results []metrics.DataResult, from position, limit int, ascending bool,
) (page []cloudwatch.MetricDataResult, next *position) {
	page = []cloudwatch.MetricDataResult{}
	for i := max(0, from.Result); i < len(results); i++ {
		r := results[i]
		begin := 0
		if i == from.Result && from.Time != nil {
			for begin < len(r.Times) && !follows(r.Times[begin], *from.Time, ascending) {
				begin++
			}
		}
		end := min(len(r.Times), begin+limit)
		limit -= end - begin
		out := cloudwatch.MetricDataResult{
			Id: &r.ID, Label: &r.Label, Values: shape.Present(r.Values[begin:end]), Timestamps: []shape.Time{},
			StatusCode: new(cloudwatch.StatusCodeComplete), Messages: severalUnits(r.Units),
		}
		for _, t := range r.Times[begin:end] {
			out.Timestamps = append(out.Timestamps, shape.Time{Time: t})
		}
		switch {
		case end < len(r.Times):
			out.StatusCode = new(cloudwatch.StatusCodePartialData)
			if end > begin {
				return append(page, out), &position{Result: i, Time: &r.Times[end-1]}
			}
			// The page was full before this time series.
			next = &position{Result: i}
			if i == from.Result {
				next.Time = from.Time
			}
			return page, next
		default:
			page = append(page, out)
		}
	}
	return page, nil
}

// severalUnits tells that samples of other units were left out, in
// CloudWatch's words.
func severalUnits(units []metric.Unit) []cloudwatch.MessageData {
	if len(units) < 2 {
		return nil
	}
	var names []string
	for _, u := range units {
		names = append(names, string(u))
	}
	return []cloudwatch.MessageData{{
		Code:  new("MultipleUnits"),
		Value: new("Multiple units returned: '[" + strings.Join(names, ", ") + "]'"),
	}}
}

// follows reports whether t comes after last in the order of the answer.
func follows(t, last time.Time, ascending bool) bool {
	if ascending {
		return t.After(last)
	}
	return t.Before(last)
}
