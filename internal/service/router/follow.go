package router

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// Source is where a Follower reads routes.
type Source interface {
	// RoutesSince returns the routes that changed after version, oldest
	// change first; version 0 returns all.
	RoutesSince(ctx context.Context, version int64) ([]traffic.Route, error)
}

// Follower copies the routes that the control plane writes to a Router, in the
// order of their versions.
type Follower struct {
	source Source
	router *Router
	wake   <-chan struct{}
	poll   time.Duration
	log    *slog.Logger

	mu      sync.Mutex // serialises looks, so that versions reach the router in order
	version int64
}

// NewFollower returns a Follower that looks when woken, and every poll.
func NewFollower(s Source, r *Router, wake <-chan struct{}, poll time.Duration, log *slog.Logger) *Follower {
	return &Follower{source: s, router: r, wake: wake, poll: poll, log: log}
}

// Run follows until ctx ends. While the source fails, the router goes on with
// what it has.
func (f *Follower) Run(ctx context.Context) {
	tick := time.NewTicker(f.poll)
	defer tick.Stop()
	for {
		if err := f.CatchUp(ctx); err != nil && ctx.Err() == nil {
			f.log.WarnContext(ctx, "routes could not be read; requests go on as before", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-tick.C:
		}
	}
}

// CatchUp hands everything that was committed before the call to the router.
func (f *Follower) CatchUp(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	routes, err := f.source.RoutesSince(ctx, f.version)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if !r.Gone {
			f.router.Set(r)
		} else if has, ok := f.router.Route(r.Key()); ok && has.Endpoint == r.Endpoint {
			f.router.Delete(r.Key()) // a late goodbye must not end an endpoint's successor
		}
		f.version = r.Version
	}
	return nil
}

// Drain waits until an instance that has left the routes serves no request.
func (f *Follower) Drain(ctx context.Context, id hosting.InstanceID) error {
	if err := f.CatchUp(ctx); err != nil {
		return err
	}
	return f.router.Drained(ctx, string(id))
}
