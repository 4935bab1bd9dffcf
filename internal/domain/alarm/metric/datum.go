package metric

import (
	"errors"
	"math"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// The private causes of a refusal that the API has names of its own for.
var (
	ErrMissing     = errors.New("a required parameter is missing")    // MissingRequiredParameterException
	ErrCombination = errors.New("parameters that exclude each other") // InvalidParameterCombinationException
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

// Validate reports what the API refuses about d. Errors are fault.Invalid;
// errors.Is also finds ErrMissing and ErrCombination.
func (d Datum) Validate(now time.Time) error {
	given := 0
	for _, g := range []bool{d.Value != nil, d.Set != nil, len(d.Values) > 0} {
		if g {
			given++
		}
	}
	switch {
	case given == 0:
		return missing("At least one of the parameters must be specified: Value, Values, StatisticValues.")
	case given > 1:
		return fault.New(fault.Invalid,
			"The parameters Value, Values and StatisticValues are mutually exclusive.").Because(ErrCombination)
	case d.Unit != "" && !d.Unit.Known():
		return fault.New(fault.Invalid, "The value %q for parameter Unit is invalid.", clip(string(d.Unit)))
	case d.StorageResolution != 0 && d.StorageResolution != 1 && d.StorageResolution != 60:
		return fault.New(fault.Invalid,
			"The value %d for parameter StorageResolution is invalid. Valid values are 1 and 60.", d.StorageResolution)
	case !d.Timestamp.IsZero() && d.Timestamp.Before(now.Add(-oldest)):
		return fault.New(fault.Invalid, "The parameter Timestamp must not be more than two weeks in the past.")
	case d.Timestamp.After(now.Add(soonest)):
		return fault.New(fault.Invalid, "The parameter Timestamp must not be more than two hours in the future.")
	case len(d.Counts) > 0 && len(d.Values) == 0:
		return fault.New(fault.Invalid, "The parameter Counts requires the parameter Values.").Because(ErrCombination)
	}
	return d.validateValues()
}

func (d Datum) validateValues() error {
	if d.Value != nil && !fits(*d.Value) {
		return fault.New(fault.Invalid, "The value %v for parameter Value is invalid.", *d.Value)
	}
	if s := d.Set; s != nil {
		if !fits(s.SampleCount) || !fits(s.Sum) || !fits(s.Minimum) || !fits(s.Maximum) || s.SampleCount < 0 ||
			s.Minimum > s.Maximum {
			return fault.New(fault.Invalid,
				"The parameter StatisticValues is invalid: it needs finite numbers, SampleCount of at least 0, and "+
					"Minimum not above Maximum.")
		}
	}
	if len(d.Values) > maxValues {
		return fault.New(fault.Invalid, "The collection Values must not have a size greater than %d.", maxValues)
	}
	if len(d.Counts) > 0 && len(d.Counts) != len(d.Values) {
		return fault.New(fault.Invalid, "The parameters Values and Counts must be of the same size.")
	}
	for i, v := range d.Values {
		if !fits(v) {
			return fault.New(fault.Invalid, "The value %v for parameter Values is invalid.", v)
		}
		if len(d.Counts) > 0 && (!fits(d.Counts[i]) || d.Counts[i] < 0) {
			return fault.New(fault.Invalid, "The value %v for parameter Counts is invalid.", d.Counts[i])
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

func missing(sentence string) error {
	return fault.New(fault.Invalid, "%s", sentence).Because(ErrMissing)
}
