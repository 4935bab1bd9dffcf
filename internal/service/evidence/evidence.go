// Package evidence gathers what speaks for or against a deployment besides its
// own rows: the alarms that stand against it, what its gates have seen, how many requests its new fleet
// has answered, and since when all of that has been observed without a gap: that
// nothing bad was seen means something only if somebody was looking. For a plan
// it says what makes that doubtful. What follows from evidence is decided
// elsewhere, by package rollout.
package evidence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/clock"
)

// Endpoints finds the endpoint that a deployment changes; nil if it is gone.
type Endpoints interface {
	EndpointOf(ctx context.Context, id hosting.DeploymentID) (*hosting.Endpoint, error)
}

// Alarms says which of the named alarms are in ALARM or gone at this moment,
// or were in ALARM at some moment after since; and the last time that one of
// them was not evaluated when it should have been.
type Alarms interface {
	Firing(
		ctx context.Context, sc arn.Scope, names []string, since time.Time,
	) ([]hosting.TrippedAlarm, rollout.Gap, error)
}

// Routers report how many requests a fleet of an endpoint has answered, each
// router for itself, and by which alarm they took back a deployment's traffic.
type Routers interface {
	Answered(k traffic.Key, f traffic.FleetRef) []traffic.Reading
	Tripped(d hosting.DeploymentID) (hosting.TrippedAlarm, bool)
}

// Metrics tell the last time that requests of an endpoint's fleet were answered
// and could not be measured.
type Metrics interface {
	Dropped(k traffic.Key, f traffic.FleetRef) rollout.Gap
}

// Gates tell what gates have seen so far of a deployment, of each variant at most
// one fact of a kind. It must not wait.
type Gates interface {
	Facts(id hosting.DeploymentID) []gate.Fact
}

// Watcher tells the last time that this server could not observe anything; see
// Watch.
type Watcher interface {
	LastGap() rollout.Gap
}

// Source is where evidence comes from. Without Alarms none stand against a
// deployment, without Routers nobody counts, without Gates nothing is proven.
type Source struct {
	Gates     Gates
	Endpoints Endpoints
	Alarms    Alarms
	Routers   Routers
	Metrics   Metrics
	Watch     Watcher
	// Follow, unless nil, hears how a deployment stands before anything is decided
	// of it: of the endpoint that it changes, nil if it is over.
	// fault.Limit says that alarms on evidence see none of this deployment.
	Follow func(ctx context.Context, id hosting.DeploymentID, e *hosting.Endpoint) error
	// Stands, unless nil, hears how the instances of a deployment's fleets do. It does
	// not block.
	Stands func(id hosting.DeploymentID, e *hosting.Endpoint, is []hosting.Instance)
	// OnEvidence, unless nil, returns those of the named alarms that watch evidence.
	OnEvidence func(sc arn.Scope, names []string) []string
}

// Evidence is what is known of a deployment at one moment.
type Evidence struct {
	Firing   []hosting.TrippedAlarm
	Answered []traffic.Reading // by the new fleet; empty if there is none, or nobody counts
	Observed rollout.Observation
}

// Of returns what is known of a deployment now; nothing of one that is over.
// It may write: alarms are evaluated by the samples of this moment.
func (s *Source) Of(ctx context.Context, id hosting.DeploymentID) (ev Evidence, err error) {
	e, err := s.Endpoints.EndpointOf(ctx, id)
	if err != nil {
		return ev, err
	}
	full := false
	if s.Follow != nil {
		err := s.Follow(ctx, id, e)
		if full = errors.Is(err, fault.Limit); err != nil && !full {
			return ev, fmt.Errorf("begin evidence: %w", err)
		}
	}
	if e == nil {
		return ev, nil
	}
	w := e.Watched()
	ev.Observed.Until = clock.Now() // what is looked at below is no older
	ev.see(s.Watch.LastGap())
	if full && s.OnEvidence != nil {
		if blind := s.OnEvidence(e.Scope, w.Alarms); len(blind) > 0 {
			ev.see(rollout.Gap{Until: ev.Observed.Until, Missed: fmt.Sprintf(
				"there was no room for the series of evidence that alarm %q watches", blind[0])})
		}
	}
	k, brings := traffic.Key{Region: e.Scope.Region, Name: e.Name}, w.Fleet != traffic.FleetRef{}
	if s.Routers != nil && brings {
		ev.Answered = s.Routers.Answered(k, w.Fleet)
	}
	if s.Metrics != nil && brings {
		ev.see(s.Metrics.Dropped(k, w.Fleet))
	}
	if s.Alarms != nil && len(w.Alarms) > 0 {
		var late rollout.Gap
		if ev.Firing, late, err = s.Alarms.Firing(ctx, e.Scope, w.Alarms, w.Since); err != nil {
			return ev, fmt.Errorf("look at alarms: %w", err)
		}
		ev.Firing = slices.DeleteFunc(ev.Firing, func(a hosting.TrippedAlarm) bool {
			return a.OfEvidence && !a.Shown.After(e.Deployment.State.Begun) // as of a clock that was set back
		})
		ev.see(late)
	}
	ev.Firing = s.WithTrip(id, ev.Firing)
	return ev, nil
}

// Facts are what gates have seen of a deployment by this moment, from memory: a
// turn asks for it when it decides, and for nothing older.
func (s *Source) Facts(id hosting.DeploymentID) []gate.Fact {
	if s.Gates == nil {
		return nil
	}
	return s.Gates.Facts(id)
}

// WithTrip adds to alarms that fire the one by which traffic was taken back from
// a deployment, from memory: a turn asks once more when it decides, since its
// evidence may have become old while it waited for the database.
func (s *Source) WithTrip(id hosting.DeploymentID, firing []hosting.TrippedAlarm) []hosting.TrippedAlarm {
	if s.Routers == nil {
		return firing
	}
	a, tripped := s.Routers.Tripped(id)
	if !tripped {
		return firing
	}
	firing = slices.Clone(firing)
	for i := range firing {
		if firing[i].Name == a.Name {
			firing[i].Taken = a.Taken
			return firing
		}
	}
	return append(firing, a)
}

// see takes in a gap: the last one counts. Of those that overlap the first one
// seen is the cause of the others. One that lies ahead is from before the clock
// was set back, which is a gap of its own.
func (ev *Evidence) see(g rollout.Gap) {
	switch last := &ev.Observed.Last; {
	case g.Until.After(ev.Observed.Until.Add(Blink)):
	case !g.Until.After(last.Until):
	case !g.From.IsZero() && g.From.Before(last.Until):
		last.Until = g.Until
	default:
		*last = g
	}
}
