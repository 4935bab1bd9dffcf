package cloudwatch_test

import (
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
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

// Left alone, boto3 speaks JSON, and its older versions Query.
func TestBoto3DrivesAlarmsInEveryProtocol(t *testing.T) {
	py := python(t)
	for _, protocol := range []string{"default", "json", "query", "smithy-rpc-v2-cbor"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			out, err := exec.CommandContext(
				t.Context(), py, "testdata/alarms.py", w.url, w.key.ID, w.key.Secret, protocol,
			).CombinedOutput()
			if e, ok := errors.AsType[*exec.ExitError](err); ok && e.ExitCode() == 77 {
				t.Skip("NOT TESTED: this boto3 does not speak " + protocol)
			}
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// commandLine returns the AWS CLI: a call fails the test unless the output has
// what is wanted in it.
func (w *world) commandLine() func(want string, args ...string) string {
	t := w.t
	path, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("NOT TESTED: the AWS CLI was not found")
	}
	return func(want string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(
			t.Context(), path,
			append(
				[]string{"--endpoint-url", w.url, "--region", "us-east-1", "--output", "json", "cloudwatch"}, args...,
			)...,
		)
		cmd.Env = append(
			os.Environ(), "AWS_ACCESS_KEY_ID="+w.key.ID, "AWS_SECRET_ACCESS_KEY="+w.key.Secret,
			"AWS_CONFIG_FILE=/dev/null", "AWS_PAGER=", "AWS_MAX_ATTEMPTS=1",
		)
		out, err := cmd.CombinedOutput()
		if (err != nil) != strings.Contains(want, "An error") || !strings.Contains(string(out), want) {
			t.Errorf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
}

func TestTheCommandLineInterfaceDrivesAlarms(t *testing.T) {
	w := newWorld(t)
	aws := w.commandLine()
	aws("", "put-metric-alarm", "--alarm-name", "a", "--metric-name", "Errors", "--namespace", "Shop", "--statistic",
		"Sum", "--period", "60",
		"--evaluation-periods", "2", "--threshold", "0.5", "--comparison-operator", "GreaterThanThreshold",
		"--dimensions", "Name=Till,Value=7", "--tags", "Key=k,Value=v")
	aws("", "wait", "alarm-exists", "--alarm-names", "a")
	aws("", "put-composite-alarm", "--alarm-name", "c", "--alarm-rule", "ALARM(a)")
	aws("", "wait", "composite-alarm-exists", "--alarm-names", "c", "--alarm-types", "CompositeAlarm")
	var out struct {
		MetricAlarms []struct {
			AlarmArn, StateValue string
			Threshold            float64
			Dimensions           []struct{ Name, Value string }
		}
	}
	if err := json.Unmarshal([]byte(aws("", "describe-alarms", "--alarm-names", "a")), &out); err != nil {
		t.Fatal(err)
	}
	if a := out.MetricAlarms; len(a) != 1 || a[0].Threshold != 0.5 || a[0].Dimensions[0].Value != "7" ||
		a[0].StateValue == "" {
		t.Fatalf("%+v", out)
	}
	aws(`"Key": "k"`, "list-tags-for-resource", "--resource-arn", out.MetricAlarms[0].AlarmArn)
	aws(
		"", "put-metric-data", "--namespace", "Shop", "--metric-name", "Errors", "--value", "7.5", "--dimensions",
		"Till=7",
	)
	now := time.Now().UTC()
	aws(`"Sum": 7.5`, "get-metric-statistics", "--namespace", "Shop", "--metric-name", "Errors", "--statistics", "Sum",
		"--period", "60", "--dimensions", "Name=Till,Value=7",
		"--start-time", now.Add(-time.Hour).Format(time.RFC3339), "--end-time", now.Add(time.Hour).Format(time.RFC3339))
	aws(`"MetricName": "Errors"`, "list-metrics", "--namespace", "Shop")
	aws("", "set-alarm-state", "--alarm-name", "a", "--state-value", "ALARM", "--state-reason", "a drill")
	aws("a drill", "describe-alarm-history", "--alarm-name", "a")
	aws("", "delete-alarms", "--alarm-names", "no")
	aws("", "delete-alarms", "--alarm-names", "c")
	aws("", "delete-alarms", "--alarm-names", "a")
}

func TestTheQueryProtocolIsWrittenByHand(t *testing.T) {
	w := newWorld(t)
	query := func(wantStatus int, want string, pairs ...string) {
		t.Helper()
		form := url.Values{"Version": {"2010-08-01"}}
		for i := 0; i < len(pairs); i += 2 {
			form.Set(pairs[i], pairs[i+1])
		}
		if status, body := w.raw(form.Encode()); status != wantStatus || !strings.Contains(body, want) {
			t.Errorf("%v: %d\n%s\nwant %d %s", pairs, status, body, wantStatus, want)
		}
	}
	put := []string{
		"Action", "PutMetricAlarm", "AlarmName", "a", "Namespace", "Shop", "MetricName", "Errors", "Statistic", "Sum",
		"Period", "60", "EvaluationPeriods", "1",
		"Threshold", "1", "ComparisonOperator", "GreaterThanThreshold", "AlarmActions", "", "Dimensions.member.1.Name",
		"Till", "Dimensions.member.1.Value", "7",
	}
	query(200, "<PutMetricAlarmResponse", put...)
	query(200, "<AlarmName>a</AlarmName>", "Action", "DescribeAlarms", "AlarmNames.member.1", "a")
	query(200, "<Name>Till</Name><Value>7</Value>", "Action", "DescribeAlarms")
	query(200, "<PutMetricDataResponse", "Action", "PutMetricData", "Namespace", "Shop",
		"MetricData.member.1.MetricName", "Errors", "MetricData.member.1.Value", "2",
		"MetricData.member.1.Timestamp", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"))
	query(
		400, "<Code>InvalidParameterValue</Code>", "Action", "PutMetricData", "Namespace", "Shop",
		"MetricData.member.1.MetricName", "Errors", "MetricData.member.1.Value", "Infinity",
	)
	query(200, "<DeleteAlarmsResponse", "Action", "DeleteAlarms", "AlarmNames.member.1", "no")
	query(404, "<Code>ResourceNotFound</Code>", "Action", "SetAlarmState", "AlarmName", "no", "StateValue", "OK",
		"StateReason", "none")
	query(400, "<Code>ValidationError</Code>", "Action", "PutMetricAlarm", "AlarmName", "b")
	query(200, "<DeleteAlarmsResponse", "Action", "DeleteAlarms", "AlarmNames.member.1", "a")
}
