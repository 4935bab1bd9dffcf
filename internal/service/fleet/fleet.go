// Package fleet carries out what is asked of device fleets and deployment
// plans, takes the turns of their stages, and lets devices check in. Package
// edge decides; here the decisions become rows, in transactions small enough
// that devices need not wait for people. Signing packages, identities and
// protocols are not its job.
package fleet

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// The changes that updates ask for.
type (
	FleetUpdate  = edge.FleetUpdate
	DeviceUpdate = edge.DeviceUpdate
)

// Packages knows what the packaging jobs have made.
type Packages interface {
	// Package returns what a job has made; a job that is not COMPLETED is a fault.
	Package(ctx context.Context, s arn.Scope, job string) (edge.Package, error)
	// SHA1Now reads an object again and returns its SHA-1, in lower-case hex.
	SHA1Now(ctx context.Context, s3url string) (string, error)
}

// Config is what a Service is made of. Zero durations and numbers are the
// defaults.
type Config struct {
	Change   func(ctx context.Context, f func(Tx) error) error // runs f in one transaction
	Read     Reader
	Packages Packages
	Log      *slog.Logger
	// Ring says that a stage may have fallen due. It must not block.
	Ring func()
	// EnsureAlias makes the role alias of a fleet exist and stand for a role. It
	// may be called again. Nil: nobody keeps role aliases.
	EnsureAlias func(ctx context.Context, s arn.Scope, fleet, roleARN string) error
	// Measured is told of the metrics of a heartbeat that was written. It must not
	// block. Nil: nobody wants them.
	Measured func(s arn.Scope, h edge.Heartbeat)
	// KeepNonempty makes DeleteFleet refuse a fleet that has devices; otherwise
	// they are deregistered with it (spec §11 Q1).
	KeepNonempty bool
	// NewOrder returns a name that no order ever had. Nil: a random one.
	NewOrder func() string

	// Window is how long ago a device that counts as connected may have been
	// heard of; an hour (spec §2.11).
	Window time.Duration
	// StopGrace is how long a stage that was stopped waits for devices that have
	// its order; a day (spec §4.5).
	StopGrace time.Duration
	// RegisteredTTL and UnregisteredTTL are how long a device may believe what
	// GetDeviceRegistration says; an hour and a minute (spec §3.1).
	RegisteredTTL, UnregisteredTTL time.Duration
	// IdlePoll and ActivePoll are when devices are asked to come again, ActivePoll
	// while a stage of their fleet is active; a minute and ten seconds. PollRate is
	// how many times a second the devices of one fleet may come together: a large
	// fleet is asked to come less often; 2000.
	IdlePoll, ActivePoll time.Duration
	// HeartbeatEvery is when devices are asked for their next heartbeat, a minute.
	// The answer to one tells them to poll soon if a stage is active.
	HeartbeatEvery time.Duration
	PollRate       int
	// Queue is how many check-ins may wait to be written; more are refused; 8192.
	Queue int
	// Batch is how many of them one transaction writes; 1000.
	Batch int
	// Chunk is how many rows of a stage one transaction changes; 500.
	Chunk int
	// TurnTime is how long a stage's turn may go on before others have theirs; two
	// seconds.
	TurnTime time.Duration
}

// Service carries out verbs, takes turns and lets devices check in.
type Service struct {
	Config
	queue   chan *checkin
	done    chan struct{}                 // closed when nobody writes check-ins any more
	chosen  atomic.Pointer[chosenDevices] // of the stage that was ranked last
	objects readable
}

// New returns a Service.
func New(c Config) *Service {
	orElse(&c.Window, time.Hour)
	orElse(&c.StopGrace, 24*time.Hour)
	orElse(&c.RegisteredTTL, time.Hour)
	orElse(&c.UnregisteredTTL, time.Minute)
	orElse(&c.IdlePoll, time.Minute)
	orElse(&c.HeartbeatEvery, time.Minute)
	orElse(&c.ActivePoll, 10*time.Second)
	orElse(&c.TurnTime, 2*time.Second)
	orElse(&c.PollRate, 2000)
	orElse(&c.Queue, 8192)
	orElse(&c.Batch, 1000)
	orElse(&c.Chunk, 500)
	if c.NewOrder == nil {
		c.NewOrder = newOrder
	}
	if c.Ring == nil {
		c.Ring = func() {}
	}
	return &Service{Config: c, queue: make(chan *checkin, c.Queue), done: make(chan struct{})}
}

func orElse[T comparable](v *T, usual T) {
	if *v == *new(T) {
		*v = usual
	}
}

// newOrder returns 26 letters and digits after "d-" (spec §3.2 rule 8).
func newOrder() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return "d-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}

// now is the present to the microsecond, as the store keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

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
