package alarm_test

import (
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
)

func TestACompositeAlarmFollowsItsRule(t *testing.T) {
	j := newJudge(t, alarm.Definition{Name: "both", Rule: `ALARM(a) AND NOT ALARM("b")`})
	states := map[string]alarm.StateValue{"a": alarm.StateAlarm, "b": alarm.StateOK}
	state := func(n string) alarm.StateValue { return states[n] }

	o := j.EvaluateComposite(state, alarm.Cause{Self: "arn:self", Put: "created"}, alarm.Initial(t0), t0)
	if o.State.Value != alarm.StateAlarm ||
		o.State.Reason != "arn:self was created and its alarm rule evaluates to ALARM" {
		t.Errorf("when created: %+v", o.State)
	}
	states["b"] = alarm.StateAlarm
	at := time.Date(2022, 10, 30, 20, 47, 35, 671e6, time.UTC)
	o = j.EvaluateComposite(state, alarm.Cause{Self: "arn:self", Child: "arn:b", Value: alarm.StateAlarm, At: at},
		o.State, at)
	if o.State.Value != alarm.StateOK ||
		o.State.Reason != "arn:b transitioned to ALARM at Sunday 30 October, 2022 20:47:35 UTC" ||
		o.State.ReasonData != `{"triggeringAlarms":[{"arn":"arn:b","state":{"value":"ALARM","timestamp":"2022-10-30T20:47:35.671+0000"}}]}` {
		t.Errorf("after a child changed: %+v", o.State)
	}
	if again := j.EvaluateComposite(state, alarm.Cause{Put: "updated"}, o.State, at.Add(time.Minute)); again.Changed {
		t.Errorf("nothing changed, but: %+v", again)
	}
	states["b"] = alarm.StateInsufficientData
	o = j.EvaluateComposite(state, alarm.Cause{Self: "arn:self", Put: "updated"}, o.State, at)
	if o.State.Reason != "arn:self was updated and its new alarm rule evaluates to ALARM" || !o.Transition {
		t.Errorf("when updated: %+v", o.State)
	}
	if got := j.Children(); len(got) != 2 || got[0] != "a" || got[1] != "b" {
		t.Errorf("children %v", got)
	}
}

func TestACompositeStateSetByHandLastsUntilAChildChanges(t *testing.T) {
	j := newJudge(t, alarm.Definition{Name: "c", Rule: "ALARM(a)"})
	s, err := ok().Set(alarm.StateAlarm, "drill", "", t0)
	if err != nil {
		t.Fatal(err)
	}
	o := j.EvaluateComposite(func(string) alarm.StateValue { return alarm.StateOK },
		alarm.Cause{Child: "arn:a", Value: alarm.StateOK, At: t0}, s, t0)
	if o.State.Value != alarm.StateOK || !o.Transition {
		t.Errorf("%+v", o)
	}
	s, err = ok().Set(alarm.StateOK, "all well", "", t0)
	if err != nil {
		t.Fatal(err)
	}
	o = j.EvaluateComposite(func(string) alarm.StateValue { return alarm.StateOK },
		alarm.Cause{Child: "arn:a", Value: alarm.StateOK, At: t0}, s, t0)
	if !o.Changed || o.Transition || o.State.ByHand || o.State.Reason == "all well" {
		t.Errorf("the reason given by hand stays: %+v", o)
	}
}
