package instance_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// A fleet of an earlier release, and one whose data could not be looked at when it
// was created, has no version of its data.
func TestTheInstancesOfAFleetSettleOnOneVersionOfItsData(t *testing.T) {
	p := newPlant(t)
	p.stop()
	var asked, served atomic.Int64
	p.version = func(_ context.Context, _ hosting.ModelData, before bool) (string, error) {
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
	p.version = func(_ context.Context, _ hosting.ModelData, served bool) (string, error) {
		return fmt.Sprintf("served %v", served), nil
	}
	p.start()
	p.until("fixed", func(e *hosting.Endpoint, _ []hosting.Instance) bool {
		return e.Fleet != nil && e.Fleet.Variants[0].Container.ModelData.Version == "served true"
	})
}
