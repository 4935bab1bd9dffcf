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
	anew    bool // the versions began anew, and what is read next is all there is
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
	if f.anew {
		f.replace(routes)
		return nil
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

// Reread forgets how far the routes were followed, because their versions ran
// backwards, and makes the router's those that there are now.
func (f *Follower) Reread(ctx context.Context) error {
	f.mu.Lock()
	f.version, f.anew = 0, true
	f.mu.Unlock()
	return f.CatchUp(ctx) // if it fails, the next does it
}

// replace makes the router's routes those given. f.mu is held.
func (f *Follower) replace(routes []traffic.Route) {
	there := map[traffic.Key]bool{}
	for _, r := range routes {
		if !r.Gone {
			there[r.Key()] = true
			f.router.Replace(r)
		}
		f.version = r.Version
	}
	f.router.Each(func(r traffic.Route) {
		if !there[r.Key()] {
			f.router.Delete(r.Key())
		}
	})
	f.anew = false
}

// Drain waits until an instance that has left the routes serves no request.
func (f *Follower) Drain(ctx context.Context, id hosting.InstanceID) error {
	if err := f.CatchUp(ctx); err != nil {
		return err
	}
	return f.router.Drained(ctx, string(id))
}
