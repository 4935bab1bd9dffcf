// Package router decides which instance answers a request, sends the request
// there, and counts what came of it. It promises that a request never lands on
// an instance after Set has taken it out of the table, and it needs nothing
// but memory: the control plane may be away, and a Follower catches up when it
// is back. Who may call, and how a request and its answer look to the client,
// is not its job (api/runtime), and neither is where traffic shall go.
package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/http1"
	"github.com/slipway-ml/slipway/internal/platform/id"
)

// Config is what a Router is made of.
type Config struct {
	Client     *http1.Client         // nil: one with default bounds
	Registerer prometheus.Registerer // where the counters are shown; nil: nowhere
	OnSample   func(traffic.Sample)  // called once for each request that had a container to go to; nil: not
	// OnDraw is called once for each request that was drawn for one of two fleets of
	// a deployment, before it is sent; nil: not.
	OnDraw func(traffic.Key, traffic.Draw)
	Bodies *connlimit.Budget // of what observers hold of bodies; default: one of its own, of 1 GiB
	Log    *slog.Logger      // of endpoints that cannot serve; nil: discard
}

// Router holds the table. Its methods may be called at the same time.
type Router struct {
	client   *http1.Client
	onSample func(traffic.Sample)
	onDraw   func(traffic.Key, traffic.Draw)
	bodies   *connlimit.Budget
	dropped  *prometheus.CounterVec
	log      *slog.Logger
	name     string    // of this life of the router, among all that count
	began    time.Time // when it started to count
	seed     maphash.Seed
	shards   [shardCount]shard

	mu        sync.Mutex // guards changes of the table, and what follows
	instances map[string][]*instance
	tripped   map[string]hosting.TrippedAlarm // by the deployment that it guards
	observers []*observer
}

// shardCount divides the table so that adding one endpoint copies 1/shardCount
// of it, while a look-up takes no lock at all.
const shardCount = 512

type shard struct {
	table atomic.Pointer[map[traffic.Key]*entry]
}

// entry is an endpoint's place in the table.
type entry struct {
	route atomic.Pointer[route]
	past  []*tally // counters of fleets that left, newest last; guarded by Router.mu

	outage outage
	// nowhere counts the requests for which the route had no variant with a fleet that
	// they could be counted for.
	nowhere tally
}

// New returns a router with an empty table.
func New(cfg Config) (*Router, error) {
	r := &Router{
		client: cfg.Client, onSample: cfg.OnSample, onDraw: cfg.OnDraw, bodies: cfg.Bodies,
		dropped: newDropped(), log: cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)),
		name: id.New("r"), began: clock.Now(),
		seed:      maphash.MakeSeed(),
		instances: map[string][]*instance{}, tripped: map[string]hosting.TrippedAlarm{},
	}
	if r.client == nil {
		r.client = http1.NewClient(http1.UpstreamConfig{})
	}
	for i := range r.shards {
		r.shards[i].table.Store(&map[traffic.Key]*entry{})
	}
	if r.bodies == nil {
		r.bodies = connlimit.NewBudget(1 << 30)
	}
	if cfg.Registerer != nil {
		for _, c := range []prometheus.Collector{&collector{r}, r.dropped, r.held()} {
			if err := cfg.Registerer.Register(c); err != nil {
				return nil, fmt.Errorf("register router metrics: %w", err)
			}
		}
	}
	return r, nil
}

// Close drops the table and the connections at rest.
func (r *Router) Close() {
	for i := range r.shards {
		for k := range *r.shards[i].table.Load() {
			r.Delete(k)
		}
	}
}

func (r *Router) shard(k traffic.Key) *shard {
	return &r.shards[maphash.Comparable(r.seed, k)%shardCount]
}

func (r *Router) find(k traffic.Key) *route {
	if e := (*r.shard(k).table.Load())[k]; e != nil {
		return e.route.Load()
	}
	return nil
}

// Set puts to in the table, unless a newer version is there. When it returns,
// no new request lands on an instance that to leaves out.
func (r *Router) Set(to traffic.Route) { r.replace(to, false) }

// Replace is Set whatever version is there: the versions began anew.
func (r *Router) Replace(to traffic.Route) { r.replace(to, true) }

func (r *Router) replace(to traffic.Route, anyVersion bool) {
	if en, old, next := r.set(to, anyVersion); next != nil {
		r.logHealth(en, old, next)
	}
}

// set returns the endpoint's place, and its route before and now; nothing if a
// newer one stands that must not be replaced.
func (r *Router) set(to traffic.Route, anyVersion bool) (en *entry, old, next *route) {
	k := to.Key()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.shard(k)
	table := *s.table.Load()
	if en = table[k]; en == nil {
		en = &entry{}
	} else if old = en.route.Load(); old.Version > to.Version && !anyVersion {
		return nil, nil, nil
	}
	next = r.build(en, old, r.diverted(to))
	en.route.Store(next)
	if old == nil {
		table = maps.Clone(table)
		table[k] = en
		s.table.Store(&table)
	} else {
		en.retire(old, next)
		r.leave(old)
	}
	return en, old, next
}

// Delete takes k out of the table, with its counters.
func (r *Router) Delete(k traffic.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.shard(k)
	table := *s.table.Load()
	en := table[k]
	if en == nil {
		return
	}
	table = maps.Clone(table)
	delete(table, k)
	s.table.Store(&table)
	r.leave(en.route.Load())
}

// Route returns what was last set for k.
func (r *Router) Route(k traffic.Key) (traffic.Route, bool) {
	if rt := r.find(k); rt != nil {
		return rt.Route, true
	}
	return traffic.Route{}, false
}

// Each calls f with every route in the table, as of some moment since it was
// called.
func (r *Router) Each(f func(traffic.Route)) {
	for i := range r.shards {
		for _, en := range *r.shards[i].table.Load() {
			f(en.route.Load().Route)
		}
	}
}

// Outstanding returns the requests in flight on an instance, also when it is
// not in the table any more.
func (r *Router) Outstanding(instanceID string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, in := range r.instances[instanceID] {
		n += int(in.outstanding.Load())
	}
	return n
}

// ErrRouted is returned by Drained for an instance that still gets requests.
var ErrRouted = errors.New("router: the instance is still in the table")

// Drained waits until an instance that is not in the table any more has no
// request in flight. It returns ErrRouted if the instance is in the table, now
// or again, and the cause when ctx ends.
func (r *Router) Drained(ctx context.Context, instanceID string) error {
	for {
		idle, err := r.wait(instanceID)
		if idle == nil || err != nil {
			return err
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// wait returns a channel that closes when one of the instance's past lives has
// ended, or nil if none is left.
func (r *Router) wait(instanceID string) (<-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var idle <-chan struct{}
	for _, in := range r.instances[instanceID] {
		if in.routes > 0 {
			return nil, ErrRouted
		}
		idle = in.idle
	}
	return idle, nil
}
