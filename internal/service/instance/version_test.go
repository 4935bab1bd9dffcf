package instance_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// A fleet of an earlier release, and one whose data could not be looked at when it
// was created, has no version of its data.
func TestTheInstancesOfAFleetSettleOnOneVersionOfItsData(t *testing.T) {
	p := newPlant(t)
	p.stop()
	var asked, served atomic.Int64
	p.version = func(_ context.Context, _ hosting.InstanceID, _ hosting.ModelData, before bool) (string, error) {
		if before {
			served.Add(1)
		}
		return fmt.Sprintf("v%d", asked.Add(1)), nil
	}
	p.start()
	p.create(3)
	e, is := p.until("in service", inService)
	want := e.Fleet.Variants[0].Container.ModelData.Version
	versions := func() (all []string) {
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		for _, s := range p.world.servers {
			all = append(all, s.spec.ModelData.Version)
		}
		return all
	}
	for _, got := range versions() {
		if got != want || want == "" {
			t.Errorf("an instance serves version %q, the fleet %q", got, want)
		}
	}
	p.world.kill(provider.ID(is[0].ID))
	p.until("back in service", func(e *hosting.Endpoint, is []hosting.Instance) bool {
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		return inService(e, is) && p.world.starts[provider.ID(is[0].ID)] == 2
	})
	for _, got := range versions() {
		if got != want {
			t.Errorf("after one was replaced, version %q is served, not %q", got, want)
		}
	}
	if served.Load() != 0 {
		t.Errorf("%d asked as if an earlier server had served it", served.Load())
	}
}

func TestAnAdoptedInstanceFixesTheVersionThatItServes(t *testing.T) {
	p := newPlant(t)
	p.create(1) // without versions, as earlier releases were
	p.until("in service", inService)
	p.stop()
	p.version = func(_ context.Context, _ hosting.InstanceID, _ hosting.ModelData, served bool) (string, error) {
		return fmt.Sprintf("served %v", served), nil
	}
	p.start()
	p.until("fixed", func(e *hosting.Endpoint, _ []hosting.Instance) bool {
		return e.Fleet != nil && e.Fleet.Variants[0].Container.ModelData.Version == "served true"
	})
}

// The object may be gone, and with it the store's word for its version: what the
// fleet serves is in the records.
func TestAFleetWhoseVersionIsKnownAsksForNoOther(t *testing.T) {
	p := newPlant(t)
	p.create(1) // without a version, as earlier releases were
	_, is := p.until("in service", inService)
	p.stop()
	p.version = says("v1")
	p.start()
	p.until("fixed", versionIs("v1"))
	p.stop()
	p.world.kill(provider.ID(is[0].ID))
	p.version = func(context.Context, hosting.InstanceID, hosting.ModelData, bool) (string, error) {
		return "", fault.New(fault.NotFound, "no such object")
	}
	p.start()
	p.until("back in service", func(e *hosting.Endpoint, is []hosting.Instance) bool {
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		return inService(e, is) && p.world.starts[provider.ID(is[0].ID)] == 2
	})
}

func says(version string) func(context.Context, hosting.InstanceID, hosting.ModelData, bool) (string, error) {
	return func(context.Context, hosting.InstanceID, hosting.ModelData, bool) (string, error) {
		return version, nil
	}
}

func versionIs(version string) func(*hosting.Endpoint, []hosting.Instance) bool {
	return func(e *hosting.Endpoint, _ []hosting.Instance) bool {
		return e != nil && e.Fleet != nil && e.Fleet.Variants[0].Container.ModelData.Version == version
	}
}

// Its version cannot be fixed for the moment: that is no reason not to look after it.
func TestAnAdoptedInstanceIsLookedAfterWhileItsVersionCannotBeWritten(t *testing.T) {
	p := newPlant(t)
	p.create(2)
	_, is := p.until("in service", inService)
	p.stop()
	p.version = says("v1")
	p.write(`create trigger full before update on endpoint begin select raise(abort, 'disk full'); end`)
	p.start()
	p.world.alter(is[0].ID, func(s *server) { s.healthy.Store(false) })
	p.until("found out", func(_ *hosting.Endpoint, is []hosting.Instance) bool {
		return is[0].Status != hosting.InstanceReady || is[1].Status != hosting.InstanceReady
	})
	p.write(`drop trigger full`)
	p.until("fixed", versionIs("v1"))
}

// The cache has lost the version of the fleet; the object has another, of the same
// bytes.
func TestTheSameBytesInAnotherVersionServe(t *testing.T) {
	p := newPlant(t)
	p.stop()
	p.version, p.digest = says("v1"), "d1"
	p.start()
	p.create(1)
	_, is := p.until("in service, its digest known", func(e *hosting.Endpoint, is []hosting.Instance) bool {
		return inService(e, is) && e.Fleet.Variants[0].Container.ModelData.Digest == "d1"
	})
	p.world.fetch.Store(new(func(_ context.Context, d hosting.ModelData) error {
		if d.Version == "v1" && d.Digest == "d1" {
			return nil
		}
		return fault.New(fault.Invalid, "The data was replaced.")
	}))
	p.world.kill(provider.ID(is[0].ID))
	p.until("back in service", func(e *hosting.Endpoint, is []hosting.Instance) bool {
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		return inService(e, is) && p.world.starts[provider.ID(is[0].ID)] == 2
	})
}

// An upgrade may refuse what a model sets that runs. It is said then, not when the
// instance is next started.
func TestAnAdoptedInstanceThatCouldNotBeStartedAgainSaysSo(t *testing.T) {
	p := newPlant(t)
	p.create(1)
	p.until("in service", inService)
	p.stop()
	p.unknown = fault.New(fault.Invalid, `Environment variable "PYTHONPATH" may not be set.`)
	p.start()
	_, is := p.until("told", func(e *hosting.Endpoint, is []hosting.Instance) bool {
		return inService(e, is) && strings.Contains(is[0].Detail, "PYTHONPATH")
	})
	if is[0].Status != hosting.InstanceReady || p.logged.count("could not be started again") == 0 {
		t.Errorf("it is %s, and the log says nothing", is[0].Status)
	}
	p.wantStarts(is[0].ID, 1)
}
