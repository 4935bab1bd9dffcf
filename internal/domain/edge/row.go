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
	DeviceID   int64
	Device     string
	Deployment string // the name of the order it is (or was last) given
	Status     DeviceStatus
	Message    string
	Started    time.Time // when the order was first delivered; the server's clock
	Ended      time.Time // when its outcome was known
	// Undoing says that the order is to go back to what the device had before
	// the stage: a policy rolled the stage back (see Policy). A row that is
	// undone ends as FAILED, whatever the device reports.
	Undoing bool
}

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
	Delivered    EventKind = iota // the device was given the order
	Reported                      // it reported an Outcome and a Message
	StopAsked                     // the stage was stopped
	GraceOver                     // a stopping row was waited for long enough
	Deregistered                  // the device left the fleet
	TimedOut                      // the policy's time for a device is over
	Restarted                     // the stage was started again under a new Deployment
	Undone                        // the policy rolls the stage back under a new Deployment
)

// Event is something that happened to a row.
type Event struct {
	Kind       EventKind
	At         time.Time
	Deployment string // of Reported: what the result is for; of Restarted and Undone: the new order
	Outcome    Outcome
	Message    string
}

// NextDevice returns the row after an event, and whether anything changed. A row
// moves only along an edge of the state machine; an event that does not fit is
// no error: devices repeat themselves, and come late (spec §3.3, §4.5, §4.6).
func NextDevice(r Row, e Event) (Row, bool) {
	was := r
	switch e.Kind {
	case Delivered:
		if r.Status == DeviceReady {
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
		}
	case GraceOver:
		if r.Status == DeviceStopping {
			r.Status, r.Message, r.Ended = DeviceStopped, clip(e.Message), e.At
		}
	case Deregistered:
		if r.Unfinished() {
			r.Status, r.Message, r.Ended = DeviceStopped, "device deregistered", e.At
		}
	case TimedOut:
		if r.Offered() {
			r.Status, r.Message, r.Ended = DeviceFailed, clip(e.Message), e.At
		}
	case Restarted:
		if r.Status == DeviceStopped || r.Status == DeviceFailed {
			r = Row{DeviceID: r.DeviceID, Device: r.Device, Deployment: e.Deployment, Status: DeviceReady}
		}
	case Undone:
		if r.Status == DeviceDeployed {
			r = Row{DeviceID: r.DeviceID, Device: r.Device, Deployment: e.Deployment, Status: DeviceReady, Undoing: true, Message: clip(e.Message)}
		}
	}
	return r, r != was
}

// reported takes a device's word. A result that comes late is still the truth,
// unless it is of an earlier order or the row has its outcome already. What a
// device never got it may report all the same: an answer may have been lost.
func reported(r Row, e Event) Row {
	if e.Deployment != r.Deployment || e.Outcome == Progress {
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
	return Counts{c.Ready + o.Ready, c.InProgress + o.InProgress, c.Deployed + o.Deployed, c.Failed + o.Failed, c.Stopping + o.Stopping, c.Stopped + o.Stopped}
}

// Success is EdgeDeploymentSuccess (spec §4.3).
func (c Counts) Success() int { return c.Deployed }

// Pending is EdgeDeploymentPending.
func (c Counts) Pending() int { return c.Ready + c.InProgress + c.Stopping }

// Total is the number of rows.
func (c Counts) Total() int { return c.Pending() + c.Deployed + c.Failed + c.Stopped }
