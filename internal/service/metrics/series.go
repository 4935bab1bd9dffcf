package metrics

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// registry holds all samples.
type registry struct {
	mu     sync.RWMutex // guards what follows
	series map[Key]*metricSeries

	clients, own room
}

// room is how many series there are of a kind, and how many there may be.
type room struct {
	taken atomic.Int64
	most  int64
}

// of returns the room that a metric takes. Clients cannot put metrics into the
// namespaces of endpoints.
func (r *registry) of(id metric.ID) *room {
	if id.Namespace == Namespace || id.Namespace == InstanceNamespace || id.Namespace == alarm.Evidence {
		return &r.own
	}
	return &r.clients
}

// metricSeries is a metric: a series for each unit that samples came in, one as
// a rule.
type metricSeries struct {
	key    Key
	id     metric.ID // its dimensions by name
	room   *room     // that its series take
	fleets []*fleet  // whose samples are in it; guarded by Service.fleets.mu

	mu     sync.Mutex // guards what follows
	series []unitSeries
	// Of a metric that begins anew with each deployment: what alarms see of it.
	// Nil: it is no such metric. See Service.Begin.
	judged *judged
	used   time.Time // when the last sample came in
	dirty  bool      // has changes for the store
	anew   bool      // it is to be written whole
}

type unitSeries struct {
	unit metric.Unit
	*metric.Series
}

// find returns a metric, or nil.
func (r *registry) find(k Key) *metricSeries {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.series[k]
}

// all returns every metric of a region, or of all regions if it is "".
func (r *registry) all(region string) []*metricSeries {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]*metricSeries, 0, len(r.series))
	for k, m := range r.series {
		if region == "" || k.Region == region {
			all = append(all, m)
		}
	}
	return all
}

// errFull says that there are as many series as there may be.
func errFull(most int64) error {
	return fault.New(fault.Limit, "No more than %d metrics can be kept; this would be a new one.", most)
}

// open returns a metric, a new one if nobody has asked for it before.
func (r *registry) open(region string, id metric.ID) (*metricSeries, error) {
	k := Key{region, id.Key()}
	if m := r.find(k); m != nil {
		return m, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.series[k]; m != nil {
		return m, nil
	}
	room := r.of(id)
	if room.taken.Load() >= room.most {
		return nil, errFull(room.most)
	}
	id.Dimensions = slices.Clone(id.Dimensions)
	slices.SortStableFunc(id.Dimensions, func(a, b metric.Dimension) int { return strings.Compare(a.Name, b.Name) })
	m := &metricSeries{key: k, id: id, room: room, used: time.Now()}
	r.series[k] = m
	room.taken.Add(1) // its first series is paid for with the metric
	return m, nil
}

// in returns the series for a unit. m.mu is held.
func (m *metricSeries) in(u metric.Unit) *metric.Series {
	for i := range m.series {
		if m.series[i].unit == u {
			return m.series[i].Series
		}
	}
	if len(m.series) > 0 {
		m.room.taken.Add(1) // units are few: at most 27 for a metric
	}
	m.series = append(m.series, unitSeries{u, new(metric.Series)})
	return m.series[len(m.series)-1].Series
}

// add changes the metric's series of a unit; at is when.
func (m *metricSeries) add(u metric.Unit, at time.Time, f func(*metric.Series)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m.in(u))
	m.dirty = true
	if at.After(m.used) {
		m.used = at
	}
}

// judged is what came since the origin of a series. A restart is an origin, too:
// whoever puts such samples puts them again each second.
type judged struct {
	origin time.Time
	metric.Series
}

// begin moves the origin of the metric.
func (m *metricSeries) begin(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.judged = &judged{origin: at}
}

// addJudged adds what alarms may see, too.
func (m *metricSeries) addJudged(at time.Time, f func(*metric.Series)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.judged != nil && at.Unix() >= m.judged.origin.Unix() {
		f(&m.judged.Series)
	}
}

// sinceOrigin answers a question from what came since the origin.
func (m *metricSeries) sinceOrigin(u metric.Unit, w metric.Window, stat metric.Stat) []metric.Point {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.judged == nil || u != "" && u != metric.UnitNone {
		return nil
	}
	return m.judged.Points(w, stat)
}

func (m *metricSeries) restore(u metric.Unit, chunks []metric.Chunk) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := new(metric.Series)
	err := s.Restore(chunks)
	if err == nil {
		if len(m.series) > 0 {
			m.room.taken.Add(1)
		}
		m.series = append(m.series, unitSeries{u, s})
	}
	return err
}

// points answers a question. Samples of different units are never added up: of each
// period the worse value counts, or, where nobody says what is worse, the first unit,
// in the order of their names, that has any in the window.
func (m *metricSeries) points(q alarm.Question) (ps []metric.Point) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var of metric.Unit
	for _, s := range m.series {
		if q.Unit != "" && q.Unit != s.unit {
			continue
		}
		more := s.Points(q.Window, q.Stat)
		switch {
		case ps == nil:
			ps, of = more, s.unit
		case q.Worse != nil:
			for i, p := range more {
				if p.Known() && (!ps[i].Known() || q.Worse(p.Value, ps[i].Value)) {
					ps[i] = p
				}
			}
		case slices.ContainsFunc(more, metric.Point.Known) &&
			(s.unit < of || !slices.ContainsFunc(ps, metric.Point.Known)):
			ps, of = more, s.unit
		}
	}
	return ps
}

// units returns the units that there are samples in.
func (m *metricSeries) units() []metric.Unit {
	m.mu.Lock()
	defer m.mu.Unlock()
	var us []metric.Unit
	for _, s := range m.series {
		if !s.Empty() {
			us = append(us, s.unit)
		}
	}
	return us
}

// unitsIn returns the units that there are samples in within a window, in order.
func (m *metricSeries) unitsIn(w metric.Window) (units []metric.Unit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.series) < 2 { // most have one
		return nil
	}
	for _, s := range m.series {
		if slices.ContainsFunc(s.Points(w, metric.SampleCount), metric.Point.Known) {
			units = append(units, s.unit)
		}
	}
	slices.Sort(units)
	return units
}

// active reports whether a sample came at or after since; the zero time asks
// whether there is any at all.
func (m *metricSeries) active(since time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.series {
		if since.IsZero() && !s.Empty() || !since.IsZero() && s.Any(since) {
			return true
		}
	}
	return false
}

// Reader answers the questions of alarms of a region by the samples that were
// drained.
func (s *Service) Reader(region string) alarm.Reader {
	return func(q alarm.Question) []metric.Point {
		if m := s.registry.find(Key{region, q.Key}); m != nil {
			if m.id.Namespace == alarm.Evidence {
				return m.sinceOrigin(q.Unit, q.Window, q.Stat)
			}
			return m.points(q)
		}
		return nil
	}
}

// unitsIn answers which units a metric of a region has samples in, if it ever
// had several.
func (s *Service) unitsIn(region string) func(metric.Key, metric.Window) []metric.Unit {
	return func(k metric.Key, w metric.Window) []metric.Unit {
		if m := s.registry.find(Key{region, k}); m != nil {
			return m.unitsIn(w)
		}
		return nil
	}
}
