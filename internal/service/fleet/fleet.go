// Package fleet carries out what is asked of device fleets and deployment
// plans, takes the turns of their stages, and lets devices check in. Package
// edge decides; here the decisions become rows, in transactions small enough
// that devices need not wait for people. Signing packages, identities and
// protocols are not its job.
package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	store "github.com/slipway-ml/slipway/internal/platform/store/edge"
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
	Store store.DB
	// Change runs f in one transaction. Nil: Store.Change. The simulation has it
	// fail, before f or after the commit.
	Change   func(ctx context.Context, f func(store.Tx) error) error
	Packages Packages
	Log      *slog.Logger
	// Wake is notified when a stage may have fallen due. Nil: nobody waits.
	Wake loop.Wakeup
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
	// since when, in microseconds, whatever devices said was written
	listening atomic.Int64
}

// New returns a Service.
func New(c Config) *Service {
	c.Window = cmp.Or(c.Window, time.Hour)
	c.StopGrace = cmp.Or(c.StopGrace, 24*time.Hour)
	c.RegisteredTTL = cmp.Or(c.RegisteredTTL, time.Hour)
	c.UnregisteredTTL = cmp.Or(c.UnregisteredTTL, time.Minute)
	c.IdlePoll = cmp.Or(c.IdlePoll, time.Minute)
	c.HeartbeatEvery = cmp.Or(c.HeartbeatEvery, time.Minute)
	c.ActivePoll = cmp.Or(c.ActivePoll, 10*time.Second)
	c.TurnTime = cmp.Or(c.TurnTime, 2*time.Second)
	c.PollRate = cmp.Or(c.PollRate, 2000)
	c.Queue = cmp.Or(c.Queue, 8192)
	c.Batch = cmp.Or(c.Batch, 1000)
	c.Chunk = cmp.Or(c.Chunk, 500)
	if c.NewOrder == nil {
		c.NewOrder = newOrder
	}
	if c.Change == nil {
		c.Change = c.Store.Change
	}
	s := &Service{Config: c, queue: make(chan *checkin, c.Queue), done: make(chan struct{})}
	s.deaf()
	return s
}

// deaf notes that up to now something may have been missed that devices said:
// stages do not count such time (edge.Watch).
func (s *Service) deaf() { s.listening.Store(clock.Now().UnixMicro()) }

// newOrder returns 26 letters and digits after "d-" (spec §3.2 rule 8).
func newOrder() string { return "d-" + strings.ToLower(rand.Text()) }

// fleetForWork reads and locks a fleet that devices or stages shall be added
// to, in the words of operations on devices.
func fleetForWork(ctx context.Context, tx store.Tx, s arn.Scope, name string) (edge.Fleet, error) {
	f, err := tx.Fleet(ctx, s, name)
	if err != nil {
		return f, edge.Reworded(err, edge.NoFleetOfDevice(name))
	}
	if f.Deleting {
		return f, fault.New(fault.InUse, "Device fleet with name %s is being deleted", name)
	}
	return f, nil
}
