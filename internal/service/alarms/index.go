package alarms

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/service/metrics"
)

// index holds the alarms as they are in the store. It follows the store: what a
// transaction wrote is entered after it, and an older version never replaces a
// newer one.
type index struct {
	mu      sync.Mutex // guards what follows
	regions map[string]*region
	early   map[metrics.Key][]*entry // alarms that a sample of the metric can decide

	// watch subscribes to what can decide; called with mu held, so that the
	// last to change the alarms of a metric is the last to say so.
	watch func(metrics.Key, metrics.Interest)
}

// region is the alarms of a region.
type region struct {
	alarms  map[string]*entry
	parents map[string][]string // the composite alarms that mention an alarm
	deleted map[string]deletion // for a while, so that a late entry does not bring it back
}

type deletion struct {
	version int64
	at      time.Time
}

// entry is one alarm. Its record and judge are replaced, never changed.
type entry struct {
	alarm.Record
	judge *alarm.Judge
	due   time.Time // when it is to be evaluated; guarded by index.mu
	// The last time that it was in ALARM and has recovered; guarded by index.mu.
	fired fired
	late  rollout.Gap // the last time that it was not evaluated when it was due; guarded by index.mu
	shown time.Time   // the end of the last period that is known to breach; guarded by index.mu
}

type fired struct {
	reason     string
	from, till time.Time
}

// in returns the alarms of a region. x.mu is held.
func (x *index) in(name string) *region {
	r := x.regions[name]
	if r == nil {
		r = &region{alarms: map[string]*entry{}, parents: map[string][]string{}, deleted: map[string]deletion{}}
		x.regions[name] = r
	}
	return r
}

// put enters a record that was written. A state that was written for an alarm
// that is gone, or newer meanwhile, is passed over.
func (x *index) put(r alarm.Record) error {
	j, err := alarm.NewJudge(r.Definition)
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.in(r.Region)
	name := r.Definition.Name
	if d, ok := c.deleted[name]; ok && d.version > r.Version {
		return nil
	}
	if old := c.alarms[name]; old != nil && old.Version > r.Version {
		return nil
	}
	x.enter(c, r, j)
	return nil
}

// enter makes a record the one of its alarm. x.mu is held.
func (x *index) enter(c *region, r alarm.Record, j *alarm.Judge) {
	name := r.Definition.Name
	old := c.alarms[name]
	e := &entry{Record: r, judge: j}
	if old != nil {
		e.fired, e.late, e.shown = old.fired, old.late, old.shown
		e.fired.note(&old.State, &r.State)
		x.forget(old)
	}
	c.alarms[name] = e
	if j.DecidesEarly() {
		for _, m := range j.Metrics() {
			k := metrics.Key{Region: r.Region, Metric: m}
			x.early[k] = append(x.early[k], e)
		}
	}
	if old != nil {
		x.subscribe(old)
	}
	x.subscribe(e)
	for _, child := range children(e) {
		c.parents[child] = append(c.parents[child], name)
	}
}

// replace makes the records all that there are, whatever their versions, in one
// step: no alarm is missing for a moment.
func (x *index) replace(records []alarm.Record) error {
	judges := make([]*alarm.Judge, len(records))
	for i, r := range records {
		var err error
		if judges[i], err = alarm.NewJudge(r.Definition); err != nil {
			return err
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	there := map[*region]map[string]bool{}
	for i, r := range records {
		c := x.in(r.Region)
		x.enter(c, r, judges[i])
		if there[c] == nil {
			there[c] = map[string]bool{}
		}
		there[c][r.Definition.Name] = true
	}
	for _, c := range x.regions {
		clear(c.deleted)
		for name, e := range c.alarms {
			if !there[c][name] {
				x.forget(e)
				x.subscribe(e)
				delete(c.alarms, name)
			}
		}
	}
	return nil
}

// note remembers an ALARM that has ended.
func (f *fired) note(before, after *alarm.State) {
	if before.Value == alarm.StateAlarm && after.Value != alarm.StateAlarm {
		*f = fired{reason: before.Reason, from: before.Transitioned, till: after.Transitioned}
	}
}

// setState enters the state that a transaction wrote, and returns the new entry,
// or nil if it came too late. It costs less than put.
func (x *index) setState(r alarm.Record, from *entry) *entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.in(r.Region)
	old := c.alarms[r.Definition.Name]
	if old == nil || old.Version >= r.Version || old.judge != from.judge {
		return nil
	}
	e := &entry{Record: r, judge: old.judge, due: old.due, fired: old.fired, late: old.late}
	e.fired.note(&old.State, &r.State)
	c.alarms[r.Definition.Name] = e
	for _, m := range e.judge.Metrics() {
		es := x.early[metrics.Key{Region: r.Region, Metric: m}]
		if i := slices.Index(es, old); i >= 0 {
			es[i] = e
		}
	}
	return e
}

// remove takes out an alarm that was deleted.
func (x *index) remove(region, name string, version int64, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.in(region)
	e := c.alarms[name]
	if e != nil && e.Version > version {
		return
	}
	c.deleted[name] = deletion{version, now}
	if e != nil {
		x.forget(e)
		x.subscribe(e)
		delete(c.alarms, name)
	}
}

// forget takes e from the indexes. x.mu is held.
func (x *index) forget(e *entry) {
	if e.judge.DecidesEarly() {
		for _, m := range e.judge.Metrics() {
			k := metrics.Key{Region: e.Region, Metric: m}
			x.early[k] = slices.DeleteFunc(x.early[k], func(o *entry) bool { return o == e })
			if len(x.early[k]) == 0 {
				delete(x.early, k)
			}
		}
	}
	c := x.in(e.Region)
	for _, child := range children(e) {
		c.parents[child] = slices.DeleteFunc(c.parents[child], func(p string) bool { return p == e.Definition.Name })
		if len(c.parents[child]) == 0 {
			delete(c.parents, child)
		}
	}
}

// children returns the names of the alarms that a composite alarm mentions.
func children(e *entry) []string {
	var names []string
	for _, c := range e.judge.Children() {
		if n := nameOf(c); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// nameOf returns the name of an alarm that is given by name or ARN.
func nameOf(alarm string) string {
	if strings.HasPrefix(alarm, "arn:") {
		if _, name, err := arn.ParseAlarm(alarm); err == nil {
			return name
		}
	}
	return alarm
}

// find returns an alarm, or nil.
func (x *index) find(region, name string) *entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	if c := x.regions[region]; c != nil {
		return c.alarms[name]
	}
	return nil
}

// size returns how many alarms a region has.
func (x *index) size(region string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	if c := x.regions[region]; c != nil {
		return len(c.alarms)
	}
	return 0
}

// some returns the alarms of a region that pass a test, by name.
func (x *index) some(region string, want func(*entry) bool) []*entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.regions[region]
	if c == nil {
		return nil
	}
	var es []*entry
	for _, e := range c.alarms {
		if want(e) {
			es = append(es, e)
		}
	}
	slices.SortFunc(es, func(a, b *entry) int { return strings.Compare(a.Definition.Name, b.Definition.Name) })
	return es
}

// parents returns the composite alarms that mention an alarm.
func (x *index) parents(region, name string) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if c := x.regions[region]; c != nil {
		return slices.Clone(c.parents[name])
	}
	return nil
}

// state tells the states of a region's alarms, for rules.
func (x *index) state(region string) func(alarm string) alarm.StateValue {
	return func(a string) alarm.StateValue {
		if e := x.find(region, nameOf(a)); e != nil {
			return e.State.Value
		}
		return ""
	}
}

// subscribe says for each metric of an alarm that has come or gone what is to
// be heard of it now. x.mu is held.
func (x *index) subscribe(e *entry) {
	for _, m := range e.judge.Metrics() {
		k := metrics.Key{Region: e.Region, Metric: m}
		x.watch(k, x.interest(k))
	}
}

// interest says of which samples of a metric the alarms want to hear. x.mu is
// held.
func (x *index) interest(k metrics.Key) (most metrics.Interest) {
	for _, e := range x.early[k] {
		d := &e.Definition
		counts := d.Statistic == metric.Sum.String() || d.Statistic == metric.Maximum.String()
		if counts && d.Threshold != nil && *d.Threshold > 0 {
			most = max(most, metrics.NonZero) // a zero cannot decide
		} else {
			most = metrics.Every
		}
	}
	return most
}

// watchersOf returns the alarms that a sample of a metric can decide.
func (x *index) watchersOf(k metrics.Key) []*entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.early[k])
}

// forgetDeletions forgets those that no late entry can contradict any more.
func (x *index) forgetDeletions(before time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range x.regions {
		for name, d := range c.deleted {
			if d.at.Before(before) {
				delete(c.deleted, name)
			}
		}
	}
}
