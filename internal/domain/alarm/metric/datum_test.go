package metric

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

func TestAMetricIsTheSameWhateverTheOrderOfItsDimensions(t *testing.T) {
	a := ID{"N", "m", []Dimension{{"x", "1"}, {"y", "2"}}}
	b := ID{"N", "m", []Dimension{{"y", "2"}, {"x", "1"}}}
	if a.Key() != b.Key() {
		t.Errorf("%q and %q", a.Key(), b.Key())
	}
	if b.Dimensions[0].Name != "y" {
		t.Error("asking for the key changed the dimensions")
	}
	different := map[Key]string{}
	for name, id := range map[string]ID{
		"both":           a,
		"one":            {"N", "m", []Dimension{{"x", "1"}}},
		"none":           {"N", "m", nil},
		"swapped values": {"N", "m", []Dimension{{"x", "2"}, {"y", "1"}}},
		"a cunning name": {"N", "m1:x1:1", nil},
		"another space":  {"Nm", "", []Dimension{{"x", "1"}}},
	} {
		if other, ok := different[id.Key()]; ok {
			t.Errorf("%q and %q share a key", name, other)
		}
		different[id.Key()] = name
	}
}

func TestMetricsThatTheAPIRefusesAreRefused(t *testing.T) {
	long := strings.Repeat("x", 256)
	many := make([]Dimension, 31)
	for i := range many {
		many[i] = Dimension{strings.Repeat("d", i+1), "v"}
	}
	for name, c := range map[string]struct {
		id      ID
		missing bool
	}{
		"no namespace":            {ID{"", "m", nil}, true},
		"no name":                 {ID{"N", "", nil}, true},
		"a colon first":           {ID{":N", "m", nil}, false},
		"a long namespace":        {ID{long, "m", nil}, false},
		"a long name":             {ID{"N", long, nil}, false},
		"a control character":     {ID{"N", "a\nb", nil}, false},
		"31 dimensions":           {ID{"N", "m", many}, false},
		"a dimension twice":       {ID{"N", "m", []Dimension{{"x", "1"}, {"x", "2"}}}, false},
		"a dimension without all": {ID{"N", "m", []Dimension{{"x", ""}}}, true},
		"a nameless dimension":    {ID{"N", "m", []Dimension{{"", "1"}}}, true},
	} {
		err := c.id.Validate("")
		if !errors.Is(err, fault.Invalid) || errors.Is(err, ErrMissing) != c.missing {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (ID{"AWS/SageMaker", "m", many[:30]}).Validate(""); err != nil {
		t.Errorf("30 dimensions: %v", err)
	}
}

func TestDataThatTheAPIRefusesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		d    Datum
		want error
	}{
		"nothing":                   {Datum{}, ErrMissing},
		"two kinds":                 {Datum{Value: new(1.0), Values: []float64{1}}, ErrCombination},
		"counts of nothing":         {Datum{Value: new(1.0), Counts: []float64{1}}, fault.Invalid},
		"NaN":                       {Datum{Value: new(math.NaN())}, fault.Invalid},
		"infinity":                  {Datum{Values: []float64{math.Inf(1)}}, fault.Invalid},
		"too large a value":         {Datum{Value: new(-math.Ldexp(1.01, 360))}, fault.Invalid},
		"an unknown unit":           {Datum{Value: new(1.0), Unit: "Parsecs"}, fault.Invalid},
		"percent per second":        {Datum{Value: new(1.0), Unit: "Percent/Second"}, fault.Invalid},
		"a resolution of 10":        {Datum{Value: new(1.0), StorageResolution: 10}, fault.Invalid},
		"too old":                   {Datum{Value: new(1.0), Timestamp: t0.Add(-15 * 24 * time.Hour)}, fault.Invalid},
		"too far ahead":             {Datum{Value: new(1.0), Timestamp: t0.Add(3 * time.Hour)}, fault.Invalid},
		"151 values":                {Datum{Values: make([]float64, 151)}, fault.Invalid},
		"more counts than values":   {Datum{Values: []float64{1}, Counts: []float64{1, 2}}, fault.Invalid},
		"a negative count":          {Datum{Values: []float64{1}, Counts: []float64{-1}}, fault.Invalid},
		"a set turned around":       {Datum{Set: &Set{1, 1, 2, 1}}, fault.Invalid},
		"a set of minus one sample": {Datum{Set: &Set{-1, 1, 1, 1}}, fault.Invalid},
	} {
		if err := c.d.Validate("", t0); !errors.Is(err, c.want) || !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryFormOfDatumIsAdded(t *testing.T) {
	for name, c := range map[string]struct {
		d     Datum
		count float64
		sum   float64
	}{
		"a value":           {Datum{Value: new(5.0), StorageResolution: 1}, 1, 5},
		"a set":             {Datum{Set: &Set{3, 6, 1, 3}, Unit: "Count/Second"}, 3, 6},
		"values":            {Datum{Values: []float64{1, 2}}, 2, 3},
		"values and counts": {Datum{Values: []float64{1, 2}, Counts: []float64{3, 0.5}}, 3.5, 4},
		"a time of its own": {Datum{Value: new(5.0), Timestamp: t0.Add(-time.Minute)}, 1, 5},
	} {
		if err := c.d.Validate("", t0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var s Series
		c.d.AddTo(&s, t0)
		at := t0
		if !c.d.Timestamp.IsZero() {
			at = c.d.Timestamp
		}
		d := s.Distributions(Window{Start: at, Period: time.Second, Count: 1})[0]
		if d == nil || d.Count != c.count || d.Sum != c.sum {
			t.Errorf("%s: %+v", name, d)
		}
	}
}
