package cloudwatch

import (
	"context"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/service/metrics"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/page"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
)

// maxDatums is how many entries one PutMetricData may have (spec §7.3).
const maxDatums = 1000

func (a *api) putMetricData(ctx context.Context, in cloudwatch.PutMetricDataInput) (out shape.None, err error) {
	s, err := scopeOfAll(ctx, "PutMetricData")
	if err != nil {
		return out, err
	}
	if alarm.Reserved(*in.Namespace) {
		return out, fault.New(
			fault.Invalid,
			"The value %s for parameter Namespace is invalid: namespaces that start with AWS/ or /aws/ are reserved.",
			strings.ToValidUTF8(*in.Namespace, ""),
		)
	}
	if shape.Val(in.StrictEntityValidation) && len(in.EntityMetricData) > 0 {
		return out, awserr.Unsupported("StrictEntityValidation")
	}
	data := make([]metrics.Datum, 0, len(in.MetricData))
	for _, d := range in.MetricData {
		data = append(data, datum(d))
	}
	// The entities are left aside, as CloudWatch does with those it does not accept.
	for i, e := range in.EntityMetricData {
		for k, d := range e.MetricData {
			x := datum(d)
			x.Entity, x.Member = i+1, k+1
			data = append(data, x)
		}
	}
	switch {
	case len(data) == 0:
		return out, awserr.Declared("MissingRequiredParameterException", "The parameter MetricData is required.")
	case len(data) > maxDatums:
		return out, fault.New(
			fault.Invalid, "The collection MetricData must not have a size greater than %d.", maxDatums,
		)
	}
	return out, declared(a.metrics.Put(s, *in.Namespace, data))
}

func datum(d cloudwatch.MetricDatum) metrics.Datum {
	x := metrics.Datum{Name: *d.MetricName, Dimensions: dimensionsIn(d.Dimensions), Datum: metric.Datum{
		Timestamp: shape.TimeOf(d.Timestamp), Value: d.Value, Values: d.Values, Counts: d.Counts,
		Unit: metric.Unit(shape.Val(d.Unit)), StorageResolution: int(shape.Val(d.StorageResolution)),
	}}
	if d.Timestamp != nil && d.Timestamp.IsZero() {
		x.Timestamp = time.Unix(0, 0) // the year 1 was meant, not now; both are too old
	}
	if s := d.StatisticValues; s != nil {
		x.Set = &metric.Set{SampleCount: *s.SampleCount, Sum: *s.Sum, Minimum: *s.Minimum, Maximum: *s.Maximum}
	}
	return x
}

func (a *api) getMetricStatistics(
	ctx context.Context, in cloudwatch.GetMetricStatisticsInput,
) (out cloudwatch.GetMetricStatisticsOutput, err error) {
	s, err := scopeOfAll(ctx, "GetMetricStatistics")
	if err != nil {
		return out, err
	}
	stats, err := statistics(in)
	if err != nil {
		return out, err
	}
	points, err := a.metrics.Statistics(s, metrics.StatisticsQuery{
		Metric: metric.ID{Namespace: *in.Namespace, Name: *in.MetricName, Dimensions: dimensionsIn(in.Dimensions)},
		Unit:   metric.Unit(shape.Val(in.Unit)), Start: in.StartTime.Time, End: in.EndTime.Time,
		Period: time.Duration(*in.Period) * time.Second, Stats: stats,
	})
	out.Label, out.Datapoints = in.MetricName, []cloudwatch.Datapoint{}
	for _, p := range points {
		if d, ok := datapoint(p, stats); ok {
			out.Datapoints = append(out.Datapoints, d)
		}
	}
	return out, declared(err)
}

// statistics reads what is asked for: Statistics or ExtendedStatistics.
func statistics(in cloudwatch.GetMetricStatisticsInput) (stats []metric.Stat, err error) {
	switch {
	case len(in.Statistics) == 0 && len(in.ExtendedStatistics) == 0:
		return nil, awserr.Declared(
			"InvalidParameterCombinationException", "Must specify either Statistics or ExtendedStatistics",
		)
	case len(in.Statistics) > 0 && len(in.ExtendedStatistics) > 0:
		return nil, awserr.Declared(
			"InvalidParameterCombinationException",
			"The parameters Statistics and ExtendedStatistics are mutually exclusive.",
		)
	}
	names := in.ExtendedStatistics
	for _, n := range in.Statistics {
		names = append(names, string(n))
	}
	for _, n := range names {
		stat, err := metric.ParseStat(n)
		if err != nil {
			return nil, err
		}
		if stat.Basic() != (len(in.Statistics) > 0) {
			return nil, fault.New(
				fault.Invalid, "The value %s for parameter ExtendedStatistics is invalid: it belongs in Statistics.", n,
			)
		}
		stats = append(stats, stat)
	}
	return stats, nil
}

// datapoint reports false if none of the statistics can be had.
func datapoint(p metrics.Datapoint, stats []metric.Stat) (d cloudwatch.Datapoint, ok bool) {
	d = cloudwatch.Datapoint{Timestamp: shape.At(p.At), Unit: shape.Text(cloudwatch.StandardUnit(p.Unit))}
	for i, stat := range stats {
		v := p.Values[i]
		if v == nil {
			continue
		}
		ok = true
		switch stat {
		case metric.SampleCount:
			d.SampleCount = v
		case metric.Average:
			d.Average = v
		case metric.Sum:
			d.Sum = v
		case metric.Minimum:
			d.Minimum = v
		case metric.Maximum:
			d.Maximum = v
		default:
			if d.ExtendedStatistics == nil {
				d.ExtendedStatistics = map[string]float64{}
			}
			d.ExtendedStatistics[stat.String()] = *v
		}
	}
	return d, ok
}

// recently is what RecentlyActive may ask for: PT3H.
const recently = 3 * time.Hour

func (a *api) listMetrics(
	ctx context.Context, in cloudwatch.ListMetricsInput,
) (out cloudwatch.ListMetricsOutput, err error) {
	s, err := scopeOfAll(ctx, "ListMetrics")
	if err != nil {
		return out, err
	}
	out.Metrics = []cloudwatch.Metric{}
	if owner := shape.Val(in.OwningAccount); owner != "" && owner != s.Account {
		return out, nil // there is but one account
	}
	f := metrics.MetricsFilter{Namespace: shape.Val(in.Namespace), Name: shape.Val(in.MetricName)}
	for _, d := range in.Dimensions {
		f.Dimensions = append(f.Dimensions, metric.Dimension{Name: *d.Name, Value: shape.Val(d.Value)})
	}
	p, after, err := page.Open[metric.Key]("ListMetrics", s, []any{f, in.RecentlyActive}, in.NextToken)
	if err != nil {
		return out, badToken("InvalidParameterValueException", err)
	}
	f.After = after
	if in.RecentlyActive != nil {
		f.Since = time.Now().Add(-recently)
	}
	ids, more := a.metrics.Metrics(s, f)
	for _, id := range ids {
		out.Metrics = append(out.Metrics, *metricOut(id))
		if shape.Val(in.IncludeLinkedAccounts) {
			out.OwningAccounts = append(out.OwningAccounts, s.Account)
		}
	}
	if more {
		out.NextToken = p.Next(ids[len(ids)-1].Key())
	}
	return out, nil
}
