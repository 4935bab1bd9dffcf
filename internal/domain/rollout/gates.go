package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/gate"
)

// GateFact is what a gate has seen of a variant, and what that says to people.
type GateFact struct {
	gate.Fact
	Against string // what it has against the new fleet, as sentences
	Lacking string // what it lacks to be proven, as a sentence
}

// With returns p judged by gates besides its policy. Only an Update has two
// fleets to compare. Gates for which nothing can be compared in p, and of whose
// setting nobody who asked for p knew, are left out or may at least not hold it;
// a tag that asks for what cannot be is refused with fault.Invalid.
func (p Plan) With(gates []gate.Gate) (Plan, error) {
	if p.Kind != Update {
		return p, nil
	}
	var frozen []gate.Gate
	p.Policy.Gates = slices.Clone(gates) // the step of copies alone is theirs
	for _, g := range gates {
		possible, why := p.comparable(g)
		switch {
		case !possible && g.Origin() == gate.BuiltIn:
			continue
		case p.idle(g, possible, why) && g.From["action"] == gate.FromTag:
			return Plan{}, fault.New(fault.Invalid, "Gate %q cannot have action=%s here: %s", string(g.Kind),
				string(g.Action), why)
		case g.Proves() && why != "":
			g.Action = gate.Rollback
		}
		frozen = append(frozen, g)
	}
	p.Policy.Gates = frozen
	if wait := p.TotalWait(); p.Policy.MaximumExecutionTimeout <= wait {
		return Plan{}, fault.New(fault.Invalid,
			"MaximumExecutionTimeoutInSeconds (%s) must be larger than the total wait of the deployment (%s seconds), "+
				"%s of which it begins with copies of requests alone.", seconds(p.Policy.MaximumExecutionTimeout),
			seconds(wait), seconds(gate.FirstOf(frozen)))
	}
	return p, nil
}

// idle reports whether g was told to do something that it never can: to prove, or to
// judge what is not compared. Pairs are compared in the termination wait, too.
func (p Plan) idle(g gate.Gate, possible bool, why string) bool {
	return g.Proves() && why != "" || g.Judges() && (!possible || why != "" && !g.Kind.Paired())
}

// comparable reports whether g can compare anything in p, and why it cannot be
// proven in it; "" if it can.
func (p Plan) comparable(g gate.Gate) (possible bool, why string) {
	baked := false
	for i := range p.Steps() {
		for v := range p.Variants {
			if p.asked(g.Kind, v, i) {
				possible = true
				wait, _ := p.Wait(i)
				baked = baked || wait > 0
			}
		}
	}
	switch {
	case g.Kind.Paired() && !baked:
		return possible, "no step with less than all traffic on the new fleet is baked; first= begins with one."
	case !possible && p.Policy.Strategy == AllAtOnce:
		return false, "a deployment of type ALL_AT_ONCE never has both fleets answer requests, so nothing can be compared."
	case !possible:
		return false, "the first step moves all traffic, so nothing can be compared."
	case !baked:
		return true, "WaitIntervalInSeconds is 0: no step in which both fleets answer requests is baked."
	}
	return true, ""
}

// lead is how many steps of p come before any traffic moves: one if it begins
// with copies of requests alone.
func (p Plan) lead() int {
	if p.Kind == Update && gate.FirstOf(p.Policy.Gates) > 0 {
		return 1
	}
	return 0
}

// Mirrored reports whether in step i, from 0, the new fleet gets no traffic but
// copies of requests.
func (p Plan) Mirrored(i int) bool { return i < p.lead() }

// asked reports whether a gate of that kind can compare the fleets of variant v
// in step i. Paired ones need requests that the old fleet answers, all others
// that the router draws.
func (p Plan) asked(k gate.Kind, v, i int) bool {
	of := p.Variants[v]
	if of.Old == 0 || of.New == 0 {
		return false
	}
	n := p.green(of, i)
	return n < of.New && (n > 0 || k.Paired())
}

// fact returns what is known of a gate and a variant.
func (f Facts) fact(k gate.Kind, variant string) (GateFact, bool) {
	for _, g := range f.Gates {
		if g.Kind == k && g.Variant == variant {
			return g, true
		}
	}
	return GateFact{}, false
}

// fired returns what the policy's gates have against the deployment, "" if
// nothing.
func (p Plan) fired(s State, f Facts) string {
	var whys []string
	for _, g := range p.Policy.Gates {
		for _, v := range p.Variants {
			if seen, ok := f.fact(g.Kind, v.Name); ok && g.Fired(seen.Fact, s.Begun) {
				whys = append(whys, fmt.Sprintf("gate %q%s fired: %s", string(g.Kind), p.on(v.Name), seen.Against))
			}
		}
	}
	if len(whys) == 0 {
		return ""
	}
	return "Endpoint deployment was rolled back because " + strings.Join(whys, " Besides, ")
}

// on names a variant where there are several.
func (p Plan) on(variant string) string {
	if len(p.Variants) < 2 {
		return ""
	}
	return fmt.Sprintf(" of production variant %q", variant)
}

// unproven returns what the gates lack that are not proven in the step of s, of
// those that matter and can be.
func (p Plan) unproven(s State, f Facts, matters func(gate.Gate) bool) (open []string) {
	if s.Promoted || p.Kind != Update {
		return nil
	}
	for _, g := range p.Policy.Gates {
		for i, v := range p.Variants {
			seen, known := f.fact(g.Kind, v.Name)
			// All traffic is on the new fleet: some pairs can still be compared.
			late := known && g.Kind.Paired() && seen.Held == "" && v.Old > 0 && p.green(v, s.Step) == v.New
			if !matters(g) || !late && !p.asked(g.Kind, i, s.Step) || known && g.Shows(seen.Fact, s.Begun, s.Step) {
				continue
			}
			why := "it has seen nothing."
			if known {
				why = seen.Lacking
			}
			open = append(open, fmt.Sprintf("gate %q%s: %s", string(g.Kind), p.on(v.Name), why))
		}
	}
	return open
}

// holding returns what gates hold the bake of s for, none if they do not.
func (p Plan) holding(s State, f Facts) []string {
	return p.unproven(s, f, func(g gate.Gate) bool { return g.Action == gate.Hold })
}

// atLeast is how long the step of s has to bake if all gates that matter are
// proven in it, and whether one of them may then end it before its time.
func (p Plan) atLeast(s State) (wait time.Duration, early bool) {
	if s.Promoted || p.Kind != Update {
		return 0, false
	}
	for _, g := range p.Policy.Gates {
		for v := range p.Variants {
			if g.Action == gate.Early && p.asked(g.Kind, v, s.Step) {
				early, wait = true, max(wait, g.Wait)
			}
		}
	}
	return wait, early
}

// ends is when the bake of s has lasted long enough under f: its time is over,
// or a part of it, and all is proven.
func (p Plan) ends(s State, f Facts) time.Time {
	baked := p.baked(s)
	wait, early := p.atLeast(s)
	if at := s.baking().Add(wait + s.Held); early && at.Before(baked) {
		if len(p.unproven(s, f, gate.Gate.Proves)) == 0 {
			return at
		}
	}
	return baked
}

// notProven is the reason of a timeout that only a proof would have kept from
// happening, "" of any other.
func (p Plan) notProven(s State, f Facts) string {
	if s.Phase != Baking || f.Now.Before(p.baked(s)) || p.few(s, f) {
		return ""
	}
	open := p.holding(s, f)
	if len(open) == 0 {
		return ""
	}
	return fmt.Sprintf("Endpoint deployment was rolled back because it was not proven within "+
		"MaximumExecutionTimeoutInSeconds of %s seconds: %s", seconds(p.Policy.MaximumExecutionTimeout),
		strings.Join(open, " "))
}
