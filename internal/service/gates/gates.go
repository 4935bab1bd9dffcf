package gates

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/id"
)

// Deployments are those in progress.
type Deployments interface {
	InProgress(ctx context.Context) ([]hosting.DeploymentID, error)
	// EndpointOf returns the endpoint that a deployment changes; nil if it is gone.
	EndpointOf(ctx context.Context, id hosting.DeploymentID) (*hosting.Endpoint, error)
}

// Store keeps what was weighed over the end of a server.
type Store interface {
	// Evidence returns what was kept last of a deployment, by variant, as JSON.
	Evidence(ctx context.Context, id hosting.DeploymentID) (map[string]string, error)
	// KeepEvidence keeps that of deployments that are not over, unless what is there is newer.
	KeepEvidence(ctx context.Context, all []hosting.KeptEvidence) error
}

// Config is what a Service works with. Nothing else of it may be nil.
type Config struct {
	Deployments Deployments
	Store       Store
	// Begin has series of evidence begin anew, and Put takes a value of one at a
	// time, as those of packages alarms and metrics do.
	Begin func(ctx context.Context, sc arn.Scope, ids ...metric.ID) error
	Put   func(sc arn.Scope, id metric.ID, at time.Time, value float64) error
	// Route returns where an endpoint's requests go now, from memory.
	Route func(k traffic.Key) (traffic.Route, bool)
	// Trip takes traffic back at once for what gates have against a deployment, as
	// sentences, without waiting for anything. It may be told the same again.
	Trip func(id hosting.DeploymentID, why string)
	// Longest is how long a request may take, and LongestPair how long the two
	// answers to one may.
	Longest, LongestPair time.Duration
	// Anew says that what the store has is from before the database ran backwards: it
	// is of another course of things.
	Anew bool
	// Registerer is where it is counted what was not read; nil: nowhere.
	Registerer prometheus.Registerer
	Log        *slog.Logger
}

// Service weighs, while deployments divide traffic, what becomes of requests. Its
// methods may be called at the same time.
type Service struct {
	Counter

	cfg     Config
	pairs   pairs
	answers chan *exchange // to be read
	unread  *prometheus.CounterVec

	mu      sync.Mutex // guards watched and what is in it
	watched map[hosting.DeploymentID]*watched
	stride  int64         // by number since 1970
	weighed time.Time     // the last time
	since   time.Time     // when the service began
	ahead   time.Duration // of the clock then, how far it was set since
	anew    bool          // what the store has is not to be continued
	life    string        // of the service
	said    []func()      // to be logged once mu is free
}

// New returns a service that has seen nothing. It goes on with what an earlier one
// had kept of deployments in progress.
func New(c Config) (*Service, error) {
	now := time.Now()
	s := &Service{
		Counter: Counter{longest: c.Longest}, cfg: c, watched: map[hosting.DeploymentID]*watched{},
		stride: strideOf(now), weighed: now, since: now, anew: c.Anew, life: id.New("g"),
		answers: make(chan *exchange, allHands), unread: newUnread(),
	}
	if c.Registerer != nil {
		if err := c.Registerer.Register(s.unread); err != nil {
			return nil, fmt.Errorf("register the metrics of gates: %w", err)
		}
	}
	return s, nil
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
		clock.Every(ctx, evidence.Stride*time.Second, func() { s.look(ctx) })
	})
	wg.Go(func() { s.keepOn(ctx) })
	for range readers() {
		wg.Go(func() { s.readAnswers(ctx) })
	}
	clock.Every(ctx, time.Second, func() { s.weigh(time.Now()) })
}

// lookTime bounds a look at the database.
const lookTime = 5 * time.Second

// later has something logged once s.mu is free, which a log that is slow must not
// hold. s.mu is held.
func (s *Service) later(log func()) { s.said = append(s.said, log) }

// unlock frees s.mu, and logs what was to be logged.
func (s *Service) unlock() {
	said := s.said
	s.said = nil
	s.mu.Unlock()
	for _, log := range said {
		log()
	}
}

// look finds the deployments in progress, once in a stride: turns tell of all of
// them at once, but not of those that a server finds when it starts, nor of the
// end of those that were deleted.
func (s *Service) look(ctx context.Context) {
	inTime, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if err := s.lookAt(inTime); err != nil && ctx.Err() == nil {
		s.cfg.Log.WarnContext(ctx, "deployments were not looked at for their evidence", "err", err)
	}
}

// lookAt ends what is over first: that takes one look at the database, the others take
// one each.
func (s *Service) lookAt(ctx context.Context) error {
	s.mu.Lock()
	gone := slices.Collect(maps.Keys(s.watched))
	s.mu.Unlock()
	ids, err := s.cfg.Deployments.InProgress(ctx)
	gone = slices.DeleteFunc(gone, func(id hosting.DeploymentID) bool { return slices.Contains(ids, id) })
	for i := 0; i < len(gone) && err == nil; i++ {
		err = pardoned(s.Follow(ctx, gone[i], nil))
	}
	for i := 0; i < len(ids) && err == nil; i++ {
		var e *hosting.Endpoint
		if e, err = s.cfg.Deployments.EndpointOf(ctx, ids[i]); err == nil && e != nil {
			err = pardoned(s.Follow(ctx, ids[i], e))
		}
	}
	return err
}

// pardoned is an error that is not told again.
func pardoned(err error) error {
	if errors.Is(err, fault.Limit) {
		return nil
	}
	return err
}

// Follow takes note of how a deployment stands: e is the endpoint that it changes,
// nil if it is over. Every turn tells of it before it decides, so that counting
// begins before any traffic moves. Errors are those of the stores, and leave
// everything to the next call; fault.Limit says that there is no room for series:
// gates judge all the same, and alarms on evidence see nothing.
func (s *Service) Follow(ctx context.Context, id hosting.DeploymentID, e *hosting.Endpoint) error {
	if e != nil && (e.Deployment == nil || e.Deployment.ID != id) {
		e = nil
	}
	before, err := s.earlier(ctx, id, e)
	if err != nil {
		return err
	}
	w, ids := s.follow(ctx, id, e, before)
	if len(ids) == 0 {
		return nil
	}
	err = s.cfg.Begin(ctx, w.scope, ids...)
	s.mu.Lock()
	defer s.unlock()
	if errors.Is(err, fault.Limit) && !w.over {
		if !w.full {
			s.later(func() {
				s.cfg.Log.WarnContext(ctx, "there is no room for series of evidence: alarms see none",
					"endpoint", w.key.Name, "deployment", id, "err", err)
			})
		}
		w.full = true
		return err
	}
	switch {
	case err != nil && !errors.Is(err, fault.Limit):
		return err
	case w.over && s.watched[id] == w:
		delete(s.watched, id)
	case !w.over:
		w.opened, w.full, w.left = true, false, nil
	}
	return nil
}

// follow takes note of how a deployment stands, and returns which series have to
// begin anew before that is done.
func (s *Service) follow(
	ctx context.Context, id hosting.DeploymentID, e *hosting.Endpoint, before map[string]*Document,
) (w *watched, ids []metric.ID) {
	now := clock.Now()
	s.mu.Lock()
	defer s.unlock()
	w = s.watched[id]
	switch {
	case w == nil && comparable(e):
		w = s.begin(ctx, e, before, now)
	case w == nil:
		return nil, nil
	case e == nil:
		s.end(w)
	case w.over: // a turn that is late
		return nil, nil
	default:
		s.stand(w, e, now)
	}
	if w.over || !w.opened {
		return w, append(w.series(), w.left...)
	}
	return w, nil
}

// Facts returns what gates have seen of a deployment by the last second. It waits
// for nothing.
func (s *Service) Facts(id hosting.DeploymentID) (all []gate.Fact) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.watched[id]; w != nil && !w.over {
		for _, v := range w.variants {
			all = append(all, v.facts...)
		}
	}
	return all
}
