package formula_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/alarm/formula"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

var gap = math.NaN()

// scope has four periods of a minute.
func scope() formula.Scope {
	metrics := []formula.Named{
		{ID: "m1", Values: []float64{1, 2, gap, 4}},
		{ID: "m2", Values: []float64{0, 4, 2, gap}},
		{ID: "errors5xx", Values: []float64{gap, gap, 3, 3}},
	}
	return formula.Scope{
		Period: 60, Count: 4, Metrics: metrics,
		Lookup: func(id string) (formula.Value, bool) {
			for _, m := range metrics {
				if m.ID == id {
					return formula.Value{Kind: formula.Series, Series: m.Values}, true
				}
			}
			if id == "e1" {
				return formula.Value{Kind: formula.Scalar, Scalar: 10}, true
			}
			return formula.Value{}, false
		},
	}
}

func kinds(id string) (formula.Kind, bool) {
	v, ok := scope().Lookup(id)
	return v.Kind, ok
}

var results = map[string][]float64{ // one value: a scalar
	"m1 + m2":                       {1, 6, gap, gap},
	"m1 - 1":                        {0, 1, gap, 3},
	"2 * m1":                        {2, 4, gap, 8},
	"m1 / m2":                       {gap, 0.5, gap, gap},
	"IF(m2 > 0, m1 / m2, 0)":        {0, 0.5, gap, gap},
	"IF(FILL(m2, 0) > 0, 1, 2)":     {2, 1, 1, 2},
	"IF(1 > 2, 3, 4)":               {4},
	"1 + 2 * 3":                     {7},
	"(1 + 2) * 3":                   {9},
	"2 ^ 3 ^ 2":                     {512},
	"-2 ^ 2":                        {-4},
	"2 ^ -1":                        {0.5},
	"-(-3)":                         {3},
	"+3 - -3":                       {6},
	"10 - 3 - 2":                    {5},
	"8 / 4 / 2":                     {1},
	"1 / 0":                         {gap},
	"m1 ^ 0":                        {1, 1, gap, 1},
	"1e3 + .5":                      {1000.5},
	"1 < 2":                         {1},
	"2 <= 1":                        {0},
	"1 == 1 AND 2 != 2":             {0},
	"1 > 2 OR 2 >= 2":               {1},
	"0 || 1 && 0":                   {0},
	"1 || 1 && 0":                   {1},
	"m1 > 1 AND m2 > 1":             {0, 1, gap, gap},
	"ABS(0 - m1)":                   {1, 2, gap, 4},
	"CEIL(m1 / 3)":                  {1, 1, gap, 2},
	"FLOOR(1.9)":                    {1},
	"LOG10(100)":                    {2},
	"LOG(0)":                        {gap},
	"AVG(m1)":                       {7. / 3},
	"SUM(m1)":                       {7},
	"MIN(m1)":                       {1},
	"MAX(m1)":                       {4},
	"STDDEV(m2)":                    {math.Sqrt(8. / 3)},
	"SUM([m1, m2])":                 {1, 6, 2, 4},
	"AVG([m1, 10])":                 {5.5, 6, 10, 7},
	"MAX(METRICS())":                {1, 4, 3, 4},
	"SUM(METRICS('errors'))":        {gap, gap, 3, 3},
	`SUM(METRICS("none"))`:          {gap, gap, gap, gap},
	"SUM(METRICS() * 2)":            {2, 12, 10, 14},
	"SUM(2 - METRICS())":            {3, -2, -1, -3},
	"SUM(ABS(-METRICS()))":          {1, 6, 5, 7},
	"FILL(m1, 0)":                   {1, 2, 0, 4},
	"FILL(m1, REPEAT)":              {1, 2, 2, 4},
	"FILL(m1, LINEAR)":              {1, 2, 3, 4},
	"FILL(errors5xx, REPEAT)":       {gap, gap, 3, 3},
	"FILL(errors5xx, LINEAR)":       {gap, gap, 3, 3},
	"FILL(m1, m2)":                  {1, 2, 2, 4},
	"SUM(FILL(METRICS(), 0))":       {1, 6, 5, 7},
	"DIFF(m1)":                      {gap, 1, gap, 2},
	"RATE(m1)":                      {gap, 1. / 60, gap, 2. / 120},
	"RUNNING_SUM(m1)":               {1, 3, 3, 7},
	"PERIOD(m1)":                    {60},
	"m1 / PERIOD(m1) * 60":          {1, 2, gap, 4},
	"DATAPOINT_COUNT(m1)":           {3},
	"METRIC_COUNT(METRICS())":       {3},
	"TIME_SERIES(e1)":               {10, 10, 10, 10},
	"m1 * e1":                       {10, 20, gap, 40},
	" ( ( m1 ) )\t":                 {1, 2, gap, 4},
	"AVG(5)":                        {5},
	"m1 - AVG(m1)":                  {1 - 7./3, 2 - 7./3, gap, 4 - 7./3},
	"IF(m1 == 2, m2, e1)":           {10, 4, gap, 10},
	"100 * (1 - SUM(m1) / SUM(m2))": {100 * (1 - 7./6)},
}

func TestExpressionsAreComputed(t *testing.T) {
	for src, want := range results {
		t.Run(src, func(t *testing.T) {
			e, err := formula.Parse(src)
			if err != nil {
				t.Fatal(err)
			}
			kind, err := e.Kind(kinds)
			if err != nil {
				t.Fatal(err)
			}
			v, err := e.Eval(scope())
			if err != nil {
				t.Fatal(err)
			}
			got := v.Series
			if v.Kind == formula.Scalar {
				got = []float64{v.Scalar}
			}
			if v.Kind != kind || !slices.EqualFunc(got, want, same) {
				t.Errorf("%v %v (%v), want %v", v.Kind, got, kind, want)
			}
		})
	}
}

func same(a, b float64) bool {
	return math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) <= 1e-12*math.Abs(b)
}

func TestExpressionsThatMakeNoSenseAreRefused(t *testing.T) {
	for src, why := range map[string]string{
		"":                              "ends unexpectedly",
		"m1 +":                          "ends unexpectedly",
		"m1 m2":                         `Unexpected "m2" at character 4`,
		"(m1":                           "ends unexpectedly",
		"m1)":                           `Unexpected ")"`,
		"1..2":                          "Unexpected",
		"1e999":                         "Unexpected",
		"m1 % 2":                        `Unexpected "%"`,
		"'m1":                           "Unexpected",
		"m1 = 2":                        `Unexpected "="`,
		"AND":                           "Unexpected",
		"[]":                            "is empty",
		"[METRICS()]":                   "contains a list",
		"m3":                            `refers to "m3"`,
		"REPEAT":                        "no meaning",
		"'text'":                        "no meaning",
		"FILL(m1)":                      "takes 2 arguments, not 1",
		"FILL(m1, ZERO)":                "no meaning",
		"FILL(1, 0)":                    "does not take a scalar",
		"SEARCH('x', 'Sum', 60)":        "not supported",
		"ANOMALY_DETECTION_BAND(m1)":    "not supported",
		"RATE(5)":                       "does not take a scalar",
		"PERIOD(1)":                     "does not take a scalar",
		"METRIC_COUNT(m1)":              "does not take a time series",
		"IF(m1, METRICS(), 1)":          "does not take",
		"METRICS(m1)":                   "takes a string",
		"METRICS('a', 'b')":             "takes 1 arguments, not 2",
		"METRICS() + METRICS()":         "two lists",
		strings.Repeat("(", 65) + "1":   "nested more than 64 deep",
		strings.Repeat("-", 65) + "1":   "nested more than 64 deep",
		"1" + strings.Repeat("^1", 65):  "nested more than 64 deep",
		"1" + strings.Repeat("+1", 600): "more than 1024 parts",
		strings.Repeat(" ", 2048) + "1": "longer than 2048",
		"m1 \xff":                       "Unexpected",
	} {
		e, err := formula.Parse(src)
		if err == nil {
			_, err = e.Kind(kinds)
		}
		if _, public := fault.Public(err); !errors.Is(err, fault.Invalid) || !strings.Contains(public, why) {
			t.Errorf("%.40q: %v, want it to say %q", src, err, why)
		}
	}
}

func TestAnExpressionKnowsWhatItNeeds(t *testing.T) {
	e, err := formula.Parse("m2 + m1 * m2 - AVG(METRICS())")
	if err != nil {
		t.Fatal(err)
	}
	if got := e.IDs(); !slices.Equal(got, []string{"m1", "m2"}) || !e.UsesMetrics() || e.Size() != 8 {
		t.Errorf("IDs %v, metrics %v, size %d", got, e.UsesMetrics(), e.Size())
	}
}

func TestSeriesOfTheWrongLengthAreRefused(t *testing.T) {
	e, err := formula.Parse("m1 + m2")
	if err != nil {
		t.Fatal(err)
	}
	s := scope()
	s.Count = 5
	if _, err := e.Eval(s); !errors.Is(err, fault.Invalid) {
		t.Errorf("the answer was %v", err)
	}
}

// What passes the check of kinds can be computed, and results in that kind.
func FuzzExpressions(f *testing.F) {
	for src := range results {
		f.Add(src)
	}
	f.Add("IF(m1,[m2,1],METRICS('m'))+--FILL(m1,LINEAR)^e1")
	f.Fuzz(func(t *testing.T, src string) {
		e, err := formula.Parse(src)
		if err != nil {
			if _, public := fault.Public(err); !errors.Is(err, fault.Invalid) || len(public) > 300 {
				t.Errorf("refused with %v", err)
			}
			return
		}
		kind, err := e.Kind(kinds)
		if err != nil {
			return
		}
		v, err := e.Eval(scope())
		if err != nil || v.Kind != kind {
			t.Fatalf("%q is %v by its kind, but: %v, %v", src, kind, v, err)
		}
		lists := append(v.List, v.Series)
		if kind == formula.Scalar {
			lists = [][]float64{{v.Scalar}}
		}
		for _, l := range lists {
			for _, x := range l {
				if math.IsInf(x, 0) {
					t.Errorf("%q has an infinite value", src)
				}
			}
		}
	})
}

func BenchmarkTheUsualRatio(b *testing.B) {
	e, err := formula.Parse("IF(m2 > 0, m1 / m2, 0)")
	if err != nil {
		b.Fatal(err)
	}
	s := scope()
	for b.Loop() {
		if _, err := e.Eval(s); err != nil {
			b.Fatal(err)
		}
	}
}
