package metrics

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/formula"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// DataQuery is what GetMetricData asks for.
type DataQuery struct {
	Queries    []alarm.Query // at most 500
	Start, End time.Time     // Start is inclusive, End is not
	Ascending  bool          // oldest first; the API's default is newest first
}

// DataResult is one time series of an answer. A query that results in a list
// of time series has a result for each, under the same ID.
type DataResult struct {
	ID     string
	Label  string
	Times  []time.Time
	Values []float64

	// Units are those that the metric has samples of in the time asked for, if
	// the query names none and there are several: Values are of the first alone,
	// as seconds and milliseconds have no sum.
	Units []metric.Unit
}

// The bounds of GetMetricData: periods of one series, and in all, counting an
// expression's for each of its parts.
const (
	maxQueries    = 500
	maxDataPoints = 100_800
	maxDataWork   = 5_000_000
)

// dataset is a GetMetricData request under way.
type dataset struct {
	DataQuery
	read    alarm.Reader
	unitsIn func(metric.Key, metric.Window) []metric.Unit
	units   map[string][]metric.Unit // of the stats whose samples are of several
	values  map[string]formula.Value
	windows map[string]metric.Window // of the stats, and of what was computed from them
	byID    map[string]*alarm.Query
	work    int
}

// Data answers GetMetricData (spec §7.3). All metrics that an expression uses
// must have the same period. Errors are fault.Invalid.
func (s *Service) Data(sc arn.Scope, q DataQuery) ([]DataResult, error) {
	if len(q.Queries) > maxQueries {
		return nil, fault.New(fault.Invalid, "The collection MetricDataQueries must not have a size greater than %d.",
			maxQueries)
	}
	switch start, end := q.Start.Unix(), q.End.Unix(); { // as CloudWatch does, to the second
	case start > end:
		return nil, fault.New(fault.Invalid, "The parameter EndTime must be greater than StartTime.")
	case start == end:
		return nil, fault.New(fault.Invalid, "The parameter StartTime must not equal parameter EndTime.")
	}
	if err := checkQueries(q.Queries); err != nil {
		return nil, err
	}
	s.Drain()
	d := &dataset{
		DataQuery: q, read: s.Reader(sc.Region), unitsIn: s.unitsIn(sc.Region), units: map[string][]metric.Unit{},
		values: map[string]formula.Value{}, windows: map[string]metric.Window{}, byID: map[string]*alarm.Query{},
	}
	for i := range q.Queries {
		d.byID[q.Queries[i].ID] = &q.Queries[i]
	}
	for i := range q.Queries {
		if x := &q.Queries[i]; x.Stat != nil {
			if err := d.fetch(x); err != nil {
				return nil, err
			}
		}
	}
	var out []DataResult
	for i := range q.Queries {
		x := &q.Queries[i]
		if err := d.compute(x, nil); err != nil {
			return nil, err
		}
		if x.ReturnData == nil || *x.ReturnData {
			rs, err := d.results(x)
			if err != nil {
				return nil, err
			}
			out = append(out, rs...)
		}
	}
	return out, nil
}

// checkQueries refuses queries that cannot be, each by its path.
func checkQueries(queries []alarm.Query) error {
	var refused metric.Refusals
	seen := map[string]bool{}
	for i, q := range queries {
		path := fmt.Sprintf("MetricDataQueries.member.%d.", i+1)
		switch {
		case !alarm.ValidID(q.ID):
			refused.Add(fault.New(
				fault.Invalid, "The value %s for parameter %sId is not matching the expected pattern "+
					"^[a-z][a-zA-Z0-9_]*$.", strings.ToValidUTF8(q.ID, "?"), path,
			))
		case seen[q.ID]:
			refused.Add(fault.New(fault.Invalid, "The Id %q is used more than once in MetricDataQueries.", q.ID))
		case q.Stat == nil && q.Expression == "":
			refused.Add(fault.New(fault.Invalid, "The parameter %sMetricStat is required.", path))
		case q.Stat != nil && q.Expression != "":
			refused.Add(fault.New(fault.Invalid, "The query %q needs exactly one of MetricStat and Expression.", q.ID))
		}
		seen[q.ID] = true
		if q.Stat == nil {
			continue
		}
		refused.Add(q.Stat.Metric.Validate(path + "MetricStat.Metric."))
		if _, err := metric.ParseStat(q.Stat.Stat); err != nil {
			refused.Add(fault.New(
				fault.Invalid, "The value %s for parameter %sMetricStat.Stat is not a valid statistic.",
				strings.ToValidUTF8(q.Stat.Stat, "?"), path,
			))
		}
	}
	return refused.Err()
}

// fetch reads a statistic of a metric.
func (d *dataset) fetch(x *alarm.Query) error {
	stat, err := metric.ParseStat(x.Stat.Stat)
	if err != nil {
		return err
	}
	w, err := window(d.Start, d.End, time.Duration(x.Stat.Period)*time.Second, maxDataPoints)
	if err != nil {
		return err
	}
	if err := d.spend(w.Count); err != nil {
		return err
	}
	vs := missing(w.Count)
	q := alarm.Question{Key: x.Stat.Metric.Key(), Metric: x.Stat.Metric, Unit: x.Stat.Unit, Stat: stat, Window: w}
	if q.Unit == "" {
		if units := d.unitsIn(q.Key, w); len(units) > 1 {
			q.Unit, d.units[x.ID] = units[0], units
		}
	}
	for i, p := range d.read(q) {
		if p.Known() {
			vs[i] = p.Value
		}
	}
	d.values[x.ID], d.windows[x.ID] = formula.Value{Kind: formula.Series, Series: vs}, w
	return nil
}

func (d *dataset) spend(n int) error {
	if d.work += n; d.work > maxDataWork {
		return fault.New(fault.Invalid,
			"The request asks for too many datapoints. "+fewer)
	}
	return nil
}

func missing(n int) []float64 {
	vs := make([]float64, n)
	for i := range vs {
		vs[i] = math.NaN()
	}
	return vs
}

// compute evaluates an expression and, before it, those it needs; path is how
// it came to be needed.
func (d *dataset) compute(x *alarm.Query, path []string) error {
	if _, done := d.values[x.ID]; done {
		return nil
	}
	refuse := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "Error in expression %q: "+format, append([]any{x.ID}, args...)...)
	}
	if slices.Contains(path, x.ID) {
		return refuse("it depends on itself.")
	}
	e, err := formula.Parse(x.Expression)
	if err != nil {
		_, sentence := fault.Public(err)
		return refuse("%s", sentence)
	}
	ids := e.IDs()
	scope := formula.Scope{Lookup: func(id string) (formula.Value, bool) { v, ok := d.values[id]; return v, ok }}
	for _, q := range d.Queries {
		if e.UsesMetrics() && q.Stat != nil {
			ids = append(ids, q.ID)
			scope.Metrics = append(scope.Metrics, formula.Named{ID: q.ID, Values: d.values[q.ID].Series})
		}
	}
	var w metric.Window
	for _, id := range ids {
		q := d.byID[id]
		if q == nil {
			return refuse("there is no query with the Id %q.", id)
		}
		if err := d.compute(q, append(path, x.ID)); err != nil {
			return err
		}
		switch other := d.windows[id]; {
		case other.Count == 0 || other == w:
		case w.Count != 0:
			return refuse("the metrics of an expression must have the same Period.")
		default:
			w = other
		}
	}
	if _, err := e.Kind(func(id string) (formula.Kind, bool) { v, ok := d.values[id]; return v.Kind, ok }); err != nil {
		_, sentence := fault.Public(err)
		return refuse("%s", sentence)
	}
	if err := d.spend(w.Count * e.Size() * max(1, len(scope.Metrics))); err != nil {
		return err
	}
	scope.Period, scope.Count = w.Period.Seconds(), w.Count
	v, err := e.Eval(scope)
	if err != nil {
		_, sentence := fault.Public(err)
		return refuse("%s", sentence)
	}
	d.values[x.ID], d.windows[x.ID] = v, w
	return nil
}

// results turns a value into what the client sees: only periods with a value.
func (d *dataset) results(x *alarm.Query) ([]DataResult, error) {
	v, w := d.values[x.ID], d.windows[x.ID]
	lists := v.List
	switch v.Kind {
	case formula.Scalar:
		return nil, fault.New(fault.Invalid, "The query %q must return a time series, but it returns a scalar.", x.ID)
	case formula.Series:
		lists = [][]float64{v.Series}
	case formula.List:
	}
	label := d.label(x)
	var out []DataResult
	for _, vs := range lists {
		r := DataResult{ID: x.ID, Label: label, Units: d.units[x.ID]}
		for i, value := range vs {
			if !math.IsNaN(value) {
				r.Times, r.Values = append(r.Times, w.At(i)), append(r.Values, value)
			}
		}
		if !d.Ascending {
			slices.Reverse(r.Times)
			slices.Reverse(r.Values)
		}
		out = append(out, r)
	}
	return out, nil
}

// label is what a query is called that says nothing itself: an expression by
// its ID, a metric by its name, and by its statistic and its period where the
// metrics that are shown differ in them, as CloudWatch does.
func (d *dataset) label(x *alarm.Query) string {
	switch {
	case x.Label != "":
		return x.Label
	case x.Stat == nil:
		return x.ID
	}
	stats, periods := map[string]bool{}, map[int]bool{}
	for _, q := range d.Queries {
		if q.Stat != nil && (q.ReturnData == nil || *q.ReturnData) {
			stats[q.Stat.Stat], periods[q.Stat.Period] = true, true
		}
	}
	label := x.Stat.Metric.Name
	if len(stats) > 1 {
		label += " " + x.Stat.Stat
	}
	if len(periods) > 1 {
		label += " " + strconv.Itoa(x.Stat.Period)
	}
	return label
}
