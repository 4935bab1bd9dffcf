package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// promises checks what holds at any moment, against the rows as stored.
func (h *edgeWorld) promises() error {
	ps, _, err := h.db.ListPlans(h.ctx, edgeScope, edge.PlanFilter{Limit: 100})
	if err != nil {
		return err
	}
	handles := map[string]string{} // device id and handle: the plan that is deploying to it
	for _, listed := range ps {
		p, err := h.db.Plan(h.ctx, edgeScope, listed.Name)
		if err != nil {
			return err
		}
		owners := map[int64]string{}
		for _, st := range p.Stages {
			if err := h.promisesOf(p, st, owners, handles); err != nil {
				return fmt.Errorf("plan %s: %w", p.Name, err)
			}
		}
	}
	return nil
}

// promisesOf checks a stage: its counters are those of its rows, it shares no
// device with another stage, what was deployed stays, and what was stopped is
// not offered.
func (h *edgeWorld) promisesOf(p *edge.Plan, st edge.Stage, owners map[int64]string, handles map[string]string) error {
	at := p.Name + "/" + st.Name
	if st.Cut == nil {
		if st.Counts != (edge.Counts{}) {
			return fmt.Errorf("stage %s has not started and counts %+v", st.Name, st.Counts)
		}
		return nil
	}
	rows, more, err := h.db.StageDevices(h.ctx, p, st, edge.RowFilter{Limit: 10_000})
	if err != nil || more {
		return errors.Join(err, fmt.Errorf("more: %t", more))
	}
	var c edge.Counts
	for _, r := range rows {
		if r.OwnerStage != st.Name {
			continue
		}
		c.Move("", r.Status)
		if o := owners[r.DeviceID]; o != "" {
			return fmt.Errorf("%s belongs to %s and to %s", r.Device, o, st.Name)
		}
		owners[r.DeviceID] = st.Name
		key := fmt.Sprint(at, "/", r.DeviceID)
		if h.deployed[key] && r.Status != edge.DeviceDeployed && st.Verdict != edge.RolledBack {
			return fmt.Errorf("%s was DEPLOYED in %s and is %s", r.Device, st.Name, r.Status)
		}
		h.deployed[key] = r.Status == edge.DeviceDeployed
		if r.Offered() && st.Offers() {
			for _, m := range p.Models {
				slot := fmt.Sprint(r.DeviceID, "/", m.Handle)
				if other := handles[slot]; other != "" && other != p.Name {
					return fmt.Errorf("%s and %s deploy to handle %s of %s", other, p.Name, m.Handle, r.Device)
				}
				handles[slot] = p.Name
			}
		}
		if r.Started.After(time.Now()) {
			return fmt.Errorf("%s started in the future", r.Device)
		}
	}
	if c != st.Counts {
		return fmt.Errorf("stage %s counts %+v, its rows are %+v", st.Name, st.Counts, c)
	}
	if st.Cut.Target > 0 && st.Counts.Total() > st.Cut.Target && st.Verdict != edge.RolledBack {
		return fmt.Errorf("stage %s took %d devices, it was to take %d", st.Name, st.Counts.Total(), st.Cut.Target)
	}
	if st.Status == edge.StageDeployed && st.Counts.Deployed == 0 {
		return fmt.Errorf("stage %s is DEPLOYED and nobody has it: %+v", st.Name, st.Counts)
	}
	if st.Chained && !h.chained[at] && st.Watch.Again < 5 && time.Since(h.watched) < h.bake {
		return fmt.Errorf("stage %s has baked for %s, of which nobody watched more than %s: %+v %+v", st.Name, h.bake,
			time.Since(h.watched), st, p.Policy)
	}
	followed := st.Chained && !h.chained[at]
	h.chained[at] = st.Chained
	if h.stopped[at] && st.Offers() && st.Verdict != edge.RolledBack {
		return fmt.Errorf("stage %s was stopped and is %s", st.Name, st.Status)
	}
	return comparedIn(st, followed)
}

// comparedIn checks what a stage knows of devices that compared models, and that it
// is enough if the next stage has just followed it.
func comparedIn(st edge.Stage, followed bool) error {
	m, taken := st.Mirrored, st.Mirrored.Agreed+st.Mirrored.Fresh
	if st.Mirror != nil && followed && (m.Agreed == 0 || taken < st.Counts.Deployed-st.Late) {
		return fmt.Errorf("stage %s was followed by the next, and compared too little: %+v %+v", st.Name, m, st.Counts)
	}
	if taken > st.Counts.Deployed && st.Verdict != edge.RolledBack {
		return fmt.Errorf("stage %s counts devices twice that compared models: %+v %+v", st.Name, m, st.Counts)
	}
	return nil
}

// end lets every device come by and every turn be taken until nothing happens
// any more: then no stage may be active.
func (h *edgeWorld) end() error {
	for round := range 200 {
		active, err := h.active()
		if err != nil {
			return err
		}
		if active == "" && round > 3 {
			return h.promises()
		}
		for _, d := range h.devices {
			if err := h.checkIn(d); err != nil && !errors.Is(err, fault.NotFound) {
				return err
			}
		}
		for range 6 {
			for range 5 {
				if err := h.turn(); err != nil {
					return err
				}
			}
			time.Sleep(10 * time.Second)
		}
		if err := h.promises(); err != nil {
			return err
		}
	}
	active, err := h.active()
	return errors.Join(err, fmt.Errorf("it never ends: %s", active))
}

// active tells of a stage that is being carried out, or "".
func (h *edgeWorld) active() (string, error) {
	ps, _, err := h.db.ListPlans(h.ctx, edgeScope, edge.PlanFilter{Limit: 100})
	if err != nil {
		return "", err
	}
	for _, listed := range ps {
		p, err := h.db.Plan(h.ctx, edgeScope, listed.Name)
		if err != nil {
			return "", err
		}
		for _, st := range p.Stages {
			if st.Active() || p.Removing {
				return fmt.Sprintf(
					"%s of %s is %s %+v, sweep %+v, %+v", st.Name, p.Name, st.Status, st.Counts, st.Sweep, st.Watch,
				), nil
			}
		}
	}
	return "", nil
}
