package alarm

import (
	"math"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/formula"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/alarm/rule"
)

// Judge is a definition made ready for evaluation. It does not change, so many
// may use it at once.
type Judge struct {
	d           Definition
	period      time.Duration
	stats       []asked
	expressions []expression // in an order in which each needs only earlier ones
	returned    string       // Id of the query that is compared with the threshold; "" without math
	decides     bool         // a breach in an open period is final
	rule        *rule.Rule
}

type asked struct {
	id     string
	key    metric.Key
	metric metric.ID
	unit   metric.Unit
	stat   metric.Stat
}

type expression struct {
	id   string
	expr *formula.Expr
}

// NewJudge prepares a definition. Errors are fault.Invalid, or
// fault.Unsupported for what Slipway does not do.
func NewJudge(d Definition) (*Judge, error) {
	j := &Judge{d: d}
	err := d.validate()
	switch {
	case err != nil:
		return nil, err
	case d.Composite():
		err = j.compileComposite()
	case len(d.Metrics) > 0:
		err = j.compileMath()
	default:
		err = j.compileMetric()
	}
	if err != nil {
		return nil, err
	}
	return j, nil
}

// Definition returns what the judge was made of; it is not to be changed.
func (j *Judge) Definition() *Definition { return &j.d }

// Period returns the length of the alarm's periods, 0 for a composite alarm.
func (j *Judge) Period() time.Duration { return j.period }

// Children returns the alarms that a composite alarm's rule mentions, by name
// or ARN as it writes them.
func (j *Judge) Children() []string {
	if j.rule == nil {
		return nil
	}
	return j.rule.Children()
}

// Metrics returns the metrics that the alarm watches: a sample of one of them
// is a reason to evaluate it.
func (j *Judge) Metrics() []metric.Key {
	var keys []metric.Key
	for _, a := range j.stats {
		if !slices.Contains(keys, a.key) {
			keys = append(keys, a.key)
		}
	}
	return keys
}

// DecidesEarly reports whether an open period can put the alarm into ALARM:
// only then is it of use to call Evaluate between two scheduled times.
func (j *Judge) DecidesEarly() bool { return j.decides }

// compileResult orders the expressions and checks that what is returned is one
// time series.
func (j *Judge) compileResult(returned string) error {
	kinds := map[string]formula.Kind{}
	for _, a := range j.stats {
		kinds[a.id] = formula.Series
	}
	known := func(id string) (formula.Kind, bool) { k, ok := kinds[id]; return k, ok }
	waiting := j.expressions
	j.expressions = nil
	for len(waiting) > 0 {
		var later []expression
		for _, e := range waiting {
			if slices.ContainsFunc(e.expr.IDs(), func(id string) bool {
				return slices.ContainsFunc(waiting, func(w expression) bool { return w.id == id })
			}) {
				later = append(later, e)
				continue
			}
			k, err := e.expr.Kind(known)
			if err != nil {
				return refuse("Error in expression %q: %s", e.id, sentence(err))
			}
			kinds[e.id] = k
			j.expressions = append(j.expressions, e)
		}
		if len(later) == len(waiting) {
			return refuse("Error in expression %q: it depends on itself.", waiting[0].id)
		}
		waiting = later
	}
	if k := kinds[returned]; k != formula.Series {
		return refuse("The expression for an alarm must return a single time series, but %q returns %s.", returned, k)
	}
	work := 0
	for _, e := range j.expressions {
		work += e.expr.Size() * len(j.stats)
	}
	if work > maxWork/j.rangeCount() {
		return refuse("The expressions of the alarm are too long for so many periods.")
	}
	j.returned = returned
	return nil
}

// rangeCount is how many periods an evaluation looks at (spec §11, 38).
func (j *Judge) rangeCount() int { return j.d.EvaluationPeriods + 2 }

// Question asks for a statistic of a metric; Key is that of Metric.
type Question struct {
	Key    metric.Key
	Metric metric.ID
	Unit   metric.Unit // "": any
	Stat   metric.Stat
	Window metric.Window
	// Worse says which of two values counts, where samples of one period have several
	// units: those are never added up. Nil: those of one unit alone count.
	Worse func(a, b float64) bool
}

// Reader answers questions: one point for each period of the window, oldest
// first. A shorter answer means that the rest has no values.
type Reader func(Question) []metric.Point

// points returns the periods of the evaluation range that ends at end.
func (j *Judge) points(read Reader, end time.Time) []Datapoint {
	n := j.rangeCount()
	w := metric.Window{Start: end.Add(-time.Duration(n) * j.period), Period: j.period, Count: n}
	ps := make([]Datapoint, n)
	for i := range ps {
		ps[i].Start = w.At(i)
	}
	if j.returned == "" {
		a := j.stats[0]
		for i, p := range read(Question{
			Key: a.key, Metric: a.metric, Unit: a.unit, Stat: a.stat, Window: w, Worse: j.d.worse,
		}) {
			if i < n && p.Known() {
				ps[i].Known, ps[i].Value, ps[i].Samples = true, p.Value, p.Samples
			}
		}
		return ps
	}
	for i, v := range j.compute(read, w) {
		if !math.IsNaN(v) {
			ps[i].Known, ps[i].Value = true, v
		}
	}
	return ps
}

// compute evaluates the metric math over a window.
func (j *Judge) compute(read Reader, w metric.Window) []float64 {
	values := map[string]formula.Value{}
	scope := formula.Scope{
		Period: w.Period.Seconds(),
		Count:  w.Count,
		Lookup: func(id string) (formula.Value, bool) { v, ok := values[id]; return v, ok },
	}
	for _, a := range j.stats {
		vs := make([]float64, w.Count)
		for i := range vs {
			vs[i] = math.NaN()
		}
		for i, p := range read(Question{Key: a.key, Metric: a.metric, Unit: a.unit, Stat: a.stat, Window: w}) {
			if i < w.Count && p.Known() {
				vs[i] = p.Value
			}
		}
		values[a.id] = formula.Value{Kind: formula.Series, Series: vs}
		scope.Metrics = append(scope.Metrics, formula.Named{ID: a.id, Values: vs})
	}
	for _, e := range j.expressions {
		v, err := e.expr.Eval(scope)
		if err != nil {
			return nil // not reached: NewJudge checked the kinds. No data is the safe reading
		}
		values[e.id] = v
	}
	return values[j.returned].Series
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
