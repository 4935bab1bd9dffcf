package agent_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/slipway-ml/slipway/internal/agent"
	"github.com/slipway-ml/slipway/internal/agent/cloudtest"
	"github.com/slipway-ml/slipway/internal/agent/config"
	"github.com/slipway-ml/slipway/internal/agent/device"
	"github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// workerEnv makes this program an engine: a real process under the container
// contract whose model multiplies by the number in its file "scale".
const workerEnv = "SLIPWAY_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		work()
		return
	}
	os.Exit(m.Run())
}

func work() {
	text, err := os.ReadFile(filepath.Join(os.Getenv("SM_MODEL_DIR"), "scale"))
	scale, err2 := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil || err2 != nil {
		fmt.Fprintln(os.Stderr, "no scale:", err, err2)
		os.Exit(1)
	}
	http.HandleFunc("/ping", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/invocations", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Inputs []struct{ Data []float64 } }
		if json.NewDecoder(r.Body).Decode(&in) != nil || len(in.Inputs) != 1 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		out := in.Inputs[0].Data
		for i := range out {
			out[i] *= scale
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"outputs": []any{map[string]any{"name": "y", "datatype": "FP32", "shape": []int{len(out)}, "data": out}},
		})
	})
	l, err := net.Listen("unix", os.Args[1])
	if err == nil {
		err = http.Serve(l, nil)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// world is a server and one device of its fleet.
type world struct {
	*cloudtest.Server
	dir, config string
	key         *bundle.Key
	serial      uint64
}

// newWorld makes a device's files; settings are added to its configuration.
func newWorld(t *testing.T, settings map[string]any) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // short: it holds sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	authority, err := bundle.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Server: cloudtest.New(t), dir: dir, config: filepath.Join(dir, "agent.json")}
	if w.key, err = authority.NewKey(1, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(w.path("roots"), 0o755); err != nil {
		t.Fatal(err)
	}
	root := w.path("roots", "us-east-1.pem")
	cloudtest.Write(t, root, bundle.EncodeRoots([]*x509.Certificate{authority.Root}), 0o444)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := map[string]any{
		"sagemaker_edge_core_device_name": "cam-01", "sagemaker_edge_core_device_fleet_name": "plant",
		"sagemaker_edge_core_region":                    "us-east-1",
		"sagemaker_edge_core_root_certs_path":           "roots",
		"sagemaker_edge_provider_aws_iot_cred_endpoint": w.Credentials(),
		"sagemaker_edge_provider_aws_ca_cert_file":      w.CAFile, "sagemaker_edge_provider_aws_cert_file": w.CertFile,
		"sagemaker_edge_provider_aws_cert_pk_file": w.KeyFile,
		"slipway_data_root":                        "data", "slipway_socket": "s", "slipway_poll_seconds": 1,
		"slipway_heartbeat_seconds": 1,
		"slipway_spread_seconds":    0,
		"slipway_engines": map[string]any{
			"opaque": map[string]any{"command": []string{exe, "{socket}"}, "env": map[string]string{workerEnv: "1"}},
		},
	}
	for k, v := range settings {
		file[k] = v
	}
	text, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	cloudtest.Write(t, w.config, text, 0o644)
	return w
}

func (w *world) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

// release makes a deployment of a model that multiplies by scale; golden, if
// any, is what it must make of 3.
func (w *world) release(t *testing.T, scale float64, golden ...float64) cloudtest.Deployment {
	t.Helper()
	w.serial++
	source := func(name, text string) bundle.Source {
		return bundle.Source{
			Name: name, Size: int64(len(text)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil },
		}
	}
	files := []bundle.Source{source("scale", fmt.Sprint(scale)), source("weights.bin", strings.Repeat("w", 1<<20))}
	for _, want := range golden {
		files = append(files, source(bundle.GoldenName, fmt.Sprintf(
			`{"cases":[{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[3]}],"outputs":[{"name":"y",`+
				`"datatype":"FP32","shape":[1],"data":[%g]}],"tolerance":0.001}]}`, want)))
	}
	tensor := func(name string) []bundle.Tensor {
		return []bundle.Tensor{{Name: name, DataType: "FLOAT32", Shape: []int64{-1}}}
	}
	var text bytes.Buffer
	_, err := bundle.Write(t.Context(), &text, bundle.Manifest{
		Metadata: bundle.Metadata{
			ModelName: "scaler", ModelVersion: fmt.Sprintf("%d.0", w.serial), PackagingJob: "j", CompilationJob: "c",
			Created: "2026-01-01T00:00:00Z", Serial: w.serial, Key: 1, Runtime: bundle.RuntimeOpaque,
		},
		Inputs: tensor("x"), Outputs: tensor("y"),
	}, files, w.key)
	if err != nil {
		t.Fatal(err)
	}
	key := fmt.Sprintf("packages/scaler-%d.tar.gz", w.serial)
	return cloudtest.Deploy(fmt.Sprintf("d-%d", w.serial), "scale", "models", key, w.Store("models", key, text.Bytes()))
}

// result waits for what the device says of a deployment.
func (w *world) result(t *testing.T, name string) cloudtest.Result {
	t.Helper()
	var got *cloudtest.Result
	cloudtest.Until(t.Context(), t, "a result of "+name, func() bool {
		for _, b := range w.Beats() {
			if b.DeploymentResult != nil && b.DeploymentResult.DeploymentName == name {
				got = b.DeploymentResult
			}
		}
		return got != nil
	})
	return *got
}

// running is an agent in this process.
type running struct {
	agent *agent.Agent
	log   *lines
	stop  func() error
}

// start runs the agent until the test ends or stop is called.
func (w *world) start(t *testing.T, o agent.Options) *running {
	t.Helper()
	r, err := w.tryStart(t, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (w *world) tryStart(t *testing.T, o agent.Options) (*running, error) {
	t.Helper()
	cfg, err := config.Load(w.config, "", func(string) string { return "" })
	if err != nil {
		return nil, err
	}
	log := &lines{out: t.Output()}
	o.Settings = device.Settings{MinWait: 50 * time.Millisecond}
	o.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a, err := agent.New(t.Context(), cfg, o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() {
		err := a.Run(ctx)
		a.Close(context.WithoutCancel(ctx))
		done <- err
	}()
	var once sync.Once
	r := &running{agent: a, log: log}
	r.stop = func() (err error) {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r, nil
}

// lines keeps what was logged.
type lines struct {
	mu   sync.Mutex
	out  io.Writer
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	return l.out.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// application is a program on the device that uses its models.
type application struct{ edgemanager.AgentClient }

func (w *world) application(t *testing.T) application {
	t.Helper()
	c, err := grpc.NewClient("unix:"+w.path("s"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return application{edgemanager.NewAgentClient(c)}
}

// predict asks what the model makes of x.
func (a application) predict(ctx context.Context, x float32) (float32, error) {
	out, err := a.Predict(ctx, &edgemanager.PredictRequest{Name: "scale", Tensors: []*edgemanager.Tensor{{
		TensorMetadata: &edgemanager.TensorMetadata{
			Name: []byte("x"), DataType: edgemanager.DataType_FLOAT32, Shape: []int32{1},
		},
		Data: &edgemanager.Tensor_ByteData{
			ByteData: binary.LittleEndian.AppendUint32(nil, math.Float32bits(x)),
		},
	}}})
	if err != nil {
		return 0, err
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(out.Tensors[0].GetByteData())), nil
}
