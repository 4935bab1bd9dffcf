package edge

import (
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// StageStatus is where a stage stands (spec §4.1).
type StageStatus string

// The statuses of a stage.
const (
	StageCreating   StageStatus = "CREATING" // never seen: creating is one step
	StageReady      StageStatus = "READYTODEPLOY"
	StageStarting   StageStatus = "STARTING"
	StageInProgress StageStatus = "INPROGRESS"
	StageDeployed   StageStatus = "DEPLOYED"
	StageFailed     StageStatus = "FAILED"
	StageStopping   StageStatus = "STOPPING"
	StageStopped    StageStatus = "STOPPED"
)

// Stage is one step of a plan. A change that concerns its rows is made of many
// small ones: a Sweep, which goes over them chunk by chunk.
type Stage struct {
	ID        int64         `json:"-"` // of the store
	Name      string        `json:"-"`
	Selection Selection     `json:"-"`
	OnFailure FailurePolicy `json:"OnFailure"`

	Status     StageStatus `json:"-"`
	Message    string      `json:"Message,omitempty"`
	Attempt    int64       `json:"-"` // numbers the orders; a new one at every start
	Deployment string      `json:"-"` // the name of the order in hand
	Started    time.Time   `json:"-"` // when it was last asked to start
	// when the order in hand was made: at a start, or when it was rolled back
	Ordered   time.Time `json:"Ordered,omitzero"`
	Cut       *Cut      `json:"Cut,omitempty"`      // which devices there were at its first start; nil before
	Written   bool      `json:"Written,omitempty"`  // every device of the cut has its row
	StopAsked time.Time `json:"StopAsked,omitzero"` // since when it is STOPPING
	Sweep     Sweep     `json:"Sweep,omitzero"`
	Counts    Counts    `json:"-"` // of its own rows, not of those that another stage owns

	Verdict Verdict   `json:"Verdict,omitempty"` // of the policy
	Judged  time.Time `json:"Judged,omitzero"`   // when the verdict was reached
	Late    int       `json:"Late,omitempty"`    // devices that were unreachable when the stage passed
	Chained bool      `json:"Chained,omitempty"` // the next stage was started because this one passed
	Watch   Watch     `json:"Watch,omitzero"`    // since its order was made
	// Trouble is the first reason that a device gave for what went wrong under the
	// order, of those that failed if one has.
	Trouble string `json:"Trouble,omitempty"`
	Fatal   bool   `json:"Fatal,omitempty"` // that device failed
	// Mirror is the comparison that the order in hand asks for, of the policy as it
	// was at the start; nil: none.
	Mirror   *Mirror  `json:"Mirror,omitempty"`
	Mirrored Mirrored `json:"Mirrored,omitzero"` // what devices told of theirs
}

// Cut is what a stage selects from, frozen at its first start (spec §4.4).
type Cut struct {
	Newest  int64 `json:"Newest"`           // the id of the newest device that it may select
	Devices int   `json:"Devices"`          // how many were registered
	Target  int   `json:"Target,omitempty"` // of PERCENTAGE: how many it takes at most
	// Highest is, of PERCENTAGE, the rank of the last device that it takes, once
	// the devices were Ranked.
	Highest uint64 `json:"Highest,omitempty"`
	Ranked  bool   `json:"Ranked,omitempty"`
}

// Freeze returns the cut of a selection among n devices.
func (s Selection) Freeze(newest int64, n int) *Cut {
	c := &Cut{Newest: newest, Devices: n}
	if s.Type == ByPercentage {
		c.Target = Target(s.Percentage, n)
		if c.Target >= n {
			c.Highest, c.Ranked = ^uint64(0), true
		}
	}
	return c
}

// Verdict is what the policy says of a stage.
type Verdict string

// The verdicts.
const (
	Undecided  Verdict = ""
	Passed     Verdict = "PASSED"
	Refused    Verdict = "FAILED"      // stopped by its failure threshold
	RolledBack Verdict = "ROLLED_BACK" // undone by a failure threshold
)

// Sweep is something that is being done to all rows of a stage, in the order of
// their devices, a chunk in a transaction.
type Sweep struct {
	Kind SweepKind `json:"Kind"`
	// how far it is: the id of the last device, or an index into the names of a selection
	At     int64     `json:"At"`
	Before time.Time `json:"Before,omitzero"` // of Expire: fail rows delivered no later
	Fresh  bool      `json:"Fresh,omitempty"` // of Expire: and rows never delivered
	Why    string    `json:"Why,omitempty"`   // of Grace, Expire and Undo: what is told of the rows
}

// SweepKind is what a sweep does to a row.
type SweepKind string

// The sweeps.
const (
	NoSweep SweepKind = ""
	Write   SweepKind = "WRITE"   // a device that is selected gets its row
	Restart SweepKind = "RESTART" // what failed or was stopped gets the new order
	Halt    SweepKind = "HALT"    // the stage was stopped
	Grace   SweepKind = "GRACE"   // stopping rows were waited for long enough
	Expire  SweepKind = "EXPIRE"  // the policy's time for a device is over
	Undo    SweepKind = "UNDO"    // the policy rolls the stage back
)

// Selects reports whether the stage is still choosing its devices: other stages
// that choose after it have to wait.
func (s Stage) Selects() bool {
	return s.Sweep.Kind == Write || s.Sweep.Kind == Restart
}

// Unsettled reports whether the stage may want something of a device yet without
// a row that says so: another plan cannot know, and has to wait.
func (s Stage) Unsettled() bool { return s.Selects() || s.Sweep.Kind == Undo }

// Event returns what the stage's sweep means to one of its rows.
func (s Stage) Event(now time.Time) Event {
	e := Event{At: now, Attempt: s.Attempt, Message: s.Sweep.Why, Before: s.Sweep.Before, Fresh: s.Sweep.Fresh}
	switch s.Sweep.Kind {
	case Write, Restart:
		e.Kind = Restarted
	case Halt:
		e.Kind = StopAsked
	case Grace:
		e.Kind = GraceOver
	case Expire:
		e.Kind = TimedOut
	case Undo:
		e.Kind = Undone
	case NoSweep:
		e.Kind = Nothing
	}
	return e
}

// Swept returns the stage after its sweep has passed the last row.
func (s Stage) Swept() Stage {
	if s.Sweep.Kind == Write {
		s.Written = true
	}
	s.Sweep = Sweep{}
	return s
}

// Active reports whether the stage is being carried out; a plan with such a
// stage cannot be deleted (spec §4.2).
func (s Stage) Active() bool {
	return s.Status == StageStarting || s.Status == StageInProgress || s.Status == StageStopping
}

// Offers reports whether devices are given the order in hand.
func (s Stage) Offers() bool { return s.Status == StageStarting || s.Status == StageInProgress }

// Start returns the stage as it is once its start was asked for, and whether
// anything is to be done; a stage that runs already just goes on (spec §4.2).
// order is the name of the new deployment.
func (s Stage) Start(order string, now time.Time) (Stage, bool, error) {
	switch s.Status {
	case StageStarting, StageInProgress:
		return s, false, nil
	case StageDeployed:
		return s, false, fault.New(fault.Invalid,
			"Stage '%s' is DEPLOYED already. Create another stage or another plan.", s.Name)
	case StageStopping:
		return s, false, fault.New(fault.Invalid, "Stage '%s' is STOPPING; start it again when it is STOPPED.", s.Name)
	case StageCreating, StageReady, StageFailed, StageStopped:
	}
	if s.Verdict == RolledBack {
		return s, false, fault.New(fault.Invalid, "Stage '%s' was rolled back by its policy. Create another plan.",
			s.Name)
	}
	s.Status, s.Message, s.Started, s.StopAsked = StageStarting, "", now, time.Time{}
	s.Verdict, s.Judged, s.Late, s.Chained = Undecided, time.Time{}, 0, false
	// Devices that were deployed to stay so; all others compare anew.
	s.Mirrored = Mirrored{Agreed: s.Mirrored.Agreed, Fresh: s.Mirrored.Fresh}
	s.Sweep = Sweep{Kind: Write}
	if s.Written {
		s.Sweep.Kind = Restart
	}
	return s.order(order, now), true, nil
}

// Troubled returns the stage once a device gave a reason for what went wrong, and
// whether it was the first, or the first of one that failed.
func (s Stage) Troubled(device, reason string, failed bool) (Stage, bool) {
	if reason == "" || s.Trouble != "" && (s.Fatal || !failed) {
		return s, false
	}
	was := s.Trouble
	s.Trouble, s.Fatal = clip(device+": "+reason), failed
	if s.Message == was && s.Active() {
		s.Message = s.Trouble
	}
	return s, true
}

// uncompared says what speaks against passing a stage whose order asks for a
// comparison; "" if nothing does. Where nothing was compared nothing was shown.
func (s Stage) uncompared() string {
	if s.Mirror == nil || s.Counts.Deployed == 0 {
		return ""
	}
	if n := s.Counts.Deployed - s.Mirrored.Agreed - s.Mirrored.Fresh; n > 0 {
		return fmt.Sprintf("%d of %d devices took the new models without comparing them, as the policy wants", n,
			s.Counts.Deployed)
	}
	if s.Mirrored.Agreed == 0 {
		return "no device had a model to compare the new one with, as the policy wants"
	}
	return ""
}

func (s Stage) order(name string, now time.Time) Stage {
	s.Attempt, s.Deployment, s.Ordered, s.Watch = s.Attempt+1, name, now, Watch{Last: now}
	s.Trouble, s.Fatal = "", false
	return s
}

// Stop returns the stage once its stop was asked for, and whether its rows are
// to be stopped (spec §4.5).
func (s Stage) Stop(now time.Time) (Stage, bool, error) {
	switch s.Status {
	case StageStopping, StageStopped:
		return s, false, nil
	case StageStarting, StageInProgress:
		s.Status, s.StopAsked, s.Sweep = StageStopping, now, Sweep{Kind: Halt}
		return s, true, nil
	case StageCreating, StageReady, StageDeployed, StageFailed:
	}
	return s, false, fault.New(fault.Invalid, "Stage '%s' is %s; only a stage that runs can be stopped.", s.Name,
		s.Status)
}

// RollBack returns the stage under an order that undoes what it has deployed,
// and whether there is anything to undo. order is the name of that order.
func (s Stage) RollBack(order, why string, now time.Time) (Stage, bool) {
	if s.Deployment == "" || s.Verdict == RolledBack {
		return s, false
	}
	if !s.Active() && s.Counts.Deployed+s.Counts.Pending()+s.Counts.Stopped == 0 {
		return s, false
	}
	s.Status, s.Message, s.StopAsked = StageInProgress, why, time.Time{}
	s.Verdict, s.Judged, s.Sweep = RolledBack, now, Sweep{Kind: Undo, Why: why}
	return s.order(order, now), true
}

// CheckDeletable refuses to delete a stage that is active (spec §2.21).
func (s Stage) CheckDeletable(plan string) error {
	if s.Active() {
		return fault.New(fault.InUse, "Stage '%s' of edge deployment plan '%s' cannot be deleted: it is %s.", s.Name,
			plan, s.Status)
	}
	return nil
}

// NothingToDeploy is what starting a stage answers that would find no device to
// deploy to.
func (s Stage) NothingToDeploy() *fault.Error {
	if s.Written {
		return fault.New(fault.Invalid,
			"Nothing to deploy: no device of stage '%s' that is still in the fleet has failed or was stopped.", s.Name)
	}
	return fault.New(fault.Invalid,
		"Nothing to deploy: stage '%s' selects %s, and no such device is left that no other stage of the plan "+
			"deploys to.", s.Name, s.Selection)
}
