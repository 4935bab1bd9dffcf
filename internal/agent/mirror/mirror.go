// Package mirror runs a model that is ready beside the one that serves: what
// applications ask is given to it as well, and its answers are compared with those
// that they got. It promises that no call waits for a copy, that what is kept of
// calls is bounded in number and in bytes, that a copy is made only while the
// device has room for it, and that whatever is left out is counted. What the
// counts mean, and what follows, is not its job.
package mirror

import (
	"context"
	"errors"
	"hash/maphash"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/handles"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/answer"
)

// Limits of what is kept of calls.
const (
	queued   = 4       // copies that wait or are under way
	maxBytes = 4 << 20 // of the inputs and outputs of one call
)

// busyAbove is how many calls the old model may have under way for each processor
// while copies are made: beyond that the device has enough to do.
const busyAbove = 2

// Yielder is a Runner that can give way to all other work of the device.
type Yielder interface{ Yield(on bool) }

// Sizer is a Runner that knows how many bytes of memory it holds.
type Sizer interface{ Memory() int64 }

// Run is a model that runs beside the one that a handle means.
type Run struct {
	old     *handles.Watched
	fresh   model.Runner
	outputs []answer.Output
	share   float64 // of calls, up to 1
	busy    int64
	budget  *Budget

	tokens chan struct{} // one for each copy that waits or is under way
	copies chan pair
	cancel context.CancelFunc
	done   sync.WaitGroup

	failed, shed atomic.Int64 // old calls; copies
	late         atomic.Bool  // the new model is still at a call that took too long

	mu    sync.Mutex
	pairs edge.Pairs // since the last Take; guarded by mu
	ended bool       // no copy is taken any more; guarded by mu

	seed  maphash.Seed
	asked [2]map[uint64]struct{} // hashes of inputs: lately, and before
	turn  time.Time              // when the first of them became the second
}

// pair is a copy of a call, and what the old model answered.
type pair struct {
	in, out []tensor.Tensor
	took    time.Duration
	bytes   int // taken from the budget
}

// Begin lets fresh, which nobody else uses, run beside the model that handle means
// in t. What it keeps is taken from budget. An error is that of Table.Info.
func Begin(t *handles.Table, handle string, fresh model.Runner, m *edge.Mirror, budget *Budget) (*Run, error) {
	r := &Run{
		fresh: fresh, share: 1, budget: budget, busy: int64(busyAbove * runtime.GOMAXPROCS(0)),
		tokens: make(chan struct{}, queued), copies: make(chan pair, queued),
		seed: maphash.MakeSeed(), asked: [2]map[uint64]struct{}{{}, {}}, turn: time.Now(),
	}
	if m.Share > 0 {
		r.share = m.Share / 100
	}
	for _, o := range m.Outputs {
		r.outputs = append(r.outputs, answer.Output{Name: o.Name, Tolerance: answer.Tolerance{Absolute: o.Tolerance}})
	}
	var err error
	if r.old, err = t.Watch(handle, r.offer); err != nil {
		return nil, err
	}
	if y, ok := fresh.(Yielder); ok {
		y.Yield(true)
	}
	ctx, cancel := context.WithCancel(context.Background()) // End's to cancel
	r.cancel = cancel
	r.done.Go(func() { r.run(ctx) })
	return r, nil
}

// End stops what Begin began, and waits for it. Copies that were not compared are
// not counted. The model is the caller's again.
func (r *Run) End() {
	r.old.Stop()
	r.mu.Lock()
	r.ended = true // a call on its way may still offer a copy
	r.mu.Unlock()
	r.cancel()
	r.done.Wait()
	r.discard()
	if y, ok := r.fresh.(Yielder); ok {
		y.Yield(false)
	}
}

// Take returns what was counted since the last Take.
func (r *Run) Take() edge.Pairs {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pairs
	r.pairs = edge.Pairs{}
	p.OldFailed, p.Shed = r.failed.Swap(0), r.shed.Swap(0)
	return p
}

// Old describes the model that answers applications meanwhile.
func (r *Run) Old() model.Info { return r.old.Info }

// On reports whether the handle still means that model. Once it does not, nothing
// is compared any more.
func (r *Run) On() bool { return r.old.On() }

// Memory returns the bytes that the two models hold, 0 of one that does not say.
func (r *Run) Memory() (old, fresh int64) {
	size := func(m model.Runner) int64 {
		if s, ok := m.(Sizer); ok {
			return s.Memory()
		}
		return 0
	}
	return size(r.old.Runner), size(r.fresh)
}

// offer is told of a call on its way to the caller. It copies what may be
// compared, if there is room for it.
func (r *Run) offer(a handles.Answered) {
	if a.Err != nil {
		if errors.Is(a.Err, model.ErrFailed) {
			r.failed.Add(1)
		}
		return
	}
	if r.share < 1 && rand.Float64() >= r.share {
		return
	}
	n := bytesOf(a.In) + bytesOf(a.Out)
	if a.Running > r.busy || n > maxBytes || r.late.Load() {
		r.shed.Add(1)
		return
	}
	select {
	case r.tokens <- struct{}{}:
	default:
		r.shed.Add(1)
		return
	}
	if !r.budget.take(n) {
		<-r.tokens
		r.shed.Add(1)
		return
	}
	p := pair{clone(a.In), clone(a.Out), a.Took, n}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		r.release(p)
		return
	}
	r.copies <- p // there is room for as many as there are tokens
}

// release gives back what a copy has taken.
func (r *Run) release(p pair) {
	r.budget.give(p.bytes)
	<-r.tokens
}

// discard drops the copies that wait, and returns how many those were.
func (r *Run) discard() (n int64) {
	for {
		select {
		case p := <-r.copies:
			r.release(p)
			n++
		default:
			return n
		}
	}
}

func bytesOf(ts []tensor.Tensor) (n int) {
	const header = 64
	for i := range ts {
		n += header + len(ts[i].Data)
		for _, s := range ts[i].Strings {
			n += 16 + len(s)
		}
		for _, s := range ts[i].Keys {
			n += 16 + len(s)
		}
	}
	return n
}

// clone copies tensors with all that they point to: applications reuse their
// memory once they have their answer. Texts are never changed.
func clone(ts []tensor.Tensor) []tensor.Tensor {
	out := slices.Clone(ts)
	for i := range out {
		t := &out[i]
		t.Shape, t.Data = slices.Clone(t.Shape), slices.Clone(t.Data)
		t.Strings, t.Keys = slices.Clone(t.Strings), slices.Clone(t.Keys)
	}
	return out
}

// run gives the copies to the new model, one at a time, until ctx ends.
func (r *Run) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-r.copies:
			r.compare(ctx, p)
			r.release(p)
		}
	}
}

// compare asks the new model what the old one was asked, unless that was asked a
// short time ago: one hot input must not decide.
func (r *Run) compare(ctx context.Context, p pair) {
	if !r.first(p.in) {
		r.count(edge.Pairs{Repeated: 1})
		return
	}
	start := time.Now()
	out, late, err := r.ask(ctx, p.in)
	took := time.Since(start)
	switch {
	case late: // counted as such
	case ctx.Err() != nil: // being ended
	case errors.Is(err, model.ErrBusy):
		r.count(edge.Pairs{Shed: 1})
	case err != nil: // it refuses, or fails on, what the old one answered
		r.count(edge.Pairs{Failed: 1})
	default:
		differs, err := answer.Differ(p.out, out, r.outputs)
		n := edge.Pairs{Compared: 1, OldTime: p.took, NewTime: took}
		switch {
		case err != nil:
			n = edge.Pairs{Apart: 1}
		case differs:
			n.Differing = 1
		}
		r.count(n)
	}
}

// ask gives the new model a copy, and reports whether that took too long: it is
// counted at once then. A model cannot be told to give a call up, and would be at
// two with the next: until it has ended no copy is made, and those that wait are
// left out. How long that may take is the engine's to bound.
func (r *Run) ask(ctx context.Context, in []tensor.Tensor) (out []tensor.Tensor, late bool, err error) {
	counted := make(chan struct{})
	patience := time.AfterFunc(edge.MirrorPatience, func() {
		defer close(counted)
		r.late.Store(true)
		r.shed.Add(r.discard())
		r.count(edge.Pairs{Late: 1})
	})
	out, err = r.fresh.Predict(ctx, in)
	if late = !patience.Stop(); late {
		<-counted
		r.late.Store(false)
	}
	return out, late, err
}

func (r *Run) count(p edge.Pairs) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pairs = r.pairs.Plus(p)
}

// How long, and how many of, the inputs that were asked are remembered.
const (
	remembered  = 10 * time.Minute
	rememberMax = 4096
)

// first reports whether inputs were not asked for a while, as far as that is
// remembered. It is for one goroutine.
func (r *Run) first(in []tensor.Tensor) bool {
	if time.Since(r.turn) >= remembered || len(r.asked[0]) >= rememberMax {
		r.asked[0], r.asked[1], r.turn = map[uint64]struct{}{}, r.asked[0], time.Now()
	}
	key := r.hash(in)
	_, now := r.asked[0][key]
	_, before := r.asked[1][key]
	r.asked[0][key] = struct{}{}
	return !now && !before
}

// hash tells inputs apart, by a key that nobody can foresee.
func (r *Run) hash(in []tensor.Tensor) uint64 {
	var h maphash.Hash
	h.SetSeed(r.seed)
	text := func(s string) {
		maphash.WriteComparable(&h, len(s))
		_, _ = h.WriteString(s) // hashes never fail
	}
	for i := range in {
		t := &in[i]
		text(t.Name)
		maphash.WriteComparable(&h, t.Type)
		maphash.WriteComparable(&h, len(t.Shape))
		for _, n := range t.Shape {
			maphash.WriteComparable(&h, n)
		}
		maphash.WriteComparable(&h, len(t.Data))
		_, _ = h.Write(t.Data) // nor does this
		for _, list := range [][]string{t.Strings, t.Keys} {
			maphash.WriteComparable(&h, len(list))
			for _, s := range list {
				text(s)
			}
		}
	}
	return h.Sum64()
}
