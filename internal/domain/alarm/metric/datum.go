package metric

import (
	"cmp"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// The limits of PutMetricData (spec §7.3).
const (
	largest   = 0x1p360             // of a value, either sign
	oldest    = 14 * 24 * time.Hour // of a timestamp
	soonest   = 2 * time.Hour       // how far ahead a timestamp may lie
	maxValues = 150                 // of Values and of Counts
)

// Set sums up samples that the client did not send one by one.
type Set struct {
	SampleCount float64
	Sum         float64
	Minimum     float64
	Maximum     float64
}

// Datum is one entry of PutMetricData without its metric's identity. Exactly
// one of Value, Set and Values is given.
type Datum struct {
	Timestamp         time.Time // zero: now
	Value             *float64
	Set               *Set
	Values            []float64
	Counts            []float64 // how often each of Values was seen; empty: once each
	Unit              Unit      // "": None
	StorageResolution int       // seconds, 1 or 60; 0: 60. Samples are kept by the second either way
}

// Validate reports the first thing that the API refuses about d, which the
// request has at path. Errors are fault.Invalid; errors.Is also finds ErrMissing
// and ErrCombination.
func (d Datum) Validate(path string, now time.Time) error {
	invalid := func(format string, args ...any) *fault.Error { return fault.New(fault.Invalid, format, args...) }
	switch {
	case d.Value == nil && d.Set == nil && len(d.Values) == 0 && len(d.Counts) == 0:
		return invalid(
			"At least one of the parameters must be specified: %[1]sValue, %[1]sValues, %[1]sStatisticValues.", path,
		).Because(ErrMissing)
	case d.Value != nil && len(d.Values) > 0:
		return exclusive(path, "Value", "Values")
	case d.Value != nil && d.Set != nil:
		return exclusive(path, "Value", "StatisticValues")
	case d.Set != nil && len(d.Values) > 0:
		return exclusive(path, "Values", "StatisticValues")
	case d.Unit != "" && !d.Unit.Known():
		return invalid("The value %q for parameter %sUnit is invalid.", clip(string(d.Unit)), path)
	case d.StorageResolution != 0 && d.StorageResolution != 1 && d.StorageResolution != 60:
		return invalid(
			"The value %d for parameter %sStorageResolution is invalid. Valid values are 1 and 60.",
			d.StorageResolution, path,
		)
	case !d.Timestamp.IsZero() && d.Timestamp.Before(now.Add(-oldest)):
		return invalid("The parameter %sTimestamp must specify a time within the past two weeks.", path)
	case d.Timestamp.After(now.Add(soonest)):
		return invalid("The parameter %sTimestamp must specify a time no more than two hours in the future.", path)
	case len(d.Values) > maxValues:
		return invalid("The collection %sValues must not have a size greater than %d.", path, maxValues)
	case len(d.Counts) > 0 && len(d.Counts) != len(d.Values):
		return invalid("The parameters %[1]sValues and %[1]sCounts must be of the same size.", path)
	}
	return d.validateValues(path)
}

func (d Datum) validateValues(path string) error {
	check := func(v float64, parameter string, ok bool) error {
		if ok && fits(v) {
			return nil
		}
		text := strings.Replace(strconv.FormatFloat(v, 'g', -1, 64), "Inf", "Infinity", 1)
		text = strings.TrimPrefix(text, "+")
		return fault.New(fault.Invalid, "The value %s for parameter %s%s is invalid.", text, path, parameter)
	}
	if d.Value != nil {
		return check(*d.Value, "Value", true)
	}
	if s := d.Set; s != nil {
		return cmp.Or(
			check(s.SampleCount, "StatisticValues.SampleCount", s.SampleCount >= 0),
			check(s.Sum, "StatisticValues.Sum", true), check(s.Maximum, "StatisticValues.Maximum", true),
			check(s.Minimum, "StatisticValues.Minimum", s.Minimum <= s.Maximum),
		)
	}
	for i, v := range d.Values {
		if err := check(v, "Values", true); err != nil {
			return err
		}
		if len(d.Counts) > 0 {
			if err := check(d.Counts[i], "Counts", d.Counts[i] >= 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// AddTo puts the samples of a valid datum into s. A datum without a timestamp
// is one of now.
func (d Datum) AddTo(s *Series, now time.Time) {
	at := d.Timestamp
	if at.IsZero() {
		at = now
	}
	switch {
	case d.Value != nil:
		s.Add(at, *d.Value)
	case d.Set != nil:
		s.AddSet(at, *d.Set)
	default:
		for i, v := range d.Values {
			n := 1.0
			if len(d.Counts) > 0 {
				n = d.Counts[i]
			}
			s.AddN(at, v, n)
		}
	}
}

func fits(v float64) bool { return math.Abs(v) <= largest } // false for NaN
