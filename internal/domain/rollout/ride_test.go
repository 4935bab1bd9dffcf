package rollout_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func count(n int) rollout.Size   { return rollout.Size{Type: rollout.InstanceCount, Value: n} }
func percent(n int) rollout.Size { return rollout.Size{Type: rollout.CapacityPercent, Value: n} }
func secs(n int) time.Duration   { return time.Duration(n) * time.Second }

func canary(size rollout.Size, wait, termination int) *rollout.Policy {
	return &rollout.Policy{
		Strategy: rollout.Canary, CanarySize: size, WaitInterval: secs(wait),
		TerminationWait: secs(termination),
	}
}

func linear(size rollout.Size, wait, termination int) *rollout.Policy {
	return &rollout.Policy{
		Strategy: rollout.Linear, LinearStepSize: size, WaitInterval: secs(wait),
		TerminationWait: secs(termination),
	}
}

func allAtOnce(termination int) *rollout.Policy {
	return &rollout.Policy{Strategy: rollout.AllAtOnce, TerminationWait: secs(termination)}
}

func rolling(size, back rollout.Size, wait int) *rollout.Policy {
	return &rollout.Policy{
		Strategy: rollout.Rolling, MaximumBatchSize: size, RollbackMaximumBatchSize: back,
		WaitInterval: secs(wait),
	}
}

// watching returns c with alarms a and b.
func watching(c *rollout.Policy) *rollout.Policy {
	with := *c
	with.Alarms = []string{"a", "b"}
	return &with
}

// fleet is the only variant of most tests.
func fleet(from, to int) []rollout.Variant { return []rollout.Variant{{Name: "A", Old: from, New: to}} }

func plan(t testing.TB, kind rollout.Kind, policy *rollout.Policy, vs []rollout.Variant) rollout.Plan {
	t.Helper()
	p, err := rollout.NewPlan(kind, policy, vs)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ideal facts: whatever is wanted is ready, whatever is not is gone.
func ideal(s rollout.State, now time.Time) rollout.Facts {
	f := rollout.Facts{Now: now, Observed: rollout.Observation{Until: now}}
	for _, c := range s.Variants {
		f.Old = append(f.Old, rollout.Fleet{Ready: c.OldWanted, Exists: c.OldWanted})
		f.New = append(f.New, rollout.Fleet{Ready: c.NewWanted, Exists: c.NewWanted})
	}
	return f
}

// ride drives one deployment by hand.
type ride struct {
	t     testing.TB
	plan  rollout.Plan
	state rollout.State
	now   time.Time
	wake  time.Time
	trail []string // every State entered, as line draws it
}

func start(t testing.TB, p rollout.Plan) *ride {
	s := rollout.Start(p, t0)
	return &ride{t: t, plan: p, state: s, now: t0, trail: []string{line(s)}}
}

// turn asks Next once with ideal facts that bend changed.
func (r *ride) turn(bend func(*rollout.Facts)) bool {
	f := ideal(r.state, r.now)
	if bend != nil {
		bend(&f)
	}
	next, wake := rollout.Next(r.plan, r.state, f)
	r.wake = wake
	moved := wake.Equal(f.Now)
	if moved {
		r.trail = append(r.trail, line(next))
	}
	r.state = next
	return moved
}

// rest turns until the state stands still.
func (r *ride) rest(bend func(*rollout.Facts)) *ride {
	for range 1000 {
		if !r.turn(bend) {
			return r
		}
	}
	r.t.Fatal("never came to rest")
	return nil
}

// to goes on under ideal facts until the phase and step are reached.
func (r *ride) to(phase rollout.Phase, step int) *ride {
	for range 1000 {
		if r.state.Phase == phase && r.state.Step == step {
			return r
		}
		if !r.turn(nil) {
			if r.wake.IsZero() {
				break
			}
			r.now = r.wake
		}
	}
	r.t.Fatalf("never reached %s of step %d: %s", phase, step, line(r.state))
	return nil
}

// end goes on under bent facts until the deployment is over.
func (r *ride) end(bend func(*rollout.Facts)) *ride {
	for range 1000 {
		if r.state.Phase.Terminal() {
			return r
		}
		if !r.turn(bend) {
			if r.wake.IsZero() {
				break
			}
			r.now = r.wake
		}
	}
	r.t.Fatalf("never ended: %s", line(r.state))
	return nil
}

// line draws a state: per variant active/wanted of the old and the new fleet,
// and the new fleet's share of traffic.
func line(s rollout.State) string {
	var b strings.Builder
	b.WriteString(string(s.Phase))
	for _, c := range s.Variants {
		fmt.Fprintf(&b, " old %d/%d new %d/%d %.0f%%", c.OldActive, c.OldWanted, c.NewActive, c.NewWanted,
			math.Round(100*c.NewShare))
	}
	return b.String()
}
