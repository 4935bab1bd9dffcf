package record

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// Step is what a deployment did from one transition to the next.
type Step struct {
	At       time.Time
	Phase    rollout.Phase
	Number   int           // of the traffic step, from 1
	Lasted   time.Duration // until the next step, or until now; 0 in a terminal phase
	Variants []VariantStep
	Requests int64  // that the new fleet answered meanwhile, if they were counted
	Reason   string // of the verdict, in the step in which it fell
	Tripped  []hosting.TrippedAlarm
	Note     string // what a reader should not overlook, "" if nothing
}

// VariantStep is what the two fleets of one variant were in a step.
type VariantStep struct {
	Name string
	rollout.Split
}

// Steps returns the deployment's history, oldest first; now bounds the step
// that goes on.
func (r Record) Steps(now time.Time) []Step {
	steps := make([]Step, 0, len(r.Transitions))
	reason := ""
	for i, t := range r.Transitions {
		s := Step{At: t.At, Phase: t.To, Number: t.State.Step + 1}
		for j, v := range r.Plan.Variants {
			if j < len(t.State.Variants) {
				s.Variants = append(s.Variants, VariantStep{v.Name, t.State.Variants[j]})
			}
		}
		if t.Reason != reason {
			s.Reason, s.Tripped, reason = t.Reason, t.Tripped, t.Reason
		}
		until, answered := now, r.Exposure.Requests
		if i+1 < len(r.Transitions) {
			until, answered = r.Transitions[i+1].At, r.Transitions[i+1].Requests
		}
		if !t.To.Terminal() {
			s.Lasted = max(0, until.Sub(t.At))
			s.Requests = max(0, answered-t.Requests)
		}
		if s.Note = r.missed(s, until); s.Note == "" && i+1 < len(r.Transitions) {
			s.Note = r.judged(s)
		}
		steps = append(steps, s)
	}
	return steps
}

// missed says when nobody watched a bake that lasted until then, and why.
func (r Record) missed(s Step, until time.Time) string {
	var notes []string
	for _, g := range r.State.Gaps {
		if s.Phase == rollout.Baking && g.Step == s.Number-1 && !g.From.Before(s.At) && !g.From.After(until) {
			notes = append(notes, fmt.Sprintf("Nobody watched from %s to %s, because %s: the wait started over.",
				g.From.Format(time.TimeOnly), g.Until.Format(time.TimeOnly), g.Missed))
		}
	}
	return strings.Join(notes, " ")
}

// judged says whether a bake that ended saw anything to judge.
func (r Record) judged(s Step) string {
	if s.Phase == rollout.Baking && r.Counted() && !r.Exposure.AtLeast && s.Requests == 0 && r.meant(s.Number-1) {
		return "No request reached the new fleet during this bake: it proves nothing."
	}
	if s.Phase == rollout.Baking && r.Plan.Mirrored(s.Number-1) {
		return "The new fleet got copies of requests alone."
	}
	return ""
}

// meant reports whether step i was planned to be baked at all: the glance at
// the alarms of a step without a wait was never to see requests, nor was a step
// of copies alone.
func (r Record) meant(i int) bool {
	wait, _ := r.Plan.Wait(i)
	return wait > 0 && !r.Plan.Mirrored(i)
}

// Share is the part of the variants' traffic that the new fleet takes in s, in
// percent, for people: one number if the variants agree.
func (s Step) Share() string {
	var out []string
	for _, v := range s.Variants {
		p := fmt.Sprintf("%d%%", int(math.Round(v.NewShare*100)))
		if len(out) == 0 || out[0] != p {
			out = append(out, p)
		}
	}
	return strings.Join(out, "/")
}

// Share is the largest part of a variant's traffic that the new fleet took
// before the verdict, 0 to 1.
func (r Record) Share() (share float64) {
	for _, t := range r.Transitions {
		if !t.State.Turned.IsZero() {
			break
		}
		for _, v := range t.State.Variants {
			share = max(share, v.NewShare)
		}
	}
	return share
}

// Sentence says in a line how the deployment stands or came out.
func (r Record) Sentence() string {
	what := map[rollout.Kind]string{
		rollout.Create: "The creation", rollout.Update: "The update to " + quoted(r.To()),
		rollout.Scale: "The change of capacity", rollout.Delete: "The deletion",
	}[r.Plan.Kind]
	because := ""
	if r.State.Reason != "" {
		because = " " + r.State.Reason
	}
	switch v := r.Verdict(); v {
	case Succeeded:
		return fmt.Sprintf("%s succeeded after %s.%s", what, round(r.Ended.Sub(r.Begun)), r.unproven())
	case RolledBack:
		back := "the endpoint serves as it did before"
		if r.From != "" && r.Plan.Kind == rollout.Update {
			back = quoted(r.From) + " serves"
		}
		return fmt.Sprintf("%s was rolled back after %s: %s.%s", what, round(r.Ended.Sub(r.Begun)), back, because)
	case RollbackFailed:
		return fmt.Sprintf("%s failed, and so did its rollback: a mix of both configurations serves.%s", what, because)
	case Failed:
		return fmt.Sprintf("%s failed after %s.%s", what, round(r.Ended.Sub(r.Begun)), because)
	case InProgress:
	}
	if !r.State.Turned.IsZero() {
		return fmt.Sprintf("%s is being rolled back (%s).%s", what, r.State.Phase, because)
	}
	if _, paused := r.State.Paused(); paused {
		return fmt.Sprintf("%s is paused (%s).", what, r.State.Phase)
	}
	if at := r.State.Restarted; !at.IsZero() {
		return fmt.Sprintf("%s is under way (%s): the wait started over at %s, because %s.", what, r.State.Phase,
			at.Format(time.TimeOnly), r.State.Gaps[len(r.State.Gaps)-1].Missed)
	}
	return fmt.Sprintf("%s is under way (%s).", what, r.State.Phase)
}

// unproven names the steps whose bake saw no request: passing one is no proof.
func (r Record) unproven() string {
	if r.Exposure.AtLeast {
		return " The server was restarted meanwhile: the count of requests is a lower bound."
	}
	var steps []string
	for _, i := range r.State.Unproven {
		if r.meant(i) {
			steps = append(steps, strconv.Itoa(i+1))
		}
	}
	if !r.Counted() || len(steps) == 0 {
		return ""
	}
	return fmt.Sprintf(" No request reached the new fleet during the bake of step %s of %d: that proves nothing.",
		strings.Join(steps, ", "), r.Plan.Steps())
}

func quoted(name string) string { return fmt.Sprintf("%q", name) }

// round drops what nobody reads of a duration.
func round(d time.Duration) time.Duration {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond)
	case d < time.Minute:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}
