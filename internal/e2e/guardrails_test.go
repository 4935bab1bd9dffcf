package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	guardedRate  = 80 // requests per second
	guardedFleet = 4  // instances
)

// broken makes a testmodel answer 500 to so many of a hundred requests.
func broken(percent int) map[string]string {
	return map[string]string{"TESTMODEL_STATUS": "500", "TESTMODEL_STATUS_PERCENT": fmt.Sprint(percent)}
}

// cloudwatch is the SDK's client for alarms, which speaks CBOR.
func (c *sdk) cloudwatch() *cloudwatch.Client {
	o := c.sagemaker.Options()
	return cloudwatch.New(cloudwatch.Options{
		BaseEndpoint: o.BaseEndpoint, Region: o.Region, Credentials: o.Credentials, HTTPClient: o.HTTPClient,
	})
}

// dimensions are those of a fleet's metrics, or of both fleets if config is "".
func dimensions(endpoint, config string) []cwtypes.Dimension {
	all := []cwtypes.Dimension{{Name: aws.String("EndpointName"), Value: &endpoint}, {
		Name: aws.String("VariantName"), Value: aws.String("main"),
	}}
	if config != "" {
		all = append(all, cwtypes.Dimension{Name: aws.String("EndpointConfigName"), Value: &config})
	}
	return all
}

// guard puts an alarm on the errors of a configuration's fleet: three within a
// second. It returns a guardrail of it.
func (c *sdk) guard(endpoint, config string) *types.AutoRollbackConfig {
	c.t.Helper()
	name := config + "-5xx"
	_, err := c.cloudwatch().PutMetricAlarm(c.t.Context(), &cloudwatch.PutMetricAlarmInput{
		AlarmName: &name, Namespace: aws.String("AWS/SageMaker"), MetricName: aws.String("Invocation5XXErrors"),
		Dimensions: dimensions(endpoint, config),
		Statistic:  cwtypes.StatisticSum, Period: aws.Int32(1), EvaluationPeriods: aws.Int32(1),
		Threshold:          aws.Float64(3),
		ComparisonOperator: cwtypes.ComparisonOperatorGreaterThanOrEqualToThreshold,
		TreatMissingData:   aws.String("notBreaching"),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return &types.AutoRollbackConfig{Alarms: []types.Alarm{{AlarmName: &name}}}
}

func count(n int32) *types.CapacitySize {
	return &types.CapacitySize{Type: types.CapacitySizeTypeInstanceCount, Value: &n}
}

func percent(n int32) *types.CapacitySize {
	return &types.CapacitySize{Type: types.CapacitySizeTypeCapacityPercent, Value: &n}
}

var sameConfig = cmpopts.IgnoreUnexported(
	types.DeploymentConfig{}, types.BlueGreenUpdatePolicy{}, types.TrafficRoutingConfig{}, types.CapacitySize{},
	types.RollingUpdatePolicy{}, types.AutoRollbackConfig{}, types.Alarm{},
)

// moment is what DescribeEndpoint shows of the stage of an update.
type moment struct {
	stage string // the VariantStatus of the new fleet, or of the old, or ""
	*sagemaker.DescribeEndpointOutput
}

// follow describes the endpoint until it is at rest and returns every moment
// that differs from the one before.
func (c *sdk) follow(endpoint string) (all []moment) {
	c.t.Helper()
	last := ""
	for deadline := time.Now().Add(2 * time.Minute); ; {
		m := moment{DescribeEndpointOutput: c.describe(endpoint)}
		old := m.ProductionVariants[0]
		facts := fmt.Sprint(
			m.EndpointStatus, aws.ToString(m.FailureReason), aws.ToInt32(old.CurrentInstanceCount),
			statusText(old.VariantStatus),
		)
		m.stage = statusText(old.VariantStatus)
		if p := m.PendingDeploymentSummary; p != nil {
			v := p.ProductionVariants[0]
			facts += fmt.Sprint(aws.ToInt32(v.CurrentInstanceCount), statusText(v.VariantStatus))
			if len(v.VariantStatus) > 0 {
				m.stage = statusText(v.VariantStatus)
			}
		}
		if facts != last {
			all, last = append(all, m), facts
		}
		if m.EndpointStatus == types.EndpointStatusInService {
			return all
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the update does not end: %s", facts)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func statusText(statuses []types.ProductionVariantStatus) (all string) {
	for _, s := range statuses {
		all += string(s.Status) + ": " + aws.ToString(s.StatusMessage)
	}
	return all
}

func TestABadCanaryIsRolledBackInFrontOfTheClient(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("good", guardedFleet, nil)
	c.deployable("bad", guardedFleet, broken(40))
	c.createEndpoint("live", "good")
	asked := &types.DeploymentConfig{
		BlueGreenUpdatePolicy: &types.BlueGreenUpdatePolicy{
			TrafficRoutingConfiguration: &types.TrafficRoutingConfig{
				Type: types.TrafficRoutingConfigTypeCanary, WaitIntervalInSeconds: aws.Int32(60), CanarySize: count(1),
			},
			TerminationWaitInSeconds: aws.Int32(30),
		},
		AutoRollbackConfiguration: c.guard("live", "bad"),
	}
	l := startCensus(c, "live", guardedRate)
	l.answers(t, guardedRate)
	c.update("bad", asked)
	moments := c.follow("live")
	rolledBack := time.Now()
	l.answers(t, guardedRate)
	l.finish()

	c.wantMoments(moments, asked)
	by := l.check(s, "bad")
	bad := by["bad"]
	if len(by) != 2 || bad.failed < 3 || bad.lastSent.After(rolledBack) {
		t.Errorf("requests by model: %+v; the rollback ended at %v", by, rolledBack)
	}
	exposed := bad.lastSent.Sub(bad.firstFailed)
	t.Logf(
		"%v; the bad model took requests for %v after its first bad answer: %d good, %d bad", l.report, exposed,
		bad.answered, bad.failed,
	)
	if exposed > 10*time.Second {
		t.Errorf("that is too long")
	}
	c.wantMetrics("live", by)
	history, err := c.cloudwatch().DescribeAlarmHistory(t.Context(), &cloudwatch.DescribeAlarmHistoryInput{
		AlarmName: aws.String("bad-5xx"), HistoryItemType: cwtypes.HistoryItemTypeStateUpdate,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(history.AlarmHistoryItems, func(h cwtypes.AlarmHistoryItem) bool {
		return strings.HasSuffix(aws.ToString(h.HistorySummary), "to ALARM")
	}) {
		t.Errorf("the alarm's history is %+v", history.AlarmHistoryItems)
	}
	eventually(
		t, 30*time.Second, "only the good instances run", func() bool { return len(s.instances()) == guardedFleet },
	)
	s.stop()
}

// rejected is the FailureReason after the alarm of configuration "bad".
const rejected = "Endpoint deployment was rolled back because the following CloudWatch alarm(s) are in ALARM state: " +
	"[bad-5xx]."

// wantMoments checks each moment of a rolled back canary against spec §3.4.
func (c *sdk) wantMoments(moments []moment, asked *types.DeploymentConfig) {
	c.t.Helper()
	seen := map[string]bool{}
	for i, m := range moments {
		what := fmt.Sprintf("moment %d, %s %q", i, m.EndpointStatus, m.stage)
		word, _, _ := strings.Cut(m.stage, ":")
		seen[word] = true
		if got := aws.ToString(m.EndpointConfigName); got != "good" {
			c.t.Errorf("%s: EndpointConfigName is %s", what, got)
		}
		if diff := cmp.Diff(asked, m.LastDeploymentConfig, sameConfig); diff != "" {
			c.t.Errorf("%s: LastDeploymentConfig\n%s", what, diff)
		}
		v := m.ProductionVariants[0]
		if len(m.ProductionVariants) != 1 || aws.ToInt32(v.CurrentInstanceCount) != guardedFleet ||
			aws.ToInt32(v.DesiredInstanceCount) != guardedFleet ||
			aws.ToFloat32(v.CurrentWeight) != 1 || aws.ToFloat32(v.DesiredWeight) != 1 {
			c.t.Errorf("%s: ProductionVariants %+v", what, v)
		}
		if i < len(moments)-1 {
			c.wantPending(what, m)
		} else if m.EndpointStatus != types.EndpointStatusInService || m.PendingDeploymentSummary != nil ||
			m.stage != "" || aws.ToString(m.FailureReason) != rejected {
			c.t.Errorf("%s: at the end, with %q", what, aws.ToString(m.FailureReason))
		}
	}
	for _, word := range []string{"Creating", "Baking"} { // the others may be over between two looks
		if !seen[word] {
			c.t.Errorf("%s was never shown: %v", word, seen)
		}
	}
}

// wantPending checks what a moment before the end shows of the new fleet.
func (c *sdk) wantPending(what string, m moment) {
	c.t.Helper()
	p := m.PendingDeploymentSummary
	if m.EndpointStatus != types.EndpointStatusUpdating || p == nil {
		c.t.Errorf("%s: pending is %+v", what, p)
		return
	}
	g := p.ProductionVariants[0]
	if aws.ToString(p.EndpointConfigName) != "bad" || p.StartTime == nil ||
		aws.ToInt32(g.DesiredInstanceCount) != guardedFleet || aws.ToFloat32(g.CurrentWeight) != 1 {
		c.t.Errorf("%s: pending is %+v", what, p)
	}
	green, isRejected := int32(0), false
	switch {
	case m.stage == "": // between two stages
		green, isRejected = aws.ToInt32(g.CurrentInstanceCount), m.FailureReason != nil
	case m.stage == "Creating: Launching 4 instance(s).":
	case m.stage == "ActivatingTraffic: Activating traffic on canary capacity of 1 instance(s).",
		m.stage == "Baking: Baking for 60 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity of "+
			"1 instance(s).":
		green = 1
	// of the old fleet again
	case m.stage == "ActivatingTraffic: Activating traffic on full capacity of 4 instance(s).",
		strings.HasPrefix(m.stage, "Deleting: Terminating "): // fewer and fewer
		isRejected = true
	default:
		c.t.Errorf("%s: this is no stage of it", what)
	}
	if reason := aws.ToString(m.FailureReason); aws.ToInt32(g.CurrentInstanceCount) != green ||
		(reason == rejected) != isRejected || (reason != "") != isRejected {
		c.t.Errorf(
			"%s: %d green instances have traffic, FailureReason %q", what, aws.ToInt32(g.CurrentInstanceCount), reason,
		)
	}
}

// wantMetrics checks that the metrics count what the clients saw, under both
// dimension sets (spec §7.2).
func (c *sdk) wantMetrics(endpoint string, by map[string]tally) {
	c.t.Helper()
	var invocations, errors float64
	for model, sum := range by {
		invocations += float64(sum.answered + sum.failed)
		errors += float64(sum.failed)
		c.wantSum("Invocations", endpoint, model, float64(sum.answered+sum.failed))
		c.wantSum("Invocation5XXErrors", endpoint, model, float64(sum.failed))
		c.wantSum("InvocationModelErrors", endpoint, model, float64(sum.failed))
	}
	c.wantSum("Invocations", endpoint, "", invocations)
	c.wantSum("Invocation5XXErrors", endpoint, "", errors)
	c.wantSum("Invocation4XXErrors", endpoint, "", 0)
}

func (c *sdk) wantSum(metric, endpoint, config string, want float64) {
	c.t.Helper()
	now := time.Now()
	got := 0.0
	// The last samples may be on their way for a moment.
	for deadline := now.Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, err := c.cloudwatch().GetMetricStatistics(c.t.Context(), &cloudwatch.GetMetricStatisticsInput{
			Namespace: aws.String("AWS/SageMaker"), MetricName: &metric, Dimensions: dimensions(endpoint, config),
			StartTime: aws.Time(now.Add(-time.Hour)), EndTime: aws.Time(now.Add(time.Minute)), Period: aws.Int32(60),
			Statistics: []cwtypes.Statistic{cwtypes.StatisticSum},
		})
		if err != nil {
			c.t.Fatal(err)
		}
		got = 0
		for _, p := range out.Datapoints {
			got += aws.ToFloat64(p.Sum)
		}
		if got == want || time.Now().After(deadline) {
			break
		}
	}
	if got != want {
		c.t.Errorf("the sum of %s of %q is %v, want %v", metric, config, got, want)
	}
}

// Every strategy brings a good model into service without a failed request, and
// takes a bad one back with none but the bad model's own errors.
func TestEveryStrategyUnderLoad(t *testing.T) {
	t.Parallel()
	route := func(
		kind types.TrafficRoutingConfigType, wait int32, r types.TrafficRoutingConfig, bake int32,
	) *types.DeploymentConfig {
		r.Type, r.WaitIntervalInSeconds = kind, &wait
		return &types.DeploymentConfig{BlueGreenUpdatePolicy: &types.BlueGreenUpdatePolicy{
			TrafficRoutingConfiguration: &r, TerminationWaitInSeconds: &bake,
		}}
	}
	rolling := func(back *types.CapacitySize) *types.DeploymentConfig {
		return &types.DeploymentConfig{RollingUpdatePolicy: &types.RollingUpdatePolicy{
			MaximumBatchSize: count(2), WaitIntervalInSeconds: aws.Int32(2), RollbackMaximumBatchSize: back,
		}}
	}
	for name, d := range map[string]*types.DeploymentConfig{
		"all-at-once": route(types.TrafficRoutingConfigTypeAllAtOnce, 0, types.TrafficRoutingConfig{}, 3),
		"canary": route(
			types.TrafficRoutingConfigTypeCanary, 3, types.TrafficRoutingConfig{CanarySize: percent(25)}, 1,
		),
		"linear": route(
			types.TrafficRoutingConfigTypeLinear, 2, types.TrafficRoutingConfig{LinearStepSize: percent(33)}, 1,
		),
		"rolling":                 rolling(nil),
		"rolling-back-in-batches": rolling(count(1)),
	} {
		t.Run(name, func(t *testing.T) { testStrategy(t, d) })
	}
}

func testStrategy(t *testing.T, d *types.DeploymentConfig) {
	s := startServer(t)
	c := s.sdk()
	for _, name := range []string{"v1", "v2"} {
		c.deployable(name, guardedFleet, nil)
	}
	c.deployable("bad", guardedFleet, broken(50))
	c.createEndpoint("live", "v1")
	l := startCensus(c, "live", guardedRate)
	l.answers(t, guardedRate/2)

	d.AutoRollbackConfiguration = c.guard("live", "v2")
	c.update("v2", d)
	if got := c.awaitInService("live"); got != "v2" {
		t.Fatalf("the good model was not accepted: %s", c.failureReason("live"))
	}
	if reason := c.failureReason("live"); reason != "" {
		t.Errorf("the good model has the FailureReason %q", reason)
	}
	l.answers(t, guardedRate/2)

	d.AutoRollbackConfiguration = c.guard("live", "bad")
	c.update("bad", d)
	if got := c.awaitInService("live"); got != "v2" {
		t.Fatalf("the bad model is in service: %s", got)
	}
	rolledBack := time.Now()
	if reason := c.failureReason("live"); !strings.Contains(reason, "[bad-5xx]") {
		t.Errorf("the FailureReason is %q", reason)
	}
	l.answers(t, guardedRate)
	l.finish()
	by := l.check(s, "bad")
	if by["v1"].answered == 0 || by["v2"].answered == 0 || by["bad"].failed == 0 ||
		by["bad"].lastSent.After(rolledBack) {
		t.Errorf("requests by model: %+v; the rollback ended at %v", by, rolledBack)
	}
	t.Logf("%v; %d bad answers within %v", l.report, by["bad"].failed, by["bad"].lastSent.Sub(by["bad"].firstFailed))
	c.wantMetrics("live", by)
	v := c.describe("live").ProductionVariants[0]
	if aws.ToInt32(v.CurrentInstanceCount) != guardedFleet || aws.ToInt32(v.DesiredInstanceCount) != guardedFleet {
		t.Errorf(
			"after the rollback there are %d instances of %d", aws.ToInt32(v.CurrentInstanceCount),
			aws.ToInt32(v.DesiredInstanceCount),
		)
	}
	eventually(t, 30*time.Second, "only the endpoint's instances run", func() bool {
		return len(s.instances()) == guardedFleet
	})
	s.stop()
}
