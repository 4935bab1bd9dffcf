package cloudwatch

import (
	"context"
	"slices"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/service/alarms"
	"github.com/slipway-ml/slipway/internal/wire/page"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
)

func (a *api) describeAlarms(
	ctx context.Context, in cloudwatch.DescribeAlarmsInput,
) (out cloudwatch.DescribeAlarmsOutput, err error) {
	s, err := scopeOfAll(ctx, "DescribeAlarms")
	if err != nil {
		return out, err
	}
	f, err := alarmFilter(in)
	if err != nil {
		return out, err
	}
	p, after, err := page.Open[string]("DescribeAlarms", s, f, in.NextToken)
	if err != nil {
		return out, badToken("InvalidNextToken", err)
	}
	f.After = after
	f.Limit = int(shape.Val(in.MaxRecords))
	alarms, more := a.alarms.Alarms(s, f)
	out.MetricAlarms, out.CompositeAlarms = []cloudwatch.MetricAlarm{}, []cloudwatch.CompositeAlarm{}
	for _, r := range alarms {
		if r.Definition.Composite() {
			out.CompositeAlarms = append(out.CompositeAlarms, compositeOut(s, r))
		} else {
			out.MetricAlarms = append(out.MetricAlarms, metricAlarmOut(s, r))
		}
	}
	if more {
		out.NextToken = p.Next(alarms[len(alarms)-1].Definition.Name)
	}
	return out, nil
}

// alarmFilter reads which alarms are asked for: metric alarms alone unless the
// request says otherwise, as in the API.
func alarmFilter(in cloudwatch.DescribeAlarmsInput) (alarms.AlarmFilter, error) {
	f := alarms.AlarmFilter{
		Names: in.AlarmNames, Prefix: shape.Val(in.AlarmNamePrefix), State: alarm.StateValue(shape.Val(in.StateValue)),
		ActionPrefix: shape.Val(in.ActionPrefix),
		ChildrenOf:   shape.Val(in.ChildrenOfAlarmName), ParentsOf: shape.Val(in.ParentsOfAlarmName),
	}
	f.Metric, f.Composite = types(in.AlarmTypes)
	if len(f.Names) > 0 && f.Prefix != "" {
		return f, fault.New(fault.Invalid, "AlarmNames and AlarmNamePrefix are mutually exclusive.")
	}
	if f.ChildrenOf == "" && f.ParentsOf == "" {
		return f, nil
	}
	if f.ChildrenOf != "" && f.ParentsOf != "" || len(f.Names) > 0 || f.Prefix != "" || len(in.AlarmTypes) > 0 ||
		f.State != "" || f.ActionPrefix != "" {
		return f, fault.New(
			fault.Invalid,
			"ChildrenOfAlarmName and ParentsOfAlarmName exclude each other and every other parameter but MaxRecords "+
				"and NextToken.",
		)
	}
	f.Metric, f.Composite = true, true
	return f, nil
}

// types reads AlarmTypes; without it, metric alarms are meant.
func types(in []cloudwatch.AlarmType) (isMetric, isComposite bool) {
	isComposite = slices.Contains(in, cloudwatch.AlarmTypeCompositeAlarm)
	return !isComposite || slices.Contains(in, cloudwatch.AlarmTypeMetricAlarm), isComposite
}

func metricAlarmOut(s arn.Scope, r alarm.Record) cloudwatch.MetricAlarm {
	d, st := &r.Definition, &r.State
	return cloudwatch.MetricAlarm{
		AlarmName: &d.Name, AlarmArn: new(s.Alarm(d.Name)), AlarmDescription: shape.Text(d.Description),
		AlarmConfigurationUpdatedTimestamp: shape.At(r.Configured), ActionsEnabled: new(!d.ActionsDisabled),
		OKActions: shape.Present(d.OKActions), AlarmActions: shape.Present(d.AlarmActions),
		InsufficientDataActions: shape.Present(d.InsufficientDataActions),
		StateValue:              new(cloudwatch.StateValue(st.Value)), StateReason: &st.Reason,
		StateReasonData:       shape.Text(st.ReasonData),
		StateUpdatedTimestamp: shape.At(st.Updated), StateTransitionedTimestamp: shape.At(st.Transitioned),
		MetricName: shape.Text(d.Metric.Name), Namespace: shape.Text(d.Metric.Namespace),
		Dimensions: dimensionsOut(d.Metric.Dimensions),
		Statistic:  shape.Text(cloudwatch.Statistic(d.Statistic)), ExtendedStatistic: shape.Text(d.ExtendedStatistic),
		Period: number(d.Period), Unit: shape.Text(cloudwatch.StandardUnit(d.Unit)), Metrics: queriesOut(d.Metrics),
		EvaluationPeriods: number(d.EvaluationPeriods), DatapointsToAlarm: number(d.DatapointsToAlarm),
		Threshold: d.Threshold, ComparisonOperator: shape.Text(cloudwatch.ComparisonOperator(d.ComparisonOperator)),
		TreatMissingData:                 shape.Text(d.TreatMissingData),
		EvaluateLowSampleCountPercentile: shape.Text(d.EvaluateLowSampleCountPercentile),
	}
}

func compositeOut(s arn.Scope, r alarm.Record) cloudwatch.CompositeAlarm {
	d, st := &r.Definition, &r.State
	return cloudwatch.CompositeAlarm{
		AlarmName: &d.Name, AlarmArn: new(s.Alarm(d.Name)), AlarmDescription: shape.Text(d.Description),
		AlarmRule:                          &d.Rule,
		AlarmConfigurationUpdatedTimestamp: shape.At(r.Configured), ActionsEnabled: new(!d.ActionsDisabled),
		OKActions: shape.Present(d.OKActions), AlarmActions: shape.Present(d.AlarmActions),
		InsufficientDataActions: shape.Present(d.InsufficientDataActions),
		StateValue:              new(cloudwatch.StateValue(st.Value)), StateReason: &st.Reason,
		StateReasonData:       shape.Text(st.ReasonData),
		StateUpdatedTimestamp: shape.At(st.Updated), StateTransitionedTimestamp: shape.At(st.Transitioned),
		ActionsSuppressor: shape.Text(d.Suppressor), ActionsSuppressorWaitPeriod: narrow(d.SuppressorWaitPeriod),
		ActionsSuppressorExtensionPeriod: narrow(d.SuppressorExtensionPeriod),
	}
}

// describeAlarmsForMetric leaves out alarms on metric math, as the API does.
func (a *api) describeAlarmsForMetric(
	ctx context.Context, in cloudwatch.DescribeAlarmsForMetricInput,
) (out cloudwatch.DescribeAlarmsForMetricOutput, err error) {
	s, err := scopeOfAll(ctx, "DescribeAlarmsForMetric")
	if err != nil {
		return out, err
	}
	out.MetricAlarms = []cloudwatch.MetricAlarm{}
	for _, r := range a.alarms.AlarmsForMetric(s, alarms.MetricFilter{
		Metric:    metric.ID{Namespace: *in.Namespace, Name: *in.MetricName, Dimensions: dimensionsIn(in.Dimensions)},
		Statistic: string(shape.Val(in.Statistic)), ExtendedStatistic: shape.Val(in.ExtendedStatistic),
		Period: int(shape.Val(in.Period)), Unit: metric.Unit(shape.Val(in.Unit)),
	}) {
		if len(r.Definition.Metrics) == 0 {
			out.MetricAlarms = append(out.MetricAlarms, metricAlarmOut(s, r))
		}
	}
	return out, nil
}

func (a *api) describeAlarmHistory(
	ctx context.Context, in cloudwatch.DescribeAlarmHistoryInput,
) (out cloudwatch.DescribeAlarmHistoryOutput, err error) {
	s, err := scopeOfAll(ctx, "DescribeAlarmHistory")
	if err != nil {
		return out, err
	}
	out.AlarmHistoryItems = []cloudwatch.AlarmHistoryItem{}
	if in.AlarmContributorId != nil {
		return out, nil // only alarms on PromQL queries have contributors
	}
	f := alarm.HistoryFilter{
		Alarm: shape.Val(in.AlarmName), Kind: alarm.HistoryKind(shape.Val(in.HistoryItemType)),
		From: shape.TimeOf(in.StartDate), Until: shape.TimeOf(in.EndDate),
		Ascending: shape.Val(in.ScanBy) == cloudwatch.ScanByTimestampAscending,
	}
	if isMetric, isComposite := types(in.AlarmTypes); isMetric != isComposite {
		f.Composite = &isComposite
	}
	p, after, err := page.Open[int64]("DescribeAlarmHistory", s, f, in.NextToken)
	if err != nil {
		return out, badToken("InvalidNextToken", err)
	}
	f.After = after
	f.Limit = int(shape.Val(in.MaxRecords))
	items, more, err := a.alarms.History(ctx, s, f)
	if err != nil {
		return out, err
	}
	for _, h := range items {
		out.AlarmHistoryItems = append(out.AlarmHistoryItems, historyOut(h))
	}
	if more {
		out.NextToken = p.Next(items[len(items)-1].Seq)
	}
	return out, nil
}

func historyOut(h alarm.HistoryItem) cloudwatch.AlarmHistoryItem {
	kind := cloudwatch.AlarmTypeMetricAlarm
	if h.Composite {
		kind = cloudwatch.AlarmTypeCompositeAlarm
	}
	return cloudwatch.AlarmHistoryItem{
		AlarmName: &h.Alarm, AlarmType: &kind, Timestamp: shape.At(h.At),
		HistoryItemType: new(cloudwatch.HistoryItemType(h.Kind)),
		HistorySummary:  &h.Summary, HistoryData: shape.Text(h.Data),
	}
}
