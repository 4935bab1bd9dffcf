package edge

import "time"

// SortBy is what a listing of the edge is ordered by (spec §1.6).
type SortBy string

// The orders of the API; only plans have a fleet to be ordered by.
const (
	ByPlainName    SortBy = "NAME"
	ByFleetName    SortBy = "DEVICE_FLEET_NAME"
	ByCreationTime SortBy = "CREATION_TIME" // the default
	ByModifiedTime SortBy = "LAST_MODIFIED_TIME"
)

// Cursor is the last row of a page: what it was ordered by and its name. The
// zero Cursor is before the first row.
type Cursor struct {
	Value string `json:"v,omitempty"`
	Micro int64  `json:"t,omitempty"`
	Name  string `json:"n,omitempty"` // breaks ties; empty: from the start
}

// Times bounds a listing by time; zero times bound nothing. After is strictly
// later, Before strictly earlier.
type Times struct {
	CreatedAfter, CreatedBefore   time.Time
	ModifiedAfter, ModifiedBefore time.Time
}

// FleetFilter selects and orders what ListDeviceFleets returns.
type FleetFilter struct {
	Times
	NameContains string // case matters
	SortBy       SortBy // "" is ByCreationTime
	Ascending    bool
	Limit        int // page size; 0 is 100
	After        Cursor
}

// Cursor returns where a page that ends with fl ended.
func (f FleetFilter) Cursor(fl Fleet) Cursor {
	return cursor(f.SortBy, fl.Name, "", fl.Created, fl.Modified)
}

// PlanFilter selects and orders what ListEdgeDeploymentPlans returns.
type PlanFilter struct {
	Times
	NameContains  string // case matters
	FleetContains string // case matters
	SortBy        SortBy // "" is ByCreationTime
	Ascending     bool
	Limit         int // page size; 0 is 50
	After         Cursor
}

// Cursor returns where a page that ends with p ended.
func (f PlanFilter) Cursor(p Plan) Cursor {
	return cursor(f.SortBy, p.Name, p.Fleet, p.Created, p.Modified)
}

func cursor(by SortBy, name, fleet string, created, modified time.Time) Cursor {
	switch by {
	case ByPlainName:
		return Cursor{Value: name, Name: name}
	case ByFleetName:
		return Cursor{Value: fleet, Name: name}
	case ByModifiedTime:
		return Cursor{Micro: modified.UnixMicro(), Name: name}
	case ByCreationTime:
	}
	return Cursor{Micro: created.UnixMicro(), Name: name}
}

// DeviceFilter selects what ListDevices returns, by the names of fleet and
// device.
type DeviceFilter struct {
	Fleet          string    // exactly; "" is every fleet
	Model          string    // a model that the device reported, exactly
	HeartbeatAfter time.Time // strictly; leaves out devices never heard of
	Limit          int       // page size; 0 is 100
	After          Cursor
}

// Cursor returns where a page that ends with d ended.
func (f DeviceFilter) Cursor(d Device) Cursor { return Cursor{Value: d.Fleet, Name: d.Name} }

// RowFilter selects what ListStageDevices returns, by the name of the device.
type RowFilter struct {
	ExcludeOwnedElsewhere bool // leave out devices that another stage of the plan deploys to
	Limit                 int  // page size; 0 is 100
	After                 Cursor
}

// Cursor returns where a page that ends with d ended.
func (f RowFilter) Cursor(d StageDevice) Cursor {
	return Cursor{Micro: d.Mark, Value: d.Device, Name: d.Device}
}

// StageDevice is a device as ListStageDevices shows it (spec §2.24).
type StageDevice struct {
	Row
	Description string
	// OwnerStage is the stage of the plan that deploys to the device; "" if
	// none does.
	OwnerStage string
	// Mark is the store's: it lets a page begin where the one before ended.
	Mark int64
}

// PlanEvent is one line of a plan's record: a transition of a stage, a verdict
// or act of the policy, or what a person asked for.
type PlanEvent struct {
	At    time.Time
	Stage string // "" if it is about the plan
	Kind  EventName
	Text  string // a sentence
	By    string // who asked; "" if nobody did
}

// EventName says what a line of a plan's record is about.
type EventName string

// The lines of a plan's record.
const (
	EventPlan    EventName = "Plan"    // the plan or its stages were created, changed or deleted
	EventStage   EventName = "Stage"   // a stage has another status
	EventVerdict EventName = "Verdict" // the policy has a verdict on a stage
	EventPolicy  EventName = "Policy"  // the policy was set
	EventAction  EventName = "Action"  // the policy did something
	EventDevice  EventName = "Device"  // the first device of an order gave a reason for what went wrong
)

// FleetUpdate is what UpdateDeviceFleet changes; a nil member stays as it is
// (spec §2.3).
type FleetUpdate struct {
	Output      OutputConfig
	RoleARN     *string
	Description *string
	Alias       *bool
}

// Apply returns the fleet with the update.
func (u FleetUpdate) Apply(f Fleet) Fleet {
	f.Output = u.Output
	if u.RoleARN != nil {
		f.RoleARN = *u.RoleARN
	}
	if u.Description != nil {
		f.Description = *u.Description
	}
	if u.Alias != nil {
		f.Alias = *u.Alias
	}
	return f
}

// DeviceUpdate is what UpdateDevices changes of one device; a nil member stays
// as it is (spec §2.8).
type DeviceUpdate struct {
	Name        string
	Description *string
	Thing       *string
}

// Apply returns the device with the update.
func (u DeviceUpdate) Apply(d Device) Device {
	if u.Description != nil {
		d.Description = *u.Description
	}
	if u.Thing != nil {
		d.Thing = *u.Thing
	}
	return d
}
