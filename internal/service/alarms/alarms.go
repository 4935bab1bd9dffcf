// Package alarms keeps alarms and evaluates them: what CloudWatch's alarms are
// to deployments (spec §7.3). They are evaluated when they are due and, between
// that, as soon as a sample can decide.
//
// It promises that an alarm's state and the history of it are written together,
// that deployments which an alarm stands guard over are woken in the same
// transaction, and that an alarm which has fired is seen by them even if it has
// recovered before they looked. When an alarm changes its state is the job of
// domain/alarm, what a deployment does about it that of domain/rollout, and the
// samples are kept by service/metrics. Actions of alarms are recorded and not
// carried out.
//
// History is kept for 30 days, and of each alarm no more than the newest 1,000
// lines. Definitions and states of alarms are in the store at all times.
package alarms

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	store "github.com/slipway-ml/slipway/internal/platform/store/alarms"
	"github.com/slipway-ml/slipway/internal/service/metrics"
)

// Config is what a Service is made of. Zero numbers mean the defaults.
type Config struct {
	Store   store.DB
	Metrics *metrics.Service
	Account string
	// Wake says that a deployment may have fallen due. It must not block.
	Wake func()
	// Trip is told of an alarm that goes into ALARM before anything is written,
	// so that traffic moves back whether the database answers or not. It may be
	// told twice, and must not block. Nil: nobody is told.
	Trip func(region string, a hosting.TrippedAlarm)
	// Guards names, by region, the alarms on which traffic depends at the moment.
	// They are looked at every second whether the database answers or not. Nil: only
	// those that a sample decides are.
	Guards func() map[string][]string
	Log    *slog.Logger

	MaxAlarms int // in a region; 5,000
	// Settle is how long after the end of a period an alarm is evaluated, so
	// that samples on their way are counted; 20 ms.
	Settle time.Duration
	// Pause is the least time between two early evaluations; 10 ms.
	Pause time.Duration
}

// Service keeps alarms. Its methods may be called at the same time.
type Service struct {
	Config
	index    index
	samples  *metrics.Subscription
	deciding *metrics.Subscription // the same, for tripAll
}

// New reads the alarms from the store.
func New(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Wake == nil {
		cfg.Wake = func() {}
	}
	if cfg.Trip == nil {
		cfg.Trip = func(string, hosting.TrippedAlarm) {}
	}
	if cfg.Guards == nil {
		cfg.Guards = func() map[string][]string { return nil }
	}
	cfg.MaxAlarms = cmp.Or(cfg.MaxAlarms, 5_000)
	cfg.Settle = cmp.Or(cfg.Settle, 20*time.Millisecond)
	cfg.Pause = cmp.Or(cfg.Pause, 10*time.Millisecond)
	s := &Service{Config: cfg, samples: cfg.Metrics.Subscribe(), deciding: cfg.Metrics.Subscribe()}
	s.index = index{regions: map[string]*region{}, early: map[metrics.Key][]*entry{}}
	s.index.watch = func(k metrics.Key, i metrics.Interest) {
		s.samples.Watch(k, i)
		s.deciding.Watch(k, i)
	}
	records, err := cfg.Store.Alarms(ctx)
	if err != nil {
		return nil, fmt.Errorf("load alarms: %w", err)
	}
	for _, r := range records {
		if err := s.index.put(r); err != nil {
			return nil, fmt.Errorf("load alarm %q of %s: %w", r.Definition.Name, r.Region, err)
		}
	}
	for region := range s.index.regions {
		if err := s.recall(ctx, region); err != nil {
			return nil, fmt.Errorf("load history of alarms: %w", err)
		}
	}
	return s, nil
}

// Reread reads the alarms anew, because the store ran backwards.
func (s *Service) Reread(ctx context.Context) error {
	records, err := s.Store.Alarms(ctx)
	if err == nil {
		err = s.index.replace(records)
	}
	return err
}

// recall reads which alarms of a region have fired and recovered lately, for
// the deployments that were under way when the server stopped.
func (s *Service) recall(ctx context.Context, region string) error {
	const longest, most = 24 * time.Hour, 2000
	lines, _, err := s.Store.History(ctx, alarm.HistoryFilter{
		Region: region, Kind: alarm.StateUpdate, From: time.Now().Add(-longest), Limit: most,
	})
	if err != nil {
		return err
	}
	began := map[string]time.Time{}
	for _, h := range slices.Backward(lines) {
		if e := s.index.find(region, h.Alarm); e != nil {
			if reason, over := endOfAlarm(h); over {
				e.fired = fired{reason: reason, from: began[h.Alarm], till: h.At}
			}
		}
		began[h.Alarm] = h.At
	}
	return nil
}

// Run evaluates alarms and tidies up until ctx ends.
func (s *Service) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { s.evaluateAll(ctx) })
	wg.Go(func() { s.tripAll(ctx) })
	wg.Go(func() { s.tidy(ctx) })
	wg.Wait()
}

// What is kept of the history, and for how long it is known of a new alarm that
// one of its name was deleted: a deployment that the deleted one guarded may
// not be looked at before, if the database is away.
const (
	deletionsKept = time.Hour
	historyAge    = 30 * 24 * time.Hour
	historyKept   = 1000 // lines of an alarm
)

// tidy forgets what nobody needs any more, until ctx ends.
func (s *Service) tidy(ctx context.Context) {
	deletions, history := time.NewTicker(time.Minute), time.NewTicker(10*time.Minute)
	defer func() { deletions.Stop(); history.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-deletions.C:
			s.index.forgetDeletions(time.Now().Add(-deletionsKept))
		case <-history.C:
			err := s.Store.PruneHistory(ctx, time.Now().Add(-historyAge), historyKept)
			if err != nil && ctx.Err() == nil {
				s.Log.WarnContext(ctx, "old history of alarms was not pruned", "err", err)
			}
		}
	}
}
