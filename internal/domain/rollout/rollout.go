// Package rollout decides how one deployment of an endpoint advances: creating
// it, moving it to a new configuration under any strategy, scaling it,
// deleting it. It promises that traffic only ever moves to instances that are
// ready, that a verdict against the new configuration moves traffic back
// before anything is cleaned up, and that every deployment ends.
//
// It is pure: it does no I/O, starts no goroutine and never asks what time it
// is. Counting instances, reading alarms, writing rows and moving traffic are
// not its job: the deployer gathers Facts, calls Next and stores the State.
//
//	Launching ─▶ Shifting ─▶ Baking ─▶ Committed ─▶ Succeeded
//	    ▲            ▲          │ ├─▶ (blue/green: the next step shifts)
//	    │            └──────────┼─┘
//	    └─────── Retiring ◀─────┘     (rolling: the next batch launches)
//
//	any of these before Committed, on failure, alarm, gate or timeout:
//
//	    ├─▶ Returning ─▶ Restoring ─▶ RollbackFailed, or Failed if blue/green
//	    │      │  ▲          │
//	    │      │  └──────────┤
//	    │      ▼             │
//	    └─▶ Withdrawing ─────┴─▶ RolledBack
//
// People step in with Orders. A Pause is not a phase: it holds whichever
// forward phase it finds.
//
// The complete diagram, drawn from the transitions that tests observed, is
// docs/states/rollout.md.
package rollout

import "time"

// Kind is what a deployment is for.
type Kind string

// Kinds are stored: never rename.
const (
	Create Kind = "Create" // bring up the fleets of a new endpoint
	Update Kind = "Update" // replace the fleets of one configuration by those of another
	Scale  Kind = "Scale"  // change the size of the fleets in place
	Delete Kind = "Delete" // remove every instance
)

// Strategy is how an Update moves traffic from the old fleet to the new.
type Strategy string

// The words of the API; Rolling stands for a RollingUpdatePolicy.
const (
	AllAtOnce Strategy = "ALL_AT_ONCE"
	Canary    Strategy = "CANARY"
	Linear    Strategy = "LINEAR"
	Rolling   Strategy = "ROLLING"
)

// Phase is where a deployment stands.
type Phase string

// Phases are stored: never rename. While a deployment goes forward:
const (
	Launching Phase = "Launching" // instances are starting; traffic stays where it is
	Shifting  Phase = "Shifting"  // the step's traffic has just moved to the new fleet
	Baking    Phase = "Baking"    // the step's wait, alarms watched
	Retiring  Phase = "Retiring"  // rolling: the old batch that lost its traffic is terminated
	Committed Phase = "Committed" // past the point of no return: what is left over is terminated
)

// While it goes back:
const (
	Returning   Phase = "Returning"   // traffic has just moved back to old instances that are alive
	Restoring   Phase = "Restoring"   // waiting for old instances that can take traffic back
	Withdrawing Phase = "Withdrawing" // new instances that lost their traffic are terminated
)

// And at its end:
const (
	Succeeded      Phase = "Succeeded"
	RolledBack     Phase = "RolledBack"     // the old counts serve again, all of them
	RollbackFailed Phase = "RollbackFailed" // rolling: a mix of old and new serves
	Failed         Phase = "Failed"         // created never, or blue/green with no old fleet to go back to
)

// Terminal reports whether no fact can move a deployment out of p.
func (p Phase) Terminal() bool {
	return p == Succeeded || p == RolledBack || p == RollbackFailed || p == Failed
}

// Undoable reports whether a deployment in p is going forward and may still be
// rolled back.
func (p Phase) Undoable() bool {
	return p == Launching || p == Shifting || p == Baking || p == Retiring
}

// Split is what the two fleets of one variant shall be. Active instances take
// traffic; the others that are wanted are alive but idle.
type Split struct {
	OldWanted int `json:"oldWanted"`
	OldActive int `json:"oldActive"`
	NewWanted int `json:"newWanted"`
	NewActive int `json:"newActive"`
	// 0..1, the new fleet's part of the variant's traffic; the rest is the old fleet's (spec §4.3)
	NewShare float64 `json:"newShare"`
}

// State is all that a deployment remembers between turns. It is stored as JSON.
type State struct {
	Phase    Phase     `json:"phase"`
	Step     int       `json:"step"` // of traffic, from 0
	Begun    time.Time `json:"begun"`
	Since    time.Time `json:"since"`            // when Phase was entered
	Turned   time.Time `json:"turned,omitzero"`  // when the verdict fell that undoes it
	Reason   string    `json:"reason,omitempty"` // FailureReason, "" while all is well
	Variants []Split   `json:"variants"`         // in the plan's order

	Followed []Followed    `json:"followed,omitempty"` // the orders that were looked at so far, all, oldest first
	Held     time.Duration `json:"held,omitempty"`     // how long pauses that ended made the present bake
	Promoted bool          `json:"promoted,omitempty"` // no wait is waited for any more
	// GreenRequests when the step's traffic moved, or its bake started over
	Requests int64 `json:"requests,omitempty"`
	// the steps whose bake ended without a single request to the new fleet
	Unproven []int `json:"unproven,omitempty"`
	// when the present bake started over after a gap; zero: it did not
	Restarted time.Time `json:"restarted,omitzero"`
	Gaps      []Gap     `json:"gaps,omitempty"` // the gaps in all bakes so far, oldest first
}

// Fleet counts the instances of one variant that run one configuration.
type Fleet struct {
	Ready  int // healthy, and not being stopped
	Exists int // not yet gone, whatever their state
}

// Facts are everything outside the State that a decision depends on. Old and
// New are in the plan's order; a missing entry is an empty fleet. A Scale plan
// has only Old fleets: those it changes.
type Facts struct {
	Now        time.Time
	Old, New   []Fleet
	Failure    string // FailureReason when an instance that the plan launches can never become ready, else ""
	OldFailure string // the same of an old instance that a rollback needs; "" is always safe, the timeout bounds it

	// The names of alarms that are in ALARM at Now, and of those that are gone;
	// those that the policy does not list are ignored.
	FiringAlarms, DeletedAlarms []string

	// What gates have seen of this deployment, of each variant at most one of a
	// kind; those that the policy does not list are ignored.
	Gates []GateFact
	// TakenBack is what gates had against the new fleet when a router took back its
	// traffic because of it, as sentences; "" if none did.
	TakenBack string

	// ShadowsMissing is how many instances of shadow variants are wanted beside the
	// plan's and not ready. Shadows take no part in traffic: the first step waits for
	// them, and nothing later does.
	ShadowsMissing int

	Orders        []Order // all that were given, oldest first; Next follows each once
	GreenRequests int64   // requests that the new fleet has answered since the deployment began; never falls
	Observed      Observation
}

func (f Facts) oldFleet(i int) Fleet { return at(f.Old, i) }
func (f Facts) newFleet(i int) Fleet { return at(f.New, i) }

func at(fs []Fleet, i int) Fleet {
	if i < len(fs) {
		return fs[i]
	}
	return Fleet{}
}
