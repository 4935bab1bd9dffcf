package record

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// blindness collects what gates cannot see in a plan.
type blindness struct {
	plan  rollout.Plan
	names gate.Names
	found []Finding
}

func (b *blindness) warn(code, format string, args ...any) {
	b.found = append(b.found, Finding{Warning, code, fmt.Sprintf(format, args...)})
}

// exposure is what a plan lets the fleets of variant i be compared in.
type exposure struct {
	split   time.Duration // the bakes in which both fleets answer requests
	share   float64       // of the new fleet in them, on average
	mirror  time.Duration // the bakes in which copies can be compared
	bake    time.Duration // the shortest of those with a split
	promise bool          // there is a step with a split, baked or not
}

func (b *blindness) exposed(i int) (x exposure) {
	var weighed float64
	for n, m := range rollout.Timeline(b.plan, time.Unix(0, 0)) {
		if m.State.Phase != rollout.Baking || n == 0 {
			continue
		}
		wait, _ := b.plan.Wait(m.State.Step)
		share := m.State.Variants[i].NewShare
		if share < 1 {
			x.mirror += wait
		}
		if share <= 0 || share >= 1 {
			continue
		}
		x.promise = true
		x.split += wait
		weighed += share * wait.Seconds()
		if x.bake == 0 || wait < x.bake {
			x.bake = wait
		}
	}
	if x.split > 0 {
		x.share = weighed / x.split.Seconds()
	}
	return x
}

// instances warns of a fleet whose instances and model cannot be told apart.
func (b *blindness) instances(v rollout.Variant) {
	first := 0
	for _, m := range rollout.Timeline(b.plan, time.Unix(0, 0)) {
		for i, p := range b.plan.Variants {
			if c := m.State.Variants[i]; p.Name == v.Name && c.NewShare > 0 && c.NewShare < 1 && first == 0 {
				first = c.NewActive
			}
		}
	}
	for _, g := range b.plan.Policy.Gates {
		if first == 1 && g.Judges() && !g.Kind.Paired() && g.Patience > 0 {
			b.warn("OneInstance", "Gate %q: step 1 has one new instance of production variant %q: the earliest verdict is "+
				"after %s, and a bad instance and a bad model cannot be told apart.", g.Kind, v.Name, g.Patience)
		}
		if g.Judges() && g.Kind.Times() && g.Factor < steady(first, v.Old) {
			b.warn("InstancesDiffer", "Gate %q: with %d new and %d old instance(s) of production variant %q, instances "+
				"that differ by 5 %% of themselves look %s slower now and then: factor=%s is little.", g.Kind, first, v.Old,
				v.Name, shown(steady(first, v.Old)-1), strconv.FormatFloat(g.Factor, 'g', -1, 64))
		}
	}
}

// steady is the factor below which lasting differences between instances are
// taken for those of models: two standard deviations, of 5 % each.
func steady(fresh, old int) float64 {
	if fresh == 0 || old == 0 {
		return 0
	}
	return 1 + 2*0.05*math.Sqrt(1/float64(fresh)+1/float64(old))
}

// look warns of what gate g cannot see of variant i at that many requests a
// second, of which that part fails now.
func (b *blindness) look(g gate.Gate, i int, rate, failing float64) {
	x := b.exposed(i)
	t, known := g.Test()
	name := b.plan.Variants[i].Name
	switch {
	case g.Kind.Paired() && g.Mirror != nil:
		pairs := rate * g.Mirror.Share * x.mirror.Seconds()
		b.pairs(g, t, name, pairs)
		if g.Action == gate.Hold && rate > 0 && x.mirror > 0 {
			alike := make([]float64, t.Cells)
			alike[0] = 1
			need := t.NeededToProve(evidence.Outcomes{New: alike, Old: alike}, 1, g.Alpha)
			b.holds(g, need, pairs, exposure{split: x.mirror, bake: x.mirror})
		}
		return
	case g.Kind.Paired() || !known && g.Kind != gate.Drift:
		return
	case !x.promise:
		if g.Judges() {
			b.warn("GateBlind", "Gate %q compares nothing of production variant %q: no step has both fleets answer "+
				"requests.", g.Kind, name)
		}
		return
	case rate == 0:
		return // that there is no traffic is said anyway
	}
	gets := rate * x.share * x.split.Seconds()
	if g.Kind.Rate() && g.Kind != gate.InstanceLoss && (g.Judges() || g.Kind == gate.Errors) {
		b.rates(g, t, x, gets, failing)
	}
	if g.Action == gate.Hold && g.Kind.Rate() {
		b.holds(g, t.NeededToProve(evidence.Rates(failing, failing), x.share, g.Alpha), gets, x)
	}
	if g.Kind.Times() && g.Judges() && x.bake > 0 {
		b.times(g, t, x, rate)
	}
	if g.Kind == gate.Drift && g.Judges() {
		b.answers(g, x, gets)
	}
	if g.Kind == gate.InstanceLoss && g.Judges() {
		b.losses(g, t, x, max(1, x.share*float64(b.plan.Variants[i].New)))
	}
}

// losses says after how long a fleet would be noticed of which so many instances, on
// average, are lost every 20 seconds each.
func (b *blindness) losses(g gate.Gate, t evidence.Gate, x exposure, instances float64) {
	need := t.Needed(evidence.Rates(0.05, 0), x.share, g.Alpha) / instances
	if need > x.split.Seconds() {
		b.warn("GateBlind", "Gate %q: that each new instance is lost every 20 s would be noticed after about %s s in which "+
			"both fleets answer requests; there will be %s s.", g.Kind, about(need), about(x.split.Seconds()))
	}
}

// answers says whether it would be noticed that a class of answers is never given.
func (b *blindness) answers(g gate.Gate, x exposure, gets float64) {
	const classes = 10
	p := evidence.LabelProfile(make([]uint64, classes), slices.Repeat([]float64{1}, classes), 0)
	t := evidence.Drifts(g.Tolerance, p)
	o := evidence.Outcomes{New: make([]float64, t.Cells), Old: make([]float64, t.Cells)}
	for i := range classes {
		o.New[i], o.Old[i] = 1.0/classes, 1.0/classes
	}
	o.New[0], o.New[1] = 0, 2.0/classes
	if need := t.Needed(o, x.share, g.Alpha); need > gets {
		b.warn("GateBlind", "Gate %q: that one of ten equally frequent labels is never answered would be noticed after "+
			"about %s of the new fleet's answers, once hundreds of the old fleet's are known; it will give %s.",
			g.Kind, about(need), about(gets))
	}
}

// times says after how many requests a slow fleet would be noticed, and which
// warm-up is too long for the bakes.
func (b *blindness) times(g gate.Gate, t evidence.Gate, x exposure, rate float64) {
	warmup := b.plan.Warmup(g.Warmup)
	if warmup < g.Warmup {
		b.warn("ShortWarmup", "Gate %q compares from %s on after each step, a fifth of the shortest bake with both "+
			"fleets, and not after warmup=%s only: a fleet that is cold for longer is taken for a slow one.",
			g.Kind, warmup, g.Warmup)
	}
	compared := x.split - time.Duration(b.splits(x))*warmup
	gets := rate * x.share * compared.Seconds()
	o := evidence.Outcomes{New: []float64{0.5, 0.3, 0.18, 0.02}, Old: []float64{0.5, 0.4, 0.09, 0.01}}
	if need := t.Needed(o, x.share, g.Alpha); need > gets {
		b.warn("GateBlind", "Gate %q: that a fifth of the new fleet's requests take as long as a tenth of the old one's "+
			"would be noticed after about %s of its requests; it will get %s.", g.Kind, about(need), about(gets))
	}
}

// rates says which failure rate would be noticed with the requests that there
// will be.
func (b *blindness) rates(g gate.Gate, t evidence.Gate, x exposure, gets, failing float64) {
	bad := max(0.01, 10*failing)
	if bad > 0.5 {
		return
	}
	need := t.Needed(evidence.Rates(bad, failing), x.share, g.Alpha)
	if need <= gets {
		return
	}
	if math.IsInf(need, 0) {
		b.warn("GateBlind", "Gate %q would not notice a rate of %s with these words.", g.Kind, shown(bad))
		return
	}
	b.warn("GateBlind", "Gate %q: a rate of %s would be noticed after about %s of the new fleet's requests; it will "+
		"get %s.", g.Kind, shown(bad), about(need), about(gets))
}

// holds warns of a proof that will not come, or not before the timeout.
func (b *blindness) holds(g gate.Gate, need, gets float64, x exposure) {
	if need <= gets/float64(max(1, b.splits(x))) {
		return
	}
	what := "of the new fleet's requests"
	if g.Kind.Paired() {
		what = "pairs of answers"
	}
	per := gets / x.split.Seconds() // of them a second
	longest := b.plan.Policy.MaximumExecutionTimeout - b.plan.TotalWait() + x.split
	if lasts := need / per; per == 0 || math.IsInf(need, 0) || lasts > longest.Seconds() {
		b.found = append(b.found, Finding{Error, "HoldNeverEnds", fmt.Sprintf(
			"Gate %q holds the deployment until it is proven: about %s %s are needed, and at "+
				"this traffic MaximumExecutionTimeoutInSeconds (%.0f) ends it before: it would be rolled back as not "+
				"proven.", g.Kind, about(need), what, b.plan.Policy.MaximumExecutionTimeout.Seconds(),
		)})
		return
	}
	b.warn("HoldLasts", "Gate %q holds a step until it is proven: about %s %s are needed, which "+
		"is about %s at this traffic.", g.Kind, about(need), what, round(time.Duration(need/per*float64(time.Second))))
}

// splits is how many steps have both fleets answer requests.
func (b *blindness) splits(x exposure) int {
	if x.bake == 0 {
		return 1
	}
	return int(x.split / x.bake)
}

// pairs says what copies will show.
func (b *blindness) pairs(g gate.Gate, t evidence.Gate, variant string, pairs float64) {
	if !g.Judges() || g.Kind != gate.Disagreement {
		return
	}
	differ := make([]float64, t.Cells) // a twentieth of the answers differ
	differ[0], differ[t.Cells-1] = 0.95, 0.05
	if g.Tolerance >= 0.05 {
		differ[0], differ[t.Cells-1] = 1-min(1, 2*g.Tolerance), min(1, 2*g.Tolerance)
	}
	o := evidence.Outcomes{New: differ, Old: differ}
	if need := t.Needed(o, 1, g.Alpha); need > pairs {
		b.warn("GateBlind", "Gate %q: that %s of answers differ would be noticed after about %s pairs; production "+
			"variant %q will get %s.", g.Kind, shown(differ[t.Cells-1]), about(need), variant, about(pairs))
	}
}

// about is a number of requests without what an estimate does not know.
func about(n float64) string {
	switch {
	case math.IsInf(n, 0) || n > 1e15:
		return "any number"
	case n < 10:
		return strconv.FormatFloat(math.Round(n*10)/10, 'f', -1, 64)
	}
	unit := math.Pow(10, math.Floor(math.Log10(n))-1)
	s := strconv.FormatInt(int64(math.Round(n/unit)*unit), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// shown is a share of 0 to 1 in percent.
func shown(share float64) string { return strconv.FormatFloat(share*100, 'g', 2, 64) + " %" }
