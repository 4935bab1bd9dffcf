package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// gates are those that the tags of a new configuration and the server set.
func (w *people) gates() []gate.Gate {
	d := w.d
	if !d.one(3) {
		return nil
	}
	actions := []string{"", "action=rollback", "action=hold", "action=early wait=2s"}
	tags := map[string]string{gate.TagPrefix + "errors": actions[d.IntN(4)]}
	if d.one(3) {
		tags[gate.TagPrefix+"disagreement"] = "tolerance=0.01 mirror=0.1 sideeffects=none " + actions[d.IntN(4)] +
			[]string{"", " first=4s"}[d.IntN(2)]
	}
	gates, err := gate.Read(tags, map[string]string{"latency": actions[d.IntN(4)]})
	if err != nil {
		panic(err) // the words are ours
	}
	return gates
}

// seen is what gates have seen of the deployment of e by now: some of them
// nothing, some what speaks against it, some what proves that all is well, of
// this step or the one before; and what another deployment left.
func (w *people) seen(e *hosting.Endpoint, calm bool) (facts []gate.Fact) {
	dep := e.Deployment
	for _, g := range dep.Plan.Policy.Gates {
		for _, v := range dep.Plan.Variants {
			f := gate.Fact{
				Kind: g.Kind, Variant: v.Name, Deployment: string(dep.ID), Since: dep.State.Begun, Step: dep.State.Step,
			}
			left := f
			left.Deployment, left.Log10, left.Proof = "another", 300, 300
			facts = append(facts, left)
			if !calm && w.d.one(4) {
				continue
			}
			switch {
			case calm || w.d.one(3):
				f.Proof = g.Threshold() + 1
			case w.d.one(30):
				f.Log10 = g.Threshold() + 1
			case w.d.one(3):
				f.Proof, f.Step = g.Threshold()+1, f.Step-1
			case w.d.one(3): // what was counted before it began
				f.Since, f.Log10 = f.Since.Add(-time.Second), 300
			}
			facts = append(facts, f)
		}
	}
	return facts
}

// spoke reports whether one of the gates of a deployment has fired by facts.
func spoke(d *hosting.Deployment, facts []gate.Fact) bool {
	for _, f := range facts {
		g, ok := gate.Find(d.Plan.Policy.Gates, f.Kind)
		if ok && f.Deployment == string(d.ID) && g.Action != gate.Report && !f.Since.Before(d.State.Begun) &&
			f.Log10 > g.Threshold() {
			return true
		}
	}
	return false
}

// judgedByItsOwn: a deployment is undone by a gate only on evidence of its own,
// always on that, and goes on past a gate that holds it only when that is proven.
func judgedByItsOwn(prev, e *hosting.Endpoint, facts []gate.Fact) error {
	was, d := prev.Deployment, e.Deployment
	fired := spoke(was, facts)
	if fired && (d == nil || d.State.Phase != was.State.Phase || d.State.Step != was.State.Step) {
		if err := heeded(prev, e); err != nil {
			return fmt.Errorf("by a gate: %w", err)
		}
	}
	if d == nil {
		return nil
	}
	if was.State.Reason == "" && strings.Contains(d.State.Reason, " fired: ") && !fired {
		return fmt.Errorf("undone by evidence that is not its own: %s", d.State.Reason)
	}
	if was.State.Phase != rollout.Baking || d.State.Phase == rollout.Baking || !d.State.Turned.IsZero() ||
		d.State.Promoted {
		return nil
	}
	for _, g := range d.Plan.Policy.Gates {
		for i, v := range d.Plan.Variants {
			share := was.State.Variants[i].NewShare
			comparable := v.Old > 0 && share < 1 && (share > 0 || g.Kind.Paired())
			if g.Action == gate.Hold && comparable && !shown(was, g, v.Name, facts) {
				return fmt.Errorf("left step %d though %s is not proven", was.State.Step, g.Kind)
			}
		}
	}
	return nil
}

func shown(d *hosting.Deployment, g gate.Gate, variant string, facts []gate.Fact) bool {
	for _, f := range facts {
		if f.Kind == g.Kind && f.Variant == variant && f.Deployment == string(d.ID) && f.Step == d.State.Step &&
			!f.Since.Before(d.State.Begun) && f.Proof > g.Threshold() {
			return true
		}
	}
	return false
}

// atLeast is how long step i of a plan bakes at the least: a gate may end it
// before its time.
func atLeast(p rollout.Plan, i int) time.Duration {
	wait, _ := p.Wait(i)
	for _, g := range p.Policy.Gates {
		if g.Action == gate.Early {
			wait = min(wait, g.Wait)
		}
	}
	return wait
}

// Facts implements evidence.Gates.
func (s *server) Facts(id hosting.DeploymentID) []gate.Fact {
	slot := s.w.owners[id]
	if slot == nil || slot.stored == nil || slot.stored.Deployment == nil || slot.stored.Deployment.ID != id {
		return nil
	}
	s.facts = s.w.seen(slot.stored, s.w.calm)
	return s.facts
}
