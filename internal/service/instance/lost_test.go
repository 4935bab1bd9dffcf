package instance_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// An endpoint that was in service may lose what its instances need. Its
// FailureReason says so for as long as that lasts, and the log says it once.
func TestAnEndpointSaysWhyItsInstancesDoNotComeBack(t *testing.T) {
	for name, c := range map[string]struct {
		lose, mend func(p *plant)
		want       string
	}{
		"its image vanished from the configuration": {
			func(p *plant) { p.unknown = fault.New(fault.Invalid, "Requested image i not found.") },
			func(p *plant) { p.unknown = nil },
			"The image i cannot run here. Requested image i not found.",
		},
		"the disk is full": {
			refused(fmt.Errorf("open log: %w", syscall.ENOSPC)),
			func(p *plant) { p.world.refuse.Store(nil) },
			"could not be started: no space is left on the server's disk.",
		},
		"its model is gone": {
			fetchFails(fault.New(fault.NotFound, "no such object")),
			func(p *plant) { p.world.fetch.Store(nil) },
			`Failed to download model data for container "primary" from URL: "s3://b/k".`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			p.create(1)
			_, is := p.until("in service", inService)
			p.stop()
			p.world.kill(provider.ID(is[0].ID))
			c.lose(p)
			p.start()
			says := func(e *hosting.Endpoint, is []hosting.Instance) string { return e.View(is).FailureReason }
			p.until("told, after the first failure", func(e *hosting.Endpoint, is []hosting.Instance) bool {
				return e.Status == hosting.OutOfService && is[0].Attempts > 0 && strings.Contains(says(e, is), c.want)
			})
			p.until("tried again", func(e *hosting.Endpoint, is []hosting.Instance) bool {
				return is[0].Attempts > 5 && strings.Count(says(e, is), c.want) == 1
			})
			if n := p.logged.count("instance is down"); n != 1 {
				t.Errorf("the log says it %d times", n)
			}
			p.stop()
			c.mend(p)
			p.start()
			p.until("in service, and nothing to say", func(e *hosting.Endpoint, is []hosting.Instance) bool {
				return inService(e, is) && says(e, is) == ""
			})
		})
	}
}

// Somebody else may listen at the address of an instance that ended while no
// server looked: the original's, if the data directory is a copy.
func TestWhatDidNotRunWhenTheServerWasStartedGetsNoRequests(t *testing.T) {
	p := newPlant(t)
	p.create(1)
	_, is := p.until("in service", inService)
	p.stop()
	p.world.kill(provider.ID(is[0].ID))
	fetched := make(chan struct{})
	p.world.fetch.Store(new(func(ctx context.Context, _ hosting.ModelData) error {
		select {
		case <-fetched:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}))
	p.start()
	e, is := p.until("out of the route", func(e *hosting.Endpoint, is []hosting.Instance) bool {
		return e.Status == hosting.OutOfService && is[0].Address == ""
	})
	if r := e.Route(is); len(r.Variants) != 1 || len(r.Variants[0].Fleets[0].Instances) != 0 {
		t.Errorf("requests go to %+v", r)
	}
	close(fetched)
	p.until("back in service", inService)
}
