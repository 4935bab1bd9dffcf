// Package fleet carries out what is asked of device fleets and deployment
// plans, takes the turns of their stages, and lets devices check in. Package
// edge decides; here the decisions become rows, in transactions small enough
// that devices need not wait for people. Signing packages, identities and
// protocols are not its job.
package fleet

import (
	"context"
	"log/slog"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// The changes that updates ask for.
type (
	FleetUpdate  = edge.FleetUpdate
	DeviceUpdate = edge.DeviceUpdate
)

// Tx is what the verbs about fleets and devices need of one transaction.
type Tx interface {
	// Fleet reads and locks a fleet.
	Fleet(ctx context.Context, s arn.Scope, name string) (edge.Fleet, error)
	InsertFleet(ctx context.Context, f edge.Fleet) error
	SaveFleet(ctx context.Context, f edge.Fleet) error
	DeleteFleet(ctx context.Context, f edge.Fleet) error
	// ActiveStage returns a stage of the fleet that is being carried out, or "".
	ActiveStage(ctx context.Context, f edge.Fleet) (string, error)

	Device(ctx context.Context, f edge.Fleet, name string) (edge.Device, error)
	// InsertDevices returns those that were registered already, as they are.
	InsertDevices(ctx context.Context, f edge.Fleet, ds []edge.Device) ([]edge.Device, error)
	SaveDevice(ctx context.Context, d edge.Device) error
	DeleteDevices(ctx context.Context, f edge.Fleet, ds []edge.Device) error
	SomeDevices(ctx context.Context, f edge.Fleet, n int) ([]edge.Device, error)

	Tags(ctx context.Context, arn string) ([]hosting.Tag, error)
	PutTags(ctx context.Context, arn string, tags []hosting.Tag) error
	DeleteTags(ctx context.Context, arn string, keys ...string) error
}

// Reader is what the verbs need of the store outside a transaction.
type Reader interface {
	Fleet(ctx context.Context, s arn.Scope, name string) (edge.Fleet, error)
	ListFleets(ctx context.Context, s arn.Scope, f edge.FleetFilter) ([]edge.Fleet, bool, error)
	Device(ctx context.Context, f edge.Fleet, name string) (edge.Device, error)
	ListDevices(ctx context.Context, s arn.Scope, f edge.DeviceFilter) ([]edge.Device, bool, error)
	// EachCheckin calls f with what every device of a fleet last said of itself.
	EachCheckin(ctx context.Context, fl edge.Fleet, f func(edge.Device)) error
}

// Config is what a Service is made of.
type Config struct {
	Change func(ctx context.Context, f func(Tx) error) error // runs f in one transaction
	Read   Reader
	Log    *slog.Logger
	// EnsureAlias makes the role alias of a fleet exist and stand for a role. It
	// may be called again. Nil: nobody keeps role aliases.
	EnsureAlias func(ctx context.Context, s arn.Scope, fleet, roleARN string) error
	// Window is how long ago a device that counts as connected may have been
	// heard of; 0 is an hour (spec §2.11).
	Window time.Duration
}

// Service carries out verbs.
type Service struct{ Config }

// New returns a Service.
func New(c Config) *Service {
	if c.Window == 0 {
		c.Window = time.Hour
	}
	return &Service{c}
}

// now is the present to the microsecond, as the store keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// maxTags is how many tags a resource may have.
const maxTags = 50

// putTags refuses what breaks the rules of a tag set and stores the rest.
func putTags(ctx context.Context, tx Tx, resource string, tags []hosting.Tag) error {
	if len(tags) == 0 {
		return nil
	}
	have, err := tx.Tags(ctx, resource)
	if err != nil {
		return err
	}
	if err := hosting.CheckTags(have, tags, maxTags); err != nil {
		return err
	}
	return tx.PutTags(ctx, resource, tags)
}

// fleetForWork reads and locks a fleet that devices or stages shall be added
// to, in the words of operations on devices.
func fleetForWork(ctx context.Context, tx Tx, s arn.Scope, name string) (edge.Fleet, error) {
	f, err := tx.Fleet(ctx, s, name)
	if err != nil {
		return f, edge.Reworded(err, edge.NoFleetOfDevice(name))
	}
	if f.Deleting {
		return f, fault.New(fault.InUse, "Device fleet with name %s is being deleted", name)
	}
	return f, nil
}
