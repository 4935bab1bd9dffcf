// Package record is what is known of a deployment while it runs and after it
// ended: what was planned and by whom, every step with its time, its traffic
// and how many requests it was exposed to, who stepped in, the alarms that
// tripped, and the verdict. It only reads: deciding is the job of package
// rollout, keeping the rows that of the store.
package record

import (
	"cmp"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// Line is one line of an endpoint's history, written in the transaction that it
// tells of.
type Line struct {
	Endpoint   hosting.EndpointID
	Deployment hosting.DeploymentID // the one in hand, or that had just ended; "": none
	At         time.Time
	Kind       Kind
	What       any // a Transition, a StatusChange or a FleetTrouble
}

// Kind says what a line tells of.
type Kind string

// The kinds of lines.
const (
	DeploymentPhase Kind = "DeploymentPhase" // Transition
	EndpointStatus  Kind = "EndpointStatus"  // StatusChange
	PreviousFleet   Kind = "PreviousFleet"   // FleetTrouble
)

// StatusChange tells of another EndpointStatus. It is stored as JSON.
type StatusChange struct {
	From   hosting.Status `json:"from"` // "" at the beginning
	To     hosting.Status `json:"to"`   // "Deleted" at the end
	Reason string         `json:"reason,omitempty"`
}

// FleetTrouble tells how the fleet does that a deployment leads away from. It is
// stored as JSON.
type FleetTrouble struct {
	Text string `json:"text,omitempty"` // "": it serves as it should again
}

// Event is a line of the history other than a Transition, for people.
type Event struct {
	At         time.Time
	Deployment hosting.DeploymentID // the one in hand; "": none
	Kind       Kind
	Message    string
}

// Message says what a change of status was.
func (c StatusChange) Message() string {
	text := fmt.Sprintf("The endpoint was %s and is %s.", cmp.Or(string(c.From), "not there"), c.To)
	if c.Reason != "" {
		text += " " + c.Reason
	}
	return text
}

// Message says how the fleet does.
func (t FleetTrouble) Message() string {
	return cmp.Or(t.Text, "The previous fleet serves as it should again.")
}

// Transition tells of another phase of a deployment. It is stored as JSON.
type Transition struct {
	At       time.Time              `json:"-"`
	From     rollout.Phase          `json:"from"` // "" at the beginning
	To       rollout.Phase          `json:"to"`
	Reason   string                 `json:"reason"` // FailureReason, "" while all is well
	State    rollout.State          `json:"state"`
	Requests int64                  `json:"requests"`         // that the new fleet had answered by then
	Tripped  []hosting.TrippedAlarm `json:"alarms,omitempty"` // only where the verdict fell
}

// Record is one deployment and its history.
type Record struct {
	hosting.Deployment
	Scope       arn.Scope
	Name        string       // of the endpoint, which may be gone
	Ended       time.Time    // zero while it runs
	Transitions []Transition // oldest first; not read for listings
	Events      []Event      // what else happened meanwhile, oldest first; not read for listings
}

// NoDeployment is the fault of naming a deployment that is not known, or was
// forgotten.
func NoDeployment(id hosting.DeploymentID) error {
	return fault.New(fault.NotFound, "Could not find deployment %q.", string(id))
}

// Counted reports whether the requests that the new fleet answered were counted.
func (r Record) Counted() bool { return r.Exposure.Based }

// EndpointARN returns the endpoint's resource name.
func (r Record) EndpointARN() string { return r.Scope.Endpoint(r.Name) }

// Verdict is how a deployment came out.
type Verdict string

// The verdicts. All but the first are final.
const (
	InProgress     Verdict = "InProgress"
	Succeeded      Verdict = "Succeeded"
	RolledBack     Verdict = "RolledBack"     // the old configuration serves again, as before
	RollbackFailed Verdict = "RollbackFailed" // a mix of old and new serves
	Failed         Verdict = "Failed"         // what it was for did not come to be, and nothing was there to go back to
)

// Verdict returns how the deployment came out.
func (r Record) Verdict() Verdict {
	switch r.State.Phase {
	case rollout.Succeeded:
		return Succeeded
	case rollout.RolledBack:
		return RolledBack
	case rollout.RollbackFailed:
		return RollbackFailed
	case rollout.Failed:
		return Failed
	case rollout.Launching, rollout.Shifting, rollout.Baking, rollout.Retiring, rollout.Committed,
		rollout.Returning, rollout.Restoring, rollout.Withdrawing:
	}
	return InProgress
}

// Page selects part of an endpoint's deployments, newest first.
type Page struct {
	Limit int    // at most that many
	After Cursor // where the page before ended; zero: from the newest
}

// Cursor is the last deployment of a page.
type Cursor struct {
	Begun int64                `json:"t"` // microseconds
	ID    hosting.DeploymentID `json:"i"`
}

// Cursor returns where a page that ends with r ended.
func (r Record) Cursor() Cursor { return Cursor{r.Begun.UnixMicro(), r.ID} }

// Retention bounds what is kept of the past. Running deployments are always
// kept.
type Retention struct {
	Age   time.Duration // everything younger is kept, up to Most
	Least int           // deployments kept of every endpoint's name, however old
	Most  int           // deployments kept of every endpoint's name, however young
	Gone  time.Duration // after that, even the last of a name that no endpoint has any more go

	// GoneMost is how many deployments of names that no endpoint has any more are
	// kept in all, however young: names that are used once must not add up. 0 is no
	// bound.
	GoneMost int
}

// DefaultRetention keeps a quarter of a year, never fewer than the last 20
// deployments nor more than the last 1000 of one name, and forgets names that
// have been gone for more than a year. Of all that are gone it keeps the last
// 20,000 deployments, which is about 120 MB.
func DefaultRetention() Retention {
	const day = 24 * time.Hour
	return Retention{Age: 90 * day, Least: 20, Most: 1000, Gone: 400 * day, GoneMost: 20_000}
}
