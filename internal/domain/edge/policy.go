package edge

import (
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Reaction is what a policy does when too many devices fail.
type Reaction string

// The reactions.
const (
	NoReaction   Reaction = ""
	StopStage    Reaction = "STOP"
	RollBackPlan Reaction = "ROLLBACK"
)

// Policy is what Slipway can do with a plan beyond AWS. The zero Policy does
// nothing, as AWS: every stage is started by hand, and waits for its devices.
type Policy struct {
	// AutoNext starts the next stage of the plan Bake after a stage passed.
	AutoNext bool          `json:"AutoNext,omitempty"`
	Bake     time.Duration `json:"Bake,omitempty"`
	// SuccessThreshold, in percent of the devices that reported, lets a stage
	// pass although devices are pending, if none of those is reachable; these
	// are late and still get their order. 0: all devices must succeed.
	SuccessThreshold float64 `json:"SuccessThreshold,omitempty"`
	// MinSample is how many devices must have reported before a threshold says
	// anything while others are pending.
	MinSample int `json:"MinSample,omitempty"`
	// Reachable is how long ago a device may have been heard of; 0 is an hour.
	Reachable time.Duration `json:"Reachable,omitempty"`
	// FailureThreshold, in percent of the devices that reported: when more have
	// failed, OnFailure happens.
	FailureThreshold float64  `json:"FailureThreshold,omitempty"`
	OnFailure        Reaction `json:"OnFailure,omitempty"`
	// DeviceTimeout fails a device that has not reported so long after it was
	// given its order, or after the stage started if it never came; 0: never.
	DeviceTimeout time.Duration `json:"DeviceTimeout,omitempty"`
	// Mirror has devices compare a new model with the old one on live requests
	// before it takes its place; nil: they do not. A stage that has started keeps
	// to what it started with.
	Mirror *Mirror `json:"Mirror,omitempty"`
}

// Check refuses a policy that makes no sense.
func (p Policy) Check() error {
	switch {
	case p.Bake < 0 || p.Reachable < 0 || p.DeviceTimeout < 0 || p.MinSample < 0:
		return fault.New(fault.Invalid, "A policy's times and numbers cannot be negative.")
	case !(p.SuccessThreshold >= 0 && p.SuccessThreshold <= 100) ||
		!(p.FailureThreshold >= 0 && p.FailureThreshold <= 100):
		return fault.New(fault.Invalid, "Thresholds are percentages between 0 and 100.")
	case p.OnFailure != NoReaction && p.OnFailure != StopStage && p.OnFailure != RollBackPlan:
		return fault.New(fault.Invalid, "Unknown reaction %q: it is STOP or ROLLBACK.", p.OnFailure)
	case p.FailureThreshold > 0 && p.OnFailure == NoReaction:
		return fault.New(fault.Invalid, "A failure threshold needs a reaction: STOP or ROLLBACK.")
	case p.Bake > 0 && !p.AutoNext:
		return fault.New(fault.Invalid, "A bake needs the automatic next stage.")
	case p.Mirror == nil:
		return nil
	case p.DeviceTimeout > 0 && p.DeviceTimeout <= p.Mirror.Time:
		return fault.New(fault.Invalid, "A device that compares models for %s would not be done after %s.",
			p.Mirror.Time, p.DeviceTimeout)
	}
	return p.Mirror.Check()
}

// Window is how long ago a reachable device was heard of at most.
func (p Policy) Window() time.Duration {
	if p.Reachable == 0 {
		return time.Hour
	}
	return p.Reachable
}

// String tells a policy in words.
func (p Policy) String() string {
	if p == (Policy{}) {
		return "stages are started by hand and wait for all their devices"
	}
	var parts []string
	say := func(when bool, format string, args ...any) {
		if when {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	say(p.AutoNext, "the next stage starts %s after one has passed", p.Bake)
	say(p.SuccessThreshold > 0,
		"a stage passes when %g %% of the devices that reported succeeded and no other was heard of for %s",
		p.SuccessThreshold, p.Window())
	say(p.MinSample > 0, "no verdict before %d devices reported", p.MinSample)
	say(p.OnFailure == StopStage, "a stage is stopped when more than %g %% fail", p.FailureThreshold)
	say(p.OnFailure == RollBackPlan, "the plan is rolled back when more than %g %% fail", p.FailureThreshold)
	say(p.DeviceTimeout > 0, "a device fails after %s", p.DeviceTimeout)
	if p.Mirror != nil {
		parts = append(parts, p.Mirror.String())
	}
	return strings.Join(parts, "; ")
}
