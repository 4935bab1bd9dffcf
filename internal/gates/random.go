package main

import (
	"math"
	"math/bits"
)

// random is a small, fast generator (wyrand, by Wang Yi): a
// bake draws half a million numbers, and a seed always gives the same.
type random struct{ state uint64 }

// seeded returns the generator of one run.
func seeded(seed, run uint64) *random {
	r := &random{seed*0x9E3779B97F4A7C15 ^ run*0xD1B54A32D192ED03}
	for range 4 {
		r.bits()
	}
	return r
}

func (r *random) bits() uint64 {
	r.state += 0xa0761d6478bd642f
	high, low := bits.Mul64(r.state, r.state^0xe7037ed1a0b428db)
	return high ^ low
}

// uniform is from 0 up to 1.
func (r *random) uniform() float64 { return float64(r.bits()>>11) / (1 << 53) }

// part is from 0 up to 1, of the upper half of some bits; among is a whole number
// below n of the lower half. The generator is most of what a bake costs.
func part(u uint64) float64                 { return float64(u>>32) / (1 << 32) }
func among(u uint64, n int) int             { return int(u & (1<<32 - 1) * uint64(n) >> 32) }
func (t *tables) normalOf(u uint64) float64 { return t.normal[u&(normalSlices-1)] }

// chance is true with probability p.
func (r *random) chance(p float64) bool { return r.uniform() < p }

// below is a whole number below n.
func (r *random) below(n int) int { return int((r.bits() >> 32) * uint64(n) >> 32) }

func (r *random) exponential() float64 { return -math.Log(1 - r.uniform()) }

// normalSlices is how many values the normal distribution is drawn from.
const normalSlices = 1 << 14

// tables are what is looked up for each request instead of worked out.
type tables struct {
	normal [normalSlices]float64 // the middles of equally likely slices of a normal
	exp    [exps + 1]float64
	// middles are the latencies in the middle of bins, in seconds.
	middles [bins]float64
}

// The powers of e that are looked up: from e^leastExp on, expsPerUnit for each 1.
const (
	leastExp    = -14
	expsPerUnit = 1024
	exps        = 24 * expsPerUnit
)

func newTables() *tables {
	t := new(tables)
	for i := range t.normal {
		t.normal[i] = math.Sqrt2 * math.Erfinv(2*(float64(i)+0.5)/normalSlices-1)
	}
	for i := range t.exp {
		t.exp[i] = math.Exp(leastExp + float64(i)/expsPerUnit)
	}
	for i := range t.middles {
		t.middles[i] = math.Exp(lnBin*(float64(i)+0.5)) / 1000
	}
	return t
}

func (t *tables) draw(r *random) float64 { return t.normal[r.bits()>>50] }

// power is e^x, to a part in a million.
func (t *tables) power(x float64) float64 {
	at := max(0, min(exps-1, (x-leastExp)*expsPerUnit))
	i := int(at)
	return t.exp[i] * (1 + (at-float64(i))/expsPerUnit)
}

// poisson draws how many requests come when mean are expected.
func (t *tables) poisson(r *random, mean float64) int {
	if mean > 60 {
		return max(0, int(mean+math.Sqrt(mean)*t.draw(r)+0.5))
	}
	limit, n, p := math.Exp(-mean), 0, r.uniform()
	for p > limit {
		n++
		p *= r.uniform()
	}
	return n
}
