package serve_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/slipway-ml/slipway/internal/agent/handles"
	"github.com/slipway-ml/slipway/internal/agent/model"
	em "github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
	"github.com/slipway-ml/slipway/internal/agent/serve"
)

func TestTheSocketHasItsModeAndGoesWithTheServer(t *testing.T) {
	w := start(t, func(c *serve.Config) { c.SocketMode = 0o620 })
	at, err := os.Lstat(w.socket)
	if err != nil || at.Mode() != os.ModeSocket|0o620 {
		t.Fatalf("the socket is %v, %v", at, err)
	}
	if _, err := w.agent.ListModels(t.Context(), &em.ListModelsRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(w.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if says := w.log.String(); !strings.Contains(says, "application connected") || !strings.Contains(says, "of user") {
		t.Errorf("the log does not say who came: %s", says)
	}
}

func TestOnlyASocketThatNobodyListensOnIsReplaced(t *testing.T) {
	again := func(w *world) error {
		cfg := serve.Default(w.socket)
		_, err := serve.New(cfg, serve.Parts{
			Models: handles.New(handles.Options{}), Log: slog.New(slog.DiscardHandler),
		})
		return err
	}
	w := start(t, nil)
	if err := again(w); err == nil || !strings.Contains(err.Error(), "somebody listens on") {
		t.Errorf("a second agent took the socket: %v", err)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.socket, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := again(w); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file was replaced: %v", err)
	}
	// What a power cut leaves: a socket without anyone.
	if err := os.Remove(w.socket); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: w.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	next := start(t, func(c *serve.Config) { c.Socket = w.socket })
	if _, err := next.agent.ListModels(t.Context(), &em.ListModelsRequest{}); err != nil {
		t.Error(err)
	}
}

func TestOnlyTheUsersOfTheListMayCall(t *testing.T) {
	w := start(t, func(c *serve.Config) { c.AllowUIDs = []uint32{uint32(os.Getuid()) + 1} })
	_, err := w.agent.ListModels(t.Context(), &em.ListModelsRequest{})
	wantCode(t, err, codes.Unavailable)
	if says := w.log.String(); !strings.Contains(says, "connection refused") ||
		!strings.Contains(says, "the user may not call") {
		t.Errorf("the log says %s", says)
	}
	friend := start(t, func(c *serve.Config) { c.AllowUIDs = []uint32{uint32(os.Getuid())} })
	if _, err := friend.agent.ListModels(t.Context(), &em.ListModelsRequest{}); err != nil {
		t.Error(err)
	}
}

func TestTheLoopbackPortNeedsTheToken(t *testing.T) {
	const token = "0123456789abcdef"
	w := start(t, func(c *serve.Config) { c.Loopback, c.Token = "127.0.0.1:0", token })
	agent := em.NewAgentClient(dial(t, w.server.Loopback().String()))
	for carried, code := range map[string]codes.Code{
		"": codes.Unauthenticated, "Bearer " + token + "x": codes.Unauthenticated, token: codes.Unauthenticated,
		"Bearer " + token: codes.OK,
	} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", carried)
		_, err := agent.ListModels(ctx, &em.ListModelsRequest{})
		wantCode(t, err, code)
		status, _, _ := ask(t, http.DefaultClient, "GET", "http://"+w.server.Loopback().String()+"/v2", "",
			"Authorization", carried)
		if ok := status == 200; ok != (code == codes.OK) {
			t.Errorf("with %q HTTP answered %d", carried, status)
		}
	}
	// Shared memory has owners, and a port does not say who calls.
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	_, err := agent.Predict(ctx, &em.PredictRequest{
		Name:    "double",
		Tensors: []*em.Tensor{{Data: &em.Tensor_SharedMemoryHandle{SharedMemoryHandle: &em.SharedMemoryHandle{}}}},
	})
	if says := wantCode(t, err, codes.InvalidArgument); !strings.Contains(says, "through the Unix socket only") {
		t.Error(says)
	}
}

func TestConfigurationsThatExposeTheAgentAreRefused(t *testing.T) {
	for name, change := range map[string]func(*serve.Config){
		"an abstract socket":       func(c *serve.Config) { c.Socket = "@agent" },
		"no address":               func(c *serve.Config) { c.Socket = "" },
		"a path that is too long":  func(c *serve.Config) { c.Socket = "/" + strings.Repeat("x", 108) },
		"a short token":            func(c *serve.Config) { c.Loopback, c.Token = "127.0.0.1:0", "x" },
		"an address for others":    func(c *serve.Config) { c.Loopback, c.Token = "0.0.0.0:0", "0123456789abcdef" },
		"a mode that nobody has":   func(c *serve.Config) { c.SocketMode = 0 },
		"no time to answer within": func(c *serve.Config) { c.CallTimeout = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := serve.Default(t.TempDir() + "/s")
			change(&cfg)
			if _, err := serve.New(cfg, serve.Parts{Log: slog.New(slog.DiscardHandler)}); err == nil {
				t.Error("it was taken")
			}
		})
	}
}

func TestAPanicCostsOneCall(t *testing.T) {
	w := start(t, nil)
	bad := newDoubler()
	bad.hook = func(context.Context) error { panic("a broken model") }
	w.models.Swap("bad", load(bad, "1"))
	_, err := w.agent.Predict(t.Context(), &em.PredictRequest{
		Name: "bad", Tensors: []*em.Tensor{value(nil, make([]byte, 16))},
	})
	wantCode(t, err, codes.Internal)
	bad.sig.Inputs[0].Name = "x" // JSON has no names that are not UTF-8
	w.models.Swap("bad", load(bad, "1"))
	if status, _, _ := w.web("POST", "/v2/models/bad/infer",
		`{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}`); status != 500 {
		t.Errorf("HTTP answered %d", status)
	}
	if _, err := w.agent.Predict(t.Context(),
		&em.PredictRequest{Name: "double", Tensors: []*em.Tensor{value(nil, make([]byte, 16))}}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(w.log.String(), "a broken model") {
		t.Error("the log does not say what happened")
	}
}

func TestAModelsFailureIsToldWithItsReason(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		code codes.Code
	}{
		"it failed on this input": {model.ErrFailed, codes.Internal},
		"it is busy":              {model.ErrBusy, codes.ResourceExhausted},
		"it restarts":             {model.ErrUnavailable, codes.Unavailable},
		"it took too long":        {context.DeadlineExceeded, codes.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, nil)
			m := newDoubler()
			m.hook = func(context.Context) error { return c.err }
			w.models.Swap("m", load(m, "1"))
			_, err := w.agent.Predict(t.Context(), &em.PredictRequest{
				Name: "m", Tensors: []*em.Tensor{value(nil, make([]byte, 16))},
			})
			if says := wantCode(t, err, c.code); says != c.err.Error() {
				t.Error(says)
			}
		})
	}
}

func TestWhatACallMayCostIsBounded(t *testing.T) {
	entered, leave := make(chan struct{}, 8), make(chan struct{})
	w := start(t, func(c *serve.Config) {
		c.MaxCalls, c.MaxMessage, c.MaxConnections, c.HandshakeTimeout = 2, 1<<20, 3, 200*time.Millisecond
	})
	slow := newDoubler()
	slow.hook = func(context.Context) error { entered <- struct{}{}; <-leave; return nil }
	w.models.Swap("slow", load(slow, "1"))
	predict := func(size int) error {
		_, err := w.agent.Predict(t.Context(), &em.PredictRequest{
			Name: "slow", Tensors: []*em.Tensor{value(nil, make([]byte, size))},
		})
		return err
	}
	wantCode(t, predict(2<<20), codes.ResourceExhausted) // more than a message may be

	var calls sync.WaitGroup
	for range 2 {
		calls.Go(func() {
			if err := predict(16); err != nil {
				t.Error(err)
			}
		})
	}
	<-entered
	<-entered
	// Another connection, for the first has as many streams as it may.
	other := em.NewAgentClient(dial(t, "unix:"+w.socket))
	_, err := other.ListModels(t.Context(), &em.ListModelsRequest{})
	if says := wantCode(t, err, codes.ResourceExhausted); !strings.Contains(says, "2 calls are under way") {
		t.Error(says)
	}
	if status, h, _ := w.web("GET", "/v2", ""); status != 503 || h.Get("Retry-After") == "" {
		t.Errorf("HTTP answered %d", status)
	}
	close(leave)
	calls.Wait()
	if _, err := w.agent.ListModels(t.Context(), &em.ListModelsRequest{}); err != nil {
		t.Errorf("the calls that ended still count: %v", err)
	}

	// A connection that says nothing is closed, and gives its place back.
	silent, err := net.Dial("unix", w.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	if _, err := silent.Read(make([]byte, 1)); err == nil || errors.Is(err, syscall.EAGAIN) {
		t.Errorf("the silent connection got %v", err)
	}
}

func TestACallUnderWayEndsWhenTheServerStops(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	w := start(t, nil)
	slow := newDoubler()
	slow.hook = func(context.Context) error { close(entered); <-leave; return nil }
	w.models.Swap("slow", load(slow, "1"))
	done := make(chan error, 1)
	go func() {
		_, err := w.agent.Predict(t.Context(), &em.PredictRequest{
			Name: "slow", Tensors: []*em.Tensor{value(nil, make([]byte, 16))},
		})
		done <- err
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- w.stop() }()
	for { // the socket goes first
		if _, err := os.Lstat(w.socket); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(leave)
	if err := <-done; err != nil {
		t.Error("the call was cut off:", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestNoCallThroughTheSocketIsLostInFlips(t *testing.T) {
	w := start(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	for range 3 {
		calls.Go(func() {
			for ctx.Err() == nil {
				_, err := w.agent.Predict(t.Context(), &em.PredictRequest{
					Name: "double", Tensors: []*em.Tensor{value(nil, make([]byte, 16))},
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 200 {
		if i%10 == 0 {
			w.models.Gap("double", t.Context())
		}
		old := w.models.Swap("double", load(newDoubler(), "8"))
		if err := old.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	calls.Wait()
}
