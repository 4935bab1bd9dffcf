// Package routing keeps a router up to date: it follows the versioned routes
// that the control plane writes and hands each change over. Deciding where
// traffic goes is not its job, and neither is carrying it.
package routing

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// Source is where routes come from.
type Source interface {
	// RoutesSince returns the routes that changed after version, oldest
	// change first; version 0 returns all.
	RoutesSince(ctx context.Context, version int64) ([]hosting.Route, error)
}

// Router is what a Follower keeps up to date.
type Router interface {
	Set(k router.Key, e router.Endpoint)
	Delete(k router.Key)
	Drained(ctx context.Context, instanceID string) error
}

// Follower copies routes from a Source to a Router.
type Follower struct {
	source Source
	router Router
	wake   <-chan struct{}
	poll   time.Duration
	log    *slog.Logger

	mu      sync.Mutex // serialises looks, so that versions reach the router in order
	version int64
	owners  map[router.Key]hosting.EndpointID // whose route a key has: a late goodbye of an endpoint must not end its successor
}

// NewFollower returns a Follower that looks when woken, and every poll.
func NewFollower(s Source, r Router, wake <-chan struct{}, poll time.Duration, log *slog.Logger) *Follower {
	return &Follower{source: s, router: r, wake: wake, poll: poll, log: log, owners: map[router.Key]hosting.EndpointID{}}
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
		k := router.Key{Region: r.Scope.Region, Name: r.Name}
		switch {
		case !r.Gone:
			f.router.Set(k, translate(r))
			f.owners[k] = r.Endpoint
		case f.owners[k] == r.Endpoint:
			f.router.Delete(k)
			delete(f.owners, k)
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

func translate(r hosting.Route) router.Endpoint {
	e := router.Endpoint{Account: r.Scope.Account, Version: r.Version}
	for _, v := range r.Variants {
		rv := router.Variant{Name: v.Name, Weight: v.Weight, Container: v.Container, Strategy: router.Random}
		if v.Routing == hosting.LeastOutstandingRequests {
			rv.Strategy = router.LeastOutstandingRequests
		}
		for _, fl := range v.Fleets {
			rf := router.Fleet{Config: fl.Config, Share: fl.Share}
			for _, i := range fl.Instances {
				rf.Instances = append(rf.Instances, router.Instance{ID: i.ID, Address: i.Address})
			}
			rv.Fleets = append(rv.Fleets, rf)
		}
		e.Variants = append(e.Variants, rv)
	}
	return e
}
