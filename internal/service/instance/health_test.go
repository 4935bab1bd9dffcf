package instance_test

import (
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

func TestAnUnhealthyInstanceIsReplaced(t *testing.T) {
	p := newPlant(t)
	p.create(1)
	_, is := p.until("in service", inService)
	p.world.mu.Lock()
	p.world.servers[provider.ID(is[0].ID)].healthy.Store(false)
	p.world.mu.Unlock()
	p.until("out of service", func(e *hosting.Endpoint,
		_ []hosting.Instance,
	) bool {
		return e.Status == hosting.OutOfService
	})
	p.until("back in service", func(e *hosting.Endpoint, is []hosting.Instance) bool {
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		return inService(e, is) && p.world.starts[provider.ID(is[0].ID)] == 2
	})
}

// Killing them for what only their checks say would leave nobody to serve.
func TestInstancesThatAllFailTheirChecksGoOnAndAreReplacedOneAtATime(t *testing.T) {
	p := newPlant(t)
	p.create(2)
	_, is := p.until("in service", inService)
	p.until("ready", ready(2))
	deny := func(i hosting.Instance, deny bool) {
		p.world.alter(i.ID, func(s *server) { s.healthy.Store(!deny) })
	}
	for _, i := range is {
		deny(i, true)
	}
	p.until("kept where they answer", func(e *hosting.Endpoint, is []hosting.Instance) bool {
		kept := 0
		for _, i := range is {
			var denied int64
			p.world.alter(i.ID, func(s *server) { denied = s.denied.Load() })
			if i.Status == hosting.InstanceUnhealthy && i.Address != "" && denied > 6 {
				kept++
			}
		}
		return e.Status == hosting.OutOfService && kept == 2
	})
	for _, i := range is {
		p.wantStarts(i.ID, 1)
	}
	deny(is[0], false) // one is enough to replace the other
	p.until("the other replaced", func(e *hosting.Endpoint, now []hosting.Instance) bool {
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		return p.world.starts[provider.ID(is[1].ID)] == 2 && ready(2)(e, now)
	})
	p.wantStarts(is[0].ID, 1)
}
