package alarms

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	store "github.com/slipway-ml/slipway/internal/platform/store/alarms"
)

// evaluateAll evaluates alarms when they are due, and those that a sample can
// decide as soon as it comes, until ctx ends.
func (s *Service) evaluateAll(ctx context.Context) {
	var looked, caughtUp time.Time
	behind := false // a state was not written
	for ctx.Err() == nil {
		wait := time.Until(s.index.nextDue(time.Now()))
		if behind {
			wait = min(wait, time.Second)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.samples.Wakeup:
			// Samples come by the thousand: one look serves all that came
			// since the last.
			pause := time.NewTimer(s.Pause - time.Since(looked))
			select {
			case <-ctx.Done():
			case <-pause.C:
			}
			pause.Stop()
			looked = time.Now()
			behind = !s.lookEarly(ctx) || behind
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
		behind = !s.lookScheduled(ctx) || behind
		if now := time.Now(); now.Sub(caughtUp).Abs() >= time.Second {
			caughtUp, behind = now, !s.lookComposites(ctx)
		}
	}
}

// lookEarly evaluates the alarms that a sample since the last look may have
// decided, and says whether what follows was written.
func (s *Service) lookEarly(ctx context.Context) bool {
	seen := map[*entry]bool{}
	var es []*entry
	for _, k := range s.samples.Updated() {
		for _, e := range s.index.watchersOf(k) {
			if !seen[e] {
				seen[e] = true
				es = append(es, e)
			}
		}
	}
	return s.evaluate(ctx, es)
}

// batch is how many alarms are evaluated before those with a sample that may
// decide have their turn, and how many changes share a transaction.
const batch = 64

// lookScheduled evaluates what is due, the shortest periods first, and says
// whether what follows was written.
func (s *Service) lookScheduled(ctx context.Context) bool {
	due := s.index.allDue(time.Now())
	if len(due) == 0 {
		return true
	}
	written := true
	s.Metrics.Drain()
	slices.SortStableFunc(due, func(a, b *entry) int { return cmp.Compare(a.judge.Period(), b.judge.Period()) })
	for es := range slices.Chunk(due, batch) {
		if ctx.Err() != nil {
			return false
		}
		written = s.evaluate(ctx, es) && written
		written = s.lookEarly(ctx) && written
	}
	return written
}

// lookComposites has composite alarms catch up, and says whether that worked.
func (s *Service) lookComposites(ctx context.Context) bool {
	err := s.evaluateComposites(ctx, s.index.composites())
	if err != nil && ctx.Err() == nil {
		s.Log.WarnContext(ctx, "states of composite alarms were not saved", "err", err)
	}
	return err == nil
}

// evaluateComposites evaluates composite alarms whether or not one of their
// children has just changed: what could not be written when it did, or was not
// by a server that died, is worked out again.
func (s *Service) evaluateComposites(ctx context.Context, es []*entry) error {
	var cs []change
	for _, e := range es {
		if e = s.index.find(e.Region, e.Definition.Name); e == nil || e.State.ByHand {
			continue
		}
		if c, ok := s.evaluateComposite(e.Region, e.Definition.Name, s.latest(e)); ok {
			cs = append(cs, c)
		}
	}
	return s.carryOut(ctx, cs)
}

// change is a new state of an alarm that is not written yet.
type change struct {
	from *entry
	to   alarm.State
}

// evaluate evaluates metric alarms by the samples of now, and carries out what
// follows. A failure to write is logged; the alarms are due again soon.
func (s *Service) evaluate(ctx context.Context, es []*entry) (written bool) {
	if len(es) == 0 {
		return true
	}
	err := s.carryOut(ctx, s.evaluateNow(es))
	if err != nil && ctx.Err() == nil {
		s.Log.WarnContext(ctx, "states of alarms were not saved", "err", err)
		s.index.missed(es)
		s.index.reschedule(es, time.Now().Add(time.Second))
	}
	return err == nil
}

// evaluateNow works out the states of metric alarms, and when they are due again.
func (s *Service) evaluateNow(es []*entry) (cs []change) {
	for _, e := range es {
		now := clock.Now()
		s.index.lookedAt(e, now)
		o := e.judge.Evaluate(s.Metrics.Reader(e.Region), e.State, now)
		s.index.saw(e, o.Points)
		s.index.reschedule([]*entry{e}, o.Next.Add(s.Settle))
		if o.Changed {
			s.trip(e, o.State) // not only when it is written: others may be written before it
			cs = append(cs, change{e, o.State})
		}
	}
	return cs
}

// saw takes note of what an alarm that watches evidence has seen of it; nil:
// nothing was looked at.
func (x *index) saw(e *entry, points []alarm.Datapoint) {
	if !e.judge.OfEvidence() || points == nil {
		return
	}
	var shown time.Time
	for _, p := range points {
		if p.Counted && p.Breaching && !p.Low {
			shown = p.Start.Add(e.judge.Period())
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	e.shown = shown
	if now := x.in(e.Region).alarms[e.Definition.Name]; now != nil {
		now.shown = shown
	}
}

// tardy is how late an alarm may be evaluated before what it has missed counts.
const tardy = 3 * time.Second

// lookedAt takes note that an alarm is evaluated, and of how late that is: what
// it would have seen in between it may not see any more.
func (x *index) lookedAt(e *entry, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !e.due.IsZero() && now.Sub(e.due) > tardy {
		x.noteLate(e, rollout.Gap{From: e.due, Until: now, Missed: fmt.Sprintf("alarm %q was not evaluated in time",
			e.Definition.Name)})
	}
}

// deepest is how many composite alarms may stand one above the other.
const deepest = 100

// carryOut writes new states, a batch in a transaction, and then what follows
// for the composite alarms above.
func (s *Service) carryOut(ctx context.Context, cs []change) error {
	for range deepest {
		if len(cs) == 0 {
			return nil
		}
		var transitions []alarm.Record
		for part := range slices.Chunk(cs, batch) {
			moved, err := s.write(ctx, part)
			if err != nil {
				return err
			}
			transitions = append(transitions, moved...)
		}
		cs = append(s.evaluateParents(transitions), s.evaluateAgain(cs)...)
	}
	return nil
}

// evaluateAgain evaluates composite alarms once more that were just written, or
// that were not because somebody else did: their children may have changed
// meanwhile in another goroutine, which saw the state before.
func (s *Service) evaluateAgain(cs []change) (again []change) {
	for _, c := range cs {
		if !c.from.Definition.Composite() {
			continue
		}
		e := s.index.find(c.from.Region, c.from.Definition.Name)
		if e == nil || e.State.ByHand {
			continue
		}
		if n, ok := s.evaluateComposite(e.Region, e.Definition.Name, s.latest(e)); ok {
			again = append(again, n)
		}
	}
	return again
}

// latest is the child of a composite alarm that changed last, as a cause.
func (s *Service) latest(e *entry) alarm.Cause {
	sc := arn.Scope{Region: e.Region, Account: s.Account}
	cause := alarm.Cause{Self: sc.Alarm(e.Definition.Name)}
	for _, name := range children(e) {
		if c := s.index.find(e.Region, name); c != nil && !c.State.Transitioned.Before(cause.At) {
			cause.Child, cause.Value, cause.At = sc.Alarm(name), c.State.Value, c.State.Transitioned
		}
	}
	return cause
}

// write writes new states and returns those whose value is another. A state of
// an alarm that changed since it was evaluated is dropped: it was worked out
// from an older definition or state. What is in its row takes its place: a
// commit may have come through though its answer did not.
func (s *Service) write(ctx context.Context, cs []change) ([]alarm.Record, error) {
	for _, c := range cs {
		s.trip(c.from, c.to)
	}
	now := clock.Now()
	type written struct {
		change
		record alarm.Record
	}
	var done, newer []written
	err := s.Store.Change(ctx, func(tx store.Tx) error {
		done, newer = done[:0], newer[:0]
		for _, c := range cs {
			r := c.from.Record
			r.State = c.to
			wrote, err := tx.SaveState(ctx, &r)
			if err != nil {
				return err
			}
			if !wrote {
				now, err := tx.Alarm(ctx, r.Region, r.Definition.Name)
				if err != nil {
					return err
				}
				if now != nil {
					newer = append(newer, written{c, *now})
				}
				continue
			}
			if err := s.transition(ctx, tx, &c.from.State, &r, now); err != nil {
				return err
			}
			done = append(done, written{c, r})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, w := range newer {
		if err := s.index.put(w.record); err != nil {
			return nil, err
		}
	}
	var transitions []alarm.Record
	alarming := false
	for _, w := range done {
		s.index.setState(w.record, w.from)
		if was, is := w.from.State.Value, w.record.State.Value; was != is {
			transitions = append(transitions, w.record)
			alarming = alarming || is == alarm.StateAlarm
			s.Log.InfoContext(ctx, "alarm changed its state", "alarm", w.record.Definition.Name,
				"region", w.record.Region, "from", was, "to", is, "reason", w.record.State.Reason)
		}
	}
	if alarming {
		s.Wake()
	}
	return transitions, nil
}

// evaluateParents evaluates the composite alarms that mention alarms which
// changed.
func (s *Service) evaluateParents(moved []alarm.Record) (cs []change) {
	seen := map[string]bool{}
	for _, r := range moved {
		sc := arn.Scope{Region: r.Region, Account: s.Account}
		for _, p := range s.index.parents(r.Region, r.Definition.Name) {
			if seen[r.Region+" "+p] {
				continue
			}
			seen[r.Region+" "+p] = true
			cause := alarm.Cause{
				Self: sc.Alarm(p), Child: sc.Alarm(r.Definition.Name), Value: r.State.Value, At: r.State.Transitioned,
			}
			if c, ok := s.evaluateComposite(r.Region, p, cause); ok {
				cs = append(cs, c)
			}
		}
	}
	return cs
}

func (s *Service) evaluateComposite(region, name string, cause alarm.Cause) (change, bool) {
	e := s.index.find(region, name)
	if e == nil || !e.Definition.Composite() {
		return change{}, false
	}
	o := e.judge.EvaluateComposite(s.index.state(region), cause, e.State, clock.Now())
	return change{e, o.State}, o.Changed
}

// putComposite evaluates a composite alarm that was put.
func (s *Service) putComposite(ctx context.Context, region, name string, cause alarm.Cause) error {
	c, ok := s.evaluateComposite(region, name, cause)
	if !ok {
		return nil
	}
	return s.carryOut(ctx, []change{c})
}

// idle is how long the evaluation sleeps when there are no alarms.
const idle = time.Minute

// nextDue returns when the next alarm is due; of a new one that is now.
func (x *index) nextDue(now time.Time) time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	next := now.Add(idle)
	for _, c := range x.regions {
		for _, e := range c.alarms {
			if !e.Definition.Composite() && e.due.Before(next) {
				next = e.due
			}
		}
	}
	return next
}

// composites returns all composite alarms.
func (x *index) composites() (es []*entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range x.regions {
		for _, e := range c.alarms {
			if e.Definition.Composite() {
				es = append(es, e)
			}
		}
	}
	return es
}

// allDue returns the metric alarms that are due.
func (x *index) allDue(now time.Time) (es []*entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range x.regions {
		for _, e := range c.alarms {
			if !e.Definition.Composite() && !e.due.After(now) {
				es = append(es, e)
			}
		}
	}
	return es
}

// reschedule says when alarms are due again; entries that were replaced
// meanwhile pass it on.
func (x *index) reschedule(es []*entry, due time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range es {
		e.due = due
		if now := x.in(e.Region).alarms[e.Definition.Name]; now != nil && now.judge == e.judge {
			now.due = due
		}
	}
}
