package alarms

import (
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/clock"
)

// trip tells of an alarm that goes into ALARM, unless it watches evidence and none
// of that is known to be bad.
func (s *Service) trip(e *entry, to alarm.State) {
	if to.Value != alarm.StateAlarm || e.State.Value == alarm.StateAlarm {
		return
	}
	t := hosting.TrippedAlarm{Name: e.Definition.Name, Reason: to.Reason, Since: to.Transitioned}
	if t.OfEvidence, t.Shown = s.index.shownBy(e); to.ByHand {
		t.Shown = to.Transitioned
	}
	if !t.OfEvidence || !t.Shown.IsZero() {
		s.Trip(e.Region, t)
	}
}

// TripFiring tells of the alarms on which traffic depends and that are in ALARM by
// the records: an earlier server may have ended before it had rolled back what they
// stand against.
func (s *Service) TripFiring() {
	for region, names := range s.Guards() {
		for _, n := range names {
			t, against := s.index.tripped(region, n, time.Time{})
			if against && (!t.OfEvidence || !t.Shown.IsZero()) { // evidence that nobody has seen says nothing
				s.Trip(region, t)
			}
		}
	}
}

// tripAll tells of alarms that a sample decides as soon as it came, and of the
// others on which traffic depends when a period is over, until ctx ends. It writes
// nothing and so waits for nobody: evaluateAll, which does both, may be waiting for
// the database.
func (s *Service) tripAll(ctx context.Context) {
	next := s.nextLook(time.Now())
	for {
		second := time.NewTimer(min(time.Until(next), time.Second)) // the clock may be set back
		select {
		case <-ctx.Done():
		case <-s.deciding.Wakeup:
			s.tripEarly()
		case <-second.C:
		}
		second.Stop()
		if now := time.Now(); !now.Before(next) || next.Sub(now) > 2*time.Second {
			s.tripScheduled()
			next = s.nextLook(now)
		}
		select { // samples come by the thousand
		case <-ctx.Done():
			return
		case <-time.After(s.Pause):
		}
	}
}

// nextLook returns when the second that now is in is over, and its samples are here.
func (s *Service) nextLook(now time.Time) time.Time {
	return now.Add(-s.Settle).Truncate(time.Second).Add(time.Second + s.Settle)
}

// tripEarly looks at the alarms that a sample since the last look may have decided,
// and at the composite ones above those.
func (s *Service) tripEarly() {
	looks := map[string]*look{}
	for _, k := range s.deciding.Updated() {
		l := looks[k.Region]
		if l == nil {
			l = s.look(k.Region)
			looks[k.Region] = l
		}
		for _, e := range s.index.watchersOf(k) {
			if l.value(e.Definition.Name) != e.State.Value {
				l.above(e.Definition.Name)
			}
		}
	}
}

// tripScheduled looks at the alarms on which traffic depends.
func (s *Service) tripScheduled() {
	guards := s.Guards()
	if len(guards) > 0 {
		s.Metrics.Drain()
	}
	for region, names := range guards {
		l := s.look(region)
		for _, n := range names {
			l.value(n)
		}
	}
}

// look is a look at alarms of a region by the samples of one moment, in memory
// alone: the states that are written may be as old as the database has been away.
type look struct {
	s      *Service
	region string
	now    time.Time
	values map[string]alarm.StateValue // that were worked out
}

func (s *Service) look(region string) *look {
	return &look{s: s, region: region, now: clock.Now(), values: map[string]alarm.StateValue{}}
}

// value works out the state of an alarm, "" if there is none, and of those that it
// depends on. Those that go into ALARM are told.
func (l *look) value(name string) alarm.StateValue {
	if v, known := l.values[name]; known {
		return v
	}
	e := l.s.index.find(l.region, name)
	if e == nil {
		l.values[name] = ""
		return ""
	}
	l.values[name] = e.State.Value // in case that it depends on itself
	to := e.State
	if !e.Definition.Composite() {
		o := e.judge.Evaluate(l.s.Metrics.Reader(l.region), e.State, l.now)
		l.s.index.saw(e, o.Points)
		to = o.State
	} else if cause, due := l.due(e); due {
		state := func(a string) alarm.StateValue { return l.value(nameOf(a)) }
		to = e.judge.EvaluateComposite(state, cause, e.State, l.now).State
	}
	l.values[name] = to.Value
	l.s.trip(e, to)
	return to.Value
}

// due says whether a composite alarm is to be evaluated, and why. What a person
// said of it stands until one of its children changes.
func (l *look) due(e *entry) (cause alarm.Cause, due bool) {
	cause, due = l.s.latest(e), !e.State.ByHand
	for _, name := range children(e) {
		v, c := l.value(name), l.s.index.find(l.region, name)
		if c == nil || v == c.State.Value {
			continue
		}
		sc := arn.Scope{Region: l.region, Account: l.s.Account}
		cause.Child, cause.Value, cause.At = sc.Alarm(name), v, l.now
		due = true
	}
	return cause, due
}

// above looks at the composite alarms that depend on an alarm.
func (l *look) above(name string) {
	l.s.Metrics.Drain() // what others of their children are judged by
	seen := map[string]bool{name: true}
	for queue := []string{name}; len(queue) > 0; queue = queue[1:] {
		for _, p := range l.s.index.parents(l.region, queue[0]) {
			if !seen[p] {
				seen[p] = true
				l.value(p)
				queue = append(queue, p)
			}
		}
	}
}
