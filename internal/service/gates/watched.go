package gates

import (
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// watched is a deployment whose fleets are compared.
type watched struct {
	id       hosting.DeploymentID
	scope    arn.Scope
	key      traffic.Key
	names    gate.Names
	gates    []gate.Gate
	since    time.Time // when counting began
	begun    time.Time // the deployment
	step     int
	running  bool // it may still be rolled back
	opened   bool // its series have begun
	variants []*variantOf
	missed   int64 // requests that were not counted
}

// variantOf is one variant of it.
type variantOf struct {
	place     Place
	scales    []*scale
	any       []*evidence.Process
	anyTrail  gate.Trail
	share     float64 // of the new fleet
	heldSince time.Time
	shed      int64
	facts     []gate.Fact
	spoken    map[gate.Kind]gate.Fact // with which gates fired
}

// scale is one gate of a variant.
type scale struct {
	kind  evidence.Kind
	asked bool // the deployment has that gate: it can judge, and is in the record
	sum   float64
	*evidence.Process
	trail gate.Trail
}

// pair counts what came of a pair. What the record says of copies that fail are
// those of the new fleet alone.
func (v *variantOf) pair(k evidence.Kind, slot int, x float64) {
	if c := v.scale(k); c != nil && c.Pair(slot, x) {
		c.sum += max(0, x)
	}
}

func (v *variantOf) scale(k evidence.Kind) *scale {
	for _, c := range v.scales {
		if c.kind == k {
			return c
		}
	}
	return nil
}

// always are the gates whose values are published of every deployment. Of those,
// Any is the mean of inAny and of the ones that were asked for: answers by status
// are errors already.
var (
	always = [...]evidence.Kind{
		evidence.Errors, evidence.ServerErrors, evidence.ClientErrors, evidence.Retries, evidence.Abandoned,
	}
	inAny = map[evidence.Kind]bool{evidence.Errors: true, evidence.Retries: true, evidence.Abandoned: true}
)

// comparable reports whether e's deployment has two fleets to compare.
func comparable(e *hosting.Endpoint) bool {
	if e == nil || e.Fleet == nil {
		return false
	}
	d := e.Deployment
	return d.Green != nil && d.Plan.Kind == rollout.Update && d.State.Phase.Undoable()
}

// fresh reports whether e's deployment has moved no traffic yet.
func fresh(e *hosting.Endpoint) bool {
	return e.Deployment.State.Phase == rollout.Launching && e.Deployment.State.Step == 0
}

// begin watches e's deployment. s.mu is held.
func (s *Service) begin(e *hosting.Endpoint, now time.Time) *watched {
	d := e.Deployment
	w := &watched{
		id: d.ID, scope: e.Scope, key: traffic.Key{Region: e.Scope.Region, Name: e.Name}, names: d.Names(),
		gates: d.Plan.Policy.Gates, since: now, begun: d.State.Begun,
	}
	for id, other := range s.watched {
		if other.key == w.key { // it is over, though nobody said so
			delete(s.watched, id)
		}
	}
	for _, of := range d.Plan.Variants {
		if of.Old == 0 || of.New == 0 {
			continue
		}
		v := &variantOf{place: Place{w.key, of.Name}, heldSince: now}
		v.weigh(w.gates)
		w.variants = append(w.variants, v)
		s.Watch(v.place, Fleets{Old: string(e.Fleet.ID), New: string(d.Green.ID)})
	}
	s.watched[w.id] = w
	s.stand(w, e, now)
	return w
}

// weigh begins the processes of a variant.
func (v *variantOf) weigh(gates []gate.Gate) {
	add := func(k evidence.Kind, t evidence.Gate, asked bool) {
		c := &scale{kind: k, asked: asked, Process: evidence.New(t)}
		v.scales = append(v.scales, c)
		if said := asked && k != evidence.Errors; said || inAny[k] {
			v.any = append(v.any, c.Process)
		}
	}
	for _, k := range always {
		g, asked := gate.Find(gates, gate.Kind(k))
		t := evidence.Rate(k, evidence.DefaultMargins())
		if asked {
			t, _ = g.Test()
		}
		add(k, t, asked)
	}
	for _, k := range []evidence.Kind{evidence.Disagreement, evidence.MirrorFailure} {
		if g, asked := gate.Find(gates, gate.Kind(k)); asked {
			t, _ := g.Test()
			add(k, t, true)
		}
	}
}

// stand takes note of how the deployment stands. s.mu is held.
func (s *Service) stand(w *watched, e *hosting.Endpoint, now time.Time) {
	d := e.Deployment
	w.step, w.running = d.State.Step, d.State.Phase.Undoable()
	for _, v := range w.variants {
		for i, of := range d.Plan.Variants {
			if of.Name != v.place.Variant || i >= len(d.State.Variants) {
				continue
			}
			if share := d.State.Variants[i].NewShare; (share > 0) != (v.share > 0) || (share < 1) != (v.share < 1) {
				v.share, v.heldSince = share, now
			} else {
				v.share = share
			}
		}
		if !w.running {
			s.Forget(v.place)
		}
	}
}

// forget watches w no more. s.mu is held.
func (s *Service) forget(w *watched) {
	delete(s.watched, w.id)
	for _, v := range w.variants {
		s.Forget(v.place)
	}
}

// series are those that alarms can watch.
func (w *watched) series() (ids []metric.ID) {
	for _, v := range w.variants {
		for _, c := range v.scales {
			ids = append(ids, v.series(c.kind))
		}
		ids = append(ids, v.series(evidence.Any))
	}
	return ids
}

func (v *variantOf) series(k evidence.Kind) metric.ID {
	return metric.ID{Namespace: alarm.Evidence, Name: k.Metric(), Dimensions: []metric.Dimension{
		{Name: "EndpointName", Value: v.place.Endpoint.Name}, {Name: "VariantName", Value: v.place.Variant},
	}}
}

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
	s.stride = strideOf(now)
	var values []value
	var fired []*watched
	var whys []string
	for _, w := range s.watched {
		if !w.running {
			continue
		}
		for _, v := range w.variants {
			values = append(values, s.weighVariant(w, v, now)...)
			v.keep(w)
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
	s.mu.Unlock()
	for i, w := range fired {
		s.cfg.Trip(w.id, whys[i])
	}
	for _, v := range values {
		// That there is no room for a series was told when it should have begun.
		_ = s.cfg.Put(v.scope, v.id, now, v.value)
	}
}

// weighVariant takes what was counted of a variant, and returns what to publish.
func (s *Service) weighVariant(w *watched, v *variantOf, now time.Time) (values []value) {
	taken := s.Take(v.place)
	if w.missed += taken.Missed; taken.Missed > 0 && w.missed == taken.Missed {
		s.cfg.Log.Warn("some requests are not compared: the deployment has too many steps", "deployment", w.id)
	}
	v.facts = nil
	publish := func(k evidence.Kind, x float64) {
		if w.opened {
			values = append(values, value{w.scope, v.series(k), x})
		}
	}
	for _, c := range v.scales {
		for _, n := range taken.Counts[c.kind] {
			c.Count(n)
		}
		x := c.Value()
		publish(c.kind, x)
		if c.asked {
			f := w.fact(v, gate.Kind(c.kind), now, x, &c.trail)
			f.Seen = c.seen()
			if f.Kind.Paired() && v.shed > 0 {
				f.Seen.Unseen = float64(v.shed) / float64(v.shed+f.Seen.New.Requests)
			}
			v.facts = append(v.facts, f)
		}
	}
	x := evidence.AnyOf(v.any...)
	publish(evidence.Any, x)
	if _, asked := gate.Find(w.gates, gate.Any); asked {
		f := w.fact(v, gate.Any, now, x, &v.anyTrail)
		loud := v.loudest()
		f.Seen = loud.seen()
		f.Seen.Side = string(loud.kind)
		v.facts = append(v.facts, f)
	}
	return values
}

// keep has a gate that fired go on saying so: the turn that acts on it may come late.
func (v *variantOf) keep(w *watched) {
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

// fact is what a gate has seen, without its numbers.
func (w *watched) fact(v *variantOf, k gate.Kind, now time.Time, x float64, trail *gate.Trail) gate.Fact {
	*trail = trail.Add(gate.Point{At: now, Log10: x})
	f := gate.Fact{
		Kind: k, Variant: v.place.Variant, Deployment: string(w.id), Since: w.since, At: now, Log10: x, Step: w.step,
		Trail: *trail,
	}
	switch {
	case v.share >= 1:
		f.Held, f.HeldSince = "all traffic is on the new fleet", v.heldSince
	case v.share <= 0 && !k.Paired():
		f.Held, f.HeldSince = "no traffic is on the new fleet", v.heldSince
	}
	return f
}

// loudest is the gate that speaks loudest, of those that Any is the mean of.
func (v *variantOf) loudest() (loud *scale) {
	for _, c := range v.scales {
		for _, p := range v.any {
			if p == c.Process && (loud == nil || c.Value() > loud.Value()) {
				loud = c
			}
		}
	}
	return loud
}

// seen are the numbers behind a value.
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
