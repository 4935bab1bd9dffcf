// Package alarm decides when an alarm changes its state, as CloudWatch does
// (spec §7.4): metric alarms, metric math and composite rules. It promises that
// the same points, state and time always give the same answer, and that an
// ALARM given early is one that the regular evaluation would have given too.
//
// It is pure: it does no I/O, starts no goroutine and never asks what time it
// is. Keeping samples is the job of package metric; guarding them, asking at
// the right moments and telling others what changed is the caller's.
//
// # When a period counts
//
// Evaluations are scheduled on full minutes for periods of 60 s and more, on
// full ten seconds for 10, 20 and 30 s, and on full seconds for 1 and 5 s. An
// evaluation at time B looks at the N+2 periods that end at B, whatever B is: a
// window that slides. All of them are over, so every sample in them counts.
//
// Between B and the next scheduled time B' the youngest period of B' is still
// open. Evaluate looks at it ahead of time, and ends in ALARM before B' if and
// only if the samples so far prove that the evaluation at B' will:
//
//   - Maximum above the threshold, Minimum below it and SampleCount above it
//     stay so whatever comes: a period that breaches this way is decided.
//   - Sum above the threshold does too if the metric has no negative values:
//     those that Slipway measures itself.
//   - Average, percentiles and other extended statistics, metric math, and any
//     comparison in the other direction can be undone by the next sample: such
//     an open period is never looked at.
//
// Only samples that arrive late, for a period that is over, can make B' see
// something else; they can undo any evaluation. An early look never ends in OK
// or INSUFFICIENT_DATA. So a bad sample is judged at once, or at the end of its
// period: within 1 s plus the caller's delay if the period is 1 s.
package alarm

import (
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
)

// StateValue is the state of an alarm, in the API's words.
type StateValue string

// The states of an alarm.
const (
	StateOK               StateValue = "OK"
	StateAlarm            StateValue = "ALARM"
	StateInsufficientData StateValue = "INSUFFICIENT_DATA"
)

// The comparison operators that an alarm with a threshold may use.
const (
	GreaterOrEqual = "GreaterThanOrEqualToThreshold"
	Greater        = "GreaterThanThreshold"
	Less           = "LessThanThreshold"
	LessOrEqual    = "LessThanOrEqualToThreshold"
)

// What TreatMissingData may say; "" means the same as Missing.
const (
	Missing      = "missing"
	Ignore       = "ignore"
	Breaching    = "breaching"
	NotBreaching = "notBreaching"
)

// What EvaluateLowSampleCountPercentile may say; "" means the same as Evaluate.
const (
	EvaluateLowSamples = "evaluate"
	IgnoreLowSamples   = "ignore"
)

// Definition is what PutMetricAlarm and PutCompositeAlarm carry, in one of
// three forms: a statistic of Metric, metric math in Metrics, or a Rule.
// It is stored: its field names stay.
type Definition struct {
	Name        string `json:"Name"`
	Description string `json:"Description"`
	// the API's ActionsEnabled, turned around: true is its default
	ActionsDisabled         bool     `json:"ActionsDisabled"`
	OKActions               []string `json:"OKActions"`
	AlarmActions            []string `json:"AlarmActions"`
	InsufficientDataActions []string `json:"InsufficientDataActions"`

	Metric            metric.ID   `json:"Metric"`
	Statistic         string      `json:"Statistic"` // or
	ExtendedStatistic string      `json:"ExtendedStatistic"`
	Period            int         `json:"Period"` // seconds
	Unit              metric.Unit `json:"Unit"`

	Metrics           []Query `json:"Metrics"`
	ThresholdMetricID string  `json:"ThresholdMetricID"` // of anomaly detection: refused

	EvaluationPeriods                int      `json:"EvaluationPeriods"`
	DatapointsToAlarm                int      `json:"DatapointsToAlarm"` // 0: not given, EvaluationPeriods
	Threshold                        *float64 `json:"Threshold"`
	ComparisonOperator               string   `json:"ComparisonOperator"`
	TreatMissingData                 string   `json:"TreatMissingData"`
	EvaluateLowSampleCountPercentile string   `json:"EvaluateLowSampleCountPercentile"`

	Rule                      string `json:"Rule"`                      // of a composite alarm
	Suppressor                string `json:"Suppressor"`                // an alarm whose ALARM keeps the actions back
	SuppressorWaitPeriod      *int   `json:"SuppressorWaitPeriod"`      // seconds
	SuppressorExtensionPeriod *int   `json:"SuppressorExtensionPeriod"` // seconds
}

// Query is one entry of Metrics: a MetricStat, or an expression over others.
type Query struct {
	ID         string      `json:"ID"`
	Label      string      `json:"Label"`
	Expression string      `json:"Expression"`
	Stat       *MetricStat `json:"Stat"`
	ReturnData *bool       `json:"ReturnData"` // nil: true
	Period     int         `json:"Period"`     // of an expression; seconds; 0: not given
	AccountID  string      `json:"AccountID"`
}

// MetricStat asks for a statistic of a metric.
type MetricStat struct {
	Metric metric.ID   `json:"Metric"`
	Period int         `json:"Period"` // seconds
	Stat   string      `json:"Stat"`
	Unit   metric.Unit `json:"Unit"`
}

// Composite reports whether d watches other alarms.
func (d *Definition) Composite() bool { return d.Rule != "" }

// needed returns M of "M out of N".
func (d *Definition) needed() int {
	if d.DatapointsToAlarm > 0 {
		return d.DatapointsToAlarm
	}
	return d.EvaluationPeriods
}

// breaches reports whether a value is on the wrong side of the threshold.
func (d *Definition) breaches(v float64) bool {
	switch t := *d.Threshold; d.ComparisonOperator {
	case GreaterOrEqual:
		return v >= t
	case Greater:
		return v > t
	case Less:
		return v < t
	}
	return v <= *d.Threshold
}

// upward reports whether large values breach.
func (d *Definition) upward() bool {
	return d.ComparisonOperator == Greater || d.ComparisonOperator == GreaterOrEqual
}

// worse reports whether a is nearer to a breach than b, or further beyond it.
func (d *Definition) worse(a, b float64) bool {
	if d.upward() {
		return a > b
	}
	return a < b
}

// State is what is remembered of an alarm between evaluations. It is stored.
type State struct {
	Value        StateValue `json:"Value"`
	Reason       string     `json:"Reason"`           // at most 1023 characters
	ReasonData   string     `json:"ReasonData"`       // JSON, at most 4000 characters, or ""
	Updated      time.Time  `json:"Updated"`          // when anything in State changed
	Transitioned time.Time  `json:"Transitioned"`     // when Value changed
	ByHand       bool       `json:"ByHand,omitempty"` // SetAlarmState said so, and no evaluation since
}

// unchecked is the reason of a new alarm's state.
const unchecked = "Unchecked: Initial alarm creation"

// Initial is the state of an alarm that has just been put. Overwriting an alarm
// keeps its state instead.
func Initial(now time.Time) State {
	return State{Value: StateInsufficientData, Reason: unchecked, Updated: now, Transitioned: now}
}
