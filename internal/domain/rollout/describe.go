package rollout

import (
	"fmt"
	"time"
)

// Status returns the EndpointStatus while p is in s, "" once a deleted
// endpoint is gone. Rolling back an Update stays Updating; only a Scale says
// RollingBack (spec §3.2).
func Status(p Plan, s State) string {
	switch {
	case p.Kind == Delete:
		if s.Phase == Succeeded {
			return ""
		}
		return "Deleting"
	case s.Phase == Succeeded, s.Phase == RolledBack:
		return "InService"
	case s.Phase == RollbackFailed:
		return "UpdateRollbackFailed"
	case s.Phase == Failed:
		return "Failed"
	case p.Kind == Create:
		return "Creating"
	case p.Kind == Scale && s.Phase == Withdrawing:
		return "RollingBack"
	}
	return "Updating"
}

// Pending reports whether DescribeEndpoint shows a PendingDeploymentSummary:
// while a new configuration is on its way (spec §3.4).
func Pending(p Plan, s State) bool {
	return (p.Kind == Create || p.Kind == Update) && !s.Phase.Terminal()
}

// Count is the CurrentInstanceCount of one variant: Old in
// ProductionVariants, New in the PendingDeploymentSummary.
type Count struct{ Old, New int }

// Counts returns what DescribeEndpoint shows as CurrentInstanceCount, in the
// plan's order. New instances count once they take traffic, old ones as long as
// they exist (spec §3.4); those of an endpoint being created when they are
// healthy.
func Counts(p Plan, s State, f Facts) []Count {
	counts := make([]Count, len(p.Variants))
	for i, v := range p.Variants {
		split := s.Variants[i]
		c := Count{Old: split.OldWanted, New: split.NewActive}
		switch s.Phase {
		case Launching:
			if p.Kind == Create {
				c.New = min(f.newFleet(i).Ready, v.New)
			}
			if p.Kind == Scale {
				c.Old = split.OldActive
			}
		case Retiring, Committed:
			c.Old = max(c.Old, min(f.oldFleet(i).Exists, v.Old))
		case Returning, Restoring, Withdrawing:
			c.Old = split.OldActive
		case Shifting, Baking, Succeeded, RolledBack, RollbackFailed, Failed:
		}
		counts[i] = c
	}
	return counts
}

// Side says which fleet of a variant is meant.
type Side string

// The old fleet is shown in ProductionVariants, the new one in the
// PendingDeploymentSummary.
const (
	Old Side = "old"
	New Side = "new"
)

// VariantStatus is one entry of VariantStatus in DescribeEndpoint and in
// events (spec §3.5).
type VariantStatus struct {
	Fleet     Side
	Variant   string
	Status    string // Creating, Updating, ActivatingTraffic, Baking or Deleting
	Message   string
	StartTime time.Time
}

// Statuses returns what the fleets that s concerns are doing, at most one entry
// per variant. It is empty at rest. Only how many instances are being
// terminated is taken from f.
func Statuses(p Plan, s State, f Facts) []VariantStatus {
	var all []VariantStatus
	for i, v := range p.Variants {
		if e := p.status(s, f, i); e.Status != "" {
			e.Variant, e.StartTime = v.Name, s.Since
			all = append(all, e)
		}
	}
	return all
}

// status returns what variant i is doing; no Status means nothing to tell of.
func (p Plan) status(s State, f Facts, i int) VariantStatus {
	v, c := p.Variants[i], s.Variants[i]
	switch s.Phase {
	case Launching:
		if p.Kind == Scale {
			return scaling(v.Old, v.New)
		}
		return told(New, "Creating", c.NewWanted-c.NewActive, "Launching %d instance(s).")
	case Shifting:
		word, n := p.capacity(v, s.Step)
		return told(New, "ActivatingTraffic", n, "Activating traffic on "+word+" capacity of %d instance(s).")
	case Baking:
		word, n := p.capacity(v, s.Step)
		wait, governs := p.Wait(s.Step)
		if p.Mirrored(s.Step) {
			return s.unwatched(told(New, "Baking", c.NewWanted, "Baking for "+seconds(wait)+
				" seconds (first) with copies of requests alone on %d instance(s)."))
		}
		st := told(New, "Baking", n, "Baking for "+seconds(wait)+" seconds ("+governs+") with traffic enabled on "+
			word+" capacity of %d instance(s).")
		return s.unwatched(st)
	case Retiring, Committed:
		if p.Kind == Scale {
			return scaling(v.Old, v.New)
		}
		return told(Old, "Deleting", f.oldFleet(i).Exists-c.OldWanted, "Terminating %d instance(s).")
	case Returning:
		word := "full"
		if c.OldActive < v.Old {
			word = "rolling batch"
		}
		return told(Old, "ActivatingTraffic", c.OldActive, "Activating traffic on "+word+" capacity of %d instance(s).")
	case Restoring:
		return told(Old, "Updating", c.OldWanted-c.OldActive, "Launching %d instance(s).")
	case Withdrawing:
		if p.Kind == Scale {
			return scaling(v.New, v.Old)
		}
		return told(New, "Deleting", f.newFleet(i).Exists-c.NewWanted, "Terminating %d instance(s).")
	case Succeeded, RolledBack, RollbackFailed, Failed:
	}
	return VariantStatus{}
}

// unwatched adds to what is said of a bake that it started over, and why.
func (s State) unwatched(st VariantStatus) VariantStatus {
	if n := len(s.Gaps); n > 0 && st.Status != "" && s.Restarted.After(s.Since) {
		st.Message += fmt.Sprintf(" It started over at %s, because %s.",
			s.Restarted.Format(time.TimeOnly), s.Gaps[n-1].Missed)
	}
	return st
}

// told returns an entry about n instances, none if there are none.
func told(fleet Side, status string, n int, format string) VariantStatus {
	if n <= 0 {
		return VariantStatus{}
	}
	return VariantStatus{Fleet: fleet, Status: status, Message: fmt.Sprintf(format, n)}
}

func scaling(from, to int) VariantStatus {
	switch {
	case to > from:
		return VariantStatus{
			Fleet: Old, Status: "Updating",
			Message: fmt.Sprintf("Scaling out desired instance count to %d.", to),
		}
	case to < from:
		return VariantStatus{
			Fleet: Old, Status: "Updating",
			Message: fmt.Sprintf("Scaling in desired instance count to %d.", to),
		}
	}
	return VariantStatus{}
}

// capacity names the instances that step i turned on, and counts them.
func (p Plan) capacity(v Variant, i int) (string, int) {
	n := p.green(v, i)
	switch {
	case p.Policy.Strategy == Canary && i == p.lead():
		return "canary", n
	case p.Policy.Strategy == Linear && n < v.New:
		return "linear step", n - p.green(v, i-1)
	case p.Policy.Strategy == Rolling:
		return "rolling batch", n - p.green(v, i-1)
	}
	return "full", n
}
