package alarms

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/service/metrics"
)

// Firing evaluates the named alarms by the samples of this moment and returns
// those that stand against a deployment: in ALARM, or gone, which fails safe
// (spec §4.5), or that were in ALARM at some moment after since and have
// recovered. A zero since asks about this moment alone. What the evaluation
// changes is written before it returns. The gap is the last time that one of
// them was not evaluated when it was due.
func (s *Service) Firing(
	ctx context.Context, sc arn.Scope, names []string, since time.Time,
) (tripped []hosting.TrippedAlarm, late rollout.Gap, err error) {
	s.Metrics.Drain()
	es, composites := s.index.below(sc.Region, names)
	if err := s.carryOut(ctx, s.evaluateNow(es)); err != nil {
		s.index.missed(es)
		return nil, late, err
	}
	if err := s.evaluateComposites(ctx, composites); err != nil {
		return nil, late, err
	}
	late = s.index.late(es)
	for _, n := range names {
		if t, ok := s.index.tripped(sc.Region, n, since); ok {
			tripped = append(tripped, t)
		}
	}
	return tripped, late, nil
}

// late is the last time that one of some alarms was not evaluated when it was
// due.
func (x *index) late(es []*entry) (last rollout.Gap) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range es {
		if now := x.in(e.Region).alarms[e.Definition.Name]; now != nil && now.late.Until.After(last.Until) {
			last = now.late
		}
	}
	return last
}

// missed takes note that the states of some alarms were worked out and not
// written: they may be others when they are worked out again.
func (x *index) missed(es []*entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range es {
		now := clock.Now()
		x.noteLate(e, rollout.Gap{From: now, Until: now, Missed: fmt.Sprintf("the state of alarm %q was not saved",
			e.Definition.Name)})
	}
}

// noteLate notes a gap in the evaluation of an alarm. x.mu is held.
func (x *index) noteLate(e *entry, g rollout.Gap) {
	e.late = g
	if now := x.in(e.Region).alarms[e.Definition.Name]; now != nil {
		now.late = g
	}
}

// deletedReason is what is said of an alarm that is gone.
const deletedReason = "The alarm was deleted."

// tripped says what an alarm has against a deployment. What lies ahead of now is
// from before the clock was set back and stands against none that is judged now:
// their bakes start over.
func (x *index) tripped(region, name string, since time.Time) (hosting.TrippedAlarm, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.in(region)
	e := c.alarms[name]
	ahead := clock.Now().Add(tardy)
	if d, ok := c.deleted[name]; ok && d.at.After(ahead) {
		d.at = time.Time{}
		c.deleted[name] = d
	}
	if e != nil && e.fired.till.After(ahead) {
		e.fired = fired{}
	}
	switch {
	case e == nil, !since.IsZero() && c.deleted[name].at.After(since): // a new one of the same name has seen nothing
		return hosting.TrippedAlarm{
			Name: name, Reason: deletedReason, Since: c.deleted[name].at, Deleted: true,
		}, true
	case e.State.Value == alarm.StateAlarm:
		t := hosting.TrippedAlarm{Name: name, Reason: e.State.Reason, Since: e.State.Transitioned}
		t.OfEvidence, t.Shown = c.ofEvidence(e, deepest)
		return t, true
	case !since.IsZero() && e.fired.till.After(since):
		t := hosting.TrippedAlarm{Name: name, Reason: e.fired.reason, Since: e.fired.from, Shown: e.fired.from}
		t.OfEvidence, _ = c.ofEvidence(e, deepest)
		return t, true
	}
	return hosting.TrippedAlarm{}, false
}

// shownBy is ofEvidence of an alarm that may just change.
func (x *index) shownBy(e *entry) (of bool, shown time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.in(e.Region)
	if now := c.alarms[e.Definition.Name]; now != nil && !e.Definition.Composite() {
		return now.judge.OfEvidence(), now.shown
	}
	return c.ofEvidence(e, deepest)
}

// OnEvidence returns those of the named alarms that watch evidence, or others that
// do.
func (s *Service) OnEvidence(sc arn.Scope, names []string) (on []string) {
	for _, n := range names {
		leaves, _ := s.index.below(sc.Region, []string{n})
		if slices.ContainsFunc(leaves, func(e *entry) bool { return e.judge.WatchesEvidence() }) {
			on = append(on, n)
		}
	}
	return on
}

// ofEvidence reports whether an alarm watches nothing but evidence, by itself or
// through alarms below it, and until when some of that is known to be bad: it
// may be in ALARM because none came.
func (c *region) ofEvidence(e *entry, deep int) (of bool, shown time.Time) {
	if !e.Definition.Composite() {
		if e.State.ByHand {
			return e.judge.OfEvidence(), e.State.Transitioned
		}
		return e.judge.OfEvidence(), e.shown
	}
	all := children(e)
	for _, name := range all {
		child := c.alarms[name]
		if child == nil || deep == 0 {
			return false, shown
		}
		of, at := c.ofEvidence(child, deep-1)
		if !of {
			return false, shown
		}
		if at.After(shown) {
			shown = at
		}
	}
	return len(all) > 0, shown
}

// Begin has series of evidence begin anew, at the begin and the end of a
// deployment, and evaluates the alarms that watch them at once: what they had
// against the deployment before is nothing against the next. Errors are those of
// the store, and fault.Limit if there is no room for a series: those before it have
// begun, and their alarms are evaluated all the same.
func (s *Service) Begin(ctx context.Context, sc arn.Scope, ids ...metric.ID) error {
	var es []*entry
	var full error
	for _, id := range ids {
		if full = s.Metrics.Begin(sc, id); full != nil {
			break
		}
		es = append(es, s.index.on(sc.Region, id.Key())...)
	}
	if err := s.carryOut(ctx, s.evaluateNow(es)); err != nil {
		return err
	}
	return full
}

// Chances returns how likely each of the named alarms, or of those below them, goes
// into ALARM by chance in a deployment, of those that watch evidence.
func (s *Service) Chances(sc arn.Scope, names []string) (all []float64) {
	leaves, _ := s.index.below(sc.Region, names)
	for _, e := range leaves {
		if c, known := e.judge.Chance(); known {
			all = append(all, c)
		}
	}
	return all
}

// on returns the metric alarms that watch a metric.
func (x *index) on(region string, k metric.Key) (es []*entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.in(region).alarms {
		if slices.Contains(e.judge.Metrics(), k) {
			es = append(es, e)
		}
	}
	return es
}

// below returns the named alarms and those that the composite ones depend on,
// each once: the metric alarms, and the composite ones.
func (x *index) below(region string, names []string) (leaves, composites []*entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.in(region)
	seen := map[string]bool{}
	for queue := slices.Clone(names); len(queue) > 0; queue = queue[1:] {
		e := c.alarms[queue[0]]
		if e == nil || seen[queue[0]] {
			continue
		}
		seen[queue[0]] = true
		if e.Definition.Composite() {
			queue = append(queue, children(e)...)
			composites = append(composites, e)
		} else {
			leaves = append(leaves, e)
		}
	}
	return leaves, composites
}

// Suspicions returns what is doubtful about guarding a deployment by the named
// alarms. Children of composite alarms are looked at too. Alarms that do not
// exist are the business of Missing.
func (s *Service) Suspicions(sc arn.Scope, names []string, g alarm.Guarded) (found []alarm.Suspicion) {
	s.Metrics.Drain()
	look := alarm.Look{Guarded: g, Now: time.Now(), Read: s.Metrics.Reader(sc.Region)}
	look.Units = func(k metric.Key) []metric.Unit {
		return s.Metrics.Units(metrics.Key{Region: sc.Region, Metric: k})
	}
	var es []*entry
	for _, n := range names {
		if e := s.index.find(sc.Region, n); e != nil && e.Definition.Composite() {
			es = append(es, e)
		}
	}
	leaves, _ := s.index.below(sc.Region, names)
	for _, e := range append(es, leaves...) {
		look.State = e.State
		found = append(found, e.judge.Suspicions(look)...)
	}
	return found
}
