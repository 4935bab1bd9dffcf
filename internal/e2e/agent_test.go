package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/models"
)

// field is a device with a real agent, and the fleet that it belongs to.
type field struct {
	*sdk
	server *server
	dir    string // of the device's identity
	log    string
	cmd    *exec.Cmd
	ended  chan struct{}
}

const (
	edgeRole   = "arn:aws:iam::123456789012:role/SageMakerDevices"
	edgeOutput = "s3://models/packages"
)

// newField makes a fleet, packages of two versions of a model, and a device
// that is enrolled with a token.
func newField(t *testing.T) *field {
	t.Helper()
	s := startServer(t, func(c *config.Config) {
		c.Devices.PollIdle, c.Devices.PollActive, c.Devices.Heartbeat = config.Duration(
			time.Second,
		), config.Duration(time.Second), config.Duration(time.Second)
	})
	dir, err := os.MkdirTemp("", "e2e") // short: it holds sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f := &field{sdk: s.sdk(), server: s, dir: filepath.Join(dir, "cam-01"), log: filepath.Join(dir, "agent.log")}
	_, err = f.sagemaker.CreateDeviceFleet(t.Context(), &sagemaker.CreateDeviceFleetInput{
		DeviceFleetName: aws.String("plant"), RoleArn: aws.String(edgeRole),
		OutputConfig: &types.EdgeOutputConfig{S3OutputLocation: aws.String("s3://models/captured")},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.packaged("v1", "1.0")
	f.packaged("v2", "2.0")
	token := strings.TrimSpace(s.client(program(t, "slipway"), "device", "enroll", "plant", "cam-01"))
	enroll := exec.CommandContext(t.Context(), program(t, "slipway-agent"), "enroll", "--token", "-", "--dir", f.dir)
	enroll.Stdin = strings.NewReader(token + "\n")
	if out, err := enroll.CombinedOutput(); err != nil {
		t.Fatalf("enroll: %v\n%s", err, out)
	}
	configure(t, f.dir, nil)
	t.Cleanup(func() {
		f.kill()
		if t.Failed() {
			t.Logf("the end of the agent's log:\n%s", tail(f.log, 40))
		}
	})
	return f
}

// packaged compiles and packages a version of the digits.
func (f *field) packaged(model, version string) {
	f.t.Helper()
	ctx, job := f.t.Context(), aws.String(model)
	arch := types.TargetPlatformArchX8664
	if runtime.GOARCH == "arm64" {
		arch = types.TargetPlatformArchArm64
	}
	f.upload("in/"+model+".tar.gz", models.Archive(model))
	_, err := f.sagemaker.CreateCompilationJob(ctx, &sagemaker.CreateCompilationJobInput{
		CompilationJobName: job, RoleArn: aws.String(edgeRole), StoppingCondition: &types.StoppingCondition{},
		InputConfig: &types.InputConfig{
			S3Uri: aws.String("s3://models/in/" + model + ".tar.gz"), DataInputConfig: aws.String("{'image': [1, 64]}"),
			Framework: types.FrameworkOnnx,
		},
		OutputConfig: &types.OutputConfig{
			S3OutputLocation: aws.String("s3://models/compiled"),
			TargetPlatform:   &types.TargetPlatform{Os: types.TargetPlatformOsLinux, Arch: arch},
		},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	eventually(f.t, time.Minute, "the model is compiled", func() bool {
		j, err := f.sagemaker.DescribeCompilationJob(
			ctx, &sagemaker.DescribeCompilationJobInput{CompilationJobName: job},
		)
		if err != nil || j.CompilationJobStatus == types.CompilationJobStatusFailed {
			f.t.Fatalf("compilation: %v, %v", err, aws.ToString(j.FailureReason))
		}
		return j.CompilationJobStatus == types.CompilationJobStatusCompleted
	})
	_, err = f.sagemaker.CreateEdgePackagingJob(ctx, &sagemaker.CreateEdgePackagingJobInput{
		EdgePackagingJobName: job, CompilationJobName: job, ModelName: aws.String("digits"), ModelVersion: &version,
		RoleArn:      aws.String(edgeRole),
		OutputConfig: &types.EdgeOutputConfig{S3OutputLocation: aws.String(edgeOutput)},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	eventually(f.t, time.Minute, "the model is packaged", func() bool {
		j, err := f.sagemaker.DescribeEdgePackagingJob(
			ctx, &sagemaker.DescribeEdgePackagingJobInput{EdgePackagingJobName: job},
		)
		if err != nil || j.EdgePackagingJobStatus == types.EdgePackagingJobStatusFailed {
			f.t.Fatalf("packaging: %v, %v", err, aws.ToString(j.EdgePackagingJobStatusMessage))
		}
		return j.EdgePackagingJobStatus == types.EdgePackagingJobStatusCompleted
	})
}

// roll starts a plan of one stage that gives the device a package.
func (f *field) roll(plan, job string) { f.rollWith(plan, job) }

// rollWith is roll for a plan with a policy, as arguments of slipway edge policy.
func (f *field) rollWith(plan, job string, policy ...string) {
	f.t.Helper()
	_, err := f.sagemaker.CreateEdgeDeploymentPlan(f.t.Context(), &sagemaker.CreateEdgeDeploymentPlanInput{
		EdgeDeploymentPlanName: &plan, DeviceFleetName: aws.String("plant"),
		ModelConfigs: []types.EdgeDeploymentModelConfig{
			{ModelHandle: aws.String("digits"), EdgePackagingJobName: &job},
		},
		Stages: []types.DeploymentStage{
			{StageName: aws.String("all"), DeviceSelectionConfig: &types.DeviceSelectionConfig{
				DeviceSubsetType: types.DeviceSubsetTypePercentage, Percentage: aws.Int32(100),
			}},
		},
	})
	if err == nil && len(policy) > 0 {
		f.server.client(program(f.t, "slipway"), append([]string{"edge", "policy", plan}, policy...)...)
	}
	if err == nil {
		_, err = f.sagemaker.StartEdgeDeploymentStage(f.t.Context(), &sagemaker.StartEdgeDeploymentStageInput{
			EdgeDeploymentPlanName: &plan, StageName: aws.String("all"),
		})
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// deployed waits for the end of a plan's stage, which must be a success.
func (f *field) deployed(plan string) {
	f.t.Helper()
	eventually(f.t, 2*time.Minute, plan+" is deployed", func() bool {
		p, err := f.sagemaker.DescribeEdgeDeploymentPlan(
			f.t.Context(), &sagemaker.DescribeEdgeDeploymentPlanInput{EdgeDeploymentPlanName: &plan},
		)
		if err != nil {
			f.t.Fatal(err)
		}
		switch s := p.Stages[0].DeploymentStatus; s.StageStatus {
		case types.StageStatusFailed, types.StageStatusStopped:
			rows, _ := f.sagemaker.ListStageDevices(f.t.Context(), &sagemaker.ListStageDevicesInput{
				EdgeDeploymentPlanName: &plan, StageName: aws.String("all"),
			})
			for _, r := range rows.DeviceDeploymentSummaries {
				f.t.Error(
					aws.ToString(r.DeviceName), r.DeviceDeploymentStatus, aws.ToString(r.DeviceDeploymentStatusMessage),
				)
			}
			f.t.Fatalf("%s: %s", plan, aws.ToString(s.EdgeDeploymentStatusMessage))
		case types.StageStatusDeployed:
			return p.EdgeDeploymentSuccess != nil && *p.EdgeDeploymentSuccess == 1
		}
		return false
	})
}

// launch starts the agent and waits until it serves.
func (f *field) launch() {
	f.t.Helper()
	log, err := os.OpenFile(f.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer log.Close()
	f.cmd = exec.Command(program(f.t, "slipway-agent"), "--config", filepath.Join(f.dir, "agent.json"))
	f.cmd.Stderr = log
	if err := f.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) { // ends with the process, which kill ends
		_ = cmd.Wait() // how it ended does not matter
		close(ended)
	}(f.cmd, f.ended)
	eventually(f.t, 30*time.Second, "the agent serves", func() bool {
		_, err := f.ask(func(ctx context.Context, a edgemanager.AgentClient) (float32, error) {
			_, err := a.ListModels(ctx, &edgemanager.ListModelsRequest{})
			return 0, err
		})
		return err == nil
	})
}

// kill ends the agent as a power cut would.
func (f *field) kill() {
	if f.cmd != nil {
		_ = f.cmd.Process.Kill() // it may have ended
		<-f.ended
	}
}

func (f *field) ask(call func(context.Context, edgemanager.AgentClient) (float32, error)) (float32, error) {
	c, err := grpc.NewClient(
		"unix:"+filepath.Join(f.dir, "agent.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()),
	)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
	defer cancel()
	return call(ctx, edgemanager.NewAgentClient(c))
}

// reads returns which part of the test set the device reads right.
func (f *field) reads() (float32, error) {
	images, labels := models.TestSet()
	images, labels = images[:50], labels[:50]
	return f.ask(func(ctx context.Context, a edgemanager.AgentClient) (float32, error) {
		right := 0
		for i, pixels := range images {
			out, err := a.Predict(ctx, imageRequest(pixels))
			if err != nil {
				return 0, err
			}
			label, err := labelIn(out)
			if err != nil {
				return 0, err
			}
			if label == labels[i] {
				right++
			}
		}
		return float32(right) / float32(len(labels)), nil
	})
}

// imageRequest asks the digits what an image shows.
func imageRequest(pixels []float32) *edgemanager.PredictRequest {
	var data bytes.Buffer
	for _, p := range pixels {
		data.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(p)))
	}
	return &edgemanager.PredictRequest{Name: "digits", Tensors: []*edgemanager.Tensor{{
		TensorMetadata: &edgemanager.TensorMetadata{
			Name: []byte("image"), DataType: edgemanager.DataType_FLOAT32, Shape: []int32{1, 64},
		},
		Data: &edgemanager.Tensor_ByteData{ByteData: data.Bytes()},
	}}}
}

func labelIn(out *edgemanager.PredictResponse) (int, error) {
	label := slices.IndexFunc(
		out.Tensors, func(x *edgemanager.Tensor) bool { return string(x.TensorMetadata.Name) == "label" },
	)
	if label < 0 {
		return 0, fmt.Errorf("no label among %v", out.Tensors)
	}
	return int(out.Tensors[label].GetByteData()[0]), nil
}

// version is what the server says that the device has.
func (f *field) version() string {
	f.t.Helper()
	d, err := f.sagemaker.DescribeDevice(f.t.Context(), &sagemaker.DescribeDeviceInput{
		DeviceFleetName: aws.String("plant"), DeviceName: aws.String("cam-01"),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	if len(d.Models) != 1 {
		return fmt.Sprintf("%d models", len(d.Models))
	}
	return aws.ToString(d.Models[0].ModelVersion)
}

func TestAnAgentTakesAPackageFromTheServerAndReadsDigits(t *testing.T) {
	t.Parallel() // it mostly waits for polls
	f := newField(t)
	f.launch()
	f.roll("first", "v1")
	f.deployed("first")
	v1, err := f.reads()
	if err != nil || v1 < 0.5 {
		t.Fatalf("version 1 reads %.2f, %v", v1, err)
	}
	f.roll("second", "v2")
	f.deployed("second")
	v2, err := f.reads()
	if err != nil || v2 < v1 || v2 < 0.9 {
		t.Errorf("version 2 reads %.2f, version 1 read %.2f, %v", v2, v1, err)
	}
	if got := f.version(); got != "2.0" {
		t.Errorf("the server says that the device has %s", got)
	}
}

// SLIPWAY_SOAK makes it twenty.
func TestAnAgentKilledDuringUpdatesNeverLosesItsModel(t *testing.T) {
	t.Parallel() // it mostly waits for polls
	kills := 5
	if os.Getenv(soakVariable) != "" {
		kills = 20
	}
	f := newField(t)
	f.launch()
	f.roll("p-0", "v1")
	f.deployed("p-0")
	random := rand.New(rand.NewPCG(11, 11))
	for kill := 1; kill <= kills; kill++ {
		plan, job, version := fmt.Sprintf("p-%d", kill), "v2", "2.0"
		if kill%2 == 0 {
			job, version = "v1", "1.0"
		}
		f.roll(plan, job)
		time.Sleep(time.Duration(random.IntN(8000)) * time.Millisecond)
		f.kill()
		f.launch()
		if right, err := f.reads(); err != nil || right < 0.5 {
			t.Fatalf("after kill %d it reads %.2f, %v", kill, right, err)
		}
		f.deployed(plan)
		eventually(t, 30*time.Second, "the server knows the version", func() bool { return f.version() == version })
	}
}
