package alarm

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
)

// SuspicionKind says what is wrong with guarding a deployment by an alarm.
type SuspicionKind string

// The kinds of suspicion. None of them is an error.
const (
	AlreadyInAlarm  SuspicionKind = "AlreadyInAlarm"  // the deployment would be rolled back at once
	CannotSee       SuspicionKind = "CannotSee"       // no sample of the new instances reaches it
	BakeTooShort    SuspicionKind = "BakeTooShort"    // the bake can end before the alarm has seen its periods
	NeverFires      SuspicionKind = "NeverFires"      // no sample can breach
	AlwaysFires     SuspicionKind = "AlwaysFires"     // every sample breaches
	OnlyIfAllFail   SuspicionKind = "OnlyIfAllFail"   // only a period in which every request fails breaches
	NoData          SuspicionKind = "NoData"          // its metric has had no sample lately
	WrongUnit       SuspicionKind = "WrongUnit"       // its metric has samples, but in other units
	SeveralUnits    SuspicionKind = "SeveralUnits"    // it names no unit, and its metric has samples in several
	LongerThanKept  SuspicionKind = "LongerThanKept"  // it looks back further than samples are kept so finely
	SilentOnMissing SuspicionKind = "SilentOnMissing" // it takes missing data for good
	MisreadEvidence SuspicionKind = "MisreadEvidence" // its odds are not what they are in the highest value
)

// Suspicion is one finding about one alarm, for people who are about to deploy.
type Suspicion struct {
	Kind  SuspicionKind
	Alarm string
	Text  string // a sentence
}

// Look is what a judgement about an alarm takes besides its definition.
type Look struct {
	Guarded Guarded
	State   State
	Now     time.Time
	Read    Reader
	Units   func(metric.Key) []metric.Unit // in which a metric has samples at all
}

// recently is how far back a metric must have had a sample not to be suspicious.
const recently = 15 * time.Minute

// Suspicions returns what makes the alarm a doubtful guard. A composite alarm's
// children are to be looked at one by one.
func (j *Judge) Suspicions(l Look) []Suspicion {
	var found []Suspicion
	add := func(k SuspicionKind, format string, args ...any) {
		found = append(found, Suspicion{k, j.d.Name, fmt.Sprintf("Alarm %q ", j.d.Name) + fmt.Sprintf(format, args...)})
	}
	if l.State.Value == StateAlarm {
		add(AlreadyInAlarm, "is in ALARM already: %s", l.State.Reason)
	}
	if j.rule != nil {
		if !j.satisfiable() {
			add(NeverFires, "can never fire: its rule is false whatever state its alarms are in.")
		}
		return found
	}
	if why := j.blind(l.Guarded); why != "" {
		add(CannotSee, "%s", why)
	}
	if bake, need := l.Guarded.Bake, time.Duration(j.d.EvaluationPeriods)*j.period; bake > 0 && bake < need {
		add(BakeTooShort, "looks at %s of %s, but the bake of step %d lasts %s: it can end before the alarm has "+
			"seen enough.",
			counted(j.d.EvaluationPeriods, "period", "", ""), j.period, l.Guarded.Step, bake)
	}
	j.suspectThreshold(add)
	j.suspectEvidence(add)
	if kept := metric.Retention(j.period); time.Duration(j.rangeCount())*j.period > kept {
		add(LongerThanKept, "looks back on %s, but samples are kept by periods of %s for %s only.",
			time.Duration(j.rangeCount())*j.period, j.period, kept)
	}
	j.suspectData(l, add)
	return found
}

type finding func(k SuspicionKind, format string, args ...any)

// suspectThreshold compares the threshold with what the statistic can be.
func (j *Judge) suspectThreshold(add finding) {
	if j.returned != "" || j.d.TreatMissingData == Breaching {
		return // of expressions too little is known, and missing data can fire by itself
	}
	a := j.stats[0]
	samples := samplesOf(a.metric)
	can := samples.of(a.stat)
	low, high := j.d.breaches(can.lo), j.d.breaches(can.hi)
	what := fmt.Sprintf("%s of %s", a.stat, a.metric.Name)
	switch {
	case !low && !high:
		add(NeverFires, "can never fire: the %s is %s, never %s %s.", what, can, j.comparison(), number(*j.d.Threshold))
	case low && high:
		add(AlwaysFires, "fires on any data: the %s is %s, always %s %s.", what, can, j.comparison(),
			number(*j.d.Threshold))
	case a.stat == metric.Average && samples == zeroOrOne && j.d.upward() && *j.d.Threshold == 1 &&
		strings.HasSuffix(a.metric.Name, "Errors"):
		add(OnlyIfAllFail,
			"fires only when every request of a period fails: the %s is the share of requests that fail.", what)
	}
}

func (s span) String() string {
	switch {
	case s.lo == s.hi:
		return "always " + number(s.lo)
	case math.IsInf(s.hi, 1):
		return "at least " + number(s.lo)
	}
	return "between " + number(s.lo) + " and " + number(s.hi)
}

// suspectEvidence warns of reading evidence otherwise than by its highest value:
// how often an alarm is wrong is stated for that alone.
func (j *Judge) suspectEvidence(add finding) {
	about := slices.IndexFunc(j.stats, func(a asked) bool { return a.metric.Namespace == Evidence })
	if about < 0 {
		return
	}
	proof := strings.HasSuffix(j.stats[about].metric.Name, "Proof")
	switch a := j.stats[about]; {
	case j.returned != "":
		add(MisreadEvidence, "computes with %s: how often it is wrong is stated for the metric itself.", a.metric.Name)
	case !j.d.upward():
		add(MisreadEvidence, "fires when %s is low: that it is says nothing, only high values do.", a.metric.Name)
	case proof:
		add(MisreadEvidence, "rolls back when %s is high: that is when the new instances are proven to be no worse.",
			a.metric.Name)
	case a.stat != metric.Maximum:
		add(MisreadEvidence, "takes the %s of %s: its Maximum is what its odds are stated for, and what decides at "+
			"once.", a.stat, a.metric.Name)
	}
	if j.d.TreatMissingData == Breaching {
		add(MisreadEvidence, "takes missing data for bad: between deployments, and when nothing can be compared, "+
			"there is no evidence, and it fires.")
	}
}

// suspectData asks for the samples that the alarm depends on.
func (j *Judge) suspectData(l Look, add finding) {
	if l.Read == nil || j.OfEvidence() { // of which there is none between deployments
		return
	}
	back := max(recently, time.Duration(j.rangeCount())*j.period)
	end := l.Now.Truncate(time.Second).Add(time.Second)
	w := metric.Window{Start: end.Add(-back), Period: back.Truncate(time.Second), Count: 1}
	silent := false
	for i, a := range j.stats {
		if slices.ContainsFunc(j.stats[:i], func(b asked) bool { return b.key == a.key && b.unit == a.unit }) {
			continue
		}
		ps := l.Read(Question{Key: a.key, Metric: a.metric, Unit: a.unit, Stat: metric.SampleCount, Window: w})
		if len(ps) > 0 && ps[0].Known() {
			if l.Units != nil && a.unit == "" {
				if units := slices.Sorted(slices.Values(l.Units(a.key))); len(units) > 1 {
					add(SeveralUnits, "names no unit, and the samples of %s are in several: %v. Each is looked at alone.",
						a.metric.Name, units)
				}
			}
			continue
		}
		silent = true
		if l.Units != nil && a.unit != "" {
			if units := l.Units(a.key); len(units) > 0 && !slices.Contains(units, a.unit) {
				add(WrongUnit, "asks for %s in %s, but its samples are in %s.", a.metric.Name, a.unit, units[0])
				continue
			}
		}
		add(NoData, "has no data: %s had no sample in the last %s.", a.metric.Name, back)
	}
	if silent && j.d.TreatMissingData == NotBreaching {
		add(SilentOnMissing, "takes missing data for good: without samples it stays OK.")
	}
}

// satisfiable reports whether some states of its children make a composite
// alarm's rule true. Of long rules it assumes so.
func (j *Judge) satisfiable() bool {
	const most = 7 // children: 3^7 combinations
	children := j.rule.Children()
	if len(children) > most {
		return true
	}
	states := []StateValue{StateOK, StateAlarm, StateInsufficientData}
	total := 1
	for range children {
		total *= len(states)
	}
	for combination := range total {
		if j.rule.Holds(func(alarm string) string {
			c := combination
			for range slices.Index(children, alarm) {
				c /= len(states)
			}
			return string(states[c%len(states)])
		}) {
			return true
		}
	}
	return false
}
