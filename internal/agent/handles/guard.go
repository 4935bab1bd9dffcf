package handles

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// guard is a Runner that counts the calls under way, so that Close can wait for
// them and a call can tell that it came too late, before it reaches the model.
type guard struct {
	model.Runner
	refs   atomic.Int64 // calls under way; closing is added when Close begins
	closed atomic.Bool
	idle   chan struct{} // closed when the last call ends after Close began
	rested atomic.Bool   // idle is closed

	watcher atomic.Pointer[Watcher] // nil: nobody watches

	last    atomic.Int64 // when a call last ended well, Unix nanoseconds
	calls   atomic.Int64
	failed  atomic.Int64
	elapsed atomic.Int64 // nanoseconds
}

const closing = 1 << 60

// watch puts l under a guard, unless it is under one.
func watch(l *model.Loaded) {
	if _, ok := l.Runner.(*guard); !ok {
		l.Runner = &guard{Runner: l.Runner, idle: make(chan struct{})}
	}
}

func (g *guard) acquire() bool {
	if g.refs.Add(1) < closing {
		return true
	}
	g.release()
	return false
}

func (g *guard) release() {
	if g.refs.Add(-1) == closing && g.rested.CompareAndSwap(false, true) {
		close(g.idle)
	}
}

// Predict is the model's own, counted.
func (g *guard) Predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	if !g.acquire() {
		return nil, model.ErrUnavailable
	}
	defer g.release() // also when the model panics
	start := time.Now()
	out, err := g.Runner.Predict(ctx, in)
	end := time.Now()
	g.elapsed.Add(int64(end.Sub(start)))
	g.calls.Add(1)
	if w := g.watcher.Load(); w != nil {
		(*w)(Answered{In: in, Out: out, Err: err, Took: end.Sub(start), Running: g.running()})
	}
	if err != nil {
		g.failed.Add(1)
		return nil, err
	}
	g.last.Store(end.UnixNano())
	return out, nil
}

// Close refuses new calls, waits for those under way as long as ctx lasts, and
// closes the model. A second Close does nothing.
func (g *guard) Close(ctx context.Context) error {
	if !g.closed.CompareAndSwap(false, true) {
		return nil
	}
	g.refs.Add(closing + 1) // as one more call, so that the last one signals
	g.release()
	select {
	case <-g.idle:
	case <-ctx.Done(): // the model's own Close knows what to do with the rest
	}
	return g.Runner.Close(ctx)
}

// running is how many calls are under way.
func (g *guard) running() int64 { return g.refs.Load() % closing }

func (g *guard) stats(handle string) Stats {
	return Stats{
		Handle: handle, Calls: g.calls.Load(), Failed: g.failed.Load(),
		Elapsed: time.Duration(g.elapsed.Load()), Running: g.running(),
	}
}
