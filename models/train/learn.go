package main

import (
	"math"
	"math/rand/v2"
)

// network is a classifier with one hidden layer of rectified units, or with
// none. Arithmetic is written so that every machine gets the same bits:
// products are rounded before they are added (no fused operations), and exp is
// our own.
type network struct {
	hidden int // 0 for softmax regression
	w1, b1 []float64
	w2, b2 []float64
}

// settings says how a network learns.
type settings struct {
	hidden   int
	epochs   int
	examples int     // how many of the training images are used
	rate     float64 // of learning, falling to a tenth
	seed     uint64
}

const batchSize = 32

// learn trains a network by stochastic gradient descent with momentum.
func learn(train []digit, s settings) *network {
	rng := rand.New(rand.NewPCG(s.seed, 1))
	n := newNetwork(s.hidden, rng)
	train = train[:min(s.examples, len(train))]
	grad, speed := n.like(), n.like()
	steps := s.epochs * (len(train) / batchSize)
	for step := range steps {
		grad.zero()
		for range batchSize {
			n.backward(&train[rng.IntN(len(train))], grad)
		}
		rate := s.rate * (1 - 0.9*float64(step)/float64(steps)) / batchSize
		n.step(grad, speed, rate)
	}
	return n
}

func newNetwork(hidden int, rng *rand.Rand) *network {
	n := &network{hidden: hidden}
	in := pixels
	if hidden > 0 {
		n.w1, n.b1 = make([]float64, hidden*pixels), make([]float64, hidden)
		randomize(n.w1, pixels, rng)
		in = hidden
	}
	n.w2, n.b2 = make([]float64, classes*in), make([]float64, classes)
	randomize(n.w2, in, rng)
	return n
}

func randomize(w []float64, fanIn int, rng *rand.Rand) {
	width := math.Sqrt(6 / float64(fanIn))
	for i := range w {
		w[i] = (2*rng.Float64() - 1) * width
	}
}

func (n *network) like() *network {
	return &network{
		hidden: n.hidden,
		w1:     make([]float64, len(n.w1)), b1: make([]float64, len(n.b1)),
		w2: make([]float64, len(n.w2)), b2: make([]float64, len(n.b2)),
	}
}

func (n *network) parts() [4][]float64 { return [4][]float64{n.w1, n.b1, n.w2, n.b2} }

func (n *network) zero() {
	for _, p := range n.parts() {
		clear(p)
	}
}

// step moves n against the gradient, keeping nine tenths of its speed.
func (n *network) step(grad, speed *network, rate float64) {
	ps, gs, vs := n.parts(), grad.parts(), speed.parts()
	for i := range ps {
		for j := range ps[i] {
			vs[i][j] = float64(0.9*vs[i][j]) - float64(rate*gs[i][j])
			ps[i][j] += vs[i][j]
		}
	}
}

// layer computes w·x + b.
func layer(w, b, x []float64) []float64 {
	out := make([]float64, len(b))
	for o := range out {
		sum := b[o]
		for i, v := range x {
			sum += float64(w[o*len(x)+i] * v)
		}
		out[o] = sum
	}
	return out
}

// forward returns the scaled image, the hidden units and the logits.
func (n *network) forward(d *digit) (x, h, logits []float64) {
	x = make([]float64, pixels)
	for i, p := range d.image {
		x[i] = p / 16
	}
	if n.hidden == 0 {
		return x, x, layer(n.w2, n.b2, x)
	}
	h = layer(n.w1, n.b1, x)
	for i := range h {
		h[i] = max(h[i], 0)
	}
	return x, h, layer(n.w2, n.b2, h)
}

// backward adds the gradient of the cross entropy at d.
func (n *network) backward(d *digit, grad *network) {
	x, h, logits := n.forward(d)
	delta := softmax(logits)
	delta[d.label]--
	addOuter(grad.w2, delta, h)
	add(grad.b2, delta)
	if n.hidden == 0 {
		return
	}
	back := make([]float64, n.hidden)
	for i := range back {
		if h[i] == 0 {
			continue
		}
		for o, e := range delta {
			back[i] += float64(n.w2[o*n.hidden+i] * e)
		}
	}
	addOuter(grad.w1, back, x)
	add(grad.b1, back)
}

func add(to, v []float64) {
	for i := range v {
		to[i] += v[i]
	}
}

func addOuter(to, a, b []float64) {
	for i, u := range a {
		if u == 0 {
			continue
		}
		row := to[i*len(b) : (i+1)*len(b)]
		for j, v := range b {
			row[j] += float64(u * v)
		}
	}
}

func softmax(logits []float64) []float64 {
	top := logits[0]
	for _, l := range logits {
		top = max(top, l)
	}
	out, sum := make([]float64, len(logits)), 0.0
	for i, l := range logits {
		out[i] = exp(l - top)
		sum += out[i]
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

// exp is e to the power of x ≤ 0. math.Exp is written in assembly for some
// processors and differs in the last bit between them.
func exp(x float64) float64 {
	if x < -700 {
		return 0
	}
	k := math.Floor(x / math.Ln2)
	r := x - float64(k*math.Ln2)
	sum, term := 1.0, 1.0
	for i := 1; i < 16; i++ {
		term = float64(term*r) / float64(i)
		sum += term
	}
	return math.Ldexp(sum, int(k))
}

// accuracy returns the share of digits that n tells rightly.
func (n *network) accuracy(digits []digit) float64 {
	return share(digits, func(d *digit) bool { return n.reads(d) == d.label })
}

// agreement returns the share of digits that n tells as another one does.
func (n *network) agreement(other *network, digits []digit) float64 {
	return share(digits, func(d *digit) bool { return n.reads(d) == other.reads(d) })
}

// reads returns the digit that n takes d for.
func (n *network) reads(d *digit) (best int) {
	_, _, logits := n.forward(d)
	for c, l := range logits {
		if l > logits[best] {
			best = c
		}
	}
	return best
}

func share(digits []digit, of func(*digit) bool) float64 {
	n := 0
	for i := range digits {
		if of(&digits[i]) {
			n++
		}
	}
	return float64(n) / float64(len(digits))
}

// ink returns the sum of the pixels.
func (d *digit) ink() float64 {
	sum := 0.0
	for _, p := range d.image {
		sum += p
	}
	return sum
}
