// Package metrics keeps the samples of metrics: what CloudWatch is to
// SageMaker's endpoints (spec §7.1, §7.2). It takes a sample of every request
// without getting in its way, and tells subscribers at once when one came that
// they wait for. It promises that what was sampled before somebody asks is in
// the answer. Judging by samples is not its job.
//
// # What is kept
//
// Samples are in memory, by the second for 3 hours, by the minute for 30 hours,
// by 5 minutes for 7 days and by the hour for 63 days, and written to the store
// every few seconds: a crash loses what came after the last flush. Seconds are
// summed up into minutes earlier when all series together take more than
// MaxBytes.
//
// Clients may put MaxSeries series, and new metrics beyond that are refused. The
// series of endpoints have room of their own, MaxOwn, of which no client can
// take any; those of endpoints that get no requests any more take MaxSeries of
// it at the most. Each minute the series that have been idle longest make room.
// Samples of requests for which there is none all the same are dropped, and
// Dropped tells so whoever relies on them.
package metrics

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	store "github.com/slipway-ml/slipway/internal/platform/store/metrics"
)

// Config is what a Service is made of. Zero numbers mean the defaults.
type Config struct {
	Store store.DB
	// Counts returns the counters of an endpoint's fleets, for the requests in
	// flight. Nil: they are not sampled.
	Counts func(traffic.Key) []traffic.Counts
	// Instances returns what the instances that take traffic take of their
	// hosts. It is asked once a minute. Nil: they are not sampled.
	Instances func(ctx context.Context) ([]Instance, error)
	Log       *slog.Logger

	MaxSeries int // that clients put; 100,000
	MaxOwn    int // of endpoints; four times MaxSeries, which are some 20,000 fleets that get requests
	MaxBytes  int // of packed samples; 512 MiB
	// FlushEvery is 5 s, and longer when a flush takes long: it never takes
	// more than a tenth of the time.
	FlushEvery time.Duration
}

// Key names a metric of a region.
type Key struct {
	Region string
	Metric metric.Key
}

// Service keeps samples. Its methods may be called at the same time.
type Service struct {
	Config
	registry registry
	fleets   fleets

	subscriptions atomic.Pointer[[]*Subscription]

	flushing sync.Mutex      // held by the one flush under way; guards unsaved
	unsaved  []metric.Stored // handed out by the series and not in the store yet

	instances map[string]usage // by ID, when last looked at; of the keeper's goroutine

	squeeze    time.Duration // by how much seconds are kept shorter; of the keeper's goroutine
	dropped    sync.Map      // unmeasured → the second of its last sample that was dropped, as *atomic.Int64
	full       atomic.Int64  // second in which there was no room for a fleet's metrics
	unrecorded atomic.Int64  // samples that found no room since the last report
}

// New reads the samples from the store.
func New(ctx context.Context, cfg Config) (*Service, error) {
	cfg.MaxSeries = cmp.Or(cfg.MaxSeries, 100_000)
	cfg.MaxOwn = cmp.Or(cfg.MaxOwn, 4*cfg.MaxSeries)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 512<<20)
	cfg.FlushEvery = cmp.Or(cfg.FlushEvery, 5*time.Second)
	s := &Service{Config: cfg}
	s.registry.series = map[Key]*metricSeries{}
	s.registry.clients.most, s.registry.own.most = int64(cfg.MaxSeries), int64(cfg.MaxOwn)
	s.fleets.init()
	s.subscriptions.Store(&[]*Subscription{})
	if err := cfg.Store.Samples(ctx, s.restore); err != nil {
		return nil, fmt.Errorf("load samples: %w", err)
	}
	return s, nil
}

// restore takes a series from the store. One that is damaged starts again: it
// must not keep the server from starting.
func (s *Service) restore(st metric.Stored) error {
	m, err := s.registry.open(st.Region, st.Metric)
	if err != nil {
		return nil // the maximum was lowered; the rest is not looked at until it is raised again
	}
	if err := m.restore(st.Unit, st.Chunks); err != nil {
		s.Log.Warn("damaged samples were dropped",
			"region", st.Region, "namespace", st.Metric.Namespace, "metric", st.Metric.Name, "err", err)
	}
	return nil
}

// Run flushes samples and tidies up until ctx ends. What came after the last
// flush is written by Close.
func (s *Service) Run(ctx context.Context) {
	var wg sync.WaitGroup
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
