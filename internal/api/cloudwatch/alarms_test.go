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
	"github.com/google/go-cmp/cmp/cmpopts"
)

var plain = cmpopts.IgnoreUnexported(
	types.MetricAlarm{}, types.CompositeAlarm{}, types.Dimension{}, types.MetricDataQuery{}, types.MetricStat{},
	types.Metric{},
)

func TestAnAlarmIsDescribedAsItWasPut(t *testing.T) {
	w := newWorld(t)
	w.put(&cloudwatch.PutMetricAlarmInput{
		AlarmName: aws.String("p99: ä <slow>"), AlarmDescription: aws.String("too slow"),
		ActionsEnabled: aws.Bool(false),
		OKActions:      []string{"arn:aws:sns:us-east-1:123456789012:ok"},
		AlarmActions:   []string{"arn:aws:sns:us-east-1:123456789012:bad", "arn:b"},

		InsufficientDataActions: []string{"arn:c"},
		Namespace:               aws.String("AWS/SageMaker"), MetricName: aws.String("ModelLatency"),
		ExtendedStatistic: aws.String("p99"), Unit: types.StandardUnitMicroseconds,
		Dimensions: []types.Dimension{{Name: aws.String("EndpointName"), Value: aws.String("e")}, {
			Name: aws.String("VariantName"), Value: aws.String("v"),
		}},
		Period: aws.Int32(60), EvaluationPeriods: aws.Int32(5), DatapointsToAlarm: aws.Int32(3),
		Threshold:          aws.Float64(-0.25),
		ComparisonOperator: types.ComparisonOperatorLessThanOrEqualToThreshold, TreatMissingData: aws.String("missing"),
		EvaluateLowSampleCountPercentile: aws.String("ignore"),
	})
	a := w.alarm("p99: ä <slow>")
	want := types.MetricAlarm{
		AlarmName:        aws.String("p99: ä <slow>"),
		AlarmArn:         aws.String("arn:aws:cloudwatch:us-east-1:123456789012:alarm:p99: ä <slow>"),
		AlarmDescription: aws.String("too slow"), ActionsEnabled: aws.Bool(false),
		OKActions:    []string{"arn:aws:sns:us-east-1:123456789012:ok"},
		AlarmActions: []string{"arn:aws:sns:us-east-1:123456789012:bad", "arn:b"},

		InsufficientDataActions: []string{"arn:c"},
		Namespace:               aws.String("AWS/SageMaker"), MetricName: aws.String("ModelLatency"),
		ExtendedStatistic: aws.String("p99"), Unit: types.StandardUnitMicroseconds,
		Dimensions: []types.Dimension{{Name: aws.String("EndpointName"), Value: aws.String("e")}, {
			Name: aws.String("VariantName"), Value: aws.String("v"),
		}},
		Period: aws.Int32(60), EvaluationPeriods: aws.Int32(5), DatapointsToAlarm: aws.Int32(3),
		Threshold:          aws.Float64(-0.25),
		ComparisonOperator: types.ComparisonOperatorLessThanOrEqualToThreshold, TreatMissingData: aws.String("missing"),
		EvaluateLowSampleCountPercentile: aws.String("ignore"),
		StateValue:                       types.StateValueInsufficientData,
	}
	when := cmpopts.IgnoreFields(
		types.MetricAlarm{}, "AlarmConfigurationUpdatedTimestamp", "StateUpdatedTimestamp",
		"StateTransitionedTimestamp", "StateReason", "StateReasonData",
	)
	if diff := cmp.Diff(want, a, plain, when); diff != "" {
		t.Error(diff)
	}
	for _, at := range []*time.Time{
		a.AlarmConfigurationUpdatedTimestamp, a.StateUpdatedTimestamp, a.StateTransitionedTimestamp,
	} {
		if at == nil || time.Since(*at) > time.Minute {
			t.Errorf("a time is %v", at)
		}
	}
}

func TestMetricMathIsDescribedAsItWasPut(t *testing.T) {
	w := newWorld(t)
	stat := func(name string) *types.MetricStat {
		return &types.MetricStat{Period: aws.Int32(1), Stat: aws.String("Sum"), Metric: &types.Metric{
			Namespace: aws.String("Shop"), MetricName: &name, Dimensions: []types.Dimension{},
		}}
	}
	queries := []types.MetricDataQuery{
		{
			Id: aws.String("e"), Expression: aws.String("IF(m2 > 0, m1 / m2, 0)"), Label: aws.String("rate"),
			ReturnData: aws.Bool(true),
		},
		{Id: aws.String("m1"), MetricStat: stat("Errors"), ReturnData: aws.Bool(false)},
		{Id: aws.String("m2"), MetricStat: stat("Orders"), ReturnData: aws.Bool(false), AccountId: aws.String(account)},
	}
	w.put(&cloudwatch.PutMetricAlarmInput{
		AlarmName: aws.String("rate"), Metrics: queries, EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(0.5),
		ComparisonOperator: types.ComparisonOperatorGreaterThanThreshold, TreatMissingData: aws.String("notBreaching"),
	})
	if diff := cmp.Diff(queries, w.alarm("rate").Metrics, plain); diff != "" {
		t.Error(diff)
	}
	// In one call: the next may be in the next second, which is another period.
	w.ok(w.putData(types.MetricDatum{MetricName: aws.String("Orders"), Values: []float64{1, 2}}, types.MetricDatum{
		MetricName: aws.String("Errors"), Value: aws.Float64(2),
	}))
	if a := w.await("rate", types.StateValueAlarm); !strings.Contains(
		aws.ToString(a.StateReason), "Threshold Crossed",
	) {
		t.Errorf("the reason is %q", aws.ToString(a.StateReason))
	}
	found, err := w.DescribeAlarmsForMetric(t.Context(), &cloudwatch.DescribeAlarmsForMetricInput{
		Namespace: aws.String("Shop"), MetricName: aws.String("Orders"),
	})
	w.ok(err)
	if len(found.MetricAlarms) != 0 {
		t.Errorf("an alarm on metric math was described for its metric: %v", found.MetricAlarms)
	}
}

func TestWhatSlipwayCannotWatchIsRefusedByItsName(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		change func(*cloudwatch.PutMetricAlarmInput)
		text   string
	}{
		"a PromQL query": {func(in *cloudwatch.PutMetricAlarmInput) {
			in.EvaluationCriteria = &types.EvaluationCriteriaMemberPromQLCriteria{
				Value: types.AlarmPromQLCriteria{Query: aws.String("up")},
			}
		}, "EvaluationCriteria (an alarm on a PromQL query) is not supported by Slipway."},
		"anomaly detection": {func(in *cloudwatch.PutMetricAlarmInput) {
			in.ThresholdMetricId, in.Threshold = aws.String("ad"), nil
			in.ComparisonOperator = types.ComparisonOperatorLessThanLowerOrGreaterThanUpperThreshold
		}, "anomaly detection"},
		"another account": {func(in *cloudwatch.PutMetricAlarmInput) {
			*in = cloudwatch.PutMetricAlarmInput{
				AlarmName: in.AlarmName, EvaluationPeriods: in.EvaluationPeriods, Threshold: in.Threshold,
				ComparisonOperator: in.ComparisonOperator,
				Metrics: []types.MetricDataQuery{{Id: aws.String(
					"m",
				), AccountId: aws.String("999999999999"), MetricStat: &types.MetricStat{
					Period: aws.Int32(60), Stat: aws.String("Sum"),
					Metric: &types.Metric{Namespace: aws.String("N"), MetricName: aws.String("m")},
				}}},
			}
		}, "AccountId of another account is not supported by Slipway."},
		"an odd period": {
			func(in *cloudwatch.PutMetricAlarmInput) { in.Period = aws.Int32(7) },
			"Period must be 1, 5, 10, 20, 30 or a multiple of 60.",
		},
		"no threshold": {
			func(in *cloudwatch.PutMetricAlarmInput) { in.Threshold = nil }, "The parameter Threshold is required.",
		},
		"no metric": {
			func(in *cloudwatch.PutMetricAlarmInput) { in.MetricName = nil }, "The parameter MetricName is required.",
		},
		"two statistics": {
			func(in *cloudwatch.PutMetricAlarmInput) { in.ExtendedStatistic = aws.String("p99") }, "mutually exclusive",
		},
		"no such handling": {
			func(in *cloudwatch.PutMetricAlarmInput) { in.TreatMissingData = aws.String("often") }, "TreatMissingData",
		},
	} {
		_, err := w.PutMetricAlarm(t.Context(), watching(name, c.change))
		w.refused(err, http.StatusBadRequest, "ValidationError", c.text)
	}
	if out := w.describe(&cloudwatch.DescribeAlarmsInput{}); len(out.MetricAlarms) != 0 {
		t.Errorf("%d of the refused alarms exist", len(out.MetricAlarms))
	}
}

func TestAnUpdateKeepsStateAndTags(t *testing.T) {
	w := newWorld(t)
	w.put(watching("a", func(in *cloudwatch.PutMetricAlarmInput) {
		in.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("shop")}}
	}))
	w.sample("Orders", 5)
	w.await("a", types.StateValueAlarm)
	// A period of a minute holds the sample: the state cannot change meanwhile.
	w.put(watching("a", func(in *cloudwatch.PutMetricAlarmInput) {
		in.Period, in.AlarmDescription = aws.Int32(60), aws.String("new")
		in.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("other")}}
	}))
	a := w.alarm("a")
	if a.StateValue != types.StateValueAlarm || aws.ToString(a.AlarmDescription) != "new" ||
		!aws.ToBool(a.ActionsEnabled) {
		t.Errorf(
			"after the update: %s %s %v", a.StateValue, aws.ToString(a.AlarmDescription), aws.ToBool(a.ActionsEnabled),
		)
	}
	tags, err := w.ListTagsForResource(t.Context(), &cloudwatch.ListTagsForResourceInput{ResourceARN: a.AlarmArn})
	w.ok(err)
	if len(tags.Tags) != 1 || *tags.Tags[0].Value != "shop" {
		t.Errorf("the tags are %v", tags.Tags)
	}
}

// names lists the alarms of an answer, composite ones with a star.
func names(out *cloudwatch.DescribeAlarmsOutput) (all []string) {
	for _, a := range out.MetricAlarms {
		all = append(all, *a.AlarmName)
	}
	for _, a := range out.CompositeAlarms {
		all = append(all, *a.AlarmName+"*")
	}
	return all
}

func TestAlarmsAreFoundAsAskedFor(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"live-5xx", "live-slow", "other"} {
		w.put(watching(name, func(in *cloudwatch.PutMetricAlarmInput) {
			if name == "other" {
				in.AlarmActions = []string{"arn:aws:sns:us-east-1:123456789012:pager"}
			}
		}))
	}
	w.compose("live", `ALARM("live-5xx") OR ALARM("live-slow")`)
	w.compose("top", "ALARM(live)")
	_, err := w.SetAlarmState(t.Context(), &cloudwatch.SetAlarmStateInput{
		AlarmName: aws.String("top"), StateValue: types.StateValueInsufficientData, StateReason: aws.String("x"),
	})
	w.ok(err)
	both := []types.AlarmType{types.AlarmTypeCompositeAlarm, types.AlarmTypeMetricAlarm}
	for name, c := range map[string]struct {
		in   cloudwatch.DescribeAlarmsInput
		want []string
	}{
		"all, which are metric alarms": {
			cloudwatch.DescribeAlarmsInput{}, []string{"live-5xx", "live-slow", "other"},
		},
		"composite ones": {
			cloudwatch.DescribeAlarmsInput{AlarmTypes: both[:1]}, []string{"live*", "top*"},
		},
		"both": {
			cloudwatch.DescribeAlarmsInput{AlarmTypes: both, AlarmNamePrefix: aws.String("live")},
			[]string{"live-5xx", "live-slow", "live*"},
		},
		"by name, unknown ones left out": {
			cloudwatch.DescribeAlarmsInput{AlarmNames: []string{"other", "nobody", "live"}}, []string{"other"},
		},
		"by state": {
			cloudwatch.DescribeAlarmsInput{
				AlarmTypes: both, StateValue: types.StateValueInsufficientData, AlarmNamePrefix: aws.String("t"),
			},
			[]string{"top*"},
		},
		"by action": {
			cloudwatch.DescribeAlarmsInput{ActionPrefix: aws.String("arn:aws:sns")}, []string{"other"},
		},
		"children": {
			cloudwatch.DescribeAlarmsInput{ChildrenOfAlarmName: aws.String("live")}, []string{"live-5xx", "live-slow"},
		},
		"a composite child": {
			cloudwatch.DescribeAlarmsInput{ChildrenOfAlarmName: aws.String("top")}, []string{"live*"},
		},
		"parents": {
			cloudwatch.DescribeAlarmsInput{ParentsOfAlarmName: aws.String("live-slow")}, []string{"live*"},
		},
		"parents of nobody": {
			cloudwatch.DescribeAlarmsInput{ParentsOfAlarmName: aws.String("nobody")}, nil,
		},
	} {
		if got := names(w.describe(&c.in)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	_, err = w.DescribeAlarms(
		t.Context(), &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{"a"}, AlarmNamePrefix: aws.String("b")},
	)
	w.refused(err, http.StatusBadRequest, "ValidationError", "mutually exclusive")
	_, err = w.DescribeAlarms(t.Context(), &cloudwatch.DescribeAlarmsInput{
		ParentsOfAlarmName: aws.String("a"), AlarmNamePrefix: aws.String("b"),
	})
	w.refused(err, http.StatusBadRequest, "ValidationError", "every other parameter")
	if got := names(
		must(w.in("eu-west-1").DescribeAlarms(t.Context(), &cloudwatch.DescribeAlarmsInput{}))(t),
	); len(got) != 0 {
		t.Errorf("another region has %v", got)
	}
	found, err := w.DescribeAlarmsForMetric(t.Context(), &cloudwatch.DescribeAlarmsForMetricInput{
		Namespace: aws.String("Shop"), MetricName: aws.String("Orders"), Statistic: types.StatisticMaximum,
	})
	w.ok(err)
	if len(found.MetricAlarms) != 3 {
		t.Errorf("%d alarms watch the metric", len(found.MetricAlarms))
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestAlarmsComeInPages(t *testing.T) {
	w := newWorld(t)
	var want []string
	for i := range 7 {
		want = append(want, fmt.Sprintf("a%d", i))
		w.put(watching(want[i]))
	}
	var got []string
	pages := cloudwatch.NewDescribeAlarmsPaginator(w.Client, &cloudwatch.DescribeAlarmsInput{MaxRecords: aws.Int32(3)})
	var token *string
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		w.ok(err)
		got = append(got, names(page)...)
		if token == nil {
			token = page.NextToken
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	for _, in := range []*cloudwatch.DescribeAlarmsInput{
		{NextToken: aws.String("x")}, {NextToken: token, AlarmNamePrefix: aws.String("a")},
	} {
		_, err := w.DescribeAlarms(t.Context(), in)
		w.refused(err, http.StatusBadRequest, "InvalidNextToken", "invalid")
	}
}

func TestTheWaitersOfTheSDKSeeAlarms(t *testing.T) {
	w := newWorld(t)
	w.put(watching("a"))
	w.compose("c", "ALARM(a)")
	w.ok(cloudwatch.NewAlarmExistsWaiter(w.Client).Wait(
		t.Context(), &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{"a"}}, time.Second,
	))
	w.ok(cloudwatch.NewCompositeAlarmExistsWaiter(w.Client).Wait(t.Context(), &cloudwatch.DescribeAlarmsInput{
		AlarmNames: []string{"c"}, AlarmTypes: []types.AlarmType{types.AlarmTypeCompositeAlarm},
	}, time.Second))
}
