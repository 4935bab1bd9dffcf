package edge_test

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// python finds an interpreter that has boto3: the machine's own, or Debian's.
func python(t *testing.T) string {
	t.Helper()
	for _, p := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(p, "-c", "import boto3").Run() == nil {
			return p
		}
	}
	t.Skip("NOT TESTED: no Python with boto3 was found")
	return ""
}

func TestBoto3SpeaksForAnOperatorAndForADevice(t *testing.T) {
	py := python(t)
	w := newWorld(t, nil)
	srv := httptest.NewServer(w)
	defer srv.Close()
	for who, key := range map[string]sigv4.Key{"an operator": w.admin, "a device": w.device(t, "thing-1")} {
		t.Run(who, func(t *testing.T) {
			out, err := exec.CommandContext(
				t.Context(), py, "testdata/devices.py", srv.URL, key.ID, key.Secret, key.SessionToken,
			).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			h := w.last(t)
			if h.AgentVersion != "busy" {
				t.Errorf("%+v", h)
			}
			h = w.ago(t, 1)
			if len(h.Metrics) != 2 || h.Dropped != 1 || len(h.Models) != 1 || h.Models[0].LatestInference.IsZero() ||
				h.Result == nil || h.Result.Models[0].Status != "SUCCESS" {
				t.Errorf("%+v", h)
			}
		})
	}
}

func TestTheCommandLineInterfaceSpeaksForADevice(t *testing.T) {
	path, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("NOT TESTED: the AWS CLI was not found")
	}
	w := newWorld(t, nil)
	srv := httptest.NewServer(w)
	defer srv.Close()
	key := w.device(t, "thing-1")
	call := func(want string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(
			t.Context(), path,
			append(
				[]string{"--endpoint-url", srv.URL, "--region", "us-west-2", "--output", "json", "sagemaker-edge"},
				args...,
			)...,
		)
		cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+key.ID, "AWS_SECRET_ACCESS_KEY="+key.Secret,
			"AWS_SESSION_TOKEN="+key.SessionToken,
			"AWS_CONFIG_FILE=/dev/null", "AWS_PAGER=", "AWS_MAX_ATTEMPTS=1")
		out, err := cmd.CombinedOutput()
		if (err != nil) != strings.HasPrefix(want, "An error") || !strings.Contains(string(out), want) {
			t.Errorf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	device := []string{"--device-name", "cam-1", "--device-fleet-name", "plant"}
	call(`"DeviceRegistration": "true"`, append([]string{"get-device-registration"}, device...)...)
	call(`"ModelHandle": "defects"`, append([]string{"get-deployments"}, device...)...)
	call("", append([]string{
		"send-heartbeat", "--agent-version", "1.0", "--models",
		"ModelName=defects,ModelVersion=1.0,LatestInference=2026-11-22T01:00:00Z",
		"--agent-metrics", "Dimension=device/cam-1,MetricName=CpuUtilization,Value=12.5,Timestamp=1700000001",
	}, device...)...)
	if h := w.last(t); len(h.Models) != 1 || len(h.Metrics) != 1 || h.Models[0].LatestInference.Unix() != 1795309200 {
		t.Errorf("%+v", h)
	}
	call("An error occurred (AccessDeniedException) when calling the GetDeployments operation: thing-1 may not act "+
		"for cam-2",
		"get-deployments", "--device-name", "cam-2", "--device-fleet-name", "plant")
}
