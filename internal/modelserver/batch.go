package modelserver

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/modelserver/tensor"
)

// batchable tells whether rows of different requests may run together: every
// input and output has rows, of one open number.
func batchable(g *tensor.Signature) bool {
	symbol := g.Inputs[0].Shape
	if len(g.Inputs) > 1 && g.Inputs[0].DynamicBatch() && symbol[0].Symbol == "" {
		return false // nothing says that the inputs have as many rows as each other
	}
	for _, specs := range [][]tensor.Spec{g.Inputs, g.Outputs} {
		for i := range specs {
			s := &specs[i]
			if s.Maps {
				continue
			}
			if !s.DynamicBatch() || s.Shape[0].Symbol != symbol[0].Symbol {
				return false
			}
		}
	}
	return true
}

// batcher runs rows of requests that wait at the same time together. A worker
// takes what is queued when it becomes free, so a batch forms by itself when
// the model is the bottleneck; only then, and while other requests are known
// to be on their way, does it wait for more.
type batcher struct {
	model    Model
	rows     int
	wait     time.Duration
	inFlight func() int
	queue    chan *job
	alone    atomic.Bool // the model does not keep rows apart: run each request by itself
	workers  sync.WaitGroup
}

type job struct {
	ctx  context.Context
	in   []tensor.Tensor
	outs []tensor.Tensor
	err  error
	done chan struct{}
}

func newBatcher(m Model, o Options, inFlight func() int) *batcher {
	b := &batcher{
		model: m, rows: o.MaxBatch, wait: o.BatchWait, inFlight: inFlight,
		queue: make(chan *job, o.Concurrency+o.Queue), // as many as are admitted: a send never blocks
	}
	for range o.Concurrency {
		b.workers.Go(b.work)
	}
	return b
}

func (b *batcher) run(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	j := &job{ctx: ctx, in: in, done: make(chan struct{})}
	b.queue <- j
	// The worker drops a job whose caller has gone before it starts. Once
	// started it can't be stopped, and it reads the inputs.
	<-j.done
	return j.outs, j.err
}

func (b *batcher) close() {
	close(b.queue)
	b.workers.Wait()
}

func (b *batcher) work() {
	var next *job // taken from the queue, but of no use to the last batch
	for {
		first := next
		next = nil
		if first == nil {
			var ok bool
			if first, ok = <-b.queue; !ok {
				return
			}
		}
		var batch []*job
		batch, next = b.collect(first)
		b.finish(batch)
	}
}

// collect gathers the jobs to run with first, and returns the one that ended
// the batch because it could not join.
func (b *batcher) collect(first *job) (batch []*job, rest *job) {
	batch = append(make([]*job, 0, 8), first)
	if b.alone.Load() {
		return batch, nil
	}
	rows := int(first.in[0].Shape[0])
	var late <-chan time.Time
	for rows < b.rows {
		var j *job
		var ok bool
		select {
		case j, ok = <-b.queue:
		default:
			if b.wait == 0 || b.inFlight() <= len(batch) {
				return batch, nil
			}
			if late == nil {
				t := time.NewTimer(b.wait)
				defer t.Stop()
				late = t.C
			}
			select {
			case j, ok = <-b.queue:
			case <-late:
				return batch, nil
			}
		}
		if !ok {
			return batch, nil
		}
		if rows+int(j.in[0].Shape[0]) > b.rows || !sameRows(first.in, j.in) {
			return batch, j
		}
		batch = append(batch, j)
		rows += int(j.in[0].Shape[0])
	}
	return batch, nil
}

// sameRows tells whether rows of a and b have the same shapes.
func sameRows(a, b []tensor.Tensor) bool {
	for i := range a {
		if !slices.Equal(a[i].Shape[1:], b[i].Shape[1:]) {
			return false
		}
	}
	return true
}

// finish runs the batch and gives every job its result. If the model fails on
// rows together, each job runs by itself: one caller's bad row must not fail
// another's request.
func (b *batcher) finish(batch []*job) {
	batch = slices.DeleteFunc(batch, func(j *job) bool {
		gone := j.ctx.Err()
		if gone != nil {
			j.err = gone
			close(j.done)
		}
		return gone != nil
	})
	if len(batch) > 1 && b.together(batch) {
		return
	}
	for _, j := range batch {
		j.outs, j.err = safely(b.model, j.in)
		close(j.done)
	}
}

func (b *batcher) together(batch []*job) bool {
	in := slices.Clone(batch[0].in)
	total := 0
	for i := range in {
		t := &in[i]
		t.Shape, t.Data, t.Strings = slices.Clone(t.Shape), nil, nil
		t.Shape[0] = 0
		for _, j := range batch {
			t.Shape[0] += j.in[i].Shape[0]
			t.Data = append(t.Data, j.in[i].Data...)
			t.Strings = append(t.Strings, j.in[i].Strings...)
		}
		total = int(t.Shape[0])
	}
	outs, err := safely(b.model, in)
	if err != nil {
		return false
	}
	for i := range outs {
		if rows, _, ok := outs[i].Rows(); !ok || rows != total {
			b.alone.Store(true)
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

// part returns n rows of every tensor from row at on.
func part(ts []tensor.Tensor, at, n int) []tensor.Tensor {
	out := slices.Clone(ts)
	for i := range out {
		t := &out[i]
		_, width, _ := t.Rows()
		t.Shape = slices.Clone(t.Shape)
		t.Shape[0] = int64(n)
		if t.Type == tensor.String {
			t.Strings = t.Strings[at*width : (at+n)*width]
		} else {
			size := width * t.Type.Size()
			t.Data = t.Data[at*size : (at+n)*size]
		}
	}
	return out
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
