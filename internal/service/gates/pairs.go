package gates

import (
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// maxPairs is how many pairs are kept between two looks, a second apart. Those
// beyond count as shed, whatever came of them.
const maxPairs = 1 << 14

// pairs are those that were told since the last look. Whoever tells of one never
// waits for what is made of it.
type pairs struct {
	mu   sync.Mutex // guards what follows; nobody does anything slow under it
	told []pairOf
	over map[of]int64 // of which there was no room
}

// of is a variant of a deployment.
type of struct {
	deployment hosting.DeploymentID
	variant    string
}

// pairOf is what came of a pair.
type pairOf struct {
	of
	drawn    time.Time // the request
	slot     int
	shed     bool        // it was not compared
	unread   gate.Unread // why, if it was not for want of room
	answered bool        // both fleets did
	distance float64
	example  gate.Example
	failed   float64 // 1: the new fleet's alone, -1: the old one's
}

func (p *pairs) tell(n pairOf) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.told) < maxPairs {
		p.told = append(p.told, n)
		return
	}
	if p.over == nil {
		p.over = map[of]int64{}
	}
	p.over[n.of]++
}

// take returns what was told since the last time.
func (p *pairs) take() (told []pairOf, over map[of]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	told, over = p.told, p.over
	p.told, p.over = nil, nil
	return told, over
}

// Pair is a request that both fleets of a deployment were sent.
type Pair struct {
	Deployment hosting.DeploymentID
	Variant    string
	Drawn      time.Time // the request, for the old fleet
	Slot       int       // the place of the new fleet's instance
	// Example says where it is captured; zero: nowhere.
	Example gate.Example
}

func (p Pair) of() of { return of{p.Deployment, p.Variant} }

// Compared takes how far the answers of both fleets to one request are apart, from
// 0 to 1.
func (s *Service) Compared(p Pair, distance float64) {
	n := pairOf{of: p.of(), drawn: p.Drawn, slot: p.Slot, distance: distance, example: p.Example}
	n.example.Distance = distance
	s.pairs.tell(n)
}

// Failed takes that one fleet alone failed a request that both were sent.
func (s *Service) Failed(p Pair, ofNew bool) {
	x := -1.0
	if ofNew {
		x = 1
	}
	s.pairs.tell(pairOf{of: p.of(), drawn: p.Drawn, slot: p.Slot, failed: x})
}

// Shed takes that a copy was not sent, or not compared: because nothing in the
// answers could be, as why says, or for want of room. answered says that both fleets
// did: such a copy has not failed.
func (s *Service) Shed(p Pair, answered bool, why gate.Unread) {
	s.pairs.tell(pairOf{of: p.of(), drawn: p.Drawn, slot: p.Slot, shed: true, unread: why, answered: answered})
}

// count counts what was told of pairs. s.mu is held.
func (s *Service) countPairs() {
	told, over := s.pairs.take()
	for _, p := range told {
		v := s.variant(p.of)
		switch {
		case v == nil:
		case p.shed:
			if p.unread != (gate.Unread{}) {
				v.incomparable.Add(p.unread)
			} else {
				v.shed++
			}
			if p.answered {
				v.pair(evidence.MirrorFailure, p, 0)
			}
		case p.failed != 0:
			v.pair(evidence.MirrorFailure, p, p.failed)
		default:
			v.pair(evidence.Disagreement, p, p.distance)
			v.examples = gate.WithExample(v.examples, p.example)
			v.pair(evidence.MirrorFailure, p, 0)
		}
	}
	for o, n := range over {
		if v := s.variant(o); v != nil {
			v.shed += n
		}
	}
}

// variant is one that is watched and may still be rolled back; nil if it is not.
func (s *Service) variant(o of) *variantOf {
	if w := s.watched[o.deployment]; w != nil && w.running {
		for _, v := range w.variants {
			if v.place.Variant == o.variant {
				return v
			}
		}
	}
	return nil
}

// pair counts what came of a pair. What the record says of copies that fail are
// those of the new fleet alone.
func (v *variantOf) pair(k evidence.Kind, p pairOf, x float64) {
	c := v.scale(k)
	if c == nil || !c.Pair(p.slot, x) {
		return
	}
	c.sum += max(0, x)
	if c.proof != nil {
		c.proof.Pair(p.drawn.Unix(), x)
	}
}

// unseen is which part of the copies was not compared for want of room, 0 to 1, of
// so many that were.
func unseen(shed, compared int64) float64 {
	if shed == 0 {
		return 0
	}
	return float64(shed) / float64(shed+compared)
}

// Mark is how many pairs there were when the traffic of a step moved: what is not
// compared in one step says nothing of the next. It is stored as JSON.
type Mark struct {
	Pairs  int64       `json:"pairs,omitempty"` // that the gate counts
	Shed   int64       `json:"shed,omitempty"`  // copies that were not compared
	Unread gate.Unread `json:"unread,omitzero"` // pairs in which nothing was
}

// mark is how many there are now, of a gate of pairs.
func (v *variantOf) mark(c *scale) (m Mark) {
	if !c.Gate().Paired {
		return m
	}
	if m = (Mark{Pairs: c.seen().New.Requests, Shed: v.shed}); c.kind == evidence.Disagreement {
		m.Unread = v.incomparable
	}
	return m
}

// uncompared is which part of the pairs was not compared since the proof of c began.
func (v *variantOf) uncompared(c *scale) float64 {
	now, was := v.mark(c), c.before
	pairs := now.Pairs - was.Pairs
	return gate.Seen{
		New: gate.Tally{Requests: pairs}, Unseen: unseen(now.Shed-was.Shed, pairs), Unread: gate.Unread{
			Blank: now.Unread.Blank - was.Unread.Blank, Long: now.Unread.Long - was.Unread.Long,
			Loose: now.Unread.Loose - was.Unread.Loose,
		},
	}.Uncompared()
}
