package rollout

import (
	"slices"
	"strings"
	"time"
)

// verdict returns why a deployment must be undone, "" while it need not.
func (p Plan) verdict(s State, f Facts) string {
	if !s.Phase.Undoable() {
		return ""
	}
	if f.Failure != "" {
		return f.Failure
	}
	// Alarms count from the first shift on; just before it they are read to
	// keep it from happening (spec §4.5).
	if s.Phase != Launching || s.Step > 0 || p.ready(s, f) {
		if why := p.tripped(f); why != "" {
			return why
		}
		if why := p.fired(s, f); why != "" {
			return why
		}
		if f.TakenBack != "" { // traffic does not come back unless somebody decides it
			return "Endpoint deployment was rolled back because " + f.TakenBack
		}
	}
	if limit := p.Policy.MaximumExecutionTimeout; !f.Now.Before(s.Begun.Add(limit)) {
		return p.timedOut(s, f)
	}
	return ""
}

// tripped returns what the policy's alarms have against the deployment, "" if
// nothing. One that was deleted fails safe (spec §4.5).
func (p Plan) tripped(f Facts) string {
	var whys []string
	for what, names := range map[string][]string{
		"are in ALARM state": f.FiringAlarms, "were deleted": f.DeletedAlarms,
	} {
		if ours := p.ours(names); len(ours) > 0 {
			whys = append(whys, "the following CloudWatch alarm(s) "+what+": ["+strings.Join(ours, ", ")+"]")
		}
	}
	if len(whys) == 0 {
		return ""
	}
	slices.Sort(whys) // those in ALARM first
	return "Endpoint deployment was rolled back because " + strings.Join(whys, ", and ") + "."
}

// ours returns those of the names that the policy lists, in its order.
func (p Plan) ours(names []string) (ours []string) {
	for _, a := range p.Policy.Alarms {
		if slices.Contains(names, a) {
			ours = append(ours, a)
		}
	}
	return ours
}

// timedOut is the reason of a timeout. It tells of pauses: whoever made one may
// not have known that the clock went on.
func (p Plan) timedOut(s State, f Facts) string {
	limit := seconds(p.Policy.MaximumExecutionTimeout)
	why := "Endpoint deployment was rolled back because it exceeded MaximumExecutionTimeoutInSeconds of " + limit +
		" seconds."
	switch p.Kind {
	case Create:
		why = "The endpoint was not ready within " + limit + " seconds."
	case Scale:
		why = "The capacity update was rolled back because it did not finish within " + limit + " seconds."
	case Update:
		if unproven := p.notProven(s, f); unproven != "" {
			why = unproven
		}
	case Delete:
	}
	if paused := p.resume(s, f.Now).pausedFor().Round(time.Second); paused > 0 {
		why += " It was paused for " + seconds(paused) + " of them."
	}
	if n := len(s.Gaps); n > 0 {
		why += " A bake started over because " + s.Gaps[n-1].Missed + "."
	}
	return why
}

// turnBack carries out a verdict. Whatever traffic old instances can take
// moves back in this very State; nothing is cleaned up in it (spec §4.6).
func (p Plan) turnBack(s State, f Facts, why string) State {
	s.Reason, s.Turned = why, f.Now
	switch p.Kind {
	case Create:
		return p.enter(s, Failed, f.Now, func(_ Variant, c *Split) { *c = Split{} })
	case Scale:
		return p.enter(s, Withdrawing, f.Now, func(v Variant, c *Split) { c.OldWanted, c.OldActive = v.Old, v.Old })
	case Update, Delete:
	}
	// One ready instance is enough: away from a fleet that was found bad
	// beats waiting for the rest, which the instance service replaces.
	if back, moved := p.giveBack(s, f, func(Split) int { return 1 }); moved {
		return back
	}
	return p.retreat(s, f.Now)
}

// Back returns the splits that a verdict would bring about at once under f, and
// whether they are others than those of s.
func (p Plan) Back(s State, f Facts) ([]Split, bool) {
	if p.Kind != Update || !s.Phase.Undoable() {
		return s.Variants, false
	}
	back, moved := p.giveBack(s, f, func(Split) int { return 1 })
	return back.Variants, moved
}

// stepBack takes one transition of a rollback.
func (p Plan) stepBack(s State, f Facts) (State, bool) {
	switch s.Phase {
	case Returning:
		return p.retreat(s, f.Now), true
	case Restoring:
		if back, moved := p.giveBack(s, f, p.enough); moved {
			return back, true
		}
		if why := f.OldFailure; why != "" {
			return p.giveUp(s, f, why), true
		}
		if limit := p.Policy.MaximumExecutionTimeout; !f.Now.Before(s.Turned.Add(limit)) {
			return p.giveUp(s, f, "The previous instances were not ready within "+seconds(limit)+" seconds."), true
		}
	case Withdrawing:
		if !settled(s, f) {
			break
		}
		if !p.missing(s) {
			return p.enter(s, RolledBack, f.Now, nil), true
		}
		return p.enter(s, Restoring, f.Now, func(v Variant, c *Split) {
			c.OldWanted = min(v.Old, c.OldWanted+p.rollbackBatch(v))
		}), true
	case Launching, Shifting, Baking, Retiring, Committed, Succeeded, RolledBack, RollbackFailed, Failed:
	}
	return s, false
}

// enough is how many old instances must be ready before they take their
// traffic back while waiting for them. A rolling rollback brings its batch
// back whole; blue/green has only been waiting because none was ready.
func (p Plan) enough(c Split) int {
	if p.Policy.Strategy == Rolling {
		return c.OldWanted
	}
	return 1
}

// owed reports whether the old instances of v that are alive could carry more
// of its traffic than they do.
func owed(v Variant, c Split) bool {
	return c.OldActive < c.OldWanted || c.NewActive > carry(v.New, c.OldWanted, v.Old)
}

// giveBack moves to the old instances that are alive all the traffic they can
// carry, of every variant that has enough of them ready, and reports whether
// there was one.
func (p Plan) giveBack(s State, f Facts, enough func(Split) int) (State, bool) {
	moved := false
	back := p.enter(s, Returning, f.Now, nil)
	back.Variants = slices.Clone(s.Variants)
	for i, v := range p.Variants {
		c := &back.Variants[i]
		if !owed(v, *c) || v.Old > 0 && f.oldFleet(i).Ready < enough(*c) {
			continue
		}
		c.OldActive = c.OldWanted
		c.NewActive = carry(v.New, c.OldActive, v.Old)
		c.NewShare = part(c.NewActive, v.New)
		moved = true
	}
	return back, moved
}

// retreat goes on when no more traffic can move back for now: wait for old
// instances that are not ready, launch those that are missing if that is to be
// done at once, else clean up what lost its traffic.
func (p Plan) retreat(s State, now time.Time) State {
	waiting, atOnce := false, false
	for i, v := range p.Variants {
		c := s.Variants[i]
		waiting = waiting || owed(v, c)
		atOnce = atOnce || c.OldWanted < v.Old && p.rollbackBatch(v) >= v.Old
	}
	switch {
	case atOnce:
		return p.enter(s, Restoring, now, func(v Variant, c *Split) { c.OldWanted, c.NewWanted = v.Old, c.NewActive })
	case waiting:
		return p.enter(s, Restoring, now, nil)
	}
	return p.enter(s, Withdrawing, now, func(_ Variant, c *Split) { c.NewWanted = c.NewActive })
}

// missing reports whether old instances were terminated that a rollback has
// not launched again.
func (p Plan) missing(s State) bool {
	for i, v := range p.Variants {
		if s.Variants[i].OldWanted < v.Old {
			return true
		}
	}
	return false
}

// giveUp ends a rollback that cannot bring the old fleet back. What is healthy
// goes on serving, if need be the new instances alone; what serves nothing is
// no longer wanted.
func (p Plan) giveUp(s State, f Facts, why string) State {
	end := Failed
	if p.Policy.Strategy == Rolling {
		end = RollbackFailed
	}
	s = p.enter(s, end, f.Now, nil)
	s.Reason += " The rollback failed: " + why
	s.Variants = slices.Clone(s.Variants)
	for i := range s.Variants {
		c := &s.Variants[i]
		switch healthy := f.newFleet(i).Ready; {
		case f.oldFleet(i).Ready > 0 || c.NewShare == 0:
			c.OldWanted, c.NewWanted = c.OldActive, c.NewActive
		case healthy > 0:
			*c = Split{NewWanted: c.NewWanted, NewActive: min(c.NewWanted, healthy), NewShare: 1}
		}
	}
	return s
}
