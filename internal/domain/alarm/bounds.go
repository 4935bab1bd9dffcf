package alarm

import (
	"math"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
)

// span is what single samples of a metric can be.
type span struct{ lo, hi float64 }

var (
	anything    = span{math.Inf(-1), math.Inf(1)}
	notNegative = span{0, math.Inf(1)}
	zeroOrOne   = span{0, 1}
)

// The namespaces that only Slipway itself puts samples into.
const (
	endpointMetrics = "AWS/SageMaker"
	instanceMetrics = "/aws/sagemaker/Endpoints"
	// Evidence has what gates make of a deployment, as powers of ten of the odds.
	Evidence = "Slipway/Evidence"
)

// Reserved reports whether only Slipway itself may put samples into a
// namespace: PutMetricData has to refuse it, as AWS refuses AWS/. What open
// periods decide, and what is said of thresholds, relies on it.
func Reserved(namespace string) bool {
	return strings.HasPrefix(namespace, "AWS/") || strings.HasPrefix(namespace, "/aws/") ||
		strings.HasPrefix(namespace, "Slipway/")
}

// OfEvidence reports whether the alarm watches series of Evidence and no others.
// These begin anew with each deployment, and such an alarm never stays in ALARM
// for want of data: that would be the verdict on the deployment before.
func (j *Judge) OfEvidence() bool {
	for _, a := range j.stats {
		if a.metric.Namespace != Evidence {
			return false
		}
	}
	return len(j.stats) > 0
}

// WatchesEvidence reports whether the alarm watches series of Evidence, perhaps
// beside others.
func (j *Judge) WatchesEvidence() bool {
	for _, a := range j.stats {
		if a.metric.Namespace == Evidence {
			return true
		}
	}
	return false
}

// Chance is how likely an alarm on evidence fires, at most, in a deployment whose
// new instances are no worse than allowed; false if that is not known.
func (j *Judge) Chance() (float64, bool) {
	if !j.OfEvidence() || j.returned != "" || !j.d.upward() {
		return 0, false
	}
	return min(1, math.Pow(10, -*j.d.Threshold)), true
}

// samplesOf returns what is known of a metric's samples (spec §7.1 and §7.2).
// Of metrics that clients put themselves, nothing is.
func samplesOf(id metric.ID) span {
	switch id.Namespace {
	case endpointMetrics:
		switch id.Name {
		case "Invocations":
			return span{1, 1}
		case "InvocationsPerInstance", "Invocation4XXErrors", "Invocation5XXErrors", "InvocationModelErrors",
			"MidStreamErrors", "ModelCacheHit":
			return zeroOrOne
		}
		return notNegative
	case instanceMetrics:
		switch id.Name {
		case "MemoryUtilization", "DiskUtilization":
			return span{0, 100}
		}
		return notNegative
	case Evidence:
		return span{leastEvidence, mostEvidence}
	}
	return anything
}

// The limits of published evidence (package evidence).
const leastEvidence, mostEvidence = -3, 300

// of returns what a statistic of at least one such sample can be.
func (s span) of(stat metric.Stat) span {
	switch {
	case stat == metric.SampleCount:
		return span{1, math.Inf(1)}
	case stat == metric.Sum:
		return s.sum()
	case stat == metric.Average, stat == metric.Minimum, stat == metric.Maximum:
		return s
	}
	if _, ok := stat.Percentile(); ok {
		return s
	}
	return anything // trimmed sums, counts and ranks: not worth a rule
}

func (s span) sum() span {
	sum := s
	if s.lo < 0 {
		sum.lo = math.Inf(-1)
	}
	if s.hi > 0 {
		sum.hi = math.Inf(1)
	}
	return sum
}

// decides reports whether an open period that breaches will still breach when
// it is over, whatever samples come (see the package comment).
func (d *Definition) decides(stat metric.Stat, samples span) bool {
	switch stat {
	case metric.Maximum, metric.SampleCount:
		return d.upward()
	case metric.Minimum:
		return !d.upward()
	case metric.Sum:
		return d.upward() && samples.lo >= 0 || !d.upward() && samples.hi <= 0
	}
	return false
}
