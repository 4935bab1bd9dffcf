package main

import (
	"github.com/slipway-ml/slipway/internal/domain/evidence"
)

// proofCase is a deployment of which something is to be proven: 50 requests a
// second, errors only, or pairs.
type proofCase struct {
	name, about string
	wrong       bool    // the new fleet is not within its margin
	share       float64 // of the new fleet
	old, fresh  float64 // rates of failures; of pairs, the distance that is allowed and the real one
	margin      float64 // by how much more the new fleet may fail
	hangs       float64 // share of the new fleet's requests that hang for a minute, then fail
	bursts      bool    // 45 s of 20 % more failures in both fleets, every 300 s
	pairs       bool
	seconds     int
	naive       bool // requests count under the second in which they end
}

// proofs are the cases of the page.
func proofs() []proofCase {
	return []proofCase{
		{name: "healthy-0", about: "5 %; 0 / 0 %; 0.5 points", share: 0.05, margin: 0.005},
		{name: "healthy", about: "5 %; 0.1 / 0.1 %; 0.5 points", share: 0.05, old: 0.001, fresh: 0.001, margin: 0.005},
		{
			name: "healthy-half", about: "50 %; 0.1 / 0.1 %; 0.5 points", share: 0.5, old: 0.001, fresh: 0.001,
			margin: 0.005,
		},
		{
			name: "healthy-0.5", about: "5 %; 0.5 / 0.5 %; 0.5 points", share: 0.05, old: 0.005, fresh: 0.005,
			margin: 0.005,
		},
		{name: "wide", about: "5 %; 0.1 / 0.1 %; 1 point", share: 0.05, old: 0.001, fresh: 0.001, margin: 0.01},
		{name: "narrow", about: "5 %; 0.1 / 0.1 %; 0.1 points", share: 0.05, old: 0.001, fresh: 0.001, margin: 0.001},
		{
			name: "limit", about: "5 %; 0.1 / 0.6 %; 0.5 points: exactly at the limit", share: 0.05, old: 0.001,
			fresh: 0.006, margin: 0.005, wrong: true,
		},
		{
			name: "hangs", about: "50 %; 5 % hang for a minute, then fail; 1 point", share: 0.5, old: 0.001,
			fresh: 0.001, hangs: 0.05, margin: 0.01, seconds: 1800, wrong: true,
		},
		{
			name: "bursts", about: "50 %; 0.1 / 1 %, equal bursts in both; 0.5 points", share: 0.5, old: 0.001,
			fresh: 0.01, bursts: true, margin: 0.005, seconds: 1800, wrong: true,
		},
		{name: "pairs-0", about: "pairs; 0 % differ, 1 % allowed", pairs: true, share: 1, old: 0.01},
		{name: "pairs-0.5", about: "pairs; 0.5 % differ, 1 % allowed", pairs: true, share: 1, old: 0.01, fresh: 0.005},
		{
			name: "pairs-1", about: "pairs; 1 % differ, 1 % allowed", pairs: true, share: 1, old: 0.01, fresh: 0.01,
			wrong: true,
		},
	}
}

// chances are those of a wrong proof, in the order of the page.
var chances = [2]float64{0.05, 0.01}

// most requests of the new fleet that a case gets.
const mostRequests = 20_000

// timeout is that of models, in seconds.
const timeout = 60

func (c *proofCase) gate() evidence.Gate {
	if c.pairs {
		return evidence.Pairs(c.old)
	}
	m := evidence.DefaultMargins()
	m.Proven = c.margin
	return evidence.Rate(evidence.Errors, m)
}

// ending is a request that ends later than in the second in which it was drawn.
type ending struct {
	drawn int64
	evidence.Count
}

// live waits for the proof and returns after how many of the new fleet's requests
// it was there, by chances; 0: it was not.
func (c *proofCase) live(seed, run uint64) (after [2]int) {
	r, p, requests := seeded(seed, run), evidence.NewProof(c.gate(), timeout, true, 0), 0
	late := map[int64][]ending{} // by the second in which they end
	for t := int64(0); requests < mostRequests && (c.seconds == 0 || t < int64(c.seconds)); t++ {
		more := 0.0
		if c.bursts && t%300 < 45 {
			more = 0.2
		}
		for range 50 {
			n, fresh := evidence.Count{Share: c.share, Old: !r.chance(c.share), N: 1}, c.fresh+more
			if n.Old {
				fresh = c.old + more
			} else {
				requests++
			}
			n.Cell = index(r.chance(fresh))
			if c.pairs {
				p.Pair(t, float64(n.Cell))
				continue
			}
			if !c.naive {
				p.Started(t, n)
			}
			if !n.Old && c.hangs > 0 && r.chance(c.hangs) {
				n.Cell = evidence.Event
				late[t+timeout] = append(late[t+timeout], ending{t, n})
				continue
			}
			p.Count(t, n)
		}
		for _, e := range late[t] {
			if c.naive {
				e.drawn = t
			}
			p.Count(e.drawn, e.Count)
		}
		delete(late, t)
		p.Close(t)
		for i, chance := range chances {
			if after[i] == 0 && p.Proven(chance) {
				after[i] = requests
			}
		}
		if after[0] > 0 && after[1] > 0 {
			break
		}
	}
	return after
}
