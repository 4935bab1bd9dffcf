package alarm

import (
	"slices"
	"time"
)

// Datapoint is one period of an evaluation range.
type Datapoint struct {
	Start     time.Time
	Value     float64
	Samples   float64 // 0 for metric math, which does not know
	Known     bool    // false: missing
	Breaching bool    // of a known value
	Counted   bool    // it was among the newest N known ones, which decide
	Low       bool    // too few samples for its percentile, and the alarm ignores such
}

// Outcome is the result of an evaluation.
type Outcome struct {
	State      State       // what to store
	Changed    bool        // State differs from the one before
	Transition bool        // its value does
	Early      bool        // an open period decided
	Points     []Datapoint // the evaluation range, oldest first; nil for composite alarms
	Next       time.Time   // when to evaluate again at the latest; zero for composite alarms
}

// cadence returns the time between scheduled evaluations (spec §7.4).
func cadence(period time.Duration) time.Duration {
	switch {
	case period >= time.Minute:
		return time.Minute
	case period >= 10*time.Second:
		return 10 * time.Second
	}
	return time.Second
}

// Schedule returns the last scheduled evaluation that is not after now, and the
// next. Call Evaluate a little after it: samples of the second that has just
// ended may still be on their way.
func (j *Judge) Schedule(now time.Time) (last, next time.Time) {
	c := cadence(j.period)
	last = time.Unix(now.Unix(), 0).UTC()
	last = last.Add(-time.Duration(last.Unix()%int64(c/time.Second)) * time.Second)
	return last, last.Add(c)
}

// Evaluate judges a metric alarm that is in state s. It may be called at any
// time: at the scheduled times, and between them to look ahead.
func (j *Judge) Evaluate(read Reader, s State, now time.Time) Outcome {
	last, next := j.Schedule(now)
	// What a person said stands until the next scheduled evaluation, so that
	// whoever reacts to alarms has a chance to see it.
	if s.ByHand && !last.After(s.Updated) {
		return Outcome{State: s, Next: next}
	}
	if j.decides {
		points := j.points(read, next)
		if youngest := points[len(points)-1]; youngest.Known && j.d.breaches(youngest.Value) {
			if v := j.value(points); v == StateAlarm {
				return j.conclude(s, v, points, now, Outcome{Early: true, Next: next})
			}
		}
	}
	points := j.points(read, last)
	return j.conclude(s, j.value(points), points, now, Outcome{Next: next})
}

// value applies the rules of spec §7.4 to an evaluation range; "" means that
// the alarm keeps its state. It marks which points count, and how.
func (j *Judge) value(points []Datapoint) StateValue {
	n, m := j.d.EvaluationPeriods, j.d.needed()
	counted, bad, low, oldest := 0, 0, 0, -1
	for i := len(points) - 1; i >= 0 && counted < n; i-- {
		p := &points[i]
		if !p.Known {
			continue
		}
		p.Counted, p.Breaching, p.Low = true, j.d.breaches(p.Value), j.tooFew(*p)
		counted++
		oldest = i
		switch {
		case p.Low:
			low++
		case p.Breaching:
			bad++
		}
	}
	missing := n - counted
	if low > 0 {
		return j.valueAround(low, bad, counted-low-bad, missing)
	}
	switch treat := j.d.TreatMissingData; {
	case counted == n:
		return alarmIf(bad >= m)
	case treat == Breaching:
		return alarmIf(bad+missing >= m)
	case treat == NotBreaching:
		return alarmIf(bad >= m)
	case counted == 0 && treat == Ignore && !j.OfEvidence():
		return ""
	case counted == 0:
		return StateInsufficientData
	case bad >= m:
		return StateAlarm
	case bad < counted:
		return StateOK
	case treat == Ignore:
		return ""
	case len(points)-oldest >= m: // there was time for M points, and every one that came was bad
		return StateAlarm
	}
	return ""
}

func alarmIf(bad bool) StateValue {
	if bad {
		return StateAlarm
	}
	return StateOK
}

// valueAround decides when some points have too few samples and are to be
// ignored: the state changes only if they could not have kept it from doing so.
func (j *Judge) valueAround(low, bad, fine, missing int) StateValue {
	switch j.d.TreatMissingData {
	case Breaching:
		bad += missing
	case NotBreaching:
		fine += missing
	}
	switch m := j.d.needed(); {
	case bad >= m:
		return StateAlarm
	case fine > j.d.EvaluationPeriods-m:
		return StateOK
	}
	return ""
}

// tooFew reports whether a point's percentile says little because it is of few
// samples, and the alarm wants such points ignored (spec §7.4).
func (j *Judge) tooFew(p Datapoint) bool {
	if j.d.EvaluateLowSampleCountPercentile != IgnoreLowSamples || j.returned != "" {
		return false
	}
	q, ok := j.stats[0].stat.Percentile()
	switch {
	case !ok || q <= 0 || q >= 1:
		return false
	case q >= 0.5:
		return p.Samples*(1-q) < 10-1e-9 // 0.99 is not exact: a thousand samples are enough for p99
	}
	return p.Samples*q < 10-1e-9
}

// conclude makes an outcome of a verdict. The state is rewritten when its value
// changes, and when what it says is not from an evaluation.
func (j *Judge) conclude(s State, v StateValue, points []Datapoint, now time.Time, o Outcome) Outcome {
	o.Points, o.State = points, s
	if v == "" || v == s.Value && !s.ByHand && s.Reason != unchecked {
		return o
	}
	o.Changed, o.Transition = true, v != s.Value
	o.State = State{
		Value:        v,
		Reason:       j.reason(v, points),
		ReasonData:   j.reasonData(points, now),
		Updated:      now,
		Transitioned: s.Transitioned,
	}
	if o.Transition {
		o.State.Transitioned = now
	}
	return o
}

// newestFirst returns the points that count and pass a test, newest first.
func newestFirst(points []Datapoint, want func(Datapoint) bool) []Datapoint {
	var ps []Datapoint
	for _, p := range slices.Backward(points) {
		if p.Counted && want(p) {
			ps = append(ps, p)
		}
	}
	return ps
}
