package watch

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// lineKey names a metric of a region.
type lineKey struct {
	region string
	metric metric.Key
}

// shelf holds all samples.
type shelf struct {
	mu    sync.RWMutex // guards what follows
	lines map[lineKey]*line

	count atomic.Int64 // series in all lines
}

// line is a metric: a series for each unit that samples came in, one as a rule.
type line struct {
	key  lineKey
	id   metric.ID // its dimensions by name
	taps []*tap    // that pour into it; guarded by taps.mu

	mu     sync.Mutex // guards what follows
	series []unitSeries
	used   time.Time // when the last sample came in
	dirty  bool      // has changes for the store
}

type unitSeries struct {
	unit metric.Unit
	*metric.Series
}

// find returns a line, or nil.
func (sh *shelf) find(k lineKey) *line {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.lines[k]
}

// all returns every line of a region, or of all regions if it is "".
func (sh *shelf) all(region string) []*line {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	ls := make([]*line, 0, len(sh.lines))
	for k, l := range sh.lines {
		if region == "" || k.region == region {
			ls = append(ls, l)
		}
	}
	return ls
}

// errFull says that there are as many series as there may be.
func errFull(most int) error {
	return fault.New(fault.Limit, "No more than %d metrics can be kept; this would be a new one.", most)
}

// line returns the line of a metric, a new one if it is the first to ask.
func (sh *shelf) line(region string, id metric.ID, most int) (*line, error) {
	k := lineKey{region, id.Key()}
	if l := sh.find(k); l != nil {
		return l, nil
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if l := sh.lines[k]; l != nil {
		return l, nil
	}
	if int(sh.count.Load()) >= most {
		return nil, errFull(most)
	}
	id.Dimensions = slices.Clone(id.Dimensions)
	slices.SortStableFunc(id.Dimensions, func(a, b metric.Dimension) int { return strings.Compare(a.Name, b.Name) })
	l := &line{key: k, id: id, used: time.Now()}
	sh.lines[k] = l
	sh.count.Add(1) // its first series is paid for with the line
	return l, nil
}

// in returns the series for a unit. l.mu is held.
func (l *line) in(u metric.Unit, sh *shelf) *metric.Series {
	for i := range l.series {
		if l.series[i].unit == u {
			return l.series[i].Series
		}
	}
	if len(l.series) > 0 {
		sh.count.Add(1) // units are few: at most 27 for a metric
	}
	l.series = append(l.series, unitSeries{u, new(metric.Series)})
	return l.series[len(l.series)-1].Series
}

// add changes the line's series of a unit; at is when.
func (l *line) add(sh *shelf, u metric.Unit, at time.Time, f func(*metric.Series)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.in(u, sh))
	l.dirty = true
	if at.After(l.used) {
		l.used = at
	}
}

func (l *line) restore(sh *shelf, u metric.Unit, chunks []metric.Chunk) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := new(metric.Series)
	err := s.Restore(chunks)
	if err == nil {
		if len(l.series) > 0 {
			sh.count.Add(1)
		}
		l.series = append(l.series, unitSeries{u, s})
	}
	return err
}

// points answers a question from one unit, or from all of them together.
func (l *line) points(u metric.Unit, w metric.Window, stat metric.Stat) []metric.Point {
	l.mu.Lock()
	defer l.mu.Unlock()
	var some []*metric.Series
	for _, s := range l.series {
		if u == "" || u == s.unit {
			some = append(some, s.Series)
		}
	}
	switch len(some) {
	case 0:
		return nil
	case 1:
		return some[0].Points(w, stat)
	}
	sums := some[0].Distributions(w)
	for _, s := range some[1:] {
		for i, d := range s.Distributions(w) {
			switch {
			case d == nil:
			case sums[i] == nil:
				sums[i] = d
			default:
				sums[i].Merge(d)
			}
		}
	}
	ps := make([]metric.Point, len(sums))
	for i, d := range sums {
		if d == nil {
			continue
		}
		if v, ok := stat.Of(d); ok {
			ps[i] = metric.Point{Value: v, Samples: d.Count}
		}
	}
	return ps
}

// units returns the units that there are samples in.
func (l *line) units() []metric.Unit {
	l.mu.Lock()
	defer l.mu.Unlock()
	var us []metric.Unit
	for _, s := range l.series {
		if !s.Empty() {
			us = append(us, s.unit)
		}
	}
	return us
}

// active reports whether a sample came at or after since; the zero time asks
// whether there is any at all.
func (l *line) active(since time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.series {
		if since.IsZero() && !s.Empty() || !since.IsZero() && s.Any(since) {
			return true
		}
	}
	return false
}

// reader answers the questions of alarms of a region.
func (s *Service) reader(region string) alarm.Reader {
	return func(q alarm.Question) []metric.Point {
		if l := s.shelf.find(lineKey{region, q.Key}); l != nil {
			return l.points(q.Unit, q.Window, q.Stat)
		}
		return nil
	}
}

// printable refuses what a database cannot keep.
func printable(texts ...string) error {
	for _, t := range texts {
		if !utf8.ValidString(t) || strings.ContainsRune(t, 0) {
			return fault.New(fault.Invalid, "A name or value is not valid UTF-8 text.")
		}
	}
	return nil
}
