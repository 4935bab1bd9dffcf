package main

import (
	"math"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
)

// What models answer: a label of five, and a number.
const labels = 5

// labelShares is how often the old fleet answers each label.
var labelShares = [labels]float64{0.4, 0.3, 0.15, 0.1, 0.05}

// world is the traffic of one deployment. Latencies are log-normal, of 20 ms in
// the median with a heavy tail of 2 %, and move together.
type world struct {
	scenario
	*random
	*tables
	skill     [2][4]float64 // of instances of the new and the old fleet: what they add to ln latency
	until     [2][4]int     // the second in which an instance's bad moment ends
	burst     int           // the same of both fleets
	phase     float64
	wander    float64 // of latency, common to both
	now       int
	common    float64 // added to ln latency in this second
	failing   float64 // added to both fleets' rate of failures
	mixture   float64 // by how much labels and numbers moved
	perSecond float64 // requests expected in this second
	logs      logs
}

// logs are logarithms that every request needs.
type logs struct{ median, two, four, five, slower, tail float64 }

func newWorld(s scenario, t *tables, seed, run uint64) *world {
	w := &world{scenario: s, random: seeded(seed, run), tables: t}
	w.logs = logs{math.Log(0.020), math.Ln2, 2 * math.Ln2, math.Log(5), math.Log(s.slower), math.Log(s.tail)}
	w.phase = 2 * math.Pi * w.uniform()
	for f := range w.skill {
		for i := range w.skill[f] {
			w.skill[f][i] = s.spread * w.draw()
		}
	}
	return w
}

func (w *world) draw() float64 { return w.tables.draw(w.random) }

// next lets a second begin.
func (w *world) next(t int) {
	w.now = t
	w.wander = 0.9*w.wander + 0.02*w.draw()
	w.common, w.failing, w.mixture, w.perSecond = w.wander, 0, 0, w.rps
	if w.bursts {
		at := w.phase + 2*math.Pi*float64(t)/bake
		w.perSecond *= 1 + 0.7*math.Sin(at)
		w.common += 0.6 * float64(t) / bake // 80 % slower by the end
		w.mixture = 0.2 * math.Sin(w.phase+4*math.Pi*float64(t)/bake)
		if t > w.burst+20 && w.chance(1.0/300) {
			w.burst = t + 5 + w.below(40)
		}
		if t < w.burst {
			w.failing, w.common = 0.2, w.common+math.Log(3)
		}
	}
	switch {
	case w.incidents: // one each two hours and instance, of 20 s on average
		for f := range w.until {
			for i := range w.until[f] {
				if w.chance(1.0 / 7200) {
					w.until[f][i] = t + int(w.exponential()*20) + 1
				}
			}
		}
	case w.hosts: // two hosts, each with half of both fleets
		for h := range 2 {
			if w.chance(1.0 / 3600) {
				end := t + int(w.exponential()*20) + 1
				for f := range w.until {
					w.until[f][h], w.until[f][h+2] = end, end
				}
			}
		}
	}
}

// answer is what became of a request.
type answer struct {
	failed, left bool
	seconds, ln  float64 // until the answer, and their logarithm
	label        int
	number       float64
}

// Fleets as indices.
const (
	fresh = 0
	old   = 1
)

// serve lets an instance of a fleet serve a request.
func (w *world) serve(fleet, i int) (a answer) {
	bad := fleet == fresh && w.now >= w.onset
	rate, ln, tail := w.errOld, w.logs.median+w.common+w.skill[fleet][i], 0.0
	if bad {
		rate, ln, tail = w.errNew, ln+w.logs.slower, w.logs.tail
		if w.badInstance && i == 0 {
			rate, ln = rate+0.05, ln+w.logs.two
		}
	}
	rate += w.failing
	if w.now < w.until[fleet][i] {
		rate, ln = rate+0.2, ln+w.logs.four
	}
	if w.cold && fleet == fresh && w.now < 40 {
		ln += w.logs.five * (1 - float64(w.now)/40)
	}
	a.failed = w.chance(rate)
	u := w.bits()
	ln += 0.4 * w.normalOf(u)
	if part(u) < 0.02 {
		ln += w.logs.two + w.exponential()/2.5 + tail
		a.failed = a.failed || w.sheds && fleet == old
	}
	a.ln, a.seconds = ln, w.power(ln)
	if bad && w.hangs > 0 && w.chance(w.hangs) {
		a.ln, a.seconds = math.Log(60), 60
	}
	if w.patience > 0 && a.seconds > w.patience {
		a.left, a.failed, a.ln, a.seconds = true, false, math.Log(w.patience), w.patience
	}
	u = w.bits()
	a.label, a.number = w.labelOf(part(u)), w.normalOf(u)+w.mixture
	if bad {
		if w.flip > 0 && w.chance(w.flip) {
			a.label = (a.label + 1 + w.below(labels-1)) % labels
		}
		a.number += w.bias
	}
	return a
}

// labelOf turns a number from 0 to 1 into a label; labels drift from the second
// to the first.
func (w *world) labelOf(u float64) int {
	first := labelShares[0] * (1 + w.mixture)
	if u < first {
		return 0
	}
	below := labelShares[0] + labelShares[1]
	for k := 1; k < labels; k++ {
		if u < below {
			return k
		}
		if k+1 < labels {
			below += labelShares[k+1]
		}
	}
	return labels - 1
}

// distance lets an instance of the new fleet answer a copy of a request that the
// old one has answered, and says how far the answers lie apart, or that the copy
// failed. A pair in a thousand differs by noise.
func (w *world) distance(i int) (d float64, failed bool) {
	bad := w.now >= w.onset
	rate := w.errOld
	if bad {
		rate = w.errNew
	}
	if w.now < w.until[fresh][i] {
		rate += 0.2
	}
	switch {
	case w.chance(rate + w.failing):
		return 0, true
	case w.chance(0.001), bad && w.flip > 0 && w.chance(w.flip):
		return 1, false
	case bad && w.bias > 0:
		return min(1, math.Abs(w.bias+0.02*w.draw())/0.1), false // tolerance 0.1 sd
	}
	return 0, false
}

// past is the old fleet's latencies before the deployment.
func (w *world) past(h *evidence.History) {
	var by [bins]float64
	for i := range 3000 {
		if a := w.serve(old, i%4); !a.failed {
			by[bin(a.ln)]++
		}
	}
	for i, n := range by {
		h.Add(w.middles[i], n)
	}
}
