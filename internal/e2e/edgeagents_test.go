package e2e

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"sigs.k8s.io/yaml"

	"github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/models"
)

// plant is a fleet of devices with real agents.
type plant struct {
	*sdk
	server *server
	dir    string
	agents map[string]*agentProcess
}

// agentProcess is a slipway-agent, on a device of its own as far as it can
// tell.
type agentProcess struct {
	t      testing.TB
	dir    string
	log    string
	cmd    *exec.Cmd
	ended  chan struct{}
	conn   *grpc.ClientConn
	client edgemanager.AgentClient
}

// newPlant makes the fleet; its devices find the server again after a restart.
func newPlant(t *testing.T) *plant {
	t.Helper()
	s := startServer(t, quickDevices)
	dir, err := os.MkdirTemp("", "e2e") // short: it holds sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &plant{sdk: s.sdk(), server: s, dir: dir, agents: map[string]*agentProcess{}}
	must(p.sagemaker.CreateDeviceFleet(t.Context(), &sagemaker.CreateDeviceFleetInput{
		DeviceFleetName: aws.String("plant"), RoleArn: aws.String(edgeRole),
		OutputConfig: &types.EdgeOutputConfig{S3OutputLocation: aws.String("s3://" + edgeBucket + "/captured")},
	}))(t)
	at := must(
		s.iot().DescribeEndpoint(
			t.Context(), &iot.DescribeEndpointInput{EndpointType: aws.String("iot:CredentialProvider")},
		),
	)(t)
	cfg := config.Default()
	if err := yaml.Unmarshal(must(os.ReadFile(s.file))(t), &cfg); err != nil {
		t.Fatal(err)
	}
	cfg.Devices.Listen = aws.ToString(at.EndpointAddress)
	if err := os.WriteFile(s.file, must(yaml.Marshal(cfg))(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// hire enrolls a device and starts its agent; settings are added to its
// configuration.
func (p *plant) hire(name string, settings map[string]any) {
	p.t.Helper()
	a := &agentProcess{t: p.t, dir: filepath.Join(p.dir, name), log: filepath.Join(p.dir, name+".log")}
	p.server.client(program(p.t, "slipway"), "device", "enroll", "plant", name, "--bundle", a.dir)
	configure(p.t, a.dir, settings)
	a.conn = must(
		grpc.NewClient(
			"unix:"+filepath.Join(a.dir, "agent.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		),
	)(p.t)
	a.client = edgemanager.NewAgentClient(a.conn)
	p.agents[name] = a
	a.launch()
	p.t.Cleanup(func() {
		a.kill()
		_ = a.conn.Close() // nothing uses it any more
		if p.t.Failed() {
			p.t.Logf("the end of the log of %s:\n%s", name, tail(a.log, 25))
		}
	})
}

// configure adds settings to what an enrolled agent was given.
func configure(t testing.TB, dir string, settings map[string]any) {
	t.Helper()
	path := filepath.Join(dir, "agent.json")
	file := map[string]any{}
	if err := json.Unmarshal(must(os.ReadFile(path))(t), &file); err != nil {
		t.Fatal(err)
	}
	file["slipway_spread_seconds"] = 0 // nobody waits for it
	maps.Copy(file, settings)
	if err := os.WriteFile(path, must(json.Marshal(file))(t), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (a *agentProcess) launch() {
	a.t.Helper()
	log, err := os.OpenFile(a.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		a.t.Fatal(err)
	}
	defer log.Close()
	a.cmd = exec.Command(program(a.t, "slipway-agent"), "--config", filepath.Join(a.dir, "agent.json"))
	a.cmd.Stdout, a.cmd.Stderr = log, log
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) { // ends with the process, which kill ends
		_ = cmd.Wait() // how it ended does not matter
		close(ended)
	}(a.cmd, a.ended)
}

// kill ends the agent as a power cut would.
func (a *agentProcess) kill() {
	_ = a.cmd.Process.Kill() // it may have ended
	<-a.ended
}

func (a *agentProcess) signal(s os.Signal) {
	a.t.Helper()
	if err := a.cmd.Process.Signal(s); err != nil {
		a.t.Fatal(err)
	}
}

func (a *agentProcess) says(text string) bool {
	log, err := os.ReadFile(a.log)
	return err == nil && strings.Contains(string(log), text)
}

// digit returns an image as the model takes it.
func digit(i int) *edgemanager.Tensor {
	images, _ := models.TestSet()
	var data []byte
	for _, p := range images[i%len(images)] {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(p))
	}
	return &edgemanager.Tensor{
		TensorMetadata: &edgemanager.TensorMetadata{
			Name: []byte("image"), DataType: edgemanager.DataType_FLOAT32, Shape: []int32{1, 64},
		},
		Data: &edgemanager.Tensor_ByteData{ByteData: data},
	}
}

// predict asks the model of the device for a digit.
func (a *agentProcess) predict(ctx context.Context, i int) (*edgemanager.PredictResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return a.client.Predict(ctx, &edgemanager.PredictRequest{Name: "digits", Tensors: []*edgemanager.Tensor{digit(i)}})
}

// application predicts on a device without pause.
type application struct {
	halt  context.CancelFunc
	wg    sync.WaitGroup
	calls int
	lost  []error
}

func (a *agentProcess) application() *application {
	ctx, halt := context.WithCancel(a.t.Context())
	app := &application{halt: halt}
	app.wg.Go(func() {
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			app.calls++
			if _, err := a.predict(context.WithoutCancel(ctx), app.calls); err != nil {
				app.lost = append(app.lost, err)
			}
		}
	})
	return app
}

// finish checks that no prediction was lost.
func (ap *application) finish(t *testing.T) {
	t.Helper()
	ap.halt()
	ap.wg.Wait()
	if len(ap.lost) > 0 || ap.calls == 0 {
		t.Errorf("%d of %d predictions were lost, first %v", len(ap.lost), ap.calls, ap.lost[:min(1, len(ap.lost))])
	}
	t.Logf("%d predictions while all that happened", ap.calls)
}

// plan makes a deployment plan of one version; a stage is its name and then its
// devices.
func (p *plant) plan(name, job string, stages ...[]string) {
	p.t.Helper()
	in := &sagemaker.CreateEdgeDeploymentPlanInput{
		EdgeDeploymentPlanName: &name, DeviceFleetName: aws.String("plant"),
		ModelConfigs: []types.EdgeDeploymentModelConfig{
			{ModelHandle: aws.String("digits"), EdgePackagingJobName: &job},
		},
	}
	for _, s := range stages {
		in.Stages = append(in.Stages, types.DeploymentStage{StageName: aws.String(
			s[0],
		), DeviceSelectionConfig: &types.DeviceSelectionConfig{
			DeviceSubsetType: types.DeviceSubsetTypeSelection, DeviceNames: s[1:],
		}})
	}
	must(p.sagemaker.CreateEdgeDeploymentPlan(p.t.Context(), in))(p.t)
}

func (p *plant) start(plan, stage string) {
	p.t.Helper()
	must(
		p.sagemaker.StartEdgeDeploymentStage(
			p.t.Context(), &sagemaker.StartEdgeDeploymentStageInput{EdgeDeploymentPlanName: &plan, StageName: &stage},
		),
	)(p.t)
}

// stage returns what the plan says of a stage, as STATUS success/pending/failed.
func (p *plant) stage(plan, stage string) string {
	p.t.Helper()
	out := must(
		p.sagemaker.DescribeEdgeDeploymentPlan(
			p.t.Context(), &sagemaker.DescribeEdgeDeploymentPlanInput{EdgeDeploymentPlanName: &plan},
		),
	)(p.t)
	i := slices.IndexFunc(out.Stages, func(s types.DeploymentStageStatusSummary) bool { return *s.StageName == stage })
	s := out.Stages[i].DeploymentStatus
	return fmt.Sprintf(
		"%s %d/%d/%d", s.StageStatus, *s.EdgeDeploymentSuccessInStage, *s.EdgeDeploymentPendingInStage,
		*s.EdgeDeploymentFailedInStage,
	)
}

// await waits for a stage to be as said; one that has ended otherwise fails the
// test.
func (p *plant) await(plan, stage, want string) {
	p.t.Helper()
	got := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if got = p.stage(plan, stage); got == want {
			return
		}
	}
	p.t.Fatalf("stage %s of %s is %s, want %s: %v", stage, plan, got, want, p.rows(plan, stage))
}

// rows are the devices of a stage, each with its status and message.
func (p *plant) rows(plan, stage string) map[string]string {
	p.t.Helper()
	rows := map[string]string{}
	out := must(
		p.sagemaker.ListStageDevices(
			p.t.Context(), &sagemaker.ListStageDevicesInput{EdgeDeploymentPlanName: &plan, StageName: &stage},
		),
	)(p.t)
	for _, r := range out.DeviceDeploymentSummaries {
		rows[*r.DeviceName] = string(r.DeviceDeploymentStatus) + " " + aws.ToString(r.DeviceDeploymentStatusMessage)
	}
	return rows
}

// version is what the server was told that a device has.
func (p *plant) version(device string) string {
	p.t.Helper()
	d := must(
		p.sagemaker.DescribeDevice(
			p.t.Context(), &sagemaker.DescribeDeviceInput{DeviceFleetName: aws.String("plant"), DeviceName: &device},
		),
	)(p.t)
	if len(d.Models) != 1 {
		return fmt.Sprintf("%d models", len(d.Models))
	}
	return aws.ToString(d.Models[0].ModelVersion)
}

// wantVersion waits for devices to tell that they have a version, and has each
// of them predict.
func (p *plant) wantVersion(want string, devices ...string) {
	p.t.Helper()
	for _, d := range devices {
		eventually(p.t, 30*time.Second, d+" has "+want, func() bool { return p.version(d) == want })
		if _, err := p.agents[d].predict(p.t.Context(), 1); err != nil {
			p.t.Errorf("%s: %v", d, err)
		}
	}
}

// picky writes a worker program that cannot load a version of any model.
func (p *plant) picky(version string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, "picky")
	text := fmt.Sprintf("#!/bin/sh\nif grep -q '\"model_version\": *\"%s\"' "+
		"\"$SM_MODEL_DIR/sagemaker_edge_manifest\"; then echo 'not this one' >&2; exit 1; fi\nexec '%s' \"$@\"\n",
		version, program(p.t, "slipway-onnx"))
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// Five devices with real agents, and everything that goes wrong in a plant.
func TestAFleetOfAgentsLivesThroughWhatGoesWrong(t *testing.T) {
	t.Parallel() // it mostly waits for polls
	p := newPlant(t)
	for version, archive := range map[string]string{"1.0": "v1", "2.0": "v2", "3.0": "v2", "4.0": "v1"} {
		p.pack("digits", version, models.Archive(archive))
	}
	capture := map[string]any{
		"sagemaker_edge_core_capture_data_destination":         "Cloud",
		"sagemaker_edge_core_capture_data_push_period_seconds": 1,
	}
	onDisk := map[string]any{
		"sagemaker_edge_core_capture_data_periodic_upload":                "true",
		"sagemaker_edge_core_capture_data_periodic_upload_period_seconds": 1,
		"sagemaker_edge_core_capture_data_push_period_seconds":            1,
		"sagemaker_edge_core_capture_data_base64_embed_limit":             100,
	}
	p.hire("cam-1", capture)
	p.hire("cam-2", onDisk)
	p.hire("cam-3", map[string]any{"slipway_onnx_program": p.picky("3.0")})
	p.hire("cam-4", nil)
	p.hire("cam-5", nil)

	p.serverKilled()
	app := p.agents["cam-1"].application() // on the one agent that is never killed
	p.captured()
	revoked := p.revoked("cam-5")
	p.tampered("cam-4")
	p.agentKilled("cam-2")
	p.rolledBack()
	revoked()
	app.finish(t)
	p.server.stop()
}

// serverKilled kills the server while a stage is under way. The stage ends as
// if nothing had been.
func (p *plant) serverKilled() {
	p.plan("first", "digits-1-0", []string{"all", "cam-1", "cam-2", "cam-3", "cam-4", "cam-5"})
	p.start("first", "all")
	eventually(p.t, time.Minute, "a device is in the middle", func() bool {
		return strings.Contains(fmt.Sprint(p.rows("first", "all")), string(types.DeviceDeploymentStatusInProgress)+" ")
	})
	p.server.kill()
	p.server.restart()
	p.await("first", "all", "DEPLOYED 5/0/0")
	p.wantVersion("1.0", "cam-1", "cam-2", "cam-3", "cam-4", "cam-5")
}

// tampered changes a package after its stage has started, before the device
// has fetched it.
func (p *plant) tampered(device string) {
	a := p.agents[device]
	p.plan("tampered", "digits-4-0", []string{"all", device})
	a.signal(syscall.SIGSTOP)
	p.start("tampered", "all")
	p.corrupt("packages/digits-4.0.tar.gz")
	a.signal(syscall.SIGCONT)
	p.await("tampered", "all", "FAILED 0/0/1")
	if why := p.rows("tampered", "all")[device]; !strings.Contains(why, "checksum mismatch") {
		p.t.Errorf("the reason is %q", why)
	}
	p.wantVersion("1.0", device)
	_, err := p.sagemaker.StartEdgeDeploymentStage(p.t.Context(), &sagemaker.StartEdgeDeploymentStageInput{
		EdgeDeploymentPlanName: aws.String("tampered"), StageName: aws.String("all"),
	})
	if err == nil || !strings.Contains(err.Error(), "ValidationException") {
		p.t.Errorf("starting the stage again: %v", err)
	}
}

// revoked takes a device's identity away and returns a check, for later, that
// nothing was heard of it since and that its model has stayed.
func (p *plant) revoked(device string) (later func()) {
	a := p.agents[device]
	out := p.server.client(program(p.t, "slipway"), "device", "revoke", "plant", device)
	if !strings.Contains(out, "1 certificates were active and are not any more") {
		p.t.Errorf("revoke printed %q", out)
	}
	in := &sagemaker.DescribeDeviceInput{DeviceFleetName: aws.String("plant"), DeviceName: &device}
	last := must(p.sagemaker.DescribeDevice(p.t.Context(), in))(p.t).LatestHeartbeat
	return func() {
		p.t.Helper()
		eventually(p.t, 30*time.Second, device+" was refused", func() bool {
			return a.says("Certificate is invalid on this endpoint")
		})
		if now := must(p.sagemaker.DescribeDevice(p.t.Context(), in))(p.t).LatestHeartbeat; !now.Equal(*last) {
			p.t.Errorf("%s was heard of at %v, and it was revoked after %v", device, now, last)
		}
		if _, err := a.predict(p.t.Context(), 1); err != nil {
			p.t.Errorf("%s without an identity: %v", device, err)
		}
		if list := p.server.client(program(p.t, "slipway"), "device", "list", "plant"); !strings.Contains(
			list, "INACTIVE",
		) {
			p.t.Errorf("device list:\n%s", list)
		}
	}
}

// agentKilled kills an agent in the middle of an update, in a plan whose second
// stage starts by itself.
func (p *plant) agentKilled(device string) {
	a := p.agents[device]
	p.plan("second", "digits-2-0", []string{"canary", "cam-1"}, []string{"rest", device, "cam-3"})
	p.server.client(
		program(p.t, "slipway"), "edge", "policy", "second", "--auto-next", "--failure", "20", "--on-failure",
		"rollback",
	)
	p.start("second", "canary")
	p.await("second", "canary", "DEPLOYED 1/0/0")
	eventually(p.t, 30*time.Second, device+" is in the middle", func() bool {
		return strings.HasPrefix(p.rows("second", "rest")[device], string(types.DeviceDeploymentStatusInProgress))
	})
	a.kill()
	a.launch()
	p.await("second", "rest", "DEPLOYED 2/0/0")
	p.wantVersion("2.0", "cam-1", device, "cam-3")
}

// rolledBack deploys a version that one device of the second stage cannot load:
// the devices of the first stage go back with it.
func (p *plant) rolledBack() {
	p.plan("third", "digits-3-0", []string{"canary", "cam-1", "cam-2"}, []string{"rest", "cam-3"})
	p.server.client(
		program(p.t, "slipway"), "edge", "policy", "third", "--auto-next", "--failure", "20", "--on-failure",
		"rollback",
	)
	p.start("third", "canary")
	p.await("third", "rest", "FAILED 0/0/1")
	p.await("third", "canary", "FAILED 0/0/2")
	for device, why := range p.rows("third", "canary") {
		if !strings.Contains(why, "rolled back") {
			p.t.Errorf("%s: %s", device, why)
		}
	}
	if why := p.rows("third", "rest")["cam-3"]; !strings.Contains(why, "not this one") {
		p.t.Errorf("cam-3: %s", why)
	}
	p.wantVersion("2.0", "cam-1", "cam-2", "cam-3")
	shown := p.server.client(program(p.t, "slipway"), "edge", "show", "third")
	p.t.Log(shown)
	for _, want := range []string{"the plan is rolled back when more than 20 %", "ROLLED_BACK", "rolled back as d-"} {
		if !strings.Contains(shown, want) {
			p.t.Errorf("slipway edge show does not tell %q", want)
		}
	}
}
