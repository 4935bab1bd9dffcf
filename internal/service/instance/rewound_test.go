package instance_test

import (
	"context"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/provider"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
)

// The rows become those of an earlier state: one instance is not wanted there,
// another is not known.
func TestRowsWhoseVersionsRanBackwardsAreFollowedAnew(t *testing.T) {
	p := newPlant(t)
	p.create(3)
	_, is := p.until("in service", inService)
	p.goBack(`update counter set n = 1 where name = 'instance'`,
		`update instance set version = 1 where id = '`+string(is[0].ID)+`'`,
		`update instance set version = 2, wanted = 0 where id = '`+string(is[1].ID)+`'`,
		`delete from instance where id = '`+string(is[2].ID)+`'`)
	p.until("as the rows are", func(*hosting.Endpoint, []hosting.Instance) bool {
		ids := p.world.ids()
		return len(ids) == 1 && ids[0] == provider.ID(is[0].ID)
	})
	p.wantStarts(is[0].ID, 1)
}

// goBack makes the database what it was before the last reports, and has it read
// again.
func (p *plant) goBack(statements ...string) {
	p.t.Helper()
	p.write(statements...)
	p.manager.Reread()
}

func (p *plant) write(statements ...string) {
	p.t.Helper()
	err := p.db.Change(p.t.Context(), func(tx store.Tx) error {
		for _, s := range statements {
			if err := tx.Run(p.t.Context(), "go back", s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.t.Error(err)
	}
}

// What was reported of an instance is lost with the later state of the database.
// Nothing of it changes again: the row has to become what the instance is.
func TestAnInstanceWhoseReportWasLostIsReportedAgain(t *testing.T) {
	for name, row := range map[string]string{
		"that it was ready":          `status = 'starting', address = ''`,
		"where it is":                `address = '127.0.0.1:1'`,
		"that it is healthy again":   `status = 'unhealthy', detail = 'x'`,
		"what it is, and never will": `status = 'failed', address = ''`,
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			p.create(1)
			_, is := p.until("in service", inService)
			p.goBack(`update counter set n = 1 where name = 'instance'`, `update instance set version = 1, `+row)
			_, now := p.until("as it was", func(_ *hosting.Endpoint, now []hosting.Instance) bool {
				return ready(1)(&hosting.Endpoint{}, now) && now[0].Address == is[0].Address
			})
			if now[0].Detail != "" {
				t.Errorf("it is ready, and has to say %q", now[0].Detail)
			}
			p.wantStarts(is[0].ID, 1)
		})
	}
}

// An instance that waits for its last request is wanted after all: it serves on,
// is looked at as before, and is restarted when it dies.
func TestAnInstanceWhoseEndWasLostIsLookedAfterAgain(t *testing.T) {
	p := newPlant(t)
	p.busy.Store(true)
	p.create(1)
	_, is := p.until("in service", inService)
	was := is[0].ID
	p.change(func(e *hosting.Endpoint) error { return e.Update(hosting.Update{Launch: launch("c2", 1)}) })
	p.until("draining", func(*hosting.Endpoint, []hosting.Instance) bool {
		_, draining := p.drained.Load(was)
		return draining
	})
	p.goBack(`update counter set n = 1 where name = 'instance'`,
		`update instance set version = 1, wanted = 1 where id = '`+string(was)+`'`)
	p.world.kill(provider.ID(was))
	p.until("restarted", func(_ *hosting.Endpoint, now []hosting.Instance) bool {
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		return p.world.starts[provider.ID(was)] == 2
	})
}

// One that was stopped already comes back.
func TestAnInstanceThatIsStoppedWhileItsEndIsLostComesBack(t *testing.T) {
	p := newPlant(t)
	p.create(1)
	_, is := p.until("in service", inService)
	was := is[0].ID
	p.world.removing.Store(new(func(id provider.ID) {
		if id == provider.ID(was) {
			p.world.removing.Store(nil)
			p.write(`update instance set wanted = 1 where id = '` + string(was) + `'`)
		}
	}))
	p.change(func(e *hosting.Endpoint) error { return e.Update(hosting.Update{Launch: launch("c2", 1)}) })
	p.until("back", func(_ *hosting.Endpoint, now []hosting.Instance) bool {
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		return p.world.starts[provider.ID(was)] == 2
	})
}

// What is listed while an instance is being started may be what is left of its
// predecessor, which ended while no server looked.
func TestTheEndOfAPredecessorDoesNotEndAFreshInstance(t *testing.T) {
	p := newPlant(t)
	p.create(1)
	_, is := p.until("in service", inService)
	p.stop()
	p.world.kill(provider.ID(is[0].ID))
	p.world.fetch.Store(new(func(context.Context, hosting.ModelData) error {
		for seen := p.world.lists.Load(); p.world.lists.Load() < seen+3; {
			time.Sleep(time.Millisecond) // the test's time limit bounds it
		}
		return nil
	}))
	p.start()
	p.until("back in service", func(e *hosting.Endpoint, is []hosting.Instance) bool {
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		return p.world.starts[provider.ID(is[0].ID)] >= 2 && ready(1)(e, is)
	})
	p.wantStarts(is[0].ID, 2)
}
