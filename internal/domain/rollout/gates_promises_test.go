package rollout_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// someGates are gates as tags and a server may set them.
func someGates(d dice) []gate.Gate {
	if d.one(2) {
		return nil
	}
	actions := []string{"action=rollback", "action=hold", "action=early wait=20s", ""}
	set := func() map[string]string {
		m := map[string]string{}
		if d.one(2) {
			m["errors"] = actions[d(4)]
		}
		if d.one(3) {
			m["latency"] = actions[d(4)] + " alpha=0.01"
		}
		return m
	}
	tags := map[string]string{}
	for k, w := range set() {
		tags[gate.TagPrefix+k] = w
	}
	if d.one(4) {
		tags[gate.TagPrefix+"disagreement"] = copies + actions[d(4)] + []string{"", " first=30s"}[d(2)]
	}
	gates, err := gate.Read(tags, set())
	if err != nil {
		panic(err) // the words are ours
	}
	return gates
}

// proves reports whether it matters what gates have proven.
func (w *world) proves() bool { return slices.ContainsFunc(w.plan.Policy.Gates, gate.Gate.Proves) }

// gates are what gates have seen by now: some of them something, of this
// deployment or another, of this step or another.
func (w *world) gates() (seen []rollout.GateFact) {
	for _, g := range w.plan.Policy.Gates {
		for _, v := range w.plan.Variants {
			if w.d.one(6) {
				continue
			}
			f := gate.Fact{
				Kind: g.Kind, Variant: v.Name, Since: w.state.Begun.Add(time.Duration(w.d(3)) * time.Second),
				Log10: 0.5, Step: w.state.Step, Proof: 2 * g.Threshold(),
			}
			switch {
			case w.stale && w.d.one(2):
				f.Since = w.state.Begun.Add(-time.Duration(1+w.d(1e9)) * time.Microsecond)
				f.Log10 = 300
			case w.d.one(3 * w.trouble):
				f.Log10 = g.Threshold() + 0.1
			}
			switch {
			case w.blind || w.d.one(3):
				f.Proof = g.Threshold()
			case w.d.one(6):
				f.Step--
			}
			if w.d.one(5) {
				f.Held = "all traffic is on the new fleet"
			}
			seen = append(seen, rollout.GateFact{Fact: f, Against: "It is worse.", Lacking: "It was not shown."})
		}
	}
	return seen
}

// heedsGates: evidence of this deployment that speaks against it loudly enough
// undoes it, and none else does. A bake is held until what holds it is proven,
// unless somebody promoted it, and ends before its time only if all is.
func heedsGates(p rollout.Plan, s rollout.State, f rollout.Facts, n rollout.State) error {
	fired := false
	for _, g := range p.Policy.Gates {
		for _, seen := range f.Gates {
			fired = fired || seen.Kind == g.Kind && g.Action != gate.Report && !seen.Since.Before(s.Begun) &&
				seen.Log10 > g.Threshold()
		}
	}
	watched := s.Phase.Undoable() && (s.Phase != rollout.Launching || s.Step > 0) && !f.Now.Before(s.Since)
	if fired && watched && (n.Phase.Undoable() || n.Phase == rollout.Committed) {
		return fmt.Errorf("went on from %s to %s in spite of a gate", s.Phase, n.Phase)
	}
	if s.Reason == "" && strings.Contains(n.Reason, " fired: ") && !fired {
		return fmt.Errorf("undone by evidence of another deployment: %s", n.Reason)
	}
	if s.Phase != rollout.Baking || n.Phase == rollout.Baking || n.Reason != "" || n.Promoted {
		return nil
	}
	for _, g := range p.Policy.Gates {
		for i, v := range p.Variants {
			share := s.Variants[i].NewShare
			comparable := v.Old > 0 && share < 1 && (share > 0 || g.Kind.Paired())
			if g.Action == gate.Hold && comparable && !proven(g, v.Name, s, f) {
				return fmt.Errorf("left step %d though %s of %s is not proven", s.Step, g.Kind, v.Name)
			}
		}
	}
	return nil
}

func proven(g gate.Gate, variant string, s rollout.State, f rollout.Facts) bool {
	for _, seen := range f.Gates {
		if seen.Kind == g.Kind && seen.Variant == variant {
			return !seen.Since.Before(s.Begun) && seen.Step == s.Step && seen.Proof > g.Threshold()
		}
	}
	return false
}

// least is how long the step of s has to bake at the least: a gate that may end
// a bake early says so, and then everything that matters has to be proven.
func least(p rollout.Plan, s rollout.State, f rollout.Facts, wait time.Duration) time.Duration {
	early, stated := false, time.Duration(0)
	for _, g := range p.Policy.Gates {
		for i, v := range p.Variants {
			share := s.Variants[i].NewShare
			if v.Old == 0 || v.New == 0 || !g.Proves() || share >= 1 || share == 0 && !g.Kind.Paired() {
				continue
			}
			if !proven(g, v.Name, s, f) {
				return wait
			}
			if g.Action == gate.Early {
				early, stated = true, max(stated, g.Wait)
			}
		}
	}
	if early {
		return min(wait, stated)
	}
	return wait
}
