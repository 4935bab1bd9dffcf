// Package evidence gathers what speaks for or against a deployment besides its
// own rows: the alarms that stand against it, and how many requests its new
// fleet has answered. For a plan it says what makes that doubtful. What follows
// from evidence is decided elsewhere, by package rollout.
package evidence

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// Endpoints finds the endpoint that a deployment changes; nil if it is gone.
type Endpoints interface {
	EndpointOf(ctx context.Context, id hosting.DeploymentID) (*hosting.Endpoint, error)
}

// Alarms says which of the named alarms are in ALARM or gone at this moment,
// or were in ALARM at some moment after since.
type Alarms interface {
	Firing(ctx context.Context, sc arn.Scope, names []string, since time.Time) ([]hosting.TrippedAlarm, error)
}

// Routers report how many requests the fleets of an endpoint's configuration
// have answered, each router for itself.
type Routers interface {
	Answered(k traffic.Key, config string) []traffic.Reading
}

// Source is where evidence comes from. Without Alarms none stand against a
// deployment, without Routers nobody counts.
type Source struct {
	Endpoints Endpoints
	Alarms    Alarms
	Routers   Routers
}

// Evidence is what is known of a deployment at one moment.
type Evidence struct {
	Firing   []hosting.TrippedAlarm
	Answered []traffic.Reading // by the new fleet; empty if there is none, or nobody counts
}

// Of returns what is known of a deployment now; nothing of one that is over.
// It may write: alarms are evaluated by the samples of this moment.
func (s *Source) Of(ctx context.Context, id hosting.DeploymentID) (ev Evidence, err error) {
	e, err := s.Endpoints.EndpointOf(ctx, id)
	if err != nil || e == nil {
		return ev, err
	}
	w := e.Watched()
	if s.Routers != nil && w.Config != "" {
		ev.Answered = s.Routers.Answered(traffic.Key{Region: e.Scope.Region, Name: e.Name}, w.Config)
	}
	if s.Alarms != nil && len(w.Alarms) > 0 {
		if ev.Firing, err = s.Alarms.Firing(ctx, e.Scope, w.Alarms, w.Since); err != nil {
			return ev, fmt.Errorf("look at alarms: %w", err)
		}
	}
	return ev, nil
}
