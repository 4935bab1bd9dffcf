package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// instances are those that servers start: it follows the rows as the instance service
// does, and reports through the same calls of the store.
type instances struct {
	version  int64
	looking  bool // a look is due
	running  map[hosting.InstanceID]*instance
	traits   map[hosting.FleetID]*traits
	numbered int // events so far
	reports  int
}

// instance is one of them.
type instance struct {
	id       hosting.InstanceID
	name     string // the same in every life of a seed
	endpoint hosting.EndpointID
	traits   *traits
	unwanted bool
	life     int // an event of an earlier life means nothing any more
	attempts int
}

// traits is how the instances of one fleet behave.
type traits struct {
	broken bool          // none ever starts
	flaky  bool          // some starts fail
	stuck  bool          // none is ever heard of
	frail  bool          // those that run may die
	start  time.Duration // until the first is ready
	spread time.Duration // until the last one is
}

func (w *world) newTraits() *traits {
	d := w.d
	b := &traits{
		start: d.upTo(20 * time.Second), spread: time.Second, broken: d.one(12), flaky: d.one(8), stuck: d.one(50),
		frail: d.one(5),
	}
	if d.one(4) {
		b.spread = 30 * time.Second
	}
	if d.one(20) {
		b.start = d.upTo(5 * time.Minute)
	}
	return b
}

// soon has the rows looked at.
func (w *world) soon() {
	if w.looking {
		return
	}
	w.looking = true
	late := time.Duration(0)
	if w.d.one(4) {
		late = w.d.upTo(5 * time.Second)
	}
	w.after(late, w.follow)
}

// follow gives every changed row to its instance.
func (w *world) follow() {
	w.looking = false
	rows, err := w.db.InstancesSince(w.ctx, w.version)
	w.must(err)
	for _, r := range rows {
		w.version = r.Version
		a := w.running[r.ID]
		if a == nil {
			b := w.traits[r.Fleet]
			if b == nil {
				b = w.newTraits()
				w.traits[r.Fleet] = b
			}
			a = &instance{
				id: r.ID, name: fmt.Sprintf("%s/%s/%d", r.Fleet, r.Variant, r.Ordinal), endpoint: r.Endpoint, traits: b,
			}
			w.running[r.ID] = a
			if r.Wanted {
				w.start(a)
			}
		}
		if !r.Wanted && !a.unwanted {
			a.unwanted = true
			a.life++
			drain := time.Duration(0)
			if w.d.one(4) {
				drain = w.d.upTo(10 * time.Second)
			}
			if w.d.one(50) {
				drain = w.d.upTo(3 * time.Minute)
			}
			w.after(drain, func() { w.forget(a) })
		}
	}
}

// start lets an instance come up, or not.
func (w *world) start(a *instance) {
	d, b, life := w.d, a.traits, a.life
	if b.stuck {
		return
	}
	w.after(b.start+d.upTo(b.spread), func() {
		if a.life != life {
			return
		}
		if b.broken || b.flaky && d.one(3) {
			a.attempts++
			r := hosting.InstanceReport{
				ID: a.id, Status: hosting.InstanceStarting, Attempts: a.attempts,
				Detail: "It did not pass the ping health check.",
			}
			if a.attempts == 3 || b.broken && d.one(2) {
				r.Status = hosting.InstanceFailed
			}
			w.report(a, r, func() {
				if r.Status == hosting.InstanceStarting {
					w.start(a)
				}
			})
			return
		}
		w.ready(a)
	})
}

// recover lets what is stuck come up after all, so that no deployment has to
// wait for its timeout once all is to end.
func (w *world) recover() {
	byName := func(a, b *instance) int {
		return strings.Compare(a.name, b.name)
	} // identifiers differ from life to life
	for _, a := range slices.SortedFunc(maps.Values(w.running), byName) {
		if a.traits.stuck && !a.unwanted {
			w.after(w.d.upTo(time.Second), func() { w.start(a) })
		}
	}
	for _, b := range w.traits {
		b.stuck = false
	}
}

// ready makes an instance ready; a frail one crashes some time.
func (w *world) ready(a *instance) {
	r := hosting.InstanceReport{ID: a.id, Status: hosting.InstanceReady, Address: "10.0.0.1:80"}
	w.report(a, r, func() {
		life := a.life
		if !a.traits.frail || w.calm || !w.d.one(4) {
			return
		}
		w.after(w.d.upTo(3*time.Minute), func() {
			if a.life == life && !w.calm {
				w.crash(a)
			}
		})
	})
}

// crash takes a ready instance down. Most get up again.
func (w *world) crash(a *instance) {
	w.noteCrash(a.endpoint)
	r := hosting.InstanceReport{ID: a.id, Status: hosting.InstanceUnhealthy, Attempts: 1, Detail: "The process ended."}
	if w.d.one(5) {
		r.Status, r.Attempts = hosting.InstanceFailed, 3
	}
	w.report(a, r, func() {
		life := a.life
		if r.Status == hosting.InstanceFailed {
			return
		}
		w.after(w.d.upTo(time.Minute), func() {
			if a.life == life {
				w.ready(a)
			}
		})
	})
}

// report tells the store, until it is heard: word may be lost before it is
// written, or after.
func (w *world) report(a *instance, r hosting.InstanceReport, then func()) {
	life := a.life
	again := func() {
		w.after(w.d.upTo(2*time.Second), func() {
			if a.life == life {
				w.report(a, r, then)
			}
		})
	}
	if !w.calm && w.d.one(200) {
		again()
		return
	}
	w.reports++
	w.note("%s is %s", a.name, r.Status)
	_, err := w.db.ReportInstance(w.ctx, r, now())
	w.must(err)
	w.checkEndpoint(a.endpoint)
	w.notifyFor(a)
	if !w.calm && w.d.one(200) {
		again()
		return
	}
	then()
}

// forget forgets an instance that runs no more.
func (w *world) forget(a *instance) {
	w.reports++
	w.note("%s is gone", a.name)
	_, err := w.db.RemoveInstance(w.ctx, a.id, now())
	w.must(err)
	delete(w.running, a.id)
	w.checkEndpoint(a.endpoint)
	w.notifyFor(a)
}

// notifyFor wakes the servers up if a deployment was waiting for word of an
// instance.
func (w *world) notifyFor(a *instance) {
	if s := w.slots[a.endpoint]; s.id == a.endpoint && s.stored != nil && s.stored.Deployment != nil {
		w.notifyAll()
	}
}

// now is the present as the store keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
