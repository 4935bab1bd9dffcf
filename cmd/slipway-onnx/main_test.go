package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/modelserver/onnxtest"
	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

// The test binary is the program itself when it is asked to be.
func TestMain(m *testing.M) {
	if os.Getenv("SLIPWAY_ONNX_TEST") == "program" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// modelDir writes a model that doubles its input.
func modelDir(t *testing.T) string {
	t.Helper()
	g := &ox.Graph{
		Name:    "double",
		Inputs:  []ox.Value{{Name: "x", Type: ox.Float, Dims: []any{"n", 2}}},
		Outputs: []ox.Value{{Name: "y", Type: ox.Float, Dims: []any{"n", 2}}},
		Nodes:   []ox.Node{{Op: "Add", Inputs: []string{"x", "x"}, Outputs: []string{"y"}}},
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "double.onnx"), g.Marshal(), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// program starts the program; its standard error goes to the returned buffer
// as far as the caller has not read it line by line.
func program(t *testing.T, env []string, args ...string) (*exec.Cmd, io.Reader) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Env = append(append(os.Environ(), "SLIPWAY_ONNX_TEST=program", "SLIPWAY_ONNXRUNTIME="+onnxtest.Library()),
		env...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, stderr
}

func TestTheProgramServesUntilItIsTold(t *testing.T) {
	onnxtest.Runtime(t)
	home := t.TempDir()
	cmd, stderr := program(t,
		[]string{"SAGEMAKER_BIND_TO_PORT=0", "SM_MODEL_DIR=" + modelDir(t), "HOME=" + home, "XDG_CACHE_HOME="}, "serve")
	address := ""
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		var rec struct{ Msg, Address string }
		if err := json.Unmarshal(lines.Bytes(), &rec); err != nil {
			t.Fatalf("a log line is not JSON: %s", lines.Text())
		}
		if rec.Msg == "listening" {
			address = rec.Address
		}
		if rec.Msg == "model ready" {
			break
		}
	}
	resp, err := http.Post("http://"+address+"/invocations", "text/csv", strings.NewReader("1,2"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK || string(body) != "2,4\n" {
		t.Errorf("%s %s %v", resp.Status, body, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, stderr)
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	// The library's telemetry, which must stay off, keeps a database there.
	if left, err := os.ReadDir(home); err != nil || len(left) > 0 {
		t.Errorf("it left %v in its home, %v", left, err)
	}
}

func TestASocketIsForThisUserAlone(t *testing.T) {
	onnxtest.Runtime(t)
	path := filepath.Join(t.TempDir(), "s")
	_, stderr := program(t, nil, "--model-dir", modelDir(t), "--listen", "unix:"+path)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "model ready") {
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o700 {
		t.Fatalf("the socket is %v, %v", info.Mode(), err)
	}
	c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	defer c.CloseIdleConnections()
	resp, err := c.Post("http://worker/invocations", "text/csv", strings.NewReader("1,2"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || string(body) != "2,4\n" {
		t.Errorf("%s %s %v", resp.Status, body, err)
	}
}

func TestAProgramThatCannotServeSaysWhyAndExits(t *testing.T) {
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "model.onnx"), []byte("<html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := modelDir(t)
	for name, c := range map[string]struct {
		args []string
		env  string
		lib  bool // needs the library to get that far
		want string
	}{
		"no model": {
			[]string{"--model-dir", t.TempDir()}, "", false, "no .onnx file is in the model directory",
		},
		"no directory": {[]string{"--model-dir", "/nowhere"}, "", false, "the model directory cannot be read"},
		"a broken model": {
			[]string{"--model-dir", broken}, "", true, "model.onnx can't be loaded: the file is not an ONNX model",
		},
		"no library": {
			[]string{"--model-dir", good, "--lib", "/nowhere"}, "", false, "ONNX Runtime could not be loaded",
		},
		"an unknown flag":  {[]string{"--modle-dir", good}, "", false, "flag provided but not defined"},
		"a stray argument": {[]string{"--model-dir", good, "x"}, "", false, `unexpected argument "x"`},
		"a bad environment": {
			[]string{"--model-dir", good},
			"SLIPWAY_ONNX_MAX_BATCH=many", false,
			"the environment variable SLIPWAY_ONNX_MAX_BATCH",
		},
		"a library from the environment": {
			[]string{"--model-dir", good},
			"SLIPWAY_ONNX_LIB=" + good, false,
			"the environment variable SLIPWAY_ONNX_LIB is not read: give --lib",
		},
		"an address from the environment": {
			[]string{"--model-dir", good},
			"SLIPWAY_ONNX_HOST=0.0.0.0", false,
			"the environment variable SLIPWAY_ONNX_HOST is not read: give --host",
		},
		"a socket from the environment": {
			[]string{"--model-dir", good},
			"SLIPWAY_ONNX_LISTEN=unix:/tmp/x", false,
			"the environment variable SLIPWAY_ONNX_LISTEN is not read: give --listen",
		},
		"a bad listen": {
			[]string{"--model-dir", good, "--listen", "tcp:1"}, "", false, `listen must be unix:PATH`,
		},
		"a bad port": {
			[]string{"--model-dir", good, "--port", "70000"}, "", false, "the port must be 0 to 65535",
		},
		"a bad level": {[]string{"--model-dir", good, "--log-level", "loud"}, "", false, `the log level "loud"`},
	} {
		t.Run(name, func(t *testing.T) {
			if c.lib {
				onnxtest.Runtime(t)
			}
			env := []string{"SAGEMAKER_BIND_TO_PORT=0"}
			if c.env != "" {
				env = append(env, c.env)
			}
			cmd, stderr := program(t, env, c.args...)
			out, err := io.ReadAll(stderr)
			if err != nil {
				t.Fatal(err)
			}
			err = cmd.Wait()
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			last := lines[len(lines)-1]
			if err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.HasPrefix(last, "slipway-onnx: ") ||
				!strings.Contains(last, c.want) {
				t.Errorf("%v, last line %q\nwant %s", err, last, c.want)
			}
		})
	}
}

func TestFlagsOverrideTheEnvironment(t *testing.T) {
	env := map[string]string{
		"SAGEMAKER_BIND_TO_PORT": "9001", "SM_MODEL_DIR": "/env", "SLIPWAY_ONNX_QUEUE": "7",
		"SLIPWAY_ONNX_BATCH_FROM": "250us",
	}
	var stderr bytes.Buffer
	c, err := parse([]string{"serve", "--port", strconv.Itoa(9002), "--threads", "2"},
		func(k string) string { return env[k] }, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	if c.port != 9002 || c.modelDir != "/env" || c.server.Queue != 7 || c.server.BatchFrom != 250*time.Microsecond ||
		c.threads != 2 {
		t.Errorf("got %+v", c)
	}
}

func TestTheLibraryIsLookedForInOrder(t *testing.T) {
	dir := t.TempDir()
	if got := libraries(dir, "/env.so"); len(got) != 1 || got[0] != filepath.Join(dir, "libonnxruntime.so.1") {
		t.Errorf("with a flag: %v", got)
	}
	got := strings.Join(libraries("", "/env.so"), " ")
	if got != "/env.so libonnxruntime.so.1 libonnxruntime.so" {
		t.Errorf("without: %s", got)
	}
}
