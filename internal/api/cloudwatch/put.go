package cloudwatch

import (
	"context"
	"errors"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
	"github.com/slipway-ml/slipway/internal/wire/tags"
)

func (a *api) putMetricAlarm(ctx context.Context, in cloudwatch.PutMetricAlarmInput) (out shape.None, err error) {
	s, err := scope(ctx, "PutMetricAlarm", *in.AlarmName)
	if err != nil {
		return out, err
	}
	d, err := metricAlarm(s, in)
	if err != nil {
		return out, err
	}
	err = a.alarms.PutAlarm(ctx, s, d, tags.In(in.Tags))
	if errors.Is(err, metric.ErrValue) { // of what PutMetricAlarm does not declare, CloudWatch names this alone
		err = declared(err)
	}
	return out, err
}

// metricAlarm turns the request into the domain's alarm.
func metricAlarm(s arn.Scope, in cloudwatch.PutMetricAlarmInput) (alarm.Definition, error) {
	if in.EvaluationCriteria != nil || in.EvaluationInterval != nil {
		return alarm.Definition{}, awserr.Unsupported("EvaluationCriteria (an alarm on a PromQL query)")
	}
	metrics, err := queriesIn(s, in.Metrics)
	return alarm.Definition{
		Name: *in.AlarmName, Description: shape.Val(in.AlarmDescription),
		ActionsDisabled: in.ActionsEnabled != nil && !*in.ActionsEnabled,
		OKActions:       in.OKActions, AlarmActions: in.AlarmActions,
		InsufficientDataActions: in.InsufficientDataActions,
		Metric: metric.ID{
			Namespace: shape.Val(in.Namespace), Name: shape.Val(in.MetricName), Dimensions: dimensionsIn(in.Dimensions),
		},
		Statistic: string(shape.Val(in.Statistic)), ExtendedStatistic: shape.Val(in.ExtendedStatistic),
		Period: int(shape.Val(in.Period)), Unit: metric.Unit(shape.Val(in.Unit)),
		Metrics: metrics, ThresholdMetricID: shape.Val(in.ThresholdMetricId),
		EvaluationPeriods: int(shape.Val(in.EvaluationPeriods)),
		DatapointsToAlarm: int(shape.Val(in.DatapointsToAlarm)),
		Threshold:         in.Threshold, ComparisonOperator: string(shape.Val(in.ComparisonOperator)),
		TreatMissingData:                 shape.Val(in.TreatMissingData),
		EvaluateLowSampleCountPercentile: shape.Val(in.EvaluateLowSampleCountPercentile),
	}, err
}

// queriesIn turns metric math into the domain's.
func queriesIn(s arn.Scope, in []cloudwatch.MetricDataQuery) (out []alarm.Query, err error) {
	for _, q := range in {
		if account := shape.Val(q.AccountId); account != "" && account != s.Account {
			return nil, awserr.Unsupported("AccountId of another account")
		}
		x := alarm.Query{
			ID: *q.Id, Label: shape.Val(q.Label), Expression: shape.Val(q.Expression),
			ReturnData: q.ReturnData, Period: int(shape.Val(q.Period)), AccountID: shape.Val(q.AccountId),
		}
		if m := q.MetricStat; m != nil {
			x.Stat = &alarm.MetricStat{
				Metric: metric.ID{
					Namespace: shape.Val(m.Metric.Namespace), Name: shape.Val(m.Metric.MetricName),
					Dimensions: dimensionsIn(m.Metric.Dimensions),
				},
				Period: int(*m.Period), Stat: *m.Stat, Unit: metric.Unit(shape.Val(m.Unit)),
			}
		}
		out = append(out, x)
	}
	return out, nil
}

func queriesOut(in []alarm.Query) (out []cloudwatch.MetricDataQuery) {
	for _, q := range in {
		x := cloudwatch.MetricDataQuery{
			Id: &q.ID, Label: shape.Text(q.Label), Expression: shape.Text(q.Expression),
			ReturnData: q.ReturnData, Period: number(q.Period), AccountId: shape.Text(q.AccountID),
		}
		if m := q.Stat; m != nil {
			x.MetricStat = &cloudwatch.MetricStat{
				Metric: metricOut(m.Metric), Period: number(m.Period), Stat: &m.Stat,
				Unit: shape.Text(cloudwatch.StandardUnit(m.Unit)),
			}
		}
		if x.ReturnData == nil {
			x.ReturnData = new(true) // the default, which clients compare with
		}
		out = append(out, x)
	}
	return out
}

func metricOut(id metric.ID) *cloudwatch.Metric {
	return &cloudwatch.Metric{Namespace: &id.Namespace, MetricName: &id.Name, Dimensions: dimensionsOut(id.Dimensions)}
}

func (a *api) putCompositeAlarm(ctx context.Context, in cloudwatch.PutCompositeAlarmInput) (out shape.None, err error) {
	s, err := scope(ctx, "PutCompositeAlarm", *in.AlarmName)
	if err != nil {
		return out, err
	}
	return out, a.alarms.PutAlarm(ctx, s, alarm.Definition{
		Name: *in.AlarmName, Description: shape.Val(in.AlarmDescription),
		ActionsDisabled: in.ActionsEnabled != nil && !*in.ActionsEnabled,
		OKActions:       in.OKActions, AlarmActions: in.AlarmActions,
		InsufficientDataActions: in.InsufficientDataActions,
		Rule:                    *in.AlarmRule, Suppressor: shape.Val(in.ActionsSuppressor),
		SuppressorWaitPeriod:      whole(in.ActionsSuppressorWaitPeriod),
		SuppressorExtensionPeriod: whole(in.ActionsSuppressorExtensionPeriod),
	}, tags.In(in.Tags))
}

func (a *api) setAlarmState(ctx context.Context, in cloudwatch.SetAlarmStateInput) (out shape.None, err error) {
	s, err := scope(ctx, "SetAlarmState", *in.AlarmName)
	if err != nil {
		return out, err
	}
	return out, declared(a.alarms.SetAlarmState(
		ctx, s, *in.AlarmName, alarm.StateValue(*in.StateValue), *in.StateReason, shape.Val(in.StateReasonData),
	))
}

func (a *api) deleteAlarms(ctx context.Context, in cloudwatch.DeleteAlarmsInput) (out shape.None, err error) {
	s, err := scope(ctx, "DeleteAlarms", in.AlarmNames...)
	if err != nil {
		return out, err
	}
	return out, a.alarms.DeleteAlarms(ctx, s, in.AlarmNames)
}

func (a *api) enableAlarmActions(
	ctx context.Context, in cloudwatch.EnableAlarmActionsInput,
) (out shape.None, err error) {
	s, err := scope(ctx, "EnableAlarmActions", in.AlarmNames...)
	if err != nil {
		return out, err
	}
	return out, a.alarms.EnableActions(ctx, s, in.AlarmNames, true)
}

func (a *api) disableAlarmActions(
	ctx context.Context, in cloudwatch.DisableAlarmActionsInput,
) (out shape.None, err error) {
	s, err := scope(ctx, "DisableAlarmActions", in.AlarmNames...)
	if err != nil {
		return out, err
	}
	return out, a.alarms.EnableActions(ctx, s, in.AlarmNames, false)
}
