package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/engine"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/provider/testmodel/build"
)

const attributes = "X-Amzn-SageMaker-Custom-Attributes"

// echo makes testmodel the engine for the runtime "opaque": it answers each
// array with itself, and otherwise does as ask and env say. Its model has no
// shape, so that there is no warm-up.
func echo(t *testing.T, c *engine.Config, ask string, env map[string]string) model.Package {
	t.Helper()
	c.Command = map[string]engine.Command{"opaque": {
		Args: []string{build.Testmodel(t)}, Format: engine.NPY, Env: env,
		Header: map[string]string{attributes: "echo=1" + ask},
	}}
	sig := tensor.Signature{
		Inputs:  []tensor.Spec{{Name: "x", Type: tensor.Float32}},
		Outputs: []tensor.Spec{{Name: "y", Type: tensor.Float32}},
	}
	return model.Package{Dir: t.TempDir(), ModelName: "echo", Runtime: "opaque", Signature: sig}
}

func x() []tensor.Tensor { return []tensor.Tensor{floats("x", []int64{1, 3}, 1, 2, 3)} }

// echoes makes a call and checks its answer.
func echoes(t *testing.T, w *engine.Worker) {
	t.Helper()
	outs, err := w.Predict(t.Context(), x())
	if err != nil || len(outs) != 1 || outs[0].Name != "y" || !bytes.Equal(outs[0].Data, x()[0].Data) {
		t.Errorf("got %+v, %v", outs, err)
	}
}

func TestAnyProgramUnderTheContainerContractIsAnEngine(t *testing.T) {
	c := config(t)
	e := engine.Command{Args: []string{c.Program, "--lib", c.Library, "--log-level", "warn"}}
	c.Command = map[string]engine.Command{}
	for _, f := range []engine.Format{engine.OIPJSON, engine.OIPBinary, engine.CSV, engine.NPY} {
		with := e
		with.Format = f
		c.Command[string(f)] = with
	}
	with := e
	with.Args = append(with.Args, "--model-dir", "{model_dir}", "--listen", "unix:{socket}")
	c.Command["on a socket"] = with
	en := open(t, c)
	inputs, _ := images()
	reference, err := load(t, en, digits(t, "v2")).Predict(t.Context(), inputs[0])
	if err != nil {
		t.Fatal(err)
	}
	for runtime := range c.Command {
		p := digits(t, "v2")
		p.Runtime = runtime
		if runtime == string(engine.NPY) || runtime == string(engine.CSV) {
			continue // carry one output: below
		}
		outs, err := load(t, en, p).Predict(t.Context(), inputs[0])
		if err != nil || len(outs) != 2 || !bytes.Equal(outs[1].Data, reference[1].Data) {
			t.Errorf("%s: %+v, %v", runtime, outs, err)
		}
	}
	square := double(t)
	for _, runtime := range []string{"npy", "csv"} {
		square.Runtime = runtime
		outs, err := load(t, en, square).Predict(t.Context(), []tensor.Tensor{floats("x", []int64{2, 2}, 1, 2, 3, 4.5)})
		if want := floats("y", []int64{2, 2}, 2, 4, 6, 9); err != nil || len(outs) != 1 ||
			!bytes.Equal(outs[0].Data, want.Data) || outs[0].Name != "y" {
			t.Errorf("%s: %+v, %v", runtime, outs, err)
		}
	}
	two := digits(t, "v2")
	two.Runtime = "npy"
	if _, err := en.Load(t.Context(), two); !errors.Is(err, model.ErrUnsupported) {
		t.Errorf("an array for a model that the manifest does not describe: %v", err)
	}
}

func TestACallThatEndsItsWorkerIsMadeOnceMore(t *testing.T) {
	c := bare(t)
	p := echo(t, &c, "", map[string]string{"TESTMODEL_CRASH_AFTER": "2"})
	e := open(t, c)
	w := load(t, e, p)
	for range 6 {
		echoes(t, w)
	}
	if s := e.Stats(); s.Restarts != 2 {
		t.Errorf("counted %+v", s)
	}
}

func TestAnInputThatEndsEveryWorkerFailsAndIsNotTriedForEver(t *testing.T) {
	c := bare(t)
	p := echo(t, &c, "", map[string]string{"TESTMODEL_CRASH_AFTER": "0"})
	e := open(t, c)
	w := load(t, e, p)
	_, err := w.Predict(t.Context(), x())
	if !errors.Is(err, model.ErrFailed) ||
		!strings.Contains(err.Error(), "twice; at last it was exit status 3: testmodel: crashing as told") {
		t.Errorf("got %v", err)
	}
	eventually(t, "the worker is back", func() bool { return w.PID() != 0 })
	if s := e.Stats(); s.Restarts > 3 {
		t.Errorf("counted %+v", s)
	}
}

func TestAWorkerThatHangsIsReplaced(t *testing.T) {
	c := bare(t)
	c.CallTimeout = 200 * time.Millisecond
	p := echo(t, &c, ",sleep_ms=60000", nil)
	e := open(t, c)
	w := load(t, e, p)
	pid := w.PID()
	if _, err := w.Predict(t.Context(), x()); !errors.Is(err, model.ErrFailed) ||
		!strings.Contains(err.Error(), "no answer in 200ms") {
		t.Errorf("a call: %v", err)
	}
	eventually(t, "another worker", func() bool { now := w.PID(); return now != 0 && now != pid })

	// It is found out though the caller is the first to lose patience.
	pid = w.PID()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := w.Predict(ctx, x()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an impatient call: %v", err)
	}
	if w.PID() != pid {
		t.Error("the worker was ended though it had time")
	}
	eventually(t, "another worker", func() bool { now := w.PID(); return now != 0 && now != pid })
	if s := e.Stats(); s.Restarts != 2 {
		t.Errorf("counted %+v", s)
	}
}

func TestAnIdleWorkerThatIsNotWellIsReplaced(t *testing.T) {
	c := bare(t)
	c.HealthEvery = 20 * time.Millisecond
	p := echo(t, &c, "", map[string]string{"TESTMODEL_PING_FAIL_AFTER": "3"})
	w := load(t, open(t, c), p)
	pid := w.PID()
	eventually(t, "another worker", func() bool { now := w.PID(); return now != 0 && now != pid })
	echoes(t, w)
}

func TestOnlySoManyCallsWait(t *testing.T) {
	c := bare(t)
	c.InFlight, c.Queue = 1, 2
	p := echo(t, &c, ",sleep_ms=100", nil)
	w := load(t, open(t, c), p)
	var wg sync.WaitGroup
	results := make(chan error, 6)
	for range 6 {
		wg.Go(func() {
			_, err := w.Predict(t.Context(), x())
			results <- err
		})
	}
	wg.Wait()
	good, busy := 0, 0
	for range 6 {
		switch err := <-results; {
		case err == nil:
			good++
		case errors.Is(err, model.ErrBusy):
			busy++
		default:
			t.Error(err)
		}
	}
	if good != 3 || busy != 3 {
		t.Errorf("%d were answered and %d refused", good, busy)
	}
}

func TestClosingWaitsForCallsAndThenInsists(t *testing.T) {
	c := bare(t)
	c.Grace = 50 * time.Millisecond
	p := echo(t, &c, ",sleep_ms=300", map[string]string{"TESTMODEL_IGNORE_SIGTERM": "1"})
	e := open(t, c)
	for patience, cut := range map[time.Duration]bool{10 * time.Second: false, 20 * time.Millisecond: true} {
		w := load(t, e, p)
		begun := make(chan struct{})
		result := make(chan error, 1)
		go func() {
			close(begun)
			_, err := w.Predict(t.Context(), x())
			result <- err
		}()
		<-begun
		pid := w.PID()
		eventually(t, "the call is under way", func() bool { return connected(t, pid) })
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := w.Close(ctx)
		cancel()
		if got := <-result; (got != nil) != cut || (err != nil) != cut {
			t.Errorf("closed within %s: %v; the call: %v", patience, err, got)
		}
		if alive(pid) {
			t.Error("the worker is still there")
		}
	}
}

func TestAnEngineThatIsNotReadyInTimeSaysWhatItSaid(t *testing.T) {
	c := bare(t)
	c.StartTimeout = 150 * time.Millisecond
	p := echo(t, &c, "", map[string]string{"TESTMODEL_LOAD_MS": "60000"})
	if _, err := open(t, c).Load(t.Context(), p); err == nil || !strings.Contains(err.Error(), "/ping answers 503") {
		t.Errorf("got %v", err)
	}
}

func TestAnAnswerThatIsNoneIsAFailure(t *testing.T) {
	for ask, want := range map[string]error{
		",status=500": model.ErrFailed, ",status=503": model.ErrBusy, ",status=302": model.ErrFailed,
		",bytes=9,echo=0": model.ErrFailed, ",bytes=5000000,echo=0": model.ErrFailed,
	} {
		c := bare(t)
		c.MaxBody = 1 << 20
		p := echo(t, &c, ask, nil)
		if _, err := load(t, open(t, c), p).Predict(t.Context(), x()); !errors.Is(err, want) {
			t.Errorf("%s: %v", ask, err)
		}
	}
}

func TestAnAnswerInChunksIsRead(t *testing.T) {
	c := bare(t)
	p := echo(t, &c, ",echo=0,chunks=3", nil)
	w := load(t, open(t, c), p)
	for range 2 { // the second one on the same connection
		if _, err := w.Predict(t.Context(), x()); !errors.Is(err, model.ErrFailed) ||
			!strings.Contains(fmt.Sprint(err), "can't be read") {
			t.Errorf("got %v", err)
		}
	}
}
