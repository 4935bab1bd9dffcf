package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	client "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/google/go-cmp/cmp"
)

// watcher notes what the SDK sends and what it is answered.
type watcher struct{ requests, answers []string }

func (w *watcher) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		w.requests = append(w.requests, fmt.Sprintf(
			"%s %s %s", r.URL.Path, r.Header.Get("Smithy-Protocol"), r.Header.Get("Content-Encoding"),
		))
		w.answers = append(w.answers, fmt.Sprintf("%d %s", res.StatusCode, res.Header.Get("Smithy-Protocol")))
	}
	return res, err
}

func sdk(t *testing.T, prefix string) (*client.Client, *watcher) {
	t.Helper()
	url, key := serve(t)
	w := &watcher{}
	return client.New(client.Options{
		BaseEndpoint: aws.String(url + prefix), Region: "eu-west-1", HTTPClient: &http.Client{Transport: w},
		Credentials:      credentials.NewStaticCredentialsProvider(key.ID, key.Secret, ""),
		RetryMaxAttempts: 1,
	}), w
}

func TestTheGoSDKDrivesAlarmsInCBOR(t *testing.T) {
	for _, prefix := range []string{"", "/some/prefix"} {
		c, w := sdk(t, prefix)
		if _, err := c.PutMetricAlarm(t.Context(), &client.PutMetricAlarmInput{
			AlarmName: aws.String("ä \"quoted\" <alarm>"), AlarmDescription: aws.String(""),
			ActionsEnabled: aws.Bool(false), AlarmActions: []string{},
			MetricName: aws.String("Invocation5XXErrors"), Namespace: aws.String("AWS/SageMaker"),
			Statistic: types.StatisticAverage,
			Dimensions: []types.Dimension{{Name: aws.String("EndpointName"), Value: aws.String("e")}, {
				Name: aws.String("VariantName"), Value: aws.String("v"),
			}},
			Period: aws.Int32(10), EvaluationPeriods: aws.Int32(100000), Threshold: aws.Float64(-0.25),
			ComparisonOperator: types.ComparisonOperatorGreaterThanThreshold,
			TreatMissingData:   aws.String("notBreaching"),
		}); err != nil {
			t.Fatal(err)
		}
		out, err := c.DescribeAlarms(
			t.Context(), &client.DescribeAlarmsInput{AlarmNames: []string{"ä \"quoted\" <alarm>"}},
		)
		if err != nil || len(out.MetricAlarms) != 1 || out.CompositeAlarms == nil {
			t.Fatalf("%v %+v", err, out)
		}
		a := out.MetricAlarms[0]
		if *a.Threshold != -0.25 || *a.EvaluationPeriods != 100000 || *a.ActionsEnabled || *a.AlarmDescription != "" ||
			a.StateValue != types.StateValueInsufficientData ||
			!a.AlarmConfigurationUpdatedTimestamp.Equal(at) ||
			!a.StateUpdatedTimestamp.Equal(at.Truncate(time.Second)) || len(a.Dimensions) != 2 ||
			*a.Dimensions[1].Value != "v" {
			t.Errorf("%+v", a)
		}
		want := prefix + "/service/GraniteServiceVersion20100801/operation/PutMetricAlarm rpc-v2-cbor "
		if w.requests[0] != want || w.answers[0] != "200 rpc-v2-cbor" {
			t.Errorf("%q was answered %q", w.requests[0], w.answers[0])
		}
	}
}

func TestTheGoSDKPutsSamplesAndReadsThem(t *testing.T) {
	c, w := sdk(t, "")
	data := []types.MetricDatum{
		{MetricName: aws.String("m"), Value: aws.Float64(1), Unit: types.StandardUnitBytesSecond, Timestamp: aws.Time(
			at,
		)},
		{MetricName: aws.String("m"), Value: aws.Float64(1e300), Timestamp: aws.Time(at.Truncate(time.Second))},
		{MetricName: aws.String("m"), Values: []float64{-3, 0.1}, Counts: []float64{2, 1 << 40}},
		{MetricName: aws.String("m"), StatisticValues: &types.StatisticSet{
			SampleCount: aws.Float64(2), Sum: aws.Float64(3), Minimum: aws.Float64(1), Maximum: aws.Float64(2),
		}},
	}
	if _, err := c.PutMetricData(
		t.Context(), &client.PutMetricDataInput{Namespace: aws.String("N"), MetricData: data},
	); err != nil {
		t.Fatal(err)
	}
	out, err := c.GetMetricStatistics(t.Context(), &client.GetMetricStatisticsInput{
		Namespace: aws.String("N"), MetricName: aws.String("m"), StartTime: aws.Time(at.Add(-time.Hour)),
		EndTime: aws.Time(at), Period: aws.Int32(60),
		ExtendedStatistics: []string{"p99"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var sums []float64
	for _, p := range out.Datapoints {
		sums = append(sums, *p.Sum)
	}
	if diff := cmp.Diff([]float64{1, 1e300, -3, 0.1, 3}, sums); diff != "" {
		t.Error(diff)
	}
	if p := out.Datapoints; !p[0].Timestamp.Equal(at) || !p[1].Timestamp.Equal(at.Truncate(time.Second)) ||
		*p[3].SampleCount != 1<<40 || p[0].ExtendedStatistics["p99"] != 0.1 {
		t.Errorf("%+v", p)
	}
	for range 500 { // enough to be compressed
		data = append(data, types.MetricDatum{
			MetricName: aws.String("many"), Value: aws.Float64(7),
			Dimensions: []types.Dimension{{Name: aws.String("d"), Value: aws.String("v")}},
		})
	}
	if _, err := c.PutMetricData(
		t.Context(), &client.PutMetricDataInput{Namespace: aws.String("N"), MetricData: data},
	); err != nil {
		t.Fatal(err)
	}
	if last := w.requests[len(w.requests)-1]; !strings.HasSuffix(last, " gzip") {
		t.Errorf("nothing was compressed: %q", last)
	}
}

func TestTheGoSDKHearsItsTypedErrors(t *testing.T) {
	c, _ := sdk(t, "")
	check := func(what string, err error, code, message string, typed bool) {
		t.Helper()
		e, ok := errors.AsType[interface {
			error
			ErrorCode() string
			ErrorMessage() string
		}](err)
		if !ok || e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), message) || !typed {
			t.Errorf("%s: %T %v", what, e, err)
		}
	}
	_, err := c.DeleteAlarms(t.Context(), &client.DeleteAlarmsInput{AlarmNames: []string{"no"}})
	_, typed := errors.AsType[*types.ResourceNotFound](err)
	check("missing", err, "ResourceNotFound", "Could not find alarm no.", typed)

	_, err = c.DescribeAlarms(t.Context(), &client.DescribeAlarmsInput{NextToken: aws.String("x")})
	_, typed = errors.AsType[*types.InvalidNextToken](err)
	check("token", err, "InvalidNextToken", "The token x is not one.", typed)

	_, err = c.SetAlarmState(t.Context(), &client.SetAlarmStateInput{
		AlarmName: aws.String("a"), StateValue: types.StateValueOk, StateReason: aws.String("é"),
	})
	_, typed = errors.AsType[*types.InvalidFormatFault](err)
	check("format", err, "InvalidFormat", "StateReasonData <é> is not valid JSON & no more", typed)

	_, err = c.PutMetricData(t.Context(), &client.PutMetricDataInput{
		Namespace:  aws.String("N"),
		MetricData: []types.MetricDatum{{MetricName: aws.String("m"), Value: aws.Float64(math.NaN())}},
	})
	_, typed = errors.AsType[*types.InvalidParameterValueException](err)
	check("NaN", err, "InvalidParameterValue", "The value NaN for", typed)

	_, err = c.GetMetricStatistics(t.Context(), &client.GetMetricStatisticsInput{
		Namespace: aws.String("N"), MetricName: aws.String("m"), StartTime: aws.Time(at), EndTime: aws.Time(at),
		Period: aws.Int32(60),
	})
	_, typed = errors.AsType[*types.MissingRequiredParameterException](err)
	check("parameter", err, "MissingParameter", "Must specify", typed)

	_, err = c.GetMetricStatistics(t.Context(), &client.GetMetricStatisticsInput{
		Namespace: aws.String("N"), MetricName: aws.String("boom"), StartTime: aws.Time(at),
		EndTime: aws.Time(at.Add(time.Minute)), Period: aws.Int32(60),
		Statistics: []types.Statistic{types.StatisticSum},
	})
	_, typed = errors.AsType[*types.InternalServiceFault](err)
	check("bug", err, "InternalServiceError", "internal error", typed)

	tag := &client.TagResourceInput{ResourceARN: aws.String("missing"), Tags: []types.Tag{}}
	_, err = c.TagResource(t.Context(), tag)
	_, typed = errors.AsType[*types.ResourceNotFoundException](err)
	check("tag", err, "ResourceNotFoundException", "", typed)

	_, err = c.DescribeAlarms(t.Context(), &client.DescribeAlarmsInput{MaxRecords: aws.Int32(101)})
	check("constraint", err, "ValidationError", "1 validation error detected: Value '101' at 'maxRecords' "+
		"failed to satisfy constraint: Member must have value less than or equal to 100", true)

	_, err = c.PutDashboard(
		t.Context(), &client.PutDashboardInput{DashboardName: aws.String("d"), DashboardBody: aws.String("{}")},
	)
	check("operation", err, "InvalidAction", "The operation PutDashboard is not implemented by Slipway.", true)

	_, err = c.DescribeAlarms(t.Context(), nil, func(o *client.Options) {
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIANOBODY", SecretAccessKey: "x"}, nil
		})
	})
	check("key", err, "InvalidClientTokenId", "The security token included in the request is invalid.", true)
}
