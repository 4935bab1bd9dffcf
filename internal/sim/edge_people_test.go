package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// person asks for something about a plan.
func (h *edgeWorld) person() error {
	plan := fmt.Sprint("p", h.rng.IntN(edgePlans))
	stage := fmt.Sprint("s", h.rng.IntN(4))
	n := h.rng.IntN(100)
	if p, err := h.db.Plan(h.ctx, edgeScope, plan); err != nil {
		n = 0 // there is no such plan yet
	} else if len(p.Stages) > 0 && h.rng.IntN(10) > 0 {
		stage = p.Stages[h.rng.IntN(len(p.Stages))].Name
	}
	at := plan + "/" + stage
	switch {
	case n < 2:
		p := edge.Plan{Scope: edgeScope, Name: plan, Fleet: "f"}
		for i := range 1 + h.rng.IntN(2) {
			p.Models = append(p.Models,
				edge.ModelConfig{Handle: fmt.Sprint("m", (h.rng.IntN(2)+i)%2), Job: fmt.Sprint("job", h.rng.IntN(5))})
		}
		for i := range h.rng.IntN(4) {
			p.Stages = append(p.Stages, h.newStage(fmt.Sprint("s", i)))
		}
		_, err := h.s.CreatePlan(h.ctx, p, nil)
		if err == nil {
			h.forget(plan)
		}
		return h.note(err, "create %s", plan)
	case n < 12:
		return h.note(h.s.AddStages(h.ctx, edgeScope, plan, []edge.Stage{h.newStage(stage)}), "add %s", at)
	case n < 60:
		// Whether it has started is known for sure only if the server answered.
		delete(h.stopped, at)
		return h.note(h.s.StartStage(h.ctx, edgeScope, plan, stage), "start %s", at)
	case n < 72:
		err := h.s.StopStage(h.ctx, edgeScope, plan, stage)
		if err == nil {
			h.stopped[at] = true
		}
		return h.note(err, "stop %s", at)
	case n < 92:
		return h.note(h.s.SetPolicy(h.ctx, edgeScope, plan, h.newPolicy(), "somebody"), "policy %s", plan)
	case n < 96:
		err := h.s.DeleteStage(h.ctx, edgeScope, plan, stage)
		if err == nil || h.dead {
			h.forget(at)
		}
		return h.note(err, "delete %s", at)
	default:
		err := h.s.DeletePlan(h.ctx, edgeScope, plan)
		if err == nil || h.dead {
			h.forget(plan)
		}
		return h.note(err, "delete %s", plan)
	}
}

// forget drops what was known of a plan or stage whose name may be used again.
func (h *edgeWorld) forget(at string) {
	for _, known := range []map[string]bool{h.stopped, h.deployed} {
		for k := range known {
			if k == at || strings.HasPrefix(k, at+"/") {
				delete(known, k)
			}
		}
	}
}

func (h *edgeWorld) newStage(name string) edge.Stage {
	st := edge.Stage{Name: name}
	if h.rng.IntN(3) == 0 {
		st.OnFailure = edge.DoNothing
	}
	switch h.rng.IntN(3) {
	case 0:
		st.Selection = edge.Selection{Type: edge.ByPercentage, Percentage: 1 + h.rng.IntN(100)}
	case 1:
		st.Selection = edge.Selection{Type: edge.ByNameContains, NameContains: fmt.Sprint(h.rng.IntN(10))}
	default:
		st.Selection = edge.Selection{Type: edge.ByName}
		for range 1 + h.rng.IntN(8) {
			st.Selection.Names = append(st.Selection.Names, h.devices[h.rng.IntN(len(h.devices))].name)
		}
	}
	return st
}

func (h *edgeWorld) newPolicy() (p edge.Policy) {
	if h.rng.IntN(2) == 0 {
		p.AutoNext, p.Bake = true, h.bake
	}
	if h.rng.IntN(2) == 0 {
		p.SuccessThreshold, p.Reachable = float64(h.rng.IntN(100)), time.Duration(1+h.rng.IntN(60))*time.Minute
	}
	switch h.rng.IntN(4) {
	case 0:
		p.OnFailure = edge.StopStage
	case 1:
		p.OnFailure = edge.RollBackPlan
	}
	if p.OnFailure != edge.NoReaction {
		p.FailureThreshold, p.MinSample = float64(h.rng.IntN(60)), h.rng.IntN(6)
	}
	if h.rng.IntN(4) == 0 {
		p.DeviceTimeout = time.Duration(1+h.rng.IntN(5)) * time.Hour
	}
	if h.rng.IntN(3) == 0 {
		p.Mirror = &edge.Mirror{MaxDisagreement: 1, Time: 10 * time.Minute, MinPairs: 100}
	}
	return p
}

// checkIn lets a device come by. Its requests and the answers to them get lost;
// what it does not know to have arrived it says again, and sometimes what it
// knows.
func (h *edgeWorld) checkIn(d *simDevice) error {
	lost := func() bool { return !h.calm && h.rng.IntN(6) == 0 }
	if !h.calm && h.rng.IntN(40) == 0 {
		d.silent = !d.silent
	}
	if d.silent && !h.calm {
		return nil
	}
	if len(d.waiting) > 0 && !lost() {
		r := d.waiting[0]
		_, err := h.s.Heartbeat(h.ctx, edgeScope, edge.Caller{Thing: d.name},
			edge.Heartbeat{Fleet: "f", Device: d.name, AgentVersion: "1", Result: &r})
		if !lost() && !h.dead && (h.calm || h.rng.IntN(5) > 0) {
			d.waiting = d.waiting[1:]
		}
		if err := h.note(err, "report %s of %s: %s", r.Deployment, d.name, r.Status); err != nil {
			return err
		}
	}
	if lost() || h.dead {
		return nil
	}
	caller := edge.Caller{Thing: d.name, Mirrors: d.mirrors}
	orders, _, err := h.s.Deployments(h.ctx, edgeScope, caller, "f", d.name)
	if err != nil || lost() {
		return h.note(err, "poll of %s", d.name)
	}
	return h.obey(d, orders)
}

// compare is what a device says that was told to compare models: mostly the truth.
func (h *edgeWorld) compare(r edge.Result, o edge.Deployment) edge.Result {
	found := edge.Comparison{Finding: edge.Agrees, Ran: o.Mirror.Time, Pairs: edge.Pairs{Compared: 300}}
	switch n := h.rng.IntN(20); {
	case r.Status == "FAIL":
		found.Finding, found.Differing = edge.Disagrees, 100
	case n < 3:
		found = edge.Comparison{Finding: edge.NothingBefore}
	case n < 4:
		found.Compared = 1 // that is no agreement, whatever it says
	case n < 5:
		return r // it says nothing of it
	}
	h.tally["compared"]++
	for _, def := range o.Definitions {
		r.Models = append(r.Models, edge.ModelResult{
			Handle: def.Handle, Desired: def.State, State: def.State, Status: r.Status, Comparison: &found,
		})
	}
	return r
}

// obey does what a device was told, once for each order, and checks what it was
// told.
func (h *edgeWorld) obey(d *simDevice, orders []edge.Deployment) error {
	handles := map[string]string{}
	for _, o := range orders {
		for _, def := range o.Definitions {
			if other := handles[def.Handle]; other != "" {
				return fmt.Errorf("%s is given handle %s by %s and by %s", d.name, def.Handle, other, o.Name)
			}
			handles[def.Handle] = o.Name
		}
		if o.Mirror != nil && !d.mirrors {
			return fmt.Errorf("%s cannot compare models, and is given %s", d.name, o.Name)
		}
		if known, ok := d.done[o.Name]; ok {
			d.waiting = append(d.waiting, known)
			continue
		}
		if !h.calm && h.rng.IntN(3) == 0 {
			continue // it takes its time
		}
		r := edge.Result{Deployment: o.Name, Status: "SUCCESS"}
		if h.rng.IntN(5) == 0 {
			r.Status = "FAIL"
		}
		if o.Mirror != nil {
			r = h.compare(r, o)
		}
		d.done[o.Name] = r
		d.waiting = append(d.waiting, r)
		h.tally["orders"]++
	}
	return nil
}
