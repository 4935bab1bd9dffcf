package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// Worker is a model.Runner: one model in a process that is started again when
// it ends by itself.
//
//	starting ──ready──▶ running ──crash, hang──▶ restarting ──ready──▶ running
//	    └──fails: Load returns why      └──Close──▶ draining ──▶ stopped
type Worker struct {
	e      *Engine
	pkg    model.Package
	launch *launch
	sig    tensor.Signature // as the manifest has it, or the worker
	takes  tensor.Signature // what inputs are checked against; empty if nobody knows

	slots   chan struct{} // one for each call that a process has
	waiting atomic.Int64
	retries chan struct{} // one for the call that is made again
	buffers scratches

	cur        atomic.Pointer[process]
	stopping   chan struct{} // closed when nothing is to be started any more
	supervised sync.WaitGroup
	background sync.WaitGroup // calls whose callers have left

	mu      sync.Mutex
	changed chan struct{} // closed and made anew when cur is set
	closed  bool
	yields  bool          // it gives way to all other work
	coming  *process      // on its way to be cur; nil if none is
	running int           // calls that have begun
	idle    chan struct{} // closed when it is closed and running is 0
}

func newWorker(e *Engine, p model.Package, l *launch) *Worker {
	return &Worker{
		e: e, pkg: p, launch: l, sig: p.Signature, takes: p.Signature,
		slots: make(chan struct{}, e.cfg.InFlight), retries: make(chan struct{}, 1),
		stopping: make(chan struct{}), changed: make(chan struct{}), idle: make(chan struct{}),
	}
}

// start brings up the first process, learns the signature and makes one run.
func (w *Worker) start(ctx context.Context) error {
	p, err := w.spawn(ctx, w.e.mayLowerPriority && len(w.e.all()) > 1)
	if err != nil {
		return err
	}
	err = w.prepare(ctx, p)
	p.restorePriority()
	if err != nil {
		p.kill("it was not fit for use")
		<-p.done
		if p.why() == "" && p.lacksMemory() {
			return fmt.Errorf("%w: the worker was %s", model.ErrNoMemory, p.how)
		}
		return err
	}
	w.publish(p)
	w.supervised.Go(func() { w.supervise(p) })
	return nil
}

// spawn starts a process and waits until it is ready; when it fails, nothing is
// left running. In the background it has the lowest priority until restorePriority.
func (w *Worker) spawn(ctx context.Context, background bool) (*process, error) {
	at, err := w.launch.choosePlace(w.e.cfg.RunDir, w.e.serial.Add(1))
	if err != nil {
		return nil, err
	}
	at.env = append(at.env, envRunMark+"="+w.e.mark)
	p, err := startProcess(at, w.e.cfg.RunDir, w.launch.connections(at, w.e.cfg.MaxBody))
	if err != nil {
		return nil, err
	}
	if background {
		p.lowerPriority(whileLoading)
	}
	w.comes(p)
	if err := p.await(ctx, w.e.cfg.StartTimeout); err != nil {
		w.comes(nil)
		p.kill("it was not ready")
		<-p.done
		return nil, err
	}
	return p, nil
}

func (w *Worker) prepare(ctx context.Context, p *process) error {
	if w.launch.oipName != "" {
		a, err := p.get(ctx, "/v2/models/"+w.launch.oipName, pingTimeout)
		if err != nil {
			return fmt.Errorf("ask for the model's description: %w", err)
		}
		if w.takes, err = metadata(a); err != nil {
			return err
		}
		if err := agree(&w.pkg.Signature, &w.takes); err != nil {
			return err
		}
		if len(w.sig.Inputs) == 0 {
			w.sig = w.takes
		}
	}
	in, ok := w.sig.Zeros(warmUpRow)
	if !ok || len(in) == 0 {
		return nil
	}
	q, err := w.encode(in)
	if err != nil {
		return err
	}
	defer w.buffers.put(q.scratch)
	_, err = w.ask(ctx, p, q, nil)
	if _, lost := errors.AsType[*lostError](err); lost {
		select {
		case <-p.done:
			return fmt.Errorf("the worker ended in its first run, on zeros: %s", p.how)
		case <-time.After(lostPause):
			return fmt.Errorf("the worker gave no answer to its first run, on zeros: %w", err)
		}
	}
	if err != nil {
		w.e.cfg.Log.Info("the model refused the warm-up on zeros", "model", w.pkg.ModelName, "err", err)
	}
	return ctx.Err()
}

// warmUpRow is how many elements an input of the warm-up may have.
const warmUpRow = 1 << 22

// comes notes a process that loads, nil if it is given up. It gives way from its
// first moment if the worker does: most of its work is before it is ready.
func (w *Worker) comes(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.coming = p
	if p != nil && w.yields {
		schedule(p.members(), unix.SCHED_IDLE, 2)
	}
}

func (w *Worker) publish(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cur.Store(p)
	w.coming = nil
	if w.yields {
		schedule(p.members(), unix.SCHED_IDLE, 2)
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

const (
	stableAfter = 30 * time.Second // a worker that ran so long may crash anew
	firstPause  = 100 * time.Millisecond
	longestWait = 10 * time.Second // shorter than calls wait for
)

// supervise starts a new process whenever the last one ended, until the Worker
// is closed; then it ends the one there is.
func (w *Worker) supervise(p *process) {
	health := time.NewTicker(w.e.cfg.HealthEvery)
	defer health.Stop()
	began, crashes := time.Now(), 0
	for {
		select {
		case <-w.stopping:
			if w.e.mayLowerPriority {
				p.lowerPriority(whileEnding)
			}
			p.stop(w.e.cfg.Grace)
			return
		case <-health.C:
			w.checkIdle(p)
			continue
		case <-p.done:
		}
		if time.Since(began) > stableAfter {
			crashes = 0
		}
		w.e.restarts.Add(1)
		if p.lacksMemory() {
			w.e.oomKills.Add(1)
		}
		w.e.cfg.Log.Warn("a worker ended and is started again", "model", w.pkg.ModelName, "version", w.pkg.ModelVersion,
			"how", p.how, "crashes", crashes+1)
		next := w.restart(&crashes)
		if next == nil {
			return
		}
		began, p = time.Now(), next
		w.publish(p)
	}
}

// restart brings up a process, however often that fails; nil if the Worker is
// closed first. After a few crashes in a row it takes its time.
func (w *Worker) restart(crashes *int) *process {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.background.Go(func() {
		select {
		case <-w.stopping:
			cancel()
		case <-ctx.Done():
		}
	})
	for {
		*crashes++
		t := time.NewTimer(pauseAfter(*crashes))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
		p, err := w.spawn(ctx, false)
		if err == nil {
			return p
		}
		if ctx.Err() != nil {
			return nil
		}
		w.e.cfg.Log.Error("a worker could not be started again", "model", w.pkg.ModelName,
			"version", w.pkg.ModelVersion, "err", err)
	}
}

func pauseAfter(crashes int) time.Duration {
	const free = 3
	if crashes <= free {
		return 0
	}
	return min(firstPause<<min(crashes-free-1, 10), longestWait)
}

// checkIdle ends an idle process that does not answer any more. A busy one is told
// by its calls.
func (w *Worker) checkIdle(p *process) {
	w.mu.Lock()
	busy := w.running > 0
	w.mu.Unlock()
	if busy {
		return
	}
	var err error
	for range 2 {
		if err = p.ping(context.Background()); err == nil {
			return
		}
	}
	p.kill("it does not answer: " + err.Error())
}

// Signature implements model.Runner.
func (w *Worker) Signature() tensor.Signature { return w.sig }

// PID returns the process that serves just now, 0 if there is none.
func (w *Worker) PID() int {
	if p := w.cur.Load(); p != nil && !p.ended() {
		return p.pid
	}
	return 0
}

func (w *Worker) rss() int64 {
	if p := w.cur.Load(); p != nil && !p.ended() {
		return p.memory()
	}
	return 0
}

// Close implements model.Runner.
func (w *Worker) Close(ctx context.Context) error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	if w.running == 0 {
		close(w.idle)
	}
	w.mu.Unlock()
	var err error
	select {
	case <-w.idle:
	case <-ctx.Done():
		err = fmt.Errorf("calls were still under way: %w", ctx.Err())
	}
	close(w.stopping)
	w.supervised.Wait()
	<-w.idle // without a process calls end at once
	w.background.Wait()
	w.e.forget(w)
	return err
}

// enter notes that a call has begun; false if the Worker is closed.
func (w *Worker) enter() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.running++
	return true
}

func (w *Worker) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	if w.closed && w.running == 0 {
		close(w.idle)
	}
}
