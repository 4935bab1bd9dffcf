package process

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/platform/child"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// Remove implements provider.Provider. SIGTERM goes to the whole process group;
// when the first process of the instance ends, or its grace does, everything
// left of the instance is killed.
func (p *Provider) Remove(ctx context.Context, id provider.ID) error {
	e, err := p.enter(ctx, id)
	if err != nil {
		return fmt.Errorf("remove instance %s: %w", id, err)
	}
	defer p.leave(e)
	p.mu.Lock()
	r := e.run
	p.mu.Unlock()
	if r == nil {
		return nil
	}
	if err := p.stop(ctx, r); err != nil {
		return fmt.Errorf("remove instance %s: %w", id, err)
	}
	failpoint.Hit(hitStopped)
	if err := p.clear(ctx, id); err != nil {
		return fmt.Errorf("remove instance %s: %w", id, err)
	}
	if err := p.erase(id); err != nil {
		return fmt.Errorf("remove instance %s: %w", id, err)
	}
	failpoint.Hit(hitForgotten)
	p.mu.Lock()
	e.run = nil
	p.mu.Unlock()
	return nil
}

// stop returns when the process of r has ended.
func (p *Provider) stop(ctx context.Context, r *run) error {
	p.mu.Lock()
	first := r.killAt.IsZero()
	if first {
		r.killAt = time.Now().Add(r.rec.Grace)
	}
	killAt := r.killAt
	p.mu.Unlock()
	if first {
		r.signal(unix.SIGTERM) // once: many programs take a second one for impatience
		failpoint.Hit(hitSignalled)
	}
	for _, step := range []struct {
		wait time.Duration
		then func()
	}{
		{time.Until(killAt), func() { r.signal(unix.SIGKILL) }},
		{clearTimeout, func() {}},
	} {
		over := time.NewTimer(step.wait)
		defer over.Stop()
		select {
		case <-r.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-p.closing.Done():
			return errClosed
		case <-over.C:
			step.then()
		}
	}
	return fmt.Errorf("process %d survives SIGKILL", r.rec.PID)
}

// signal reaches the whole process group, unless its first process has ended
// already: then the watcher does the rest.
func (r *run) signal(s unix.Signal) {
	if child.Alive(r.rec.PID, r.rec.Start) {
		_ = unix.Kill(-r.rec.PID, s) // it may have ended since
	}
}
