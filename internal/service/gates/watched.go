package gates

import (
	"context"
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
	begun    time.Time   // the deployment
	step     int         // whose traffic has moved, from 0
	running  bool        // it may still be rolled back
	over     bool        // it has ended, but not its series
	opened   bool        // its series have begun
	full     bool        // they could not, for want of room
	left     []metric.ID // of one before it, which have to end
	variants []*variantOf
	kept     int64 // how often it was told what to keep
}

// variantOf is one variant of it.
type variantOf struct {
	place        Place
	pace         *pace
	looks        []look    // at answers; none: too little is known of the old fleet's past
	known        time.Time // since when there are looks
	unread       int64     // answers that there was no room to read
	lives        lives
	scales       []*scale
	any          []*scale // the mean of which Any is
	anyTrail     gate.Trail
	share        float64 // of the new fleet
	heldSince    time.Time
	shed         int64       // copies that were not compared for want of room
	incomparable gate.Unread // pairs of answers in which nothing could be compared
	examples     []gate.Example
	missed       int64         // requests that there was no room to count
	unwatched    time.Duration // for so long nobody counted
	facts        []gate.Fact
	spoken       map[gate.Kind]gate.Fact // with which gates fired
}

// scale is one gate of a variant.
type scale struct {
	kind  evidence.Kind
	asked bool      // the deployment has that gate: it can judge, and is in the record
	since time.Time // when counting began
	sum   float64
	*evidence.Process
	proof  *evidence.Proof // nil: nobody asks for one, or it cannot be
	before Mark            // the proof began
	trail  gate.Trail
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
		evidence.Latency,
	}
	inAny = map[evidence.Kind]bool{
		evidence.Errors: true, evidence.Retries: true, evidence.Abandoned: true, evidence.Latency: true,
	}
)

// standard is what a gate compares that nobody asked for.
func standard(k evidence.Kind) evidence.Gate {
	if _, timed := timingOf(k); timed {
		return evidence.Latencies(k)
	}
	return evidence.Rate(k, evidence.DefaultMargins())
}

// comparable reports whether e's deployment has two fleets to compare.
func comparable(e *hosting.Endpoint) bool {
	if e == nil || e.Fleet == nil {
		return false
	}
	d := e.Deployment
	return d.Green != nil && d.Plan.Kind == rollout.Update && d.State.Phase.Undoable()
}

// begin watches e's deployment, and goes on with what was kept of it. s.mu is held.
func (s *Service) begin(ctx context.Context, e *hosting.Endpoint, before map[string]*Document, now time.Time) *watched {
	d := e.Deployment
	w := &watched{
		id: d.ID, scope: e.Scope, key: traffic.Key{Region: e.Scope.Region, Name: e.Name}, names: d.Names(),
		gates: d.Plan.Policy.Gates, begun: d.State.Begun, step: moved(d),
	}
	for id, other := range s.watched {
		if other.key == w.key { // it is over, though nobody said so
			w.left = append(w.left, other.series()...)
			delete(s.watched, id)
		}
	}
	for _, of := range d.Plan.Variants {
		if of.Old == 0 || of.New == 0 {
			continue
		}
		v := &variantOf{place: Place{w.key, of.Name}, heldSince: now}
		s.weighs(v, w.gates, now)
		w.variants = append(w.variants, v)
		fleets := Fleets{Old: string(e.Fleet.ID), New: string(d.Green.ID)}
		v.pace = newPace(s.watch(v.place, fleets), d.Plan, now)
		if g, asked := gate.Find(w.gates, gate.Drift); asked {
			v.pace.reading.Store(newReading(fleets, g))
		}
	}
	s.resume(ctx, w, e, before, now)
	s.watched[w.id] = w
	s.stand(w, e, now)
	return w
}

// moved is the step of a deployment whose traffic has moved: not the next one's,
// while its instances start.
func moved(d *hosting.Deployment) int {
	if d.State.Phase == rollout.Launching {
		return max(0, d.State.Step-1)
	}
	return d.State.Step
}

// weighs begins the processes of a variant, and the proofs of gates that are in
// the record.
func (s *Service) weighs(v *variantOf, gates []gate.Gate, now time.Time) {
	add := func(k evidence.Kind, t evidence.Gate, asked bool) {
		c := &scale{kind: k, asked: asked, since: now, Process: evidence.New(t)}
		if longest, tracked := s.cfg.Longest, true; asked && len(t.Proof) > 0 && gate.Kind(k).Provable() {
			if t.Paired { // of pairs it is not told that they begin
				longest, tracked = s.cfg.LongestPair, false
			}
			c.proof = evidence.NewProof(t, int(longest/time.Second)+1, tracked, now.Unix()+1)
		}
		v.scales = append(v.scales, c)
		if asked || inAny[k] {
			v.any = append(v.any, c)
		}
	}
	for _, k := range always {
		g, asked := gate.Find(gates, gate.Kind(k))
		t := standard(k)
		if asked {
			t, _ = g.Test()
		}
		add(k, t, asked)
	}
	for _, k := range []evidence.Kind{
		evidence.InstanceLoss, evidence.FirstChunk, evidence.Drift, evidence.Disagreement, evidence.MirrorFailure,
	} {
		if g, asked := gate.Find(gates, gate.Kind(k)); asked {
			t, _ := g.Test()
			add(k, t, true)
		}
	}
}

// stand takes note of how the deployment stands. s.mu is held.
func (s *Service) stand(w *watched, e *hosting.Endpoint, now time.Time) {
	d := e.Deployment
	if step := moved(d); step != w.step { // what was proven of the one before says nothing of this one
		w.step = step
		w.proveAnew(now)
	}
	w.running = d.State.Phase.Undoable()
	if !d.State.Begun.Equal(w.begun) { // the clock was set back; what was seen is of this deployment all the same
		w.begun = d.State.Begun
		w.sinceBegun()
	}
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

// sinceBegun has no gate count from before the deployment began: nothing that it says
// would be heard.
func (w *watched) sinceBegun() {
	for _, v := range w.variants {
		for _, c := range v.scales {
			if c.since.Before(w.begun) {
				c.since = w.begun
			}
		}
	}
}

// proveAnew begins all proofs with the requests that are drawn from the next second
// on.
func (w *watched) proveAnew(now time.Time) {
	for _, v := range w.variants {
		for _, c := range v.scales {
			if c.proof != nil {
				c.proof.Begin(now.Unix() + 1)
				c.before = v.mark(c)
			}
		}
	}
}

// end counts for w no more. It is forgotten when its series have ended, too. s.mu is
// held.
func (s *Service) end(w *watched) {
	w.running, w.over = false, true
	for _, v := range w.variants {
		s.Forget(v.place)
	}
}

// series are those that alarms can watch.
func (w *watched) series() (ids []metric.ID) {
	for _, v := range w.variants {
		for _, c := range v.scales {
			ids = append(ids, v.series(c.kind.Metric()))
			if c.proof != nil {
				ids = append(ids, v.series(c.kind.ProofMetric()))
			}
		}
		ids = append(ids, v.series(evidence.Any.Metric()))
	}
	return ids
}

func (v *variantOf) series(name string) metric.ID {
	return metric.ID{Namespace: alarm.Evidence, Name: name, Dimensions: []metric.Dimension{
		{Name: "EndpointName", Value: v.place.Endpoint.Name}, {Name: "VariantName", Value: v.place.Variant},
	}}
}
