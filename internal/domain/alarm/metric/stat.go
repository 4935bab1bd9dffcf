package metric

import (
	"math"
	"strconv"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Stat is one way to make a single number of many samples. The zero Stat is
// none.
type Stat struct {
	name   string // as the client wrote it
	kind   kind
	lo, hi bound // of a trimmed statistic; lo alone for a percentile
}

type kind uint8

const (
	none kind = iota
	sampleCount
	average
	sum
	minimum
	maximum
	percentile     // p99
	trimmedMean    // tm, TM, IQM
	trimmedCount   // tc, TC
	trimmedSum     // ts, TS
	winsorized     // wm, WM
	percentileRank // PR
)

// bound is one end of a trimmed statistic's range: a share of the samples or a
// value, or open.
type bound struct {
	at      float64
	isShare bool
	isOpen  bool
}

// The statistics that have names.
var (
	SampleCount = Stat{name: "SampleCount", kind: sampleCount}
	Average     = Stat{name: "Average", kind: average}
	Sum         = Stat{name: "Sum", kind: sum}
	Minimum     = Stat{name: "Minimum", kind: minimum}
	Maximum     = Stat{name: "Maximum", kind: maximum}
)

func (s Stat) String() string { return s.name }

// Basic reports whether s is one of the five Statistics of the API, rather
// than an ExtendedStatistic.
func (s Stat) Basic() bool { return s.kind >= sampleCount && s.kind <= maximum }

// Percentile returns which share (0..1) of the samples s is about, if it is a
// percentile.
func (s Stat) Percentile() (float64, bool) { return s.lo.at, s.kind == percentile }

// ParseStat reads a Statistic or an ExtendedStatistic: SampleCount, Average,
// Sum, Minimum, Maximum, pNN, tmNN, tcNN, tsNN, wmNN, IQM, TM, TC, TS, WM with
// a range of shares or values such as (10%:90%), and PR with one of values.
// Errors are fault.Invalid because of ErrValue.
func ParseStat(name string) (Stat, error) {
	for _, s := range []Stat{SampleCount, Average, Sum, Minimum, Maximum} {
		if name == s.name {
			return s, nil
		}
	}
	s, ok := parseExtended(name)
	if !ok {
		return Stat{}, fault.New(
			fault.Invalid, "The value %s for parameter ExtendedStatistic is not supported.",
			strings.ToValidUTF8(clip(name), "?"),
		).Because(ErrValue)
	}
	return s, nil
}

func parseExtended(name string) (Stat, bool) {
	s := Stat{name: name, lo: bound{isOpen: true}, hi: bound{isOpen: true}}
	if name == "IQM" {
		s.kind, s.lo, s.hi = trimmedMean, bound{at: .25, isShare: true}, bound{at: .75, isShare: true}
		return s, true
	}
	if head, args, ok := strings.Cut(name, "("); ok {
		return s.parseRange(head, args)
	}
	digits := strings.TrimLeft(name, "abcdefghijklmnopqrstuvwxyz")
	share, ok := parseNumber(digits)
	if !ok || share > 100 {
		return Stat{}, false
	}
	at := bound{at: share / 100, isShare: true}
	switch name[:len(name)-len(digits)] {
	case "p":
		s.kind, s.lo = percentile, at
	case "tm":
		s.kind, s.hi = trimmedMean, at
	case "tc":
		s.kind, s.hi = trimmedCount, at
	case "ts":
		s.kind, s.hi = trimmedSum, at
	case "wm":
		s.kind, s.hi = winsorized, at
	default:
		return Stat{}, false
	}
	return s, true
}

// parseRange reads what follows the name in TM(10%:90%).
func (s Stat) parseRange(head, args string) (Stat, bool) {
	switch head {
	case "TM":
		s.kind = trimmedMean
	case "TC":
		s.kind = trimmedCount
	case "TS":
		s.kind = trimmedSum
	case "WM":
		s.kind = winsorized
	case "PR":
		s.kind = percentileRank
	default:
		return Stat{}, false
	}
	inner, ok := strings.CutSuffix(args, ")")
	if !ok {
		return Stat{}, false
	}
	from, to, ok := strings.Cut(inner, ":")
	if !ok {
		return Stat{}, false
	}
	lo, okLo := parseBound(from)
	hi, okHi := parseBound(to)
	switch {
	case !okLo || !okHi, lo.isOpen && hi.isOpen:
		return Stat{}, false
	case !lo.isOpen && !hi.isOpen && (lo.isShare != hi.isShare || lo.at > hi.at):
		return Stat{}, false
	case s.kind == percentileRank && (lo.isShare || hi.isShare):
		return Stat{}, false
	}
	s.lo, s.hi = lo, hi
	return s, true
}

func parseBound(s string) (bound, bool) {
	if s == "" {
		return bound{isOpen: true}, true
	}
	digits, isShare := strings.CutSuffix(s, "%")
	v, ok := parseNumber(digits)
	if isShare {
		v /= 100
		ok = ok && v <= 1
	}
	return bound{at: v, isShare: isShare}, ok
}

// parseNumber reads a plain decimal number that is not negative.
func parseNumber(s string) (float64, bool) {
	if s == "" || len(s) > 32 || strings.Trim(s, "0123456789.") != "" {
		return 0, false
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil && fits(v)
}

// Of returns the statistic of the samples in d, and whether it can be had:
// there are samples, and for an extended statistic their values are known.
func (s Stat) Of(d *Dist) (float64, bool) {
	if d.Count == 0 {
		return 0, false
	}
	switch s.kind {
	case sampleCount:
		return d.Count, true
	case average:
		return d.Sum / d.Count, true
	case sum:
		return d.Sum, true
	case minimum:
		return d.Min, true
	case maximum:
		return d.Max, true
	case percentile:
		return d.Quantile(s.lo.at)
	case none:
		return 0, false
	case trimmedMean, trimmedCount, trimmedSum, winsorized, percentileRank:
	}
	if !d.Binned() {
		return 0, false
	}
	return s.trimmed(d)
}

// trimmed computes a statistic of the samples in a range. A bin that the end of
// a range of shares cuts in two counts with the part inside.
func (s Stat) trimmed(d *Dist) (float64, bool) {
	var count, total, position, before float64
	lowest, highest := math.Inf(1), math.Inf(-1)
	d.each(func(v, n float64) bool {
		if from, to := s.inside(v, position, position+n, d.Count); to > from {
			if count == 0 {
				before = from
			}
			count += to - from
			total += v * (to - from)
			lowest, highest = min(lowest, v), max(highest, v)
		}
		position += n
		return true
	})
	switch {
	case s.kind == trimmedCount:
		return count, true
	case s.kind == percentileRank:
		return 100 * count / d.Count, true
	case count == 0:
		return 0, false
	case s.kind == trimmedSum:
		return total, true
	case s.kind == winsorized: // what lies outside counts as the nearest value inside
		after := max(0, d.Count-before-count)
		return (before*lowest + total + after*highest) / d.Count, true
	}
	return total / count, true
}

// inside narrows the samples from..to, counted from the lowest and all of value
// v, to those in the range of s; count is the number of all samples.
func (s Stat) inside(v, from, to, count float64) (float64, float64) {
	switch {
	case s.lo.isOpen:
	case s.lo.isShare:
		from = max(from, s.lo.at*count)
	case snap(v) <= snap(s.lo.at): // a range of values excludes its lower end
		return to, to
	}
	switch {
	case s.hi.isOpen:
	case s.hi.isShare:
		to = min(to, s.hi.at*count)
	case snap(v) > snap(s.hi.at):
		return to, to
	}
	return from, to
}

// snap returns the value that stands for v's bin: two values of one bin cannot
// be told apart, whatever stands for them.
func snap(v float64) float64 {
	switch least := logBins.MinIndexableValue(); {
	case v >= least:
		return logBins.Value(logBins.Index(v))
	case v <= -least:
		return -logBins.Value(logBins.Index(-v))
	}
	return 0
}
