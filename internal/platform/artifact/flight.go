package artifact

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// flight is one download that any number of callers wait for. Unlike with
// x/sync/singleflight it does not end with the caller that began it, only when
// nobody is left who waits.
type flight struct {
	ref    ref
	ctx    context.Context
	cancel context.CancelFunc
	riders int // guarded by Cache.mu

	done  chan struct{} // closed when the rest is set
	model Model
	err   error
}

// board joins the flight to r, or makes one that the caller has to let fly.
func (c *Cache) board(r ref) (f *flight, first bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false, fault.New(fault.Unavailable, "the model cache is closed")
	}
	if f = c.inAir[r]; f != nil {
		f.riders++
		return f, false, nil
	}
	f = &flight{ref: r, riders: 1, done: make(chan struct{})}
	f.ctx, f.cancel = context.WithCancel(c.end)
	c.inAir[r] = f
	c.flights.Add(1)
	return f, true, nil
}

// fly downloads in a goroutine that Close waits for. It keeps the values of
// the first caller's context, not its end.
func (c *Cache) fly(ctx context.Context, f *flight, download func(context.Context) (Model, error)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	unlink := context.AfterFunc(f.ctx, cancel)
	go func() {
		defer c.flights.Done()
		defer f.cancel()
		defer unlink()
		defer cancel()
		f.model, f.err = download(ctx)
		c.mu.Lock()
		delete(c.inAir, f.ref)
		c.mu.Unlock()
		close(f.done)
	}()
}

// ride waits for the flight. again says that it was cancelled because all its
// earlier riders had left: the caller deserves one of its own.
func (c *Cache) ride(ctx context.Context, f *flight) (m Model, again bool, err error) {
	select {
	case <-f.done:
		orphaned := errors.Is(f.err, context.Canceled) && c.end.Err() == nil && ctx.Err() == nil
		return f.model, orphaned, f.err
	case <-ctx.Done():
		c.mu.Lock()
		f.riders--
		if f.riders == 0 {
			f.cancel()
		}
		c.mu.Unlock()
		return Model{}, false, fmt.Errorf("fetch model data from bucket %s: %w", f.ref.Bucket, ctx.Err())
	}
}
