package main

import (
	"github.com/slipway-ml/slipway/internal/domain/evidence"
)

// patient bakes a healthy fleet for some hours, at 5 % of 50 requests a second
// and 0.1 % of failures, and then lets 1 % of the new one's fail. It returns after
// how many of its requests from then on that is found, and the lowest value
// before.
func patient(t *tables, hours int, seed, run uint64) (requests int, lowest float64) {
	r, p := seeded(seed, run), evidence.New(evidence.Rate(evidence.Errors, evidence.DefaultMargins()))
	const share, rps = 0.05, 50.0
	bad := hours * 3600
	for now := 0; now < bad+6*3600; now++ {
		rate := 0.001
		if now >= bad {
			rate = 0.01
		}
		for slot := range slots { // what is drawn is how many fail, and how many do not
			fresh := t.poisson(r, share*rps/slots*rate)
			others := t.poisson(r, share*rps/slots*(1-rate))
			p.Count(evidence.Count{Share: share, Slot: slot, Cell: evidence.Event, N: float64(fresh)})
			p.Count(evidence.Count{Share: share, Slot: slot, Cell: evidence.None, N: float64(others)})
			if now >= bad {
				requests += fresh + others
			}
		}
		p.Count(evidence.Count{Share: share, Old: true, Cell: evidence.Event, N: float64(t.poisson(r, 47.5*0.001))})
		p.Count(evidence.Count{Share: share, Old: true, Cell: evidence.None, N: float64(t.poisson(r, 47.5*0.999))})
		if p.Exceeds(threshold) {
			break
		}
		if now%evidence.Stride == 9 {
			if p.Close(); now < bad {
				lowest = min(lowest, p.Value())
			}
		}
	}
	return requests, lowest
}

// crashLoop lets the one new instance beside four old ones be lost every so many
// seconds, and returns the second in which the losses are evidence; 0 if that
// never comes in half an hour. every of 0 loses one instance of either fleet
// now and then.
func crashLoop(every int, seed, run uint64) int {
	r, p := seeded(seed, run), evidence.New(evidence.Losses())
	const share = 1.0 / 5
	for now := range bake {
		lost := every > 0 && now%every == every-1 || every == 0 && r.chance(1.0/3600)
		p.Count(evidence.Count{Share: share, Cell: index(lost), N: 1})
		for range 4 {
			p.Count(evidence.Count{Share: share, Old: true, Cell: index(r.chance(1.0 / 3600)), N: 1})
		}
		if p.Exceeds(threshold) {
			return now + 1
		}
		if now%evidence.Stride == 9 {
			p.Close()
		}
	}
	return 0
}

// extras are what is measured besides bakes.
type extras struct {
	Seed    uint64            `json:"seed"`
	Runs    int               `json:"runs"`
	Proofs  map[string]proven `json:"proofs"`
	Patient []patience        `json:"patient"`
	Losses  []losses          `json:"losses"`
}

// proven is how often and after how many requests, by chances.
type proven struct {
	Count  [2]int `json:"count"`
	Median [2]int `json:"median"`
	Late   [2]int `json:"late"` // nine in ten
}

// patience is how a long good time ends.
type patience struct {
	Hours    int     `json:"hours"`
	Requests int     `json:"requests"` // in the median
	Lowest   float64 `json:"lowest"`
}

// losses is how soon it is evidence that an instance is lost every so often.
type losses struct {
	Every   int `json:"every"` // seconds; 0: as often as the old ones, once an hour
	Found   int `json:"found"`
	Seconds int `json:"seconds"` // in the median
}

// beyond measures them.
func beyond(t *tables, seed uint64, runs int) extras {
	x := extras{Seed: seed, Runs: runs, Proofs: map[string]proven{}}
	for _, c := range proofs() {
		var after [2][]int
		for i := range runs {
			for k, n := range c.live(seed, uint64(i)) {
				if n > 0 {
					after[k] = append(after[k], n)
				}
			}
		}
		var p proven
		for k, a := range after {
			p.Count[k], p.Median[k], p.Late[k] = len(a), quantile(a, 0.5), quantile(a, 0.9)
		}
		x.Proofs[c.name] = p
	}
	for _, hours := range []int{0, 1, 8, 24} {
		p, after := patience{Hours: hours}, []int(nil)
		for i := range runs {
			n, low := patient(t, hours, seed, uint64(i))
			after, p.Lowest = append(after, n), min(p.Lowest, low)
		}
		p.Requests = quantile(after, 0.5)
		x.Patient = append(x.Patient, p)
	}
	for _, every := range []int{0, 20, 60} {
		var after []int
		for i := range runs {
			if n := crashLoop(every, seed, uint64(i)); n > 0 {
				after = append(after, n)
			}
		}
		x.Losses = append(x.Losses, losses{every, len(after), quantile(after, 0.5)})
	}
	return x
}
