// Package deployer takes a deployment's turns: it gathers the facts, lets
// rollout.Next decide, and writes what follows, in one transaction a turn. It
// goes from database to database; running instances and moving requests are
// not its job.
package deployer

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/outcome"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
	"github.com/slipway-ml/slipway/internal/service/evidence"
)

// Deployer takes turns.
type Deployer struct {
	// Change runs f in one transaction, again if the database asks for it:
	// store.DB's, which tests put faults before.
	Change func(ctx context.Context, f func(store.Tx) error) error
	// Changed is called after a turn that wrote something, so that instances
	// and routers look again. It must not block.
	Changed func()
	// Evidence is what speaks for or against a deployment besides its rows.
	Evidence *evidence.Source
	// Keep, unless nil, returns what is to be kept of the evidence on a deployment, if
	// anything is: with each phase, so that the next server knows of both.
	Keep func(id hosting.DeploymentID) (k hosting.KeptEvidence, some bool)
	Log  *slog.Logger
}

// maxSteps bounds the transitions of one turn; rollout.Next needs fewer, and
// what is left over is due at once. So is what follows once half of the time for
// the turn is over: a step is not begun that may be cut off in its transaction.
const maxSteps = 32

// Turn advances the deployment called key as far as the facts of this moment
// carry it, and says when it is next due. Taking it twice does no harm.
func (d *Deployer) Turn(ctx context.Context, key string) (due time.Time, err error) {
	begun := time.Now()
	for range maxSteps {
		if end, bounded := ctx.Deadline(); bounded && time.Until(end) < time.Since(begun) {
			return clock.Now(), nil
		}
		var changed bool
		// Before the transaction: to evaluate alarms may write, too.
		ev, err := d.Evidence.Of(ctx, hosting.DeploymentID(key))
		if err != nil {
			return due, fmt.Errorf("gather evidence: %w", err)
		}
		err = d.Change(ctx, func(tx store.Tx) (err error) {
			due, changed, err = d.step(ctx, tx, hosting.DeploymentID(key), ev)
			return err
		})
		if err != nil {
			return due, err
		}
		if !changed {
			return due, nil
		}
		failpoint.Hit("deployer.stepped")
		d.Changed()
	}
	return due, nil
}

// step takes one transition. The write of a phase and of its traffic is one
// transaction, and a step a transaction, so that a crash is between two.
func (d *Deployer) step(
	ctx context.Context, tx store.Tx, id hosting.DeploymentID, ev evidence.Evidence,
) (due time.Time, changed bool, err error) {
	e, err := tx.EndpointOf(ctx, id)
	if err != nil || e == nil || e.Deployment == nil || e.Deployment.ID != id {
		return due, false, err // it ended meanwhile
	}
	is, err := tx.Instances(ctx, e.ID)
	if err != nil {
		return due, false, err
	}
	now := clock.Now()
	was, before := outcome.StandingOf(e), e.Deployment.State
	if len(ev.Answered) > 0 {
		e.Deployment.Exposure = e.Deployment.Exposure.Add(ev.Answered, e.Deployment.Begun)
	}
	if d.Evidence.Stands != nil {
		d.Evidence.Stands(id, e, is)
	}
	ev.Firing = d.Evidence.WithTrip(id, ev.Firing)
	facts := e.Facts(is, ev.Firing, now)
	facts.Observed = ev.Observed
	seen := d.Evidence.Facts(id)
	facts.Gates = e.GateFacts(seen)
	next, due := rollout.Next(e.Deployment.Plan, before, facts)
	if !due.Equal(now) {
		return d.lookAgain(e, before, due, now), false, nil // nothing to do before then
	}
	if next.Reason != "" && before.Reason == "" {
		e.Deployment.Tripped = ev.Firing
	}
	e.Apply(next, now)
	e.Deployment.Note(seen, before, now)
	if before.Phase != next.Phase {
		d.Log.InfoContext(ctx, "deployment advanced", "endpoint", e.Name, "deployment", id,
			"kind", e.Deployment.Plan.Kind, "from", before.Phase, "phase", next.Phase, "step", next.Step,
			"reason", next.Reason)
	}
	if !next.Restarted.IsZero() && !next.Restarted.Equal(before.Restarted) {
		missed := next.Gaps[len(next.Gaps)-1].Missed
		d.Log.WarnContext(ctx, "a bake starts over: it was not observed", "endpoint", e.Name, "deployment", id,
			"step", next.Step, "reason", missed)
	}
	if e.Ended() && e.Deployment.Plan.Kind == rollout.Delete {
		return time.Time{}, true, tx.Write(ctx, outcome.OfDeletion(was, e))
	}
	if err := tx.Write(ctx, outcome.OfChange(was, e, is)); err != nil {
		return due, true, err
	}
	return due, true, d.keep(ctx, tx, id, next.Phase)
}

func (d *Deployer) keep(ctx context.Context, tx store.Tx, id hosting.DeploymentID, in rollout.Phase) error {
	if d.Keep == nil || !in.Undoable() {
		return nil
	}
	if k, some := d.Keep(id); some {
		return tx.KeepEvidence(ctx, k)
	}
	return nil
}

// How often a deployment is looked at while nothing else is due: for alarms,
// which wake it besides when they trip, and for a count of requests and what gates
// make of it, which do not.
const (
	betweenAlarms = 10 * time.Second
	betweenCounts = time.Second
)

// lookAgain returns when a deployment is next due: while it is judged by
// alarms or waits for requests that is soon, whatever else it is waiting for
// (spec §4.5).
func (d *Deployer) lookAgain(e *hosting.Endpoint, s rollout.State, due, now time.Time) time.Time {
	if !s.Phase.Undoable() {
		return due
	}
	soon := func(in time.Duration) {
		if next := now.Add(in); due.IsZero() || next.Before(due) {
			due = next
		}
	}
	if len(e.Watched().Alarms) > 0 {
		soon(betweenAlarms)
	}
	policy := e.Deployment.Plan.Policy
	_, losses := gate.Find(policy.Gates, gate.InstanceLoss)
	if losses || gate.AnyJudges(policy.Gates) || policy.MinimumRequests > 0 && s.Phase == rollout.Baking {
		soon(betweenCounts)
	}
	return due
}
