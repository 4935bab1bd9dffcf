package alarm

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The API's limits on what a state says about itself, in bytes.
const (
	maxReason     = 1023
	maxReasonData = 4000
)

// listed is how many datapoints a reason names; more are only counted.
const listed = 5

// reason explains a verdict in CloudWatch's words (spec §7.4).
func (j *Judge) reason(v StateValue, points []Datapoint) string {
	n := j.d.EvaluationPeriods
	if v == StateInsufficientData {
		return "Insufficient Data: " + counted(n, "datapoint", "was unknown.", "were unknown.")
	}
	real := newestFirst(points, func(Datapoint) bool { return true })
	missing := j.missingWords(n - len(real))
	if len(real) == 0 {
		return clipTo("Threshold Crossed: no datapoints were received for "+counted(n, "period", "", "")+missing+".",
			maxReason)
	}
	// An alarm is explained by the values that breach, OK by those that do not;
	// unless only missing ones speak for it.
	breach := v == StateAlarm
	shown := newestFirst(points, func(p Datapoint) bool { return p.Breaching == breach })
	if len(shown) == 0 {
		breach = !breach
		shown = real
	}
	was, were := "was ", "were "
	if !breach {
		was, were = "was not ", "were not "
	}
	verb := were
	if len(shown) == 1 {
		verb = was
	}
	var b strings.Builder
	b.WriteString("Threshold Crossed: ")
	if j.d.DatapointsToAlarm > 0 {
		fmt.Fprintf(&b, "%d out of the last %d datapoints", len(shown), n)
	} else {
		b.WriteString(counted(len(shown), "datapoint", "", ""))
	}
	if len(shown) < listed {
		b.WriteString(" " + list(shown))
	}
	b.WriteString(" " + verb + j.comparison() + " the threshold (" + number(*j.d.Threshold) + ")" + missing)
	if len(shown) >= listed {
		b.WriteString(". The most recent datapoints which crossed the threshold: " + list(shown[:listed]))
	}
	if j.d.DatapointsToAlarm > 0 {
		b.WriteString(" (minimum " + j.minimum(v) + " transition)")
	}
	b.WriteString(".")
	return clipTo(b.String(), maxReason)
}

// minimum says how many datapoints it takes to get into a state.
func (j *Judge) minimum(v StateValue) string {
	if v == StateAlarm {
		return counted(j.d.needed(), "datapoint", "for OK -> ALARM", "for OK -> ALARM")
	}
	return counted(j.d.EvaluationPeriods-j.d.needed()+1, "datapoint", "for ALARM -> OK", "for ALARM -> OK")
}

// missingWords says what missing datapoints were taken for, if for anything.
func (j *Judge) missingWords(n int) string {
	as := map[string]string{Breaching: "[Breaching]", NotBreaching: "[NonBreaching]"}[j.d.TreatMissingData]
	if n == 0 || as == "" {
		return ""
	}
	return " and " + counted(n, "missing datapoint", "was treated as "+as, "were treated as "+as)
}

func (j *Judge) comparison() string {
	switch j.d.ComparisonOperator {
	case GreaterOrEqual:
		return "greater than or equal to"
	case Greater:
		return "greater than"
	case Less:
		return "less than"
	}
	return "less than or equal to"
}

// counted says how many there are of something, and what they do.
func counted(n int, noun, one, several string) string {
	s, verb := strconv.Itoa(n)+" "+noun, one
	if n != 1 {
		s, verb = s+"s", several
	}
	if verb == "" {
		return s
	}
	return s + " " + verb
}

// list names datapoints as in [1.0 (21/11/26 19:53:00)].
func list(ps []Datapoint) string {
	var b strings.Builder
	for i, p := range ps {
		b.WriteString([]string{"[", ", "}[min(i, 1)])
		b.WriteString(number(p.Value) + " (" + p.Start.UTC().Format("02/01/06 15:04:05") + ")")
	}
	return b.String() + "]"
}

// number writes a value as CloudWatch does, which is as Java does.
func number(v float64) string {
	if a := math.Abs(v); a != 0 && (a < 1e-3 || a >= 1e7) {
		digits, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'E', -1, 64), "E")
		if !strings.Contains(digits, ".") {
			digits += ".0"
		}
		e, _ := strconv.Atoi(exponent) // FormatFloat wrote it
		return digits + "E" + strconv.Itoa(e)
	}
	s := strconv.FormatFloat(v, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// shownPoints is how many datapoints fit into the reason's data.
const shownPoints = 20

// reasonData is what the reason says, as JSON for programs.
func (j *Judge) reasonData(points []Datapoint, now time.Time) string {
	real := newestFirst(points, func(Datapoint) bool { return true })
	var b strings.Builder
	b.WriteString(`{"version":"1.0","queryDate":"` + stamp(now) + `"`)
	if len(real) > 0 {
		b.WriteString(`,"startDate":"` + stamp(real[len(real)-1].Start) + `"`)
	}
	if j.returned == "" {
		if j.d.Unit != "" {
			b.WriteString(`,"unit":"` + string(j.d.Unit) + `"`)
		}
		b.WriteString(`,"statistic":` + quoted(j.stats[0].stat.String()))
	}
	fmt.Fprintf(&b, `,"period":%d,"recentDatapoints":[`, int(j.period/time.Second))
	recent := real[:min(len(real), shownPoints)]
	for i := len(recent) - 1; i >= 0; i-- {
		b.WriteString(number(recent[i].Value))
		if i > 0 {
			b.WriteString(",")
		}
	}
	b.WriteString(`],"threshold":` + number(*j.d.Threshold) + `,"evaluatedDatapoints":[`)
	// The newest N periods, and beyond them whatever else counted.
	for i, written := len(points)-1, 0; i >= 0 && written < shownPoints; i-- {
		p := points[i]
		if !p.Counted && len(points)-i > j.d.EvaluationPeriods {
			continue
		}
		if written > 0 {
			b.WriteString(",")
		}
		written++
		b.WriteString(`{"timestamp":"` + stamp(p.Start) + `"`)
		if p.Samples > 0 {
			b.WriteString(`,"sampleCount":` + number(p.Samples))
		}
		if p.Known {
			b.WriteString(`,"value":` + number(p.Value))
		}
		b.WriteString("}")
	}
	b.WriteString("]}")
	return b.String()
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000+0000") }

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""` // not reached: every string can be quoted
	}
	return string(b)
}

func clipTo(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
