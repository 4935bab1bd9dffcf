package watch

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

const (
	historyAge  = 30 * 24 * time.Hour
	historyKept = 1000             // lines of an alarm
	restless    = 15 * time.Minute // without a sample, a fleet's tap is closed
	maxSqueeze  = 165 * time.Minute
)

// keep flushes, samples what is in flight, and tidies up until ctx ends.
func (s *Service) keep(ctx context.Context) {
	flush := time.NewTimer(s.FlushEvery)
	gauge, tidy, prune := time.NewTicker(10*time.Second), time.NewTicker(time.Minute), time.NewTicker(10*time.Minute)
	s.sampleInstances(ctx, time.Now())
	defer func() { flush.Stop(); gauge.Stop(); tidy.Stop(); prune.Stop() }()
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
		case <-prune.C:
			if err := s.Config.Alarms.PruneHistory(ctx, time.Now().Add(-historyAge), historyKept); err != nil && ctx.Err() == nil {
				s.Log.WarnContext(ctx, "old history of alarms was not pruned", "err", err)
			}
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
	s.drain()
	if err := s.save(ctx); err != nil { // what could not be written the last time
		return err
	}
	size := 0
	for _, l := range s.shelf.all("") {
		for _, st := range l.changes() {
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
	if err := s.Samples.SaveSamples(ctx, s.unsaved); err != nil {
		return err
	}
	s.unsaved = nil
	return nil
}

// changes returns what of a line is not in the store yet.
func (l *line) changes() (out []metric.Stored) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.dirty {
		return nil
	}
	l.dirty = false
	for _, u := range l.series {
		if cs := u.Changes(); len(cs) > 0 {
			out = append(out, metric.Stored{Region: l.key.region, Metric: l.id, Unit: u.unit, Chunks: cs})
		}
	}
	return out
}

// sampleInFlight samples how many requests each fleet has in flight (spec
// §7.1). Those of a variant are the sum over its fleets.
func (s *Service) sampleInFlight(now time.Time) {
	if s.Counts == nil {
		return
	}
	byEndpoint := map[traffic.Key][]*tap{}
	s.taps.each(func(t *tap) {
		k := traffic.Key{Region: t.region, Name: t.endpoint}
		byEndpoint[k] = append(byEndpoint[k], t)
	})
	for k, ts := range byEndpoint {
		counts := s.Counts(k)
		whole := map[string]float64{}
		lines := map[string]*line{}
		for _, t := range ts {
			i := slices.IndexFunc(counts, func(c traffic.Counts) bool { return c.Variant == t.variant && c.Config == t.config })
			if i < 0 {
				continue
			}
			s.taps.mu.Lock()
			room := s.open(t, concurrent)
			both := t.lines[concurrent]
			s.taps.mu.Unlock()
			if !room {
				continue
			}
			n := float64(counts[i].InFlight)
			whole[t.variant] += n
			lines[t.variant] = both[0]
			s.gauge(both[1], now, n)
		}
		for v, n := range whole {
			s.gauge(lines[v], now, n)
		}
	}
}

func (s *Service) gauge(l *line, now time.Time, n float64) {
	l.add(&s.shelf, ofFleets[concurrent].unit, now, func(series *metric.Series) { series.Add(now, n) })
	if len(s.book.watchersOf(l.key)) > 0 {
		s.rings.metric(l.key)
	}
}

// tidy closes idle taps, forgets samples that are too old, and makes room.
func (s *Service) tidy(ctx context.Context, now time.Time) {
	s.closeTaps(now)
	s.book.tidy(now.Add(-time.Minute))
	total := 0
	var empty []*line
	for _, l := range s.shelf.all("") {
		size, left := l.expire(now.Add(s.squeeze))
		total += size
		if !left {
			empty = append(empty, l)
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
		s.Log.WarnContext(ctx, "samples of requests were not recorded: there are too many metrics", "samples", n, "maxSeries", s.MaxSeries)
	}
	s.forget(ctx, empty)
	if most := s.MaxSeries / 100 * 95; int(s.shelf.count.Load()) > most {
		s.evict(ctx, int(s.shelf.count.Load())-s.MaxSeries/100*90)
	}
}

// closeTaps forgets the fleets that had no request for long.
func (s *Service) closeTaps(now time.Time) {
	var idle []*tap
	s.taps.each(func(t *tap) {
		if t.last.Load() < now.Add(-restless).Unix() && !t.dirty.Load() {
			idle = append(idle, t)
		}
	})
	s.taps.mu.Lock()
	defer s.taps.mu.Unlock()
	for _, t := range idle {
		shard := s.taps.shard(t.fleet)
		table := map[fleet]*tap{}
		for f, other := range *shard.Load() {
			if other != t {
				table[f] = other
			}
		}
		shard.Store(&table)
		t.detach()
		t.drain() // a request may have come just now
	}
}

// expire forgets what is too old; left reports whether anything is left.
func (l *line) expire(now time.Time) (size int, left bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, u := range l.series {
		u.Expire(now)
		size += u.Size()
		left = left || !u.Empty()
	}
	l.dirty = true
	return size, left
}

// evict forgets so many of the metrics that have been idle longest. Those of
// fleets that are in use stay.
func (s *Service) evict(ctx context.Context, n int) {
	ls := s.shelf.all("")
	slices.SortFunc(ls, func(a, b *line) int { return a.lastUsed().Compare(b.lastUsed()) })
	s.forget(ctx, ls[:min(n, len(ls))])
}

func (l *line) lastUsed() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used
}

// forget removes metrics that no fleet pours into, with their samples.
func (s *Service) forget(ctx context.Context, ls []*line) {
	var rows []metric.Stored
	s.taps.mu.Lock()
	s.shelf.mu.Lock()
	for _, l := range ls {
		if len(l.taps) > 0 {
			continue
		}
		delete(s.shelf.lines, l.key)
		s.shelf.count.Add(-1)
		l.mu.Lock()
		for i, u := range l.series {
			rows = append(rows, metric.Stored{Region: l.key.region, Metric: l.id, Unit: u.unit})
			if i > 0 {
				s.shelf.count.Add(-1)
			}
		}
		l.mu.Unlock()
	}
	s.shelf.mu.Unlock()
	s.taps.mu.Unlock()
	if len(rows) == 0 {
		return
	}
	slices.SortFunc(rows, func(a, b metric.Stored) int { return strings.Compare(a.Metric.Name, b.Metric.Name) })
	for part := range slices.Chunk(rows, flushSeries) {
		if err := s.Samples.ForgetSeries(ctx, part); err != nil {
			if ctx.Err() == nil {
				s.Log.WarnContext(ctx, "old samples were not removed from the store", "err", err)
			}
			return // they are read at the next start, and forgotten again
		}
	}
}
