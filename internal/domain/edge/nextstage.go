package edge

import (
	"fmt"
	"time"
)

// Facts are what decides about a stage besides its rows.
type Facts struct {
	Now       time.Time
	Reachable bool      // an unfinished row is of a device that was heard of within Policy.Reachable
	Oldest    time.Time // earliest delivery of a row in progress; zero if none
	Listening time.Time // since when this server has heard whatever devices said
	StopGrace time.Duration
	Last      bool // no stage follows
	Left      bool // every device that the stage deployed to has left the fleet
}

// Action is what is to be done about a stage, besides keeping its new state.
type Action struct {
	Undo      string // roll back every device of the plan that has been deployed to, and say why; "": don't
	StartNext bool
	Wake      time.Time // when to ask again at the latest; zero: when something happens
}

// NextStage decides what a stage does next. It is asked again whenever a row or
// the stage changed, and at Action.Wake. A sweep that goes on is finished first.
// A stopped stage stays stopped whatever devices report later; the counters
// tell (spec §4.5).
func NextStage(p Policy, s Stage, f Facts) (Stage, Action) {
	s, a := next(p, s.Watched(p, f), f)
	every := s.lookEvery(p, f)
	switch {
	case s.Sweep.Kind != NoSweep: // each of its steps is a look
	case every == 0:
		s.Watch.Last = time.Time{}
	default:
		if s.Watch.Last.IsZero() {
			s.Watch.Last = f.Now
		}
		a.Wake = earlier(a.Wake, s.Watch.Last.Add(every))
	}
	return s, a
}

func next(p Policy, s Stage, f Facts) (Stage, Action) {
	var a Action
	if s.Sweep.Kind != NoSweep {
		a.Wake = f.Now
		return s, a
	}
	switch s.Status {
	case StageStarting:
		if s.Counts.Total() == 0 {
			s.Status, s.Message, s.Cut, s.Written = StageReady, s.NothingToDeploy().Public, nil, false
			return s, a
		}
		s.Status = StageInProgress
	case StageStopping:
		return stopping(s, f)
	case StageInProgress:
	case StageDeployed, StageFailed:
		return chain(p, s, f, a) // what is over has its verdict
	case StageCreating, StageReady, StageStopped:
		return s, a
	}
	if s, a = expire(p, s, f); s.Sweep.Kind != NoSweep {
		return s, a
	}
	s = applyThresholds(p, s, f)
	switch {
	case s.Verdict == Refused && p.OnFailure == StopStage && s.Counts.Pending() > 0:
		s.Status, s.StopAsked, s.Sweep = StageStopping, f.Now, Sweep{Kind: Halt}
		a.Wake = f.Now
		return s, a
	case s.Verdict == Refused && p.OnFailure == RollBackPlan:
		a.Undo, a.Wake = s.Message, f.Now
		return s, a
	}
	if s.Counts.Pending() == 0 {
		s = ended(p, s)
	} else if s.Verdict == Undecided && p.SuccessThreshold > 0 {
		// devices become unreachable as time goes by
		a.Wake = earlier(a.Wake, f.Now.Add(min(p.Window()/4, time.Minute)))
	}
	return chain(p, s, f, a)
}

// chain lets the next stage start once this one has passed and baked. A bake
// begins when the policy asks for it, though the stage passed before.
func chain(p Policy, s Stage, f Facts, a Action) (Stage, Action) {
	switch {
	case s.Chained:
	case !s.bakes(p, f):
		s.Watch.Bake = time.Time{}
	case s.Baked(p, f) && f.Left:
		s.Chained = true
		s.Message = "the next stage was not started: every device that was deployed to has left the fleet"
	case s.Baked(p, f):
		s.Chained, a.StartNext = true, true
	default:
		if s.Watch.Bake.IsZero() {
			s.Watch.Bake = f.Now
		}
		a.Wake = earlier(a.Wake, s.Watch.Bake.Add(p.Bake))
	}
	return s, a
}

// ended is a stage whose last row has its outcome. Nobody reached is no success:
// whoever waits for DEPLOYED would go on without a single device tried.
func ended(p Policy, s Stage) Stage {
	refusal := ""
	if s.Verdict == Refused {
		refusal = s.Message
	}
	s.Status, s.Message = StageDeployed, ""
	if n := s.Counts.Failed; n > 0 || s.Verdict == RolledBack {
		s.Status, s.Message = StageFailed, fmt.Sprintf("%d of %d devices failed", n, s.Counts.Total())
	}
	over := s.Counts.Deployed + s.Counts.Failed
	switch {
	case over == 0 && s.Counts.Total() == 0:
		s.Status, s.Message = StageFailed, "nobody was reached: other stages of the plan have all devices of this one"
	case over == 0 && s.Verdict != RolledBack:
		s.Status = StageFailed
		s.Message = fmt.Sprintf("nobody was reached: all %d devices left the fleet", s.Counts.Stopped)
	case s.Status == StageDeployed && s.uncompared() != "":
		s.Message = "not passed: " + s.uncompared()
	case s.Status == StageDeployed && over < sample(p, s):
		s.Message = fmt.Sprintf("not passed: %d devices reported, the policy wants %d", over, sample(p, s))
	case s.Verdict == Passed && s.Status == StageFailed:
		s.Message += "; the stage passed its policy"
	case s.Status == StageFailed && s.Verdict == Undecided && s.Fatal:
		s.Message = clip(s.Message + "; the first is " + s.Trouble)
	case s.Verdict == RolledBack:
		s.Message += "; rolled back by its policy"
	case refusal != "":
		s.Message = refusal
	}
	return s
}

func stopping(s Stage, f Facts) (Stage, Action) {
	var a Action
	switch {
	case s.Counts.Pending() == 0:
		s.Status = StageStopped
	case !s.StopAsked.After(s.Since(f.Now, f.StopGrace)):
		s.Sweep = Sweep{Kind: Grace, Why: "stopped; no result within " + f.StopGrace.String()}
		a.Wake = f.Now
	default:
		a.Wake = afterNow(f, s.StopAsked.Add(f.StopGrace))
	}
	return s, a
}

// afterNow is a moment to wake at, or never if it is over: some of the time until
// then does not count, and the stage is looked at again before long.
func afterNow(f Facts, at time.Time) time.Time {
	if at.After(f.Now) {
		return at
	}
	return time.Time{}
}

// expire finds the rows whose time is over.
func expire(p Policy, s Stage, f Facts) (Stage, Action) {
	var a Action
	if p.DeviceTimeout <= 0 {
		return s, a
	}
	border := s.Since(f.Now, p.DeviceTimeout)
	late := !f.Oldest.IsZero() && !f.Oldest.After(border)
	fresh := s.Counts.Ready > 0 && !s.Ordered.After(border)
	if late || fresh {
		s.Sweep = Sweep{Kind: Expire, Before: border, Fresh: fresh, Why: "no result within " + p.DeviceTimeout.String()}
		a.Wake = f.Now
		return s, a
	}
	if !f.Oldest.IsZero() {
		a.Wake = afterNow(f, f.Oldest.Add(p.DeviceTimeout))
	}
	if s.Counts.Ready > 0 {
		a.Wake = earlier(a.Wake, afterNow(f, s.Ordered.Add(p.DeviceTimeout)))
	}
	return s, a
}

// sample is how many devices must have reported before the stage can pass.
func sample(p Policy, s Stage) int { return max(1, min(p.MinSample, s.Counts.Total())) }

// applyThresholds applies the thresholds of the policy. A stage that passed may still be
// refused while devices report.
func applyThresholds(p Policy, s Stage, f Facts) Stage {
	if s.Verdict == Refused || s.Verdict == RolledBack {
		return s
	}
	over := s.Counts.Deployed + s.Counts.Failed
	enough := over >= max(1, p.MinSample) || s.Counts.Pending() == 0 && over > 0
	if p.OnFailure != NoReaction && enough && float64(s.Counts.Failed)*100 > p.FailureThreshold*float64(over) {
		s.Verdict, s.Judged = Refused, f.Now
		s.Message = fmt.Sprintf("%d of %d devices failed, more than %g %%", s.Counts.Failed, over, p.FailureThreshold)
		return s
	}
	if s.Verdict == Passed {
		return s
	}
	// Devices that left cannot speak for the stage: what is left of a sample is
	// enough only if it is as large as the policy wants, or nobody left.
	enough = over >= sample(p, s)
	passed := s.Counts.Pending() == 0 && s.Counts.Failed == 0 && enough
	if p.SuccessThreshold > 0 {
		waits := f.Reachable && s.Counts.Pending() > 0
		passed = !waits && enough && float64(s.Counts.Deployed)*100 >= p.SuccessThreshold*float64(over)
	}
	if passed && s.uncompared() == "" {
		s.Verdict, s.Judged, s.Late = Passed, f.Now, s.Counts.Pending()
		if s.Late > 0 {
			s.Message = fmt.Sprintf("passed its policy: %d of %d devices succeeded, %d not reachable",
				s.Counts.Deployed, over, s.Late)
		}
	}
	return s
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
