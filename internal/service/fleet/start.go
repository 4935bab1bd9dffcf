package fleet

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	store "github.com/slipway-ml/slipway/internal/platform/store/edge"
)

// errMoved says that what a start was prepared with has changed meanwhile.
var errMoved = errors.New("the plan or another one changed meanwhile")

// StartStage starts a stage, or starts it again. What can be checked is checked
// now, which devices are selected is frozen now; their rows are written by the
// turns of the loop (spec §4.4).
func (s *Service) StartStage(ctx context.Context, sc arn.Scope, plan, stage string) error {
	for range 5 {
		p, err := s.Store.Plan(ctx, sc, plan)
		if err != nil {
			return err
		}
		i := p.Stage(stage)
		if i < 0 {
			return edge.NoStage(plan, stage)
		}
		if err := s.start(ctx, p, p.Stages[i], ""); !errors.Is(err, errMoved) {
			return err
		}
	}
	return fault.New(
		fault.Unavailable, "Stage '%s' cannot be started at this moment: other stages are being started.", stage,
	).Because(errMoved)
}

// start checks what the start of a stage of a plan needs, and records it.
func (s *Service) start(ctx context.Context, p *edge.Plan, st edge.Stage, by string) error {
	b := preparedStart{plan: p, stage: st, by: by, order: s.NewOrder()}
	next, changed, err := st.Start(b.order, clock.Now())
	if err != nil || !changed {
		return err
	}
	if b.packages, err = s.packages(ctx, p); err != nil {
		return err
	}
	f, err := s.Store.Fleet(ctx, p.Scope, p.Fleet)
	if err != nil {
		return edge.Reworded(err, edge.NoFleetOfDevice(p.Fleet))
	}
	if err := s.checkSelection(ctx, p, f, &next); err != nil {
		return err
	}
	if b.rivals, err = s.rivals(ctx, p, f, &next); err != nil {
		return err
	}
	b.cut = next.Cut
	if err := s.Change(ctx, func(tx store.Tx) error { return b.write(ctx, tx) }); err != nil {
		return err
	}
	failpoint.Hit("fleet.started")
	s.Log.InfoContext(ctx, "stage started", "plan", p.Name, "stage", st.Name, "deployment", b.order)
	s.Wake.Notify()
	return nil
}

// packages returns what the plan deploys, after looking whether it is still what
// was made.
func (s *Service) packages(ctx context.Context, p *edge.Plan) ([]edge.Package, error) {
	out := make([]edge.Package, len(p.Models))
	for i, m := range p.Models {
		pkg, err := s.Packages.Package(ctx, p.Scope, m.Job)
		if err != nil {
			return nil, err
		}
		sum, err := s.Packages.SHA1Now(ctx, pkg.S3URL)
		if err != nil {
			return nil, err
		}
		if !strings.EqualFold(sum, pkg.SHA1) {
			return nil, fault.New(
				fault.Invalid,
				"The package %s of edge packaging job '%s' is not what the job made: its SHA-1 is %s, not %s.",
				pkg.S3URL, m.Job, sum, pkg.SHA1,
			)
		}
		out[i] = pkg
	}
	return out, nil
}

// scan is how many devices are read at a time.
const scan = 5000

// each calls f with the devices of a walk until f says that it has seen enough.
func (s *Service) each(ctx context.Context, w edge.Walk, f func(edge.Candidate) (enough bool)) error {
	for {
		cs, err := s.Store.Candidates(ctx, w, scan)
		if err != nil {
			return err
		}
		for _, c := range cs {
			if f(c) {
				return nil
			}
		}
		if len(cs) < scan {
			return nil
		}
		w.After = cs[len(cs)-1].ID
	}
}

// checkSelection refuses a start that would find nothing to deploy to.
func (s *Service) checkSelection(ctx context.Context, p *edge.Plan, f edge.Fleet, st *edge.Stage) error {
	if st.Written {
		ok, err := s.Store.Restartable(ctx, *st)
		if err == nil && !ok {
			return st.NothingToDeploy()
		}
		return err
	}
	if st.Selection.Type == edge.ByName {
		return s.checkNames(ctx, p, f, *st)
	}
	w := edge.Walk{Fleet: f.ID, Plan: p.ID, Newest: math.MaxInt64}
	if st.Cut != nil {
		w.Newest = st.Cut.Newest
	}
	found := false
	err := s.each(ctx, w, func(c edge.Candidate) bool {
		found = (st.Selection.Type == edge.ByPercentage || st.Selection.Matches(c.Name)) && st.DeploysTo(c)
		return found
	})
	if err == nil && !found {
		return st.NothingToDeploy()
	}
	return err
}

// namesShown is how many missing devices a refusal names.
const namesShown = 10

func (s *Service) checkNames(ctx context.Context, p *edge.Plan, f edge.Fleet, st edge.Stage) error {
	var missing []string
	found := false
	for names := range slices.Chunk(st.Selection.Names, scan) {
		cs, err := s.Store.Named(ctx, f.ID, p.ID, names)
		if err != nil {
			return err
		}
		there := make(map[string]bool, len(cs))
		for _, c := range cs {
			there[c.Name] = true
			found = found || st.DeploysTo(c)
		}
		for _, n := range names {
			if !there[n] {
				missing = append(missing, n)
			}
		}
	}
	switch {
	case len(missing) > namesShown && st.Cut == nil:
		return fault.New(
			fault.Invalid, "Not registered in device fleet %s: %s and %d more.", f.Name,
			strings.Join(missing[:namesShown], ", "), len(missing)-namesShown,
		)
	case len(missing) > 0 && st.Cut == nil:
		return fault.New(fault.Invalid, "Not registered in device fleet %s: %s.", f.Name, strings.Join(missing, ", "))
	case !found:
		return st.NothingToDeploy()
	}
	return nil
}

// rank finds the rank of the last device that a PERCENTAGE stage takes. All that
// it keeps of a device are sixteen bytes. What it has found is remembered for
// the turns that write the rows, so that they need not look again.
func (s *Service) rank(ctx context.Context, p *edge.Plan, fleet int64, st edge.Stage, cut edge.Cut) (*edge.Cut, error) {
	planARN := p.ARN()
	ids, ranks := make([]int64, 0, cut.Devices), make([]uint64, 0, cut.Devices)
	err := s.each(ctx, edge.Walk{Fleet: fleet, Plan: p.ID, Newest: cut.Newest}, func(c edge.Candidate) bool {
		if c.Stage == 0 || c.Stage == st.ID {
			ids, ranks = append(ids, c.ID), append(ranks, edge.Rank(planARN, c.Name))
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	cut.Highest, cut.Ranked = edge.Highest(slices.Clone(ranks), cut.Target), true
	chosen := make([]int64, 0, cut.Target)
	for i, r := range ranks {
		if r <= cut.Highest {
			chosen = append(chosen, ids[i])
		}
	}
	s.chosen.Store(&chosenDevices{st.ID, st.Attempt, cut.Highest, chosen})
	return &cut, nil
}

// chosenDevices are those that a PERCENTAGE stage was found to take, by id.
type chosenDevices struct {
	stage, attempt int64
	highest        uint64
	ids            []int64
}

// rivals refuses a start that would deploy to a handle of a device while another
// plan does: who won would be a race. It returns the other plans that it has
// looked at.
func (s *Service) rivals(ctx context.Context, p *edge.Plan, f edge.Fleet, st *edge.Stage) ([]edge.Rival, error) {
	rs, err := s.Store.Rivals(ctx, f.ID, p)
	if err != nil || len(rs) == 0 {
		return rs, err
	}
	if st.Cut == nil {
		newest := int64(0)
		n := 0
		err := s.each(ctx, edge.Walk{Fleet: f.ID, Plan: p.ID, Newest: math.MaxInt64}, func(c edge.Candidate) bool {
			newest, n = c.ID, n+1
			return false
		})
		if err != nil {
			return nil, err
		}
		st.Cut = st.Selection.Freeze(newest, n)
	}
	if st.Selection.Type == edge.ByPercentage && !st.Cut.Ranked {
		if st.Cut, err = s.rank(ctx, p, f.ID, *st, *st.Cut); err != nil {
			return nil, err
		}
	}
	for _, r := range rs {
		if r.Stage.Status == edge.StageStopping {
			// It gives its order to nobody any more. A device that has it still, or died
			// with it, gets the new one after it.
			continue
		}
		if err := s.checkRival(ctx, p, *st, r); err != nil {
			return nil, err
		}
	}
	return rs, nil
}

func (s *Service) checkRival(ctx context.Context, p *edge.Plan, st edge.Stage, r edge.Rival) error {
	conflict := func(device string) error {
		return fault.New(
			fault.Invalid, "Stage '%s' of edge deployment plan '%s' is deploying to model handle %s of device %s.",
			r.Stage.Name, r.Plan, r.Handle, device,
		)
	}
	if r.Stage.Unsettled() {
		if r.Stage.Selection.Type != edge.ByName || st.Selection.Type != edge.ByName {
			return fault.New(
				fault.Unavailable,
				"Stage '%s' of edge deployment plan '%s', which deploys to model handle %s as well, is still "+
					"choosing its devices. Try again.",
				r.Stage.Name, r.Plan, r.Handle,
			)
		}
		for _, n := range r.Stage.Selection.Names {
			if st.Selection.Matches(n) {
				return conflict(n)
			}
		}
		return nil
	}
	for after := int64(0); ; {
		cs, err := s.Store.OpenRows(ctx, r.Stage.ID, p.ID, after, scan)
		if err != nil {
			return err
		}
		for _, c := range cs {
			taken := c.ID <= st.Cut.Newest && st.Selectable(p.ARN(), c) && st.DeploysTo(c)
			if st.Written {
				if taken, err = s.Store.HasRow(ctx, st, c.ID); err != nil {
					return err
				}
			}
			if taken {
				return conflict(c.Name)
			}
			after = c.ID
		}
		if len(cs) < scan {
			return nil
		}
	}
}

// preparedStart is the start of a stage as far as it was prepared outside of the
// transaction that records it.
type preparedStart struct {
	plan     *edge.Plan
	stage    edge.Stage
	packages []edge.Package
	rivals   []edge.Rival
	cut      *edge.Cut // nil: as of now
	order    string
	by       string
}

// write makes the stage STARTING, unless what the start was prepared with has
// changed.
func (b preparedStart) write(ctx context.Context, tx store.Tx) error {
	f, err := fleetForWork(ctx, tx, b.plan.Scope, b.plan.Fleet)
	if err != nil {
		return err
	}
	p, err := tx.Plan(ctx, b.plan.Scope, b.plan.Name)
	if err != nil {
		return err
	}
	i := p.Stage(b.stage.Name)
	if i < 0 || p.ID != b.plan.ID || p.Stages[i].Attempt != b.stage.Attempt || p.Stages[i].Status != b.stage.Status {
		return errMoved
	}
	rivals, err := tx.Rivals(ctx, f.ID, p)
	if err != nil {
		return err
	}
	for _, r := range rivals {
		known := slices.ContainsFunc(b.rivals, func(k edge.Rival) bool {
			return k.Stage.ID == r.Stage.ID && k.Stage.Attempt == r.Stage.Attempt
		})
		if !known {
			return errMoved
		}
	}
	p.Modified = clock.Now()
	st, _, err := p.Stages[i].Start(b.order, p.Modified)
	if err == nil {
		err = checkMirror(p, &p.Stages[i])
	}
	if err != nil {
		return err
	}
	if st.Cut = b.cut; st.Cut == nil {
		newest, err := tx.NewestDevice(ctx, f)
		if err != nil {
			return err
		}
		st.Cut = st.Selection.Freeze(newest, f.Devices)
	}
	st.Mirror = p.Policy.Mirror
	o := edge.Order{OnFailure: st.OnFailure, Mirror: st.Mirror}
	for i, m := range p.Models {
		pkg := b.packages[i]
		id, err := tx.PackageID(ctx, pkg)
		if err != nil {
			return err
		}
		o.Models = append(o.Models, edge.OrderedModel{Handle: m.Handle, Package: id, S3URL: pkg.S3URL, SHA1: pkg.SHA1})
	}
	if err := tx.SaveOrder(ctx, st, f, o); err != nil {
		return err
	}
	if err := tell(ctx, tx, p, st.Name, edge.EventStage, b.by, "%s: %s of %d devices, as %s", st.Status, st.Selection,
		st.Cut.Devices, st.Deployment,
	); err != nil {
		return err
	}
	return tx.SaveStage(ctx, p, st, p.Modified)
}

// checkMirror refuses to start a stage again under a policy that has devices compare
// the models, if devices of the stage took them without: they keep them, so that
// such a stage never passes, whatever all others find.
func checkMirror(p *edge.Plan, st *edge.Stage) error {
	without := st.Counts.Deployed - st.Mirrored.Agreed - st.Mirrored.Fresh
	if !st.Written || st.Mirror != nil || p.Policy.Mirror == nil || without <= 0 {
		return nil
	}
	return fault.New(
		fault.Invalid, "Stage '%s' cannot be started again with a comparison, as the policy wants: %d of its devices "+
			"took the new models without one, so that it could never pass. Take the comparison out of the policy of "+
			"plan '%s', or create another plan.", st.Name, without, p.Name,
	)
}
