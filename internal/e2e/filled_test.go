package e2e

import (
	"compress/gzip"
	"database/sql"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	_ "modernc.org/sqlite" // the "sqlite" driver

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/internal/platform/pgtest"
	"github.com/slipway-ml/slipway/internal/simdevices"
)

// filledVariable names the folder that TestAServerFillsItsDatabase writes to.
const filledVariable = "SLIPWAY_FILLED"

// TestAServerFillsItsDatabase makes the databases that the store's tests open
// to see that later programs read what this one wrote. It is run by hand, once
// a release; internal/platform/store/formats/README.md says how.
func TestAServerFillsItsDatabase(t *testing.T) {
	dir := os.Getenv(filledVariable)
	if dir == "" {
		t.Skip("makes test data for a release; " + filledVariable + " names the folder for them")
	}
	t.Run("sqlite", func(t *testing.T) {
		dataDir := fill(t, "")
		db := must(sql.Open("sqlite", filepath.Join(dataDir, "slipway.db")))(t)
		defer db.Close()
		small := filepath.Join(t.TempDir(), "small.db")
		must(db.ExecContext(t.Context(), `vacuum into $1`, small))(t)
		writeCompressed(t, filepath.Join(dir, "sqlite.db.gz"), must(os.ReadFile(small))(t))
	})
	t.Run("postgres", func(t *testing.T) {
		dsn := pgtest.DSN(t)
		fill(t, dsn)
		dump := exec.Command("pg_dump", "--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=100", dsn)
		dump.Stderr = os.Stderr
		var kept []string
		for line := range strings.Lines(string(must(dump.Output())(t))) {
			if !strings.HasPrefix(line, `\`) && !strings.HasPrefix(line, "--") { // what only psql understands
				kept = append(kept, line)
			}
		}
		writeCompressed(t, filepath.Join(dir, "postgres.sql.gz"), []byte(strings.Join(kept, "")))
	})
}

func writeCompressed(t *testing.T, path string, data []byte) {
	t.Helper()
	f := must(os.Create(path))(t)
	defer f.Close()
	z := must(gzip.NewWriterLevel(f, gzip.BestCompression))(t)
	must(z.Write(data))(t)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}

// fill has a server do a little of all it can, stops it with work in hand, and
// returns its data directory.
func fill(t *testing.T, database string) string {
	t.Helper()
	deaf := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not now", http.StatusServiceUnavailable)
	}))
	defer deaf.Close()
	s := startServer(t, quickDevices, func(c *config.Config) {
		c.Database.URL = database
		c.Limits.StartupWindow = config.Duration(3 * time.Second)
		c.Webhooks = []config.Webhook{{Name: "ops", URL: config.Secret(deaf.URL), Secret: webhookSecret}}
	})
	f := &filler{server: s, sdk: s.sdk(), t: t}
	f.alarms()
	f.endpoints()
	f.things()
	f.fleets()
	f.plans()
	time.Sleep(2 * time.Second) // alarms come to rest, and metrics to their series
	s.stop()
	return s.dataDir
}

// filler has clients of a server do one thing of each kind.
type filler struct {
	*server
	*sdk
	t *testing.T
}

func (f *filler) alarms() {
	ctx, cw := f.t.Context(), f.cloudwatch()
	for _, config := range []string{"v1", "bad", "v2"} {
		f.guard("live", config)
	}
	jobs := &cwtypes.Metric{
		Namespace: aws.String("app"), MetricName: aws.String("Jobs"),
		Dimensions: []cwtypes.Dimension{{Name: aws.String("Host"), Value: aws.String("a")}},
	}
	f.samples(jobs)
	must(cw.PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{
		AlarmName: aws.String("p99"), AlarmDescription: aws.String("slow jobs"), Namespace: jobs.Namespace,
		MetricName: jobs.MetricName,
		Dimensions: jobs.Dimensions, ExtendedStatistic: aws.String("p99"), Unit: cwtypes.StandardUnitCount,
		Period:            aws.Int32(60),
		EvaluationPeriods: aws.Int32(3), DatapointsToAlarm: aws.Int32(2), Threshold: aws.Float64(2.5),
		ComparisonOperator:               cwtypes.ComparisonOperatorGreaterThanThreshold,
		EvaluateLowSampleCountPercentile: aws.String("ignore"),
		ActionsEnabled:                   aws.Bool(false), OKActions: []string{"arn:aws:sns:us-east-1:123456789012:ok"},
		AlarmActions:            []string{"arn:aws:sns:us-east-1:123456789012:alarm"},
		InsufficientDataActions: []string{"arn:aws:sns:us-east-1:123456789012:none"},
		Tags:                    []cwtypes.Tag{{Key: aws.String("team"), Value: aws.String("ships")}},
	}))(f.t)
	must(cw.PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{
		AlarmName: aws.String("share"), EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(0.5),
		ComparisonOperator: cwtypes.ComparisonOperatorLessThanThreshold,
		Metrics: []cwtypes.MetricDataQuery{
			{Id: aws.String("jobs"), ReturnData: aws.Bool(false), MetricStat: &cwtypes.MetricStat{
				Metric: jobs, Period: aws.Int32(60), Stat: aws.String("Sum"), Unit: cwtypes.StandardUnitCount,
			}},
			{Id: aws.String("half"), Expression: aws.String("jobs / 2"), Label: aws.String("half of them")},
		},
	}))(f.t)
	must(cw.PutCompositeAlarm(ctx, &cloudwatch.PutCompositeAlarmInput{
		AlarmName: aws.String("any"), AlarmRule: aws.String("ALARM(p99) OR ALARM(share)"),
		ActionsSuppressor:           aws.String("v1-5xx"),
		ActionsSuppressorWaitPeriod: aws.Int32(10), ActionsSuppressorExtensionPeriod: aws.Int32(20),
	}))(f.t)
	must(cw.SetAlarmState(ctx, &cloudwatch.SetAlarmStateInput{
		AlarmName: aws.String("p99"), StateValue: cwtypes.StateValueAlarm, StateReason: aws.String("a drill"),
		StateReasonData: aws.String(`{"drill":true}`),
	}))(f.t)
	must(cw.PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{
		AlarmName: aws.String("gone"), Namespace: jobs.Namespace, MetricName: jobs.MetricName,
		Statistic: cwtypes.StatisticMaximum, Period: aws.Int32(10),
		EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(1),
		ComparisonOperator: cwtypes.ComparisonOperatorGreaterThanThreshold,
	}))(f.t)
	must(cw.DeleteAlarms(ctx, &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{"gone"}}))(f.t)
}

// samples puts samples of a metric in every form that there is.
func (f *filler) samples(jobs *cwtypes.Metric) {
	ctx, cw := f.t.Context(), f.cloudwatch()
	must(cw.PutMetricData(ctx,
		&cloudwatch.PutMetricDataInput{Namespace: jobs.Namespace, MetricData: []cwtypes.MetricDatum{
			{
				MetricName: jobs.MetricName, Dimensions: jobs.Dimensions, Value: aws.Float64(3),
				Unit: cwtypes.StandardUnitCount,
			},
			{
				MetricName: jobs.MetricName, Dimensions: jobs.Dimensions, Values: []float64{1, 2.5, -4},
				Counts: []float64{1, 2, 3},
			},
			{MetricName: aws.String("Sizes"), StatisticValues: &cwtypes.StatisticSet{
				SampleCount: aws.Float64(4), Sum: aws.Float64(10), Minimum: aws.Float64(1), Maximum: aws.Float64(5),
			}},
		}}))(f.t)
}

func (f *filler) endpoints() {
	ctx := f.t.Context()
	f.deployable("v1", 2, nil)
	f.deployable("v2", 2, map[string]string{"GREETING": "hello"})
	f.deployable("bad", 2, broken(100))
	f.deployable("never", 1, map[string]string{"TESTMODEL_EXIT": "1"})
	f.deployable("unused", 1, nil)
	must(f.sagemaker.DeleteModel(ctx, &sagemaker.DeleteModelInput{ModelName: aws.String("unused")}))(f.t)
	must(f.sagemaker.CreateModel(ctx, &sagemaker.CreateModelInput{
		ModelName: aws.String("v1"), PrimaryContainer: &types.ContainerDefinition{Image: aws.String(testImage)},
	}, func(o *sagemaker.Options) { o.Region = "eu-west-1" }))(f.t)
	f.twoVariants()

	f.createEndpoint("live", "v1")
	f.update("v2", canaryFor(1))
	f.wantSlipway(0, "succeeded", "wait", "live")
	f.rollBack()
	f.scale()

	f.createEndpoint("doomed", "v1")
	f.deleteEndpoint("doomed")
	must(f.sagemaker.CreateEndpoint(ctx,
		&sagemaker.CreateEndpointInput{
			EndpointName:       aws.String("stillborn"),
			EndpointConfigName: aws.String("never"),
		}))(f.t)
	eventually(f.t, time.Minute, "the creation fails",
		func() bool { return f.describe("stillborn").EndpointStatus == types.EndpointStatusFailed })

	f.inTheMiddle()
}

// twoVariants makes an endpoint of two variants with every setting there is.
func (f *filler) twoVariants() {
	ctx := f.t.Context()
	a, b := variant("a", "v1", 1), variant("b", "v2", 1)
	a.InitialVariantWeight, b.InitialVariantWeight = aws.Float32(3), aws.Float32(1)
	b.RoutingConfig.RoutingStrategy = types.RoutingStrategyRandom
	a.ModelDataDownloadTimeoutInSeconds, a.ContainerStartupHealthCheckTimeoutInSeconds = aws.Int32(120), aws.Int32(90)
	must(f.sagemaker.CreateEndpointConfig(ctx, &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: aws.String("two"), ProductionVariants: []types.ProductionVariant{a, b},
		Tags: []types.Tag{{Key: aws.String("kind"), Value: aws.String("two variants")}},
	}))(f.t)
	must(f.sagemaker.CreateEndpoint(ctx, &sagemaker.CreateEndpointInput{
		EndpointName: aws.String("Two"), EndpointConfigName: aws.String("two"),
		Tags: []types.Tag{
			{Key: aws.String("team"), Value: aws.String("ships")},
			{Key: aws.String("cost"), Value: aws.String("")},
		},
	}))(f.t)
	f.awaitInService("Two")
	must(f.sagemaker.UpdateEndpointWeightsAndCapacities(ctx, &sagemaker.UpdateEndpointWeightsAndCapacitiesInput{
		EndpointName: aws.String("Two"), DesiredWeightsAndCapacities: []types.DesiredWeightAndCapacity{
			{VariantName: aws.String("a"), DesiredWeight: aws.Float32(1), DesiredInstanceCount: aws.Int32(2)},
		},
	}))(f.t)
	f.awaitInService("Two")
}

// rollBack has an alarm undo an update, and a person another.
func (f *filler) rollBack() {
	guarded := canaryFor(60)
	guarded.BlueGreenUpdatePolicy.TerminationWaitInSeconds = aws.Int32(1)
	guarded.AutoRollbackConfiguration = &types.AutoRollbackConfig{
		Alarms: []types.Alarm{{AlarmName: aws.String("bad-5xx")}, {AlarmName: aws.String("v2-5xx")}},
	}
	l := startCensus(f.sdk, "live", guardedRate)
	f.update("bad", guarded)
	f.wantSlipway(2, "rolled back", "wait", "live")
	l.finish()
	f.update("v1", canaryFor(600))
	f.awaitBake("live")
	f.wantSlipway(0, "Paused", "pause", "live")
	f.wantSlipway(0, "Aborted", "abort", "live")
	f.wantSlipway(2, "aborted", "wait", "live")
	f.update("never", nil)
	f.wantSlipway(2, "rolled back", "wait", "live")
}

func (f *filler) awaitBake(endpoint string) {
	f.t.Helper()
	eventually(f.t, time.Minute, "the deployment bakes", func() bool {
		p := f.describe(endpoint).PendingDeploymentSummary
		return p != nil && len(p.ProductionVariants[0].VariantStatus) > 0 &&
			p.ProductionVariants[0].VariantStatus[0].Status == types.VariantStatusBaking
	})
}

// scale updates by rolling batches, and back in linear steps.
func (f *filler) scale() {
	ctx := f.t.Context()
	must(f.sagemaker.UpdateEndpoint(ctx, &sagemaker.UpdateEndpointInput{
		EndpointName: aws.String("live"), EndpointConfigName: aws.String("v1"),
		RetainAllVariantProperties: aws.Bool(true),
		ExcludeRetainedVariantProperties: []types.VariantProperty{
			{VariantPropertyType: types.VariantPropertyTypeDesiredWeight},
		},
		DeploymentConfig: &types.DeploymentConfig{RollingUpdatePolicy: &types.RollingUpdatePolicy{
			MaximumBatchSize: percent(50), RollbackMaximumBatchSize: percent(100), WaitIntervalInSeconds: aws.Int32(1),
			MaximumExecutionTimeoutInSeconds: aws.Int32(900),
		}},
	}))(f.t)
	f.wantSlipway(0, "succeeded", "wait", "live")
	steps := canaryFor(1)
	traffic := steps.BlueGreenUpdatePolicy.TrafficRoutingConfiguration
	traffic.Type, traffic.CanarySize, traffic.LinearStepSize = types.TrafficRoutingConfigTypeLinear, nil, percent(50)
	f.update("v2", steps)
	f.wantSlipway(0, "succeeded", "wait", "live")
}

// inTheMiddle leaves one deployment baking, one paused, and one starting.
func (f *filler) inTheMiddle() {
	for _, name := range []string{"baking", "paused", "starting"} {
		f.createEndpoint(name, "v1")
		next := "v2"
		if name == "starting" {
			next = "slow"
			f.deployable(next, 2, map[string]string{"TESTMODEL_LOAD_MS": "600000"})
			f.lateConfig()
			next = "late"
		}
		must(f.sagemaker.UpdateEndpoint(f.t.Context(), &sagemaker.UpdateEndpointInput{
			EndpointName: &name, EndpointConfigName: &next, DeploymentConfig: canaryFor(3000),
		}))(f.t)
		if name != "starting" {
			f.awaitBake(name)
		}
	}
	f.wantSlipway(0, "Paused", "pause", "paused")
	f.wantSlipway(0, "Resumed", "resume", "paused")
	f.wantSlipway(0, "Paused", "pause", "paused")
}

// lateConfig gives instances that never become healthy the time to do so.
func (f *filler) lateConfig() {
	late := variant("main", "slow", 2)
	late.ContainerStartupHealthCheckTimeoutInSeconds = aws.Int32(3600)
	f.config("late", late)
}

// things are what the calls of IoT make.
func (f *filler) things() {
	ctx, c := f.t.Context(), f.iot()
	must(c.CreateThingType(ctx,
		&iot.CreateThingTypeInput{
			ThingTypeName: aws.String("camera"),
			ThingTypeProperties: &iottypes.ThingTypeProperties{
				ThingTypeDescription: aws.String("sees"), SearchableAttributes: []string{"site"},
			},
		}))(f.t)
	must(c.CreateThing(ctx, &iot.CreateThingInput{
		ThingName: aws.String("cam-1"), ThingTypeName: aws.String("camera"),
		AttributePayload: &iottypes.AttributePayload{Attributes: map[string]string{"site": "north"}},
	}))(f.t)
	must(c.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("cam-2")}))(f.t)
	keys := must(c.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{SetAsActive: true}))(f.t)
	idle := must(c.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{}))(f.t)
	gone := must(c.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{}))(f.t)
	must(c.DeleteCertificate(ctx, &iot.DeleteCertificateInput{CertificateId: gone.CertificateId}))(f.t)
	alias := must(c.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{
		RoleAlias: aws.String("camera-alias"), RoleArn: aws.String(edgeRole),
		CredentialDurationSeconds: aws.Int32(1800),
	}))(f.t)
	must(c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("camera-policy"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"` +
			*alias.RoleAliasArn + `"}}`,
	)}))(f.t)
	must(c.AttachPolicy(ctx,
		&iot.AttachPolicyInput{PolicyName: aws.String("camera-policy"), Target: keys.CertificateArn}))(f.t)
	for _, certificate := range []*string{keys.CertificateArn, idle.CertificateArn} {
		must(c.AttachThingPrincipal(ctx,
			&iot.AttachThingPrincipalInput{ThingName: aws.String("cam-1"), Principal: certificate}))(f.t)
	}
}

// fleets makes fleets, devices, enrollments, jobs and keys.
func (f *filler) fleets() {
	ctx := f.t.Context()
	quay := fleetInput("quay")
	quay.Description, quay.EnableIotRoleAlias = aws.String("at the water"), aws.Bool(true)
	quay.OutputConfig.KmsKeyId = aws.String("arn:aws:kms:us-east-1:123456789012:key/any")
	quay.Tags = []types.Tag{{Key: aws.String("site"), Value: aws.String("south")}}
	must(f.sagemaker.CreateDeviceFleet(ctx, quay))(f.t)
	must(f.sagemaker.RegisterDevices(ctx, &sagemaker.RegisterDevicesInput{
		DeviceFleetName: aws.String("quay"), Tags: []types.Tag{{Key: aws.String("batch"), Value: aws.String("1")}},
		Devices: []types.Device{
			{DeviceName: aws.String("cam-1"), IotThingName: aws.String("cam-1"), Description: aws.String("Gate")},
			{DeviceName: aws.String("cam-2")},
			{DeviceName: aws.String("cam-3")},
		},
	}))(f.t)
	must(f.sagemaker.DeregisterDevices(ctx,
		&sagemaker.DeregisterDevicesInput{DeviceFleetName: aws.String("quay"), DeviceNames: []string{"cam-3"}}))(f.t)
	f.wantSlipway(0, "", "device", "enroll", "quay", "cam-8")
	f.wantSlipway(0, "", "device", "enroll", "quay", "cam-9", "--bundle", filepath.Join(f.dir, "cam-9"))

	f.packDigits("v1")
	f.wantSlipway(0, "", "signing", "rotate")
	f.wantSlipway(0, "", "edge", "floor", "digits", "--job", "v1")
	f.packDigits("v2")
	f.preset()
	f.upload("in/empty.tar.gz", archive(f.t, map[string]string{"readme": "no model"}))
	must(f.sagemaker.CreateCompilationJob(ctx, &sagemaker.CreateCompilationJobInput{
		CompilationJobName: aws.String("empty"), RoleArn: aws.String(edgeRole),
		StoppingCondition: &types.StoppingCondition{MaxRuntimeInSeconds: aws.Int32(900)},
		InputConfig: &types.InputConfig{
			S3Uri:     aws.String("s3://models/in/empty.tar.gz"),
			Framework: types.FrameworkOnnx,
		},
		OutputConfig: &types.OutputConfig{
			S3OutputLocation: aws.String("s3://models/compiled"),
			TargetDevice:     types.TargetDeviceRasp4b,
		},
	}))(f.t)
	eventually(f.t, time.Minute, "the compilation fails", func() bool {
		d := must(f.sagemaker.DescribeCompilationJob(ctx,
			&sagemaker.DescribeCompilationJobInput{CompilationJobName: aws.String("empty")}))(f.t)
		return d.CompilationJobStatus == types.CompilationJobStatusFailed
	})
}

// preset packages a model for Greengrass.
func (f *filler) preset() {
	ctx, name := f.t.Context(), aws.String("component")
	must(f.sagemaker.CreateEdgePackagingJob(ctx, &sagemaker.CreateEdgePackagingJobInput{
		EdgePackagingJobName: name, CompilationJobName: aws.String("v1"), ModelName: aws.String("digits"),
		ModelVersion: aws.String("component"),
		RoleArn:      aws.String(edgeRole), ResourceKey: aws.String("arn:aws:kms:us-east-1:123456789012:key/any"),
		OutputConfig: &types.EdgeOutputConfig{
			S3OutputLocation:       aws.String("s3://models/packages"),
			PresetDeploymentType:   types.EdgePresetDeploymentTypeGreengrassV2Component,
			PresetDeploymentConfig: aws.String(`{"ComponentName":"digits","ComponentVersion":"1.0.0"}`),
		},
		Tags: []types.Tag{{Key: aws.String("job"), Value: aws.String("component")}},
	}))(f.t)
	eventually(f.t, time.Minute, "the component is packaged", func() bool {
		d := must(f.sagemaker.DescribeEdgePackagingJob(ctx,
			&sagemaker.DescribeEdgePackagingJobInput{EdgePackagingJobName: name}))(f.t)
		return d.EdgePackagingJobStatus == types.EdgePackagingJobStatusCompleted
	})
}

// plans leaves plans in every state.
func (f *filler) plans() {
	fleet, stop := f.simulate(simdevices.Config{
		Fleet: "plant", Count: 10, Seed: 7, Fail: 0.3, Poll: time.Second, Heartbeat: time.Second, Workers: 8,
	})
	f.sdk.plan("v1", selectionStage("some", simdevices.Name(0), simdevices.Name(1)), percentStage("rest", 100))
	for _, stage := range []string{"some", "rest"} {
		f.startStage("v1", stage)
		f.awaitStage("v1", stage, types.StageStatusDeployed, types.StageStatusFailed)
	}
	f.sdk.plan("v2", percentStage("half", 50), percentStage("rest", 100))
	f.wantSlipway(0, "", "edge", "policy", "v2", "--auto-next", "--bake", "1s", "--success", "95", "--failure", "5",
		"--on-failure", "rollback",
		"--min-sample", "2", "--reachable", "10m", "--device-timeout", "1h")
	f.startStage("v2", "half")
	f.awaitStage("v2", "half", types.StageStatusFailed)
	eventually(f.t, time.Minute, "all devices are idle", fleet.Idle)
	stop()

	f.quayPlan("waiting", types.DeploymentStage{
		StageName:        aws.String("north"),
		DeploymentConfig: &types.EdgeDeploymentConfig{FailureHandlingPolicy: types.FailureHandlingPolicyDoNothing},
		DeviceSelectionConfig: &types.DeviceSelectionConfig{
			DeviceSubsetType:   types.DeviceSubsetTypeNameContains,
			DeviceNameContains: aws.String("cam"),
		},
	})
	f.quayPlan("open", percentStage("all", 100), selectionStage("later", "cam-1"))
	f.wantSlipway(0, "", "edge", "policy", "open", "--device-timeout", "90m", "--on-failure", "stop", "--failure", "50")
	f.startStage("open", "all")
	f.awaitStage("open", "all", types.StageStatusInProgress)
	f.quayPlan("stopped", selectionStage("one", "cam-2"))
	f.startStage("stopped", "one")
	f.awaitStage("stopped", "one", types.StageStatusInProgress)
	for _, device := range []string{"cam-1", "cam-2"} { // whose rows are in progress from now on
		f.aws().ok("sagemaker-edge", "get-deployments", "--device-name", device, "--device-fleet-name", "quay")
	}
	must(f.sagemaker.StopEdgeDeploymentStage(f.t.Context(),
		&sagemaker.StopEdgeDeploymentStageInput{
			EdgeDeploymentPlanName: aws.String("stopped"),
			StageName:              aws.String("one"),
		}))(f.t)
	f.quayPlan("gone", percentStage("all", 100))
	must(f.sagemaker.DeleteEdgeDeploymentPlan(f.t.Context(),
		&sagemaker.DeleteEdgeDeploymentPlanInput{EdgeDeploymentPlanName: aws.String("gone")}))(f.t)
}

func (f *filler) quayPlan(name string, stages ...types.DeploymentStage) {
	f.t.Helper()
	in := planInput(name, stages...)
	in.DeviceFleetName, in.ModelConfigs[0].EdgePackagingJobName = aws.String("quay"), aws.String("v2")
	in.Tags = []types.Tag{{Key: aws.String("plan"), Value: &name}}
	must(f.sagemaker.CreateEdgeDeploymentPlan(f.t.Context(), in))(f.t)
}

func (f *filler) startStage(plan, stage string) {
	f.t.Helper()
	must(f.sagemaker.StartEdgeDeploymentStage(f.t.Context(),
		&sagemaker.StartEdgeDeploymentStageInput{EdgeDeploymentPlanName: &plan, StageName: &stage}))(f.t)
}

func (f *filler) awaitStage(plan, stage string, want ...types.StageStatus) {
	f.t.Helper()
	eventually(f.t, time.Minute, "stage "+stage+" of "+plan+" comes to rest", func() bool {
		for _, w := range want {
			if f.stage(plan, stage).DeploymentStatus.StageStatus == w {
				return true
			}
		}
		return false
	})
}
