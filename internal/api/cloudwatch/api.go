// Package cloudwatch serves alarms and metrics in the three protocols that
// CloudWatch's clients speak: it turns the API's structures into the domain's,
// makes one call down, and turns the answer back (spec §7.3). When an alarm
// changes its state, what a sample may be, and what is kept for how long is not
// its job.
package cloudwatch

import (
	"context"
	"errors"
	"log/slog"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/service/alarms"
	"github.com/slipway-ml/slipway/internal/service/metrics"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/awsjson"
	"github.com/slipway-ml/slipway/internal/wire/awsquery"
	"github.com/slipway-ml/slipway/internal/wire/cborrpc"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
)

// NewHandler serves the operations over alarms and metrics in CBOR, JSON and
// Query. It expects the caller in the request's context (access.With).
func NewHandler(as *alarms.Service, ms *metrics.Service, log *slog.Logger) *rpc.Handler {
	a := &api{as, ms}
	return rpc.NewHandler(
		rpc.Config{
			Service: cloudwatch.API(), Errors: awserr.CloudWatch, Log: log,
			Protocols: []rpc.Speaker{cborrpc.New, awsjson.New, awsquery.New},
		},
		rpc.Bind("PutMetricAlarm", a.putMetricAlarm),
		rpc.Bind("PutCompositeAlarm", a.putCompositeAlarm),
		rpc.Bind("DescribeAlarms", a.describeAlarms),
		rpc.Bind("DescribeAlarmsForMetric", a.describeAlarmsForMetric),
		rpc.Bind("SetAlarmState", a.setAlarmState),
		rpc.Bind("DeleteAlarms", a.deleteAlarms),
		rpc.Bind("EnableAlarmActions", a.enableAlarmActions),
		rpc.Bind("DisableAlarmActions", a.disableAlarmActions),
		rpc.Bind("DescribeAlarmHistory", a.describeAlarmHistory),
		rpc.Bind("PutMetricData", a.putMetricData),
		rpc.Bind("GetMetricStatistics", a.getMetricStatistics),
		rpc.Bind("GetMetricData", a.getMetricData),
		rpc.Bind("ListMetrics", a.listMetrics),
		rpc.Bind("ListTagsForResource", a.listTagsForResource),
		rpc.Bind("TagResource", a.tagResource),
		rpc.Bind("UntagResource", a.untagResource),
	)
}

type api struct {
	alarms  *alarms.Service
	metrics *metrics.Service
}

// scope returns where the caller's names live, if the caller may do op to all
// of the resources, which are alarms.
func scope(ctx context.Context, op string, alarms ...string) (arn.Scope, error) {
	c, err := access.From(ctx)
	if err != nil {
		return arn.Scope{}, err
	}
	s := c.Scope()
	for _, name := range alarms {
		if err := access.Allow(c, "cloudwatch:"+op, s.Alarm(name)); err != nil {
			return s, err
		}
	}
	return s, nil
}

// scopeOfAll is scope for an operation that CloudWatch's permissions do not
// narrow to a resource.
func scopeOfAll(ctx context.Context, op string) (arn.Scope, error) {
	return access.Scope(ctx, "cloudwatch:"+op, access.Everything)
}

// declared gives a refusal the name that the model has for its cause, for the
// operations that declare it.
func declared(err error) error {
	_, sentence := fault.Public(err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, metric.ErrMissing):
		return awserr.Declared("MissingRequiredParameterException", "%s", sentence)
	case errors.Is(err, metric.ErrCombination):
		return awserr.Declared("InvalidParameterCombinationException", "%s", sentence)
	case errors.Is(err, metric.ErrValue):
		return awserr.Declared("InvalidParameterValueException", "%s", sentence)
	case errors.Is(err, alarm.ErrFormat):
		return awserr.Declared("InvalidFormatFault", "%s", sentence)
	}
	return err
}

// badToken refuses a token by the name that the operation declares.
func badToken(name string, err error) error {
	if errors.Is(err, fault.Invalid) {
		return awserr.Declared(name, "Request parameter NextToken is invalid")
	}
	return err
}

// number is n for the wire, and absent if it is 0.
func number(n int) *int32 {
	if n == 0 {
		return nil
	}
	return shape.Int(n)
}

// whole is n for the domain, which tells 0 from absent.
func whole(n *int32) *int {
	if n == nil {
		return nil
	}
	return new(int(*n))
}

// narrow is n for the wire, which tells 0 from absent.
func narrow(n *int) *int32 {
	if n == nil {
		return nil
	}
	return shape.Int(*n)
}

func dimensionsIn(in []cloudwatch.Dimension) (out []metric.Dimension) {
	for _, d := range in {
		out = append(out, metric.Dimension{Name: *d.Name, Value: *d.Value})
	}
	return out
}

func dimensionsOut(in []metric.Dimension) []cloudwatch.Dimension {
	out := []cloudwatch.Dimension{}
	for _, d := range in {
		out = append(out, cloudwatch.Dimension{Name: &d.Name, Value: &d.Value})
	}
	return out
}
