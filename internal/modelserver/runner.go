package modelserver

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// runner decides when a request's inputs meet the model. A request that finds
// a free turn runs at once, in its own goroutine. The others wait, and when
// one of them gets a turn it runs those that wait with it in one batch, if
// that pays: if runs are long enough that what a batch saves outweighs what it
// costs. So batches form by themselves where the model is the bottleneck, and
// nobody ever waits for a batch to fill.
type runner struct {
	model Model
	turns chan struct{}
	rows  int           // of a batch, at most; 1 if there are none
	from  time.Duration // a shorter run per row is not worth a batch

	cost  atomic.Int64 // nanoseconds that a row takes alone, lately
	alone atomic.Bool  // the model was seen to mix rows: no more batches

	mu      sync.Mutex
	waiting []*job // in order of arrival; as many as the server admits
}

// job is a request that waits.
type job struct {
	in   []tensor.Tensor
	outs []tensor.Tensor
	err  error
	done chan struct{} // closed when outs or err is there
}

// newRunner runs at most rows of different requests together.
func newRunner(m Model, rows int, o Options) *runner {
	return &runner{model: m, turns: make(chan struct{}, o.Concurrency), rows: max(rows, 1), from: o.BatchFrom}
}

// run waits for a turn, until ctx ends, and runs the model on in.
func (r *runner) run(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	select {
	case r.turns <- struct{}{}:
		defer r.release()
		return r.timed(in)
	default:
	}
	if r.batches() {
		return r.queue(ctx, in)
	}
	select {
	case r.turns <- struct{}{}:
		defer r.release()
		return r.timed(in)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *runner) release() { <-r.turns }

// batches tells whether to run requests together that have to wait anyway.
func (r *runner) batches() bool {
	return r.rows > 1 && time.Duration(r.cost.Load()) >= r.from && !r.alone.Load()
}

// timed runs in by itself and notes how long a row took.
func (r *runner) timed(in []tensor.Tensor) ([]tensor.Tensor, error) {
	if r.rows == 1 {
		return safely(r.model, in)
	}
	start := time.Now()
	outs, err := safely(r.model, in)
	now, was := int64(time.Since(start))/max(in[0].Shape[0], 1), r.cost.Load()
	if now > was && was > 0 {
		// Whoever is scheduled out looks slow for once: rise slowly.
		now = was + (min(now, 2*was)-was)/8
	}
	r.cost.Store(now) // a lost update is no harm
	return outs, err
}

// queue waits for a turn or for somebody else's turn to take in along.
func (r *runner) queue(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	j := &job{in: in, done: make(chan struct{})}
	r.mu.Lock()
	r.waiting = append(r.waiting, j)
	r.mu.Unlock()
	select {
	case <-j.done:
	case r.turns <- struct{}{}:
		// Those before j in the queue come first, in the same turn.
		for batch := r.nextBatch(j); batch != nil; batch = r.nextBatch(j) {
			r.finish(batch)
		}
		r.release()
		<-j.done // another turn may have taken it
	case <-ctx.Done():
		if r.withdraw(j) {
			return nil, ctx.Err()
		}
		<-j.done // it runs already, and reads in
	}
	return j.outs, j.err
}

// nextBatch removes the next batch from the queue, or returns nil when j is no
// longer in it.
func (r *runner) nextBatch(j *job) []*job {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.waiting, j) {
		return nil
	}
	n := 1
	if !r.alone.Load() {
		n = mergeable(r.waiting, r.rows)
	}
	batch := slices.Clone(r.waiting[:n])
	r.waiting = slices.Delete(r.waiting, 0, n)
	return batch
}

// withdraw removes j from the queue; false if it is being run.
func (r *runner) withdraw(j *job) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.waiting, j)
	if i < 0 {
		return false
	}
	r.waiting = slices.Delete(r.waiting, i, i+1)
	return true
}

// finish runs the batch and gives every job its result. If the model fails on
// the rows together, each job runs by itself: one caller's bad row must not
// fail another's request.
func (r *runner) finish(batch []*job) {
	if len(batch) > 1 && r.together(batch) {
		return
	}
	for _, j := range batch {
		j.outs, j.err = r.timed(j.in)
		close(j.done)
	}
}

func (r *runner) together(batch []*job) bool {
	in, total := merged(batch)
	outs, err := safely(r.model, in)
	if err != nil {
		return false
	}
	for i := range outs {
		if rows, _, ok := outs[i].Rows(); !ok || rows != total {
			r.alone.Store(true)
			return false
		}
	}
	at := 0
	for _, j := range batch {
		n := int(j.in[0].Shape[0])
		j.outs = part(outs, at, n)
		at += n
		close(j.done)
	}
	return true
}

// safely turns a panic into a failed run: the process serves other callers too.
func safely(m Model, in []tensor.Tensor) (outs []tensor.Tensor, err error) {
	defer func() {
		if p := recover(); p != nil {
			outs, err = nil, fmt.Errorf("the run panicked: %v", p)
		}
	}()
	return m.Run(in)
}
