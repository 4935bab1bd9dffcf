package app

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/door"
)

// deviceObjects judges what devices may do with objects: read the packages that
// their fleet is told to fetch or that they had, and write below their fleet's
// output location. The fleet is that of the role alias which the credentials
// came through, and the device is registered in it.
type deviceObjects struct {
	store interface {
		FleetObjects(ctx context.Context, s arn.Scope, fleet string) (map[string]bool, error)
		Fleet(ctx context.Context, s arn.Scope, fleet string) (edge.Fleet, error)
		DeviceOfThing(ctx context.Context, s arn.Scope, fleet, thing string) (id int64, found bool, err error)
		DeviceHadObject(ctx context.Context, device int64, url string) (bool, error)
	}

	mu    sync.Mutex
	known map[knownKey]known
}

type knownKey struct {
	scope arn.Scope
	fleet string
}

// known is what a fleet's devices may read, as of a moment.
type known struct {
	urls map[string]bool
	at   time.Time
}

// knownFor is how long an answer stays good that lets a device read; maxKnown
// bounds the fleets that are remembered.
const (
	knownFor = 10 * time.Second
	maxKnown = 1024
)

func denied() error {
	return fault.New(fault.Denied, "The credentials of this device do not allow access to the object.")
}

// judge implements door.DeviceObject.
func (o *deviceObjects) judge(ctx context.Context, c access.Caller, verb, bucket, key string) error {
	if c.Device == nil {
		return nil
	}
	fleet, ok := strings.CutPrefix(c.Device.Alias, edge.AliasName(""))
	if !ok || fleet == "" {
		return denied()
	}
	id, registered, err := o.store.DeviceOfThing(ctx, c.Scope(), fleet, c.Device.Thing)
	switch {
	case err != nil:
		return err
	case !registered:
		return denied()
	}
	url := "s3://" + bucket + "/" + key
	if verb == door.ObjectGet {
		may, err := o.mayRead(ctx, c.Scope(), fleet, url)
		if err == nil && !may {
			may, err = o.store.DeviceHadObject(ctx, id, url)
		}
		if err == nil && !may {
			err = denied()
		}
		return err
	}
	f, err := o.store.Fleet(ctx, c.Scope(), fleet)
	if err != nil {
		return err
	}
	out := strings.TrimSuffix(f.Output.S3Location, "/") + "/"
	if verb == door.ObjectLocation && strings.HasPrefix(out, "s3://"+bucket+"/") || verb == door.ObjectPut && strings.HasPrefix(url, out) {
		return nil
	}
	return denied()
}

// mayRead answers from what is known, and looks again before it says no: a stage
// may have started since.
func (o *deviceObjects) mayRead(ctx context.Context, s arn.Scope, fleet, url string) (bool, error) {
	k := knownKey{s, fleet}
	o.mu.Lock()
	had, ok := o.known[k]
	o.mu.Unlock()
	if ok && had.urls[url] && time.Since(had.at) < knownFor {
		return true, nil
	}
	urls, err := o.store.FleetObjects(ctx, s, fleet)
	if err != nil {
		return false, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil || len(o.known) >= maxKnown {
		o.known = map[knownKey]known{}
	}
	o.known[k] = known{urls, time.Now()}
	return urls[url], nil
}
