package watch

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	store "github.com/slipway-ml/slipway/internal/platform/store/alarms"
)

// rings collects what samples came in that may decide, until the evaluation
// has a look. It holds each fleet and each metric once.
type rings struct {
	bell loop.Wakeup

	mu   sync.Mutex // guards what follows
	taps []*tap
	keys map[lineKey]bool
}

func (r *rings) init() { r.bell, r.keys = loop.NewWakeup(), map[lineKey]bool{} }

// tap says that a fleet had a sample that an alarm wants to hear of.
func (r *rings) tap(t *tap) {
	r.mu.Lock()
	r.taps = append(r.taps, t)
	r.mu.Unlock()
	r.bell.Notify()
}

// metric says that a client put samples of a metric that alarms watch.
func (r *rings) metric(k lineKey) {
	r.mu.Lock()
	r.keys[k] = true
	r.mu.Unlock()
	r.bell.Notify()
}

func (r *rings) take() ([]*tap, map[lineKey]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ts, keys := r.taps, r.keys
	r.taps, r.keys = nil, map[lineKey]bool{}
	return ts, keys
}

// evaluateAll evaluates alarms when they are due, and those that a sample can
// decide as soon as it rings, until ctx ends.
func (s *Service) evaluateAll(ctx context.Context) {
	var looked time.Time
	for ctx.Err() == nil {
		timer := time.NewTimer(time.Until(s.book.nextDue(time.Now())))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.rings.bell:
			// Samples come by the thousand: one look serves all that came
			// since the last.
			pause := time.NewTimer(s.Pause - time.Since(looked))
			select {
			case <-ctx.Done():
			case <-pause.C:
			}
			pause.Stop()
			looked = time.Now()
			s.lookEarly(ctx)
		}
		timer.Stop()
		if ctx.Err() == nil {
			s.lookScheduled(ctx)
		}
	}
}

// lookEarly evaluates the alarms that a sample since the last look may have
// decided.
func (s *Service) lookEarly(ctx context.Context) {
	ts, keys := s.rings.take()
	for _, t := range ts {
		t.rung.Store(false) // before the samples are taken: what comes now rings again
		t.drain()
		for k := range t.keys(s) {
			keys[k] = true
		}
	}
	seen := map[*entry]bool{}
	var es []*entry
	for k := range keys {
		for _, e := range s.book.watchersOf(k) {
			if !seen[e] {
				seen[e] = true
				es = append(es, e)
			}
		}
	}
	s.evaluate(ctx, es)
}

// batch is how many alarms are evaluated before those that ring have their
// turn, and how many changes share a transaction.
const batch = 64

// lookScheduled evaluates what is due, the shortest periods first.
func (s *Service) lookScheduled(ctx context.Context) {
	due := s.book.allDue(time.Now())
	if len(due) == 0 {
		return
	}
	s.drain()
	slices.SortStableFunc(due, func(a, b *entry) int { return cmp.Compare(a.judge.Period(), b.judge.Period()) })
	for es := range slices.Chunk(due, batch) {
		if ctx.Err() != nil {
			return
		}
		s.evaluate(ctx, es)
		s.lookEarly(ctx)
	}
}

// change is a new state of an alarm that is not written yet.
type change struct {
	from *entry
	to   alarm.State
}

// evaluate judges metric alarms by what is in the lines now, and carries out
// what follows. A failure to write is logged; the alarms are due again soon.
func (s *Service) evaluate(ctx context.Context, es []*entry) {
	if len(es) == 0 {
		return
	}
	if err := s.carryOut(ctx, s.judge(es)); err != nil && ctx.Err() == nil {
		s.Log.WarnContext(ctx, "states of alarms were not saved", "err", err)
		s.book.reschedule(es, time.Now().Add(time.Second))
	}
}

func (s *Service) judge(es []*entry) (cs []change) {
	for _, e := range es {
		o := e.judge.Evaluate(s.reader(e.Region), e.State, present())
		s.book.reschedule([]*entry{e}, o.Next.Add(s.Settle))
		if o.Changed {
			cs = append(cs, change{e, o.State})
		}
	}
	return cs
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
		cs = append(s.above(transitions), s.again(cs)...)
	}
	return nil
}

// again judges composite alarms once more that were just written, or that were
// not because somebody else did: their children may have changed meanwhile in
// another goroutine, which saw the state before.
func (s *Service) again(cs []change) (again []change) {
	for _, c := range cs {
		if !c.from.Definition.Composite() {
			continue
		}
		e := s.book.find(c.from.Region, c.from.Definition.Name)
		if e == nil || e.State.ByHand {
			continue
		}
		if n, ok := s.composite(e.Region, e.Definition.Name, s.latest(e)); ok {
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
		if c := s.book.find(e.Region, name); c != nil && !c.State.Transitioned.Before(cause.At) {
			cause.Child, cause.Value, cause.At = sc.Alarm(name), c.State.Value, c.State.Transitioned
		}
	}
	return cause
}

// write writes new states and returns those whose value is another. A state of
// an alarm that changed since it was judged is dropped: somebody knew better.
func (s *Service) write(ctx context.Context, cs []change) ([]alarm.Record, error) {
	now := present()
	type written struct {
		change
		record alarm.Record
	}
	var done []written
	err := s.Config.Alarms.Change(ctx, func(tx store.Tx) error {
		done = done[:0]
		for _, c := range cs {
			r := c.from.Record
			r.State = c.to
			wrote, err := tx.SaveState(ctx, &r)
			if err != nil {
				return err
			}
			if !wrote {
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
	var transitions []alarm.Record
	alarming := false
	for _, w := range done {
		s.book.settle(w.record, w.from)
		if was, is := w.from.State.Value, w.record.State.Value; was != is {
			transitions = append(transitions, w.record)
			alarming = alarming || is == alarm.StateAlarm
			s.Log.InfoContext(ctx, "alarm changed its state", "alarm", w.record.Definition.Name, "region", w.record.Region, "from", was, "to", is, "reason", w.record.State.Reason)
		}
	}
	if alarming {
		s.Ring()
	}
	return transitions, nil
}

// above judges the composite alarms that mention alarms which changed.
func (s *Service) above(moved []alarm.Record) (cs []change) {
	judged := map[string]bool{}
	for _, r := range moved {
		sc := arn.Scope{Region: r.Region, Account: s.Account}
		for _, p := range s.book.parents(r.Region, r.Definition.Name) {
			if judged[r.Region+" "+p] {
				continue
			}
			judged[r.Region+" "+p] = true
			cause := alarm.Cause{Self: sc.Alarm(p), Child: sc.Alarm(r.Definition.Name), Value: r.State.Value, At: r.State.Transitioned}
			if c, ok := s.composite(r.Region, p, cause); ok {
				cs = append(cs, c)
			}
		}
	}
	return cs
}

func (s *Service) composite(region, name string, cause alarm.Cause) (change, bool) {
	e := s.book.find(region, name)
	if e == nil || !e.Definition.Composite() {
		return change{}, false
	}
	o := e.judge.EvaluateComposite(s.book.state(region), cause, e.State, present())
	return change{e, o.State}, o.Changed
}

// judgeComposite judges a composite alarm that was put.
func (s *Service) judgeComposite(ctx context.Context, region, name string, cause alarm.Cause) error {
	c, ok := s.composite(region, name, cause)
	if !ok {
		return nil
	}
	return s.carryOut(ctx, []change{c})
}

// Firing evaluates the named alarms by the samples of this moment and returns
// those that stand against a deployment: in ALARM, or gone, which fails safe
// (spec §4.5), or that were in ALARM at some moment after since and have
// recovered. A zero since asks about this moment alone. What the evaluation
// changes is written before it returns.
func (s *Service) Firing(ctx context.Context, sc arn.Scope, names []string, since time.Time) ([]hosting.TrippedAlarm, error) {
	s.drain()
	if err := s.carryOut(ctx, s.judge(s.book.leaves(sc.Region, names))); err != nil {
		return nil, err
	}
	var tripped []hosting.TrippedAlarm
	for _, n := range names {
		if t, ok := s.book.tripped(sc.Region, n, since); ok {
			tripped = append(tripped, t)
		}
	}
	return tripped, nil
}

// tripped says what an alarm has against a deployment.
func (b *book) tripped(region, name string, since time.Time) (hosting.TrippedAlarm, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.chapter(region)
	e := c.alarms[name]
	switch {
	case e == nil, !since.IsZero() && c.deleted[name].at.After(since): // a new one of the same name has seen nothing
		return hosting.TrippedAlarm{Name: name, Reason: "The alarm was deleted.", Since: c.deleted[name].at}, true
	case e.State.Value == alarm.StateAlarm:
		return hosting.TrippedAlarm{Name: name, Reason: e.State.Reason, Since: e.State.Transitioned}, true
	case !since.IsZero() && e.fired.till.After(since):
		return hosting.TrippedAlarm{Name: name, Reason: e.fired.reason, Since: e.fired.from}, true
	}
	return hosting.TrippedAlarm{}, false
}

// leaves returns the metric alarms among the named ones and those that the
// composite ones depend on, each once.
func (b *book) leaves(region string, names []string) (es []*entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.chapter(region)
	seen := map[string]bool{}
	for queue := slices.Clone(names); len(queue) > 0; queue = queue[1:] {
		e := c.alarms[queue[0]]
		if e == nil || seen[queue[0]] {
			continue
		}
		seen[queue[0]] = true
		if e.Definition.Composite() {
			queue = append(queue, children(e)...)
		} else {
			es = append(es, e)
		}
	}
	return es
}

// idle is how long the evaluation sleeps when there are no alarms.
const idle = time.Minute

// nextDue returns when the next alarm is due; of a new one that is now.
func (b *book) nextDue(now time.Time) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := now.Add(idle)
	for _, c := range b.regions {
		for _, e := range c.alarms {
			if !e.Definition.Composite() && e.due.Before(next) {
				next = e.due
			}
		}
	}
	return next
}

// allDue returns the metric alarms that are due.
func (b *book) allDue(now time.Time) (es []*entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.regions {
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
func (b *book) reschedule(es []*entry, due time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range es {
		e.due = due
		if now := b.chapter(e.Region).alarms[e.Definition.Name]; now != nil && now.judge == e.judge {
			now.due = due
		}
	}
}
