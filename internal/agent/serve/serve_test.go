package serve_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/slipway-ml/slipway/internal/agent/capture"
	"github.com/slipway-ml/slipway/internal/agent/handles"
	"github.com/slipway-ml/slipway/internal/agent/model"
	em "github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
	"github.com/slipway-ml/slipway/internal/agent/proto/oip"
	"github.com/slipway-ml/slipway/internal/agent/serve"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// doubler takes rows of four numbers under a name that is not UTF-8 and gives
// their doubles. It checks what it takes as engines do.
type doubler struct {
	sig  tensor.Signature
	hook func(ctx context.Context) error // before each call, if not nil
}

// inputName is Latin-1, as some exporters write names.
const inputName = "donn\xe9es"

func newDoubler() *doubler {
	row := []tensor.Dim{{Size: -1, Symbol: "n"}, {Size: 4}}
	return &doubler{sig: tensor.Signature{
		Inputs:  []tensor.Spec{{Name: inputName, Type: tensor.Float32, Ranked: true, Shape: row}},
		Outputs: []tensor.Spec{{Name: "doubled", Type: tensor.Float32, Ranked: true, Shape: row}},
	}}
}

func (d *doubler) Signature() tensor.Signature { return d.sig }

func (d *doubler) Predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	if d.hook != nil {
		if err := d.hook(ctx); err != nil {
			return nil, err
		}
	}
	if err := d.sig.Check(in); err != nil {
		return nil, err
	}
	out := make([]byte, len(in[0].Data))
	for i := 0; i < len(out); i += 4 {
		f := math.Float32frombits(binary.LittleEndian.Uint32(in[0].Data[i:]))
		binary.LittleEndian.PutUint32(out[i:], math.Float32bits(2*f))
	}
	return []tensor.Tensor{{Name: "doubled", Type: tensor.Float32, Shape: in[0].Shape, Data: out}}, nil
}

func (d *doubler) Close(context.Context) error { return nil }

// echo gives back what it takes, and says nothing about it before.
type echo struct{ sig tensor.Signature }

func (e echo) Signature() tensor.Signature { return e.sig }

func (e echo) Predict(_ context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	return in, nil
}

func (echo) Close(context.Context) error { return nil }

func load(r model.Runner, version string) *model.Loaded {
	return &model.Loaded{
		Info: model.Info{
			ModelName: "the-model", ModelVersion: version, Dir: "/models/\xff", Signature: r.Signature(),
			LoadedAt: time.Now(),
		},
		Runner: r,
	}
}

// kept is a capture pipeline that keeps what it gets.
type kept struct {
	mu   sync.Mutex
	got  map[string]capture.Request
	fail error
}

func (k *kept) Capture(_ context.Context, r capture.Request) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	if _, ok := k.got[r.ID]; ok {
		return capture.ErrDuplicate
	}
	k.got[r.ID] = r
	return nil
}

func (k *kept) Status(id string) capture.Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.got[id]; !ok {
		return capture.NotFound
	}
	return capture.Success
}

// world is a server with a table of its own, and a client.
type world struct {
	t      testing.TB
	server *serve.Server
	socket string
	models *handles.Table
	kept   *kept
	log    *logged
	conn   *grpc.ClientConn
	agent  em.AgentClient
	oip    oip.GRPCInferenceServiceClient
	stop   func() error
}

// logged collects the log.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// start runs a server with the model "double" in version 7 and the model "any",
// which takes whatever comes. change, if not nil, changes its configuration.
func start(t testing.TB, change func(*serve.Config)) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "serve") // the kernel wants short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cfg := serve.Default(filepath.Join(dir, "agent.sock"))
	if change != nil {
		change(&cfg)
	}
	w := &world{
		t: t, socket: cfg.Socket, models: handles.New(handles.Options{}),
		kept: &kept{got: map[string]capture.Request{}}, log: &logged{},
	}
	w.models.Swap("double", load(newDoubler(), "7"))
	w.models.Swap("any", load(echo{}, "1"))
	w.server, err = serve.New(cfg, serve.Parts{
		Models: w.models, Load: loader, Capture: w.kept, Log: slog.New(slog.NewTextHandler(w.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- w.server.Run(ctx) }()
	w.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Error("the server ended with", err)
		}
	})
	w.conn = dial(t, "unix:"+w.socket)
	w.agent, w.oip = em.NewAgentClient(w.conn), oip.NewGRPCInferenceServiceClient(w.conn)
	return w
}

func dial(t testing.TB, target string) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(128<<20), grpc.MaxCallSendMsgSize(128<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// loader loads what a file in the folder says.
func loader(_ context.Context, dir, handle string) (*model.Loaded, error) {
	what, err := os.ReadFile(filepath.Join(dir, "what"))
	if err != nil {
		return nil, err
	}
	switch string(what) {
	case "huge":
		return nil, model.ErrNoMemory
	case "forged":
		return nil, errors.New("the signature of the manifest is not by a root of this device")
	case "gone":
		return nil, fs.ErrNotExist
	}
	l := load(plainRunner(), "1")
	l.Dir = dir
	return l, nil
}

func floats(fs ...float32) []byte {
	var b []byte
	for _, f := range fs {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}

func wantCode(t *testing.T, err error, code codes.Code) string {
	t.Helper()
	if status.Code(err) != code {
		t.Fatalf("got %v, want %v", err, code)
	}
	return status.Convert(err).Message()
}
