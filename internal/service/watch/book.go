package watch

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
)

// book holds the alarms as they are in the store. It follows the store: what a
// transaction wrote is entered after it, and an older version never replaces a
// newer one.
type book struct {
	mu      sync.Mutex // guards what follows
	regions map[string]*chapter
	early   map[lineKey][]*entry // alarms that a sample of the metric can decide
}

// chapter is the alarms of a region.
type chapter struct {
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
	due   time.Time // when it is to be evaluated; guarded by book.mu
	// The last time that it was in ALARM and has recovered; guarded by book.mu.
	fired fired
}

type fired struct {
	reason     string
	from, till time.Time
}

func (b *book) chapter(region string) *chapter {
	c := b.regions[region]
	if c == nil {
		c = &chapter{alarms: map[string]*entry{}, parents: map[string][]string{}, deleted: map[string]deletion{}}
		b.regions[region] = c
	}
	return c
}

// put enters a record that was written. A state that was written for an alarm
// that is gone, or newer meanwhile, is passed over.
func (b *book) put(r alarm.Record) error {
	j, err := alarm.NewJudge(r.Definition)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.chapter(r.Region)
	name := r.Definition.Name
	if d, ok := c.deleted[name]; ok && d.version > r.Version {
		return nil
	}
	old := c.alarms[name]
	if old != nil && old.Version > r.Version {
		return nil
	}
	e := &entry{Record: r, judge: j}
	if old != nil {
		e.fired = old.fired
		e.fired.note(&old.State, &r.State)
		b.forget(old)
	}
	c.alarms[name] = e
	if j.DecidesEarly() {
		if b.early == nil {
			b.early = map[lineKey][]*entry{}
		}
		for _, k := range j.Metrics() {
			b.early[lineKey{r.Region, k}] = append(b.early[lineKey{r.Region, k}], e)
		}
	}
	for _, child := range children(e) {
		c.parents[child] = append(c.parents[child], name)
	}
	return nil
}

// note remembers an ALARM that has ended.
func (f *fired) note(before, after *alarm.State) {
	if before.Value == alarm.StateAlarm && after.Value != alarm.StateAlarm {
		*f = fired{reason: before.Reason, from: before.Transitioned, till: after.Transitioned}
	}
}

// settle enters the state that a transaction wrote, and returns the new entry,
// or nil if it came too late. It costs less than put.
func (b *book) settle(r alarm.Record, from *entry) *entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.chapter(r.Region)
	old := c.alarms[r.Definition.Name]
	if old == nil || old.Version >= r.Version || old.judge != from.judge {
		return nil
	}
	e := &entry{Record: r, judge: old.judge, due: old.due, fired: old.fired}
	e.fired.note(&old.State, &r.State)
	c.alarms[r.Definition.Name] = e
	for _, k := range e.judge.Metrics() {
		es := b.early[lineKey{r.Region, k}]
		if i := slices.Index(es, old); i >= 0 {
			es[i] = e
		}
	}
	return e
}

// remove strikes out an alarm that was deleted.
func (b *book) remove(region, name string, version int64, now time.Time) *entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.chapter(region)
	e := c.alarms[name]
	if e != nil && e.Version > version {
		return nil
	}
	c.deleted[name] = deletion{version, now}
	if e != nil {
		b.forget(e)
		delete(c.alarms, name)
	}
	return e
}

// forget takes e from the indexes. b.mu is held.
func (b *book) forget(e *entry) {
	if e.judge.DecidesEarly() {
		for _, k := range e.judge.Metrics() {
			lk := lineKey{e.Region, k}
			if b.early[lk] = slices.DeleteFunc(b.early[lk], func(o *entry) bool { return o == e }); len(b.early[lk]) == 0 {
				delete(b.early, lk)
			}
		}
	}
	c := b.chapter(e.Region)
	for _, child := range children(e) {
		if c.parents[child] = slices.DeleteFunc(c.parents[child], func(p string) bool { return p == e.Definition.Name }); len(c.parents[child]) == 0 {
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
func (b *book) find(region, name string) *entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.regions[region]; c != nil {
		return c.alarms[name]
	}
	return nil
}

// size returns how many alarms a region has.
func (b *book) size(region string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.regions[region]; c != nil {
		return len(c.alarms)
	}
	return 0
}

// some returns the alarms of a region that pass a test, by name.
func (b *book) some(region string, want func(*entry) bool) []*entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.regions[region]
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
func (b *book) parents(region, name string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.regions[region]; c != nil {
		return slices.Clone(c.parents[name])
	}
	return nil
}

// state tells the states of a region's alarms, for rules.
func (b *book) state(region string) func(alarm string) alarm.StateValue {
	return func(a string) alarm.StateValue {
		if e := b.find(region, nameOf(a)); e != nil {
			return e.State.Value
		}
		return ""
	}
}

// wants returns the bits of the outcomes that decide for an alarm that watches
// a metric of a fleet.
func (b *book) wants(k lineKey, m int) (bits uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.early[k] {
		d := &e.Definition
		ofOnes := d.Statistic == metric.Sum.String() || d.Statistic == metric.Maximum.String()
		if m <= midStreamErrors && ofOnes && d.Threshold != nil && *d.Threshold > 0 {
			bits |= 1 << m // a zero cannot decide
		} else {
			bits |= 1 << anything
		}
	}
	return bits
}

// watchersOf returns the alarms that a sample of a metric can decide.
func (b *book) watchersOf(k lineKey) []*entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.early[k])
}

// tidy forgets deletions that no late entry can contradict any more.
func (b *book) tidy(before time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.regions {
		for name, d := range c.deleted {
			if d.at.Before(before) {
				delete(c.deleted, name)
			}
		}
	}
}
