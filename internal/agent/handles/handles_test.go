package handles

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// runner answers with its name, and says when it is used after it was closed.
type runner struct {
	name   string
	gate   chan struct{} // when not nil, a call waits for it
	panics bool
	busy   atomic.Int64
	closed atomic.Int64
	misuse atomic.Int64
}

func (r *runner) Signature() tensor.Signature { return tensor.Signature{} }

func (r *runner) Predict(context.Context, []tensor.Tensor) ([]tensor.Tensor, error) {
	r.busy.Add(1)
	defer r.busy.Add(-1)
	if r.closed.Load() > 0 {
		r.misuse.Add(1)
	}
	if r.panics {
		panic("a broken model")
	}
	if r.gate != nil {
		<-r.gate
	}
	return []tensor.Tensor{{Name: r.name}}, nil
}

func (r *runner) Close(context.Context) error {
	if r.busy.Load() > 0 {
		r.misuse.Add(1)
	}
	r.closed.Add(1)
	return nil
}

func loaded(r *runner) *model.Loaded {
	return &model.Loaded{Info: model.Info{ModelName: r.name}, Runner: r}
}

func answer(t *testing.T, tab *Table, handle string) string {
	t.Helper()
	out, err := tab.Predict(t.Context(), handle, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out[0].Name
}

func TestAFlipReturnsTheOldModelAndItsCloseWaitsForTheCallsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab := New(Options{})
		slow := &runner{name: "old", gate: make(chan struct{})}
		first := loaded(slow)
		if old := tab.Swap("m", first); old != nil {
			t.Fatalf("there was %v before", old)
		}
		answered := make(chan string, 1)
		go func() { answered <- answer(t, tab, "m") }()
		synctest.Wait() // the call is in the model

		if old := tab.Swap("m", loaded(&runner{name: "new"})); old != first {
			t.Fatalf("the flip returned %v", old)
		}
		if got := answer(t, tab, "m"); got != "new" {
			t.Fatalf("after the flip %q answered", got)
		}
		done := make(chan error, 1)
		go func() { done <- first.Close(t.Context()) }()
		synctest.Wait()
		if slow.closed.Load() != 0 {
			t.Fatal("the old model was closed under a call")
		}
		close(slow.gate)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := <-answered; got != "old" {
			t.Errorf("the call under way was answered by %q", got)
		}
		if err := first.Close(t.Context()); err != nil || slow.closed.Load() != 1 || slow.misuse.Load() != 0 {
			t.Errorf("closed %d times, %v, misused %d times", slow.closed.Load(), err, slow.misuse.Load())
		}
		if _, err := first.Predict(t.Context(), nil); !errors.Is(err, model.ErrUnavailable) {
			t.Errorf("a closed model answered %v", err)
		}
	})
}

func TestACloseThatMayNotWaitLongerLeavesTheCallsToTheModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab := New(Options{})
		slow := &runner{name: "old", gate: make(chan struct{})}
		l := loaded(slow)
		tab.Swap("m", l)
		go func() { _, _ = tab.Predict(t.Context(), "m", nil) }()
		synctest.Wait()
		tab.Swap("m", nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := l.Close(ctx); err != nil || time.Since(start) != time.Second || slow.closed.Load() != 1 {
			t.Errorf("after %v: %v, closed %d times", time.Since(start), err, slow.closed.Load())
		}
		close(slow.gate)
	})
}

func TestAModelThatWasReplacedMayComeBack(t *testing.T) {
	tab := New(Options{})
	a, b := loaded(&runner{name: "a"}), loaded(&runner{name: "b"})
	tab.Swap("m", a)
	answer(t, tab, "m")
	if old := tab.Swap("m", b); old != a {
		t.Fatal("the first model was not returned")
	}
	if old := tab.Swap("m", a); old != b {
		t.Fatal("the second model was not returned")
	}
	if got := answer(t, tab, "m"); got != "a" {
		t.Errorf("%q answered", got)
	}
	if s := tab.Stats(); len(s) != 1 || s[0].Calls != 2 || s[0].Running != 0 || s[0].Failed != 0 {
		t.Errorf("counted %+v", s)
	}
	if old := tab.Swap("m", a); old != nil {
		t.Error("a model in use was handed out for closing")
	}
}

func TestSeveralHandlesFlipTogether(t *testing.T) {
	tab := New(Options{})
	flip := func(name string) {
		tab.SwapAll(map[string]*model.Loaded{"a": loaded(&runner{name: name}), "b": loaded(&runner{name: name})})
	}
	flip("0")
	var stop atomic.Bool
	var flips sync.WaitGroup
	flips.Go(func() {
		for i := 1; !stop.Load(); i++ {
			flip(fmt.Sprint(i))
		}
	})
	for range 2000 {
		if l := tab.List(); len(l) != 2 || l[0].ModelName != l[1].ModelName {
			t.Errorf("seen at one time: %v", l)
			break
		}
	}
	stop.Store(true)
	flips.Wait()
}

func TestCallsWaitInADeclaredGapForTheNextModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab := New(Options{})
		old := loaded(&runner{name: "old"})
		tab.Swap("m", old)
		tab.Gap("m", t.Context())
		if err := old.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := make(chan string, 3)
		for range 3 {
			go func() { got <- answer(t, tab, "m") }()
		}
		synctest.Wait()
		if _, err := tab.Info("m"); !errors.Is(err, model.ErrUnavailable) || len(tab.List()) != 0 {
			t.Errorf("in the gap the model is described as %v", err)
		}
		time.Sleep(9 * time.Second)
		if back := tab.Swap("m", loaded(&runner{name: "new"})); back != old {
			t.Errorf("the flip after the gap returned %v", back)
		}
		for range 3 {
			if s := <-got; s != "new" {
				t.Errorf("%q answered", s)
			}
		}
	})
}

func TestAWaitInAGapEnds(t *testing.T) {
	for name, c := range map[string]struct {
		until, caller time.Duration
		waiting       int
		err           error
		after         time.Duration
	}{
		"after ten seconds":                {time.Hour, time.Hour, 2, model.ErrUnavailable, 10 * time.Second},
		"when the gap is given up":         {time.Second, time.Hour, 2, model.ErrUnavailable, time.Second},
		"when the caller gives up":         {time.Hour, 2 * time.Second, 2, context.DeadlineExceeded, 2 * time.Second},
		"at once when too many are inside": {time.Hour, time.Hour, 1, model.ErrBusy, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tab := New(Options{MaxWaiting: c.waiting})
				until, cancel := context.WithTimeout(t.Context(), c.until)
				defer cancel()
				ctx, cancel2 := context.WithTimeout(t.Context(), c.caller)
				defer cancel2()
				tab.Gap("m", until)
				go func() { _, _ = tab.Predict(t.Context(), "m", nil) }()
				synctest.Wait()
				start := time.Now()
				_, err := tab.Predict(ctx, "m", nil)
				if !errors.Is(err, c.err) || time.Since(start) != c.after {
					t.Errorf("after %v: %v", time.Since(start), err)
				}
				tab.Swap("m", nil)
			})
		})
	}
}

func TestAHandleWithoutAModelIsNotFound(t *testing.T) {
	tab := New(Options{})
	_, err := tab.Predict(t.Context(), "m", nil)
	if !errors.Is(err, model.ErrNotLoaded) || !errors.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
	if !tab.Add("m", loaded(&runner{name: "a"})) || tab.Add("m", loaded(&runner{name: "b"})) {
		t.Error("a name was given twice, or never")
	}
	if got := answer(t, tab, "m"); got != "a" {
		t.Errorf("%q answered", got)
	}
	if tab.Swap("m", nil) == nil || len(tab.List()) != 0 {
		t.Error("the model was not removed")
	}
}

func TestAModelThatPanicsCountsAsNoCallUnderWay(t *testing.T) {
	tab := New(Options{})
	l := loaded(&runner{name: "a", panics: true})
	tab.Swap("m", l)
	func() {
		defer func() { _ = recover() }()
		_, _ = tab.Predict(t.Context(), "m", nil)
	}()
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// No call may fail or reach a closed model, however often it flips.
func TestNoCallIsLostInAThousandFlips(t *testing.T) {
	tab := New(Options{})
	tab.Swap("m", loaded(&runner{name: "0"}))
	var stop atomic.Bool
	var callers sync.WaitGroup
	var calls atomic.Int64
	for range 4 {
		callers.Go(func() {
			for !stop.Load() {
				if _, err := tab.Predict(t.Context(), "m", nil); err != nil {
					t.Error(err)
					return
				}
				calls.Add(1)
				runtime.Gosched() // let the flips have their turn
			}
		})
	}
	var all []*runner
	for i := range 1000 {
		r := &runner{name: fmt.Sprint(i + 1)}
		all = append(all, r)
		next := loaded(r)
		var old *model.Loaded
		if i%10 == 0 { // by way of a gap
			tab.Gap("m", t.Context())
			old = tab.Swap("m", next)
		} else {
			old = tab.Swap("m", next)
		}
		if err := old.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	callers.Wait()
	for _, r := range all {
		if r.misuse.Load() > 0 {
			t.Fatalf("the model %s was used after it was closed, or closed in use", r.name)
		}
	}
	t.Logf("%d calls over 1000 flips", calls.Load())
}

func TestACallOverTheTableAllocatesNothing(t *testing.T) {
	tab := New(Options{})
	tab.Swap("m", &model.Loaded{Runner: still{}})
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { _, _ = tab.Predict(ctx, "m", nil) }); n > 0 {
		t.Errorf("%v allocations a call", n)
	}
}

type still struct{ model.Runner }

func (still) Predict(context.Context, []tensor.Tensor) ([]tensor.Tensor, error) { return nil, nil }

func BenchmarkPredictThroughTheTable(b *testing.B) {
	tab := New(Options{})
	tab.Swap("m", &model.Loaded{Runner: still{}})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, _ = tab.Predict(b.Context(), "m", nil)
		}
	})
}

func TestAWatcherKnowsWhenAnotherModelServes(t *testing.T) {
	table := New(Options{})
	add := func() *model.Loaded {
		l := &model.Loaded{Runner: &runner{}, Info: model.Info{ModelVersion: "1.0"}}
		table.Swap("m", l)
		return l
	}
	if _, err := table.Watch("m", nil); !errors.Is(err, model.ErrNotLoaded) {
		t.Errorf("nothing is watched: %v", err)
	}
	l := add()
	w, err := table.Watch("m", func(Answered) {})
	if err != nil || !w.On() || w.Info.ModelVersion != "1.0" {
		t.Fatalf("%+v, %v", w, err)
	}
	_ = l.Runner.Close(t.Context())
	if w.On() {
		t.Error("a model that is closed serves")
	}
	add()
	if w.On() {
		t.Error("the model before is taken for that of the same version after it")
	}
	w.Stop()
}
