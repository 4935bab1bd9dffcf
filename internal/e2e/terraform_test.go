package e2e

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

// provider does what the Terraform AWS provider does, with the same calls (spec
// §10.2).
type provider struct{ *sdk }

// settle is the provider's wait for an endpoint: any status but those it knows
// is an error to it.
func (p provider) settle() *sagemaker.DescribeEndpointOutput {
	p.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		d := p.describe("live")
		switch d.EndpointStatus {
		case types.EndpointStatusInService:
			return d
		case types.EndpointStatusCreating, types.EndpointStatusUpdating, types.EndpointStatusSystemUpdating:
		default:
			p.t.Fatalf("unexpected state %q, wanted target \"InService\"", d.EndpointStatus)
		}
	}
	p.t.Fatal("timeout while waiting for the endpoint")
	return nil
}

// refused checks how the provider recognises an error: by its code and by a
// part of its text.
func (p provider) refused(err error, text string) {
	p.t.Helper()
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "ValidationException" ||
		!strings.Contains(e.ErrorMessage(), text) {
		p.t.Errorf("got %v, want %q", err, text)
	}
}

// manual puts an alarm that only a person trips.
func (p provider) manual(name string) {
	p.t.Helper()
	_, err := p.cloudwatch().PutMetricAlarm(p.t.Context(), &cloudwatch.PutMetricAlarmInput{
		AlarmName: &name, Namespace: aws.String("Ops"), MetricName: aws.String("Lever"),
		Statistic: cwtypes.StatisticSum, Period: aws.Int32(60),
		EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(1),
		ComparisonOperator: cwtypes.ComparisonOperatorGreaterThanThreshold,
		TreatMissingData:   aws.String("notBreaching"),
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// pull trips such an alarm, as an operator may (spec §4.5).
func (p provider) pull(name string) {
	p.t.Helper()
	_, err := p.cloudwatch().SetAlarmState(p.t.Context(), &cloudwatch.SetAlarmStateInput{
		AlarmName: &name, StateValue: cwtypes.StateValueAlarm, StateReason: aws.String("by hand"),
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// guardrail is a deployment_config as the provider sends it: it always has a
// TerminationWaitInSeconds.
func guardrail(alarm string) *types.DeploymentConfig {
	return &types.DeploymentConfig{
		BlueGreenUpdatePolicy: &types.BlueGreenUpdatePolicy{
			TrafficRoutingConfiguration: &types.TrafficRoutingConfig{
				Type: types.TrafficRoutingConfigTypeCanary, WaitIntervalInSeconds: aws.Int32(300),
				CanarySize: percent(50),
			},
			TerminationWaitInSeconds: aws.Int32(0), MaximumExecutionTimeoutInSeconds: aws.Int32(600),
		},
		AutoRollbackConfiguration: &types.AutoRollbackConfig{Alarms: []types.Alarm{{AlarmName: &alarm}}},
	}
}

func TestTerraformsEndpointResource(t *testing.T) {
	s := startServer(t)
	c := provider{s.sdk()}
	for _, name := range []string{"v1", "v2", "v3"} {
		c.deployable(name, 2, nil)
	}
	c.manual("lever")
	wantEcho := func(when string, want *types.DeploymentConfig) {
		t.Helper()
		if diff := cmp.Diff(want, c.describe("live").LastDeploymentConfig, sameConfig); diff != "" {
			t.Errorf("%s, LastDeploymentConfig is what was not sent:\n%s", when, diff)
		}
	}

	// Create, with a deployment_config that is read back.
	create := &types.DeploymentConfig{BlueGreenUpdatePolicy: &types.BlueGreenUpdatePolicy{
		TrafficRoutingConfiguration: &types.TrafficRoutingConfig{
			Type: types.TrafficRoutingConfigTypeAllAtOnce, WaitIntervalInSeconds: aws.Int32(0),
		}, TerminationWaitInSeconds: aws.Int32(0),
	}}
	_, err := c.sagemaker.CreateEndpoint(t.Context(), &sagemaker.CreateEndpointInput{
		EndpointName: aws.String("live"), EndpointConfigName: aws.String("v1"), DeploymentConfig: create,
	})
	if err != nil {
		t.Fatal(err)
	}
	wantEcho("while it is created", create)
	c.settle()
	wantEcho("after the create", create)

	// An update that is rolled back: InService, the old configuration, the
	// rejected deployment_config. The next plan shows the same change again.
	for range 2 {
		c.update("v2", guardrail("lever"))
		wantEcho("at acceptance", guardrail("lever"))
		eventually(t, time.Minute, "the canary bakes", func() bool { return c.baking(1) })
		c.pull("lever")
		d := c.settle()
		if aws.ToString(d.EndpointConfigName) != "v1" || !strings.Contains(aws.ToString(d.FailureReason), "[lever]") {
			t.Errorf("after the rollback: %s, %s", aws.ToString(d.EndpointConfigName), aws.ToString(d.FailureReason))
		}
		wantEcho("after the rollback", guardrail("lever"))
		c.rest("lever")
	}

	// The block removed: absent, so that there is no diff.
	c.update("v2", nil)
	c.settle()
	wantEcho("after an update without a deployment_config", nil)

	// With create_before_destroy the configuration that is still in use may be
	// deleted; then the endpoint cannot be updated.
	if _, err := c.sagemaker.DeleteEndpointConfig(
		t.Context(), &sagemaker.DeleteEndpointConfigInput{EndpointConfigName: aws.String("v2")},
	); err != nil {
		t.Fatal(err)
	}
	_, err = c.sagemaker.UpdateEndpoint(t.Context(), &sagemaker.UpdateEndpointInput{
		EndpointName: aws.String("live"), EndpointConfigName: aws.String("v3"),
	})
	c.refused(
		err, `Could not find endpoint configuration "arn:aws:sagemaker:us-east-1:123456789012:endpoint-config/v2"`,
	)
	c.wantAnswer("live", "v2")
	c.destroy()
	eventually(t, 30*time.Second, "no instance is left", func() bool { return len(s.instances()) == 0 })
	s.stop()
}

// baking reports whether the new fleet is baking with so many instances.
func (p provider) baking(green int32) bool {
	d := p.describe("live").PendingDeploymentSummary
	return d != nil && slices.ContainsFunc(d.ProductionVariants, func(v types.PendingProductionVariantSummary) bool {
		return aws.ToInt32(v.CurrentInstanceCount) == green && strings.HasPrefix(statusText(v.VariantStatus), "Baking")
	})
}

// rest lets go of a lever.
func (p provider) rest(name string) {
	p.t.Helper()
	_, err := p.cloudwatch().SetAlarmState(p.t.Context(), &cloudwatch.SetAlarmStateInput{
		AlarmName: &name, StateValue: cwtypes.StateValueOk, StateReason: aws.String("by hand"),
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// destroy deletes in the provider's order: an endpoint that is Deleting counts
// as gone, so configurations and models are deleted while it still is.
func (p provider) destroy() {
	p.t.Helper()
	ctx := p.t.Context()
	if _, err := p.sagemaker.DeleteEndpoint(
		ctx, &sagemaker.DeleteEndpointInput{EndpointName: aws.String("live")},
	); err != nil {
		p.t.Fatal(err)
	}
	d, err := p.sagemaker.DescribeEndpoint(ctx, &sagemaker.DescribeEndpointInput{EndpointName: aws.String("live")})
	if err == nil && d.EndpointStatus != types.EndpointStatusDeleting {
		p.t.Errorf("after DeleteEndpoint it is %s", d.EndpointStatus)
	}
	if err != nil {
		p.refused(err, "Could not find endpoint")
	}
	for _, name := range []string{"v1", "v3"} {
		if _, err := p.sagemaker.DeleteEndpointConfig(
			ctx, &sagemaker.DeleteEndpointConfigInput{EndpointConfigName: &name},
		); err != nil {
			p.t.Error(err)
		}
	}
	for _, name := range []string{"v1", "v2", "v3"} {
		if _, err := p.sagemaker.DeleteModel(ctx, &sagemaker.DeleteModelInput{ModelName: &name}); err != nil {
			p.t.Error(err)
		}
	}
	_, err = p.sagemaker.DescribeEndpointConfig(
		ctx, &sagemaker.DescribeEndpointConfigInput{EndpointConfigName: aws.String("v1")},
	)
	p.refused(err, "Could not find endpoint configuration")
	_, err = p.sagemaker.DeleteModel(ctx, &sagemaker.DeleteModelInput{ModelName: aws.String("v1")})
	p.refused(err, "Could not find model")
	eventually(p.t, 30*time.Second, "the endpoint is gone", func() bool {
		_, err := p.sagemaker.DescribeEndpoint(ctx, &sagemaker.DescribeEndpointInput{EndpointName: aws.String("live")})
		return err != nil
	})
}

// The alarm resource creates with tags, reads by name and type, reads tags,
// changes in place, and is gone when nothing is found.
func TestTerraformsAlarmResource(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	cw, ctx := c.cloudwatch(), t.Context()
	put := func(threshold float64, tags ...cwtypes.Tag) {
		t.Helper()
		if _, err := cw.PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{
			AlarmName:          aws.String("errors"),
			ComparisonOperator: cwtypes.ComparisonOperatorGreaterThanOrEqualToThreshold,
			EvaluationPeriods:  aws.Int32(2),
			TreatMissingData:   aws.String("missing"), ActionsEnabled: aws.Bool(true), Tags: tags,
			Namespace: aws.String("AWS/SageMaker"), MetricName: aws.String("Invocation5XXErrors"),
			Period: aws.Int32(60), Statistic: cwtypes.StatisticAverage, Threshold: &threshold,
			Dimensions: dimensions("live", ""),
		}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(kind cwtypes.AlarmType) *cloudwatch.DescribeAlarmsOutput {
		t.Helper()
		out, err := cw.DescribeAlarms(
			ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{"errors"}, AlarmTypes: []cwtypes.AlarmType{kind}},
		)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	put(0.5, cwtypes.Tag{Key: aws.String("team"), Value: aws.String("a")}, cwtypes.Tag{
		Key: aws.String("env"), Value: aws.String(""),
	})
	a := read(cwtypes.AlarmTypeMetricAlarm).MetricAlarms[0]
	if aws.ToString(a.AlarmArn) != "arn:aws:cloudwatch:us-east-1:123456789012:alarm:errors" ||
		aws.ToFloat64(a.Threshold) != 0.5 || !aws.ToBool(a.ActionsEnabled) ||
		aws.ToString(a.TreatMissingData) != "missing" || a.DatapointsToAlarm != nil ||
		a.EvaluateLowSampleCountPercentile != nil || a.Unit != "" || a.AlarmDescription != nil ||
		len(a.Metrics) != 0 {
		t.Errorf("%+v", a)
	}
	if got := c.tagsOf(a.AlarmArn); !slices.Equal(got, []string{"env=", "team=a"}) {
		t.Errorf("the tags are %v", got)
	}
	put(0.25)
	if got := aws.ToFloat64(read(cwtypes.AlarmTypeMetricAlarm).MetricAlarms[0].Threshold); got != 0.25 {
		t.Errorf("after the change the threshold is %v", got)
	}
	_, err1 := cw.UntagResource(ctx, &cloudwatch.UntagResourceInput{ResourceARN: a.AlarmArn, TagKeys: []string{"env"}})
	_, err2 := cw.TagResource(ctx, &cloudwatch.TagResourceInput{
		ResourceARN: a.AlarmArn, Tags: []cwtypes.Tag{{Key: aws.String("team"), Value: aws.String("b")}},
	})
	if got := c.tagsOf(a.AlarmArn); err1 != nil || err2 != nil || !slices.Equal(got, []string{"team=b"}) {
		t.Errorf("%v, %v, the tags are %v", err1, err2, got)
	}
	if out := read(cwtypes.AlarmTypeCompositeAlarm); len(out.CompositeAlarms)+len(out.MetricAlarms) != 0 {
		t.Errorf("as a composite alarm it is %+v", out)
	}
	if _, err := cw.DeleteAlarms(ctx, &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{"errors"}}); err != nil {
		t.Fatal(err)
	}
	if out := read(cwtypes.AlarmTypeMetricAlarm); len(out.MetricAlarms) != 0 {
		t.Errorf("after the delete: %+v", out)
	}
	if _, err := cw.DeleteAlarms(ctx, &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{"errors"}}); err != nil {
		t.Errorf("deleting again: %v", err)
	}
	s.stop()
}

// tagsOf lists the tags of an alarm, each as key=value.
func (c *sdk) tagsOf(arn *string) (all []string) {
	c.t.Helper()
	out, err := c.cloudwatch().ListTagsForResource(
		c.t.Context(), &cloudwatch.ListTagsForResourceInput{ResourceARN: arn},
	)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, tag := range out.Tags {
		all = append(all, *tag.Key+"="+*tag.Value)
	}
	slices.Sort(all)
	return all
}

// A rolling update is taken back from its last batch, when most of the old
// instances are gone and have to be launched again, without a failed request.
func TestARollingUpdateIsTakenBackFromItsLastBatch(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]*types.CapacitySize{"all at once": nil, "in batches": count(1)} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t)
			c := provider{s.sdk()}
			c.deployable("v1", guardedFleet, nil)
			c.deployable("v2", guardedFleet, nil)
			c.createEndpoint("live", "v1")
			c.manual("lever")
			l := startCensus(c.sdk, "live", guardedRate)
			l.answers(t, guardedRate/2)
			c.update("v2", &types.DeploymentConfig{
				RollingUpdatePolicy: &types.RollingUpdatePolicy{
					MaximumBatchSize: percent(25), WaitIntervalInSeconds: aws.Int32(3), RollbackMaximumBatchSize: back,
				},
				AutoRollbackConfiguration: guardrail("lever").AutoRollbackConfiguration,
			})
			eventually(t, time.Minute, "the last batch bakes", func() bool { return c.baking(guardedFleet) })
			c.pull("lever")
			d := c.settle()
			if aws.ToString(d.EndpointConfigName) != "v1" ||
				!strings.Contains(aws.ToString(d.FailureReason), "[lever]") ||
				aws.ToInt32(d.ProductionVariants[0].CurrentInstanceCount) != guardedFleet {
				t.Errorf(
					"after the rollback: %s, %s, %+v", aws.ToString(d.EndpointConfigName),
					aws.ToString(d.FailureReason), d.ProductionVariants,
				)
			}
			rolledBack := time.Now()
			l.answers(t, guardedRate/2)
			l.finish()
			by := l.check(s)
			if by["v2"].answered == 0 || by["v2"].lastSent.After(rolledBack) {
				t.Errorf("requests by model: %+v; the rollback ended at %v", by, rolledBack)
			}
			t.Log(l.report)
			eventually(t, 30*time.Second, "only the endpoint's instances run", func() bool {
				return len(s.instances()) == guardedFleet
			})
			s.stop()
		})
	}
}
