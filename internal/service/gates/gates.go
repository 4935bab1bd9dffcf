package gates

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/clock"
)

// Deployments are those in progress.
type Deployments interface {
	InProgress(ctx context.Context) ([]hosting.DeploymentID, error)
	// EndpointOf returns the endpoint that a deployment changes; nil if it is gone.
	EndpointOf(ctx context.Context, id hosting.DeploymentID) (*hosting.Endpoint, error)
}

// Config is what a Service works with. Nothing of it may be nil.
type Config struct {
	Deployments Deployments
	// Begin has series of evidence begin anew, and Put takes a value of one at a
	// time, as those of packages alarms and metrics do.
	Begin func(ctx context.Context, sc arn.Scope, ids ...metric.ID) error
	Put   func(sc arn.Scope, id metric.ID, at time.Time, value float64) error
	// Trip takes traffic back at once for what gates have against a deployment, as
	// sentences, without waiting for anything. It may be told the same again.
	Trip func(id hosting.DeploymentID, why string)
	Log  *slog.Logger
}

// Service weighs, while deployments divide traffic, what becomes of requests. Its
// methods may be called at the same time.
type Service struct {
	Counter

	cfg Config

	mu      sync.Mutex // guards watched and what is in it
	watched map[hosting.DeploymentID]*watched
	stride  int64 // by number since 1970
}

// New returns a service that has seen nothing. What an earlier one had seen of a
// deployment in progress is forgotten: its evidence begins anew at 0.
func New(c Config) *Service {
	return &Service{cfg: c, watched: map[hosting.DeploymentID]*watched{}, stride: strideOf(time.Now())}
}

// strideOf is the stride that a time is in, by the clock.
func strideOf(t time.Time) int64 { return t.Unix() / evidence.Stride }

// Run weighs once a second, until ctx ends. It looks at the database beside that: a
// gate fires though the database does not answer.
func (s *Service) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		s.look(ctx)
		every(ctx, evidence.Stride*time.Second, func() { s.look(ctx) })
	})
	every(ctx, time.Second, func() { s.weigh(time.Now()) })
}

// every calls do, with pauses between, until ctx ends.
func every(ctx context.Context, pause time.Duration, do func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

// lookTime bounds a look at the database.
const lookTime = 5 * time.Second

// look finds the deployments in progress, once in a stride: turns tell of all of
// them at once, but not of those that a server finds when it starts, nor of the
// end of those that were deleted.
func (s *Service) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	s.mu.Lock()
	var gone []hosting.DeploymentID
	for id := range s.watched {
		gone = append(gone, id)
	}
	s.mu.Unlock()
	ids, err := s.cfg.Deployments.InProgress(ctx)
	for i := 0; i < len(ids) && err == nil; i++ {
		var e *hosting.Endpoint
		if e, err = s.cfg.Deployments.EndpointOf(ctx, ids[i]); err == nil && e != nil {
			err = s.Follow(ctx, ids[i], e)
		}
		gone = slices.DeleteFunc(gone, func(id hosting.DeploymentID) bool { return id == ids[i] })
	}
	for i := 0; i < len(gone) && err == nil; i++ {
		err = s.Follow(ctx, gone[i], nil)
	}
	if err != nil && ctx.Err() == nil {
		s.cfg.Log.WarnContext(ctx, "deployments were not looked at for their evidence", "err", err)
	}
}

// Follow takes note of how a deployment stands: e is the endpoint that it changes,
// nil if it is over. Every turn tells of it before it decides, so that counting
// begins before any traffic moves. Errors are those of the store of alarms, and
// leave everything to the next call.
func (s *Service) Follow(ctx context.Context, id hosting.DeploymentID, e *hosting.Endpoint) error {
	if e != nil && (e.Deployment == nil || e.Deployment.ID != id) {
		e = nil
	}
	now := clock.Now()
	s.mu.Lock()
	w := s.watched[id]
	began := w == nil && comparable(e)
	switch {
	case began:
		w = s.begin(e, now)
	case w == nil:
		s.mu.Unlock()
		return nil
	case e == nil:
		s.forget(w)
	default:
		s.stand(w, e, now)
	}
	anew := e == nil || !w.opened
	s.mu.Unlock()
	if began && !fresh(e) {
		s.cfg.Log.WarnContext(ctx, "the evidence on a deployment begins anew: the server was started meanwhile",
			"endpoint", e.Name, "deployment", id)
	}
	if !anew {
		return nil
	}
	err := s.cfg.Begin(ctx, w.scope, w.series()...)
	if errors.Is(err, fault.Limit) { // gates judge without series, too
		s.cfg.Log.WarnContext(ctx, "there is no room for series of evidence: alarms see none",
			"endpoint", w.key.Name, "deployment", id, "err", err)
		return nil
	}
	if err == nil {
		s.mu.Lock()
		w.opened = true
		s.mu.Unlock()
	}
	return err
}

// Facts returns what gates have seen of a deployment by the last second. It waits
// for nothing.
func (s *Service) Facts(id hosting.DeploymentID) (all []gate.Fact) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.watched[id]; w != nil {
		for _, v := range w.variants {
			all = append(all, v.facts...)
		}
	}
	return all
}

// Pair takes how far the answers of both fleets to one request are apart, from 0 to
// 1; slot is the place of the new fleet's instance.
func (s *Service) Pair(id hosting.DeploymentID, variant string, slot int, distance float64) {
	s.pairs(id, variant, func(v *variantOf) {
		v.pair(evidence.Disagreement, slot, distance)
		v.pair(evidence.MirrorFailure, slot, 0)
	})
}

// Failure takes that one fleet alone failed a request that both were sent.
func (s *Service) Failure(id hosting.DeploymentID, variant string, slot int, ofNew bool) {
	x := -1.0
	if ofNew {
		x = 1
	}
	s.pairs(id, variant, func(v *variantOf) { v.pair(evidence.MirrorFailure, slot, x) })
}

// Shed takes that a copy was not sent, or not compared, for want of room.
func (s *Service) Shed(id hosting.DeploymentID, variant string) {
	s.pairs(id, variant, func(v *variantOf) { v.shed++ })
}

func (s *Service) pairs(id hosting.DeploymentID, variant string, do func(*variantOf)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.watched[id]; w != nil && w.running {
		for _, v := range w.variants {
			if v.place.Variant == variant {
				do(v)
			}
		}
	}
}
