package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// herd is the world of instances: it follows the rows as the instance service
// does, and reports through the same calls of the store.
type herd struct {
	version  int64
	looking  bool // a look is due
	animals  map[hosting.InstanceID]*animal
	breeds   map[hosting.FleetID]*breed
	numbered int // events so far
	reports  int
}

// animal is one instance.
type animal struct {
	id       hosting.InstanceID
	name     string // the same in every life of a seed
	endpoint hosting.EndpointID
	breed    *breed
	unwanted bool
	life     int // an event of an earlier life means nothing any more
	attempts int
}

// breed is how the instances of one fleet behave.
type breed struct {
	broken bool          // none ever starts
	flaky  bool          // some starts fail
	stuck  bool          // none is ever heard of
	frail  bool          // those that run may die
	start  time.Duration // until the first is ready
	spread time.Duration // until the last one is
}

func (y *yard) newBreed() *breed {
	d := y.d
	b := &breed{
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

// soon has the herd look at the rows.
func (y *yard) soon() {
	if y.looking {
		return
	}
	y.looking = true
	late := time.Duration(0)
	if y.d.one(4) {
		late = y.d.upTo(5 * time.Second)
	}
	y.after(late, y.follow)
}

// follow gives every changed row to its animal.
func (y *yard) follow() {
	y.looking = false
	rows, err := y.db.InstancesSince(y.ctx, y.version)
	y.must(err)
	for _, r := range rows {
		y.version = r.Version
		a := y.animals[r.ID]
		if a == nil {
			b := y.breeds[r.Fleet]
			if b == nil {
				b = y.newBreed()
				y.breeds[r.Fleet] = b
			}
			a = &animal{
				id: r.ID, name: fmt.Sprintf("%s/%s/%d", r.Fleet, r.Variant, r.Ordinal), endpoint: r.Endpoint, breed: b,
			}
			y.animals[r.ID] = a
			if r.Wanted {
				y.start(a)
			}
		}
		if !r.Wanted && !a.unwanted {
			a.unwanted = true
			a.life++
			drain := time.Duration(0)
			if y.d.one(4) {
				drain = y.d.upTo(10 * time.Second)
			}
			if y.d.one(50) {
				drain = y.d.upTo(3 * time.Minute)
			}
			y.after(drain, func() { y.bury(a) })
		}
	}
}

// start lets an animal come up, or not.
func (y *yard) start(a *animal) {
	d, b, life := y.d, a.breed, a.life
	if b.stuck {
		return
	}
	y.after(b.start+d.upTo(b.spread), func() {
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
			y.report(a, r, func() {
				if r.Status == hosting.InstanceStarting {
					y.start(a)
				}
			})
			return
		}
		y.rise(a)
	})
}

// recover lets what is stuck come up after all, so that no deployment has to
// wait for its timeout once all is to end.
func (y *yard) recover() {
	byName := func(a, b *animal) int { return strings.Compare(a.name, b.name) } // identifiers differ from life to life
	for _, a := range slices.SortedFunc(maps.Values(y.animals), byName) {
		if a.breed.stuck && !a.unwanted {
			y.after(y.d.upTo(time.Second), func() { y.start(a) })
		}
	}
	for _, b := range y.breeds {
		b.stuck = false
	}
}

// rise makes an animal ready; a frail one dies some time.
func (y *yard) rise(a *animal) {
	r := hosting.InstanceReport{ID: a.id, Status: hosting.InstanceReady, Address: "10.0.0.1:80"}
	y.report(a, r, func() {
		life := a.life
		if !a.breed.frail || y.calm || !y.d.one(4) {
			return
		}
		y.after(y.d.upTo(3*time.Minute), func() {
			if a.life == life && !y.calm {
				y.die(a)
			}
		})
	})
}

// die takes a ready animal down. Most get up again.
func (y *yard) die(a *animal) {
	y.wound(a.endpoint)
	r := hosting.InstanceReport{ID: a.id, Status: hosting.InstanceUnhealthy, Attempts: 1, Detail: "The process ended."}
	if y.d.one(5) {
		r.Status, r.Attempts = hosting.InstanceFailed, 3
	}
	y.report(a, r, func() {
		life := a.life
		if r.Status == hosting.InstanceFailed {
			return
		}
		y.after(y.d.upTo(time.Minute), func() {
			if a.life == life {
				y.rise(a)
			}
		})
	})
}

// report tells the store, until it is heard: word may be lost before it is
// written, or after.
func (y *yard) report(a *animal, r hosting.InstanceReport, then func()) {
	life := a.life
	again := func() {
		y.after(y.d.upTo(2*time.Second), func() {
			if a.life == life {
				y.report(a, r, then)
			}
		})
	}
	if !y.calm && y.d.one(200) {
		again()
		return
	}
	y.reports++
	y.note("%s is %s", a.name, r.Status)
	_, err := y.db.ReportInstance(y.ctx, r, now())
	y.must(err)
	y.checkEndpoint(a.endpoint)
	y.woken(a)
	if !y.calm && y.d.one(200) {
		again()
		return
	}
	then()
}

// bury forgets an animal that runs no more.
func (y *yard) bury(a *animal) {
	y.reports++
	y.note("%s is gone", a.name)
	y.must(y.db.RemoveInstance(y.ctx, a.id, now()))
	delete(y.animals, a.id)
	y.checkEndpoint(a.endpoint)
	y.woken(a)
}

// woken rings if a deployment was waiting for word of an animal.
func (y *yard) woken(a *animal) {
	if s := y.spots[a.endpoint]; s.id == a.endpoint && s.stored != nil && s.stored.Deployment != nil {
		y.ringAll()
	}
}

// now is the present as the store keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
