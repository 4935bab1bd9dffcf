package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/slipway-ml/slipway/internal/openload"
	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

// batchCallers is how many callers ask a model at a time, one row each.
const batchCallers = 32

// benchBatching measures what running rows of different requests together brings to
// a model that may: two processes that serve it, one with batching and one without,
// in turns. It refuses to say anything if the first does not batch.
func benchBatching(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "slipway-batching-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := writeModel(dir, wideModel().Marshal()); err != nil {
		return err
	}
	// The answers of products this large differ by rounding with the number of rows.
	declared := []byte(`{"rows": "tolerant"}`)
	if err := os.WriteFile(filepath.Join(dir, "batching.json"), declared, 0o600); err != nil {
		return err
	}
	var servers []*modelProcess // without and with
	for i, rows := range []string{"1", "16"} {
		s, err := startModel(ctx, dir, filepath.Join(dir, fmt.Sprintf("%d.sock", i)), rows)
		if err != nil {
			return err
		}
		defer s.stop()
		switch batches, why, err := s.batches(ctx); {
		case err != nil:
			return err
		case batches != (i == 1):
			return fmt.Errorf("with --max-batch %s, batching is %v: %s", rows, batches, why)
		}
		servers = append(servers, s)
	}
	got := [2][]batchFigure{}
	for range o.rounds {
		for i, s := range servers {
			f, err := s.asked(ctx, o.length)
			if err != nil {
				return err
			}
			got[i] = append(got[i], f)
		}
	}
	rate := func(f batchFigure) float64 { return f.rate }
	p99 := func(f batchFigure) float64 { return f.p99.Seconds() }
	spent := func(f batchFigure) float64 { return f.spent }
	fmt.Printf("%d callers of one row, 17 MB of weights, %d rounds of %v: %.0f requests/s without, %.0f with\n",
		batchCallers, o.rounds, o.length, median(got[0], rate), median(got[1], rate))
	fmt.Printf("with batching, of that without: throughput %s, p99 %s, processor time of a request %s\n",
		ratio(got[1], got[0], rate), ratio(got[1], got[0], p99), ratio(got[1], got[0], spent))
	return nil
}

// batchFigure is one measurement.
type batchFigure struct {
	rate  float64 // answers a second
	p99   time.Duration
	spent float64 // seconds of the server's processor time for a request
}

// modelProcess is a slipway-onnx that listens on a socket.
type modelProcess struct {
	process
	client *http.Client
}

// startModel starts one for the model in dir, and waits until it serves.
func startModel(ctx context.Context, dir, socket, rows string) (*modelProcess, error) {
	program, err := filepath.Abs("bin/slipway-onnx")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "--model-dir", dir, "--listen", "unix:"+socket, "--max-batch", rows,
		"--log-level", "warn")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &modelProcess{process{cmd, socket}, &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		MaxIdleConnsPerHost: batchCallers,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; {
		if _, err = s.call(ctx, http.MethodGet, "/ping", ""); err == nil {
			return s, nil
		}
		time.Sleep(20 * time.Millisecond) // it loads
	}
	s.stop()
	return nil, errors.Join(err, ctx.Err())
}

// call returns what is answered with status 200; anything else is an error.
func (s *modelProcess) call(ctx context.Context, method, path, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://model"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "text/csv")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %.200s", path, resp.StatusCode, answer)
	}
	return answer, err
}

// batches says whether rows of different requests run together, and why.
func (s *modelProcess) batches(ctx context.Context) (allowed bool, why string, err error) {
	answer, err := s.call(ctx, http.MethodGet, "/v2/models/model", "")
	if err != nil {
		return false, "", err
	}
	var says struct {
		Parameters struct {
			Batching bool   `json:"batching"`
			Reason   string `json:"batching_reason"`
		} `json:"parameters"`
	}
	err = json.NewDecoder(bytes.NewReader(answer)).Decode(&says)
	return says.Parameters.Batching, says.Parameters.Reason, err
}

// asked has the callers ask without pause for so long.
func (s *modelProcess) asked(ctx context.Context, length time.Duration) (batchFigure, error) {
	body := strings.Repeat("0.5,", 63) + "0.5"
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		took   openload.Histogram
		failed error
	)
	began, before := time.Now(), cpu(s.cmd.Process.Pid)
	for range batchCallers {
		wg.Go(func() {
			for time.Since(began) < length {
				from := time.Now()
				_, err := s.call(ctx, http.MethodPost, "/invocations", body)
				mu.Lock()
				took.Add(time.Since(from))
				failed = errors.Join(failed, err)
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	n := float64(took.Len())
	return batchFigure{
		rate: n / time.Since(began).Seconds(), p99: took.Quantile(0.99),
		spent: (cpu(s.cmd.Process.Pid) - before).Seconds() / n,
	}, failed
}

// wideModel is 64 → 2048 → 2048 → 10 units, bound by reading its weights for each run.
func wideModel() *ox.Graph {
	const units = 2048
	weights := func(name string, rows, columns int64) ox.Tensor {
		data := make([]float32, rows*columns)
		for i := range data {
			data[i] = float32(i%7-3) / 100
		}
		return ox.Tensor{Name: name, Dims: []int64{rows, columns}, Data: data}
	}
	node := func(op, out string, in ...string) ox.Node {
		return ox.Node{Op: op, Inputs: in, Outputs: []string{out}}
	}
	return &ox.Graph{
		Name:    "wide",
		Inputs:  []ox.Value{{Name: "x", Type: ox.Float, Dims: []any{"n", 64}}},
		Outputs: []ox.Value{{Name: "y", Type: ox.Float, Dims: []any{"n", 10}}},
		Weights: []ox.Tensor{weights("w1", 64, units), weights("w2", units, units), weights("w3", units, 10)},
		Nodes: []ox.Node{
			node("MatMul", "a", "x", "w1"), node("Relu", "b", "a"), node("MatMul", "c", "b", "w2"),
			node("MatMul", "y", "c", "w3"),
		},
	}
}
