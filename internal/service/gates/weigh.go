package gates

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/gate"
)

// value is one to publish.
type value struct {
	scope arn.Scope
	id    metric.ID
	value float64
}

// weigh takes what was counted, publishes what it says by now, and takes traffic
// back where a gate fired.
func (s *Service) weigh(now time.Time) {
	s.mu.Lock()
	ended := strideOf(now) != s.stride
	clocked := s.clocked(now)
	s.stride, s.weighed = strideOf(now), now
	s.countPairs()
	var values []value
	var fired []*watched
	var whys []string
	for _, w := range s.watched {
		if !w.running {
			continue
		}
		if clocked != 0 {
			s.setClock(w, clocked, now)
		}
		for _, v := range w.variants {
			s.setPace(v, now, ended)
			s.setAnswers(w, v, now)
			v.setLosses()
			values = append(values, s.weighVariant(w, v, now)...)
			v.stick(w)
			if ended {
				for _, c := range v.scales {
					c.Close()
				}
			}
		}
		if why := w.fired(); why != "" {
			fired, whys = append(fired, w), append(whys, why)
		}
	}
	s.unlock()
	for i, w := range fired {
		s.cfg.Trip(w.id, whys[i])
	}
	for _, v := range values {
		// That there is no room for a series was told when it should have begun.
		_ = s.cfg.Put(v.scope, v.id, now, v.value)
	}
}

// clocked says how far ahead the clock was set since the last time: it was set back
// if that is negative. 0 if not by much. s.mu is held.
func (s *Service) clocked(now time.Time) time.Duration {
	const slack = 3 * time.Second
	ahead := now.Round(0).Sub(s.since.Round(0)) - now.Sub(s.since)
	by := ahead - s.ahead
	if s.ahead = ahead; by > slack || by < -slack {
		return by
	}
	return 0
}

// setClock has proofs begin anew, and requests be counted anew, since those of two
// times would be of one second. If the clock was set back, series begin anew, too:
// until it has caught up, they would take no value. s.mu is held.
func (s *Service) setClock(w *watched, by time.Duration, now time.Time) {
	w.proveAnew(now)
	for _, v := range w.variants {
		s.dropCohorts(v.place)
	}
	if by < 0 {
		w.opened = false
	}
}

// weighVariant takes what was counted of a variant, and returns what to publish.
func (s *Service) weighVariant(w *watched, v *variantOf, now time.Time) (values []value) {
	taken := s.Take(v.place)
	if v.missed += taken.Missed; taken.Missed > 0 && v.missed == taken.Missed {
		s.later(func() {
			s.cfg.Log.Warn("some requests are not compared: the deployment has too many steps", "deployment", w.id)
		})
	}
	s.prove(v, now)
	v.facts = nil
	publish := func(name string, x float64) {
		if w.opened {
			values = append(values, value{w.scope, v.series(name), x})
		}
	}
	for _, c := range v.scales {
		for _, n := range taken.Counts[c.kind] {
			c.Count(n)
		}
		x := c.Value()
		publish(c.kind.Metric(), x)
		if c.proof != nil {
			publish(c.kind.ProofMetric(), c.proof.Value())
		}
		if c.asked {
			v.facts = append(v.facts, w.factOf(v, c, now, x))
		}
	}
	x := v.loudness()
	publish(evidence.Any.Metric(), x)
	if _, asked := gate.Find(w.gates, gate.Any); asked {
		v.anyTrail = v.anyTrail.Add(gate.Point{At: now, Log10: x})
		f := w.fact(v, gate.Any, now, x)
		f.Trail, f.Since = v.anyTrail, v.anySince()
		loud := v.loudest()
		f.Seen = v.seen(loud)
		f.Seen.Side = string(loud.kind)
		v.facts = append(v.facts, f)
	}
	return values
}

// prove takes what was counted of a variant by the second, and lets those seconds
// count for its proofs that are over and whose requests have ended.
func (s *Service) prove(v *variantOf, now time.Time) {
	all := s.TakeCohorts(v.place)
	for _, c := range v.scales {
		if c.proof == nil {
			continue
		}
		for _, of := range all {
			for f := range of.Began {
				n := evidence.Count{Share: of.Share, Old: f == 1, N: of.Began[f]}
				if n.N > 0 && !c.Gate().Paired {
					c.proof.Started(of.Second, n)
				}
				for cell, ended := range of.Ended[f][c.kind] {
					if n.Cell, n.N = cell, ended; ended > 0 {
						c.proof.Count(of.Second, n)
					}
				}
			}
		}
		c.proof.Close(now.Unix() - 1) // whoever was drawn in the last second has been told by the next
	}
}

// stick has a gate that fired go on saying so: the turn that acts on it may come late.
func (v *variantOf) stick(w *watched) {
	for i, f := range v.facts {
		g, _ := gate.Find(w.gates, f.Kind)
		if was, before := v.spoken[f.Kind]; before {
			v.facts[i] = was
		} else if g.Fired(f, w.begun) {
			if v.spoken == nil {
				v.spoken = map[gate.Kind]gate.Fact{}
			}
			v.spoken[f.Kind] = f
		}
	}
}

// factOf is what the gate of a scale has seen.
func (w *watched) factOf(v *variantOf, c *scale, now time.Time, x float64) gate.Fact {
	f := w.fact(v, gate.Kind(c.kind), now, x)
	f.Since, f.Seen = c.since, v.seen(c)
	f.Seen.Missed, f.Seen.Unwatched = v.missed, v.unwatched
	if f.Kind.Paired() {
		f.Seen.Missed, f.Seen.Unseen = 0, unseen(v.shed, f.Seen.New.Requests)
	}
	if c.kind == evidence.Disagreement {
		f.Seen.Unread, f.Examples = v.incomparable, v.examples
	}
	if f.Uncompared = f.Seen.Uncompared(); f.Kind.Paired() {
		f.Uncompared = v.uncompared(c)
	}
	if g, _ := gate.Find(w.gates, f.Kind); c.proof != nil && f.Uncompared <= gate.MostUnseen {
		if f.Proof = c.proof.Value(); c.proof.Proven(g.Alpha) {
			f.Proof = c.proof.Peak()
		}
	}
	c.trail = c.trail.Add(gate.Point{At: now, Log10: x, Proof: f.Proof})
	f.Trail = c.trail
	return f
}

// fact is what a gate has seen, without its numbers.
func (w *watched) fact(v *variantOf, k gate.Kind, now time.Time, x float64) gate.Fact {
	f := gate.Fact{
		Kind: k, Variant: v.place.Variant, Deployment: string(w.id), At: now, Log10: x, Step: w.step,
	}
	switch {
	case v.share >= 1:
		f.Held, f.HeldSince = "all traffic is on the new fleet", v.heldSince
	case v.share <= 0 && !k.Paired():
		f.Held, f.HeldSince = "no traffic is on the new fleet", v.heldSince
	default:
		if t, timed := timingOf(evidence.Kind(k)); timed {
			f.Held, f.HeldSince = v.pace.heldFor(t)
		}
		if k == gate.Drift && len(v.looks) == 0 {
			f.Held = "too few answers of the old fleet have been read"
		}
	}
	return f
}

// loudness is the value of Any.
func (v *variantOf) loudness() float64 {
	all := make([]*evidence.Process, 0, len(v.any))
	for _, c := range v.any {
		all = append(all, c.Process)
	}
	return evidence.AnyOf(all...)
}

// loudest is the gate that speaks loudest, of those that Any is the mean of.
func (v *variantOf) loudest() *scale {
	return slices.MaxFunc(v.any, func(a, b *scale) int { return cmp.Compare(a.Value(), b.Value()) })
}

// anySince is since when all of them count.
func (v *variantOf) anySince() (since time.Time) {
	for _, c := range v.any {
		if c.since.After(since) {
			since = c.since
		}
	}
	return since
}

// seen are the numbers behind the value of one of v's gates.
func (v *variantOf) seen(c *scale) gate.Seen {
	if t, timed := timingOf(c.kind); timed {
		return v.pace.seen(c.Process, t)
	}
	if c.kind == evidence.Drift {
		return v.answersSeen(c.Process)
	}
	return c.seen()
}

// seen are the numbers behind the value of a gate of events, or of pairs.
func (c *scale) seen() (n gate.Seen) {
	sum := func(cells []float64) (all float64) {
		for _, x := range cells {
			all += x
		}
		return all
	}
	fresh, old := c.Totals()
	if n.New.Requests = int64(sum(fresh) + 0.5); c.Gate().Paired {
		n.New.Events = c.sum
		return n
	}
	n.New.Events = fresh[evidence.Event]
	n.Old = gate.Tally{Events: old[evidence.Event], Requests: int64(sum(old) + 0.5)}
	return n
}

// fired is what the deployment's gates have against it, as sentences; "" if
// nothing.
func (w *watched) fired() string {
	var whys []string
	for _, v := range w.variants {
		for _, f := range v.facts {
			if g, _ := gate.Find(w.gates, f.Kind); g.Fired(f, w.begun) {
				of := ""
				if len(w.variants) > 1 {
					of = fmt.Sprintf(" of production variant %q", f.Variant)
				}
				whys = append(whys, fmt.Sprintf("gate %q%s fired: %s", string(f.Kind), of, g.Against(f, w.names)))
			}
		}
	}
	return strings.Join(whys, " Besides, ")
}
