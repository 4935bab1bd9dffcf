package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
)

// strictGate is the judge that undoes a deployment by itself: errors at 3, with
// the patience that a gate has there.
const strictGate = any3

// counted are harmless deployments of which only failures are looked at, drawn as
// counts for each second: many more can be lived through than request by request.
// All have much that fails in both fleets, which is where experts that stake
// little come into play.
func counted() []scenario {
	much := scenario{counted: true, errOld: 0.05, runs: 4000}
	of := func(name, about string, change func(*scenario)) scenario {
		s := much
		s.name, s.about = "counted-"+name, about
		change(&s)
		return s
	}
	return []scenario{
		of("5", "both fail 5 %", func(*scenario) {}),
		of("20", "both fail 20 %", func(s *scenario) { s.errOld = 0.2 }),
		of("bursts", "both fail 5 %, bursts in both", func(s *scenario) { s.bursts = true }),
		of("incidents", "the same, bad moments of single instances", func(s *scenario) {
			s.bursts, s.incidents = true, true
		}),
		of("hosts", "the same, bad moments of hosts instead", func(s *scenario) { s.bursts, s.hosts = true, true }),
		of("one", "both fail 5 %, bursts, one new instance with half", func(s *scenario) {
			s.bursts, s.share, s.instances = true, 0.5, 1
		}),
		of("one-incidents", "the same, bad moments of single instances", func(s *scenario) {
			s.bursts, s.incidents, s.share, s.instances = true, true, 0.5, 1
		}),
		of("busy", "500 rps, both fail 5 %, bursts, bad moments of hosts", func(s *scenario) {
			s.rps, s.bursts, s.hosts = 500, true, true
		}),
		of("edge", "the new fleet fails 1.5 times as much plus 0.1 points at every moment, bursts", func(s *scenario) {
			s.bursts, s.edge = true, true
		}),
		of("edge-free", "the same, no guard", func(s *scenario) { s.bursts, s.edge, s.uncapped = true, true, true }),
	}
}

// countedBake is one bake of those. Requests that do not fail are handed over at
// the end of a stride, which can only make evidence higher meanwhile.
func (l life) countedBake(s scenario, name uint64) (all [judges + peers]found) {
	w := newWorld(s, l.tables, l.seed^name, l.run)
	lax := evidence.Rate(evidence.Errors, evidence.DefaultMargins())
	strict := lax
	strict.Cap = evidence.Patience(time.Minute, 0.001)
	if s.uncapped {
		lax.Cap, strict.Cap = 0, 0
	}
	c := counter{w: w, lax: evidence.New(lax), strict: evidence.New(strict)}
	for t := range bake {
		c.second(t)
		if c.ends(t) {
			c.hand(c.share)
		}
		if c.lax.Exceeds(threshold) && !all[errorGate].Yes {
			all[errorGate] = found{true, t + 1, c.requests()}
		}
		if c.strict.Exceeds(3) && !all[strictGate].Yes {
			all[strictGate] = found{true, t + 1, c.requests()}
		}
		if (t+1)%evidence.Stride == 0 {
			c.lax.Close()
			c.strict.Close()
		}
	}
	return all
}

// counter draws the counts of a bake.
type counter struct {
	w           *world
	lax, strict *evidence.Process
	share       float64
	good        [slots + 1]float64 // requests to come in this stride that did not fail; the old fleet is the last
}

// ends says whether a second is the last of a stride, or of a share.
func (c *counter) ends(t int) bool { return (t+1)%evidence.Stride == 0 || c.w.split(t+1) != c.share }

// second draws the failures of a second, and adds up what else is to be expected.
func (c *counter) second(t int) {
	w := c.w
	c.share = w.split(t)
	w.next(t)
	fails := 0.0
	for i := range slots {
		rate := c.rate(old, i)
		mean := w.perSecond * (1 - c.share) / slots
		fails += mean * rate
		c.good[slots] += mean * (1 - rate)
	}
	c.count(evidence.Count{Share: c.share, Old: true, Cell: evidence.Event, N: c.poisson(fails)})
	for i := range w.instances {
		rate := c.rate(fresh, i)
		if w.edge {
			rate = 1.5*rate + 0.001
		}
		mean := w.perSecond * c.share / float64(w.instances)
		c.good[i] += mean * (1 - rate)
		c.count(evidence.Count{Share: c.share, Slot: i, Cell: evidence.Event, N: c.poisson(mean * rate)})
	}
}

// rate is which share of an instance's requests fails in this second.
func (c *counter) rate(fleet, i int) float64 {
	rate := c.w.errOld + c.w.failing
	if c.w.now < c.w.until[fleet][i] {
		rate += 0.2
	}
	return rate
}

// hand draws the requests that did not fail, and hands them over.
func (c *counter) hand(share float64) {
	for i, mean := range c.good {
		c.count(evidence.Count{
			Share: share, Old: i == slots, Slot: i % slots, Cell: evidence.None, N: c.poisson(mean),
		})
		c.good[i] = 0
	}
}

func (c *counter) poisson(mean float64) float64 { return float64(c.w.poisson(c.w.random, mean)) }

func (c *counter) count(n evidence.Count) {
	c.lax.Count(n)
	c.strict.Count(n)
}

func (c *counter) requests() int {
	fresh, _ := c.lax.Totals()
	return int(fresh[evidence.None] + fresh[evidence.Event])
}

// failures is the table of bakes that are drawn as counts.
func (m *measured) failures(b *strings.Builder) {
	if !slices.ContainsFunc(counted(), func(s scenario) bool { return m.Bakes[s.name].Runs > 0 }) {
		return
	}
	b.WriteString("\nThe gate of errors alone, where much fails in both fleets: 50 requests a second, drawn as counts for " +
		"each\nsecond, at 2 and as it undoes deployments by itself (`patience=60s`, at 3):\n\n")
	head(b, "", "bakes", "at 2", "undone")
	bakes, two, undone := 0, 0, 0
	for _, s := range counted() {
		r, ok := m.Bakes[s.name]
		if !ok {
			continue
		}
		at2, at3 := r.Judges[errorGate].Against, r.Judges[strictGate].Against
		row(b, s.about, count(r.Runs), percent(at2, r.Runs), percent(at3, r.Runs))
		if !s.edge {
			bakes, two, undone = bakes+r.Runs, two+at2, undone+at3
		}
	}
	fmt.Fprintf(b, "\nWithout the last two these are %s bakes: at 2, %s of them, which is %s; undone %s,\nwhich is %s.\n",
		count(bakes), count(two), between(two, bakes), count(undone), between(undone, bakes))
}
