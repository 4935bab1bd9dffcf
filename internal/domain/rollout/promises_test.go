package rollout_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// However instances, alarms and clocks behave, Next keeps its promises, and
// every deployment ends once the world lets it.
func TestNextHoldsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if err := live(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "roll") }); err != nil {
			t.Fatal(err)
		}
	})
}

// The same by numbers: a failing seed fails again.
func TestThousandsOfDeploymentsHoldThePromises(t *testing.T) {
	n := uint64(50_000)
	if testing.Short() {
		n = 5_000
	}
	for seed := range n {
		if err := live(rand.New(rand.NewPCG(seed, 1)).IntN); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// live runs one deployment to its end and returns the first broken promise.
func live(d dice) error {
	w, err := newWorld(d)
	if err != nil {
		return err
	}
	k := &keeper{deadly: w.deadly, w: w, people: people{jumpy: w.jumpy}}
	w.check = k.check
	for range 3 + d(60) {
		if err := w.wild(); err != nil {
			return fmt.Errorf("%s: %w", describe(w), err)
		}
	}
	w.grim = d.one(4)
	for range 500 {
		if w.state.Phase.Terminal() {
			break
		}
		if err := w.calm(); err != nil {
			return fmt.Errorf("%s: %w", describe(w), err)
		}
	}
	if !w.state.Phase.Terminal() {
		return fmt.Errorf("%s never ends: %s, wakes %v, now %v", describe(w), line(w.state), w.wake, w.now)
	}
	return nil
}

func describe(w *world) string {
	p, _ := json.Marshal(w.plan)
	return fmt.Sprintf("%s\n%s", p, line(w.state))
}

// keeper checks the promises over the life of one deployment.
type keeper struct {
	w       *world
	deadly  bool
	alarmed bool      // an alarm fired while it was watched
	shares  []float64 // of new traffic, when the verdict fell
	last    []rollout.Split
	people
}

func (k *keeper) check(p rollout.Plan, s rollout.State, f rollout.Facts, n rollout.State, wake time.Time) error {
	if k.last != nil && !slices.Equal(k.last, s.Variants) {
		return fmt.Errorf("a turn changed its argument: %+v became %+v", k.last, s.Variants)
	}
	k.last = slices.Clone(n.Variants)
	return errors.Join(
		answersProperly(s, f, n, wake),
		k.endsAsItMust(p, s, f, n),
		k.trafficIsSafe(p, s, f, n),
		keepsCapacity(p, n),
		limitsTheBlast(p, n),
		k.undoesTrafficFirst(p, s, f, n),
		k.obeys(p, s, f, n, wake),
		heedsGates(p, s, f, n),
	)
}

// answersProperly: a change asks for the next turn at once, no change never
// wakes in the past; terminal stays.
func answersProperly(s rollout.State, f rollout.Facts, n rollout.State, wake time.Time) error {
	same := equal(s, n)
	switch {
	case wake.Equal(f.Now) == same:
		return fmt.Errorf("changed: %v, but wakes %v at %v", !same, wake, f.Now)
	case !wake.IsZero() && wake.Before(f.Now):
		return fmt.Errorf("wakes in the past: %v before %v", wake, f.Now)
	case s.Phase.Terminal() && n.Phase != s.Phase:
		return fmt.Errorf("left terminal %s for %s", s.Phase, n.Phase)
	case n.Phase.Terminal() && wake.After(f.Now):
		return fmt.Errorf("is over, but wakes %v", wake)
	}
	return nil
}

func equal(a, b rollout.State) bool {
	return a.Phase == b.Phase && a.Step == b.Step && a.Reason == b.Reason && slices.Equal(a.Variants, b.Variants) &&
		a.Begun.Equal(b.Begun) && a.Since.Equal(b.Since) && a.Turned.Equal(b.Turned) &&
		slices.Equal(a.Followed, b.Followed) && slices.Equal(a.Gaps, b.Gaps) && a.Restarted.Equal(b.Restarted) &&
		a.Held == b.Held && a.Promoted == b.Promoted &&
		a.Requests == b.Requests && slices.Equal(a.Unproven, b.Unproven)
}

// endsAsItMust: no success after a verdict, and each end is what it says.
func (k *keeper) endsAsItMust(p rollout.Plan, s rollout.State, f rollout.Facts, n rollout.State) error {
	watched := s.Phase.Undoable() && (s.Phase != rollout.Launching || s.Step > 0) && !f.Now.Before(s.Since)
	if watched && slices.Contains(f.FiringAlarms, "b") && len(p.Policy.Alarms) > 0 {
		k.alarmed = true
		if n.Phase.Undoable() || n.Phase == rollout.Committed {
			return fmt.Errorf("went on from %s to %s in spite of an alarm", s.Phase, n.Phase)
		}
	}
	if timedOut := !f.Now.Before(s.Begun.Add(p.Policy.MaximumExecutionTimeout)); timedOut && !f.Now.Before(s.Since) &&
		s.Phase.Undoable() && n.Reason == "" {
		return fmt.Errorf("outlives its timeout in %s", s.Phase)
	}
	if n.Phase == rollout.Succeeded && (k.alarmed || n.Reason != "") {
		return fmt.Errorf("succeeded after a verdict: %q", n.Reason)
	}
	if n.Phase.Terminal() && n.Phase != rollout.Succeeded && n.Reason == "" {
		return fmt.Errorf("%s without a reason", n.Phase)
	}
	for i, v := range p.Variants {
		want := rollout.Split{OldWanted: v.Old, OldActive: v.Old}
		switch {
		case n.Phase == rollout.RolledBack:
		case n.Phase == rollout.Succeeded && p.Kind == rollout.Scale:
			want = rollout.Split{OldWanted: v.New, OldActive: v.New}
		case n.Phase == rollout.Succeeded:
			want = rollout.Split{NewWanted: v.New, NewActive: v.New, NewShare: float64(min(v.New, 1))}
		default:
			continue
		}
		if n.Variants[i] != want {
			return fmt.Errorf("%s with %+v, want %+v", n.Phase, n.Variants[i], want)
		}
	}
	return nil
}

// trafficIsSafe: it moves to ready instances only, and what takes traffic is
// wanted. Without deaths, whatever takes traffic is ready.
func (k *keeper) trafficIsSafe(p rollout.Plan, s rollout.State, f rollout.Facts, n rollout.State) error {
	for i := range p.Variants {
		was, is := s.Variants[i], n.Variants[i]
		switch {
		case is.NewShare < 0 || is.NewShare > 1:
			return fmt.Errorf("share %v", is.NewShare)
		case is.OldActive < 0 || is.NewActive < 0 || is.OldActive > is.OldWanted || is.NewActive > is.NewWanted:
			return fmt.Errorf("active but not wanted: %+v", is)
		case is.NewActive > was.NewActive && f.New[i].Ready < is.NewActive:
			return fmt.Errorf("turned on %d new instances, %d ready", is.NewActive, f.New[i].Ready)
		case is.NewActive > was.NewActive && s.Phase == rollout.Launching && s.Step == 0 && f.ShadowsMissing > 0:
			return fmt.Errorf("turned on %d new instances before %d of shadows", is.NewActive, f.ShadowsMissing)
		case p.Kind == rollout.Update && is.OldActive > was.OldActive && f.Old[i].Ready == 0:
			return fmt.Errorf("gave traffic back to nobody")
		case is.NewShare > was.NewShare && n.Reason == "" && len(p.Policy.Alarms) > 0 &&
			slices.Contains(f.FiringAlarms, "b"):
			return fmt.Errorf("moved traffic in spite of an alarm")
		case k.deadly:
		case f.New[i].Ready < was.NewActive || f.Old[i].Ready < was.OldActive:
			return fmt.Errorf("%+v takes traffic, ready are %d old and %d new", was, f.Old[i].Ready, f.New[i].Ready)
		}
	}
	return nil
}

// keepsCapacity: old and new fleet together never take traffic with less than
// one whole fleet, and neither is given more than it does in one.
func keepsCapacity(p rollout.Plan, n rollout.State) error {
	for i, v := range p.Variants {
		c := n.Variants[i]
		switch {
		case p.Kind == rollout.Scale:
			if c.OldActive < min(v.Old, v.New) {
				return fmt.Errorf("%d active while scaling from %d to %d", c.OldActive, v.Old, v.New)
			}
		case p.Kind != rollout.Update || v.Old == 0 || v.New == 0 || n.Phase == rollout.Failed ||
			n.Phase == rollout.RollbackFailed:
		case c.OldActive*v.New+c.NewActive*v.Old < v.Old*v.New:
			return fmt.Errorf("capacity fell: %d of %d old, %d of %d new", c.OldActive, v.Old, c.NewActive, v.New)
		case c.NewShare*float64(v.New) > float64(c.NewActive)+1e-9,
			(1-c.NewShare)*float64(v.Old) > float64(c.OldActive)+1e-9:
			return fmt.Errorf("overloaded at a new share of %v: %d of %d old, %d of %d new", c.NewShare, c.OldActive,
				v.Old, c.NewActive, v.New)
		}
		batch := p.Policy.MaximumBatchSize.Of(v.New)
		if p.Policy.Strategy == rollout.Rolling && n.Phase.Undoable() && v.Old == v.New &&
			c.OldWanted+c.NewWanted > v.New+batch {
			return fmt.Errorf("rolling wants %d+%d instances for %d by %d", c.OldWanted, c.NewWanted, v.New, batch)
		}
	}
	return nil
}

// limitsTheBlast: no step exposes more than its size says, one instance at
// least.
func limitsTheBlast(p rollout.Plan, n rollout.State) error {
	size := p.Policy.LinearStepSize
	step := n.Step
	if gate.FirstOf(p.Policy.Gates) > 0 { // before any traffic moves
		step--
	}
	switch {
	case !n.Phase.Undoable() || p.Policy.Strategy == rollout.AllAtOnce:
		return nil
	case p.Policy.Strategy == rollout.Canary && step > 0:
		return nil
	case p.Policy.Strategy == rollout.Canary:
		size = p.Policy.CanarySize
	case p.Policy.Strategy == rollout.Rolling:
		size = p.Policy.MaximumBatchSize
	}
	for i, v := range p.Variants {
		each := float64(size.Value) / float64(v.New)
		if size.Type == rollout.CapacityPercent {
			each = float64(size.Value) / 100
		}
		each = max(each, 1/float64(v.New))
		if share := n.Variants[i].NewShare; share > float64(step+1)*each+1e-9 {
			return fmt.Errorf("step %d exposes %v of the traffic, %v a step allowed", n.Step, share, each)
		}
	}
	return nil
}

// undoesTrafficFirst: nothing that loses traffic is cleaned up in the same
// write, and after a verdict no traffic goes to the rejected fleet that it did
// not have, unless it alone is alive.
func (k *keeper) undoesTrafficFirst(p rollout.Plan, s rollout.State, f rollout.Facts, n rollout.State) error {
	if p.Kind != rollout.Update {
		return nil
	}
	if n.Reason != "" && k.shares == nil {
		for _, c := range s.Variants {
			k.shares = append(k.shares, c.NewShare)
		}
	}
	for i := range p.Variants {
		was, is := s.Variants[i], n.Variants[i]
		alone := n.Phase.Terminal() && f.Old[i].Ready == 0
		switch {
		case alone:
		case is.OldWanted < was.OldActive || is.NewWanted < was.NewActive:
			return fmt.Errorf("cleaned up what had traffic: %+v → %+v", was, is)
		case k.shares != nil && is.NewShare > k.shares[i]:
			return fmt.Errorf("a rejected fleet got %v of the traffic, had %v", is.NewShare, k.shares[i])
		}
	}
	return nil
}

// A turn changes nothing it was given, and decides the same when a write was
// lost and when the state went through storage.
func TestTheSameTurnTakenTwiceEndsTheSame(t *testing.T) {
	for seed := range uint64(500) {
		w, err := newWorld(rand.New(rand.NewPCG(seed, 2)).IntN)
		if err != nil {
			t.Fatal(err)
		}
		w.check = func(p rollout.Plan, s rollout.State, f rollout.Facts, n rollout.State, _ time.Time) error {
			text, err := json.Marshal(s)
			if err != nil {
				return err
			}
			var stored rollout.State
			if err := json.Unmarshal(text, &stored); err != nil {
				return err
			}
			again, _ := rollout.Next(p, s, f)
			fromStore, _ := rollout.Next(p, stored, f)
			if diff := cmp.Diff(s, stored) + cmp.Diff(n, again) + cmp.Diff(n, fromStore); diff != "" {
				return errors.New(diff)
			}
			return nil
		}
		for range 40 {
			if err := w.wild(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	}
}
