package gate

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
)

// Names are what the two fleets are called in sentences: their configurations.
type Names struct{ New, Old string }

// Test returns what g compares, for package evidence, and whether the words say
// all of it: what drift compares follows from the old fleet's past.
func (g Gate) Test() (t evidence.Gate, ok bool) {
	switch k := evidence.Kind(g.Kind); g.Kind {
	case Errors, ServerErrors, ClientErrors, Retries, Abandoned:
		t = evidence.Rate(k, evidence.Margins{Ratio: g.Ratio, Plus: g.Plus, Proven: g.Proven})
	case InstanceLoss:
		t = evidence.Losses()
		for i := range t.Sides {
			t.Sides[i].Ratio, t.Sides[i].Plus = g.Ratio, g.Plus
		}
	case Latency, FirstChunk:
		t = evidence.Latencies(k)
	case Disagreement:
		t = evidence.Pairs(g.Tolerance)
	case MirrorFailure:
		t = evidence.MirrorFailures(g.Tolerance)
	case Accuracy:
		return evidence.Labels(g.Tolerance), true // hiccups of an instance do not make labels wrong
	case Drift, Any:
		return t, false
	}
	t.Cap = evidence.Patience(g.Patience, g.Alpha)
	return t, true
}

// Against says what f has against the new fleet: the rates, what was allowed, the
// odds and the sample. It never speaks of a probability that the fleet is bad.
func (g Gate) Against(f Fact, n Names) string {
	odds := "Evidence " + evidence.Odds(f.Log10)
	fresh, old := f.Seen.New, f.Seen.Old
	switch g.Kind {
	case Errors, ServerErrors, ClientErrors, Retries, Abandoned, InstanceLoss:
		return fmt.Sprintf("%s (%s), %s %s at the same time; %s was allowed (%s times %s's plus %s points). %s.",
			fmt.Sprintf(does[g.Kind], n.New, percent(fresh.Rate())), fresh, n.Old, percent(old.Rate()),
			percent(g.Ratio*old.Rate()+g.Plus), number(g.Ratio), n.Old, points(g.Plus), odds)
	case Latency, FirstChunk:
		what, take := "requests take", "take"
		if g.Kind == FirstChunk {
			what, take = "streams wait for their beginning", "wait"
		}
		text := fmt.Sprintf("%s of %s's %s longer than %s; %s of %s's %s longer than %s (%s slower was allowed). "+
			"%s after %s.", tail(f.Seen.Side), n.Old, what, millis(f.Seen.Cut), percent(fresh.Rate()), n.New,
			take, millis(time.Duration(g.Factor*float64(f.Seen.Cut))), percent(g.Factor-1), odds,
			requests(fresh.Requests))
		if f.Seen.Load > 0 {
			text += fmt.Sprintf(" An instance of %s gets %s times as many requests as one of %s.", n.New,
				strconv.FormatFloat(round2(f.Seen.Load), 'f', -1, 64), n.Old)
		}
		return text
	case Drift:
		return fmt.Sprintf("%s of %s's answers are %s (%s), %s of %s's at the same time; a difference of %s "+
			"points was allowed. %s.", percent(fresh.Rate()), n.New, orElse(f.Seen.Side, "other than before"), fresh,
			percent(old.Rate()), n.Old, points(g.Tolerance), odds)
	case Disagreement:
		return fmt.Sprintf("%s answers %s of requests differently than %s%s; %s was allowed; evidence %s after %s.",
			n.New, percent(fresh.Rate()), n.Old, between(fresh), percent(g.Tolerance),
			evidence.Odds(f.Log10), requests(fresh.Requests))
	case MirrorFailure:
		return fmt.Sprintf("%s fails %s of the copies of what %s answers; %s was allowed; evidence %s after %s copies.",
			n.New, percent(fresh.Rate()), n.Old, percent(g.Tolerance), evidence.Odds(f.Log10),
			thousands(fresh.Requests))
	case Accuracy:
		return fmt.Sprintf("Of %s labelled requests, %s alone was right on %s and %s alone on %s; a loss of %s points "+
			"was allowed. %s.", thousands(fresh.Requests), n.Old, percent(old.Rate()), n.New, percent(fresh.Rate()),
			points(g.Tolerance), odds)
	case Any:
	}
	if f.Seen.Side != "" {
		return fmt.Sprintf("All gates together speak against %s, %q the loudest. %s.", n.New, f.Seen.Side, odds)
	}
	return fmt.Sprintf("All gates together speak against %s. %s.", n.New, odds)
}

// does is what a fleet does with a share of its requests.
var does = map[Kind]string{
	Errors: "%s fails %s of requests", ServerErrors: "%s answers %s of requests with 500 or above",
	ClientErrors: "%s answers %s of requests with 400 to 499", Retries: "%s needs a second instance for %s of requests",
	Abandoned: "%s is given up by its callers in %s of requests", InstanceLoss: "%s loses an instance in %s of seconds",
}

// margin is what a proof of g shows.
func (g Gate) margin() string {
	switch g.Kind {
	case Errors:
		return fmt.Sprintf("fails at most %s points more", points(g.Proven))
	case ServerErrors, ClientErrors, Retries, Abandoned, InstanceLoss:
		return fmt.Sprintf("does so in at most %s points more of its requests", points(g.Proven))
	case Latency, FirstChunk:
		return fmt.Sprintf("is at most %s slower", percent(g.Factor-1))
	case Drift:
		return fmt.Sprintf("answers each with at most %s points another frequency", points(g.Tolerance))
	case Disagreement:
		return fmt.Sprintf("answers at most %s of requests differently", percent(g.Tolerance))
	case MirrorFailure:
		return fmt.Sprintf("fails at most %s of copies", percent(g.Tolerance))
	case Accuracy:
		return fmt.Sprintf("loses at most %s points of accuracy", points(g.Tolerance))
	case Any:
	}
	return "is no worse than allowed"
}

// Lacking says what f lacks to be proof of anything.
func (g Gate) Lacking(f Fact, n Names) string {
	compared := fmt.Sprintf("%s of %s's requests were compared", thousands(f.Seen.New.Requests), n.New)
	if g.Kind.Paired() {
		compared = fmt.Sprintf("%s pairs of answers were compared", thousands(f.Seen.New.Requests))
	}
	if f.Held != "" {
		compared += ", and none can be now: " + f.Held
	}
	if missing := f.Uncompared; missing > MostUnseen {
		why := ", for want of room"
		if f.Seen.Unread != (Unread{}) {
			why = ""
		}
		return fmt.Sprintf("Not proven: %s, but %s of the copies in this step were not%s: with more than %s missing, "+
			"those that were say nothing of the rest.", compared, percent(missing), why, percent(MostUnseen))
	}
	if needed := g.needed(f); needed > 0 {
		return fmt.Sprintf("Not proven: %s; about %s are needed to show that it %s.", compared, thousands(needed),
			g.margin())
	}
	return fmt.Sprintf("Not proven: %s, too few to show that it %s.", compared, g.margin())
}

// needed is after about how many of the new fleet's requests, or pairs, a fleet
// would be proven that is no worse than what was seen of the old one; 0 is not
// known.
func (g Gate) needed(f Fact) int64 {
	if f.Seen.Needed > 0 {
		return f.Seen.Needed
	}
	t, ok := g.Test()
	if !ok || g.Kind.Times() || g.Kind == Accuracy {
		return 0
	}
	rate, share := f.Seen.Old.Rate(), f.share()
	need := t.NeededToProve(evidence.Rates(rate, rate), share, g.Alpha)
	if g.Kind == Disagreement { // distances, in cells from 0 to 1
		o := make([]float64, t.Cells)
		o[0] = 1
		need = t.NeededToProve(evidence.Outcomes{New: o, Old: o}, 1, g.Alpha)
	}
	return rounded(need)
}

// rounded drops what an estimate does not know; 0 if there is none.
func rounded(n float64) int64 {
	if !(n > 0) || n > 1e15 {
		return 0
	}
	unit := math.Pow(10, max(0, math.Floor(math.Log10(n))-1))
	return int64(math.Ceil(n/unit) * unit)
}

// share is the new fleet's part of what was compared.
func (f Fact) share() float64 {
	n, old := float64(f.Seen.New.Requests), float64(f.Seen.Old.Requests)
	if n+old == 0 {
		return 0.5
	}
	return n / (n + old)
}

// ProofOf says what a proof of g in some step says, and of which sample.
func (g Gate) ProofOf(p Proven, n Names) string {
	return fmt.Sprintf("Proven in step %d, for some time of it: %s %s than %s (evidence %s after %s requests).",
		p.Step+1, n.New, g.margin(), n.Old, evidence.Odds(p.Proof), thousands(p.Requests))
}

// Unseen says what could not have been seen with the traffic that there was; ""
// if that is not known.
func (g Gate) Unseen(f Fact, n Names) string {
	var out []string
	if f.Seen.New.Requests == 0 {
		out = append(out, "Nothing was compared, so nothing could be seen.")
		return strings.Join(append(out, f.unlooked()...), " ")
	}
	if t, ok := g.Test(); ok && g.Kind.Rate() && g.Kind != InstanceLoss {
		old := f.Seen.Old.Rate()
		least := t.Smallest(old, f.share(), float64(f.Seen.New.Requests), g.Alpha)
		switch {
		case least >= 1:
			out = append(out, fmt.Sprintf("%s of %s's requests are too few to see anything, even if all had failed.",
				thousands(f.Seen.New.Requests), n.New))
		case old > 0 && least > 2*old:
			out = append(out, fmt.Sprintf("Less than %s, %s times %s's, could not have been seen in %s of %s's "+
				"requests.", percent(least), strconv.FormatFloat(round2(least/old), 'f', -1, 64), n.Old,
				thousands(f.Seen.New.Requests), n.New))
		default:
			out = append(out, fmt.Sprintf("Less than %s could not have been seen in %s of %s's requests.",
				percent(least), thousands(f.Seen.New.Requests), n.New))
		}
	}
	if g.Kind == Disagreement {
		_, most := evidence.Range(f.Seen.New.Events, float64(f.Seen.New.Requests))
		out = append(out, fmt.Sprintf("Up to %s of answers may differ (95 %%).", percent(most)))
	}
	if f.Seen.Unseen > 0 {
		what := "copies were not sent"
		if g.Kind == Drift {
			what = "answers were not read"
		}
		out = append(out, fmt.Sprintf("%s of the %s for want of room.", percent(f.Seen.Unseen), what))
	}
	return strings.Join(append(out, f.unlooked()...), " ")
}

// unlooked says what of the traffic was not looked at.
func (f Fact) unlooked() (said []string) {
	if f.Seen.Missed > 0 {
		said = append(said, fmt.Sprintf("%s requests were not counted: the deployment had too many steps.",
			thousands(f.Seen.Missed)))
	}
	if f.Seen.Unwatched > 0 && f.Kind == Drift {
		return append(said, fmt.Sprintf("It began anew at %s: the server was started, and what answers are compared "+
			"with is not saved. What it had seen before is not in this.", f.Since.Format(time.TimeOnly)))
	}
	if f.Seen.Unwatched > 0 {
		said = append(said, fmt.Sprintf("For %s s nobody counted: the server was started meanwhile.",
			thousands(int64(math.Ceil(f.Seen.Unwatched.Seconds())))))
	}
	return said
}

// between is the range of rates that pairs do not exclude.
func between(t Tally) string {
	if t.Requests == 0 {
		return ""
	}
	least, most := evidence.Range(t.Events, float64(t.Requests))
	return fmt.Sprintf(" (%s to %s, 95 %%)", percent(least), percent(most))
}

// Now says how f stands: what it holds for, or what it has seen.
func (g Gate) Now(f Fact, n Names) string {
	switch {
	case f.Held != "":
		text := strings.ToUpper(f.Held[:1]) + f.Held[1:] + ": nothing to compare with"
		if !f.HeldSince.IsZero() {
			text += " since " + f.HeldSince.Format(time.TimeOnly)
		}
		return text + "."
	case f.Seen.New.Requests == 0 && f.Seen.Old.Requests == 0 && g.Kind != Any:
		return "Nothing was compared yet."
	}
	return g.Against(f, n)
}

func (t Tally) String() string {
	return strconv.FormatFloat(math.Round(t.Events*10)/10, 'f', -1, 64) + " of " + thousands(t.Requests)
}

func tail(side string) string {
	switch side {
	case "p50":
		return "Half"
	case "p99":
		return "A hundredth"
	}
	return "A tenth"
}

// percent is a share of 0 to 1 for people, to two digits.
func percent(share float64) string {
	p := share * 100
	if p >= 10 {
		return strconv.FormatFloat(math.Round(p), 'f', -1, 64) + " %"
	}
	return strconv.FormatFloat(round2(p), 'f', -1, 64) + " %"
}

// points is a share of 0 to 1 as percentage points.
func points(share float64) string { return strconv.FormatFloat(round2(share*100), 'f', -1, 64) }

// round2 rounds to two digits.
func round2(x float64) float64 {
	r, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 2, 64), 64)
	return r
}

func millis(d time.Duration) string {
	if d >= time.Second {
		return strconv.FormatFloat(round2(d.Seconds()), 'f', -1, 64) + " s"
	}
	return strconv.FormatFloat(round2(float64(d)/float64(time.Millisecond)), 'f', -1, 64) + " ms"
}

func requests(n int64) string {
	if n == 1 {
		return "1 request"
	}
	return thousands(n) + " requests"
}

func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
