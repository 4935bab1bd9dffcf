package fleet

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	store "github.com/slipway-ml/slipway/internal/platform/store/edge"
)

// Turn advances the stage called key as far as the facts of this moment carry
// it, or until others should have their turn, and says when it is next due.
// Taking it twice does no harm: every step is one transaction that begins with
// what is stored.
func (s *Service) Turn(ctx context.Context, key string) (time.Time, error) {
	id, err := strconv.ParseInt(key, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("turn of stage %q: %w", key, err)
	}
	for until := time.Now().Add(s.TurnTime); ; {
		more, due, err := s.step(ctx, id)
		if err != nil || !more {
			return due, err
		}
		failpoint.Hit("fleet.stepped")
		if time.Now().After(until) {
			return clock.Now(), nil
		}
	}
}

// step does one thing about a stage, and reports whether there is more to do at
// once.
func (s *Service) step(ctx context.Context, id int64) (more bool, due time.Time, err error) {
	p, err := s.Store.PlanOfStage(ctx, id)
	if err != nil {
		return false, due, err
	}
	if p == nil {
		removed, err := s.Store.Removed(ctx, id)
		if err != nil || !removed {
			return false, due, err
		}
		gone, err := s.removeSome(ctx, id)
		return !gone, due, err
	}
	i := stageIndex(p, id)
	st := p.Stages[i]
	switch {
	case st.Sweep.Kind == edge.NoSweep:
		return s.decide(ctx, p, i, false)
	case st.Selects() && mustWait(p, i):
		return false, clock.Now().Add(waitForOthers), nil
	case st.Sweep.Kind == edge.Undo:
		return s.undo(ctx, p, st)
	case st.Sweep.Kind == edge.Write:
		err = s.write(ctx, p, st)
	default:
		err = s.sweep(ctx, st)
	}
	return true, due, err
}

// undo takes a step of rolling a stage back. Other plans that are choosing their
// devices go first: what they want of a device decides what it has in the end.
func (s *Service) undo(ctx context.Context, p *edge.Plan, st edge.Stage) (more bool, due time.Time, err error) {
	fleet, err := s.Store.FleetOf(ctx, st.ID)
	if err != nil {
		return false, due, err
	}
	rivals, err := s.Store.Rivals(ctx, fleet, p)
	if err != nil {
		return false, due, err
	}
	if slices.ContainsFunc(rivals, func(r edge.Rival) bool { return r.Stage.Selects() }) {
		return false, clock.Now().Add(waitForOthers), nil
	}
	return true, due, s.sweep(ctx, st)
}

// waitForOthers is how long a stage waits for others before it looks again; by those
// of its plan it is woken before.
const waitForOthers = 500 * time.Millisecond

// mustWait reports whether a stage has to choose its devices after others of its
// plan, so that what they leave over is known.
func mustWait(p *edge.Plan, i int) bool {
	if p.Removing {
		return true
	}
	st := p.Stages[i]
	for _, o := range p.Stages {
		if o.ID != st.ID && o.Selects() &&
			(o.Ordered.Before(st.Ordered) || o.Ordered.Equal(st.Ordered) && o.ID < st.ID) {
			return true
		}
	}
	return false
}

func stageIndex(p *edge.Plan, id int64) int {
	for i := range p.Stages {
		if p.Stages[i].ID == id {
			return i
		}
	}
	return -1
}

// facts gathers what a decision needs besides the rows' counters. All of it only
// grows older harmlessly.
func (s *Service) facts(ctx context.Context, p *edge.Plan, i int) (f edge.Facts, err error) {
	st := p.Stages[i]
	f = s.now(p, i)
	st = st.Watched(p.Policy, f)
	if st.Baked(p.Policy, f) {
		there, err := s.Store.AnyDeployed(ctx, st)
		if f.Left = !there; err != nil {
			return f, err
		}
	}
	if st.Status != edge.StageInProgress && st.Status != edge.StageStarting {
		return f, nil
	}
	if p.Policy.DeviceTimeout > 0 {
		if f.Oldest, err = s.Store.OldestDelivery(ctx, st); err != nil {
			return f, err
		}
	}
	if p.Policy.SuccessThreshold > 0 && st.Verdict == edge.Undecided && st.Counts.Pending() > 0 {
		f.Reachable, err = s.Store.AnyReachable(ctx, st, st.Since(f.Now, p.Policy.Window()))
	}
	return f, err
}

// now are the facts about a stage that need no look at the store.
func (s *Service) now(p *edge.Plan, i int) edge.Facts {
	return edge.Facts{
		Now: clock.Now(), Listening: time.UnixMicro(s.listening.Load()).UTC(), StopGrace: s.StopGrace,
		Last: i == len(p.Stages)-1,
	}
}

// decide asks what a stage does next, and records it. started says that the next
// stage was started already.
func (s *Service) decide(ctx context.Context, p *edge.Plan, i int, started bool) (more bool, due time.Time, err error) {
	id := p.Stages[i].ID
	f, err := s.facts(ctx, p, i)
	if err != nil {
		return false, due, err
	}
	var chain bool
	err = s.Change(ctx, func(tx store.Tx) error {
		more, due, chain = false, time.Time{}, false
		p, err := tx.PlanOfStage(ctx, id)
		if err != nil || p == nil {
			return err
		}
		i := stageIndex(p, id)
		st := p.Stages[i]
		next, a := edge.NextStage(p.Policy, st, f)
		if a.StartNext && !started {
			chain, next.Chained, a.Wake = true, false, f.Now // noted when that is done
		}
		due = a.Wake
		quiet := next
		quiet.Watch.Last = st.Watch.Last
		if reflect.DeepEqual(st, quiet) && a.Undo == "" {
			if next.Watch != st.Watch {
				return tx.SaveSweep(ctx, next) // somebody looked: that changes nothing of the plan
			}
			return nil
		}
		more, p.Modified = true, f.Now
		if err := s.record(ctx, tx, p, st, next); err != nil {
			return err
		}
		if a.Undo != "" {
			p.Stages[i] = next
			return s.rollBack(ctx, tx, p, a.Undo)
		}
		return tx.SaveStage(ctx, p, next, a.Wake)
	})
	if err != nil || !chain {
		return more, due, err
	}
	if err := s.startNext(ctx, p, i); err != nil {
		return false, due, err
	}
	failpoint.Hit("fleet.chained")
	_, due, err = s.decide(ctx, p, i, true)
	return true, due, err
}

// record logs and tells what has changed about a stage.
func (s *Service) record(ctx context.Context, tx store.Tx, p *edge.Plan, st, next edge.Stage) error {
	if st.Status != next.Status {
		s.Log.InfoContext(ctx, "stage advanced", "plan", p.Name, "stage", st.Name, "from", st.Status, "status",
			next.Status,
			"deployed", st.Counts.Deployed, "failed", st.Counts.Failed, "pending", st.Counts.Pending(),
			"reason", next.Message)
		text := string(next.Status) + ": " + counted(st.Counts)
		if next.Message != "" {
			text += "; " + next.Message
		}
		if next.Mirror != nil && next.Mirrored != (edge.Mirrored{}) {
			text += "; " + next.Mirrored.String()
		}
		if err := tell(ctx, tx, p, st.Name, edge.EventStage, "", "%s", text); err != nil {
			return err
		}
	}
	if missed := st.Missed(next); missed != "" {
		s.Log.WarnContext(ctx, "stage was not watched", "plan", p.Name, "stage", st.Name, "reason", missed)
		if err := tell(ctx, tx, p, st.Name, edge.EventAction, "", "%s", missed); err != nil {
			return err
		}
	}
	if st.Verdict != next.Verdict {
		if err := tell(ctx, tx, p, st.Name, edge.EventVerdict, "", "%s: %s; %d late", next.Verdict, counted(st.Counts),
			next.Late,
		); err != nil {
			return err
		}
	}
	if next.Sweep.Kind != edge.NoSweep && st.Sweep.Kind == edge.NoSweep && next.Sweep.Why != "" {
		return tell(ctx, tx, p, st.Name, edge.EventAction, "", "%s: %s", next.Sweep.Kind, next.Sweep.Why)
	}
	return nil
}

// rollBack gives every stage of a plan that has deployed something the order to
// go back.
func (s *Service) rollBack(ctx context.Context, tx store.Tx, p *edge.Plan, why string) error {
	for _, st := range p.Stages {
		next, changed := st.RollBack(s.NewOrder(), why, p.Modified)
		if !changed {
			continue
		}
		s.Log.InfoContext(
			ctx, "stage rolled back", "plan", p.Name, "stage", st.Name, "deployment", next.Deployment, "reason", why,
		)
		if err := tell(ctx, tx, p, st.Name, edge.EventAction, "", "rolled back as %s: %s; %s", next.Deployment, why,
			counted(st.Counts),
		); err != nil {
			return err
		}
		if err := tx.SaveStage(ctx, p, next, p.Modified); err != nil {
			return err
		}
	}
	return nil
}

// startNext starts the stage after one that has passed. If it was started by
// hand, or cannot be started, that is how it stays.
func (s *Service) startNext(ctx context.Context, p *edge.Plan, i int) error {
	if i+1 >= len(p.Stages) || p.Stages[i+1].Status != edge.StageReady {
		return nil
	}
	next := p.Stages[i+1]
	err := s.start(ctx, p, next, "the policy")
	if err == nil || errors.Is(err, errMoved) {
		return err // to be looked at again
	}
	kind, words := fault.Public(err)
	if kind == fault.Internal || kind == fault.Unavailable {
		return err
	}
	s.Log.WarnContext(ctx, "the next stage was not started", "plan", p.Name, "stage", next.Name, "err", err)
	words = "not started: " + words
	return s.changePlan(ctx, p.Scope, p.Name, func(tx store.Tx, p *edge.Plan) error {
		if err := tell(ctx, tx, p, next.Name, edge.EventAction, "", "%s", words); err != nil {
			return err
		}
		i := stageIndex(p, next.ID)
		if i < 0 || p.Stages[i].Attempt != next.Attempt {
			return nil
		}
		st := p.Stages[i]
		st.Message = words // where DescribeEdgeDeploymentPlan shows it, too
		return tx.SaveStage(ctx, p, st, time.Time{})
	})
}
