package fleet

import (
	"context"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// readable remembers which objects the devices of fleets may read.
type readable struct {
	mu     sync.Mutex
	fleets map[fleetKey]fleetObjects
}

type fleetKey struct {
	scope arn.Scope
	fleet string
}

// fleetObjects are the URLs that a fleet's devices may read, as of a moment.
type fleetObjects struct {
	urls map[string]bool
	at   time.Time
}

// readableFor is how long an answer stays good that lets a device read;
// maxReadable bounds the fleets that are remembered.
const (
	readableFor = 10 * time.Second
	maxReadable = 1024
)

// AuthorizeObject refuses a device what it may not do with an object. It may
// read the packages that its fleet is told to fetch or that it had, and write
// below its fleet's output location. The fleet is that of the role alias
// through which its credentials came, and the device is registered in it.
func (s *Service) AuthorizeObject(ctx context.Context, sc arn.Scope, c edge.Caller, r edge.ObjectRequest) error {
	may, err := s.mayHave(ctx, sc, c, r)
	if err == nil && !may {
		return fault.New(fault.Denied, "The credentials of this device do not allow access to the object.")
	}
	return err
}

func (s *Service) mayHave(ctx context.Context, sc arn.Scope, c edge.Caller, r edge.ObjectRequest) (bool, error) {
	fleet := edge.FleetOfAlias(c.Alias)
	if fleet == "" {
		return false, nil
	}
	device, registered, err := s.Store.DeviceOfThing(ctx, sc, fleet, c.Thing)
	if err != nil || !registered {
		return false, err
	}
	if r.Access == edge.ReadObject {
		may, err := s.mayRead(ctx, sc, fleet, r.URL())
		if err != nil || may {
			return may, err
		}
		return s.Store.DeviceHadObject(ctx, device, r.URL())
	}
	f, err := s.Store.Fleet(ctx, sc, fleet)
	return err == nil && f.Collects(r), err
}

// mayRead answers from what is remembered, and looks again before it says no: a
// stage may have started since.
func (s *Service) mayRead(ctx context.Context, sc arn.Scope, fleet, url string) (bool, error) {
	k := fleetKey{sc, fleet}
	s.objects.mu.Lock()
	had := s.objects.fleets[k]
	s.objects.mu.Unlock()
	if had.urls[url] && time.Since(had.at) < readableFor {
		return true, nil
	}
	urls, err := s.Store.FleetObjects(ctx, sc, fleet)
	if err != nil {
		return false, err
	}
	s.objects.mu.Lock()
	defer s.objects.mu.Unlock()
	if s.objects.fleets == nil || len(s.objects.fleets) >= maxReadable {
		s.objects.fleets = map[fleetKey]fleetObjects{}
	}
	s.objects.fleets[k] = fleetObjects{urls, time.Now()}
	return urls[url], nil
}
