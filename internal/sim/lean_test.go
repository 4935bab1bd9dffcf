package sim

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// perChain is how many deployments one endpoint goes through.
const perChain = 20

// What decides, and what follows from it, lives through many more deployments
// than the store could: the same world and the same promises, but rows are kept
// in memory. Here people step in, and the clock is set back and forth.
func TestTheDecisionsKeepTheirPromises(t *testing.T) {
	if seed, ok := onlySeed(t); ok {
		if c := newChain(seed); c.live() != nil {
			t.Fatalf("%v\nafter\n  %s", c.err, strings.Join(c.trail, "\n  "))
		}
		return
	}
	from, last := seeds(t, wanted(t, 2000)/perChain)
	var next, rollouts atomic.Uint64
	next.Store(from - 1)
	begun := time.Now()
	t.Run("chains", func(t *testing.T) {
		for worker := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint("worker ", worker), func(t *testing.T) {
				t.Parallel()
				for seed := next.Add(1); seed <= last && !t.Failed(); seed = next.Add(1) {
					c := newChain(seed)
					if err := c.live(); err != nil {
						t.Errorf("seed %d: %v\nto see it again: SLIPWAY_SIM_SEED=%d go test ./internal/sim -run %s",
							seed, err, seed, "TestTheDecisionsKeepTheirPromises")
					}
					rollouts.Add(uint64(c.accepted))
				}
			})
		}
	})
	told(t, from, last, rollouts.Load(), time.Since(begun))
}

// chain is one endpoint and all that happens to it.
type chain struct {
	people
	audit
	slot     *slot
	e        *hosting.Endpoint
	is       []hosting.Instance
	now      time.Time
	wake     time.Time
	traits   map[hosting.FleetID]*traits
	requests int64
	alarm    bool
	deadly   bool // instances die
	jumpy    bool // the clock is set back and forth
	steered  bool // people step in
	idle     int  // turns since anything happened
	trail    []string
}

func newChain(seed uint64) *chain {
	c := &chain{
		people: people{d: roll(seed), quota: perChain}, audit: newAudit(),
		traits: map[hosting.FleetID]*traits{}, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	c.slot = &slot{name: "endpoint-0"}
	c.deadly, c.jumpy, c.steered = c.d.one(3), c.d.one(3), c.d.one(2)
	return c
}

// live goes on until the endpoint is deleted for the last time.
func (c *chain) live() error {
	for n := 0; c.err == nil && (c.quota > 0 || c.e != nil); n++ {
		if n > 20_000*perChain {
			c.broken("it never ends: %s", draw(c.e))
		}
		switch {
		case c.e == nil:
			c.bringUp()
		case c.e.Deployment == nil && c.d.one(4):
			c.want()
		case c.d.one(3):
			c.running()
		case c.d.one(3):
			c.pass()
		default:
			c.turn()
		}
	}
	return c.err
}

func (c *chain) note(format string, args ...any) {
	if len(c.trail) >= 400 {
		c.trail = slices.Clone(c.trail[200:])
	}
	c.trail = append(c.trail, c.now.Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

func (c *chain) bringUp() {
	c.slot.id = hosting.EndpointID(c.name("e"))
	c.slots[c.slot.id] = c.slot
	e, err := hosting.Create(c.slot.id, c.slot.name, c.launch(hosting.DeploymentID(c.name("d")), c.shape(nil), c.now),
		nil)
	if err != nil {
		c.broken("create: %w", err)
		return
	}
	c.accept(e, "create")
}

func (c *chain) accept(e *hosting.Endpoint, what string) {
	c.quota--
	c.accepted++
	c.requests, c.alarm = 0, false
	c.note("%s", what)
	c.save(e)
}

// want asks for a deployment that suits the endpoint.
func (c *chain) want() {
	e := clone(c.e)
	what, err := c.ask(e, c.now)
	if err != nil {
		c.refused++
		return
	}
	c.accept(e, what)
}

// save does to the rows what the store does when an endpoint is saved.
func (c *chain) save(e *hosting.Endpoint) {
	missing, surplus := e.Reconcile(c.is)
	is := slices.Clone(c.is)
	for i := range is {
		is[i].Wanted = is[i].Wanted && !slices.Contains(surplus, is[i].ID)
	}
	for _, m := range missing {
		if c.traits[m.Fleet] == nil {
			c.traits[m.Fleet] = &traits{broken: c.d.one(12), flaky: c.d.one(6), stuck: c.d.one(40), frail: c.deadly}
		}
		is = append(is, hosting.Instance{
			ID: hosting.InstanceID(c.name("i")), Endpoint: e.ID, Fleet: m.Fleet, Variant: m.Spec.Variant.Name,
			Ordinal: m.Ordinal, Wanted: true, Status: hosting.InstanceStarting, Created: e.Modified,
		})
	}
	if e.Ended() {
		e.Deployment = nil
	}
	c.written(e, is)
}

// written settles what follows from the instances and has it checked.
func (c *chain) written(e *hosting.Endpoint, is []hosting.Instance) {
	e.UpdateStatus(is, c.now)
	if c.d.one(100) { // through storage
		text, err := json.Marshal(e)
		stored := new(hosting.Endpoint)
		if err == nil {
			err = json.Unmarshal(text, stored)
		}
		if err != nil {
			c.broken("store: %w", err)
		}
		e = stored
	}
	c.e, c.is, c.idle = e, is, 0
	c.observe(c.slot, e, is, e.Route(is))
}

// turn takes the deployer's turn, and may die in the middle of it.
func (c *chain) turn() {
	c.idle++
	for range 32 {
		if c.e == nil || c.e.Deployment == nil {
			return
		}
		e := clone(c.e)
		d := e.Deployment
		var firing []hosting.TrippedAlarm
		if c.alarm {
			firing = []hosting.TrippedAlarm{{Name: e.Name}}
		}
		d.Exposure.Requests = c.requests
		seen := c.seen(e, c.quota <= 0)
		facts := e.Facts(c.is, firing, c.now)
		facts.Gates = e.GateFacts(seen)
		next, wake := rollout.Next(d.Plan, d.State, facts)
		if c.wake = wake; !wake.Equal(c.now) {
			return
		}
		prev := c.e
		c.note("%s → %s", d.State.Phase, next.Phase)
		e.Apply(next, c.now)
		d.Note(seen, prev.Deployment.State, c.now)
		if e.Ended() && d.Plan.Kind == rollout.Delete {
			if len(c.is) > 0 {
				c.broken("deleted with %d instances", len(c.is))
			}
			c.slot.route = traffic.Route{Gone: true}
			c.vanished(c.slot)
			c.e = nil
			return
		}
		c.save(e)
		rewound := c.now.Before(prev.Deployment.State.Since)
		if c.err == nil && !rewound {
			if err := judgedByItsOwn(prev, c.e, seen); err != nil {
				c.broken("%s: %w", describe(prev, c.slot), err)
			}
		}
		if c.err == nil && c.alarm && !rewound && len(d.Plan.Policy.Alarms) > 0 {
			if err := heeded(prev, c.e); err != nil {
				c.broken("%s: %w", describe(prev, c.slot), err)
			}
		}
		if c.d.one(6) {
			return // the server died; another goes on some time
		}
	}
}

// running lets instances come up, die and go.
func (c *chain) running() {
	is := slices.Clone(c.is)
	changed := false
	for i := range is {
		a, b := &is[i], c.traits[is[i].Fleet]
		if !c.d.one(2) {
			continue
		}
		was := *a
		switch {
		case !a.Wanted:
			a.ID = ""
		case a.Status == hosting.InstanceReady && b.frail && c.d.one(30):
			c.slot.hurt = true
			a.Status = hosting.InstanceUnhealthy
			if c.d.one(5) {
				a.Status, a.Detail = hosting.InstanceFailed, "The process ended."
			}
		case a.Status == hosting.InstanceUnhealthy:
			a.Status = hosting.InstanceReady
		case a.Status != hosting.InstanceStarting || b.stuck:
		case b.broken || b.flaky && c.d.one(3):
			if a.Attempts++; a.Attempts == 3 {
				a.Status, a.Detail = hosting.InstanceFailed, "It did not pass the ping health check."
			}
		default:
			a.Status, a.Address = hosting.InstanceReady, "10.0.0.1:80"
		}
		changed = changed || *a != was
	}
	if changed {
		is = slices.DeleteFunc(is, func(i hosting.Instance) bool { return i.ID == "" })
		c.written(clone(c.e), is)
	}
}

// pass lets time pass, requests come, alarms flap and people step in.
func (c *chain) pass() {
	before := c.now
	switch {
	case c.jumpy && c.d.one(20):
		c.now = c.now.Add(c.d.between(-time.Hour, time.Hour))
	case c.wake.After(c.now) && (c.d.one(2) || c.idle > 50):
		c.now = c.wake
	default:
		c.now = c.now.Add(c.d.upTo(10 * time.Second))
	}
	c.requests += int64(c.d.IntN(10))
	if c.d.one(200) || c.alarm {
		c.alarm = !c.alarm
		c.note("alarm %v", c.alarm)
	}
	d := c.e.Deployment
	if d == nil || !c.steered || !c.d.one(10) {
		return
	}
	at := c.now
	if before.Before(at) {
		at = before.Add(c.d.upTo(at.Sub(before) + 1))
	}
	e, verb := clone(c.e), c.verb()
	if err := e.Order(verb, "eve", at); err != nil {
		return // refused
	}
	c.note("%s", verb)
	c.tally[string(verb)]++
	c.save(e)
}

// clone returns a copy of e that shares nothing with it that is ever changed.
func clone(e *hosting.Endpoint) *hosting.Endpoint {
	n := *e
	n.Fleet, n.Remnant = cloneFleet(e.Fleet), cloneFleet(e.Remnant)
	n.Weights = slices.Clone(e.Weights)
	if e.Deployment != nil {
		d := *e.Deployment
		d.Green = cloneFleet(d.Green)
		d.Weights = slices.Clone(d.Weights)
		n.Deployment = &d
	}
	return &n
}

func cloneFleet(f *hosting.Fleet) *hosting.Fleet {
	if f == nil {
		return nil
	}
	n := *f
	n.Variants = slices.Clone(f.Variants)
	return &n
}
