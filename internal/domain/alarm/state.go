package alarm

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Set returns the state that SetAlarmState asks for. It lasts until the next
// scheduled evaluation of a metric alarm, or the next change below a composite
// one. Errors are fault.Invalid; ErrFormat is the cause if the reason's data is
// no JSON.
func (s State) Set(v StateValue, reason, data string, now time.Time) (State, error) {
	switch {
	case v != StateOK && v != StateAlarm && v != StateInsufficientData:
		return s, refuse("The value %q is not supported for StateValue parameter. Supported values are [OK, ALARM, "+
			"INSUFFICIENT_DATA].", clip(string(v)))
	case len(reason) > maxReason:
		return s, refuse("The parameter StateReason must not be longer than %d characters.", maxReason)
	case len(data) > maxReasonData:
		return s, refuse("The parameter StateReasonData must not be longer than %d characters.", maxReasonData)
	case data != "" && !json.Valid([]byte(data)):
		return s, fault.New(fault.Invalid, "The parameter StateReasonData is not valid JSON.").Because(ErrFormat)
	}
	n := State{Value: v, Reason: reason, ReasonData: data, Updated: now, Transitioned: s.Transitioned, ByHand: true}
	if v != s.Value {
		n.Transitioned = now
	}
	return n, nil
}

// ErrFormat is the private cause of a refusal that the API calls InvalidFormat.
var ErrFormat = fmt.Errorf("invalid format: %w", fault.Invalid)

// Cause is why a composite alarm is evaluated.
type Cause struct {
	Self  string     // its own ARN
	Put   string     // "created" or "updated" if it has just been put; or
	Child string     // the ARN of the alarm that changed,
	Value StateValue // to this state
	At    time.Time  // at this time
}

// EvaluateComposite decides the rule of a composite alarm in state s. State
// tells the state of another alarm as the rule writes it, by name or ARN; "" if
// there is none. The result is ALARM or OK.
func (j *Judge) EvaluateComposite(state func(alarm string) StateValue, c Cause, s State, now time.Time) Outcome {
	v := alarmIf(j.rule.Holds(func(alarm string) string { return string(state(alarm)) }))
	if v == s.Value && !s.ByHand {
		return Outcome{State: s}
	}
	n := State{Value: v, Updated: now, Transitioned: s.Transitioned}
	switch {
	case c.Child != "":
		n.Reason = clipTo(c.Child+" transitioned to "+string(c.Value)+" at "+
			c.At.UTC().Format("Monday 02 January, 2006 15:04:05 MST"), maxReason)
		n.ReasonData = `{"triggeringAlarms":[{"arn":` + quoted(c.Child) + `,"state":{"value":"` + string(c.Value) +
			`","timestamp":"` + stamp(c.At) + `"}}]}`
	case c.Put == "updated":
		n.Reason = clipTo(c.Self+" was updated and its new alarm rule evaluates to "+string(v), maxReason)
	default:
		n.Reason = clipTo(c.Self+" was created and its alarm rule evaluates to "+string(v), maxReason)
	}
	if len(n.ReasonData) > maxReasonData {
		n.ReasonData = ""
	}
	o := Outcome{State: n, Changed: true, Transition: v != s.Value}
	if o.Transition {
		o.State.Transitioned = now
	}
	return o
}
