package record

import (
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// Forecast is how a deployment will run: the states that rollout.Next itself
// goes through when all goes well.
type Forecast struct {
	Plan  rollout.Plan
	Steps []Planned
	Wait  time.Duration // all waits together
	Worst time.Duration // after that it has committed, or is being rolled back
	Peak  int           // most instances that are wanted at a time
}

// Planned is one state that a deployment will be in.
type Planned struct {
	Phase     rollout.Phase
	Number    int           // of the traffic step, from 1
	At        time.Duration // since the beginning, with instances that start and stop in no time
	Wait      time.Duration // that is waited for on purpose
	Worst     time.Duration // that it may last at most
	Variants  []VariantStep
	Instances int // wanted of all fleets
}

// Allowance is how long instances may take for what they do.
type Allowance struct {
	Launch time.Duration // until ready, or given up
	Stop   time.Duration // from losing their traffic until gone
}

// Foresee runs p through a world in which all goes well.
func Foresee(p rollout.Plan, a Allowance) Forecast {
	f := Forecast{Plan: p}
	line := rollout.Timeline(p, time.Unix(0, 0))
	for i, m := range line {
		s := Planned{Phase: m.State.Phase, Number: m.State.Step + 1, At: m.At}
		for j, c := range m.State.Variants {
			s.Variants = append(s.Variants, VariantStep{p.Variants[j].Name, c})
			s.Instances += c.OldWanted + c.NewWanted
		}
		if i+1 < len(line) {
			s.Wait = line[i+1].At - m.At
		}
		s.Worst = s.Wait
		timeout := p.Policy.MaximumExecutionTimeout
		switch s.Phase {
		case rollout.Launching:
			s.Worst = min(a.Launch, timeout)
		case rollout.Retiring, rollout.Committed:
			s.Worst = a.Stop
		case rollout.Baking:
			if p.Policy.MinimumRequests > 0 || slices.ContainsFunc(p.Policy.Gates, holds) {
				s.Worst = max(s.Wait, timeout-m.At)
			}
		case rollout.Shifting, rollout.Returning, rollout.Restoring, rollout.Withdrawing,
			rollout.Succeeded, rollout.RolledBack, rollout.RollbackFailed, rollout.Failed:
		}
		if s.Phase != rollout.Committed {
			f.Worst = min(timeout, f.Worst+s.Worst)
		}
		f.Wait += s.Wait
		f.Peak = max(f.Peak, s.Instances)
		f.Steps = append(f.Steps, s)
	}
	return f
}

func holds(g gate.Gate) bool { return g.Action == gate.Hold }

// Severity says how much a Finding matters.
type Severity string

// A warning is about what may go wrong unseen, an error about what will go wrong.
const (
	Error   Severity = "Error"
	Warning Severity = "Warning"
	Info    Severity = "Info"
)

// Finding is something suspicious about a plan.
type Finding struct {
	Severity Severity
	Code     string // for programs; never changed
	Message  string // a sentence
}

// Suspicious returns what a plan for e shows by itself: e has accepted it, but
// nothing was stored. What others know, such as the state of alarms, is added
// by them.
func Suspicious(e *hosting.Endpoint) (out []Finding) {
	d := e.Deployment
	p := d.Plan.Policy
	warn := func(code, format string, args ...any) {
		out = append(out, Finding{Warning, code, fmt.Sprintf(format, args...)})
	}
	wait := d.Plan.TotalWait()
	switch alarms := len(p.Alarms) > 0 || gate.AnyJudges(p.Gates); {
	case !alarms && wait > 0:
		warn("NothingWatched",
			"No alarm is watched: the deployment waits %s, but only an instance that fails or the timeout can "+
				"roll it back.", wait)
	case !alarms:
		warn("NoGuardrail", "All traffic moves at once, without a wait and without alarms: only a new instance that "+
			"never becomes ready stops it.")
	case wait == 0:
		warn("NoBake", "The alarms are read once after the traffic moved, without a wait: they can hardly have "+
			"changed by then.")
	default:
		for i := range d.Plan.Steps() {
			if w, governs := d.Plan.Wait(i); w == 0 {
				warn("StepWithoutBake", "Step %d of %d is not baked: %s is 0.", i+1, d.Plan.Steps(), governs)
			}
		}
	}
	suspectSizes(d.Plan, warn)
	for _, v := range d.Plan.Variants {
		switch {
		case v.New == 0:
			warn("VariantEnds", "Production variant %q is not in the new configuration: it ends.", v.Name)
		case v.New < v.Old:
			warn("FewerInstances", "Production variant %q goes from %d to %d instance(s): each takes more traffic.",
				v.Name, v.Old, v.New)
		}
	}
	for _, w := range d.Weights {
		if w.Desired == 0 && len(d.Weights) > 1 {
			warn("NoWeight", "Production variant %q has no weight: it takes no traffic, so nothing is learnt about it.",
				w.Variant)
		}
	}
	return out
}

// suspectSizes looks for steps that are not as small as they were asked for.
func suspectSizes(p rollout.Plan, warn func(code, format string, args ...any)) {
	name, size := p.Policy.StepSize()
	for _, v := range p.Variants {
		if name != "" && v.New > 0 && size.Of(v.New) == v.New {
			warn("FirstStepTakesAll",
				"%s is %d%% of the capacity, but one instance at the least: production variant %q will have only %d, "+
					"so step 1 moves all of its traffic.",
				name, size.Value, v.Name, v.New)
		}
	}
	for _, other := range []struct {
		name string
		size rollout.Size
	}{{"CanarySize", p.Policy.CanarySize}, {"LinearStepSize", p.Policy.LinearStepSize}} {
		switch {
		case other.size.Value == 0 || other.name == name:
		case p.Policy.Strategy == rollout.AllAtOnce:
			warn("SizeIgnored", "%s is ignored: a deployment of type %s moves all traffic in one step.", other.name,
				p.Policy.Strategy)
		default:
			warn("SizeIgnored", "%s is ignored: the steps of a deployment of type %s are set by %s.", other.name,
				p.Policy.Strategy, name)
		}
	}
}

// ShortestBake returns the step of p, from 1, whose wait is the shortest, and
// that wait: in it, alarms have the least time to see something. Steps without
// a wait do not count, Suspicious tells of them; if none has one, both are 0.
func ShortestBake(p rollout.Plan) (step int, wait time.Duration) {
	for i := range p.Steps() {
		if w, _ := p.Wait(i); w > 0 && (wait == 0 || w < wait) {
			step, wait = i+1, w
		}
	}
	return step, wait
}

// few is how many requests in a bake are hardly a proof.
const few = 10

// Starved returns what is suspicious about p if the endpoint's traffic goes on
// as it was lately, so many requests in that time.
func Starved(p rollout.Plan, requests int64, lately time.Duration) []Finding {
	if requests == 0 {
		return []Finding{{
			Warning, "NoTraffic",
			fmt.Sprintf("The endpoint has answered no request in the last %s: without traffic, a deployment "+
				"proves nothing.", round(lately)),
		}}
	}
	line := rollout.Timeline(p, time.Unix(0, 0))
	for i, m := range line {
		if m.State.Phase != rollout.Baking {
			continue
		}
		if planned, _ := p.Wait(m.State.Step); planned == 0 || p.Mirrored(m.State.Step) {
			continue // a glance at the alarms, of which Suspicious tells, or copies alone
		}
		share := 0.0
		for _, v := range m.State.Variants {
			share = max(share, v.NewShare)
		}
		wait := line[i+1].At - m.At // something always follows a bake
		expected := float64(requests) / lately.Seconds() * wait.Seconds() * share
		if expected >= few || p.Policy.MinimumRequests > 0 {
			continue
		}
		return []Finding{{Warning, "LowTraffic", fmt.Sprintf(
			"At the rate of the last %s (%d requests), the new fleet would see about %.1f requests in the %s that "+
				"step %d is baked: that proves little.",
			round(lately), requests, expected, round(wait), m.State.Step+1)}}
	}
	return nil
}
