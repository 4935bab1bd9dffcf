package main

import (
	"math"
	"sort"
)

// peers is how many other judges look at the same traffic: Kayenta's judge, once
// and every five minutes, fixed thresholds, and one in the manner of Flagger.
const peers = 6

const (
	kayentaEnd = judges + iota
	kayentaOften
	onePercent
	fivePercent
	slowMinute
	badMinutes
)

// usualP99 is the old fleet's in the long run, in seconds: what somebody would
// base a threshold on.
const usualP99 = 0.067

// minutes keeps what the peers look at: one value for each metric, fleet and
// minute.
type minutes struct {
	requests, failed, sum [2]float64
	latency               [2][]float64    // by bin
	series                [2][3][]float64 // rate of errors, mean latency, p99
	bad                   int
}

func newMinutes() *minutes {
	m := &minutes{}
	m.latency[0], m.latency[1] = make([]float64, bins), make([]float64, bins)
	return m
}

func (m *minutes) add(fleet int, a answer) {
	m.requests[fleet]++
	m.failed[fleet] += float64(index(a.failed))
	m.sum[fleet] += a.seconds
	m.latency[fleet][bin(a.ln)]++
}

// close ends a minute and lets the peers look.
func (m *minutes) close(v *watch, t int) {
	var p99 [2]float64
	for f := range m.requests {
		if m.requests[f] == 0 {
			continue
		}
		below := 0.0
		for i, n := range m.latency[f] {
			if below += n; below >= 0.99*m.requests[f] {
				p99[f] = v.w.middles[i]
				break
			}
		}
		m.series[f][0] = append(m.series[f][0], m.failed[f]/m.requests[f])
		m.series[f][1] = append(m.series[f][1], m.sum[f]/m.requests[f])
		m.series[f][2] = append(m.series[f][2], p99[f])
	}
	if m.requests[fresh] > 0 {
		rate, slow := m.failed[fresh]/m.requests[fresh], p99[fresh] > 1.5*usualP99
		m.thresholds(v, t, rate, slow)
	}
	m.requests, m.failed, m.sum = [2]float64{}, [2]float64{}, [2]float64{}
	clear(m.latency[0])
	clear(m.latency[1])
	if t == bake && m.high() {
		v.find(kayentaEnd, t)
	}
	if t%300 == 0 && t >= 600 && !v.found[kayentaOften].Yes && m.high() {
		v.find(kayentaOften, t)
	}
}

func (m *minutes) thresholds(v *watch, t int, rate float64, slow bool) {
	if rate > 0.01 {
		v.find(onePercent, t)
	}
	if rate > 0.05 {
		v.find(fivePercent, t)
	}
	if slow {
		v.find(slowMinute, t)
	}
	if rate > 0.01 || slow {
		if m.bad++; m.bad == 5 {
			v.find(badMinutes, t)
		}
	}
}

// high says whether a metric is "High" in the manner of Kayenta's judge: the
// lower end of a 98 % interval of the shift between the fleets lies above a
// quarter of the shift's own estimate.
func (m *minutes) high() bool {
	for k := range m.series[fresh] {
		if shifted(m.series[fresh][k], m.series[old][k]) {
			return true
		}
	}
	return false
}

// shifted is the interval of Mann and Whitney, by the normal approximation and
// corrected for ties: rates of zero tie often.
func shifted(x, y []float64) bool {
	nx, ny := float64(len(x)), float64(len(y))
	if nx < 3 || ny < 3 {
		return false
	}
	d := make([]float64, 0, len(x)*len(y))
	for _, a := range x {
		for _, b := range y {
			d = append(d, a-b)
		}
	}
	sort.Float64s(d)
	if d[0] == d[len(d)-1] {
		return false
	}
	all := append(append([]float64(nil), x...), y...)
	sort.Float64s(all)
	ties := 0.0
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j] == all[i] {
			j++
		}
		same := float64(j - i)
		ties += same*same*same - same
		i = j
	}
	n := nx + ny
	sd := math.Sqrt(nx * ny / 12 * (n + 1 - ties/(n*(n-1))))
	const z = 2.3263 // 98 %, both sides
	k := int(math.Floor(nx*ny/2 - 0.5 - z*sd))
	return k >= 0 && d[k] > 0.25*math.Abs(d[len(d)/2])
}
