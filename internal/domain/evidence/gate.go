package evidence

import (
	"math"
	"slices"
	"time"
)

// Gate is what is compared, and what is allowed. It is fixed when a deployment
// begins.
type Gate struct {
	Kind Kind
	// Cells is how many outcomes a request can have; the gate's constructor says
	// which. A gate that looks at a request in several ways counts it in one cell
	// for each of them.
	Cells int
	Sides []Side // what would be worse
	Proof []Side // what has to be shown, all of it; none: nothing can be
	// Paired says that both fleets answered each request: its outcome is a number
	// of the pair, counted for the new fleet, and Share is of no meaning.
	Paired bool
	// Cap is the most that one instance of the new fleet may add to the wealth of
	// an expert in a stride, in nats; 0: no limit. Requests are coins, instances
	// are not: a pause or a bad neighbour befalls one of them for a while. What is
	// taken has no limit, or wealth would no longer be that of a fair game; where
	// there is much of it, only an expert that stakes so little that it hardly
	// reaches the cap can gain anything. See Side.Cautious.
	Cap float64
}

// Cells of gates whose outcome is an event or none.
const (
	None  = 0
	Event = 1
)

// DefaultCap is a third of a decade: one instance alone needs a minute of
// trouble to reach 100 to 1.
const DefaultCap = math.Ln10 / 3

// The bounds of Patience.
const (
	MinPatience = Stride * time.Second
	MaxPatience = 5 * time.Minute
)

// Patience returns the Cap with which one instance alone reaches 1/α after this
// time and not before. α is a gate's chance of a false alarm, above 0 and below 1.
func Patience(patience time.Duration, alpha float64) float64 {
	patience = max(MinPatience, min(MaxPatience, patience))
	return Stride * -math.Log(alpha) / patience.Seconds()
}

// Margins are what a rate of the new fleet is allowed to be.
type Margins struct {
	Ratio float64 // at most so many times the old fleet's,
	Plus  float64 // plus this share of requests
	// Proven is by how much more than the old fleet's it is shown to be at most. A
	// ratio has no place there: bursts that befall both fleets alike are "half as
	// bad as allowed" under a ratio of 1.5, and would prove anything.
	Proven float64
}

// DefaultMargins allow 1.5 times the old fleet's rate plus 0.1 points, and ask
// proof of at most half a point more. Less than that needs a lot of traffic.
func DefaultMargins() Margins { return Margins{Ratio: 1.5, Plus: 0.001, Proven: 0.005} }

// worse and better are how many times worse than allowed experts believe the
// rate of a rare event to be.
func worse() []float64  { return []float64{1.5, 2.5, 5, 12, 40} }
func better() []float64 { return []float64{0.05, 0.2, 0.4, 0.6, 0.8} }

// Rate returns a gate of how often an event is seen: Errors, ServerErrors,
// ClientErrors, Retries, Abandoned. Cells: None, Event. A request that its
// caller gave up is no error of either fleet; it is an Event of Abandoned.
func Rate(kind Kind, m Margins) Gate {
	event := []float64{0, 1}
	return Gate{
		Kind: kind, Cells: 2, Cap: DefaultCap,
		Sides: []Side{{Name: string(kind), Ratio: m.Ratio, Plus: m.Plus, Beliefs: worse(), Cautious: 5, X: event}},
		Proof: []Side{{Name: string(kind), Ratio: 1, Plus: m.Proven, Beliefs: better(), X: event}},
	}
}

// Losses returns the gate of instances that were lost or restarted while they
// served. What is counted is not requests but seconds of instances: None for a
// second served, Event for one in which the instance was lost; Share is the new
// fleet's part of the seconds, Slot the instance's place, which a replacement
// inherits. Without it a fleet that crashes in a loop leaves the route, and every
// other gate falls silent. Allowed are 1.5 times the old fleet's, plus one an hour.
func Losses() Gate {
	g := Rate(InstanceLoss, Margins{Ratio: 1.5, Plus: 1.0 / 3600})
	g.Proof = nil
	return g
}

// Latencies returns a gate of how long requests took: Latency, FirstChunk.
// Cells: how many of the old fleet's Cuts a request exceeded (Cuts.Level).
// Proof is of the slower half and of the slowest tenth: to show anything of the
// slowest hundredth takes a hundred thousand requests.
func Latencies(kind Kind) Gate {
	tail := []float64{1.15, 1.4, 2, 4, 10}
	half := Side{Name: "p50", Ratio: 1, Control: 0.5, Beliefs: tail[:3], X: []float64{0, 1, 1, 1}}
	tenth := Side{Name: "p90", Ratio: 1, Beliefs: tail, X: []float64{0, 0, 1, 1}}
	hundredth := Side{Name: "p99", Ratio: 1, Beliefs: tail, X: []float64{0, 0, 0, 1}}
	g := Gate{Kind: kind, Cells: 4, Cap: DefaultCap, Sides: []Side{half, tenth, hundredth}}
	for i := range g.Sides {
		g.Sides[i].Cautious = 3
	}
	half.Beliefs, tenth.Beliefs = better(), better()
	g.Proof = []Side{half, tenth}
	return g
}

// grid are the distances that Pair counts; one between them is counted as parts
// of its neighbours. Wealth is a concave function of the distance, so that this
// only ever understates it.
func grid(least, most float64) []float64 {
	const steps = 8
	g := make([]float64, steps+1)
	for i := range g {
		g[i] = least + (most-least)*float64(i)/steps
	}
	return g
}

// Pairs returns the gate of how far the two fleets' answers to one request lie
// apart, from 0 to 1 (Process.Pair), where tolerance is allowed on average at
// every moment: a batch of the one class that the fleets answer differently is
// no coin, and may fire. A copy that failed is no pair but of MirrorFailures,
// and where the old fleet failed, or the copy was shed, there is none. Slot is
// the place of the new fleet's instance, of eight.
func Pairs(tolerance float64) Gate {
	g := paired(Disagreement, grid(0, 1), tolerance)
	g.Sides[0].Beliefs, g.Proof[0].Beliefs = worse(), better()
	g.Sides[0].Cautious = 3
	return g
}

// NoisyPairs returns the gate of pairs for models that do not repeat themselves:
// the old fleet answers twice, and what is counted is the distance of new from
// old less ratio times that of old from old; tolerance is allowed beyond that.
func NoisyPairs(ratio, tolerance float64) Gate {
	g := paired(Disagreement, grid(-ratio, 1), tolerance)
	for _, part := range []float64{0.1, 0.3, 0.5, 0.7, 0.9} {
		g.Sides[0].Stakes = append(g.Sides[0].Stakes, part/(ratio+tolerance))
		g.Proof[0].Stakes = append(g.Proof[0].Stakes, -part)
	}
	g.Sides[0].Cautious = 3
	return g
}

// MirrorFailures returns the gate of copies that failed on the new fleet: of each
// that was sent, Pair counts 1 if it failed where the old fleet answered, -1 if it
// was answered where the old fleet failed, else 0; so what befalls both fleets
// alike is no evidence. allowed is a share of the copies, usually 0.05.
func MirrorFailures(allowed float64) Gate {
	g := paired(MirrorFailure, []float64{-1, 0, 1}, allowed)
	g.stake()
	g.Sides[0].Cautious = 3
	return g
}

// Labels returns the gate of labels that come later: Pair counts 1 where only
// the old fleet's answer was right, -1 where only the new one's was, else 0.
// loss is how much accuracy may be lost, as a share of requests.
func Labels(loss float64) Gate {
	g := paired(Accuracy, []float64{-1, 0, 1}, loss)
	g.Cap = 0
	g.stake()
	return g
}

// stake lets the experts of a gate of differences, from -1 to 1, bet.
func (g *Gate) stake() {
	g.Sides[0].Stakes = []float64{0.05, 0.1, 0.2, 0.4, 0.8}
	g.Proof[0].Stakes = []float64{-0.05, -0.1, -0.2, -0.4, -0.8}
}

func paired(kind Kind, x []float64, allowed float64) Gate {
	s := Side{Name: string(kind), Plus: allowed, X: x}
	return Gate{
		Kind: kind, Cells: len(x), Paired: true, Cap: DefaultCap, Sides: []Side{s}, Proof: []Side{s},
	}
}

// Ways returns how many times one request is counted in a gate, if it is counted
// at all: once for each group of cells.
func (g *Gate) Ways() int {
	var begins []int
	for _, s := range g.Sides {
		if !slices.Contains(begins, s.First) {
			begins = append(begins, s.First)
		}
	}
	return len(begins)
}

// experts is how many experts the gate's sides have.
func (g *Gate) experts() (n int) {
	for i := range g.Sides {
		n += g.Sides[i].experts()
	}
	return n
}
