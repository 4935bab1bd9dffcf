package main

import (
	"hash/fnv"
	"math"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
)

// The gates of the table, as indices. Those before margin5 are what Any is the
// mean of.
const (
	errorGate = iota
	abandonedGate
	latencyGate
	labelGate
	numberGate
	pairGate
	copyGate
	margin5 // latency with a margin of 5 %
	gates
)

const (
	anyGate = gates
	any3    = gates + 1 // at the threshold of verdicts, 3
	judges  = gates + 2 // the first of the peers
)

// judged are the names of all that looks at a bake.
var judged = [judges + peers]string{
	"errors", "abandoned", "latency", "labels", "numbers", "pairs", "copies", "latency, margin 1.05",
	"any", "any at 3",
	"Kayenta, at the end", "Kayenta, each 5 min", "1 % in a minute", "5 % in a minute", "p99 × 1.5 in a minute",
	"5 bad minutes",
}

// warmup is for how long after a shift latency counts neither fleet.
const warmup = 60

// found says whether and when a judge was against the new fleet, in seconds, and
// after how many of its requests.
type found struct {
	Yes      bool `json:"-"`
	Second   int  `json:"t"`
	Requests int  `json:"n"`
}

// watch is all that looks at one bake.
type watch struct {
	w        *world
	process  [gates]*evidence.Process
	counts   [gates * (slots + 1) * maxCells]float64 // of this second: the old fleet is the last slot
	touched  []int                                   // where there are some
	fast     [bins]float64                           // the old fleet's requests of this stride, by latency
	any      []*evidence.Process
	history  evidence.History
	cuts     evidence.Cuts
	labels   evidence.Profile
	numbers  evidence.Profile
	minutes  *minutes // nil: no peers
	share    float64
	warm     int // the second in which latency counts again
	requests int // of the new fleet, so far
	found    [judges + peers]found
}

const (
	slots    = 4 // instances that a fleet has at most
	maxCells = 8 // that a gate has
)

// designs are the gates as they ship.
func designs(w *world) (g [gates]evidence.Gate, labels, numbers evidence.Profile) {
	hashes, counts := make([]uint64, 0, 5), make([]float64, 0, 5)
	for i, s := range labelShares {
		hashes, counts = append(hashes, uint64(i)), append(counts, s*1000)
	}
	labels = evidence.LabelProfile(hashes, counts, 0)
	numbers = evidence.Profile{Cuts: &[3]float64{-1.2816, 0, 1.2816}}
	g = [gates]evidence.Gate{
		errorGate:     evidence.Rate(evidence.Errors, evidence.DefaultMargins()),
		abandonedGate: evidence.Rate(evidence.Abandoned, evidence.DefaultMargins()),
		latencyGate:   evidence.Latencies(evidence.Latency),
		labelGate:     evidence.Drifts(evidence.DefaultDrift, labels),
		numberGate:    evidence.Drifts(evidence.DefaultDrift, numbers),
		pairGate:      evidence.Pairs(0.005),
		copyGate:      evidence.MirrorFailures(0.05),
		margin5:       evidence.Latencies(evidence.Latency),
	}
	if w.uncapped {
		for i := range g {
			g[i].Cap = 0
		}
	}
	return g, labels, numbers
}

func newWatch(w *world, withPeers bool) *watch {
	v := &watch{w: w, share: -1}
	var all [gates]evidence.Gate
	all, v.labels, v.numbers = designs(w)
	for i, g := range all {
		v.process[i] = evidence.New(g)
	}
	v.any = v.process[:margin5]
	if withPeers {
		v.minutes = newMinutes()
	}
	w.past(&v.history)
	v.cuts, _ = v.history.Cuts()
	return v
}

// never is the judge that no bake waits for.
const never = -1

// run bakes a deployment, for half an hour or until a judge is against it, and
// returns what was found.
func (v *watch) run(until int) [judges + peers]found {
	for t := range bake {
		v.second(t)
		v.count()
		v.look(t + 1)
		if until != never && v.found[until].Yes {
			break
		}
		if (t+1)%evidence.Stride == 0 {
			for _, p := range v.process {
				p.Close()
			}
			v.recut()
		}
		if v.minutes != nil && (t+1)%60 == 0 {
			v.minutes.close(v, t+1)
		}
	}
	return v.found
}

// recut takes new cuts from the old fleet's latencies.
func (v *watch) recut() {
	for i, n := range v.fast {
		if n > 0 {
			v.history.Add(v.w.middles[i], n)
		}
	}
	clear(v.fast[:])
	if cuts, ok := v.history.Cuts(); ok {
		v.cuts = cuts
	}
	v.history.Age(evidence.Stride)
}

// second lets a second's requests be served.
func (v *watch) second(t int) {
	w := v.w
	if s := w.split(t); s != v.share {
		v.share, v.warm = s, t+warmup
	}
	w.next(t)
	for range w.poisson(w.random, w.perSecond) {
		u := w.bits()
		if part(u) < v.share {
			i := among(u, w.instances)
			v.requests++
			v.outcome(fresh, i, w.serve(fresh, i))
			continue
		}
		i := among(u, slots)
		a := w.serve(old, i)
		v.outcome(old, i, a)
		if !a.left && w.chance(w.mirrored) {
			v.pair(w.below(w.instances), a.failed)
		}
	}
}

func (v *watch) add(gate, fleet, slot, cell int) {
	if fleet == old {
		slot = slots
	}
	i := (gate*(slots+1)+slot)*maxCells + cell
	if v.counts[i]++; v.counts[i] == 1 {
		v.touched = append(v.touched, i)
	}
}

// outcome counts what became of a request.
func (v *watch) outcome(fleet, i int, a answer) {
	isOld := fleet == old
	v.add(errorGate, fleet, i, index(a.failed))
	v.add(abandonedGate, fleet, i, index(a.left))
	ending := evidence.Answered
	switch {
	case a.failed:
		ending = evidence.Failed
	case a.left:
		ending = evidence.Left
	case isOld:
		v.fast[bin(a.ln)]++
	}
	if v.w.now >= v.warm {
		v.add(latencyGate, fleet, i, v.cuts.Level(isOld, evidence.DefaultFactor, a.seconds, ending))
		if !v.w.alone { // only where the table asks
			v.add(margin5, fleet, i, v.cuts.Level(isOld, 1.05, a.seconds, ending))
		}
	}
	label, number := v.labels.Failure(), v.numbers.Failure()
	if ending == evidence.Answered {
		label, number = v.labels.Label(uint64(a.label)), v.numbers.Number(a.number)
	}
	v.add(labelGate, fleet, i, label)
	v.add(numberGate, fleet, i, number)
	if v.minutes != nil {
		v.minutes.add(fleet, a)
	}
}

// pair counts a copy of a request that the old fleet has answered or failed. A
// second has few, which go to the process at once.
func (v *watch) pair(i int, oldFailed bool) {
	d, failed := v.w.distance(i)
	v.process[copyGate].Pair(i, float64(index(failed)-index(oldFailed)))
	if !failed && !oldFailed {
		v.process[pairGate].Pair(i, d)
	}
}

func index(event bool) int {
	if event {
		return evidence.Event
	}
	return evidence.None
}

// count hands the second's counts to the processes.
func (v *watch) count() {
	for _, i := range v.touched {
		slot := i / maxCells % (slots + 1)
		v.process[i/maxCells/(slots+1)].Count(evidence.Count{
			Share: v.share, Old: slot == slots, Slot: slot, Cell: i % maxCells, N: v.counts[i],
		})
		v.counts[i] = 0
	}
	v.touched = v.touched[:0]
}

// threshold is that of the table: one false alarm in a hundred deployments.
const threshold = 2

// look asks every gate after a second.
func (v *watch) look(t int) {
	loud := false
	for g, p := range v.process {
		if p.Exceeds(threshold) {
			v.find(g, t)
			loud = true
		}
	}
	if !loud || v.found[any3].Yes { // the mean is no more than the most
		return
	}
	value := evidence.AnyOf(v.any...)
	if value > threshold {
		v.find(anyGate, t)
	}
	if value > 3 {
		v.find(any3, t)
	}
}

func (v *watch) find(judge, t int) {
	if f := &v.found[judge]; !f.Yes {
		*f = found{true, t, v.requests}
	}
}

// life is one deployment of a scenario.
type life struct {
	scenario
	*tables
	seed, run uint64
	until     int // a judge, or never
}

// live bakes it.
func (l life) live() [judges + peers]found {
	s := l.usual()
	name := fnv.New64a()
	_, _ = name.Write([]byte(s.name)) // a hash takes everything
	if s.counted {
		return l.countedBake(s, name.Sum64())
	}
	return newWatch(newWorld(s, l.tables, l.seed^name.Sum64(), l.run), !s.alone).run(l.until)
}

// bins of latency, each of 2 %, from 1 ms.
const (
	bins  = 700
	lnBin = 0.02
)

// bin is the bin of a latency, given as the logarithm of seconds.
func bin(ln float64) int { return int(max(0, min(bins-1, (ln+math.Ln10*3)/lnBin))) }
