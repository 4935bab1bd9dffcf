package alarms

import (
	"context"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/alarm/rule"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	store "github.com/slipway-ml/slipway/internal/platform/store/alarms"
	endpoints "github.com/slipway-ml/slipway/internal/platform/store/hosting"
)

// PutAlarm creates an alarm, or gives one that exists a new definition: then
// it keeps its state and tags are ignored (spec §7.3). A new metric alarm is
// in INSUFFICIENT_DATA until it is evaluated, which is due at once. Errors are
// fault.Invalid, fault.Unsupported, and fault.Limit beyond MaxAlarms.
func (s *Service) PutAlarm(ctx context.Context, sc arn.Scope, d alarm.Definition, tags []hosting.Tag) error {
	if err := metric.CheckText(textsOf(&d)...); err != nil {
		return err
	}
	if err := d.CheckInput(); err != nil {
		return err
	}
	j, err := alarm.NewJudge(d)
	if err != nil {
		return err
	}
	if err := hosting.CheckTags(nil, tags); err != nil {
		return err
	}
	if err := s.mayDependOn(sc, &d, j); err != nil {
		return err
	}
	if s.index.find(sc.Region, d.Name) == nil && s.index.size(sc.Region) >= s.MaxAlarms {
		return fault.New(fault.Limit, "No more than %d alarms can be kept in a region.", s.MaxAlarms)
	}
	now := clock.Now()
	r := alarm.Record{Region: sc.Region, Definition: d, Configured: now}
	verb := "created"
	err = s.Store.Change(ctx, func(tx store.Tx) error {
		old, err := tx.Alarm(ctx, sc.Region, d.Name)
		switch {
		case err != nil:
			return err
		case old == nil:
			r.State, verb = alarm.Initial(now), "created"
			if err := tx.PutTags(ctx, sc.Alarm(d.Name), tags); err != nil {
				return err
			}
		case old.Definition.Composite() != d.Composite():
			return fault.New(fault.Invalid, "An alarm named %q exists already and is of the other type.", d.Name)
		default:
			r.State, verb = old.State, "updated"
		}
		if err := tx.SaveAlarm(ctx, &r); err != nil {
			return err
		}
		return tx.Record(ctx, configured(&r, now, verb))
	})
	if err != nil {
		return err
	}
	if err := s.index.put(r); err != nil {
		return err
	}
	if !d.Composite() {
		s.samples.Wakeup.Notify() // it is due at once
		return nil
	}
	return s.putComposite(ctx, sc.Region, d.Name, alarm.Cause{Self: sc.Alarm(d.Name), Put: verb})
}

// textsOf returns what of a definition must be read back as it was written.
func textsOf(d *alarm.Definition) []string {
	texts := []string{d.Name, d.Description, d.Rule, d.Suppressor}
	add := func(id metric.ID) {
		texts = append(texts, id.Namespace, id.Name)
		for _, x := range id.Dimensions {
			texts = append(texts, x.Name, x.Value)
		}
	}
	add(d.Metric)
	for _, q := range d.Metrics {
		texts = append(texts, q.Label, q.Expression)
		if q.Stat != nil {
			add(q.Stat.Metric)
		}
	}
	return texts
}

// mayDependOn refuses a composite alarm whose children do not exist, or that
// would depend on itself.
func (s *Service) mayDependOn(sc arn.Scope, d *alarm.Definition, j *alarm.Judge) error {
	var names []string
	for _, c := range j.Children() {
		if scope, _, err := arn.ParseAlarm(c); err == nil && scope.Region != sc.Region {
			return fault.New(fault.Invalid, "AlarmRule may only refer to alarms of its own region, but %q is not.", c)
		}
		names = append(names, nameOf(c))
	}
	if missing := s.Missing(sc, names); len(missing) > 0 && !(len(missing) == 1 && missing[0] == d.Name) {
		return fault.New(fault.Invalid, "AlarmRule refers to alarms that do not exist: [%s].",
			strings.Join(missing, ", "))
	}
	cycle := rule.Cycle(d.Name, func(a string) []string {
		if a == d.Name {
			return names
		}
		if e := s.index.find(sc.Region, a); e != nil {
			return children(e)
		}
		return nil
	})
	if cycle != nil {
		return fault.New(fault.Invalid, "AlarmRule makes the alarm depend on itself: %s.", strings.Join(cycle, " -> "))
	}
	return nil
}

// DeleteAlarms deletes those of the named alarms that exist; others are as good
// as deleted. A child of a composite alarm that stays is refused with
// fault.Invalid, and so is more than one composite alarm; then nothing is
// deleted. Deployments that an alarm judged are told.
func (s *Service) DeleteAlarms(ctx context.Context, sc arn.Scope, names []string) error {
	going := map[string]bool{}
	composites := 0
	for _, n := range names {
		e := s.index.find(sc.Region, n)
		switch {
		case e == nil || going[n]:
			continue
		case e.Definition.Composite():
			composites++
		}
		going[n] = true
	}
	if composites > 1 {
		return fault.New(fault.Invalid, "Only one composite alarm can be deleted at a time.")
	}
	for n := range going {
		for _, p := range s.index.parents(sc.Region, n) {
			if !going[p] {
				return fault.New(fault.Invalid,
					"Cannot delete %s as there are composite alarm(s) depending on it: [%s].", n, p)
			}
		}
	}
	for n := range going {
		if err := s.deleteAlarm(ctx, sc, n); err != nil {
			return err
		}
	}
	if len(going) > 0 {
		s.Wake()
	}
	return nil
}

func (s *Service) deleteAlarm(ctx context.Context, sc arn.Scope, name string) error {
	now := clock.Now()
	var version int64
	err := s.Store.Change(ctx, func(tx store.Tx) error {
		r, err := tx.Alarm(ctx, sc.Region, name)
		if err != nil || r == nil {
			return err
		}
		if version, err = tx.DeleteAlarm(ctx, sc.Region, name); err != nil {
			return err
		}
		if err := tx.DeleteTags(ctx, sc.Alarm(name)); err != nil {
			return err
		}
		if err := tx.Record(ctx, configured(r, now, "deleted")); err != nil {
			return err
		}
		return endpoints.WakeWatchers(ctx, tx.Tx, sc.Region, name, now)
	})
	if err != nil || version == 0 {
		return err
	}
	s.index.remove(sc.Region, name, version, now)
	// It counts like an alarm, see Firing.
	s.Trip(sc.Region, hosting.TrippedAlarm{Name: name, Reason: deletedReason, Since: now, Deleted: true})
	return nil
}

func noAlarm(names ...string) error {
	return fault.New(fault.NotFound, "Could not find alarm(s): [%s].", strings.Join(names, ", "))
}

// SetAlarmState puts an alarm into a state until its next evaluation (spec
// §7.3). It trips deployments as a real breach does. Errors are fault.Invalid,
// with alarm.ErrFormat as the cause if data is not JSON, and fault.NotFound.
func (s *Service) SetAlarmState(
	ctx context.Context, sc arn.Scope, name string, v alarm.StateValue, reason, data string,
) error {
	if err := metric.CheckText(reason, data); err != nil {
		return err
	}
	now := clock.Now()
	var before alarm.State
	var r alarm.Record
	err := s.Store.Change(ctx, func(tx store.Tx) error {
		old, err := tx.Alarm(ctx, sc.Region, name)
		if err != nil {
			return err
		}
		if old == nil {
			return noAlarm(name)
		}
		r, before = *old, old.State
		if r.State, err = old.State.Set(v, reason, data, now); err != nil {
			return err
		}
		if _, err := tx.SaveState(ctx, &r); err != nil { // the row is locked: it writes
			return err
		}
		return s.transition(ctx, tx, &old.State, &r, now)
	})
	if err != nil {
		return err
	}
	if from := s.index.find(sc.Region, name); from == nil || s.index.setState(r, from) == nil {
		return nil // it changed again, or is gone already
	}
	if v != before.Value {
		if v == alarm.StateAlarm {
			s.Trip(sc.Region, hosting.TrippedAlarm{Name: name, Reason: r.State.Reason, Since: r.State.Transitioned})
		}
		s.Wake()
		return s.carryOut(ctx, s.evaluateParents([]alarm.Record{r}))
	}
	return nil
}

// EnableActions switches the actions of the named alarms on or off. Names of
// no alarm are passed over, as in the API.
func (s *Service) EnableActions(ctx context.Context, sc arn.Scope, names []string, on bool) error {
	for _, n := range names {
		now := clock.Now()
		var r *alarm.Record
		err := s.Store.Change(ctx, func(tx store.Tx) (err error) {
			if r, err = tx.Alarm(ctx, sc.Region, n); err != nil || r == nil || r.Definition.ActionsDisabled == !on {
				r = nil
				return err
			}
			r.Definition.ActionsDisabled, r.Configured = !on, now
			if err := tx.SaveAlarm(ctx, r); err != nil {
				return err
			}
			return tx.Record(ctx, configured(r, now, "updated"))
		})
		if err != nil {
			return err
		}
		if r != nil {
			if err := s.index.put(*r); err != nil {
				return err
			}
		}
	}
	return nil
}

// transition writes what follows from a new state in its transaction: the
// history, and that deployments look at it.
func (s *Service) transition(
	ctx context.Context, tx store.Tx, before *alarm.State, r *alarm.Record, now time.Time,
) error {
	if before.Value == r.State.Value {
		return nil
	}
	if err := tx.Record(ctx, moved(before, r, now)); err != nil {
		return err
	}
	if r.State.Value != alarm.StateAlarm {
		return nil
	}
	return endpoints.WakeWatchers(ctx, tx.Tx, r.Region, r.Definition.Name, now)
}

// Tags returns the tags of the alarm with this ARN. Errors are fault.Invalid
// and fault.NotFound.
func (s *Service) Tags(ctx context.Context, sc arn.Scope, resource string) ([]hosting.Tag, error) {
	if _, err := s.tagged(sc, resource); err != nil {
		return nil, err
	}
	return s.Store.Tags(ctx, resource)
}

// AddTags adds tags to an alarm, replacing the values of keys that it has.
func (s *Service) AddTags(ctx context.Context, sc arn.Scope, resource string, tags []hosting.Tag) error {
	return s.retag(ctx, sc, resource, func(tx store.Tx) error {
		return tx.PutTags(ctx, resource, tags)
	})
}

// RemoveTags removes tags by key; keys that are not there are passed over.
func (s *Service) RemoveTags(ctx context.Context, sc arn.Scope, resource string, keys []string) error {
	return s.retag(ctx, sc, resource, func(tx store.Tx) error {
		if len(keys) == 0 {
			return nil // which for the store would mean all of them
		}
		return tx.DeleteTags(ctx, resource, keys...)
	})
}

func (s *Service) tagged(sc arn.Scope, resource string) (string, error) {
	scope, name, err := arn.ParseAlarm(resource)
	if err != nil {
		return "", err
	}
	if scope != sc || s.index.find(sc.Region, name) == nil {
		return "", fault.New(fault.NotFound, "Could not find alarm %q.", resource)
	}
	return name, nil
}

// retag runs f in a transaction that holds the alarm, so that it cannot be
// deleted meanwhile and leave tags behind.
func (s *Service) retag(ctx context.Context, sc arn.Scope, resource string, f func(store.Tx) error) error {
	name, err := s.tagged(sc, resource)
	if err != nil {
		return err
	}
	return s.Store.Change(ctx, func(tx store.Tx) error {
		r, err := tx.Alarm(ctx, sc.Region, name)
		if err != nil {
			return err
		}
		if r == nil {
			return fault.New(fault.NotFound, "Could not find alarm %q.", resource)
		}
		return f(tx)
	})
}
