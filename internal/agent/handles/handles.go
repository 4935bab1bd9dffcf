// Package handles keeps the models that applications call, by handle: the name
// that an application knows one by. It promises that a call finds a model
// without taking a lock, that a flip of one handle or of several is one step,
// that a model which was replaced serves the calls that have it until they end,
// and that no call fails because of a flip: one that comes too late for the old
// model gets the new one. Loading, and deciding what to flip, is not its job.
package handles

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// Options bounds what calls may do in a declared gap.
type Options struct {
	GapWait    time.Duration // how long one waits for a model; 0 is 10 s
	MaxWaiting int           // how many may wait at a time; 0 is 256
}

// Table is the loaded models by handle, the name that an application calls one
// by. Reading it never waits.
type Table struct {
	opts    Options
	now     atomic.Pointer[snapshot]
	waiting atomic.Int64

	mu sync.Mutex // orders the writers of now
}

// snapshot is what the handles mean at one time; never changed once published.
type snapshot map[string]*entry

// entry is what one handle means: a model, or a gap between two.
type entry struct {
	loaded *model.Loaded // its Runner is a *guard; in a gap the model before it, or nil
	gap    *gap
}

type gap struct {
	until context.Context
	over  chan struct{} // closed when the handle means something else
}

// New returns a table without models.
func New(o Options) *Table {
	o.GapWait = cmp.Or(o.GapWait, 10*time.Second)
	o.MaxWaiting = cmp.Or(o.MaxWaiting, 256)
	t := &Table{opts: o}
	t.now.Store(&snapshot{})
	return t
}

// Swap makes l what handle means and returns the model that it meant before,
// also across a gap; nil removes the handle. From now on l.Close waits for the
// calls under way before it closes the Runner that l came with; l may be
// swapped in again as long as it was not closed.
func (t *Table) Swap(handle string, l *model.Loaded) (old *model.Loaded) {
	return t.SwapAll(map[string]*model.Loaded{handle: l})[handle]
}

// SwapAll is Swap for several handles in one step: no call sees one of them
// flipped and another not. The models before are returned by handle, without
// the handles that had none or keep theirs.
func (t *Table) SwapAll(flips map[string]*model.Loaded) (old map[string]*model.Loaded) {
	old = map[string]*model.Loaded{}
	t.change(func(next snapshot) {
		for handle, l := range flips {
			if e := next[handle]; e != nil && e.loaded != nil && e.loaded != l {
				old[handle] = e.loaded
			}
			if l == nil {
				delete(next, handle)
				continue
			}
			watch(l)
			next[handle] = &entry{loaded: l}
		}
	})
	return old
}

// Add makes l what handle means if it means nothing; ok tells whether it did.
func (t *Table) Add(handle string, l *model.Loaded) (ok bool) {
	t.change(func(next snapshot) {
		if next[handle] != nil {
			return
		}
		watch(l)
		next[handle], ok = &entry{loaded: l}, true
	})
	return ok
}

// Gap declares that handle will be without a model for a while: new calls wait
// for the next Swap, for as long as until and Options.GapWait last, and fail
// with model.ErrUnavailable then. The model before, which the caller may close
// now, is what the next Swap returns.
func (t *Table) Gap(handle string, until context.Context) {
	t.change(func(next snapshot) {
		e := &entry{gap: &gap{until: until, over: make(chan struct{})}}
		if before := next[handle]; before != nil {
			e.loaded = before.loaded
		}
		next[handle] = e
	})
}

// change publishes the next snapshot and wakes who waited in gaps that it ends.
func (t *Table) change(f func(next snapshot)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := *t.now.Load()
	next := maps.Clone(before)
	f(next)
	t.now.Store(&next)
	for handle, e := range before {
		if e.gap != nil && next[handle] != e {
			close(e.gap.over)
		}
	}
}

// List describes what is loaded, sorted by handle; what is in a gap is left out.
func (t *Table) List() []model.Info {
	s := *t.now.Load()
	infos := make([]model.Info, 0, len(s))
	for handle, e := range s {
		if e.gap == nil {
			infos = append(infos, e.info(handle))
		}
	}
	slices.SortFunc(infos, func(a, b model.Info) int { return cmp.Compare(a.Handle, b.Handle) })
	return infos
}

// Info describes one model; model.ErrNotLoaded, model.ErrUnavailable in a gap.
func (t *Table) Info(handle string) (model.Info, error) {
	switch e := (*t.now.Load())[handle]; {
	case e == nil:
		return model.Info{}, notLoaded(handle)
	case e.gap != nil:
		return model.Info{}, unavailable(handle)
	default:
		return e.info(handle), nil
	}
}

func (e *entry) info(handle string) model.Info {
	i := e.loaded.Info
	i.Handle = handle
	if last := e.loaded.Runner.(*guard).last.Load(); last != 0 {
		i.LastInference = time.Unix(0, last)
	}
	return i
}

// Stats is what became of the calls of one model since it was loaded.
type Stats struct {
	Handle  string
	Calls   int64         // that ended
	Failed  int64         // of those
	Elapsed time.Duration // that they took, together
	Running int64         // calls under way
}

// Stats counts the calls of what is loaded, sorted by handle.
func (t *Table) Stats() []Stats {
	s := *t.now.Load()
	all := make([]Stats, 0, len(s))
	for handle, e := range s {
		if e.gap == nil {
			all = append(all, e.loaded.Runner.(*guard).stats(handle))
		}
	}
	slices.SortFunc(all, func(a, b Stats) int { return cmp.Compare(a.Handle, b.Handle) })
	return all
}

// Answered is a call that has ended. What it points to is the caller's again once
// the watcher returns.
type Answered struct {
	In, Out []tensor.Tensor
	Err     error
	Took    time.Duration
	Running int64 // calls of the model that are under way, this one among them
}

// Watcher is told of each call of a model, on the way to its caller: it must be
// quick, and must not change what it is given.
type Watcher func(Answered)

// Watched is a model whose calls a Watcher is told of.
type Watched struct {
	Info   model.Info
	Runner model.Runner // the model's own: the caller may look at it, and must not use it

	t       *Table
	guard   *guard
	watcher *Watcher
}

// Watch has w told of the calls of the model that handle means now, instead of
// whoever was told before, until Stop is called; calls that go to another model
// later are not told. An error is that of Info.
func (t *Table) Watch(handle string, w Watcher) (*Watched, error) {
	e := (*t.now.Load())[handle]
	switch {
	case e == nil:
		return nil, notLoaded(handle)
	case e.gap != nil:
		return nil, unavailable(handle)
	}
	g := e.loaded.Runner.(*guard)
	g.watcher.Store(&w)
	return &Watched{e.info(handle), g.Runner, t, g, &w}, nil
}

// On reports whether the handle still means the model that is watched. Once it does
// not, it never will again as far as the watcher can know: watch anew.
func (w *Watched) On() bool {
	e := (*w.t.now.Load())[w.Info.Handle]
	return e != nil && e.gap == nil && e.loaded.Runner == model.Runner(w.guard) && !w.guard.closed.Load()
}

// Stop ends the watching, unless somebody else watches instead.
func (w *Watched) Stop() { w.guard.watcher.CompareAndSwap(w.watcher, nil) }

// retries bounds how often a call follows a handle that flips under it.
const retries = 100

// Call runs f with the model that handle means, after waiting in a gap. When f
// fails with model.ErrUnavailable and the handle has flipped meanwhile, f runs
// again with the new model. f must neither keep the model nor close it.
func (t *Table) Call(ctx context.Context, handle string, f func(*model.Loaded) error) error {
	for range retries {
		e, err := t.find(ctx, handle)
		if err != nil {
			return err
		}
		if err = f(e.loaded); !t.late(handle, e, err) {
			return err
		}
	}
	return unavailable(handle)
}

// Predict is Call with the Predict of the model.
func (t *Table) Predict(ctx context.Context, handle string, in []tensor.Tensor) ([]tensor.Tensor, error) {
	for range retries {
		e, err := t.find(ctx, handle)
		if err != nil {
			return nil, err
		}
		out, err := e.loaded.Predict(ctx, in)
		if !t.late(handle, e, err) {
			return out, err
		}
	}
	return nil, unavailable(handle)
}

// late tells whether a call failed only because the model it found had left.
func (t *Table) late(handle string, e *entry, err error) bool {
	return err != nil && errors.Is(err, model.ErrUnavailable) && (*t.now.Load())[handle] != e
}

// find returns what handle means once it means a model.
func (t *Table) find(ctx context.Context, handle string) (*entry, error) {
	for {
		e := (*t.now.Load())[handle]
		if e == nil {
			return nil, notLoaded(handle)
		}
		if e.gap == nil {
			return e, nil
		}
		// A second gap right after the first is one more wait: there is a model
		// in between, which the call was too slow for.
		if err := t.wait(ctx, handle, e.gap); err != nil {
			return nil, err
		}
	}
}

func (t *Table) wait(ctx context.Context, handle string, g *gap) error {
	defer t.waiting.Add(-1)
	if t.waiting.Add(1) > int64(t.opts.MaxWaiting) {
		return fault.New(fault.Limit, "the model %q is being replaced and %d calls wait for it already", handle,
			t.opts.MaxWaiting).Because(model.ErrBusy)
	}
	timer := time.NewTimer(t.opts.GapWait)
	defer timer.Stop()
	select {
	case <-g.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-g.until.Done():
	case <-timer.C:
	}
	select {
	case <-g.over: // it came at the last moment
		return nil
	default:
		return unavailable(handle)
	}
}

func notLoaded(handle string) error {
	return fault.New(fault.NotFound, "no model is loaded under the name %.256q", handle).Because(model.ErrNotLoaded)
}

func unavailable(handle string) error {
	return fault.New(fault.Unavailable,
		"the model %q is being replaced; ask again", handle).Because(model.ErrUnavailable)
}
