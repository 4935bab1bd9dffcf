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

// Stage is one step of a plan.
type Stage struct {
	ID        int64 // of the store
	Name      string
	Selection Selection
	OnFailure FailurePolicy

	Status     StageStatus
	Message    string
	Deployment string    // the name of the order in hand; a new one at every start
	Started    time.Time // when it was last asked to start
	Frozen     bool      // its devices are chosen: at the first start
	StopAsked  time.Time // since when it is STOPPING
	Counts     Counts    // of its own rows, not of those that another stage owns

	Verdict   Verdict   // of the policy
	Judged    time.Time // when the verdict was reached
	Late      int       // devices that were unreachable when the stage passed
	Chained   bool      // the next stage was started because this one passed
	CutRows   int64     // while STARTING: how far its rows are written (the store's measure)
	CutDevice int64     // the newest device that it may select
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

// Active reports whether the stage is being carried out; a plan with such a
// stage cannot be deleted (spec §4.2).
func (s Stage) Active() bool {
	return s.Status == StageStarting || s.Status == StageInProgress || s.Status == StageStopping
}

// Start returns the stage as it is once its start was asked for, and whether
// anything is to be done; a stage that runs already just goes on (spec §4.2).
// order is the name of the new deployment.
func (s Stage) Start(order string, now time.Time) (Stage, bool, error) {
	switch s.Status {
	case StageStarting, StageInProgress:
		return s, false, nil
	case StageDeployed:
		return s, false, fault.New(fault.Invalid, "Stage '%s' is DEPLOYED already. Create another stage or another plan.", s.Name)
	case StageStopping:
		return s, false, fault.New(fault.Invalid, "Stage '%s' is STOPPING; start it again when it is STOPPED.", s.Name)
	case StageCreating, StageReady, StageFailed, StageStopped:
	}
	if s.Verdict == RolledBack {
		return s, false, fault.New(fault.Invalid, "Stage '%s' was rolled back by its policy. Create another plan.", s.Name)
	}
	s.Status, s.Message, s.Deployment, s.Started, s.StopAsked = StageStarting, "", order, now, time.Time{}
	s.Verdict, s.Judged, s.Late, s.Chained = Undecided, time.Time{}, 0, false
	return s, true, nil
}

// Stop returns the stage once its stop was asked for, and whether its rows are
// to be stopped (spec §4.5).
func (s Stage) Stop(now time.Time) (Stage, bool, error) {
	switch s.Status {
	case StageStopping, StageStopped:
		return s, false, nil
	case StageStarting, StageInProgress:
		s.Status, s.StopAsked = StageStopping, now
		return s, true, nil
	case StageCreating, StageReady, StageDeployed, StageFailed:
	}
	return s, false, fault.New(fault.Invalid, "Stage '%s' is %s; only a stage that runs can be stopped.", s.Name, s.Status)
}

// Facts are what a stage is judged by.
type Facts struct {
	Now       time.Time
	Written   bool      // every row that a start asked for is there (STARTING), or stopped (STOPPING)
	Reachable int       // offered rows whose device was heard of within Policy.Reachable
	Oldest    time.Time // earliest delivery of a row in progress; zero if none
	StopGrace time.Duration
	Last      bool // no stage follows
}

// Action is what is to be done about a stage, besides keeping its new state.
type Action struct {
	GraceOver bool      // stopping rows were waited for long enough: stop them
	Expire    time.Time // fail rows in progress delivered before; zero: none
	ExpireAll bool      // and rows never delivered
	Undo      bool      // roll back every device of the plan that has been deployed to
	StartNext bool
	Wake      time.Time // when to ask again at the latest; zero: when something happens
}

// NextStage decides what a stage does next. It is asked again whenever a row or
// the stage changed, and at Action.Wake. A stopped stage stays stopped whatever
// devices report later; the counters tell (spec §4.5).
func NextStage(p Policy, s Stage, f Facts) (Stage, Action) {
	var a Action
	switch s.Status {
	case StageStarting:
		if !f.Written {
			a.Wake = f.Now
			return s, a
		}
		s.Status = StageInProgress
	case StageStopping:
		return stopping(s, f)
	case StageInProgress:
	case StageDeployed, StageFailed:
		if s.Verdict == RolledBack || s.Verdict == Refused {
			return s, a
		}
	case StageCreating, StageReady, StageStopped:
		return s, a
	}
	a = expire(p, s, f)
	s = judge(p, s, f)
	switch {
	case s.Verdict == Refused && p.OnFailure == StopStage && s.Status == StageInProgress:
		s.Status, s.StopAsked = StageStopping, f.Now
		a.Wake = f.Now
		return s, a
	case s.Verdict == Refused && p.OnFailure == RollBackPlan:
		a.Undo, s.Verdict = true, RolledBack
		return s, a
	}
	if s.Status == StageInProgress && s.Counts.Pending() == 0 {
		s = ended(s)
	}
	if s.Verdict == Passed && p.AutoNext && !s.Chained && !f.Last {
		if at := s.Judged.Add(p.Bake); f.Now.Before(at) {
			a.Wake = earlier(a.Wake, at)
		} else {
			s.Chained, a.StartNext = true, true
		}
	}
	return s, a
}

// ended is a stage whose last row has its outcome.
func ended(s Stage) Stage {
	s.Status, s.Message = StageDeployed, ""
	if n := s.Counts.Failed; n > 0 || s.Verdict == RolledBack {
		s.Status, s.Message = StageFailed, fmt.Sprintf("%d of %d devices failed", n, s.Counts.Total())
	}
	if s.Verdict == Passed && s.Status == StageFailed {
		s.Message += "; the stage passed its policy"
	}
	if s.Verdict == RolledBack {
		s.Message += "; rolled back by its policy"
	}
	return s
}

func stopping(s Stage, f Facts) (Stage, Action) {
	var a Action
	switch over := s.StopAsked.Add(f.StopGrace); {
	case !f.Written:
		a.Wake = f.Now
	case s.Counts.Ready == 0 && s.Counts.InProgress == 0 && s.Counts.Stopping == 0:
		s.Status = StageStopped
	case !f.Now.Before(over):
		a.GraceOver, a.Wake = true, f.Now
	default:
		a.Wake = over
	}
	return s, a
}

// expire finds the rows whose time is over.
func expire(p Policy, s Stage, f Facts) (a Action) {
	if p.DeviceTimeout <= 0 || s.Status != StageInProgress {
		return a
	}
	border := f.Now.Add(-p.DeviceTimeout)
	if !f.Oldest.IsZero() {
		if f.Oldest.After(border) {
			a.Wake = f.Oldest.Add(p.DeviceTimeout)
		} else {
			a.Expire = border
		}
	}
	if s.Counts.Ready > 0 {
		if s.Started.After(border) {
			a.Wake = earlier(a.Wake, s.Started.Add(p.DeviceTimeout))
		} else {
			a.ExpireAll = true
		}
	}
	return a
}

// judge applies the thresholds of the policy. A stage that passed may still be
// refused while devices report.
func judge(p Policy, s Stage, f Facts) Stage {
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
	passed := s.Counts.Pending() == 0 && s.Counts.Failed == 0 && s.Counts.Deployed > 0
	if p.SuccessThreshold > 0 {
		passed = f.Reachable == 0 && enough && float64(s.Counts.Deployed)*100 >= p.SuccessThreshold*float64(over)
	}
	if passed {
		s.Verdict, s.Judged, s.Late = Passed, f.Now, s.Counts.Pending()
		if s.Late > 0 {
			s.Message = fmt.Sprintf("passed its policy: %d of %d devices succeeded, %d not reachable", s.Counts.Deployed, over, s.Late)
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
