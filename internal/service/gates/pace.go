package gates

import (
	"time"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// pace says, of a variant, by which times its fleets are compared, and when they are
// not.
type pace struct {
	*watch
	history [timings]evidence.History
	cuts    [timings]*evidence.Cuts // for requests to come; nil: not enough is known
	warmup  [timings]time.Duration
	cold    [timings]time.Time      // until then the new fleet warms up
	share   float64                 // that the route gave the new fleet last
	warmed  [evidence.MaxSlots]bool // the slots that have had an instance
	load    float64                 // requests of a new instance for each of an old one; 0 is not known
	held    [timings]string         // why times are not compared now; "": they are
	since   [timings]time.Time      // when that began
}

// newPace begins with nothing known. After a shift, and after an instance took its
// place for the first time, times are not compared for as long as the gate says, but
// no longer than a fifth of the shortest bake: short steps would never be looked at.
func newPace(of *watch, p rollout.Plan, now time.Time) *pace {
	c := &pace{watch: of}
	for i, k := range timed {
		factor, warmup := evidence.DefaultFactor, time.Minute
		if g, asked := gate.Find(p.Policy.Gates, gate.Kind(k)); asked {
			factor, warmup = g.Factor, g.Warmup
		}
		c.times.factors[i], c.warmup[i] = factor, p.Warmup(warmup)
		c.held[i], c.since[i] = unknown, now
	}
	return c
}

// setPace has a variant's times compared as its route and the moment ask for.
func (s *Service) setPace(v *variantOf, now time.Time, ended bool) {
	v.pace.take(ended)
	if rt, ok := s.cfg.Route(v.place.Endpoint); ok {
		v.pace.set(drawnBy(&rt, v.place.Variant, v.pace.fleets), now)
	}
}

// heldFor says why times are not compared now, and since when; "" if they are.
func (c *pace) heldFor(t timing) (why string, since time.Time) {
	if c.held[t] == "" {
		return "", since
	}
	return c.held[t], c.since[t]
}

// The reasons why times are not compared.
const (
	unknown = "too few requests of the old fleet have been timed"
	warming = "the new fleet warms up"
	burden  = "copies of requests keep its instances busy"
)

// take adds what was timed of the old fleet. Cuts are taken anew at the end of each
// stride, and as soon as there can be some.
func (c *pace) take(ended bool) {
	for i := range c.history {
		h := &c.history[i]
		c.times.past[i].take(h)
		if ended {
			h.Age(evidence.Stride)
		}
		if !ended && c.cuts[i] != nil {
			continue
		}
		if cuts, ok := h.Cuts(); ok {
			c.cuts[i] = &cuts
		}
	}
}

// set has the regime hold that a route and the moment ask for.
func (c *pace) set(d drawn, now time.Time) {
	share, joined := d.share(), false
	if d.fresh != nil {
		for _, in := range d.fresh.Instances {
			slot := max(0, in.Slot) % evidence.MaxSlots
			joined = joined || !c.warmed[slot]
			c.warmed[slot] = true
		}
	}
	shifted := share != c.share
	c.share, c.load = share, d.load()
	r := regime{epoch: d.epoch}
	for i := range timed {
		if shifted || joined {
			c.cold[i] = now.Add(c.warmup[i])
		}
		held := ""
		switch {
		case d.burdened():
			held = burden
		case now.Before(c.cold[i]):
			held = warming
		case c.cuts[i] == nil:
			held = unknown
		default:
			r.cuts[i] = c.cuts[i]
		}
		if held != c.held[i] {
			c.held[i], c.since[i] = held, now
		}
	}
	c.times.begin(r)
}

// drawn are the fleets that a route divides a variant's requests between, as far as
// it has them.
type drawn struct {
	epoch      int64
	old, fresh *traffic.Fleet
	mirror     *traffic.Mirror
}

// drawnBy finds them in a route.
func drawnBy(rt *traffic.Route, variant string, of Fleets) (d drawn) {
	d.epoch = rt.Version
	for i := range rt.Variants {
		v := &rt.Variants[i]
		if v.Name != variant {
			continue
		}
		d.mirror = v.Mirror
		for j := range v.Fleets {
			switch v.Fleets[j].ID {
			case of.New:
				d.fresh = &v.Fleets[j]
			case of.Old:
				d.old = &v.Fleets[j]
			}
		}
	}
	return d
}

// share is what the new fleet shall have of the requests of both, whether or not it
// has an instance to take them: one that crashes and comes back is no shift.
func (d *drawn) share() float64 {
	switch {
	case d.fresh == nil:
		return 0
	case d.old == nil:
		return 1
	}
	return d.fresh.Share / (d.fresh.Share + d.old.Share)
}

// load is how many requests an instance of the new fleet gets for each that one of
// the old fleet does; 0 if one of them has none.
func (d *drawn) load() float64 {
	if d.fresh == nil || d.old == nil || len(d.fresh.Instances) == 0 || !(d.old.Share > 0) {
		return 0
	}
	return d.fresh.Share / float64(len(d.fresh.Instances)) * float64(len(d.old.Instances)) / d.old.Share
}

// most is by how much more copies may keep instances busy that answer requests.
const most = 0.1

// burdened reports whether copies make new instances slower that answer requests.
func (d *drawn) burdened() bool {
	s := d.share()
	if d.mirror == nil || d.fresh == nil || !(s > 0 && s < 1) || d.mirror.Ratio*(1-s) <= most*s*(1+1e-9) {
		return false
	}
	for _, to := range d.mirror.To.Instances {
		for _, in := range d.fresh.Instances {
			if in.ID == to.ID {
				return true
			}
		}
	}
	return false
}

// seen are the numbers behind the value of a gate of times: of the cut that speaks
// the loudest.
func (c *pace) seen(p *evidence.Process, t timing) (n gate.Seen) {
	side, _ := p.Leading()
	s := p.Gate().Sides[side]
	fresh, old := p.Totals()
	n.New, n.Old, n.Side = tally(s.X, fresh), tally(s.X, old), s.Name
	if cuts := c.cuts[t]; cuts != nil && side < len(cuts) {
		n.Cut = time.Duration(cuts[side] * float64(time.Second))
	}
	if l := c.load; l > 0 && (l > 1.2 || l < 1/1.2) {
		n.Load = l
	}
	return n
}

// tally counts those of some cells that are an event by x, from 0 to 1.
func tally(x, cells []float64) (t gate.Tally) {
	all := 0.0
	for i, n := range cells[:len(x)] {
		all += n
		t.Events += x[i] * n
	}
	t.Requests = int64(all + 0.5)
	return t
}

// timingOf returns which time a gate compares; false if it compares none.
func timingOf(k evidence.Kind) (t timing, ok bool) {
	for t := range timings {
		if timed[t] == k {
			return t, true
		}
	}
	return 0, false
}
