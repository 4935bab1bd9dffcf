package alarm

import (
	"math"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/alarm/formula"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/alarm/rule"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// The limits of PutMetricAlarm (spec §7.4).
const (
	maxName        = 255
	maxDescription = 1024
	maxActions     = 5
	maxAction      = 1024
	maxStats       = 10 // MetricStat entries of Metrics
	maxExpressions = 10 // Expression entries of Metrics
	day            = 86_400
	week           = 7 * day
	hour           = 3600
)

// maxWork bounds what one evaluation of metric math may compute, in values: one
// alarm must not keep the others waiting.
const maxWork = 10_000_000

// Validate reports what the API refuses about d. Errors are fault.Invalid, or
// fault.Unsupported for what Slipway does not do.
func (d *Definition) Validate() error {
	_, err := NewJudge(*d)
	return err
}

func (d *Definition) validate() error {
	switch {
	case d.Name == "":
		return refuse("The parameter AlarmName is required.")
	case len(d.Name) > maxName || hasControl(d.Name):
		return refuse("The parameter AlarmName must have 1 to %d characters and no control characters.", maxName)
	case len(d.Description) > maxDescription:
		return refuse("The parameter AlarmDescription must not be longer than %d characters.", maxDescription)
	}
	for _, actions := range [][]string{d.OKActions, d.AlarmActions, d.InsufficientDataActions} {
		if len(actions) > maxActions {
			return refuse("An alarm must not have more than %d actions for one state.", maxActions)
		}
		for _, a := range actions {
			if a == "" || len(a) > maxAction || hasControl(a) {
				return refuse("An action of an alarm must have 1 to %d characters and no control characters.",
					maxAction)
			}
		}
	}
	if d.Composite() {
		return d.validateComposite()
	}
	if d.Suppressor != "" || d.SuppressorWaitPeriod != nil || d.SuppressorExtensionPeriod != nil {
		return refuse("Only composite alarms have an ActionsSuppressor.")
	}
	return d.validateEvaluation()
}

func (d *Definition) validateComposite() error {
	if !d.Metric.Zero() || len(d.Metrics) > 0 || d.Statistic != "" || d.ExtendedStatistic != "" || d.Period != 0 ||
		d.EvaluationPeriods != 0 || d.DatapointsToAlarm != 0 || d.Threshold != nil || d.ComparisonOperator != "" {
		return refuse("A composite alarm has an AlarmRule and none of the parameters of a metric alarm.")
	}
	if d.Suppressor == "" {
		if d.SuppressorWaitPeriod != nil || d.SuppressorExtensionPeriod != nil {
			return refuse("ActionsSuppressorWaitPeriod and ActionsSuppressorExtensionPeriod require ActionsSuppressor.")
		}
		return nil
	}
	if d.SuppressorWaitPeriod == nil || d.SuppressorExtensionPeriod == nil {
		return refuse("ActionsSuppressor requires ActionsSuppressorWaitPeriod and ActionsSuppressorExtensionPeriod.")
	}
	if *d.SuppressorWaitPeriod < 0 || *d.SuppressorExtensionPeriod < 0 {
		return refuse("ActionsSuppressorWaitPeriod and ActionsSuppressorExtensionPeriod must not be negative.")
	}
	return nil
}

// validateEvaluation checks what all metric alarms have.
func (d *Definition) validateEvaluation() error {
	switch {
	case d.EvaluationPeriods < 1:
		return refuse("The parameter EvaluationPeriods must be greater than or equal to 1.")
	case d.DatapointsToAlarm < 0 || d.DatapointsToAlarm > d.EvaluationPeriods:
		return refuse("The parameter DatapointsToAlarm must be from 1 to EvaluationPeriods (%d).", d.EvaluationPeriods)
	case d.ComparisonOperator == "":
		return refuse("The parameter ComparisonOperator is required.")
	case d.ThresholdMetricID != "" ||
		slices.Contains([]string{
			"LessThanLowerOrGreaterThanUpperThreshold", "LessThanLowerThreshold",
			"GreaterThanUpperThreshold",
		}, d.ComparisonOperator):
		return fault.New(fault.Unsupported, "Alarms based on anomaly detection models are not supported.")
	case !slices.Contains([]string{GreaterOrEqual, Greater, Less, LessOrEqual}, d.ComparisonOperator):
		return refuse("The value %q is not supported for ComparisonOperator parameter.", clip(d.ComparisonOperator))
	case d.Threshold == nil:
		return refuse("The parameter Threshold is required.")
	case math.IsNaN(*d.Threshold) || math.IsInf(*d.Threshold, 0):
		return refuse("The parameter Threshold must be a finite number.")
	case !slices.Contains([]string{"", Missing, Ignore, Breaching, NotBreaching}, d.TreatMissingData):
		return refuse("The value %q is not supported for TreatMissingData parameter. Supported values are "+
			"[breaching, notBreaching, ignore, missing].", clip(d.TreatMissingData))
	case !slices.Contains([]string{"", EvaluateLowSamples, IgnoreLowSamples}, d.EvaluateLowSampleCountPercentile):
		return refuse("Option %s is not supported. Supported options for parameter "+
			"EvaluateLowSampleCountPercentile are evaluate and ignore.", clip(d.EvaluateLowSampleCountPercentile))
	}
	return nil
}

// validatePeriod checks a period, alone and times the evaluation periods.
// Periods of 1 and 5 s are Slipway's own.
func (d *Definition) validatePeriod(period int) error {
	if period < 1 || period%60 != 0 && !slices.Contains([]int{1, 5, 10, 20, 30}, period) {
		return refuse("Period must be 1, 5, 10, 20, 30 or a multiple of 60.")
	}
	most := day
	if period >= hour {
		most = week
	}
	if d.EvaluationPeriods > most/period {
		return refuse("Metrics cannot be checked across more than %d seconds: EvaluationPeriods times Period "+
			"is too long.", most)
	}
	return nil
}

// compileMetric checks and prepares an alarm on one metric.
func (j *Judge) compileMetric() error {
	d := &j.d
	if err := d.Metric.Validate(""); err != nil {
		return err
	}
	switch {
	case d.Statistic == "" && d.ExtendedStatistic == "":
		return refuse("Exactly one of the parameters Statistic and ExtendedStatistic must be given.")
	case d.Statistic != "" && d.ExtendedStatistic != "":
		return refuse("The parameters Statistic and ExtendedStatistic are mutually exclusive.")
	case d.Period == 0:
		return refuse("The parameter Period is required.")
	case d.Unit != "" && !d.Unit.Known():
		return refuse("The value %q for parameter Unit is invalid.", clip(string(d.Unit)))
	}
	stat, err := metric.ParseStat(d.Statistic + d.ExtendedStatistic)
	if err != nil {
		return err
	}
	if stat.Basic() != (d.Statistic != "") {
		return refuse("The value %q is not supported for this parameter: Statistic is one of SampleCount, Average, "+
			"Sum, Minimum and Maximum, ExtendedStatistic is not.", clip(stat.String()))
	}
	if err := d.validatePeriod(d.Period); err != nil {
		return err
	}
	j.period = seconds(d.Period)
	j.stats = []asked{{key: d.Metric.Key(), metric: d.Metric, unit: d.Unit, stat: stat}}
	j.decides = d.decides(stat, samplesOf(d.Metric))
	return nil
}

// compileMath checks and prepares an alarm on metric math.
func (j *Judge) compileMath() error {
	d := &j.d
	if !d.Metric.Zero() || d.Statistic != "" || d.ExtendedStatistic != "" || d.Period != 0 || d.Unit != "" {
		return refuse("The parameter Metrics excludes MetricName, Namespace, Dimensions, Period, Unit, Statistic and " +
			"ExtendedStatistic.")
	}
	byID := map[string]*Query{}
	returned := ""
	for i := range d.Metrics {
		q := &d.Metrics[i]
		if err := j.compileQuery(q); err != nil {
			return err
		}
		if byID[q.ID] != nil {
			return refuse("The Id %q is used more than once in Metrics.", clip(q.ID))
		}
		byID[q.ID] = q
		if q.ReturnData == nil || *q.ReturnData {
			if returned != "" {
				return refuse("Exactly one element of the metrics list should return data.")
			}
			returned = q.ID
		}
	}
	switch {
	case returned == "":
		return refuse("Exactly one element of the metrics list should return data.")
	case len(j.stats) == 0:
		return refuse("Metrics must contain at least one MetricStat.")
	case len(j.stats) > maxStats || len(d.Metrics)-len(j.stats) > maxExpressions:
		return refuse("Metrics must not contain more than %d MetricStat and %d Expression entries.", maxStats,
			maxExpressions)
	}
	return j.compileResult(returned)
}

func (j *Judge) compileQuery(q *Query) error {
	if !ValidID(q.ID) {
		return refuse("The Id %q in Metrics is invalid: it begins with a lower-case letter and has only letters, "+
			"digits and underscores.", clip(q.ID))
	}
	switch {
	case (q.Stat == nil) == (q.Expression == ""):
		return refuse("The query %q in Metrics needs exactly one of MetricStat and Expression.", clip(q.ID))
	case q.Stat == nil:
		e, err := formula.Parse(q.Expression)
		if err != nil {
			return fault.New(fault.Invalid, "Error in expression %q: %s", q.ID, sentence(err))
		}
		j.expressions = append(j.expressions, expression{id: q.ID, expr: e})
		return nil
	}
	if err := q.Stat.Metric.Validate(""); err != nil {
		return err
	}
	if q.Stat.Unit != "" && !q.Stat.Unit.Known() {
		return refuse("The value %q for parameter Unit is invalid.", clip(string(q.Stat.Unit)))
	}
	stat, err := metric.ParseStat(q.Stat.Stat)
	if err != nil {
		return err
	}
	if err := j.d.validatePeriod(q.Stat.Period); err != nil {
		return err
	}
	if p := seconds(q.Stat.Period); j.period != 0 && j.period != p {
		return refuse("All metrics of an alarm must have the same Period.")
	} else {
		j.period = p
	}
	j.stats = append(j.stats,
		asked{id: q.ID, key: q.Stat.Metric.Key(), metric: q.Stat.Metric, unit: q.Stat.Unit, stat: stat})
	return nil
}

// ValidID reports whether a query may be called so: [a-z][a-zA-Z0-9_]*.
func ValidID(id string) bool {
	return id != "" && len(id) <= maxName && id[0] >= 'a' && id[0] <= 'z' &&
		strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

func (j *Judge) compileComposite() error {
	r, err := rule.Parse(j.d.Rule)
	if err != nil {
		return err
	}
	j.rule = r
	return nil
}

func refuse(format string, args ...any) error { return fault.New(fault.Invalid, format, args...) }

func sentence(err error) string {
	_, s := fault.Public(err)
	return s
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// clip keeps a refused value from filling the answer.
func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "..."
	}
	return s
}
