package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
	"github.com/slipway-ml/slipway/internal/simdevices"
	"github.com/slipway-ml/slipway/models"
)

// Of a plan for 1,000 agents on bad days everything that the server says is
// what the devices themselves say.
func TestTheCountersOfAPlanAreWhatAThousandDevicesSay(t *testing.T) {
	t.Parallel()
	const devices, seed, fail = 1000, 7, 0.05
	s := startServer(t)
	c := s.sdk()
	c.packDigits("v1")

	cfg := simdevices.Config{
		Fleet: "plant", Count: devices, Seed: seed, Loss: 0.05, Offline: 0.2, Away: 3 * time.Second, Fail: fail,
		Poll: time.Second, Heartbeat: 4 * time.Second, Workers: 64,
	}
	fleet, stop := s.simulate(cfg)
	var named []string
	for i := range 20 {
		named = append(named, simdevices.Name(i*37))
	}
	c.plan("v1",
		types.DeploymentStage{StageName: aws.String("named"), DeviceSelectionConfig: &types.DeviceSelectionConfig{
			DeviceSubsetType: types.DeviceSubsetTypeSelection, DeviceNames: named,
		}},
		types.DeploymentStage{StageName: aws.String("third"), DeviceSelectionConfig: &types.DeviceSelectionConfig{
			DeviceSubsetType: types.DeviceSubsetTypePercentage, Percentage: aws.Int32(30),
		}},
		types.DeploymentStage{StageName: aws.String("rest"), DeviceSelectionConfig: &types.DeviceSelectionConfig{
			DeviceSubsetType: types.DeviceSubsetTypePercentage, Percentage: aws.Int32(100),
		}},
	)
	began := time.Now()
	for _, stage := range []string{"named", "third", "rest"} {
		_, err := c.sagemaker.StartEdgeDeploymentStage(t.Context(), &sagemaker.StartEdgeDeploymentStageInput{
			EdgeDeploymentPlanName: aws.String("v1"), StageName: &stage,
		})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, 2*time.Minute, "stage "+stage+" ended", func() bool {
			st := c.stage("v1", stage).DeploymentStatus.StageStatus
			return st == types.StageStatusDeployed || st == types.StageStatusFailed
		})
	}
	took := time.Since(began)
	eventually(t, time.Minute, "all devices are idle", fleet.Idle)
	stop()
	t.Logf("three stages in %s; %s", took.Round(time.Millisecond), fleet.Report().Line(simdevices.Report{}))
	c.comparePlan(fleet, func(device string) string { return simdevices.Refuses(seed, fail, device, "digits", "v1") })
}

// comparePlan compares all that the server says of the plan v1 with what the
// devices of a fleet say, and with what their seed says.
func (c *sdk) comparePlan(fleet *simdevices.Fleet, refuses func(device string) string) {
	t := c.t
	t.Helper()
	plan, err := c.sagemaker.DescribeEdgeDeploymentPlan(
		t.Context(), &sagemaker.DescribeEdgeDeploymentPlanInput{EdgeDeploymentPlanName: aws.String("v1")},
	)
	if err != nil {
		t.Fatal(err)
	}
	rows := c.stageDevices("v1", plan.Stages)
	want := map[string]counts{} // by stage, as the devices say
	for d := range fleet.Devices() {
		row, ok := rows[d.Name]
		if !ok {
			t.Fatalf("%s is in no stage", d.Name)
		}
		want[row.stage] = want[row.stage].plus(d)
		agree(t, d, row, refuses(d.Name))
	}
	if len(rows) != 1000 || want["named"].total() != 20 || want["third"].total() != 300 || want["rest"].total() != 680 {
		t.Errorf("%d rows, of devices that say %v", len(rows), want)
	}
	var sum counts
	for _, st := range plan.Stages {
		name, n := aws.ToString(st.StageName), st.DeploymentStatus
		got := counts{int(aws.ToInt32(n.EdgeDeploymentSuccessInStage)), int(aws.ToInt32(n.EdgeDeploymentFailedInStage))}
		if got != want[name] || aws.ToInt32(n.EdgeDeploymentPendingInStage) != 0 ||
			(n.StageStatus == types.StageStatusFailed) != (got.failed > 0) {
			t.Errorf(
				"stage %s is %s with %+v and %d pending; its devices say %+v", name, n.StageStatus, got,
				aws.ToInt32(n.EdgeDeploymentPendingInStage), want[name],
			)
		}
		sum.ok, sum.failed = sum.ok+got.ok, sum.failed+got.failed
	}
	got := counts{int(aws.ToInt32(plan.EdgeDeploymentSuccess)), int(aws.ToInt32(plan.EdgeDeploymentFailed))}
	if got != sum || aws.ToInt32(plan.EdgeDeploymentPending) != 0 {
		t.Errorf(
			"the plan counts %+v and %d pending, its stages %+v", got, aws.ToInt32(plan.EdgeDeploymentPending), sum,
		)
	}
	if r := fleet.Report(); r.Deployed != int64(sum.ok) || r.Failed != int64(sum.failed) || sum.failed == 0 {
		t.Errorf("the devices ended %d well and %d badly; the plan counts %+v", r.Deployed, r.Failed, sum)
	}
	if n := len(c.devices("plant", "digits")); n != sum.ok {
		t.Errorf("%d devices are listed with the model, %d deployed it", n, sum.ok)
	}
}

// counts are outcomes of devices.
type counts struct{ ok, failed int }

func (c counts) total() int { return c.ok + c.failed }

func (c counts) plus(d simdevices.Device) counts {
	if len(d.Table) > 0 {
		c.ok++
	} else {
		c.failed++
	}
	return c
}

// stageRow is a device as the server lists it.
type stageRow struct {
	stage, message string
	status         types.DeviceDeploymentStatus
}

// agree compares what a device believes with what the server says of it, and
// with what its seed says.
func agree(t testing.TB, d simdevices.Device, row stageRow, refuses string) {
	t.Helper()
	if len(d.State.Done) != 1 || d.State.Job != nil || len(d.State.Results) != 0 {
		t.Errorf("%s carried out one order; it remembers %+v", d.Name, d.State)
		return
	}
	done := d.State.Done[0]
	if refuses == "" {
		if done.Status != "SUCCESS" || row.status != types.DeviceDeploymentStatusDeployed || row.message != "" ||
			len(d.Table) != 1 || d.Table[0] != "digits=digits v1" {
			t.Errorf(
				"%s says %s and serves %v; the server says %s %q", d.Name, done.Status, d.Table, row.status,
				row.message,
			)
		}
		return
	}
	reason := map[string]string{
		simdevices.ByEngine: "the simulated engine refuses", simdevices.ByGolden: "failed its golden inputs",
	}[refuses]
	if done.Status != "FAIL" || row.status != types.DeviceDeploymentStatusFailed || len(d.Table) != 0 ||
		!strings.Contains(row.message, reason) || row.message != edge.Message(done, edge.RollbackOnFailure) {
		t.Errorf(
			"%s, which refuses by %s, says %s and serves %v; the server says %s %q", d.Name, refuses, done.Status,
			d.Table, row.status, row.message,
		)
	}
}

// simulate registers a fleet of simulated devices and switches them on; stop
// switches them off and waits.
func (s *server) simulate(cfg simdevices.Config) (fleet *simdevices.Fleet, stop func()) {
	s.t.Helper()
	keys, err := s.sdk().sagemaker.Options().Credentials.Retrieve(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	remote := simdevices.NewRemote(s.url, "us-east-1", keys, cfg.Workers)
	roots, err := remote.Roots(s.t.Context())
	if err == nil {
		err = remote.Register(s.t.Context(), cfg.Fleet, cfg.Count, nil)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	cfg.Server, cfg.Verifier = remote, &bundle.Verifier{Roots: roots}
	if fleet, err = simdevices.New(cfg); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { fleet.Run(ctx) })
	stop = func() {
		cancel()
		running.Wait()
		remote.Close()
	}
	s.t.Cleanup(func() {
		stop()
		if s.t.Failed() {
			s.t.Log(fleet.Report().Line(simdevices.Report{}))
		}
	})
	return fleet, stop
}

// goldenDigit is one golden case: what it expects is for devices to judge.
const goldenDigit = `{"cases":[{"inputs":[{"name":"image","datatype":"FP32","shape":[1,64],"data":[%s]}],` +
	`"outputs":[{"name":"label","datatype":"INT64","shape":[1],"data":[%d]}]}]}`

// packDigits compiles a version of the digits model, with a golden case, and
// packages it; the jobs are named like the version.
func (c *sdk) packDigits(version string) {
	c.t.Helper()
	images, labels := models.TestSet()
	image := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(images[0])), ","), "[]")
	golden := fmt.Sprintf(goldenDigit, image, labels[0])
	c.upload("in/"+version+".tar.gz", must(models.Pack(map[string][]byte{
		"model.onnx": models.Model(version), "golden.json": []byte(golden),
	}))(c.t))
	role := aws.String("arn:aws:iam::123456789012:role/SageMakerDevices")
	ctx := c.t.Context()
	_, err := c.sagemaker.CreateCompilationJob(ctx, &sagemaker.CreateCompilationJobInput{
		CompilationJobName: &version, RoleArn: role,
		InputConfig: &types.InputConfig{
			S3Uri: aws.String("s3://models/in/" + version + ".tar.gz"), Framework: types.FrameworkOnnx,
			DataInputConfig: aws.String(`{"image": [1, 64]}`),
		},
		OutputConfig: &types.OutputConfig{
			S3OutputLocation: aws.String("s3://models/compiled"),
			TargetPlatform: &types.TargetPlatform{
				Os: types.TargetPlatformOsLinux, Arch: types.TargetPlatformArchX8664,
			},
		},
		StoppingCondition: &types.StoppingCondition{MaxRuntimeInSeconds: aws.Int32(900)},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, time.Minute, "the compilation ended", func() bool {
		out, err := c.sagemaker.DescribeCompilationJob(
			ctx, &sagemaker.DescribeCompilationJobInput{CompilationJobName: &version},
		)
		if err != nil || out.CompilationJobStatus == types.CompilationJobStatusFailed {
			c.t.Fatal(err, out)
		}
		return out.CompilationJobStatus == types.CompilationJobStatusCompleted
	})
	_, err = c.sagemaker.CreateEdgePackagingJob(ctx, &sagemaker.CreateEdgePackagingJobInput{
		EdgePackagingJobName: &version, CompilationJobName: &version, ModelName: aws.String("digits"),
		ModelVersion: &version, RoleArn: role,
		OutputConfig: &types.EdgeOutputConfig{S3OutputLocation: aws.String("s3://models/packages")},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, time.Minute, "the packaging ended", func() bool {
		out, err := c.sagemaker.DescribeEdgePackagingJob(
			ctx, &sagemaker.DescribeEdgePackagingJobInput{EdgePackagingJobName: &version},
		)
		if err != nil || out.EdgePackagingJobStatus == types.EdgePackagingJobStatusFailed {
			c.t.Fatal(err, out)
		}
		return out.EdgePackagingJobStatus == types.EdgePackagingJobStatusCompleted
	})
}

// plan makes a plan that deploys the package of a version, under its name.
func (c *sdk) plan(version string, stages ...types.DeploymentStage) {
	c.t.Helper()
	_, err := c.sagemaker.CreateEdgeDeploymentPlan(c.t.Context(), &sagemaker.CreateEdgeDeploymentPlanInput{
		EdgeDeploymentPlanName: &version, DeviceFleetName: aws.String("plant"), Stages: stages,
		ModelConfigs: []types.EdgeDeploymentModelConfig{
			{ModelHandle: aws.String("digits"), EdgePackagingJobName: &version},
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// stage describes a stage of a plan.
func (c *sdk) stage(plan, stage string) types.DeploymentStageStatusSummary {
	c.t.Helper()
	out, err := c.sagemaker.DescribeEdgeDeploymentPlan(
		c.t.Context(), &sagemaker.DescribeEdgeDeploymentPlanInput{EdgeDeploymentPlanName: &plan},
	)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, st := range out.Stages {
		if aws.ToString(st.StageName) == stage {
			return st
		}
	}
	c.t.Fatalf("plan %s has no stage %s", plan, stage)
	return types.DeploymentStageStatusSummary{}
}

// stageDevices lists the devices of all stages by name; one that two stages
// deploy to fails the test.
func (c *sdk) stageDevices(plan string, stages []types.DeploymentStageStatusSummary) map[string]stageRow {
	c.t.Helper()
	rows := map[string]stageRow{}
	for _, st := range stages {
		pages := sagemaker.NewListStageDevicesPaginator(c.sagemaker, &sagemaker.ListStageDevicesInput{
			EdgeDeploymentPlanName: &plan, StageName: st.StageName, ExcludeDevicesDeployedInOtherStage: aws.Bool(true),
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(c.t.Context())
			if err != nil {
				c.t.Fatal(err)
			}
			for _, d := range page.DeviceDeploymentSummaries {
				name := aws.ToString(d.DeviceName)
				if had, twice := rows[name]; twice {
					c.t.Errorf("%s is in the stages %s and %s", name, had.stage, aws.ToString(st.StageName))
				}
				rows[name] = stageRow{
					aws.ToString(st.StageName), aws.ToString(d.DeviceDeploymentStatusMessage), d.DeviceDeploymentStatus,
				}
			}
		}
	}
	return rows
}

// devices lists the devices of a fleet, those with a model if one is named.
func (c *sdk) devices(fleet string, model ...string) (names []string) {
	c.t.Helper()
	in := &sagemaker.ListDevicesInput{DeviceFleetName: &fleet}
	if len(model) > 0 {
		in.ModelName = &model[0]
	}
	pages := sagemaker.NewListDevicesPaginator(c.sagemaker, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		for _, d := range page.DeviceSummaries {
			names = append(names, aws.ToString(d.DeviceName))
		}
	}
	return names
}

func TestSimulatedDevicesComeToRestFromTheCommandLine(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	out, err := exec.Command(program(t, "slipway"), "sim-devices", "--config", s.file, "--fleet", "yard", "--count",
		"50", "--seed", "7",
		"--loss", "10%", "--offline", "0.2", "--away", "1s", "--poll", "1s", "--heartbeat", "1s", "--until-idle",
		"--duration", "1m", "--json").Output()
	if err != nil {
		t.Fatal(stderrOf(err))
	}
	var r simdevices.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err, string(out))
	}
	if r.Devices != 50 || r.Registered != 50 || r.Idle != 50 || r.Calls["heartbeat"].Answered < 50 ||
		r.Errors["poll: lost reply"] == 0 {
		t.Errorf("%s", out)
	}
	if n := len(s.sdk().devices("yard")); n != 50 {
		t.Errorf("%d devices are registered", n)
	}
}
