package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// call is one Predict on its way.
type call struct {
	message
	scratch *scratch
}

const (
	triesSeen   = 2 // processes that may be lost on one input
	triesUnseen = 5 // processes that were gone before they saw it
	lostPause   = 100 * time.Millisecond
)

// Predict implements model.Runner.
func (w *Worker) Predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	in, err := arrange(&w.takes, in)
	if err != nil {
		return nil, err
	}
	if !w.enter() {
		return nil, fmt.Errorf("%w: it was closed", model.ErrUnavailable)
	}
	defer w.leave()
	if err := w.slot(ctx); err != nil {
		return nil, err
	}
	// Who leaves early leaves the slot behind: the process is still at it.
	held := true
	defer func() {
		if held {
			<-w.slots
		}
	}()
	q, err := w.encode(in)
	if err != nil {
		return nil, err
	}
	defer w.buffers.put(q.scratch)
	return w.try(ctx, q, &held)
}

// slot waits for the turn of a call.
func (w *Worker) slot(ctx context.Context) error {
	select {
	case w.slots <- struct{}{}:
		return nil
	default:
	}
	if w.waiting.Add(1) > int64(w.e.cfg.Queue) {
		w.waiting.Add(-1)
		return fmt.Errorf("%w: %d", model.ErrBusy, w.e.cfg.Queue)
	}
	defer w.waiting.Add(-1)
	select {
	case w.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *Worker) encode(in []tensor.Tensor) (*call, error) {
	q := &call{scratch: w.buffers.get()}
	var err error
	if q.message, err = w.launch.format.encode(q.scratch, in); err == nil && q.size > w.e.cfg.MaxBody {
		err = fault.New(fault.Limit, "the inputs have %d bytes; the limit is %d", q.size, w.e.cfg.MaxBody)
	}
	if err != nil {
		w.buffers.put(q.scratch)
		return nil, err
	}
	return q, nil
}

// try asks the process there is, and once more the next one if that was lost.
// Calls that are made again go one by one: if it was an input that ended the
// process, it shall take no other call with it a second time.
func (w *Worker) try(ctx context.Context, q *call, held *bool) ([]tensor.Tensor, error) {
	seen, unseen, again := 0, 0, false
	defer func() {
		if again {
			<-w.retries
		}
	}()
	for {
		p, err := w.process(ctx)
		if err != nil {
			return nil, err
		}
		outs, err := w.ask(ctx, p, q, held)
		lost, ok := errors.AsType[*lostError](err)
		if !ok {
			return outs, err
		}
		if lost.hung {
			p.kill("a call took longer than " + w.e.cfg.CallTimeout.String())
			return nil, fmt.Errorf("%w: it gave no answer in %s", model.ErrFailed, w.e.cfg.CallTimeout)
		}
		w.awaitEnd(ctx, p)
		if lost.sent {
			seen++
		} else {
			unseen++
		}
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case seen == triesSeen && p.ended():
			return nil, fmt.Errorf(
				"%w: the worker ended while it ran, twice; at last it was %s", model.ErrFailed, p.how)
		case seen == triesSeen:
			return nil, fmt.Errorf("%w: %w", model.ErrFailed, lost)
		case unseen == triesUnseen:
			return nil, fmt.Errorf("%w: %w", model.ErrUnavailable, lost)
		}
		if !again {
			select {
			case w.retries <- struct{}{}:
				again = true
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
}

// process returns the process that serves, waiting for the next one if the
// last one ended.
func (w *Worker) process(ctx context.Context) (*process, error) {
	if p := w.cur.Load(); !p.ended() {
		return p, nil
	}
	t := time.NewTimer(w.e.cfg.RestartWait)
	defer t.Stop()
	for {
		w.mu.Lock()
		p, changed := w.cur.Load(), w.changed
		w.mu.Unlock()
		if !p.ended() {
			return p, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-w.stopping:
			return nil, fmt.Errorf("%w: it was closed", model.ErrUnavailable)
		case <-t.C:
			return nil, fmt.Errorf(
				"%w: its worker has been restarting for %s", model.ErrUnavailable, w.e.cfg.RestartWait)
		}
	}
}

// ask makes one exchange. If the caller leaves while the process is at it, the
// slot is held no more: it is freed when the process is done with the call.
// Without a slot held is nil.
func (w *Worker) ask(ctx context.Context, p *process, q *call, held *bool) ([]tensor.Tensor, error) {
	f := w.launch.format
	content, accept := f.media()
	q.scratch.head = append(p.post(q.scratch.head[:0], content, accept, q.jsonSize, q.size), q.text...)
	r := &request{head: q.scratch.head, body: q.data, size: q.size - int64(len(q.text))}
	limit := time.Now().Add(w.e.cfg.CallTimeout)
	var left func(*conn)
	if held != nil {
		left = func(k *conn) {
			*held = false
			w.background.Go(func() { w.awaitReply(p, k, limit) })
		}
	}
	a, err := p.exchange(ctx, r, limit, left)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, refusal(a)
	}
	return f.decode(a, &w.sig)
}

// awaitReply waits for the reply that nobody wants any more: until it is there the
// process is busy, and if it never comes the process hangs.
func (w *Worker) awaitReply(p *process, k *conn, limit time.Time) {
	defer func() { <-w.slots }()
	defer p.drop(k)
	err := k.SetDeadline(limit)
	if err == nil {
		_, err = k.r.Peek(1)
	}
	if err != nil && !time.Now().Before(limit) {
		p.kill("a call took longer than " + w.e.cfg.CallTimeout.String())
	}
}

// awaitEnd waits until it is known whether a process that lost a call has ended.
// One that lives and does not answer is ended.
func (w *Worker) awaitEnd(ctx context.Context, p *process) {
	t := time.NewTimer(lostPause)
	defer t.Stop()
	select {
	case <-p.done:
		return
	case <-ctx.Done():
		return
	case <-t.C:
	}
	if err := p.ping(ctx); err != nil && ctx.Err() == nil {
		p.kill("it does not answer: " + err.Error())
		<-p.done
	}
}
