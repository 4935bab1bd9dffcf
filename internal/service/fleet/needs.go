package fleet

import (
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// Tx is what is needed of one transaction. What reads for a change locks what it
// reads: a fleet before a plan, plans in the order of their ids, and a plan
// before its stages and their rows, which have no lock of their own.
type Tx interface {
	fleetTx
	planTx
	sweepTx
	checkinTx
}

type fleetTx interface {
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

type planTx interface {
	// Plan reads and locks a plan with its stages; PlanOfStage that of a stage, nil
	// if it is gone.
	Plan(ctx context.Context, s arn.Scope, name string) (*edge.Plan, error)
	PlanOfStage(ctx context.Context, stage int64) (*edge.Plan, error)
	InsertPlan(ctx context.Context, p *edge.Plan) error
	// SavePlan records the policy and wakes the stages.
	SavePlan(ctx context.Context, p *edge.Plan) error
	DeletePlan(ctx context.Context, p *edge.Plan) error
	InsertStages(ctx context.Context, p *edge.Plan, from int) error
	// SaveStage records a stage, but for its counters, and when it is due.
	SaveStage(ctx context.Context, p *edge.Plan, s edge.Stage, due time.Time) error
	// BeginStage records to which fleet a stage deploys what.
	BeginStage(ctx context.Context, s edge.Stage, f edge.Fleet, o edge.Order) error
	// RemoveStage takes a stage out of its plan; RemoveRows removes n of its rows,
	// and it when there are no more.
	RemoveStage(ctx context.Context, p *edge.Plan, s edge.Stage, now time.Time) error
	RemoveRows(ctx context.Context, stage int64, n int) (gone bool, err error)
	WakeSelecting(ctx context.Context, p *edge.Plan, now time.Time) error
	TellPlan(ctx context.Context, p *edge.Plan, e edge.PlanEvent) error
	// PackageID returns the number under which a package is remembered.
	PackageID(ctx context.Context, p edge.Package) (int64, error)
	NewestDevice(ctx context.Context, f edge.Fleet) (int64, error)
	// Rivals returns the active stages of other plans that share a handle.
	Rivals(ctx context.Context, fleet int64, p *edge.Plan) ([]edge.Rival, error)
}

type sweepTx interface {
	// NextRows returns the rows that the sweep of a stage comes to next.
	NextRows(ctx context.Context, s edge.Stage, n int) ([]edge.SweptRow, error)
	SaveRow(ctx context.Context, stage int64, r edge.Row) error
	// TakeDevices gives devices to a stage: rows, as far as no other stage of the
	// plan has them, and their counters.
	TakeDevices(ctx context.Context, p *edge.Plan, s edge.Stage, ids []int64, mayTake bool, e edge.Event) error
	SaveSweep(ctx context.Context, s edge.Stage) error
	// CountRows adds to the counters of stages whose rows were saved, and makes
	// them due.
	CountRows(ctx context.Context, plans []int64, deltas map[int64]*edge.Counts, now time.Time) error
}

type checkinTx interface {
	CheckinDevice(ctx context.Context, s arn.Scope, fleet, name string) (edge.Polled, error)
	SaveCheckin(ctx context.Context, d edge.Device, same bool) error
	// Ordered returns the stage whose order in hand has the name.
	Ordered(ctx context.Context, deployment string) (edge.Offer, bool, error)
	LockPlans(ctx context.Context, ids []int64) error
	// RowOf returns the row of a device in a stage that has it.
	RowOf(ctx context.Context, stage, device int64) (edge.Row, bool, error)
	// OpenRowsOf returns the stages that want something of a device.
	OpenRowsOf(ctx context.Context, device int64) ([]edge.Offer, error)
	// PutHandles and RestoreHandles remember what a device has.
	PutHandles(ctx context.Context, device, plan int64, o edge.Order) error
	RestoreHandles(ctx context.Context, device, plan int64) error
}

// Reader is what is needed of the store outside a transaction.
type Reader interface {
	Fleet(ctx context.Context, s arn.Scope, name string) (edge.Fleet, error)
	ListFleets(ctx context.Context, s arn.Scope, f edge.FleetFilter) ([]edge.Fleet, bool, error)
	Device(ctx context.Context, f edge.Fleet, name string) (edge.Device, error)
	ListDevices(ctx context.Context, s arn.Scope, f edge.DeviceFilter) ([]edge.Device, bool, error)
	// EachCheckin calls f with what every device of a fleet last said of itself.
	EachCheckin(ctx context.Context, fl edge.Fleet, f func(edge.Device)) error

	Plan(ctx context.Context, s arn.Scope, name string) (*edge.Plan, error)
	PlanOfStage(ctx context.Context, stage int64) (*edge.Plan, error)
	ListPlans(ctx context.Context, s arn.Scope, f edge.PlanFilter) ([]edge.Plan, bool, error)
	PlanEvents(ctx context.Context, p *edge.Plan) ([]edge.PlanEvent, error)
	// Removed reports whether a stage was taken out of its plan, but not removed.
	Removed(ctx context.Context, stage int64) (bool, error)
	FleetOf(ctx context.Context, stage int64) (int64, error)

	// Candidates, Named and ByNames go through the devices of a fleet, with who
	// has them in a plan: by id, by given names, and in the order of their names.
	Candidates(ctx context.Context, w edge.Walk, n int) ([]edge.Candidate, error)
	Named(ctx context.Context, fleet, plan int64, names []string) ([]edge.Candidate, error)
	ByNames(ctx context.Context, fleet int64, p *edge.Plan, after string, n int) ([]edge.StageDevice, error)
	StageDevices(ctx context.Context, p *edge.Plan, s edge.Stage, f edge.RowFilter) ([]edge.StageDevice, bool, error)
	// Restartable reports whether a new start would restart a row; HasRow whether
	// it would restart that of a device.
	Restartable(ctx context.Context, s edge.Stage) (bool, error)
	HasRow(ctx context.Context, s edge.Stage, device int64) (bool, error)
	Rivals(ctx context.Context, fleet int64, p *edge.Plan) ([]edge.Rival, error)
	// OpenRows returns devices that a stage waits for, with who has them in a plan.
	OpenRows(ctx context.Context, stage, plan, after int64, n int) ([]edge.Candidate, error)
	OldestDelivery(ctx context.Context, s edge.Stage) (time.Time, error)
	AnyReachable(ctx context.Context, s edge.Stage, since time.Time) (bool, error)

	// FleetObjects are the objects that a fleet's devices may be told to fetch.
	FleetObjects(ctx context.Context, s arn.Scope, fleet string) (map[string]bool, error)
	DeviceOfThing(ctx context.Context, s arn.Scope, fleet, thing string) (id int64, found bool, err error)
	DeviceHadObject(ctx context.Context, device int64, url string) (bool, error)

	Poll(ctx context.Context, s arn.Scope, fleet, name string) (edge.Polled, error)
	// Before returns what a device had for each handle before a plan.
	Before(ctx context.Context, device, plan int64) (map[string]edge.Package, error)
}
