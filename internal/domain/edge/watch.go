package edge

import (
	"fmt"
	"time"
)

// Watch is what a stage knows of the time in which somebody looked at it and
// heard its devices. Where "nothing bad was heard for so long" decides, only such
// time counts: a server that was down, frozen or without its database has heard
// nothing, and a clock that jumped has let nobody speak.
type Watch struct {
	Last   time.Time     `json:"Last,omitzero"`    // the latest look; zero: no time is being counted
	Missed time.Duration `json:"Missed,omitempty"` // how long nobody looked, since the order was made
	Until  time.Time     `json:"Until,omitzero"`   // when that ended for the last time
	Bake   time.Time     `json:"Bake,omitzero"`    // from when the bake counts; zero: it has not begun
	Again  int           `json:"Again,omitempty"`  // how often the bake has started over
}

// maxAgain is how often a bake starts over. From then on a gap only makes it
// longer by what was missed, so that a server that restarts every night ends it.
const maxAgain = 5

// slack is how much later than planned a look may be.
const slack = 5 * time.Second

// lookEvery returns how often somebody has to look at the stage, by the shortest
// time that is being counted; 0 if none is.
func (s Stage) lookEvery(p Policy, f Facts) time.Duration {
	var d time.Duration
	shortest := func(counts bool, o time.Duration) {
		if counts && o > 0 && (d == 0 || o < d) {
			d = o
		}
	}
	waits := s.Offers() && s.Counts.Pending() > 0
	shortest(waits, p.DeviceTimeout)
	shortest(waits && p.SuccessThreshold > 0 && s.Verdict == Undecided, p.Window())
	shortest(s.Status == StageStopping, f.StopGrace)
	shortest(s.bakes(p, f), p.Bake)
	if d == 0 {
		return 0
	}
	return min(time.Minute, max(time.Second, d/8))
}

// bakes reports whether the next stage is to follow this one: nobody stopped it.
func (s Stage) bakes(p Policy, f Facts) bool {
	stopped := s.Status == StageStopping || s.Status == StageStopped
	return s.Verdict == Passed && p.AutoNext && !s.Chained && !f.Last && !stopped
}

// Baked reports whether the stage has passed and its bake is over, so that the
// next stage is to be started unless a fact speaks against it.
func (s Stage) Baked(p Policy, f Facts) bool {
	if s.Watch.Bake.IsZero() {
		s.Watch.Bake = f.Now
	}
	return s.bakes(p, f) && !f.Now.Before(s.Watch.Bake.Add(p.Bake))
}

// Watched returns the stage once somebody has looked at it at f.Now. If nobody
// had for too long, or this server has missed something since, what was missed
// does not count.
func (s Stage) Watched(p Policy, f Facts) Stage {
	every := s.lookEvery(p, f)
	if every == 0 {
		return s
	}
	last := s.Watch.Last
	known := !last.IsZero()
	if !known {
		last = s.Ordered
		if s.bakes(p, f) {
			last = f.Now // its bake begins
		}
	}
	away := f.Now.Sub(last)
	if f.Listening.After(last) || known && (away > 2*every+slack || away < -slack) {
		return s.missed(p, f, max(0, away))
	}
	if !known || away >= every/2 {
		s.Watch.Last = f.Now
	}
	return s
}

func (s Stage) missed(p Policy, f Facts, away time.Duration) Stage {
	w := &s.Watch
	w.Last, w.Until, w.Missed = f.Now, f.Now, w.Missed+away
	switch {
	case !s.bakes(p, f) || w.Bake.IsZero(): // it begins when it is looked at
	case w.Again < maxAgain:
		w.Again, w.Bake = w.Again+1, f.Now
	default:
		w.Bake = earlier(w.Bake.Add(away), f.Now)
	}
	return s
}

// Looked returns the stage while a sweep goes over it, which is a look, too,
// unless something was missed that is still to be noted.
func (s Stage) Looked(f Facts) Stage {
	if w := &s.Watch; f.Now.Sub(w.Last) < time.Minute && !f.Listening.After(w.Last) {
		w.Last = later(w.Last, f.Now)
	}
	return s
}

// Since returns the moment from which at least d was watched until now.
func (s Stage) Since(now time.Time, d time.Duration) time.Time {
	if now.Sub(s.Watch.Until) >= d {
		return now.Add(-d)
	}
	return now.Add(-d - s.Watch.Missed)
}

// Missed tells what nobody watched that next has noted and s has not; "" if
// there is nothing to tell.
func (s Stage) Missed(next Stage) string {
	if s.Watch.Until.Equal(next.Watch.Until) {
		return ""
	}
	text := fmt.Sprintf("nobody watched for %s until now; that time does not count",
		(next.Watch.Missed - s.Watch.Missed).Round(time.Millisecond))
	if next.Watch.Again != s.Watch.Again {
		text += ", and the bake starts over"
	}
	return text
}
