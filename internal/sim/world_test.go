package sim

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
	"github.com/slipway-ml/slipway/internal/service/deployer"
	"github.com/slipway-ml/slipway/internal/service/evidence"
)

// dice returns a number from 0 to n-1.
type dice struct{ *rand.Rand }

func roll(seed uint64) dice { return dice{rand.New(rand.NewPCG(seed, 7))} }

func (d dice) one(in int) bool { return d.IntN(in) == 0 }
func (d dice) upTo(t time.Duration) time.Duration {
	return time.Duration(d.Int64N(int64(t))).Truncate(time.Millisecond)
}
func (d dice) between(a, b time.Duration) time.Duration { return a + d.upTo(b-a) }

// world is one life: a database, servers that share it, and the world around
// them. Every call of a server to the database waits at a gate; the world lets
// one through at a time, in an order that only the seed decides.
type world struct {
	db       *store.DB
	log      *slog.Logger
	ctx      context.Context
	calls    chan *call
	waiting  []*call
	servers  []*server
	events   events
	notified map[int]bool // servers that were notified and have not looked since
	leases   map[string]time.Time
	calm     bool        // no more faults
	trail    []string    // what happened last
	digest   hash.Hash64 // of all that ever happened

	instances
	people
	audit
}

// call is a server that waits at the gate.
type call struct {
	from   *server
	what   string
	answer chan fate
	after  time.Time     // not before then: the server is slow
	fired  bool          // an alarm was in ALARM when the server last looked before the call
	saw    time.Duration // how long the server had observed without a gap when it looked
}

// fate is what becomes of a call.
type fate int

const (
	done   fate = iota
	failed      // nothing happened, and the server knows
	lost        // the server died before it happened
	torn        // the server died in the middle of it
	mute        // it happened, then the server died
)

var (
	errAway = errors.New("the database is away")
	errDead = errors.New("this server is dead")
)

// server is one life of a replica: engine and deployer as they ship.
type server struct {
	w       *world
	replica int
	dead    bool
	cancel  context.CancelFunc
	gone    chan struct{}
	wakeup  loop.Wakeup
	key     string      // the deployment whose turn it takes
	fired   bool        // the alarms when it last looked
	looked  time.Time   // when that was
	gap     rollout.Gap // until when it could not observe
	changed bool        // its last transaction wrote something
	name    string      // as a router
	began   time.Time   // as a router
	counts  map[string]int64
	facts   []gate.Fact // what gates had seen when it last decided
}

func (w *world) boot(replica int) {
	ctx, cancel := context.WithCancel(w.ctx)
	s := &server{
		w: w, replica: replica, cancel: cancel, gone: make(chan struct{}), wakeup: loop.NewWakeup(),
		name: w.name("router"), began: time.Now(), counts: map[string]int64{},
		gap: rollout.Gap{Until: time.Now(), Missed: "it was started"},
	}
	d := &deployer.Deployer{
		Log: w.log, Change: s.change, Changed: func() { s.changed = true },
		Evidence: &evidence.Source{Endpoints: s, Alarms: s, Gates: s, Routers: s, Metrics: s, Watch: s},
	}
	r := &loop.Runner{
		Queue: s, Log: w.log, Wake: s.wakeup, Poll: 20 * time.Second, Lease: 30 * time.Second, Retry: time.Second,
		Turn: func(ctx context.Context, key string) (time.Time, error) {
			s.key = key
			return d.Turn(ctx, key)
		},
	}
	w.servers[replica] = s
	go func() { defer close(s.gone); r.Run(ctx) }()
}

// do waits at the gate and meets its fate there.
func (s *server) do(what string, f func(torn bool) error) error {
	if s.dead {
		return errDead
	}
	c := &call{from: s, what: what, answer: make(chan fate), fired: s.fired, saw: s.looked.Sub(s.gap.Until)}
	s.w.calls <- c
	how := <-c.answer
	if how == lost || how == torn || how == mute {
		s.dead = true
		s.cancel()
	}
	switch how {
	case failed:
		return errAway
	case lost:
		return errDead
	case torn:
		_ = f(true) // nobody is there to hear of it
		return errDead
	case mute:
		_ = f(false) // nor of this
		return errDead
	case done:
	}
	return f(false)
}

// Claim implements loop.Queue.
func (s *server) Claim(ctx context.Context, now, until time.Time) (c loop.Claim, next time.Time, err error) {
	err = s.do("claim", func(bool) (err error) {
		c, next, err = s.w.db.Deploying().Claim(ctx, now, until)
		if held := s.w.leases[c.Key]; err == nil && c.Key != "" {
			if held.After(now) {
				s.w.broken("%s was claimed though another lease of it lasts until %v", c.Key, held)
			}
			s.w.leases[c.Key] = until
		}
		return err
	})
	return c, next, err
}

// Release implements loop.Queue.
func (s *server) Release(ctx context.Context, c loop.Claim, due time.Time) error {
	return s.do("release", func(bool) error {
		if err := s.w.db.Deploying().Release(ctx, c, due); err != nil {
			return err
		}
		if s.w.leases[c.Key].Equal(c.Until) { // else it has passed to another
			delete(s.w.leases, c.Key)
		}
		return nil
	})
}

func (s *server) change(ctx context.Context, f func(store.Tx) error) error {
	return s.do("change", func(torn bool) error {
		s.facts = nil
		return s.w.db.Change(ctx, func(tx store.Tx) error {
			if err := f(tx); err != nil || !torn {
				return err
			}
			return errDead
		})
	})
}

// EndpointOf implements evidence.Endpoints: it is the first thing that a server
// asks when it looks.
func (s *server) EndpointOf(ctx context.Context, id hosting.DeploymentID) (*hosting.Endpoint, error) {
	s.fired, s.looked = false, time.Now()
	return s.w.db.EndpointOf(ctx, id)
}

// LastGap implements evidence.Watcher. Now and then the server stood still, or
// was cut off, or something was not measured.
func (s *server) LastGap() rollout.Gap {
	s.mayMiss("the database was away")
	return s.gap
}

// Dropped implements evidence.Metrics.
func (s *server) Dropped(traffic.Key, traffic.FleetRef) rollout.Gap {
	s.mayMiss("samples were dropped")
	return s.gap
}

func (s *server) mayMiss(what string) {
	if w := s.w; !w.calm && w.d.one(60) {
		s.gap = rollout.Gap{Until: time.Now().Add(-w.d.upTo(20 * time.Second)), Missed: what}
		w.tally["gap"]++
	}
}

// Firing implements evidence.Alarms.
func (s *server) Firing(
	_ context.Context, _ arn.Scope, names []string, since time.Time,
) (out []hosting.TrippedAlarm, late rollout.Gap, err error) {
	for _, n := range names {
		on, last := s.w.alarms[n], s.w.fired[n]
		if on || !since.IsZero() && last.After(since) {
			s.fired = true
			out = append(out, hosting.TrippedAlarm{Name: n, Reason: "too many", Since: last})
		}
	}
	s.mayMiss("an alarm was not evaluated")
	return out, s.gap, nil
}

// Tripped implements evidence.Routers.
func (s *server) Tripped(hosting.DeploymentID) (a hosting.TrippedAlarm, ok bool) { return a, false }

// Answered implements evidence.Routers. Every server is a router, too, and
// answers some requests between two looks. What the others have counted comes
// late or not at all, in any order, and now and then something from long ago.
func (s *server) Answered(k traffic.Key, f traffic.FleetRef) (reports []traffic.Reading) {
	w, at := s.w, k.Name+"/"+f.ID
	for _, r := range w.servers {
		if r == nil || r != s && w.d.one(3) {
			continue
		}
		if n := int64(w.d.IntN(20)); !r.dead {
			w.answers[at] += n
			r.counts[at] += n // forgotten when the server dies
		}
		report := traffic.Reading{Router: r.name, Began: r.began, Requests: r.counts[at]}
		reports = append(reports, report)
		if w.heard[at] = append(w.heard[at], report); w.d.one(4) {
			reports = append(reports, w.heard[at][w.d.IntN(len(w.heard[at]))])
		}
	}
	w.d.Shuffle(len(reports), func(i, j int) { reports[i], reports[j] = reports[j], reports[i] })
	return reports
}

// live goes on until finished says so. What happens next is drawn from all
// that could: calls at the gate, events that are due, servers that were notified.
func (w *world) live(finished func() bool) error {
	for w.err == nil && !finished() {
		synctest.Wait()
		w.collect()
		now := time.Now()
		var ready []func()
		for _, c := range w.waiting {
			if !c.after.After(now) {
				ready = append(ready, func() { w.admit(c) })
			}
		}
		if len(w.events) > 0 && !w.events[0].at.After(now) {
			ready = append(ready, func() { heap.Pop(&w.events).(event).do() })
		}
		for r := range w.servers {
			if s := w.servers[r]; w.notified[r] && s != nil && !w.atGate(s) {
				ready = append(ready, func() { w.notified[r] = false; s.wakeup.Notify() })
			}
		}
		if len(ready) > 0 {
			ready[w.d.IntN(len(ready))]()
			continue
		}
		if w.sleep(); w.err != nil {
			return w.err
		}
	}
	return w.err
}

// collect takes in who has arrived at the gate, in an order of ours.
func (w *world) collect() {
	for {
		select {
		case c := <-w.calls:
			w.waiting = append(w.waiting, c)
			slices.SortFunc(w.waiting, func(a, b *call) int { return cmp.Compare(a.from.replica, b.from.replica) })
			if c.what == "claim" {
				w.notified[c.from.replica] = false // it is about to look
			}
		default:
			return
		}
	}
}

func (w *world) atGate(s *server) bool {
	return slices.ContainsFunc(w.waiting, func(c *call) bool { return c.from == s })
}

// sleep lets time pass until something happens.
func (w *world) sleep() {
	until := time.Hour
	for _, c := range w.waiting {
		until = min(until, time.Until(c.after))
	}
	if len(w.events) > 0 {
		until = min(until, time.Until(w.events[0].at))
	}
	t := time.NewTimer(until)
	defer t.Stop()
	select {
	case c := <-w.calls:
		w.waiting = append(w.waiting, c)
		if c.what == "claim" {
			w.notified[c.from.replica] = false
		}
	case <-t.C:
	}
}

// admit lets one call through, or has its server meet with an accident, and
// checks what was committed.
func (w *world) admit(c *call) {
	s := c.from
	how := done
	if !w.calm && c.after.IsZero() {
		switch n := w.d.IntN(1000); {
		case n < 4:
			how = failed
		case n < 6:
			how = lost
		case n < 8:
			how = torn
		case n < 11:
			how = mute
		case n < 13:
			c.after = time.Now().Add(w.d.upTo(2 * time.Minute)) // longer than a lease
			w.note("replica %d is slow to %s", s.replica, c.what)
			return
		}
	}
	w.waiting = slices.DeleteFunc(w.waiting, func(other *call) bool { return other == c })
	s.changed = false
	w.tally[c.what]++
	w.note("replica %d: %s %s %d", s.replica, c.what, s.key, how)
	c.answer <- how
	synctest.Wait()
	if s.dead {
		<-s.gone
		w.note("replica %d died", s.replica)
		w.servers[s.replica] = nil
		w.after(w.d.upTo(90*time.Second), func() { w.boot(s.replica) })
	}
	if c.what == "change" && (s.changed || how == mute) {
		w.notifyAll()
		w.soon()
		// By now the server has looked again, for its next call.
		w.check(s.key, c, how)
	}
}

// notifyAll tells every server that something may have fallen due, except that
// word may get lost: they look now and then anyway.
func (w *world) notifyAll() {
	for r := range w.servers {
		if !w.d.one(4) {
			w.notified[r] = true
		}
	}
}

// note remembers what happened last, for whoever has to find out why.
func (w *world) note(format string, args ...any) {
	const enough = 200
	if len(w.trail) >= 2*enough {
		w.trail = slices.Clone(w.trail[enough:])
	}
	line := time.Now().UTC().Format("15:04:05.000 ") + fmt.Sprintf(format, args...)
	w.trail = append(w.trail, line)
	_, _ = io.WriteString(w.digest, line) // a hash takes anything
}

// must is for what cannot fail while the database is there.
func (w *world) must(err error) {
	if err != nil {
		w.broken("the database failed: %w", err)
	}
}

// event is something that happens at its time.
type event struct {
	at time.Time
	n  int
	do func()
}

type events []event

func (h events) Len() int { return len(h) }
func (h events) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].n < h[j].n
	}
	return h[i].at.Before(h[j].at)
}
func (h events) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *events) Push(x any)   { *h = append(*h, x.(event)) }
func (h *events) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

func (w *world) after(d time.Duration, do func()) {
	w.numbered++
	heap.Push(&w.events, event{time.Now().Add(d), w.numbered, do})
}
