package rollout_test

import (
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// dice returns a number from 0 to n-1.
type dice func(n int) int

func (d dice) one(in int) bool { return d(in) == 0 }

// herd is a fleet as the instance service would run it: it starts what is
// missing and stops what is too much, in its own time.
type herd struct{ starting, ready, leaving int }

func (h *herd) want(n int) {
	for ; h.starting+h.ready < n; h.starting++ {
	}
	for ; h.starting+h.ready > n; h.leaving++ {
		if h.starting > 0 {
			h.starting--
		} else {
			h.ready--
		}
	}
}

// live lets instances get ready, leave and, with deadly, die and be replaced.
func (h *herd) live(d dice, stuck, deadly bool) {
	if n := d(h.starting + 1); !stuck {
		h.starting, h.ready = h.starting-n, h.ready+n
	}
	h.leaving -= d(h.leaving + 1)
	if deadly && h.ready > 0 && d.one(8) {
		n := 1 + d(h.ready)
		if d.one(3) {
			n = h.ready
		}
		h.ready, h.starting = h.ready-n, h.starting+n
	}
}

func (h *herd) settle() { h.ready, h.starting, h.leaving = h.ready+h.starting, 0, 0 }

func (h *herd) fleet() rollout.Fleet {
	return rollout.Fleet{Ready: h.ready, Exists: h.starting + h.ready + h.leaving}
}

// world is one deployment among instances, alarms and a clock that behave as
// badly as its dice say. Worlds differ in character, so that each kind of
// trouble also comes alone.
type world struct {
	d        dice
	plan     rollout.Plan
	state    rollout.State
	now      time.Time
	wake     time.Time
	old, new []herd
	deadly   bool      // instances die
	jumpy    bool      // the clock is set back and forth
	gap      time.Time // until when nobody looked, the last time
	grim     bool      // nothing gets ready any more
	doomed   bool      // an old instance that dies is not replaced
	trouble  int       // one in so many turns brings a failure or an alarm
	bossy    int       // one in so many stretches of time brings an order, 0: none
	orders   []rollout.Order
	silent   bool // hardly a request comes
	blind    bool // no gate ever proves anything
	stale    bool // gates tell of a deployment before this one
	requests int64
	check    func(p rollout.Plan, s rollout.State, f rollout.Facts, n rollout.State, wake time.Time) error
}

func newWorld(d dice) (*world, error) {
	p, err := aPlan(d)
	if err != nil {
		return nil, err
	}
	w := &world{
		d: d, plan: p, now: t0, deadly: d.one(2), doomed: d.one(4), jumpy: d.one(3),
		trouble: []int{4, 15, 60, 1000}[d(4)],
	}
	w.blind, w.stale = d.one(4), d.one(4)
	w.bossy, w.silent = []int{0, 4, 20}[d(3)], d.one(4)
	w.check = func(rollout.Plan, rollout.State, rollout.Facts, rollout.State, time.Time) error { return nil }
	w.state = rollout.Start(p, w.now)
	w.old, w.new = make([]herd, len(p.Variants)), make([]herd, len(p.Variants))
	for i, v := range p.Variants {
		w.old[i].ready = v.Old
	}
	return w, nil
}

func aPlan(d dice) (rollout.Plan, error) {
	if !d.one(3) {
		for range 8 { // not every policy suits every fleet
			p, err := rollout.NewPlan(rollout.Update, aPolicy(d), someVariants(d, rollout.Update))
			if err == nil {
				p, err = p.With(someGates(d))
			}
			if err == nil {
				return p, nil
			}
		}
	}
	kind := []rollout.Kind{rollout.Update, rollout.Create, rollout.Scale, rollout.Delete}[d(4)]
	return rollout.NewPlan(kind, nil, someVariants(d, kind))
}

func aPolicy(d dice) *rollout.Policy {
	size := func() rollout.Size {
		if d.one(2) {
			return percent(5 + d(46))
		}
		return count(1 + d(4))
	}
	c := &rollout.Policy{
		Strategy: []rollout.Strategy{
			rollout.AllAtOnce, rollout.Canary, rollout.Linear, rollout.Rolling,
			rollout.Rolling,
		}[d(5)],
		CanarySize: size(), LinearStepSize: size(), MaximumBatchSize: size(),
		WaitInterval: secs(d(4) * 30), TerminationWait: secs(d(4) * 30),
		MaximumExecutionTimeout: secs(600 + d(7200)),
	}
	if d.one(2) {
		c.RollbackMaximumBatchSize = size()
	}
	if !d.one(3) {
		c.Alarms = []string{"a", "b"}
	}
	if d.one(4) {
		c.MinimumRequests = 1 + d(50)
	}
	return c
}

func someVariants(d dice, kind rollout.Kind) []rollout.Variant {
	var vs []rollout.Variant
	for i := range 1 + max(0, d(5)-2) {
		v := rollout.Variant{Name: fmt.Sprint(i), Old: 1 + d(9), New: 1 + d(9)}
		if d.one(2) {
			v.New = v.Old
		}
		switch kind {
		case rollout.Create:
			v.Old = 0
		case rollout.Delete:
			v.New = 0
		case rollout.Update:
			if d.one(12) {
				v.Old = 0
			} else if d.one(12) {
				v.New = 0
			}
		case rollout.Scale:
		}
		vs = append(vs, v)
	}
	return vs
}

func (w *world) facts() rollout.Facts {
	f := rollout.Facts{
		Now: w.now, Orders: w.orders, GreenRequests: w.requests, Gates: w.gates(),
		Observed: rollout.Observation{Last: rollout.Gap{Until: w.gap, Missed: "nobody looked"}, Until: w.now},
	}
	for i := range w.plan.Variants {
		f.Old, f.New = append(f.Old, w.old[i].fleet()), append(f.New, w.new[i].fleet())
	}
	return f
}

// settleState takes turns under f until the state stands still, or the server
// crashes in between.
func (w *world) settleState(f rollout.Facts) error {
	for range 200 {
		next, wake := rollout.Next(w.plan, w.state, f)
		if err := w.check(w.plan, w.state, f, next, wake); err != nil {
			return err
		}
		w.state, w.wake = next, wake
		if !wake.Equal(f.Now) || w.d.one(3) {
			for i, c := range w.state.Variants {
				w.old[i].want(c.OldWanted)
				w.new[i].want(c.NewWanted)
			}
			return nil
		}
	}
	return fmt.Errorf("no rest under the same facts: %s", line(w.state))
}

// wild lives through one stretch of time in which anything may happen.
func (w *world) wild() error {
	for i := range w.plan.Variants {
		w.old[i].live(w.d, w.grim || w.doomed, w.deadly)
		w.new[i].live(w.d, w.grim, w.deadly)
	}
	f := w.facts()
	if w.d.one(w.trouble) {
		switch w.d(3) {
		case 0:
			f.Failure = "no instance"
		case 1:
			f.FiringAlarms = []string{"b"}
		case 2:
			f.FiringAlarms = []string{"not ours"}
		}
	}
	f.ShadowsMissing = max(0, w.d(6)-3)
	if w.d.one(8) { // looked at a while ago
		f.Observed.Until = w.now.Add(-time.Duration(w.d(20_000)) * time.Millisecond)
	}
	if w.d.one(8) {
		f.OldFailure = "no old instance"
	}
	if err := w.settleState(f); err != nil {
		return err
	}
	w.pass()
	return nil
}

// calm lives through one stretch of time in which all goes well, save that nothing
// gets ready if the world is grim.
func (w *world) calm() error {
	for i := range w.plan.Variants {
		if w.grim {
			w.old[i].leaving, w.new[i].leaving = 0, 0
		} else {
			w.old[i].settle()
			w.new[i].settle()
		}
	}
	if err := w.settleState(w.facts()); err != nil {
		return err
	}
	if w.wake.After(w.now) {
		w.now = w.wake
	}
	if !w.silent {
		w.requests += 100
	}
	if (w.silent && w.plan.Policy.MinimumRequests > 0 || w.proves()) && w.state.Phase == rollout.Baking {
		w.now = w.now.Add(time.Minute) // rather than count each second that nothing came
	}
	return nil
}

// pass lets time pass, usually no further than the deployment asked for.
func (w *world) pass() {
	before := w.now
	defer func() {
		w.meanwhile(before)
		switch past := int(w.now.Sub(before) / time.Millisecond); {
		case past < 0 && w.gap.After(w.now):
			w.gap = w.now
		case past > 0 && w.d.one(8):
			w.gap = before.Add(time.Duration(w.d(past)) * time.Millisecond)
		}
	}()
	switch {
	case w.jumpy && w.d.one(6):
		w.now = w.now.Add(secs(w.d(7200) - 3600))
	case w.d.one(2) && w.wake.After(w.now):
		w.now = w.wake
	default:
		w.now = w.now.Add(time.Duration(w.d(20_000)) * time.Millisecond)
	}
}

// meanwhile lets requests come, and people give orders.
func (w *world) meanwhile(since time.Time) {
	if !w.silent || w.d.one(30) {
		w.requests += int64(w.d(40))
	}
	if w.bossy == 0 || !w.d.one(w.bossy) {
		return
	}
	at := w.now
	if past := int(w.now.Sub(since) / time.Millisecond); past > 0 {
		at = since.Add(time.Duration(w.d(past)) * time.Millisecond)
	}
	verb := rollout.Pause
	if _, paused := w.state.Paused(); paused {
		verb = rollout.Resume
	}
	if w.d.one(5) {
		verb = []rollout.Verb{rollout.Pause, rollout.Resume, rollout.Promote, rollout.Abort, "Dance"}[w.d(5)]
	}
	w.orders = append(w.orders, rollout.Order{Verb: verb, By: "eve", At: at})
}
