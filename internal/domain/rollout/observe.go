package rollout

import (
	"slices"
	"time"
)

// Gap is a stretch of time in which a bake was not observed. It is stored as
// JSON.
type Gap struct {
	Step int `json:"step"`
	// From is when observing ended, as far as that is known, and no earlier
	// than the bake began.
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`            // from then on it was observed again
	Missed string    `json:"missed,omitempty"` // why, as a sentence without a full stop
}

// Observation is what is known of the time that lies behind: Last is the last
// gap, and from its end until Until there was none. Traffic was measured, and
// alarms were evaluated, all that time. That no request came is no gap. The
// zero Observation says that nobody observes.
type Observation struct {
	Last  Gap
	Until time.Time
}

// onGoing is how close to each other gaps of the same kind are told as one:
// deployments are looked at every 10 seconds.
const onGoing = 15 * time.Second

// maxGaps is how many gaps a State remembers; of more, the last are told as one.
const maxGaps = 20

// baking is since when the present bake has been observed without a gap.
func (s State) baking() time.Time {
	if s.Restarted.After(s.Since) {
		return s.Restarted
	}
	return s.Since
}

// resumed is when observing began again. It may lie a moment ahead of f.Now,
// but not more.
func (f Facts) resumed() time.Time {
	if limit := f.Now.Add(recount); f.Observed.Last.Until.After(limit) {
		return limit
	}
	return f.Observed.Last.Until.Round(0).UTC()
}

// unobserved reports whether there was a gap in the bake that s is in, or the
// clock was set back since one was noted.
func (s State) unobserved(f Facts) bool {
	return s.Phase == Baking && (f.resumed().After(s.baking()) || s.Restarted.After(f.Now.Add(recount)))
}

// startOver begins the bake of s anew, because nobody saw a part of it. The
// requests of before count as little as the time: neither was judged.
func (s State) startOver(f Facts) State {
	g := Gap{Step: s.Step, From: s.baking(), Until: f.resumed(), Missed: f.Observed.Last.Missed}
	if from := f.Observed.Last.From.Round(0).UTC(); from.After(g.From) && from.Before(g.Until) {
		g.From = from
	}
	s.Restarted, s.Held, s.Requests = g.Until, 0, f.GreenRequests
	s.Gaps = slices.Clone(s.Gaps)
	if n := len(s.Gaps); n > 0 {
		// What goes on is one gap, however often it was looked at.
		last := &s.Gaps[n-1]
		same := last.Step == g.Step && last.Missed == g.Missed && g.From.Sub(last.Until) <= onGoing
		if same || n == maxGaps {
			last.Until, last.Missed = g.Until, g.Missed
			return s
		}
	}
	s.Gaps = append(s.Gaps, g)
	return s
}

// observed reports whether the bake of s was observed long enough.
func (p Plan) observed(s State, f Facts) bool {
	baked := p.ends(s, f)
	return !f.Now.Before(baked) && !f.Observed.Until.Before(baked)
}
