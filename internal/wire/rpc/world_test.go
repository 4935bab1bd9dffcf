package rpc_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/awsjson"
	"github.com/slipway-ml/slipway/internal/wire/awsquery"
	"github.com/slipway-ml/slipway/internal/wire/cborrpc"
	"github.com/slipway-ml/slipway/internal/wire/gateway"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// at is when everything in this world happened.
var at = time.UnixMilli(1795290785123).UTC()

// world keeps the alarms and samples that it is given, by name.
type world struct {
	mu      sync.Mutex
	alarms  map[string]cloudwatch.PutMetricAlarmInput
	samples map[string][]cloudwatch.MetricDatum
}

const maxBody = 64 << 10

func newHandler(log *slog.Logger) *rpc.Handler {
	w := &world{alarms: map[string]cloudwatch.PutMetricAlarmInput{}, samples: map[string][]cloudwatch.MetricDatum{}}
	return rpc.NewHandler(
		rpc.Config{
			Service: cloudwatch.API(), Errors: awserr.CloudWatch, Log: log, MaxBody: maxBody,
			Protocols: []rpc.Speaker{cborrpc.New, awsjson.New, awsquery.New},
		},
		rpc.Bind("PutMetricAlarm", w.putMetricAlarm),
		rpc.Bind("DescribeAlarms", w.describeAlarms),
		rpc.Bind("DeleteAlarms", w.deleteAlarms),
		rpc.Bind("SetAlarmState", w.setAlarmState),
		rpc.Bind("DescribeAlarmHistory", w.describeAlarmHistory),
		rpc.Bind("PutMetricData", w.putMetricData),
		rpc.Bind("GetMetricStatistics", w.getMetricStatistics),
		rpc.Bind("TagResource", w.tagResource),
	)
}

// serve puts the world behind the gateway, on a socket.
func serve(t *testing.T) (url string, key sigv4.Key) {
	t.Helper()
	keys, err := access.OpenFile(filepath.Join(t.TempDir(), "credentials"), "123456789012")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	srv := httptest.NewServer(gateway.New(gateway.Config{
		Verifier: sigv4.NewVerifier(keys), Keys: keys, Account: "123456789012", Region: "us-east-1", Log: log,
		CloudWatch: newHandler(log),
	}))
	t.Cleanup(srv.Close)
	return srv.URL, keys.Default()
}

func (w *world) putMetricAlarm(_ context.Context, in cloudwatch.PutMetricAlarmInput) (shape.None, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.alarms) >= 100 {
		return shape.None{}, fault.New(fault.Limit, "There are 100 alarms.")
	}
	if in.Threshold == nil {
		return shape.None{}, fault.New(fault.Invalid, "Threshold is required.")
	}
	w.alarms[*in.AlarmName] = in
	return shape.None{}, nil
}

func (w *world) describeAlarms(
	_ context.Context, in cloudwatch.DescribeAlarmsInput,
) (cloudwatch.DescribeAlarmsOutput, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if in.NextToken != nil {
		return cloudwatch.DescribeAlarmsOutput{}, awserr.Declared(
			"InvalidNextToken", "The token %s is not one.", *in.NextToken,
		)
	}
	out := cloudwatch.DescribeAlarmsOutput{
		CompositeAlarms: []cloudwatch.CompositeAlarm{}, MetricAlarms: []cloudwatch.MetricAlarm{},
	}
	for _, name := range slices.Sorted(maps.Keys(w.alarms)) {
		if in.AlarmNames != nil && !slices.Contains(in.AlarmNames, name) {
			continue
		}
		a := w.alarms[name]
		out.MetricAlarms = append(out.MetricAlarms, cloudwatch.MetricAlarm{
			AlarmName: a.AlarmName, AlarmArn: new("arn:aws:cloudwatch:us-east-1:123456789012:alarm:" + name),
			AlarmDescription: a.AlarmDescription, AlarmConfigurationUpdatedTimestamp: shape.At(at),
			StateUpdatedTimestamp: shape.At(at.Truncate(time.Second)),
			ActionsEnabled:        a.ActionsEnabled, OKActions: a.OKActions, AlarmActions: a.AlarmActions,
			InsufficientDataActions: a.InsufficientDataActions,
			StateValue:              new(cloudwatch.StateValueInsufficientData),
			StateReason:             new("Unchecked: Initial alarm creation"),
			MetricName:              a.MetricName, Namespace: a.Namespace, Statistic: a.Statistic,
			ExtendedStatistic: a.ExtendedStatistic, Dimensions: a.Dimensions,
			Period: a.Period, Unit: a.Unit, EvaluationPeriods: a.EvaluationPeriods,
			DatapointsToAlarm: a.DatapointsToAlarm,
			Threshold:         a.Threshold, ComparisonOperator: a.ComparisonOperator,
			TreatMissingData: a.TreatMissingData,
			Metrics:          a.Metrics,
		})
	}
	return out, nil
}

func (w *world) deleteAlarms(_ context.Context, in cloudwatch.DeleteAlarmsInput) (shape.None, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range in.AlarmNames {
		if _, ok := w.alarms[name]; !ok {
			return shape.None{}, fault.New(fault.NotFound, "Could not find alarm %s.", name)
		}
		delete(w.alarms, name)
	}
	return shape.None{}, nil
}

func (w *world) setAlarmState(_ context.Context, in cloudwatch.SetAlarmStateInput) (shape.None, error) {
	if *in.AlarmName == "panic" {
		panic("password=hunter2")
	}
	return shape.None{}, awserr.Declared(
		"InvalidFormatFault", "StateReasonData <%s> is not valid JSON & no more", *in.StateReason,
	)
}

func (w *world) describeAlarmHistory(
	_ context.Context, in cloudwatch.DescribeAlarmHistoryInput,
) (cloudwatch.DescribeAlarmHistoryOutput, error) {
	from, to := "ever", "ever"
	if in.StartDate != nil {
		from = in.StartDate.Format(time.RFC3339Nano)
	}
	if in.EndDate != nil {
		to = in.EndDate.Format(time.RFC3339Nano)
	}
	return cloudwatch.DescribeAlarmHistoryOutput{AlarmHistoryItems: []cloudwatch.AlarmHistoryItem{{
		AlarmName: in.AlarmName, Timestamp: shape.At(at), HistoryItemType: new(cloudwatch.HistoryItemTypeStateUpdate),
		HistorySummary:             new("Alarm updated from OK to ALARM"),
		HistoryData:                new(fmt.Sprintf(`{"from":%q,"to":%q,"types":%q}`, from, to, in.AlarmTypes)),
		AlarmContributorAttributes: map[string]string{"b": "2 < 3", "a": "1"},
	}}}, nil
}

func (w *world) putMetricData(_ context.Context, in cloudwatch.PutMetricDataInput) (shape.None, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, d := range in.MetricData {
		if d.Value != nil && (math.IsNaN(*d.Value) || math.IsInf(*d.Value, 0)) {
			return shape.None{}, fault.New(
				fault.Invalid, "The value %v for parameter MetricData.member.%d.Value is invalid.", *d.Value, i+1,
			)
		}
		w.samples[*in.Namespace+"/"+*d.MetricName] = append(w.samples[*in.Namespace+"/"+*d.MetricName], d)
	}
	return shape.None{}, nil
}

// getMetricStatistics answers a point for each value that was put.
func (w *world) getMetricStatistics(
	_ context.Context, in cloudwatch.GetMetricStatisticsInput,
) (cloudwatch.GetMetricStatisticsOutput, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case in.Statistics == nil && in.ExtendedStatistics == nil:
		return cloudwatch.GetMetricStatisticsOutput{}, awserr.Declared(
			"MissingRequiredParameterException", "Must specify either Statistics or ExtendedStatistics",
		)
	case !in.StartTime.Before(in.EndTime.Time):
		return cloudwatch.GetMetricStatisticsOutput{}, fault.New(
			fault.Invalid, "The parameter StartTime must be less than the parameter EndTime.",
		)
	case strings.HasPrefix(*in.MetricName, "boom"):
		return cloudwatch.GetMetricStatisticsOutput{}, fmt.Errorf("password=hunter2")
	}
	out := cloudwatch.GetMetricStatisticsOutput{Label: in.MetricName, Datapoints: []cloudwatch.Datapoint{}}
	for _, d := range w.samples[*in.Namespace+"/"+*in.MetricName] {
		p := cloudwatch.Datapoint{
			Timestamp: shape.At(at), Unit: d.Unit, ExtendedStatistics: map[string]float64{"p99": 0.1},
		}
		if d.Timestamp != nil {
			p.Timestamp = d.Timestamp
		}
		for i, v := range d.Values {
			q := p
			q.Sum, q.SampleCount = &v, &d.Counts[i]
			out.Datapoints = append(out.Datapoints, q)
		}
		if d.Value != nil {
			p.Sum = d.Value
			out.Datapoints = append(out.Datapoints, p)
		}
		if s := d.StatisticValues; s != nil {
			p.Sum, p.SampleCount, p.Minimum, p.Maximum = s.Sum, s.SampleCount, s.Minimum, s.Maximum
			out.Datapoints = append(out.Datapoints, p)
		}
	}
	return out, nil
}

func (w *world) tagResource(_ context.Context, in cloudwatch.TagResourceInput) (cloudwatch.TagResourceOutput, error) {
	if strings.HasSuffix(*in.ResourceARN, "missing") {
		return cloudwatch.TagResourceOutput{}, fault.New(fault.NotFound, "There is no %s.", *in.ResourceARN)
	}
	return cloudwatch.TagResourceOutput{}, nil
}
