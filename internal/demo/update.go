package demo

import (
	"context"
	"encoding/json"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

const namespace = "AWS/SageMaker"

func alarmOf(version string) string { return configOf(version) + "-5xx" }

// fleet selects the metrics of one version's instances.
func fleet(version string) []cwtypes.Dimension {
	return []cwtypes.Dimension{
		{Name: aws.String("EndpointName"), Value: aws.String(endpoint)},
		{Name: aws.String("VariantName"), Value: aws.String(variant)},
		{Name: aws.String("EndpointConfigName"), Value: aws.String(configOf(version))},
	}
}

// putAlarm makes the alarm that a version's deployment is judged by: too many
// of its answers in a second are errors.
func (c *clients) putAlarm(ctx context.Context, version string) error {
	_, err := c.cloudwatch.PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{
		AlarmName: aws.String(alarmOf(version)),
		Namespace: aws.String(namespace), MetricName: aws.String("Invocation5XXErrors"), Dimensions: fleet(version),
		Statistic: cwtypes.StatisticAverage, Period: aws.Int32(1), EvaluationPeriods: aws.Int32(1),
		ComparisonOperator: cwtypes.ComparisonOperatorGreaterThanThreshold, Threshold: aws.Float64(tolerated / 100.),
		TreatMissingData: aws.String("notBreaching"),
	})
	return err
}

// canary is how many instances of a new version get traffic first, and for how
// many seconds they are watched.
type canary struct{ instances, bake int32 }

// update begins to replace what serves by a version: some instances first, the
// rest if nothing speaks against them for so long.
func (c *clients) update(ctx context.Context, version string, first canary) error {
	_, err := c.sagemaker.UpdateEndpoint(ctx, &sagemaker.UpdateEndpointInput{
		EndpointName: aws.String(endpoint), EndpointConfigName: aws.String(configOf(version)),
		DeploymentConfig: &types.DeploymentConfig{
			BlueGreenUpdatePolicy: &types.BlueGreenUpdatePolicy{
				TrafficRoutingConfiguration: &types.TrafficRoutingConfig{
					Type: types.TrafficRoutingConfigTypeCanary,
					CanarySize: &types.CapacitySize{
						Type: types.CapacitySizeTypeInstanceCount, Value: &first.instances,
					},
					WaitIntervalInSeconds: &first.bake,
				},
				TerminationWaitInSeconds: aws.Int32(finalBake),
			},
			AutoRollbackConfiguration: &types.AutoRollbackConfig{
				Alarms: []types.Alarm{{AlarmName: aws.String(alarmOf(version))}},
			},
		},
	})
	return err
}

// tripped returns when the alarm of a version last went off, and why; zeros if it
// never did.
func (c *clients) tripped(ctx context.Context, version string) (at time.Time, reason string, err error) {
	out, err := c.cloudwatch.DescribeAlarmHistory(ctx, &cloudwatch.DescribeAlarmHistoryInput{
		AlarmName: aws.String(alarmOf(version)), HistoryItemType: cwtypes.HistoryItemTypeStateUpdate,
		ScanBy: cwtypes.ScanByTimestampDescending,
	})
	if err != nil {
		return time.Time{}, "", err
	}
	for _, item := range out.AlarmHistoryItems {
		var data struct {
			NewState struct{ StateValue, StateReason string }
		}
		if json.Unmarshal([]byte(aws.ToString(item.HistoryData)), &data) == nil &&
			data.NewState.StateValue == string(cwtypes.StateValueAlarm) {
			return aws.ToTime(item.Timestamp), data.NewState.StateReason, nil
		}
	}
	return time.Time{}, "", nil
}

// stage is what DescribeEndpoint tells of an update under way.
type stage struct {
	fleet   string // the name of the configuration whose instances it is about
	status  string
	message string
}

// follow tells every change of an update's stage and returns how the endpoint
// is when it is over.
func (c *clients) follow(ctx context.Context, tell func(stage)) (*sagemaker.DescribeEndpointOutput, error) {
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	told := map[string]stage{}
	for {
		out, err := c.sagemaker.DescribeEndpoint(
			ctx, &sagemaker.DescribeEndpointInput{EndpointName: aws.String(endpoint)},
		)
		if err != nil {
			return nil, err
		}
		for _, s := range stagesOf(out) {
			if told[s.fleet] != s {
				told[s.fleet] = s
				tell(s)
			}
		}
		if out.EndpointStatus != types.EndpointStatusUpdating {
			return out, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// stagesOf reads the VariantStatus of the old and the new instances.
func stagesOf(out *sagemaker.DescribeEndpointOutput) (all []stage) {
	add := func(fleet *string, statuses []types.ProductionVariantStatus) {
		for _, s := range statuses {
			all = append(all, stage{aws.ToString(fleet), string(s.Status), aws.ToString(s.StatusMessage)})
		}
	}
	if p := out.PendingDeploymentSummary; p != nil {
		for _, v := range p.ProductionVariants {
			add(p.EndpointConfigName, v.VariantStatus)
		}
	}
	for _, v := range out.ProductionVariants {
		add(out.EndpointConfigName, v.VariantStatus)
	}
	return all
}

// counted sums a metric of one version's instances as the server has it.
func (c *clients) counted(ctx context.Context, metric, version string, since time.Time) (int, error) {
	const minute = 60
	out, err := c.cloudwatch.GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{
		Namespace: aws.String(namespace), MetricName: &metric, Dimensions: fleet(version),
		StartTime: aws.Time(since.Truncate(time.Minute)), EndTime: aws.Time(time.Now().Add(time.Minute)),
		Period: aws.Int32(minute), Statistics: []cwtypes.Statistic{cwtypes.StatisticSum},
	})
	if err != nil {
		return 0, err
	}
	sum := 0.
	for _, p := range out.Datapoints {
		sum += aws.ToFloat64(p.Sum)
	}
	return int(sum), nil
}
