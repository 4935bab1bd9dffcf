// Package watch keeps the samples of metrics and the alarms that judge them:
// what CloudWatch is to SageMaker's endpoints (spec §7). It takes a sample of
// every request from the router without getting in its way, evaluates alarms
// when they are due and, between that, as soon as a sample can decide, and says
// which alarms stand against a deployment.
//
// It promises that an alarm's state and the history of it are written together,
// that deployments which an alarm judges are woken in the same transaction, and
// that an alarm which has fired is seen by them even if it has recovered before
// they looked. When an alarm changes its state is the job of domain/alarm, what
// a deployment does about it that of domain/rollout. Actions of alarms are
// recorded and not carried out.
//
// # What is kept
//
// Samples are in memory, by the second for 3 hours, by the minute for 30 hours,
// by 5 minutes for 7 days and by the hour for 63 days, and written to the store
// every few seconds: a crash loses what came after the last flush. There are at
// most MaxSeries series, and seconds are summed up into minutes earlier when
// all of them together take more than MaxBytes. Beyond MaxSeries, new metrics
// are refused, or if they are an endpoint's own, not recorded; each minute the
// series that have been idle longest make room.
//
// History is kept for 30 days, and of each alarm no more than the newest 1,000
// lines. Definitions and states of alarms are in the store at all times.
package watch

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	store "github.com/slipway-ml/slipway/internal/platform/store/alarms"
	samples "github.com/slipway-ml/slipway/internal/platform/store/metrics"
)

// Config is what a Service is made of. Zero numbers mean the defaults.
type Config struct {
	Alarms  store.DB
	Samples samples.DB
	Account string
	// Ring says that a deployment may have fallen due. It must not block.
	Ring func()
	// Counts returns the counters of an endpoint's fleets, for the requests in
	// flight. Nil: they are not sampled.
	Counts func(traffic.Key) []traffic.Counts
	// Instances returns what the instances that take traffic take of their
	// hosts. It is asked once a minute. Nil: they are not sampled.
	Instances func(ctx context.Context) ([]Instance, error)
	Log       *slog.Logger

	MaxSeries  int           // 100,000
	MaxBytes   int           // of packed samples; 512 MiB
	MaxAlarms  int           // in a region; 5,000
	FlushEvery time.Duration // 5 s; longer when a flush takes long, so that it never takes more than a tenth of the time
	// Settle is how long after the end of a period an alarm is evaluated, so
	// that samples on their way are counted; 20 ms.
	Settle time.Duration
	// Pause is the least time between two early evaluations; 10 ms.
	Pause time.Duration
}

// Service keeps samples and alarms. Its methods may be called at the same time.
type Service struct {
	Config
	shelf shelf
	taps  taps
	book  book
	rings rings

	flushing sync.Mutex      // held by the one flush under way; guards unsaved
	unsaved  []metric.Stored // handed out by the series and not in the store yet

	instances map[string]seen // by ID; of the keeper's goroutine

	squeeze    time.Duration // by how much seconds are kept shorter; of the keeper's goroutine
	full       atomic.Int64  // second in which there was no room for a fleet's metrics
	unrecorded atomic.Int64  // samples that found no room since the last report
}

// New reads alarms and samples from the store.
func New(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Ring == nil {
		cfg.Ring = func() {}
	}
	orElse(&cfg.MaxSeries, 100_000)
	orElse(&cfg.MaxBytes, 512<<20)
	orElse(&cfg.MaxAlarms, 5_000)
	orElse(&cfg.FlushEvery, 5*time.Second)
	orElse(&cfg.Settle, 20*time.Millisecond)
	orElse(&cfg.Pause, 10*time.Millisecond)
	s := &Service{Config: cfg}
	s.shelf.lines = map[lineKey]*line{}
	s.book.regions = map[string]*chapter{}
	s.taps.init()
	s.rings.init()
	records, err := cfg.Alarms.Alarms(ctx)
	if err != nil {
		return nil, fmt.Errorf("load alarms: %w", err)
	}
	for _, r := range records {
		if err := s.book.put(r); err != nil {
			return nil, fmt.Errorf("load alarm %q of %s: %w", r.Definition.Name, r.Region, err)
		}
	}
	for region := range s.book.regions {
		if err := s.recall(ctx, region); err != nil {
			return nil, fmt.Errorf("load history of alarms: %w", err)
		}
	}
	if err := cfg.Samples.Samples(ctx, s.restore); err != nil {
		return nil, fmt.Errorf("load samples: %w", err)
	}
	return s, nil
}

// recall reads which alarms of a region have fired and recovered lately, for
// the deployments that were under way when the server stopped.
func (s *Service) recall(ctx context.Context, region string) error {
	const longest, most = 24 * time.Hour, 2000
	lines, _, err := s.Config.Alarms.History(ctx, alarm.HistoryFilter{
		Region: region, Kind: alarm.StateUpdate, From: time.Now().Add(-longest), Limit: most,
	})
	if err != nil {
		return err
	}
	began := map[string]time.Time{}
	for _, h := range slices.Backward(lines) {
		if e := s.book.find(region, h.Alarm); e != nil {
			if reason, over := endOfAlarm(h); over {
				e.fired = fired{reason: reason, from: began[h.Alarm], till: h.At}
			}
		}
		began[h.Alarm] = h.At
	}
	return nil
}

func orElse[T int | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

// restore takes a series from the store. One that is damaged starts again: it
// must not keep the server from starting.
func (s *Service) restore(st metric.Stored) error {
	l, err := s.shelf.line(st.Region, st.Metric, s.MaxSeries)
	if err != nil {
		return nil // MaxSeries was lowered; the rest is not looked at until it is raised again
	}
	if err := l.restore(&s.shelf, st.Unit, st.Chunks); err != nil {
		s.Log.Warn("damaged samples were dropped", "region", st.Region, "namespace", st.Metric.Namespace, "metric", st.Metric.Name, "err", err)
	}
	return nil
}

// Run evaluates alarms, flushes samples and tidies up until ctx ends. What came
// after the last flush is written by Close.
func (s *Service) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { s.evaluateAll(ctx) })
	wg.Go(func() { s.drainAll(ctx) })
	wg.Go(func() { s.keep(ctx) })
	wg.Wait()
}

// Close writes what was not written yet.
func (s *Service) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return s.Flush(ctx)
}
