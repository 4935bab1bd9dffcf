package formula

import "math"

// compute calls a function whose arguments are known to be right.
func (s Scope) compute(name string, args []Value) Value {
	v := args[0]
	switch name {
	case "ABS":
		return s.apply(v, math.Abs)
	case "CEIL":
		return s.apply(v, math.Ceil)
	case "FLOOR":
		return s.apply(v, math.Floor)
	case "LOG":
		return s.apply(v, math.Log)
	case "LOG10":
		return s.apply(v, math.Log10)
	case "AVG", "SUM", "MIN", "MAX", "STDDEV":
		return s.reduce(name, v)
	case "DIFF":
		return s.perSeries(v, func(vs []float64) []float64 { return differences(vs, 0) })
	case "RATE":
		return s.perSeries(v, func(vs []float64) []float64 { return differences(vs, s.Period) })
	case "RUNNING_SUM":
		return s.perSeries(v, runningSum)
	case "PERIOD":
		return scalar(s.Period)
	case "DATAPOINT_COUNT":
		var t tally
		t.addAll(v.Series)
		return scalar(t.n)
	case "METRIC_COUNT":
		return scalar(float64(len(v.List)))
	case "TIME_SERIES":
		return series(s.each(func(int) float64 { return v.Scalar }))
	}
	return s.choose(args) // IF, the only one left in the table of functions
}

// tally sums up the values that are there.
type tally struct {
	n, sum, least, most float64
	mean, squares       float64 // Welford: large values must not swamp their differences
}

func (t *tally) add(v float64) {
	if math.IsNaN(v) {
		return
	}
	if t.n == 0 {
		t.least, t.most = v, v
	}
	t.n++
	t.sum += v
	t.least, t.most = min(t.least, v), max(t.most, v)
	away := v - t.mean
	t.mean += away / t.n
	t.squares += away * (v - t.mean)
}

func (t *tally) addAll(vs []float64) {
	for _, v := range vs {
		t.add(v)
	}
}

func (t *tally) result(name string) float64 {
	if t.n == 0 {
		return missing
	}
	switch name {
	case "AVG":
		return t.sum / t.n
	case "SUM":
		return t.sum
	case "MIN":
		return t.least
	case "MAX":
		return t.most
	}
	return math.Sqrt(t.squares / t.n)
}

// reduce makes a scalar of a series, and of a list a series across its members.
func (s Scope) reduce(name string, v Value) Value {
	switch v.Kind {
	case Scalar:
		var t tally
		t.add(v.Scalar)
		return scalar(t.result(name))
	case Series:
		var t tally
		t.addAll(v.Series)
		return scalar(t.result(name))
	case List:
	}
	return series(s.each(func(i int) float64 {
		var t tally
		for _, l := range v.List {
			t.add(l[i])
		}
		return t.result(name)
	}))
}

// differences returns by how much each value exceeds the one before that is
// there; per second if the period is given.
func differences(vs []float64, period float64) []float64 {
	out := make([]float64, len(vs))
	last := -1
	for i, v := range vs {
		out[i] = missing
		if math.IsNaN(v) {
			continue
		}
		if last >= 0 {
			out[i] = v - vs[last]
			if period > 0 {
				out[i] /= period * float64(i-last)
			}
			out[i] = finite(out[i])
		}
		last = i
	}
	return out
}

func runningSum(vs []float64) []float64 {
	out := make([]float64, len(vs))
	sum := 0.0
	for i, v := range vs {
		if !math.IsNaN(v) {
			sum += v
		}
		out[i] = finite(sum)
	}
	return out
}

// choose takes b where a is not 0, else c; where a is missing, so is the result.
func (s Scope) choose(args []Value) Value {
	pick := func(i int) float64 {
		switch a := args[0].at(i); {
		case math.IsNaN(a):
			return missing
		case a != 0:
			return args[1].at(i)
		}
		return args[2].at(i)
	}
	if max(args[0].Kind, args[1].Kind, args[2].Kind) == Scalar {
		return scalar(pick(0))
	}
	return series(s.each(pick))
}

// fill replaces missing values: by those of another value, by the last one
// there (REPEAT), or by a straight line between neighbours (LINEAR).
func (s Scope) fill(args []Value, filler string) Value {
	return s.perSeries(args[0], func(vs []float64) []float64 {
		switch filler {
		case "REPEAT":
			return repeated(vs)
		case "LINEAR":
			return interpolated(vs)
		}
		return s.each(func(i int) float64 {
			if math.IsNaN(vs[i]) {
				return args[1].at(i)
			}
			return vs[i]
		})
	})
}

func repeated(vs []float64) []float64 {
	out := make([]float64, len(vs))
	last := missing
	for i, v := range vs {
		if !math.IsNaN(v) {
			last = v
		}
		out[i] = last
	}
	return out
}

// interpolated leaves the ends alone: there is nothing beyond them.
func interpolated(vs []float64) []float64 {
	out := make([]float64, len(vs))
	copy(out, vs)
	last := -1
	for i, v := range vs {
		if math.IsNaN(v) {
			continue
		}
		if last >= 0 {
			for k := last + 1; k < i; k++ {
				share := float64(k-last) / float64(i-last)
				out[k] = finite(vs[last]*(1-share) + v*share)
			}
		}
		last = i
	}
	return out
}
