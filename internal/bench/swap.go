package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/slipway-ml/slipway/internal/agent/engine"
	"github.com/slipway-ml/slipway/internal/agent/handles"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
	socket "github.com/slipway-ml/slipway/internal/agent/serve"
	"github.com/slipway-ml/slipway/models"
)

// swapHandle is what the application of the benchmark calls.
const swapHandle = "digits"

// benchSwap measures what an application on a device notices of its model being
// replaced: it predicts without pause through the agent's socket, real workers
// behind it, while the model is swapped again and again. Half of the time nothing
// is swapped: that is what the other half is held against.
func benchSwap(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "slipway-swap-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := newSwapping(dir)
	if err != nil {
		return err
	}
	defer s.engine.Close(context.WithoutCancel(ctx))
	serving, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.server.Run(serving); err != nil && serving.Err() == nil {
			fmt.Fprintln(os.Stderr, "bench: the socket:", err)
		}
	})
	defer func() { stop(); wg.Wait() }()
	if err := s.load(ctx, "v1"); err != nil {
		return err
	}
	return s.measure(ctx, o.swaps)
}

// swapping is an agent as far as swaps go.
type swapping struct {
	dir    string
	engine *engine.Engine
	table  *handles.Table
	server *socket.Server
}

func newSwapping(dir string) (*swapping, error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	for _, v := range []string{"v1", "v2"} {
		if err := writeModel(filepath.Join(dir, v), models.Model(v)); err != nil {
			return nil, err
		}
	}
	program, err := filepath.Abs("bin/slipway-onnx")
	if err != nil {
		return nil, err
	}
	c := engine.Default()
	c.RunDir, c.Program, c.Log = filepath.Join(dir, "run"), program, log
	s := &swapping{dir: dir, table: handles.New(handles.Options{})}
	if s.engine, err = engine.New(c); err != nil {
		return nil, err
	}
	s.server, err = socket.New(
		socket.Default(filepath.Join(dir, "agent.sock")), socket.Parts{Models: s.table, Log: log},
	)
	return s, err
}

// load starts a version beside what serves, flips to it, and ends the other.
func (s *swapping) load(ctx context.Context, version string) error {
	p := model.Package{
		Dir: filepath.Join(s.dir, version), ModelName: swapHandle, ModelVersion: version, Runtime: "onnx",
	}
	r, err := s.engine.Load(ctx, p)
	if err != nil {
		return err
	}
	l := &model.Loaded{Runner: r, Info: model.Info{
		Handle: swapHandle, ModelName: swapHandle, ModelVersion: version, Signature: r.Signature(),
		LoadedAt: time.Now(),
	}}
	if old := s.table.Swap(swapHandle, l); old != nil {
		return old.Close(ctx)
	}
	return nil
}

// swapCounts are the latencies of predictions by what went on meanwhile.
type swapCounts struct {
	mu             sync.Mutex
	swapping       bool
	steady, during []time.Duration
	failed         int
	first          error
}

func (c *swapCounts) set(swapping bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.swapping = swapping
}

// add counts a call by what went on when it began: one that began in quiet and
// ended in a swap belongs to the swap.
func (c *swapCounts) add(began bool, took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		c.failed++
		if c.first == nil {
			c.first = err
		}
	case began || c.swapping:
		c.during = append(c.during, took)
	default:
		c.steady = append(c.steady, took)
	}
}

func (c *swapCounts) now() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.swapping
}

func (s *swapping) measure(ctx context.Context, swaps int) error {
	conn, err := grpc.NewClient(
		"unix:"+filepath.Join(s.dir, "agent.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()),
	)
	if err != nil {
		return err
	}
	defer conn.Close()
	var c swapCounts
	predicting, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { predictOn(predicting, edgemanager.NewAgentClient(conn), &c) })
	var took []time.Duration
	for i := range swaps {
		began := time.Now()
		c.set(true)
		if err := s.load(ctx, []string{"v2", "v1"}[i%2]); err != nil {
			return err
		}
		c.set(false)
		last := time.Since(began)
		took = append(took, last)
		select { // as long in quiet
		case <-time.After(last):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	stop()
	wg.Wait()
	return c.report(took)
}

// predictOn predicts without pause until ctx ends.
func predictOn(ctx context.Context, client edgemanager.AgentClient, c *swapCounts) {
	images, _ := models.TestSet()
	raw := make([]byte, 0, 4*len(images[0]))
	for _, p := range images[0] {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(p))
	}
	req := &edgemanager.PredictRequest{Name: swapHandle, Tensors: []*edgemanager.Tensor{{
		TensorMetadata: &edgemanager.TensorMetadata{
			Name: []byte("image"), DataType: edgemanager.DataType_FLOAT32, Shape: []int32{1, 64},
		},
		Data: &edgemanager.Tensor_ByteData{ByteData: raw},
	}}}
	for ctx.Err() == nil {
		swapping, began := c.now(), time.Now()
		_, err := client.Predict(context.WithoutCancel(ctx), req)
		c.add(swapping, time.Since(began), err)
	}
}

func (c *swapCounts) report(took []time.Duration) error {
	p := func(d []time.Duration, q float64) time.Duration {
		slices.Sort(d)
		return d[min(len(d)-1, int(float64(len(d))*q))].Round(time.Microsecond)
	}
	if len(c.steady) == 0 || len(c.during) == 0 || len(took) == 0 {
		return errors.New("too few predictions to compare")
	}
	steady, during := p(c.steady, 0.99), p(c.during, 0.99)
	fmt.Printf(
		"swap: %d swaps, %v each (median); %d predictions in quiet, %d during swaps, %d failed (promised: 0)\n",
		len(took), p(took, 0.5), len(c.steady), len(c.during), c.failed,
	)
	fmt.Printf("swap: in quiet p50 %v, p99 %v; during a swap p50 %v, p99 %v: %.2f of quiet (aim: 1.10), slowest %v\n",
		p(c.steady, 0.5), steady, p(c.during, 0.5), during, float64(during)/float64(steady), p(c.during, 1))
	if c.failed > 0 {
		return fmt.Errorf("%d predictions failed: %w", c.failed, c.first)
	}
	return nil
}

// writeModel makes dir the directory of a model.
func writeModel(dir string, model []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "model.onnx"), model, 0o600)
}
