package rpc_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
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

// Left alone, boto3 speaks JSON. Its older and other selves speak the rest.
func TestBoto3DrivesAlarmsInEveryProtocol(t *testing.T) {
	py := python(t)
	for _, protocol := range []string{"json", "query", "smithy-rpc-v2-cbor"} {
		t.Run(protocol, func(t *testing.T) {
			url, key := serve(t)
			out, err := exec.CommandContext(
				t.Context(), py, "testdata/alarms.py", url, key.ID, key.Secret, protocol,
			).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestTheCommandLineInterfaceDrivesAlarms(t *testing.T) {
	path, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("NOT TESTED: the AWS CLI was not found")
	}
	url, key := serve(t)
	aws := func(want string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(
			t.Context(), path,
			append(
				[]string{"--endpoint-url", url, "--region", "us-west-2", "--output", "json", "cloudwatch"}, args...,
			)...,
		)
		cmd.Env = append(
			os.Environ(), "AWS_ACCESS_KEY_ID="+key.ID, "AWS_SECRET_ACCESS_KEY="+key.Secret, "AWS_CONFIG_FILE=/dev/null",
			"AWS_PAGER=", "AWS_MAX_ATTEMPTS=1",
		)
		out, err := cmd.CombinedOutput()
		if (err != nil) != strings.HasPrefix(want, "An error") || !strings.Contains(string(out), want) {
			t.Errorf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	aws("", "put-metric-alarm", "--alarm-name", "a", "--metric-name", "m", "--namespace", "N", "--statistic", "Average",
		"--period", "60",
		"--evaluation-periods", "2", "--threshold", "0.5", "--comparison-operator", "GreaterThanThreshold",
		"--dimensions", "Name=EndpointName,Value=e", "Name=VariantName,Value=v")
	aws("", "wait", "alarm-exists", "--alarm-names", "a")
	var out struct {
		MetricAlarms []struct {
			Threshold             float64
			StateUpdatedTimestamp float64
			Dimensions            []struct{ Name, Value string }
		}
	}
	if err := json.Unmarshal([]byte(aws("", "describe-alarms", "--alarm-names", "a")), &out); err != nil {
		t.Fatal(err)
	}
	if a := out.MetricAlarms; len(a) != 1 || a[0].Threshold != 0.5 || a[0].Dimensions[1].Value != "v" ||
		a[0].StateUpdatedTimestamp != 1795290785 {
		t.Errorf("%+v", out)
	}
	aws("", "put-metric-data", "--namespace", "N", "--metric-name", "m", "--value", "7.5")
	aws(`"Sum": 7.5`, "get-metric-statistics", "--namespace", "N", "--metric-name", "m", "--statistics", "Sum",
		"--period", "60",
		"--start-time", "2026-11-21T18:00:00Z", "--end-time", "2026-11-21T20:00:00Z")
	aws(
		"An error occurred (ResourceNotFound) when calling the DeleteAlarms operation: Could not find alarm no.",
		"delete-alarms", "--alarm-names", "no",
	)
	aws(
		"An error occurred (InvalidAction) when calling the ListDashboards operation: The operation ListDashboards "+
			"is not implemented by Slipway.",
		"list-dashboards",
	)
}
