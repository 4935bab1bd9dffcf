package rollout

import (
	"slices"
	"time"
)

// Start returns the State in which p starts. The old fleets serve, the first
// new instances are wanted.
func Start(p Plan, now time.Time) State {
	now = now.Round(0).UTC()
	s := State{Phase: Launching, Begun: now, Since: now, Variants: make([]Split, len(p.Variants))}
	if p.Kind == Delete {
		s.Phase = Committed
		return s
	}
	for i, v := range p.Variants {
		c := Split{OldWanted: v.Old, OldActive: v.Old}
		if p.Kind == Scale {
			c.OldWanted = max(v.Old, v.New)
		} else {
			p.launch(v, &c, 0)
		}
		s.Variants[i] = c
	}
	return s
}

// Next returns the State that follows s under f, and when to ask again if no
// fact changes first. That time is f.Now exactly if the State changed: ask
// again at once, the same facts will do. Otherwise it lies after f.Now, or is
// zero if only another fact can move the deployment. Whoever calls it sees to
// it that facts are fresh: a change of instances or alarms is a reason to ask.
func Next(p Plan, s State, f Facts) (State, time.Time) {
	f.Now = f.Now.Round(0).UTC()
	if f.Now.Before(s.Since) {
		return s.rewound(f.Now), f.Now
	}
	// A verdict comes before orders: no Pause may keep it from falling.
	if why := p.verdict(s, f); why != "" {
		if s.unobserved(f) { // what was missed is said, too
			s = s.startOver(f)
		}
		return p.turnBack(p.resume(s, f.Now), f, why), f.Now
	}
	if s.unobserved(f) {
		return s.startOver(f), f.Now
	}
	if n := len(s.Followed); n < len(f.Orders) {
		return p.follow(s, f, f.Orders[n]), f.Now
	}
	if s.hold() < 0 {
		if next, moved := p.step(s, f); moved {
			return next, f.Now
		}
	}
	return s, p.wake(s, f)
}

// step takes one transition that is not a verdict, and reports whether there
// was one to take.
func (p Plan) step(s State, f Facts) (State, bool) {
	switch s.Phase {
	case Launching:
		if p.Kind == Scale {
			return p.scale(s, f)
		}
		if p.ready(s, f) {
			return p.shift(s, f), true
		}
	case Shifting:
		if p.bake(s) == 0 {
			return p.goOn(s, f)
		}
		return p.enter(s, Baking, f.Now, nil), true
	case Baking:
		if p.observed(s, f) && !p.lacking(s, f) {
			if f.GreenRequests <= s.Requests && !p.Mirrored(s.Step) {
				s.Unproven = append(slices.Clip(s.Unproven), s.Step)
			}
			return p.goOn(s, f)
		}
	case Retiring:
		if settled(s, f) {
			s.Step++
			return p.enter(s, Launching, f.Now, func(v Variant, c *Split) { p.launch(v, c, s.Step) }), true
		}
	case Committed:
		if settled(s, f) {
			return p.enter(s, Succeeded, f.Now, nil), true
		}
	case Returning, Restoring, Withdrawing:
		return p.stepBack(s, f)
	case Succeeded, RolledBack, RollbackFailed, Failed:
	}
	return s, false
}

// launch wants the new instances of v that step i needs: with a rolling
// strategy its batch, otherwise the whole fleet (spec §4.4).
func (p Plan) launch(v Variant, c *Split, i int) {
	c.NewWanted = v.New
	if p.Policy.Strategy == Rolling {
		c.NewWanted = p.green(v, max(i, p.lead()))
	}
}

// shift moves the traffic of s.Step.
func (p Plan) shift(s State, f Facts) State {
	s.Requests = f.GreenRequests
	return p.enter(s, Shifting, f.Now, func(v Variant, c *Split) {
		c.NewActive = p.green(v, s.Step)
		c.OldActive = carry(v.Old, c.NewActive, v.New)
		c.NewShare = part(c.NewActive, v.New)
	})
}

// goOn leaves a step whose bake is over, unless a new instance is not ready just
// then: neither may traffic move on to it, nor the old instances go.
func (p Plan) goOn(s State, f Facts) (State, bool) {
	if !p.ready(s, f) {
		return s, false
	}
	switch {
	case p.Kind == Create:
		return p.enter(s, Succeeded, f.Now, nil), true
	case s.Step == p.Steps()-1:
		return p.enter(s, Committed, f.Now, func(_ Variant, c *Split) { c.OldWanted, c.OldActive = 0, 0 }), true
	case p.Policy.Strategy == Rolling && !p.Mirrored(s.Step):
		return p.enter(s, Retiring, f.Now, func(_ Variant, c *Split) { c.OldWanted = c.OldActive }), true
	}
	s.Step++
	return p.shift(s, f), true
}

// scale turns on instances as they get ready; once none is missing, what is
// too much goes. Growing first means that a failure has nothing to relaunch.
func (p Plan) scale(s State, f Facts) (State, bool) {
	grown, complete := s.Variants, f.ShadowsMissing == 0
	for i, v := range p.Variants {
		ready := min(f.oldFleet(i).Ready, v.New)
		if v.New <= v.Old {
			continue
		}
		complete = complete && ready == v.New
		if ready > s.Variants[i].OldActive {
			grown = slices.Clone(grown)
			grown[i].OldActive = ready
		}
	}
	if complete {
		return p.enter(s, Committed, f.Now, func(v Variant, c *Split) { c.OldWanted, c.OldActive = v.New, v.New }), true
	}
	moved := !slices.Equal(grown, s.Variants)
	s.Variants = grown
	return s, moved
}

// ready reports whether every new instance that is wanted can take traffic and,
// before the first step, every shadow get its copies.
func (p Plan) ready(s State, f Facts) bool {
	if s.Phase == Launching && s.Step == 0 && f.ShadowsMissing > 0 {
		return false
	}
	for i, c := range s.Variants {
		if f.newFleet(i).Ready < c.NewWanted {
			return false
		}
	}
	return true
}

// settled reports whether every instance that is not wanted has gone.
func settled(s State, f Facts) bool {
	for i, c := range s.Variants {
		if f.oldFleet(i).Exists > c.OldWanted || f.newFleet(i).Exists > c.NewWanted {
			return false
		}
	}
	return true
}

// wake returns when s must be looked at again though no fact has changed.
func (p Plan) wake(s State, f Facts) time.Time {
	switch {
	case s.Phase == Restoring:
		return s.Turned.Add(p.Policy.MaximumExecutionTimeout)
	case !s.Phase.Undoable():
		return time.Time{}
	}
	expires := s.Begun.Add(p.Policy.MaximumExecutionTimeout)
	if s.Phase != Baking || s.hold() >= 0 {
		return expires
	}
	again := p.rise(s, f)
	if again.After(f.Now) && again.Before(expires) {
		return again
	}
	return expires
}

// rise is when the bake of s must be looked at again for its own sake; not after
// f.Now if it waits for facts alone.
func (p Plan) rise(s State, f Facts) time.Time {
	ends, baked := p.ends(s, f), p.baked(s)
	soon := f.Now.Add(recount)
	if wait, early := p.atLeast(s); early && ends.After(f.Now) {
		at := s.baking().Add(wait + s.Held)
		switch {
		case at.After(f.Now) && at.Before(ends):
			return at
		case ends.After(soon):
			return soon // it may be proven by then
		}
	}
	switch {
	case ends.After(f.Now):
		return ends
	case baked.After(f.Now) && baked.Before(soon):
		return baked
	case p.lacking(s, f) || !p.observed(s, f):
		return soon
	}
	return baked
}

// enter returns s in another phase with every split changed by set.
func (p Plan) enter(s State, ph Phase, now time.Time, set func(Variant, *Split)) State {
	s.Phase, s.Since, s.Restarted, s.Held = ph, now, time.Time{}, 0
	if set != nil {
		s.Variants = slices.Clone(s.Variants)
		for i, v := range p.Variants {
			set(v, &s.Variants[i])
		}
	}
	return s
}

// rewound returns s for a clock that was set back: the phase starts over, so
// that no bake is cut short, a pause in it too, and what had passed before it
// stays passed, so that no timeout is put off.
func (s State) rewound(now time.Time) State {
	back := now.Sub(s.Since)
	s.Since, s.Begun, s.Restarted, s.Held = now, s.Begun.Add(back), time.Time{}, 0
	if i := s.hold(); i >= 0 {
		s.Followed = slices.Clone(s.Followed)
		s.Followed[i].From = now
	}
	if !s.Turned.IsZero() {
		s.Turned = s.Turned.Add(back)
	}
	return s
}

func part(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}
