package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/models"
)

// quickDevices lets devices come every second, so that nobody waits for them.
func quickDevices(c *config.Config) {
	c.Devices.PollIdle, c.Devices.PollActive, c.Devices.Heartbeat = config.Duration(
		time.Second,
	), config.Duration(time.Second), config.Duration(time.Second)
}

// pythons are the interpreters with boto3: the machine's own, and Debian's if
// it is another.
func pythons(t *testing.T) []string {
	t.Helper()
	all := []string{python(t)}
	if debian := "/usr/bin/python3"; all[0] != debian && exec.Command(debian, "-c", "import boto3").Run() == nil {
		all = append(all, debian)
	}
	return all
}

func TestBoto3RunsTheFlowsOfAFleet(t *testing.T) {
	t.Parallel()
	for _, p := range pythons(t) {
		t.Run(strings.Trim(p, "/"), func(t *testing.T) {
			s := startServer(t, quickDevices)
			input := filepath.Join(s.dir, "digits.tar.gz")
			if err := os.WriteFile(input, models.Archive("v1"), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Log(s.client(p, "testdata/py/edge.py", input, filepath.Join(s.dataDir, "devices-ca.pem")))
			s.stop()
		})
	}
}

func TestWhatDevicesSayAtTheWrongTimeIsTakenForWhatItIs(t *testing.T) {
	s := startServer(t, quickDevices)
	s.sdk().pack("digits", "1.0", models.Archive("v1"))
	t.Log(s.client(python(t), "testdata/py/edgecases.py", "plant", "digits-1-0"))
	s.stop()
}

// The command line of AWS on a fleet (edge spec §9, flow 7).
func TestTheAWSCommandLineRunsAFleet(t *testing.T) {
	t.Parallel()
	s := startServer(t, quickDevices)
	aws := s.aws()
	role := "arn:aws:iam::123456789012:role/SageMakerDevices"
	for _, fleet := range []string{"north", "south"} {
		aws.ok("sagemaker", "create-device-fleet", "--device-fleet-name", fleet, "--role-arn", role, "--output-config",
			"S3OutputLocation=s3://sagemaker-edge/captured",
			"--tags", "Key=site,Value="+fleet)
	}
	if got := aws.ok(
		"sagemaker", "describe-device-fleet", "--device-fleet-name", "north", "--query", "IotRoleAlias", "--output",
		"text",
	); got != "arn:aws:iot:us-east-1:123456789012:rolealias/SageMakerEdge-north" {
		t.Errorf("the alias is %q", got)
	}
	// A line for each page.
	names := aws.ok(
		"sagemaker", "list-device-fleets", "--sort-by", "NAME", "--sort-order", "Descending", "--page-size", "1",
		"--query", "DeviceFleetSummaries[].DeviceFleetName", "--output", "text",
	)
	if got := strings.Fields(names); !slices.Equal(got, []string{"south", "north"}) {
		t.Errorf("the fleets are %q", got)
	}
	var devices []string
	const many = 130 // more than a page
	for i := range many {
		devices = append(devices, fmt.Sprintf("DeviceName=cam-%03d,IotThingName=cam-%03d", i, i))
	}
	aws.ok(
		append([]string{"sagemaker", "register-devices", "--device-fleet-name", "north", "--devices"}, devices...)...,
	)
	if got := strings.Fields(
		aws.ok(
			"sagemaker", "list-devices", "--device-fleet-name", "north", "--query", "DeviceSummaries[].DeviceName",
			"--output", "text",
		),
	); len(got) != many ||
		got[many-1] != "cam-129" {
		t.Errorf("%d devices: %q", len(got), got)
	}
	out := aws.fails("sagemaker", "describe-device", "--device-fleet-name", "north", "--device-name", "nope")
	if !strings.Contains(
		out, "An error occurred (ValidationException) when calling the DescribeDevice operation: No device with name",
	) {
		t.Errorf("an unknown device: %q", out)
	}
	if host := aws.ok(
		"iot", "describe-endpoint", "--endpoint-type", "iot:CredentialProvider", "--query", "endpointAddress",
		"--output", "text",
	); !strings.HasPrefix(host, "127.0.0.1:") {
		t.Errorf("devices are told to go to %q", host)
	}
	aws.plan(t, role)
	aws.asDevice(t, many)
	s.stop()
}

// plan packages a model and starts a stage of every device.
func (c *awsCLI) plan(t *testing.T, role string) {
	t.Helper()
	c.s.sdk().pack("digits", "1.0", models.Archive("v1"))
	c.ok("sagemaker", "create-edge-deployment-plan", "--edge-deployment-plan-name", "plan", "--device-fleet-name",
		"north",
		"--model-configs", "ModelHandle=digits,EdgePackagingJobName=digits-1-0",
		"--stages", "StageName=all,DeviceSelectionConfig={DeviceSubsetType=PERCENTAGE,Percentage=100}")
	if got := c.ok(
		"sagemaker", "start-edge-deployment-stage", "--edge-deployment-plan-name", "plan", "--stage-name", "all",
	); got != "" {
		t.Errorf("starting a stage printed %q", got)
	}
	if got := c.ok(
		"sagemaker", "list-edge-deployment-plans", "--query", "EdgeDeploymentPlanSummaries[].EdgeDeploymentPlanName",
		"--output", "text",
	); got != "plan" {
		t.Errorf("the plans are %q", got)
	}
}

// asDevice talks on the data plane, by both ways to name its address, and looks
// at the outcome.
func (c *awsCLI) asDevice(t *testing.T, devices int) {
	t.Helper()
	edge := func(args ...string) string {
		t.Helper()
		return strings.TrimSpace(c.s.client("env", append([]string{
			"-u", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SAGEMAKER_EDGE=" + c.s.url, "aws", "sagemaker-edge",
		}, args...)...))
	}
	me := []string{"--device-name", "cam-007", "--device-fleet-name", "north"}
	if got := edge(
		append([]string{"get-device-registration", "--query", "DeviceRegistration", "--output", "text"}, me...)...,
	); got != "true" {
		t.Errorf("registered: %q", got)
	}
	order := strings.Fields(c.ok(
		append(
			[]string{
				"sagemaker-edge", "get-deployments", "--query", "Deployments[0].[DeploymentName,Definitions[0].S3Url]",
				"--output", "text",
			},
			me...,
		)...,
	))
	if len(order) != 2 || order[1] != "s3://sagemaker-edge/packages/digits-1.0.tar.gz" {
		t.Fatalf("the order is %q", order)
	}
	result := fmt.Sprintf(`{"DeploymentName":%q,"DeploymentStatus":"SUCCESS"}`, order[0])
	beat := append([]string{
		"send-heartbeat", "--agent-version", "1.0", "--models", "ModelName=digits,ModelVersion=1.0",
		"--agent-metrics", "Dimension=device/cam-007,MetricName=CpuUtilization,Value=1.5", "--deployment-result",
		result,
	}, me...)
	if got := edge(beat...); got != "" {
		t.Errorf("a heartbeat printed %q", got)
	}
	count := func(more ...string) map[string]int {
		t.Helper()
		got := map[string]int{}
		for _, status := range strings.Fields(c.ok(append([]string{
			"sagemaker", "list-stage-devices", "--edge-deployment-plan-name", "plan", "--stage-name", "all",
			"--query", "DeviceDeploymentSummaries[].DeviceDeploymentStatus", "--output", "text",
		}, more...)...)) {
			got[status]++
		}
		return got
	}
	for _, got := range []map[string]int{count(), count("--page-size", "50")} {
		if got["DEPLOYED"] != 1 || got["READYTODEPLOY"] != devices-1 {
			t.Errorf("the devices of the stage are %v", got)
		}
	}
	if got := c.ok(
		"sagemaker", "list-stage-devices", "--edge-deployment-plan-name", "plan", "--stage-name", "all", "--max-items",
		"3", "--query", "length(DeviceDeploymentSummaries)",
	); got != "3" {
		t.Errorf("with --max-items 3 there are %s", got)
	}
}

func TestTheJavaScriptSDKSpeaksForADevice(t *testing.T) {
	t.Parallel()
	installJS(t)
	s := startServer(t)
	c := &edgeSDK{sdk: s.sdk()}
	c.Client = c.sagemaker
	must(c.CreateDeviceFleet(t.Context(), fleetInput("plant")))(t)
	must(c.RegisterDevices(t.Context(), register("cam-1")))(t)
	c.pack("digits", "1.0", models.Archive("v1"))
	in := planInput("plan", percentStage("all", 100))
	in.ModelConfigs[0].ModelHandle = aws.String("digits")
	must(c.CreateEdgeDeploymentPlan(t.Context(), in))(t)
	c.start("plan", "all")
	eventually(t, time.Minute, "the device is chosen", func() bool {
		return c.status("plan", "all") == types.StageStatusInProgress
	})
	s.client("node", "testdata/js/edge.mjs", "plant", "cam-1")
	eventually(
		t, time.Minute, "the stage ends", func() bool { return c.status("plan", "all") == types.StageStatusDeployed },
	)
	d := must(
		c.DescribeDevice(t.Context(), &sagemaker.DescribeDeviceInput{
			DeviceFleetName: aws.String("plant"), DeviceName: aws.String("cam-1"),
		}),
	)(t)
	if aws.ToString(d.AgentVersion) != "js.1" || len(d.Models) != 1 || d.Models[0].LatestInference == nil {
		t.Errorf("the device is %+v", d)
	}
	s.stop()
}
