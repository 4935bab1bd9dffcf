package rollout

import (
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
)

// Moment is one entry of a timeline: the deployment enters State that long
// after it began.
type Moment struct {
	At    time.Duration
	State State
}

// Timeline returns how p would run if all went well and instances started and
// stopped in no time: the waits alone, with requests enough,
// and what has to be proven is. It is Next itself
// that runs.
func Timeline(p Plan, begin time.Time) []Moment {
	s := Start(p, begin)
	line := []Moment{{0, s}}
	now := s.Begun
	for !s.Phase.Terminal() {
		next, wake := Next(p, s, p.ideal(s, now))
		if wake.IsZero() {
			break // not reached: with ideal facts something always follows
		}
		if wake.Equal(now) {
			line = append(line, Moment{now.Sub(next.Begun), next})
		}
		s, now = next, wake
	}
	return line
}

// ideal are the facts of a world in which whatever is wanted is there.
func (p Plan) ideal(s State, now time.Time) Facts {
	f := Facts{
		Now: now, Observed: Observation{Until: now},
		GreenRequests: s.Requests + int64(max(1, p.Policy.MinimumRequests)),
		Old:           make([]Fleet, len(s.Variants)), New: make([]Fleet, len(s.Variants)),
	}
	for i, c := range s.Variants {
		f.Old[i] = Fleet{Ready: c.OldWanted, Exists: c.OldWanted}
		f.New[i] = Fleet{Ready: c.NewWanted, Exists: c.NewWanted}
	}
	for _, g := range p.Policy.Gates {
		for _, v := range p.Variants {
			if g.Action == gate.Hold { // what may end a bake before its time does not
				seen := gate.Fact{Kind: g.Kind, Variant: v.Name, Since: s.Begun, Step: s.Step, Proof: 2 * g.Threshold()}
				f.Gates = append(f.Gates, GateFact{Fact: seen})
			}
		}
	}
	return f
}
