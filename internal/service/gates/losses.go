package gates

import (
	"time"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// lives are the instances of a variant that served when they were last looked at,
// and what became of them since. What is counted is seconds of instances: without
// it a new fleet that crashes again and again gets no requests, and every other
// gate falls silent.
type lives struct {
	at      time.Time
	serving map[hosting.InstanceID]life
	counts  []evidence.Count // since they were taken
}

// life is an instance that serves, where it does.
type life struct {
	old     bool
	slot    int
	address string
}

// longestLook is how far two looks may be apart. What is lost in more time counts
// for neither fleet: nobody watched.
const longestLook = 15 * time.Second

// Stands takes note of how the instances do that a deployment's fleets have. Whoever
// reads them tells of it, once a second or so. It waits for nothing.
func (s *Service) Stands(id hosting.DeploymentID, e *hosting.Endpoint, is []hosting.Instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.watched[id]
	if w == nil || !w.running || !comparable(e) {
		return
	}
	for _, v := range w.variants {
		if v.scale(evidence.InstanceLoss) != nil {
			v.lives.look(servingOf(e, v.place.Variant, is), is, time.Now())
		}
	}
}

// servingOf are the instances of both fleets that take requests of a variant.
func servingOf(e *hosting.Endpoint, variant string, is []hosting.Instance) map[hosting.InstanceID]life {
	all := map[hosting.InstanceID]life{}
	for _, f := range []*hosting.Fleet{e.Fleet, e.Deployment.Green} {
		of := f.Variant(variant)
		if of == nil {
			continue
		}
		left := of.Active
		for _, in := range is {
			if in.Fleet == f.ID && in.Variant == variant && serves(in) && left > 0 {
				left--
				all[in.ID] = life{old: f == e.Fleet, slot: max(0, in.Ordinal) % evidence.MaxSlots, address: in.Address}
			}
		}
	}
	return all
}

func serves(in hosting.Instance) bool { return in.Wanted && in.Status == hosting.InstanceReady }

// look counts what became of the instances that served, and takes those that serve
// now. One that is not wanted any more was not lost; one that is somewhere else has
// ended in between.
func (l *lives) look(serving map[hosting.InstanceID]life, is []hosting.Instance, now time.Time) {
	seconds := now.Sub(l.at).Seconds()
	fresh := 0.0
	for _, was := range l.serving {
		if !was.old {
			fresh++
		}
	}
	share := fresh / max(1, float64(len(l.serving)))
	for i := range is {
		in := &is[i]
		was, served := l.serving[in.ID]
		if !served || !(share > 0 && share < 1) || seconds <= 0 || seconds > longestLook.Seconds() {
			continue
		}
		n := evidence.Count{Share: share, Old: was.old, Slot: was.slot, N: seconds}
		if in.Wanted && (!serves(*in) || in.Address != was.address) {
			l.counts = append(l.counts, evidence.Count{
				Share: share, Old: was.old, Slot: was.slot, Cell: evidence.Event, N: 1,
			})
		}
		l.counts = append(l.counts, n)
	}
	l.at, l.serving = now, serving
}

// setLosses takes what was counted of a variant's instances.
func (v *variantOf) setLosses() {
	if c := v.scale(evidence.InstanceLoss); c != nil {
		for _, n := range v.lives.counts {
			c.Count(n)
		}
		v.lives.counts = nil
	}
}
