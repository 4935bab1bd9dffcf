package metrics

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
)

const (
	idleFleet  = 15 * time.Minute // without a sample, a fleet is forgotten
	maxSqueeze = 165 * time.Minute
)

// keep flushes, samples what is in flight, and tidies up until ctx ends.
func (s *Service) keep(ctx context.Context) {
	flush := time.NewTimer(s.FlushEvery)
	gauge, tidy := time.NewTicker(10*time.Second), time.NewTicker(time.Minute)
	s.sampleInstances(ctx, time.Now())
	defer func() { flush.Stop(); gauge.Stop(); tidy.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-flush.C:
			began := time.Now()
			if err := s.Flush(ctx); err != nil && ctx.Err() == nil {
				s.Log.WarnContext(ctx, "samples were not flushed; they are kept", "err", err)
			}
			flush.Reset(max(s.FlushEvery, 9*time.Since(began)))
		case <-gauge.C:
			s.sampleInFlight(time.Now())
		case <-tidy.C:
			s.sampleInstances(ctx, time.Now())
			s.tidy(ctx, time.Now())
		}
	}
}

// How much of the samples one transaction of a flush writes: an alarm that
// fires waits for it.
const (
	flushSeries = 100
	flushBytes  = 256 << 10
)

// Flush writes the samples that changed since the last flush.
func (s *Service) Flush(ctx context.Context) error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.Drain()
	if err := s.save(ctx); err != nil { // what could not be written the last time
		return err
	}
	size := 0
	for _, m := range s.registry.all("") {
		for _, st := range m.changes() {
			s.unsaved = append(s.unsaved, st)
			for _, c := range st.Chunks {
				size += len(c.Data)
			}
		}
		if len(s.unsaved) >= flushSeries || size >= flushBytes {
			if err := s.save(ctx); err != nil {
				return err
			}
			size = 0
		}
	}
	return s.save(ctx)
}

// save writes what was handed out by the series. If it cannot, nothing more is
// handed out until it can.
func (s *Service) save(ctx context.Context) error {
	if len(s.unsaved) == 0 {
		return nil
	}
	if err := s.Store.SaveSamples(ctx, s.unsaved); err != nil {
		return err
	}
	s.unsaved = nil
	return nil
}

// changes returns what of a metric is not in the store yet.
func (m *metricSeries) changes() (out []metric.Stored) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dirty {
		return nil
	}
	for _, u := range m.series {
		if m.anew {
			u.Anew()
		}
		if cs := u.Changes(); len(cs) > 0 {
			out = append(out, metric.Stored{
				Region: m.key.Region, Metric: m.id, Unit: u.unit, Chunks: cs, Anew: m.anew,
			})
		}
	}
	m.dirty, m.anew = false, false
	return out
}

// Rewrite has all samples written again that are in memory, because the store ran
// backwards: they were seen, whatever it has lost.
func (s *Service) Rewrite() {
	for _, m := range s.registry.all("") {
		m.mu.Lock()
		m.dirty, m.anew = true, true
		m.mu.Unlock()
	}
}

// tidy closes idle fleets, forgets samples that are too old, and makes room.
func (s *Service) tidy(ctx context.Context, now time.Time) {
	s.closeFleets(now)
	total := 0
	var empty []*metricSeries
	for _, m := range s.registry.all("") {
		size, left := m.expire(now.Add(s.squeeze))
		total += size
		if !left {
			empty = append(empty, m)
		}
	}
	const step = 15 * time.Minute
	switch {
	case total > s.MaxBytes:
		s.squeeze = min(s.squeeze+step, maxSqueeze)
	case total < s.MaxBytes/2:
		s.squeeze = max(s.squeeze-step, 0)
	}
	if n := s.unrecorded.Swap(0); n > 0 {
		s.Log.WarnContext(ctx, "samples of requests were not recorded: there are too many metrics",
			"samples", n, "maxSeries", s.MaxOwn)
	}
	s.dropped.Range(func(k, at any) bool {
		if at.(*atomic.Int64).Load() < now.Add(-24*time.Hour).Unix() {
			s.dropped.Delete(k)
		}
		return true
	})
	s.forget(ctx, empty)
	s.makeRoom(ctx)
}

// closeFleets forgets the fleets that had no request for long.
func (s *Service) closeFleets(now time.Time) {
	var idle []*fleet
	s.fleets.each(func(f *fleet) {
		if f.last.Load() < now.Add(-idleFleet).Unix() && !f.dirty.Load() {
			idle = append(idle, f)
		}
	})
	s.fleets.mu.Lock()
	defer s.fleets.mu.Unlock()
	for _, f := range idle {
		shard := s.fleets.shard(f.fleetKey)
		table := map[fleetKey]*fleet{}
		for k, other := range *shard.Load() {
			if other != f {
				table[k] = other
			}
		}
		shard.Store(&table)
		f.detach()
		f.drain() // a request may have come just now
	}
}

// expire forgets what is too old; left reports whether anything is left.
func (m *metricSeries) expire(now time.Time) (size int, left bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.series {
		u.Expire(now)
		size += u.Size()
		left = left || !u.Empty()
	}
	m.dirty = true
	return size, left
}

// makeRoom forgets metrics that have been idle longest: where clients' take
// nearly all of their room, and where those of endpoints without requests take
// as much. Those of fleets that are in use stay.
func (s *Service) makeRoom(ctx context.Context) {
	var clients, own []*metricSeries
	s.fleets.mu.Lock()
	for _, m := range s.registry.all("") {
		switch {
		case m.room == &s.registry.clients:
			clients = append(clients, m)
		case len(m.fleets) == 0:
			own = append(own, m)
		}
	}
	s.fleets.mu.Unlock()
	most := min(s.MaxSeries, s.MaxOwn)
	s.evict(ctx, clients, int(s.registry.clients.taken.Load()), s.MaxSeries)
	s.evict(ctx, own, len(own), most)
}

// evict forgets the longest idle of some metrics, if they have n series, which
// is nearly as many as there may be.
func (s *Service) evict(ctx context.Context, all []*metricSeries, n, most int) {
	if n <= most/100*95 {
		return
	}
	slices.SortFunc(all, func(a, b *metricSeries) int { return a.lastUsed().Compare(b.lastUsed()) })
	s.forget(ctx, all[:min(n-most/100*90, len(all))])
}

func (m *metricSeries) lastUsed() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// forget removes metrics that no fleet in use has, with their samples.
func (s *Service) forget(ctx context.Context, all []*metricSeries) {
	var rows []metric.Stored
	s.fleets.mu.Lock()
	s.registry.mu.Lock()
	for _, m := range all {
		if len(m.fleets) > 0 {
			continue
		}
		delete(s.registry.series, m.key)
		m.room.taken.Add(-1)
		m.mu.Lock()
		for i, u := range m.series {
			rows = append(rows, metric.Stored{Region: m.key.Region, Metric: m.id, Unit: u.unit})
			if i > 0 {
				m.room.taken.Add(-1)
			}
		}
		m.mu.Unlock()
	}
	s.registry.mu.Unlock()
	s.fleets.mu.Unlock()
	if len(rows) == 0 {
		return
	}
	slices.SortFunc(rows, func(a, b metric.Stored) int { return strings.Compare(a.Metric.Name, b.Metric.Name) })
	for part := range slices.Chunk(rows, flushSeries) {
		if err := s.Store.ForgetSeries(ctx, part); err != nil {
			if ctx.Err() == nil {
				s.Log.WarnContext(ctx, "old samples were not removed from the store", "err", err)
			}
			return // they are read at the next start, and forgotten again
		}
	}
}
