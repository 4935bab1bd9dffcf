package rollout

import (
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Verb is what a person may tell a running deployment.
type Verb string

// Verbs are stored: never rename.
const (
	// Pause holds everything that goes forward: instances that are wanted go
	// on starting, but no traffic shifts, no old batch is given up, nothing
	// commits, and the step's bake stands still. The
	// MaximumExecutionTimeout goes on counting, and failures, alarms and the
	// timeout roll back as ever.
	Pause Verb = "Pause"
	// Resume ends a pause. A bake goes on where it stood still.
	Resume Verb = "Resume"
	// Promote ends a pause and skips every wait that is left, a minimum of
	// requests included: traffic moves step by step, each only onto instances
	// that are ready and while no alarm fires, and the deployment commits. A
	// later Pause holds it again; it goes on without waits.
	Promote Verb = "Promote"
	// Abort rolls back, as an alarm does.
	Abort Verb = "Abort"
)

// Order is what a person told a running deployment.
type Order struct {
	Verb Verb      `json:"verb"`
	By   string    `json:"by"` // who; shown in FailureReason
	At   time.Time `json:"at"` // when it was accepted
}

// MaxOrders is how many orders one deployment takes. An Abort is always taken.
const MaxOrders = 50

// Followed is an Order and what became of it.
type Followed struct {
	Order
	Phase   Phase  `json:"phase"` // where it met the deployment
	Step    int    `json:"step"`
	Ignored string `json:"ignored,omitempty"` // why it changed nothing, "" if it did

	// Of a Pause:
	From     time.Time     `json:"from,omitzero"`
	Until    time.Time     `json:"until,omitzero"`     // zero as long as it holds
	Extended time.Duration `json:"extended,omitempty"` // how much longer the bake of Step became
}

// Obeys returns nil if a deployment in s follows an order of that verb, and
// otherwise why it cannot: fault.InUse if it no longer can, fault.Limit if it
// had too many, fault.Invalid if there is nothing to do. Orders that were given
// (as in Facts) and are not followed yet count as followed before it.
func (p Plan) Obeys(s State, v Verb, given ...Order) error {
	for n := len(s.Followed); n < len(given); n = len(s.Followed) {
		o, obeyed := given[n], false
		if s, obeyed = p.hear(s, o, o.At); obeyed && o.Verb == Abort {
			s.Phase = Withdrawing
		}
	}
	done, known := map[Verb]string{Pause: "paused", Resume: "resumed", Promote: "promoted", Abort: "aborted"}[v]
	_, paused := s.Paused()
	switch {
	case !known:
		return fault.New(fault.Invalid, "A deployment can be paused, resumed, promoted and aborted, nothing else.")
	case s.Phase.Terminal():
		return fault.New(fault.InUse, "The deployment can no longer be %s: it has ended.", done)
	case s.Phase == Committed && p.Kind == Delete:
		return fault.New(fault.InUse, "The deletion of an endpoint cannot be %s.", done)
	case s.Phase == Committed:
		return fault.New(fault.InUse,
			"The deployment can no longer be %s: all traffic has moved, and what is left over is being terminated.", done)
	case !s.Phase.Undoable():
		return fault.New(fault.InUse, "The deployment can no longer be %s: it is being rolled back.", done)
	case v == Pause && paused:
		return fault.New(fault.Invalid, "The deployment is paused already.")
	case v == Resume && !paused:
		return fault.New(fault.Invalid, "The deployment is not paused.")
	case v == Promote && s.Promoted && !paused:
		return fault.New(fault.Invalid, "The deployment is promoted already.")
	case v != Abort && len(s.Followed) >= MaxOrders:
		return fault.New(fault.Limit, "A deployment takes at most %d orders; this one can only be aborted.", MaxOrders)
	}
	return nil
}

// Paused returns the pause that holds s, and whether one does.
func (s State) Paused() (Followed, bool) {
	if i := s.hold(); i >= 0 {
		return s.Followed[i], true
	}
	return Followed{}, false
}

// hold returns the index of the pause that has not ended, or -1.
func (s State) hold() int {
	for i := len(s.Followed) - 1; i >= 0; i-- {
		if o := s.Followed[i]; o.Verb == Pause && o.Ignored == "" {
			if o.Until.IsZero() {
				return i
			}
			break // only the last pause can be open
		}
	}
	return -1
}

// follow takes the transition that an order asks for. One that cannot be
// followed is noted all the same, so that none is lost.
func (p Plan) follow(s State, f Facts, o Order) State {
	s, obeyed := p.hear(s, o, f.Now)
	if !obeyed || o.Verb != Abort {
		return s
	}
	why := "Endpoint deployment was aborted."
	if o.By != "" {
		why = "Endpoint deployment was aborted by " + o.By + "."
	}
	return p.turnBack(s, f, why)
}

// hear notes an order and does what it says, except that it does not roll
// back. It counts from the time it was accepted, so that no bake elapses
// because nobody was there to follow it.
func (p Plan) hear(s State, o Order, now time.Time) (State, bool) {
	o.At = o.At.Round(0).UTC()
	at := o.At
	if at.Before(s.baking()) {
		at = s.baking()
	}
	if at.After(now) {
		at = now
	}
	told := Followed{Order: o, Phase: s.Phase, Step: s.Step}
	if err := p.Obeys(s, o.Verb); err != nil {
		_, told.Ignored = fault.Public(err)
	} else if o.Verb == Pause {
		told.From = s.pausable(at, now)
	} else {
		s = p.resume(s, at)
		s.Promoted = s.Promoted || o.Verb == Promote
	}
	s.Followed = append(slices.Clip(s.Followed), told)
	return s, told.Ignored == ""
}

// pausable returns when a pause of that time begins: not before an earlier one
// ended, lest the same time extends a bake twice.
func (s State) pausable(at, now time.Time) time.Time {
	for _, o := range s.Followed {
		if o.Until.After(at) {
			at = o.Until
		}
	}
	if at.After(now) {
		return now // the clock was set back meanwhile
	}
	return at
}

// resume ends the pause that holds s, if one does.
func (p Plan) resume(s State, at time.Time) State {
	i := s.hold()
	if i < 0 {
		return s
	}
	s.Followed = slices.Clone(s.Followed)
	o := &s.Followed[i]
	o.Until = at
	if at.Before(o.From) {
		o.Until = o.From
	}
	from := o.From
	if s.Phase == Baking && from.Before(s.baking()) {
		from = s.baking() // what was before the bake started over does not count
	}
	if s.Phase == Baking && from.Before(p.baked(s)) && from.Before(o.Until) {
		o.Extended = o.Until.Sub(from)
		s.Held += o.Extended
	}
	return s
}

// pausedFor returns how long s was paused altogether.
func (s State) pausedFor() (d time.Duration) {
	for _, o := range s.Followed {
		if !o.Until.IsZero() {
			d += o.Until.Sub(o.From)
		}
	}
	return d
}
