package agent_test

import (
	"context"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/agent"
	"github.com/slipway-ml/slipway/internal/agent/cloudtest"
	"github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
)

func TestADeployedModelServesApplicationsAndGivesWayToTheNext(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	first := w.release(t, 2, 6)
	w.Offer(first)
	r := w.start(t, agent.Options{})
	if res := w.result(t, first.DeploymentName); res.DeploymentStatus != "SUCCESS" {
		t.Fatalf("the first deployment: %+v", res)
	}
	app := w.application(t)
	if y, err := app.predict(t.Context(), 3); y != 6 || err != nil {
		t.Fatalf("3 became %g, %v", y, err)
	}
	// While the next ones come and go, not one call fails.
	calls, failed := 0, make(chan error, 1)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for ; ; calls++ {
			select {
			case <-stop:
				return
			default:
			}
			if y, err := app.predict(context.WithoutCancel(t.Context()), 3); err != nil || y != 6 && y != 9 {
				select {
				case failed <- err:
				default:
				}
			}
		}
	}()
	bad, next := w.release(t, 5, 6), w.release(t, 3, 9)
	w.Offer(bad, next) // the older one first
	if res := w.result(t, bad.DeploymentName); res.DeploymentStatus == "SUCCESS" ||
		!strings.Contains(res.DeploymentModels[0].StatusReason, "golden") {
		t.Errorf("a model that fails its golden inputs: %+v", res)
	}
	if res := w.result(t, next.DeploymentName); res.DeploymentStatus != "SUCCESS" {
		t.Errorf("the next deployment: %+v", res)
	}
	close(stop)
	<-done
	select {
	case err := <-failed:
		t.Errorf("of %d calls one failed or was wrong: %v", calls, err)
	default:
	}
	if y, err := app.predict(t.Context(), 3); y != 9 || err != nil {
		t.Errorf("3 became %g, %v", y, err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	for _, secret := range []string{strings.Repeat("token", 3), strings.Repeat("s", 40), "PRIVATE KEY"} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("the log holds a secret: %.10s…", secret)
		}
	}
}

func TestARestartWithoutTheServerServesWhatWasServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.release(t, 4)
	w.Offer(d)
	r := w.start(t, agent.Options{})
	w.result(t, d.DeploymentName)
	before := identity(t, w)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	w.start(t, agent.Options{})
	if y, err := w.application(t).predict(t.Context(), 2); y != 8 || err != nil {
		t.Errorf("2 became %g, %v", y, err)
	}
	if after := identity(t, w); after != before {
		t.Errorf("the identity was touched:\n%s\n%s", before, after)
	}
}

// identity describes the files that an agent must only read.
func identity(t *testing.T, w *world) string {
	t.Helper()
	var b strings.Builder
	for _, path := range []string{
		w.CAFile, w.CertFile, w.KeyFile, w.config, w.path("roots", "us-east-1.pem"), w.path("roots"),
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(info.Name() + " " + info.Mode().String() + " " + info.ModTime().String() + "\n")
	}
	return b.String()
}

func TestTwoAgentsDoNotShareADataRoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.start(t, agent.Options{})
	text, err := os.ReadFile(w.config)
	if err != nil {
		t.Fatal(err)
	}
	cloudtest.Write(t, w.config,
		[]byte(strings.Replace(string(text), `"slipway_socket":"s"`, `"slipway_socket":"s2"`, 1)), 0o644)
	if _, err := w.tryStart(t, agent.Options{}); err == nil ||
		!strings.Contains(err.Error(), "another agent uses the data root") {
		t.Error(err)
	}
}

func TestASocketIsTakenOnlyFromTheDead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	l, err := net.Listen("unix", w.path("s"))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if _, err := w.tryStart(t, agent.Options{}); err == nil || !strings.Contains(err.Error(), "somebody listens") {
		t.Errorf("from the living: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.tryStart(t, agent.Options{KeepSocket: true}); err == nil || !strings.Contains(err.Error(), "-f") {
		t.Errorf("from the dead, without leave: %v", err)
	}
	r := w.start(t, agent.Options{})
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(w.path("s")); err == nil {
		t.Error("the socket was left behind")
	}
	if err := os.WriteFile(w.path("s"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.tryStart(t, agent.Options{}); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file: %v", err)
	}
}

func TestAnAgentWithoutAServerLoadsWhatApplicationsAskFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]any{"sagemaker_edge_provider_provider": "None"})
	r := w.start(t, agent.Options{})
	app := w.application(t)
	if _, err := app.predict(t.Context(), 1); err == nil {
		t.Error("nothing is loaded, and something answered")
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if len(w.Calls()) != 0 {
		t.Errorf("calls: %q", w.Calls())
	}
}

func TestSystemdHearsOfReadinessLifeAndTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: w.path("n"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	env := map[string]string{"NOTIFY_SOCKET": w.path("n"), "WATCHDOG_USEC": "30000"}
	r := w.start(t, agent.Options{Getenv: func(k string) string { return env[k] }})
	hear := func() string {
		buf := make([]byte, 100)
		_ = l.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := l.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	heard := map[string]bool{}
	for !heard["READY=1"] || !heard["WATCHDOG=1"] {
		heard[hear()] = true
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	for hear() != "STOPPING=1" {
	}
}

func TestHeartbeatsTellHowTheAgentIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if err := os.MkdirAll(w.path("data"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"running": "", "crashes": "6\n"} {
		cloudtest.Write(t, w.path("data", name), []byte(text), 0o600)
	}
	d := w.release(t, 2)
	w.Offer(d)
	r := w.start(t, agent.Options{})
	w.result(t, d.DeploymentName)
	if _, err := w.application(t).predict(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	cloudtest.Until(t.Context(), t, "all metrics came", func() bool {
		for _, b := range w.Beats() {
			for _, m := range b.AgentMetrics {
				got[m.MetricName+" of "+m.Dimension] = m.Value
			}
		}
		return got["PredictLatency of model/scale"] != nil && got["ModelLoadTime of model/scaler"] != nil
	})
	for name, want := range map[string]any{
		"AgentStarted of device/cam-01": nil, "AgentCrashCount of device/cam-01": 7.0,
		"CpuUtilization of device/cam-01":    nil,
		"MemoryUtilization of device/cam-01": nil, "PredictCount of model/scale": 1.0,
	} {
		v, ok := got[name]
		if !ok || want != nil && v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(w.path("data", "running")); err == nil {
		t.Error("an agent that ended as it should left its mark")
	}
}

func TestRootsThatAnybodyMayWriteAreNotTrusted(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]fs.FileMode{"its owner may write": 0o644, "anybody may run it": 0o555} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			if err := os.Chmod(w.path("roots", "us-east-1.pem"), mode); err != nil {
				t.Fatal(err)
			}
			d := w.release(t, 2)
			w.Offer(d)
			r := w.start(t, agent.Options{})
			if res := w.result(t, d.DeploymentName); res.DeploymentStatus == "SUCCESS" {
				t.Errorf("%+v", res)
			}
			if !strings.Contains(r.log.String(), "not trusted") {
				t.Error("nothing was logged")
			}
		})
	}
}

func TestAConfigurationThatCannotWorkIsRefusedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]map[string]any{
		"no identity":        {"sagemaker_edge_provider_aws_cert_file": "/none"},
		"a token that is no": {"slipway_loopback": "127.0.0.1:0", "slipway_token_file": "/none"},
		"an open port":       {"slipway_loopback": "0.0.0.0:0", "slipway_token_file": "agent.json"},
	} {
		w := newWorld(t, change)
		if _, err := w.tryStart(t, agent.Options{}); err == nil {
			t.Errorf("%s: it started", name)
		}
		if left, _ := filepath.Glob(w.path("s")); len(left) > 0 {
			t.Errorf("%s: left %q", name, left)
		}
	}
}

func TestCapturesOfApplicationsReachTheBucketInTheirLayout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]any{
		"sagemaker_edge_core_capture_data_destination":         "Cloud",
		"sagemaker_edge_provider_s3_bucket_name":               "sagemaker-captures",
		"sagemaker_edge_core_folder_prefix":                    "demo",
		"sagemaker_edge_core_capture_data_push_period_seconds": 1,
	})
	d := w.release(t, 2)
	w.Offer(d)
	w.start(t, agent.Options{})
	w.result(t, d.DeploymentName)
	x := &edgemanager.Tensor{
		TensorMetadata: &edgemanager.TensorMetadata{
			Name: []byte("x"), DataType: edgemanager.DataType_FLOAT32, Shape: []int32{1},
		},
		Data: &edgemanager.Tensor_ByteData{ByteData: []byte{0, 0, 0, 0}},
	}
	_, err := w.application(t).CaptureData(t.Context(), &edgemanager.CaptureDataRequest{
		ModelName: "scale", CaptureId: "c-1", InferenceTimestamp: &edgemanager.Timestamp{Seconds: 1700000000},
		InputTensors: []*edgemanager.Tensor{x},
	})
	if err != nil {
		t.Fatal(err)
	}
	cloudtest.Until(t.Context(), t, "the event was uploaded", func() bool {
		for name, data := range w.Objects() {
			if ok, _ := filepath.Match("sagemaker-captures/demo/plant/*/2023/11/14/22/*.jsonl", name); ok {
				return strings.Contains(string(data), `"deviceId":"cam-01"`)
			}
		}
		return false
	})
}
