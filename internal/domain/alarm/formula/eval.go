package formula

import (
	"math"
	"strings"
)

// missing is a value that is not there.
var missing = math.NaN()

// at returns the value for period i; a scalar has the same for all.
func (v Value) at(i int) float64 {
	if v.Kind == Scalar {
		return v.Scalar
	}
	return v.Series[i]
}

func scalar(v float64) Value    { return Value{Kind: Scalar, Scalar: finite(v)} }
func series(vs []float64) Value { return Value{Kind: Series, Series: vs} }
func list(vs [][]float64) Value { return Value{Kind: List, List: vs} }

func finite(v float64) float64 {
	if math.IsInf(v, 0) {
		return missing
	}
	return v
}

func (s Scope) eval(n *node) (Value, error) {
	switch n.op {
	case "number":
		return scalar(n.num), nil
	case "id":
		if v, ok := s.Lookup(n.name); ok && v.fits(s.Count) {
			return v, nil
		}
		return Value{}, refuse("The expression refers to %q, which is not the Id of another query.",
			n.name[:min(len(n.name), 64)])
	case "call":
		return s.call(n)
	}
	args, err := s.evalAll(n.args)
	if err != nil {
		return Value{}, err
	}
	switch n.op {
	case "list":
		vs := make([][]float64, len(args))
		for i, a := range args {
			if a.Kind == List {
				return Value{}, refuse("A list in the expression contains a list.")
			}
			vs[i] = s.each(func(k int) float64 { return a.at(k) })
		}
		return list(vs), nil
	case "negate":
		return s.apply(args[0], func(v float64) float64 { return -v }), nil
	case "word", "string":
		return Value{}, refuse("A word has no meaning here.")
	}
	return s.operate(n.op, args[0], args[1])
}

func (v Value) fits(count int) bool {
	for _, l := range v.List {
		if len(l) != count {
			return false
		}
	}
	return v.Kind != Series || len(v.Series) == count
}

func (s Scope) evalAll(ns []*node) ([]Value, error) {
	vs := make([]Value, len(ns))
	for i, n := range ns {
		v, err := s.eval(n)
		if err != nil {
			return nil, err
		}
		vs[i] = v
	}
	return vs, nil
}

// each makes a series of a function of the period.
func (s Scope) each(f func(i int) float64) []float64 {
	vs := make([]float64, s.Count)
	for i := range vs {
		vs[i] = finite(f(i))
	}
	return vs
}

// apply computes f of every value in v.
func (s Scope) apply(v Value, f func(float64) float64) Value {
	switch v.Kind {
	case Scalar:
		return scalar(f(v.Scalar))
	case Series:
		return series(s.each(func(i int) float64 { return f(v.Series[i]) }))
	case List:
	}
	return s.perSeries(v, func(vs []float64) []float64 {
		return s.each(func(i int) float64 { return f(vs[i]) })
	})
}

// perSeries computes f of a series, or of each of a list.
func (s Scope) perSeries(v Value, f func([]float64) []float64) Value {
	if v.Kind == Series {
		return series(f(v.Series))
	}
	vs := make([][]float64, len(v.List))
	for i, l := range v.List {
		vs[i] = f(l)
	}
	return list(vs)
}

func (s Scope) operate(op string, a, b Value) (Value, error) {
	f := operators[op]
	switch {
	case f == nil:
		return Value{}, refuse("The operator %q is not supported.", op)
	case a.Kind == List && b.Kind == List:
		return Value{}, refuse("The operator %s does not take two lists.", op)
	case a.Kind == List:
		return s.perSeries(a, func(vs []float64) []float64 {
			return s.each(func(i int) float64 { return f(vs[i], b.at(i)) })
		}), nil
	case b.Kind == List:
		return s.perSeries(b, func(vs []float64) []float64 {
			return s.each(func(i int) float64 { return f(a.at(i), vs[i]) })
		}), nil
	case a.Kind == Scalar && b.Kind == Scalar:
		return scalar(f(a.Scalar, b.Scalar)), nil
	}
	return series(s.each(func(i int) float64 { return f(a.at(i), b.at(i)) })), nil
}

// operators take NaN for missing and may return it.
var operators = map[string]func(a, b float64) float64{
	"+":   func(a, b float64) float64 { return a + b },
	"-":   func(a, b float64) float64 { return a - b },
	"*":   func(a, b float64) float64 { return a * b },
	"/":   func(a, b float64) float64 { return a / b },
	"^":   power,
	"<":   truth(func(a, b float64) bool { return a < b }),
	">":   truth(func(a, b float64) bool { return a > b }),
	"<=":  truth(func(a, b float64) bool { return a <= b }),
	">=":  truth(func(a, b float64) bool { return a >= b }),
	"==":  truth(func(a, b float64) bool { return a == b }),
	"!=":  truth(func(a, b float64) bool { return a != b }),
	"AND": truth(func(a, b float64) bool { return a != 0 && b != 0 }),
	"OR":  truth(func(a, b float64) bool { return a != 0 || b != 0 }),
}

// power knows that what is missing stays missing: math.Pow(NaN, 0) is 1.
func power(a, b float64) float64 {
	if math.IsNaN(a) || math.IsNaN(b) {
		return missing
	}
	return math.Pow(a, b)
}

// truth makes 1 and 0 of a comparison.
func truth(f func(a, b float64) bool) func(a, b float64) float64 {
	return func(a, b float64) float64 {
		switch {
		case math.IsNaN(a) || math.IsNaN(b):
			return missing
		case f(a, b):
			return 1
		}
		return 0
	}
}

func (s Scope) call(n *node) (Value, error) {
	if n.name == "METRICS" {
		return s.metrics(n), nil
	}
	nodes, filler := n.args, ""
	if n.name == "FILL" && len(nodes) == 2 && isFiller(nodes[1]) {
		nodes, filler = nodes[:1], nodes[1].name
	}
	args, err := s.evalAll(nodes)
	if err != nil {
		return Value{}, err
	}
	kinds := make([]Kind, len(n.args))
	for i, a := range args {
		kinds[i] = a.Kind
	}
	f := functions[n.name]
	if len(n.args) < f.least || len(n.args) > f.most {
		return Value{}, refuse("The function %s takes %d arguments, not %d.", n.name, f.most, len(n.args))
	}
	if _, ok := f.result(kinds); !ok {
		return Value{}, refuse("The function %s does not take %s.", n.name, kinds[0])
	}
	if n.name == "FILL" {
		return s.fill(args, filler), nil
	}
	return s.compute(n.name, args), nil
}

// metrics returns the request's metrics, or those whose Id contains a string.
func (s Scope) metrics(n *node) Value {
	vs := [][]float64{}
	for _, m := range s.Metrics {
		if len(n.args) == 0 || strings.Contains(m.ID, n.args[0].name) {
			vs = append(vs, m.Values)
		}
	}
	return list(vs)
}
