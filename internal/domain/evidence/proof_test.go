package evidence

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
)

// traffic sends requests, of which those of the new fleet that hang end a minute
// later, as failures.
type traffic struct {
	r           *rand.Rand
	share       float64
	fresh, old  float64 // rates of failures
	hang        float64 // share of the new fleet's requests
	perSecond   int
	later       map[int64][]Count // by the second in which they end
	drawnAt     map[int64][]int64
	hangSeconds int64
}

func newTraffic(seed uint64) *traffic {
	return &traffic{
		r: rand.New(rand.NewPCG(seed, 1)), share: 0.5, perSecond: 50, hangSeconds: 60,
		later: map[int64][]Count{}, drawnAt: map[int64][]int64{},
	}
}

// second draws a second's requests and tells the proof of them, and of those
// that end.
func (f *traffic) second(now int64, p *Proof) {
	for range f.perSecond {
		c := Count{Share: f.share, Old: f.r.Float64() >= f.share, N: 1}
		p.Started(now, c)
		rate, end := f.fresh, now
		if c.Old {
			rate = f.old
		}
		if f.r.Float64() < rate {
			c.Cell = Event
		}
		if !c.Old && f.r.Float64() < f.hang {
			c.Cell, end = Event, now+f.hangSeconds
		}
		f.later[end] = append(f.later[end], c)
		f.drawnAt[end] = append(f.drawnAt[end], now)
	}
	for i, c := range f.later[now] {
		p.Count(f.drawnAt[now][i], c)
	}
	delete(f.later, now)
	delete(f.drawnAt, now)
	p.Close(now)
}

// provenBy returns the second in which a proof is there, -1 if in none.
func provenBy(f *traffic, p *Proof, seconds int64) int64 {
	for now := range seconds {
		f.second(now, p)
		if p.Proven(0.01) {
			return now
		}
	}
	return -1
}

// A twentieth of the new fleet's requests hang for a minute and then fail. Until
// they do, whatever ends is well.
func TestRequestsThatHangProveNothing(t *testing.T) {
	for _, share := range []float64{0.05, 0.002} { // so many, or so few that most seconds have none
		for seed := range uint64(50) {
			f := newTraffic(seed)
			f.hang, f.old, f.fresh = share, 0.001, 0.001
			if share < 0.01 {
				f.hang, f.hangSeconds, f.fresh = 0.02, 50, 0.001
				f.perSecond = 5
			}
			if at := provenBy(f, NewProof(Rate(Errors, DefaultMargins()), 60, true, 0), 150); at >= 0 {
				t.Fatalf("seed %d, %v hang: proven in second %d", seed, f.hang, at)
			}
		}
	}
}

// The bursts that befall both fleets alike do not show that one is better.
func TestEqualBurstsProveNothing(t *testing.T) {
	wrong := 0
	for seed := range uint64(40) {
		f, p := newTraffic(seed), NewProof(Rate(Errors, DefaultMargins()), 60, true, 0)
		for now := range int64(900) {
			f.old, f.fresh = 0.001, 0.01
			if now%300 < 45 {
				f.old, f.fresh = 0.2, 0.209
			}
			f.second(now, p)
		}
		if p.Proven(0.01) {
			wrong++
		}
	}
	if wrong > 2 { // α·n + 3·√(α·n)
		t.Errorf("wrongly proven in %d of 40", wrong)
	}
}

// A fleet that is as good as the old one is proven to be in about the time that
// the plan says.
func TestAHealthyFleetIsProven(t *testing.T) {
	g := Rate(Errors, DefaultMargins())
	var requests []float64
	for seed := range uint64(60) {
		f := newTraffic(seed)
		f.old, f.fresh = 0.001, 0.001
		at := provenBy(f, NewProof(g, 60, true, 0), 1000)
		if at < 0 {
			t.Fatalf("seed %d: not proven", seed)
		}
		requests = append(requests, float64(at)*f.share*float64(f.perSecond))
	}
	need := g.NeededToProve(Rates(0.001, 0.001), 0.5, 0.01)
	if m := median(requests); m < 0.75*need || m > 1.25*need {
		t.Errorf("proven after %v requests, the plan said %v", m, need)
	}
}

// Without word of starts a second enters when the timeout has passed.
func TestWithoutStartsASecondWaitsForTheTimeout(t *testing.T) {
	p := NewProof(Rate(Errors, DefaultMargins()), 5, false, 100)
	p.Count(100, Count{Share: 0.5, N: 1000})
	for now := int64(100); now <= 105; now++ {
		if p.Close(now); p.Value() != 0 {
			t.Fatalf("second 100 enters in second %d", now)
		}
	}
	if p.Close(106); !(p.Value() > 0) {
		t.Error("second 100 does not enter")
	}
	if p.Count(100, Count{Share: 0.5, N: 1000}) {
		t.Error("a request counts whose second has entered")
	}
}

// A request that has not ended at the timeout speaks against the proof, and holds
// back what was drawn after it until then.
func TestSecondsEnterInTheirOrder(t *testing.T) {
	p := NewProof(Rate(Errors, DefaultMargins()), 10, true, 0)
	good := Count{Share: 0.5, N: 100}
	p.Started(0, good)
	for second := int64(1); second < 5; second++ {
		p.Started(second, good)
		p.Count(second, good)
	}
	p.Close(10)
	if p.Value() != 0 {
		t.Errorf("later seconds overtake one that is not complete: %v", p.Value())
	}
	p.Close(11)
	lost := p.Value()
	if !(lost < 0) {
		t.Errorf("a hundred requests without an end prove %v", lost)
	}
	q := NewProof(Rate(Errors, DefaultMargins()), 10, true, 0)
	p.Begin(0)
	for _, x := range []*Proof{p, q} {
		x.Started(0, good)
	}
	q.Count(0, good)
	q.Close(1)
	if !(q.Value() > 0) {
		t.Error("a complete second waits")
	}
}

// A proof that is stored and read again loses the seconds that had not entered,
// of both fleets, and nothing else.
func TestAStoredProofGoesOnWhereItWas(t *testing.T) {
	onEach(t, func(t *testing.T, g Gate) {
		kept := NewProof(g, 5, true, 100)
		r := rand.New(rand.NewPCG(1, 2))
		second := func(now int64, proofs ...*Proof) {
			for _, c := range someCounts(r, g, 50) {
				for _, p := range proofs {
					p.Started(now, c)
					p.Count(now, c)
				}
			}
		}
		for now := int64(100); now < 200; now++ {
			second(now, kept)
			kept.Close(now)
		}
		kept.Close(200)
		text, err := json.Marshal(kept.State())
		if err != nil || len(text) > maxState {
			t.Fatalf("%d bytes, %v", len(text), err)
		}
		var s ProofState
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		again := NewProof(g, 5, true, 0)
		if err := RestoreProof(again, s, 200); err != nil {
			t.Fatal(err)
		}
		if again.Count(199, Count{Share: 0.5, N: 1}) {
			t.Error("a request counts that was drawn before the restart")
		}
		for now := int64(200); now < 220; now++ {
			second(now, kept, again)
			kept.Close(now)
			again.Close(now)
		}
		if math.Abs(kept.Value()-again.Value()) > 1e-5 || kept.Proven(0.5) != again.Proven(0.5) {
			t.Errorf("kept %v, read %v", kept.Value(), again.Value())
		}
		s.Kind = Any
		if RestoreProof(again, s, 200) == nil {
			t.Error("the proof of another gate is taken")
		}
	})
}

// A clock that was set back while the server was down delays no proof.
func TestAProofDoesNotWaitForAClockThatWasSetBack(t *testing.T) {
	g, c := Rate(Errors, DefaultMargins()), Count{Share: 0.5, N: 5000}
	p := NewProof(g, 5, true, 4000)
	p.Started(4000, c)
	p.Count(4000, c)
	if p.Close(4001); !p.Proven(0.01) {
		t.Fatal("five thousand requests prove nothing")
	}
	again := NewProof(g, 5, true, 0)
	if err := RestoreProof(again, p.State(), 400); err != nil {
		t.Fatal(err)
	}
	if again.Proven(0.5) || again.Value() != 0 {
		t.Errorf("it begins with %v", again.Value())
	}
	again.Started(400, c)
	again.Count(400, c)
	if again.Close(401); !again.Proven(0.01) || again.State().Begun != 400 {
		t.Errorf("what came since is not looked at: %v", again.Value())
	}
}

// What was proven in one step says nothing of the next.
func TestAProofBeginsAnewWithEachStep(t *testing.T) {
	p := NewProof(Rate(Errors, DefaultMargins()), 10, true, 0)
	all := func(second int64) {
		c := Count{Share: 0.5, N: 5000}
		p.Started(second, c)
		p.Count(second, c)
	}
	all(3)
	if p.Close(4); !p.Proven(0.01) {
		t.Fatal("five thousand requests prove nothing")
	}
	all(4)
	p.Begin(5)
	if p.Close(6); p.Proven(0.5) || p.Value() != 0 {
		t.Errorf("the step begins with %v", p.Value())
	}
	if p.Count(4, Count{Share: 0.5, N: 1}) {
		t.Error("a request counts that was drawn before the step")
	}
	all(5)
	all(6)
	if p.Close(7); !p.Proven(0.01) {
		t.Error("the step proves nothing")
	}
}

// A process of steps at which nothing is compared proves nothing.
func TestNothingIsProvenWhereNothingIsCompared(t *testing.T) {
	for _, share := range []float64{0, 1} {
		p := NewProof(Rate(Errors, DefaultMargins()), 10, true, 0)
		for second := range int64(100) {
			p.Started(second, Count{Share: share, N: 1000})
			p.Count(second, Count{Share: share, N: 1000})
			p.Close(second)
		}
		if p.Value() != 0 || p.Proven(0.99) {
			t.Errorf("share %v: %v", share, p.Value())
		}
	}
	losses := NewProof(Losses(), 10, true, 0)
	if losses.Proven(0.99) || losses.Value() != 0 {
		t.Error("a gate without a proof has proven something")
	}
}

// All sides must be shown, and pairs can be shown at any share.
func TestTheProofIsThatOfTheWeakestSide(t *testing.T) {
	g := Latencies(Latency)
	p := NewProof(g, 10, true, 0)
	r := rand.New(rand.NewPCG(1, 2))
	for second := range int64(400) {
		for range 50 {
			c := Count{Share: 0.5, Old: r.IntN(2) == 0, N: 1}
			if r.IntN(2) == 0 && (c.Old || r.IntN(5) > 0) {
				c.Cell = 1 // the new fleet is quicker in the half
			}
			if r.IntN(10) == 0 {
				c.Cell = 2 // and as slow in the tenth
			}
			p.Started(second, c)
			p.Count(second, c)
		}
		p.Close(second)
	}
	if half := decades(p.peak[0]); half < 2 || p.Proven(0.01) {
		t.Errorf("the half is shown with %v, all of it: %v", half, p.Proven(0.01))
	}
	pairs := NewProof(Pairs(0.01), 10, false, 0)
	for second := range int64(400) {
		pairs.Pair(second, 0)
		pairs.Pair(second, 0)
		pairs.Close(second)
	}
	if !pairs.Proven(0.01) {
		t.Errorf("800 equal pairs show %v", pairs.Value())
	}
}

func TestAProofOfWrongClocksIsBounded(t *testing.T) {
	p := NewProof(Rate(Errors, DefaultMargins()), 10, true, 0)
	for second := range int64(1000) {
		p.Started(second*1000, Count{Share: 0.5, N: 1})
	}
	if len(p.open) > 50 {
		t.Errorf("%d seconds are kept", len(p.open))
	}
	p.Close(math.MaxInt64 / 2)
	p.Close(math.MaxInt64 / 2)
	if len(p.open) > 0 && p.next < math.MaxInt64/4 {
		t.Errorf("next is %d, %d are open", p.next, len(p.open))
	}
}

func median(x []float64) float64 { return quantileOf(x, 0.5) }
