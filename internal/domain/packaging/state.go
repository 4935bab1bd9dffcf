package packaging

import "time"

// Status is where a job stands; the API's word.
type Status string

// The statuses of both kinds of job.
const (
	Starting   Status = "STARTING"
	InProgress Status = "INPROGRESS"
	Completed  Status = "COMPLETED"
	Failed     Status = "FAILED"
	Stopping   Status = "STOPPING"
	Stopped    Status = "STOPPED"
)

// Terminal reports whether nothing follows.
func (s Status) Terminal() bool { return s == Completed || s == Failed || s == Stopped }

// State is a job's state. Zero times have not come.
type State struct {
	Status   Status        `json:"Status"`
	Reason   string        `json:"Reason"` // of a failure
	Created  time.Time     `json:"Created"`
	Modified time.Time     `json:"Modified"`
	Started  time.Time     `json:"Started"`
	Ended    time.Time     `json:"Ended"`
	MaxTime  time.Duration `json:"MaxTime"`  // from Started; 0: none
	Troubles int           `json:"Troubles"` // turns that failed for the server's own reasons
}

// New is the state of a job that was just created.
func New(now time.Time, maxTime time.Duration) State {
	return State{Status: Starting, Created: now, Modified: now, MaxTime: maxTime}
}

// Deadline is when the job's time is up; zero if never.
func (s State) Deadline() time.Time {
	if s.MaxTime == 0 || s.Started.IsZero() {
		return time.Time{}
	}
	return s.Started.Add(s.MaxTime)
}

// maxTroubles is how often the server may fail before the job does.
const maxTroubles = 5

// Facts is what a turn knows.
type Facts struct {
	Now     time.Time
	Done    bool   // the work succeeded
	Failure string // the work can never succeed, and why
	Trouble string // it failed for the server's own reasons: may succeed later
}

// TimeOut is the reason of a job whose time was up.
const TimeOut = "ClientError: TimeOut: The job did not finish within StoppingCondition.MaxRuntimeInSeconds."

// Next returns the state that follows s under f, and when to take the next
// turn; zero if there is nothing more to do.
func Next(s State, f Facts) (State, time.Time) {
	if s.Status.Terminal() {
		return s, time.Time{}
	}
	to := func(st Status, reason string) (State, time.Time) {
		s.Status, s.Reason, s.Modified = st, reason, f.Now
		if st.Terminal() {
			s.Ended = f.Now
			return s, time.Time{}
		}
		return s, f.Now
	}
	late := !s.Deadline().IsZero() && !f.Now.Before(s.Deadline())
	switch {
	case s.Status == Stopping:
		return to(Stopped, "")
	case s.Status == Starting:
		s.Started = f.Now
		return to(InProgress, "")
	case f.Done:
		return to(Completed, "")
	case f.Failure != "":
		return to(Failed, f.Failure)
	case late:
		return to(Failed, TimeOut)
	case f.Trouble != "":
		if s.Troubles++; s.Troubles >= maxTroubles {
			return to(Failed, f.Trouble)
		}
		wait := time.Second << (2 * (s.Troubles - 1))
		if d := s.Deadline(); !d.IsZero() && f.Now.Add(wait).After(d) {
			return s, d
		}
		return s, f.Now.Add(wait)
	}
	return s, f.Now
}

// Stop returns the state after somebody asked the job to stop, and whether
// that changed anything.
func Stop(s State, now time.Time) (State, bool) {
	if s.Status.Terminal() || s.Status == Stopping {
		return s, false
	}
	s.Status, s.Modified = Stopping, now
	return s, true
}
