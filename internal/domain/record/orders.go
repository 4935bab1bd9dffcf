package record

import (
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// Order is what somebody told a deployment, and what became of it.
type Order struct {
	rollout.Followed
	Pending bool   // nobody has looked at it yet
	Effect  string // for people
}

// Orders returns who stepped in, oldest first, and what that did.
func (r Record) Orders() (out []Order) {
	for _, f := range r.State.Followed {
		out = append(out, Order{Followed: f, Effect: effect(f)})
	}
	for _, o := range r.Deployment.Orders[min(len(out), len(r.Deployment.Orders)):] {
		out = append(out, Order{Followed: rollout.Followed{Order: o}, Pending: true, Effect: "Not looked at yet."})
	}
	return out
}

func effect(f rollout.Followed) string {
	if f.Ignored != "" {
		return "It changed nothing. " + f.Ignored
	}
	switch f.Verb {
	case rollout.Pause:
		switch {
		case f.Until.IsZero():
			return fmt.Sprintf("Holds %s since %s: its wait stands still; MaximumExecutionTimeoutInSeconds goes on.",
				f.Phase, f.From.Format(time.TimeOnly))
		case f.Extended > 0:
			return fmt.Sprintf("Held %s for %s: its wait became as much longer; "+
				"MaximumExecutionTimeoutInSeconds went on.", f.Phase, round(f.Until.Sub(f.From)))
		}
		return fmt.Sprintf("Held %s for %s: MaximumExecutionTimeoutInSeconds went on.", f.Phase,
			round(f.Until.Sub(f.From)))
	case rollout.Resume:
		return fmt.Sprintf("%s went on.", f.Phase)
	case rollout.Promote:
		return fmt.Sprintf("Skipped the waits from %s of step %d on.", f.Phase, f.Step+1)
	case rollout.Abort:
		return fmt.Sprintf("Rolled it back from %s of step %d.", f.Phase, f.Step+1)
	}
	return ""
}
