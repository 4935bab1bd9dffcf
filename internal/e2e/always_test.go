package e2e

import (
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"

	"github.com/slipway-ml/slipway/models"
)

// carried looks up a member of an answer by its path; every element of a list on the
// way must have it, and there must be one.
func carried(v reflect.Value, path string) bool {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return false
		}
		v = v.Elem()
	}
	if path == "" {
		switch v.Kind() {
		case reflect.Slice, reflect.Map:
			return !v.IsNil()
		case reflect.String: // an enumeration, or text, which may be empty
			return v.Type() == reflect.TypeFor[string]() || v.String() != ""
		default:
			return true
		}
	}
	name, rest, _ := strings.Cut(path, ".")
	name, list := strings.CutSuffix(name, "[]")
	m := v.FieldByName(name)
	if !list {
		return m.IsValid() && carried(m, rest)
	}
	for i := range m.Len() {
		if !carried(m.Index(i), rest) {
			return false
		}
	}
	return m.Len() > 0
}

// What clients read without asking whether it is there: Terraform's provider, the
// Kubernetes controller for SageMaker, the SDKs' own helpers, and scripts that index
// answers of boto3. Everything here was made with no more than it needs, so that the
// members are defaults. What the API's model requires is checked with every answer
// in the tests of the APIs.
func TestAnswersCarryWhatClientsReadUnasked(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	ctx := t.Context()
	c.deployable("m", 1, nil)
	c.createEndpoint("e", "m")
	c.pack("digits", "1.0", models.Archive("v1"))
	must(c.sagemaker.CreateDeviceFleet(ctx, fleetInput("plant")))(t)
	must(c.sagemaker.RegisterDevices(ctx, register("cam")))(t)
	must(c.sagemaker.CreateEdgeDeploymentPlan(ctx, planInput("p", percentStage("s", 100))))(t)
	must(c.cloudwatch().PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{
		AlarmName: aws.String("a"), Namespace: aws.String("N"), MetricName: aws.String("M"),
		Statistic: cwtypes.StatisticSum, Period: aws.Int32(60), EvaluationPeriods: aws.Int32(1),
		Threshold: aws.Float64(1), ComparisonOperator: cwtypes.ComparisonOperatorGreaterThanThreshold,
	}))(t)
	must(c.cloudwatch().PutCompositeAlarm(ctx, &cloudwatch.PutCompositeAlarmInput{
		AlarmName: aws.String("both"), AlarmRule: aws.String("ALARM(a)"),
	}))(t)
	for _, answer := range c.unasked() {
		for path := range strings.FieldsSeq(answer.members) {
			if !carried(reflect.ValueOf(answer.out), path) {
				t.Errorf("%T lacks %s", answer.out, path)
			}
		}
	}
}

type answer struct {
	out     any
	members string
}

// unasked are the answers and the members that they carry.
func (c *sdk) unasked() []answer {
	t, ctx := c.t, c.t.Context()
	fleet, job, plan := aws.String("plant"), aws.String("digits-1-0"), aws.String("p")
	model := must(c.sagemaker.DescribeModel(ctx, &sagemaker.DescribeModelInput{ModelName: aws.String("m")}))(t)
	return []answer{
		{model, "EnableNetworkIsolation PrimaryContainer.Mode PrimaryContainer.Environment"},
		{must(c.sagemaker.DescribeEndpointConfig(ctx, &sagemaker.DescribeEndpointConfigInput{
			EndpointConfigName: aws.String("m"),
		}))(t), "EnableNetworkIsolation ProductionVariants[].InitialVariantWeight ProductionVariants[].InstanceType"},
		{
			must(c.sagemaker.DescribeEndpoint(ctx, &sagemaker.DescribeEndpointInput{EndpointName: aws.String("e")}))(t),
			"EndpointConfigName ProductionVariants[].CurrentWeight ProductionVariants[].DesiredWeight " +
				"ProductionVariants[].CurrentInstanceCount ProductionVariants[].DesiredInstanceCount " +
				"ProductionVariants[].DeployedImages[].SpecifiedImage " +
				"ProductionVariants[].DeployedImages[].ResolvedImage " +
				"ProductionVariants[].DeployedImages[].ResolutionTime",
		},
		{must(c.sagemaker.ListTags(ctx, &sagemaker.ListTagsInput{ResourceArn: model.ModelArn}))(t), "Tags"},
		{must(c.sagemaker.ListEndpoints(ctx, &sagemaker.ListEndpointsInput{}))(t), "Endpoints[].EndpointStatus"},
		{
			must(c.sagemaker.ListModels(ctx, &sagemaker.ListModelsInput{NameContains: aws.String("none")}))(t),
			"Models", // an empty list is a list
		},
		{
			must(c.sagemaker.DescribeDeviceFleet(ctx, &sagemaker.DescribeDeviceFleetInput{DeviceFleetName: fleet}))(t),
			"OutputConfig.S3OutputLocation RoleArn IotRoleAlias", // made unasked where there is a role
		},
		{must(c.sagemaker.DescribeDevice(ctx, &sagemaker.DescribeDeviceInput{
			DeviceFleetName: fleet, DeviceName: aws.String("cam"),
		}))(t), "DeviceArn RegistrationTime"},
		{
			must(c.sagemaker.ListDevices(ctx, &sagemaker.ListDevicesInput{}))(t),
			"DeviceSummaries[].DeviceFleetName DeviceSummaries[].RegistrationTime",
		},
		{must(c.sagemaker.GetDeviceFleetReport(ctx, &sagemaker.GetDeviceFleetReportInput{
			DeviceFleetName: fleet,
		}))(t), "OutputConfig ReportGenerated DeviceStats.ConnectedDeviceCount AgentVersions ModelStats"},
		{must(c.sagemaker.DescribeCompilationJob(ctx, &sagemaker.DescribeCompilationJobInput{
			CompilationJobName: job,
		}))(t), "FailureReason ModelArtifacts.S3ModelArtifacts CompilationStartTime CompilationEndTime " +
			"StoppingCondition ModelDigests.ArtifactDigest"},
		{must(c.sagemaker.DescribeEdgePackagingJob(ctx, &sagemaker.DescribeEdgePackagingJobInput{
			EdgePackagingJobName: job,
		}))(t), "ModelArtifact ModelSignature OutputConfig CompilationJobName ModelName ModelVersion CreationTime"},
		{
			must(c.sagemaker.DescribeEdgeDeploymentPlan(ctx, &sagemaker.DescribeEdgeDeploymentPlanInput{
				EdgeDeploymentPlanName: plan,
			}))(t), "EdgeDeploymentSuccess EdgeDeploymentPending EdgeDeploymentFailed CreationTime " +
				"Stages[].DeploymentConfig.FailureHandlingPolicy Stages[].DeploymentStatus.StageStatus " +
				"Stages[].DeploymentStatus.EdgeDeploymentFailedInStage",
		},
		{must(c.sagemaker.ListStageDevices(ctx, &sagemaker.ListStageDevicesInput{
			EdgeDeploymentPlanName: plan, StageName: aws.String("s"),
		}))(t), "DeviceDeploymentSummaries[].DeviceDeploymentStatus DeviceDeploymentSummaries[].DeviceArn"},
		{
			must(c.cloudwatch().DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{
				AlarmTypes: []cwtypes.AlarmType{cwtypes.AlarmTypeMetricAlarm, cwtypes.AlarmTypeCompositeAlarm},
			}))(t),
			"MetricAlarms[].ActionsEnabled MetricAlarms[].OKActions MetricAlarms[].AlarmActions " +
				"MetricAlarms[].InsufficientDataActions MetricAlarms[].Dimensions MetricAlarms[].StateValue " +
				"MetricAlarms[].StateReason MetricAlarms[].StateUpdatedTimestamp MetricAlarms[].Threshold " +
				"MetricAlarms[].AlarmConfigurationUpdatedTimestamp MetricAlarms[].StateTransitionedTimestamp " +
				"CompositeAlarms[].ActionsEnabled CompositeAlarms[].OKActions CompositeAlarms[].AlarmActions " +
				"CompositeAlarms[].InsufficientDataActions CompositeAlarms[].StateValue CompositeAlarms[].StateReason",
		},
		{must(c.cloudwatch().ListMetrics(ctx, &cloudwatch.ListMetricsInput{}))(t), "Metrics"},
	}
}
