package edge

import (
	"time"
)

// DeviceStatus is where a device stands in a stage (spec §4.1).
type DeviceStatus string

// The statuses of a device in a stage.
const (
	DeviceReady      DeviceStatus = "READYTODEPLOY"
	DeviceInProgress DeviceStatus = "INPROGRESS"
	DeviceDeployed   DeviceStatus = "DEPLOYED"
	DeviceFailed     DeviceStatus = "FAILED"
	DeviceStopping   DeviceStatus = "STOPPING"
	DeviceStopped    DeviceStatus = "STOPPED"
)

// Row is one device in one stage.
type Row struct {
	DeviceID int64
	Device   string
	Attempt  int64 // the number of the stage's order that it was last given
	Status   DeviceStatus
	Message  string
	Started  time.Time // when the order was first delivered; the server's clock
	Ended    time.Time // when its outcome was known
	// Undoing says that the order is to go back to what the device had before
	// the stage: a policy rolled the stage back (see Policy). A row that is
	// undone ends as FAILED, whatever the device reports.
	Undoing bool
	// Gone says that the device left the fleet, Busy that another plan wants
	// something of it. They are facts about the row, not part of it.
	Gone, Busy bool
}

// SweptRow is a row that a sweep of its stage comes to, and whether the stage
// has the device, or only lists it.
type SweptRow struct {
	Row
	Owned bool
}

// Retryable reports whether the device may be given an order again, by its own
// stage or by another of the plan, which then has it (spec §4.4).
func (r Row) Retryable() bool { return r.Status == DeviceFailed || r.Status == DeviceStopped }

// Unfinished reports whether the row still waits for its device.
func (r Row) Unfinished() bool {
	return r.Status == DeviceReady || r.Status == DeviceInProgress || r.Status == DeviceStopping
}

// Offered reports whether the device is given the row's order when it asks.
func (r Row) Offered() bool { return r.Status == DeviceReady || r.Status == DeviceInProgress }

// EventKind is what can happen to a row.
type EventKind uint8

// The events.
const (
	Nothing      EventKind = iota
	Delivered              // the device was given the order
	Reported               // it reported an Outcome and a Message
	StopAsked              // the stage was stopped
	GraceOver              // a stopping row was waited for long enough
	Deregistered           // the device left the fleet
	TimedOut               // the policy's time for a device is over
	Restarted              // the stage was started again under a new order
	Undone                 // the policy rolls the stage back under a new order
)

// Event is something that happened to a row.
type Event struct {
	Kind    EventKind
	At      time.Time
	Attempt int64 // of Delivered and Reported: whose result it is; of Restarted and Undone: the new order
	Outcome Outcome
	Message string
	Before  time.Time // of TimedOut: only what was delivered no later
	Fresh   bool      // of TimedOut: and what never was
}

// NextDevice returns the row after an event, and whether anything changed. A row
// moves only along an edge of the state machine; an event that does not fit is
// no error: devices repeat themselves, and come late (spec §3.3, §4.5, §4.6).
func NextDevice(r Row, e Event) (Row, bool) {
	was := r
	switch e.Kind {
	case Nothing:
	case Delivered:
		if r.Status == DeviceReady && r.Attempt == e.Attempt {
			r.Status, r.Started = DeviceInProgress, e.At
		}
	case Reported:
		r = reported(r, e)
	case StopAsked:
		switch r.Status {
		case DeviceReady:
			r.Status, r.Message, r.Ended = DeviceStopped, "", e.At
		case DeviceInProgress:
			r.Status = DeviceStopping
		case DeviceDeployed, DeviceFailed, DeviceStopping, DeviceStopped: // there is nothing to stop
		}
	case GraceOver:
		if r.Status == DeviceStopping {
			r.Status, r.Message, r.Ended = DeviceStopped, r.outOfTime(e.Message), e.At
		}
	case Deregistered:
		if r.Unfinished() {
			r.Status, r.Message, r.Ended = DeviceStopped, "device deregistered", e.At
		}
	case TimedOut:
		if r.Status == DeviceInProgress && !r.Started.After(e.Before) || r.Status == DeviceReady && e.Fresh {
			r.Status, r.Message, r.Ended = DeviceFailed, r.outOfTime(e.Message), e.At
		}
	case Restarted:
		if (r.Status == DeviceStopped || r.Status == DeviceFailed) && !r.Gone && r.Attempt != e.Attempt {
			r = Row{DeviceID: r.DeviceID, Device: r.Device, Attempt: e.Attempt, Status: DeviceReady}
		}
	case Undone:
		r = undone(r, e)
	}
	return r, r != was
}

// outOfTime says that no result came, and what the device said last, if anything.
func (r Row) outOfTime(why string) string {
	if r.Message != "" {
		why += "; it said: " + r.Message
	}
	return clip(why)
}

// undone gives a device the order to go back, if it has or may have what the
// stage deployed. What another plan wants of the device goes first: it decides
// what the device has in the end.
func undone(r Row, e Event) Row {
	had := !r.Started.IsZero() || r.Status == DeviceDeployed
	switch {
	case r.Gone || r.Attempt == e.Attempt || r.Undoing:
	case r.Status == DeviceReady:
		r.Status, r.Message, r.Ended = DeviceStopped, clip("not deployed: "+e.Message), e.At
	case r.Status == DeviceFailed || !had:
	case r.Busy:
		if r.Unfinished() {
			r.Status, r.Message, r.Ended = DeviceStopped, "not rolled back: another plan deploys to the device", e.At
		}
	default:
		r = Row{
			DeviceID: r.DeviceID, Device: r.Device, Attempt: e.Attempt, Status: DeviceReady, Undoing: true,
			Message: clip(e.Message),
		}
	}
	return r
}

// reported takes a device's word. A result that comes late is still the truth,
// unless it is of an earlier order or the row has its outcome already. What a
// device never got it may report all the same: an answer may have been lost.
// A message without an outcome says what is in the way.
func reported(r Row, e Event) Row {
	if e.Attempt != r.Attempt {
		return r
	}
	if e.Outcome == Progress {
		if e.Message != "" && r.Unfinished() && !r.Undoing { // what is undone says why
			r.Message = clip(e.Message)
		}
		return r
	}
	late := r.Status == DeviceStopped && !r.Started.IsZero()
	if !r.Unfinished() && !late {
		return r
	}
	if r.Started.IsZero() {
		r.Started = e.At
	}
	r.Ended = e.At
	switch {
	case r.Undoing && e.Outcome == Success:
		r.Status, r.Message = DeviceFailed, clip("rolled back: "+r.Message)
	case r.Undoing:
		r.Status, r.Message = DeviceFailed, clip("rollback failed: "+e.Message)
	case e.Outcome == Success:
		r.Status, r.Message = DeviceDeployed, clip(e.Message)
	default:
		r.Status, r.Message = DeviceFailed, clip(e.Message)
	}
	return r
}

// Counts are how many rows of a stage have each status. They are kept with the
// rows, in the same transaction.
type Counts struct {
	Ready, InProgress, Deployed, Failed, Stopping, Stopped int
}

// Of returns the counter of a status.
func (c *Counts) Of(s DeviceStatus) *int {
	switch s {
	case DeviceReady:
		return &c.Ready
	case DeviceInProgress:
		return &c.InProgress
	case DeviceDeployed:
		return &c.Deployed
	case DeviceFailed:
		return &c.Failed
	case DeviceStopping:
		return &c.Stopping
	case DeviceStopped:
	}
	return &c.Stopped
}

// Move counts a row that changed; an empty status is no row.
func (c *Counts) Move(from, to DeviceStatus) {
	if from != "" {
		*c.Of(from)--
	}
	if to != "" {
		*c.Of(to)++
	}
}

// Plus returns the sum of two counts.
func (c Counts) Plus(o Counts) Counts {
	return Counts{
		c.Ready + o.Ready, c.InProgress + o.InProgress, c.Deployed + o.Deployed, c.Failed + o.Failed,
		c.Stopping + o.Stopping, c.Stopped + o.Stopped,
	}
}

// Success is EdgeDeploymentSuccess (spec §4.3).
func (c Counts) Success() int { return c.Deployed }

// Pending is EdgeDeploymentPending.
func (c Counts) Pending() int { return c.Ready + c.InProgress + c.Stopping }

// Total is the number of rows.
func (c Counts) Total() int { return c.Pending() + c.Deployed + c.Failed + c.Stopped }

// OwnedRow is the row of a device in the stage of a plan that has it.
type OwnedRow struct {
	Row
	Stage int64 // its id
}

// Division is what becomes of devices that a stage has selected.
type Division struct {
	Own     []Row      // it has them already
	Release []OwnedRow // other stages have them, and no longer shall
	Add     []int64    // it gets a row for them; among them are those to release
	List    []int64    // others keep them: it only lists them
}

// Divide says what becomes of devices that the stage selects, given who has them
// in its plan. A device that another stage has is taken over if its deployment
// there failed or was stopped, and takeOver says so; otherwise it is only listed,
// or left out if takeOver says no (spec §4.4). A percentage takes no more than
// its target.
func (s Stage) Divide(devices []int64, owners map[int64]OwnedRow, takeOver bool) (d Division) {
	for _, id := range devices {
		o, owned := owners[id]
		switch {
		case !owned:
			d.Add = append(d.Add, id)
		case o.Stage == s.ID:
			d.Own = append(d.Own, o.Row)
		case takeOver && o.Retryable():
			d.Release, d.Add = append(d.Release, o), append(d.Add, id)
		case takeOver:
			d.List = append(d.List, id)
		}
	}
	if s.Selection.Type == ByPercentage && !s.Written {
		d.Add = d.Add[:min(len(d.Add), max(0, s.Cut.Target-s.Counts.Total()))]
	}
	return d
}
