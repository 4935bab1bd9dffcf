package artifact

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// transfer is one download that any number of callers wait for. Unlike with
// x/sync/singleflight it does not end with the caller that began it, only when
// nobody is left who waits.
type transfer struct {
	ref     ref
	ctx     context.Context
	cancel  context.CancelFunc
	waiting int // guarded by Cache.mu

	done  chan struct{} // closed when the rest is set
	model Model
	err   error
}

// join waits along with the transfer of r, or makes one that the caller has to
// start.
func (c *Cache) join(r ref) (t *transfer, first bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false, fault.New(fault.Unavailable, "the model cache is closed")
	}
	if t = c.transfers[r]; t != nil {
		t.waiting++
		return t, false, nil
	}
	t = &transfer{ref: r, waiting: 1, done: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancel(c.end)
	c.transfers[r] = t
	c.running.Add(1)
	return t, true, nil
}

// start downloads in a goroutine that Close waits for. It keeps the values of
// the first caller's context, not its end.
func (c *Cache) start(ctx context.Context, t *transfer, download func(context.Context) (Model, error)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	unlink := context.AfterFunc(t.ctx, cancel)
	go func() {
		defer c.running.Done()
		defer t.cancel()
		defer unlink()
		defer cancel()
		t.model, t.err = download(ctx)
		c.mu.Lock()
		delete(c.transfers, t.ref)
		c.mu.Unlock()
		close(t.done)
	}()
}

// wait returns what the transfer brought. again says that it was cancelled
// because all its earlier callers had left: this one deserves one of its own.
func (c *Cache) wait(ctx context.Context, t *transfer) (m Model, again bool, err error) {
	select {
	case <-t.done:
		orphaned := errors.Is(t.err, context.Canceled) && c.end.Err() == nil && ctx.Err() == nil
		return t.model, orphaned, t.err
	case <-ctx.Done():
		c.mu.Lock()
		t.waiting--
		if t.waiting == 0 {
			t.cancel()
		}
		c.mu.Unlock()
		return Model{}, false, fmt.Errorf("fetch model data from bucket %s: %w", t.ref.Bucket, ctx.Err())
	}
}
