package fleet

import (
	"context"
	"fmt"
	"math"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	store "github.com/slipway-ml/slipway/internal/platform/store/edge"
)

// CreatePlan records a new plan, which does nothing before a stage is started,
// and returns its ARN. Its packages are made already (spec §2.16).
func (s *Service) CreatePlan(ctx context.Context, p edge.Plan, tags []hosting.Tag) (string, error) {
	if err := p.Check(); err != nil {
		return "", err
	}
	stages := p.Stages
	p.Stages = nil
	if err := p.AddStages(stages); err != nil {
		return "", err
	}
	for _, m := range p.Models {
		if _, err := s.Packages.Package(ctx, p.Scope, m.Job); err != nil {
			return "", err
		}
	}
	p.Created = clock.Now()
	p.Modified = p.Created
	return p.ARN(), s.Change(ctx, func(tx store.Tx) error {
		// Locked, so that the fleet cannot go at the same time.
		if _, err := fleetForWork(ctx, tx, p.Scope, p.Fleet); err != nil {
			return err
		}
		if err := tx.InsertPlan(ctx, &p); err != nil {
			return err
		}
		if err := tell(ctx, tx, &p, "", edge.EventPlan, "", "created with %d stages", len(p.Stages)); err != nil {
			return err
		}
		return tx.PutTags(ctx, p.ARN(), tags)
	})
}

// tell appends a line to the record of a plan, of the time of its last change.
func tell(
	ctx context.Context, tx store.Tx, p *edge.Plan, stage string, kind edge.EventName, by, format string, args ...any,
) error {
	return tx.TellPlan(
		ctx, p, edge.PlanEvent{At: p.Modified, Stage: stage, Kind: kind, By: by, Text: fmt.Sprintf(format, args...)},
	)
}

// Plan returns a plan with all its stages.
func (s *Service) Plan(ctx context.Context, sc arn.Scope, name string) (*edge.Plan, error) {
	return s.Store.Plan(ctx, sc, name)
}

// ListPlans returns a page of plans without their stages, and whether more follow.
func (s *Service) ListPlans(ctx context.Context, sc arn.Scope, f edge.PlanFilter) ([]edge.Plan, bool, error) {
	return s.Store.ListPlans(ctx, sc, f)
}

// DeletePlan removes a plan none of whose stages is active. Devices keep what
// they have (spec §11 Q37).
func (s *Service) DeletePlan(ctx context.Context, sc arn.Scope, name string) error {
	err := s.Change(ctx, func(tx store.Tx) error {
		p, err := tx.Plan(ctx, sc, name)
		if err != nil {
			return err
		}
		if err := p.CheckDeletable(); err != nil {
			return err
		}
		p.Modified = clock.Now()
		return tx.DeletePlan(ctx, p)
	})
	if err == nil {
		s.Wake.Notify() // its rows go in turns of the loop
	}
	return err
}

// AddStages appends stages to a plan, all or none.
func (s *Service) AddStages(ctx context.Context, sc arn.Scope, plan string, stages []edge.Stage) error {
	return s.changePlan(ctx, sc, plan, func(tx store.Tx, p *edge.Plan) error {
		from := len(p.Stages)
		if err := p.AddStages(stages); err != nil {
			return err
		}
		if err := tx.InsertStages(ctx, p, from); err != nil {
			return err
		}
		for _, st := range stages {
			if err := tell(ctx, tx, p, st.Name, edge.EventPlan, "", "stage added: %s", st.Selection); err != nil {
				return err
			}
		}
		return tx.SavePlan(ctx, p) // a stage that has passed may have waited for one to follow
	})
}

// changePlan runs f on a plan that is locked, as of now.
func (s *Service) changePlan(
	ctx context.Context, sc arn.Scope, name string, f func(tx store.Tx, p *edge.Plan) error,
) error {
	err := s.Change(ctx, func(tx store.Tx) error {
		p, err := tx.Plan(ctx, sc, name)
		if err != nil {
			return err
		}
		p.Modified = clock.Now()
		return f(tx, p)
	})
	if err == nil {
		s.Wake.Notify()
	}
	return err
}

// removeChunk is how many rows of a deleted stage one transaction removes.
const removeChunk = 1000

// DeleteStage removes a stage that is not active, and its rows (spec §2.21).
func (s *Service) DeleteStage(ctx context.Context, sc arn.Scope, plan, stage string) error {
	var id int64
	err := s.changePlan(ctx, sc, plan, func(tx store.Tx, p *edge.Plan) error {
		i := p.Stage(stage)
		if i < 0 {
			return edge.NoStage(plan, stage)
		}
		st := p.Stages[i]
		if err := st.CheckDeletable(plan); err != nil {
			return err
		}
		id = st.ID
		if err := tell(ctx, tx, p, stage, edge.EventPlan, "", "stage deleted: it was %s, %s", st.Status,
			counted(st.Counts),
		); err != nil {
			return err
		}
		if err := tx.SavePlan(ctx, p); err != nil {
			return err
		}
		return tx.RemoveStage(ctx, st, p.Modified)
	})
	for gone := false; err == nil && !gone; {
		failpoint.Hit("fleet.removing")
		gone, err = s.removeSome(ctx, id)
	}
	return err
}

// removeSome removes rows of a stage that was deleted; false if there are more.
func (s *Service) removeSome(ctx context.Context, stage int64) (gone bool, err error) {
	err = s.Change(ctx, func(tx store.Tx) error {
		gone, err = tx.RemoveRows(ctx, stage, removeChunk)
		return err
	})
	return gone, err
}

// counted tells counters in words.
func counted(c edge.Counts) string {
	return fmt.Sprintf("%d succeeded, %d failed, %d pending, %d stopped", c.Deployed, c.Failed, c.Pending(), c.Stopped)
}

// SetPolicy sets what Slipway does with a plan on its own. It applies to what
// is not over yet.
func (s *Service) SetPolicy(ctx context.Context, sc arn.Scope, plan string, policy edge.Policy, by string) error {
	if err := policy.Check(); err != nil {
		return err
	}
	return s.changePlan(ctx, sc, plan, func(tx store.Tx, p *edge.Plan) error {
		p.Policy = policy
		if err := tell(ctx, tx, p, "", edge.EventPolicy, by, "%s", policy); err != nil {
			return err
		}
		return tx.SavePlan(ctx, p)
	})
}

// History returns a plan's record, oldest first.
func (s *Service) History(ctx context.Context, sc arn.Scope, plan string) ([]edge.PlanEvent, error) {
	p, err := s.Store.Plan(ctx, sc, plan)
	if err != nil {
		return nil, err
	}
	return s.Store.PlanEvents(ctx, p)
}

// StopStage stops a stage that runs (spec §4.5).
func (s *Service) StopStage(ctx context.Context, sc arn.Scope, plan, stage string) error {
	return s.changePlan(ctx, sc, plan, func(tx store.Tx, p *edge.Plan) error {
		i := p.Stage(stage)
		if i < 0 {
			return edge.NoStage(plan, stage)
		}
		st, changed, err := p.Stages[i].Stop(p.Modified)
		if err != nil || !changed {
			return err
		}
		if err := tell(ctx, tx, p, stage, edge.EventStage, "", "stop asked for: %s", counted(st.Counts)); err != nil {
			return err
		}
		return tx.SaveStage(ctx, p, st, p.Modified)
	})
}

// StageDevices returns a page of a stage's devices, by name, and whether more
// follow. Of a stage that never started it tells what a start would select now
// (spec §2.24).
func (s *Service) StageDevices(
	ctx context.Context, sc arn.Scope, plan, stage string, f edge.RowFilter,
) ([]edge.StageDevice, bool, error) {
	p, err := s.Store.Plan(ctx, sc, plan)
	if err != nil {
		return nil, false, err
	}
	i := p.Stage(stage)
	if i < 0 {
		return nil, false, edge.NoStage(plan, stage)
	}
	if st := p.Stages[i]; st.Cut != nil {
		return s.Store.StageDevices(ctx, p, st, f)
	}
	return s.preview(ctx, p, p.Stages[i], f)
}

// preview selects without an effect. The rank of the last device that a
// percentage takes goes from page to page, so that it is looked for once.
func (s *Service) preview(
	ctx context.Context, p *edge.Plan, st edge.Stage, f edge.RowFilter,
) (out []edge.StageDevice, more bool, err error) {
	fl, err := s.Store.Fleet(ctx, p.Scope, p.Fleet)
	if err != nil {
		return nil, false, edge.Reworded(err, edge.NoFleetOfDevice(p.Fleet))
	}
	st.Cut = st.Selection.Freeze(math.MaxInt64, fl.Devices)
	switch {
	case st.Selection.Type != edge.ByPercentage:
	case f.After.Name != "":
		st.Cut.Highest = uint64(f.After.Micro)
	case !st.Cut.Ranked:
		if st.Cut, err = s.rank(ctx, p, fl.ID, st, *st.Cut); err != nil {
			return nil, false, err
		}
	}
	limit, planARN := f.Limit, p.ARN()
	if limit <= 0 {
		limit = 100
	}
	for after := f.After.Name; ; {
		ds, err := s.Store.ByNames(ctx, fl.ID, p, after, scan)
		if err != nil {
			return nil, false, err
		}
		for _, d := range ds {
			after = d.Device
			c := edge.Candidate{ID: d.DeviceID, Name: d.Device, Status: d.Status}
			if i := p.Stage(d.OwnerStage); i >= 0 {
				c.Stage = p.Stages[i].ID
			}
			taken := st.DeploysTo(c)
			if !st.Selectable(planARN, c) || !taken && f.ExcludeOwnedElsewhere {
				continue
			}
			if len(out) == limit {
				return out, true, nil
			}
			if taken {
				d.OwnerStage, d.Row = "", edge.Row{DeviceID: d.DeviceID, Device: d.Device, Status: edge.DeviceReady}
			}
			d.Mark = int64(st.Cut.Highest)
			out = append(out, d)
		}
		if len(ds) < scan {
			return out, false, nil
		}
	}
}
