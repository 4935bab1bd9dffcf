package metrics

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Datum is one entry of PutMetricData.
type Datum struct {
	Name       string
	Dimensions []metric.Dimension
	metric.Datum

	// Entity and Member are where the request has it among its entities, from 1;
	// 0 if it is not of one.
	Entity, Member int
}

// check refuses what CloudWatch does not take, by the paths of its members.
func (d *Datum) check(namespace, path string, now time.Time) error {
	id := metric.ID{Namespace: namespace, Name: d.Name, Dimensions: d.Dimensions}
	var r metric.Refusals
	r.Add(id.CheckASCII(path))
	r.Add(id.Validate(path))
	r.Add(d.Validate(path, now))
	return r.Err()
}

// path is where the request has the entry, whose place among all is i.
func (d *Datum) path(i int) string {
	if d.Entity > 0 {
		return fmt.Sprintf("EntityMetricData.member.%d.MetricData.member.%d.", d.Entity, d.Member)
	}
	return fmt.Sprintf("MetricData.member.%d.", i+1)
}

// Put takes samples that a client sends, all or none (spec §7.3). Errors are
// fault.Invalid, of which metric.ErrMissing and metric.ErrCombination are
// causes that the API has names for, and fault.Limit beyond MaxSeries.
func (s *Service) Put(sc arn.Scope, namespace string, data []Datum) error {
	now := time.Now()
	var refused metric.Refusals
	for i := range data {
		if data[i].check(namespace, "", now) != nil { // most are fine, and paths cost
			refused.Add(data[i].check(namespace, data[i].path(i), now))
		}
	}
	if err := refused.Err(); err != nil {
		return err
	}
	all := make([]*metricSeries, len(data))
	for i, d := range data {
		id := metric.ID{Namespace: namespace, Name: d.Name, Dimensions: d.Dimensions}
		m, err := s.registry.open(sc.Region, id)
		if err != nil {
			return err
		}
		all[i] = m
	}
	for i, d := range data {
		unit := d.Unit
		if unit == "" {
			unit = metric.UnitNone
		}
		all[i].add(unit, now, func(series *metric.Series) { d.AddTo(series, now) })
		s.notify(all[i].key)
	}
	return nil
}

// Begin has a series of the namespace alarm.Evidence begin anew: alarms see
// nothing of what was before, and nothing that comes for a second before this
// one. Whoever begins it tells the alarms. Errors are fault.Limit beyond MaxSeries.
func (s *Service) Begin(sc arn.Scope, id metric.ID) error {
	m, err := s.registry.open(sc.Region, id)
	if err != nil {
		return err
	}
	m.begin(time.Now())
	return nil
}

// PutEvidence takes a value of a series of the namespace alarm.Evidence, at a
// time; alarms see it if the series has begun by then. Errors are as of Begin.
func (s *Service) PutEvidence(sc arn.Scope, id metric.ID, at time.Time, value float64) error {
	m, err := s.registry.open(sc.Region, id)
	if err != nil {
		return err
	}
	m.add(metric.UnitNone, time.Now(), func(series *metric.Series) { series.Add(at, value) })
	m.addJudged(at, func(series *metric.Series) { series.Add(at, value) })
	s.notify(m.key)
	return nil
}

// StatisticsQuery is what GetMetricStatistics asks for.
type StatisticsQuery struct {
	Metric     metric.ID
	Unit       metric.Unit   // "": each unit by itself
	Start, End time.Time     // Start is inclusive, End is not
	Period     time.Duration // 1, 5, 10, 20, 30 or a multiple of 60 seconds
	Stats      []metric.Stat
}

// Datapoint is a period in which there were samples.
type Datapoint struct {
	At     time.Time // the beginning of the period
	Unit   metric.Unit
	Values []*float64 // for each of Stats; nil where it cannot be had
}

// fewer ends the refusal of what asks for too many datapoints.
const fewer = "You may reduce the datapoints requested by increasing Period, or decreasing the time range."

// maxDatapoints is how many GetMetricStatistics may ask for (spec §7.3).
const maxDatapoints = 1440

// Statistics returns the datapoints of a metric, oldest first within each unit.
// Errors are fault.Invalid.
func (s *Service) Statistics(sc arn.Scope, q StatisticsQuery) ([]Datapoint, error) {
	if q.Start.Unix() >= q.End.Unix() { // as CloudWatch does, to the second
		return nil, fault.New(fault.Invalid, "The parameter StartTime must be less than the parameter EndTime.")
	}
	w, err := window(q.Start, q.End, q.Period, maxDatapoints)
	if err != nil {
		return nil, err
	}
	if err := q.Metric.Validate(""); err != nil {
		return nil, err
	}
	s.Drain()
	m := s.registry.find(Key{sc.Region, q.Metric.Key()})
	if m == nil {
		return nil, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Datapoint
	for _, u := range m.series {
		if q.Unit != "" && q.Unit != u.unit {
			continue
		}
		for i, d := range u.Distributions(w) {
			if d == nil {
				continue
			}
			p := Datapoint{At: w.At(i), Unit: u.unit, Values: make([]*float64, len(q.Stats))}
			for k, stat := range q.Stats {
				if v, ok := stat.Of(d); ok {
					p.Values[k] = &v
				}
			}
			out = append(out, p)
		}
	}
	return out, nil
}

// window is the periods from start to end. As in the API, start is rounded
// down to what is kept of its time.
func window(start, end time.Time, period time.Duration, most int) (metric.Window, error) {
	if !checkPeriod(period) {
		return metric.Window{}, fault.New(fault.Invalid,
			"The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60.")
	}
	step := min(period, time.Minute)
	switch age := time.Since(start); {
	case age > metric.Retention(5*time.Minute):
		step = time.Hour
	case age > metric.Retention(time.Minute):
		step = 5 * time.Minute
	}
	from := start.Unix() - mod(start.Unix(), int64(step/time.Second))
	seconds := end.Unix() - from
	if end.Nanosecond() > 0 {
		seconds++
	}
	p := int64(period / time.Second)
	n := (seconds + p - 1) / p
	if n <= int64(most) {
		return metric.Window{Start: time.Unix(from, 0).UTC(), Period: period, Count: int(n)}, nil
	}
	return metric.Window{}, fault.New(
		fault.Invalid, "You have requested up to %d datapoints, which exceeds the limit of %d. "+fewer, n, most,
	).Because(metric.ErrCombination)
}

func mod(a, b int64) int64 { return (a%b + b) % b }

func checkPeriod(p time.Duration) bool {
	short := []time.Duration{time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second}
	return p > 0 && (p%time.Minute == 0 || slices.Contains(short, p))
}

// MetricsFilter is what ListMetrics asks for. Zero members do not filter.
type MetricsFilter struct {
	Namespace  string
	Name       string
	Dimensions []metric.Dimension // an empty Value stands for any
	Since      time.Time          // only metrics with a sample since
	Limit      int                // page size; 0 is 500
	After      metric.Key         // the last metric of the page before
}

// Metrics returns a page of the metrics that have samples, by key, and whether
// more follow; After the last one's Key.
func (s *Service) Metrics(sc arn.Scope, f MetricsFilter) (page []metric.ID, more bool) {
	f.Limit = cmp.Or(f.Limit, 500)
	s.Drain()
	all := slices.DeleteFunc(s.registry.all(sc.Region), func(m *metricSeries) bool {
		return m.key.Metric <= f.After || !f.matches(m.id) || !m.active(f.Since)
	})
	slices.SortFunc(all, func(a, b *metricSeries) int { return cmp.Compare(a.key.Metric, b.key.Metric) })
	for i, m := range all {
		if i == f.Limit {
			return page, true
		}
		page = append(page, m.id)
	}
	return page, false
}

func (f *MetricsFilter) matches(id metric.ID) bool {
	if f.Namespace != "" && f.Namespace != id.Namespace || f.Name != "" && f.Name != id.Name {
		return false
	}
	for _, want := range f.Dimensions {
		if !slices.ContainsFunc(id.Dimensions, func(d metric.Dimension) bool {
			return d.Name == want.Name && (want.Value == "" || d.Value == want.Value)
		}) {
			return false
		}
	}
	return true
}
