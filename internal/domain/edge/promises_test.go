package edge_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// Whatever happens to a row, it keeps what is promised of it.
func TestARowMovesOnlyAlongItsEdges(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	allowed := map[edge.DeviceStatus][]edge.DeviceStatus{
		edge.DeviceReady: {edge.DeviceInProgress, edge.DeviceDeployed, edge.DeviceFailed, edge.DeviceStopped},
		edge.DeviceInProgress: {
			edge.DeviceDeployed, edge.DeviceFailed, edge.DeviceStopping, edge.DeviceStopped,
			edge.DeviceReady,
		},
		edge.DeviceStopping: {edge.DeviceDeployed, edge.DeviceFailed, edge.DeviceStopped, edge.DeviceReady},
		edge.DeviceDeployed: {edge.DeviceReady},
		edge.DeviceFailed:   {edge.DeviceReady},
		edge.DeviceStopped:  {edge.DeviceReady, edge.DeviceDeployed, edge.DeviceFailed},
	}
	for range 20_000 {
		r, now := edge.Row{DeviceID: 1, Device: "d", Attempt: 1, Status: edge.DeviceReady}, t0
		for range 12 {
			now = now.Add(time.Minute)
			e := edge.Event{
				Kind: edge.EventKind(rng.IntN(int(edge.Undone) + 1)), At: now,
				Attempt: r.Attempt + int64(rng.IntN(3)) - 1,
				Outcome: edge.Outcome(rng.IntN(3)), Message: "why",
				Before: now.Add(-time.Duration(rng.IntN(5)) * time.Minute), Fresh: rng.IntN(2) == 0,
			}
			if e.Kind == edge.Restarted && r.Undoing {
				continue // a stage that was rolled back cannot be started
			}
			r.Gone, r.Busy = r.Gone || rng.IntN(20) == 0, rng.IntN(5) == 0
			next, changed := edge.NextDevice(r, e)
			switch {
			case changed == (next == r):
				t.Fatalf("%+v %+v: changed is %t, it is %+v", r, e, changed, next)
			case next.Status != r.Status && !slices.Contains(allowed[r.Status], next.Status):
				t.Fatalf("%+v %+v: became %s", r, e, next.Status)
			case r.Status == edge.DeviceDeployed && changed && e.Kind != edge.Undone:
				t.Fatalf("what was deployed did not stay: %+v %+v", r, e)
			case next.Undoing && next.Status == edge.DeviceDeployed:
				t.Fatalf("a row that was undone is deployed: %+v %+v", r, e)
			case r.Gone && !r.Offered() && next.Offered():
				t.Fatalf("a device that is gone is wanted again: %+v %+v", r, e)
			case next.Started.After(now) || next.Ended.After(now):
				t.Fatalf("%+v in the future", next)
			case next.Attempt < r.Attempt && e.Kind != edge.Restarted && e.Kind != edge.Undone:
				t.Fatalf("%+v: an earlier order came back: %+v", r, next)
			}
			again, changed := edge.NextDevice(next, e)
			if changed && e.Kind != edge.StopAsked { // delivered between two stops
				t.Fatalf("%+v happened twice and made %+v of %+v", e, again, next)
			}
			r = next
		}
	}
}

// Whatever its rows do, a stage ends once they have, under any policy.
func TestAStageEndsUnderEveryPolicy(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		p := edge.Policy{
			AutoNext: rng.IntN(2) == 0, SuccessThreshold: float64(rng.IntN(3) * 40), MinSample: rng.IntN(5),
			OnFailure:        []edge.Reaction{edge.NoReaction, edge.StopStage, edge.RollBackPlan}[rng.IntN(3)],
			FailureThreshold: float64(rng.IntN(50)),
			DeviceTimeout:    time.Duration(rng.IntN(2)) * time.Hour,
		}
		s := edge.Stage{
			Name: "s", Status: edge.StageReady,
			Selection: edge.Selection{Type: edge.ByPercentage, Percentage: 100},
		}
		s, _, err := s.Start("d-1", t0)
		if err != nil {
			t.Fatal(err)
		}
		n := 1 + rng.IntN(9)
		rows := make([]edge.Row, n)
		for i := range rows {
			rows[i] = edge.Row{DeviceID: int64(i + 1), Attempt: s.Attempt, Status: edge.DeviceReady}
		}
		s.Cut, s.Counts = s.Selection.Freeze(int64(n), n), edge.Counts{Ready: n}
		s = s.Swept()
		now := t0
		for turn := 0; s.Active(); turn++ {
			if turn == 2500 {
				t.Fatalf("%+v never ends: %+v", s, p)
			}
			now = now.Add(2 * time.Minute)
			s = live(rng, p, s, rows, now)
		}
		switch {
		case s.Counts.Pending() != 0:
			t.Fatalf("%s with %+v", s.Status, s.Counts)
		case s.Status == edge.StageDeployed && (s.Counts.Failed > 0 || s.Counts.Deployed == 0),
			s.Status == edge.StageFailed && s.Counts.Failed == 0 && s.Counts.Deployed > 0 &&
				s.Verdict != edge.RolledBack:
			t.Fatalf("%s with %+v", s.Status, s.Counts)
		case s.Verdict == edge.RolledBack && slices.ContainsFunc(rows, func(r edge.Row) bool {
			return r.Status == edge.DeviceDeployed && !r.Gone
		}):
			t.Fatalf("it was rolled back with %+v", s.Counts)
		}
	}
}

// live lets a turn of a stage and a bit of its devices' lives pass.
func live(rng *rand.Rand, p edge.Policy, s edge.Stage, rows []edge.Row, now time.Time) edge.Stage {
	happens := func(i int, e edge.Event) {
		next, _ := edge.NextDevice(rows[i], e)
		s.Counts.Move(rows[i].Status, next.Status)
		rows[i] = next
	}
	if s.Sweep.Kind != edge.NoSweep {
		for i := range rows {
			happens(i, s.Event(now))
		}
		return s.Swept()
	}
	f := edge.Facts{Now: now, StopGrace: time.Hour, Reachable: rng.IntN(2) == 0}
	for _, r := range rows {
		if r.Status == edge.DeviceInProgress && (f.Oldest.IsZero() || r.Started.Before(f.Oldest)) {
			f.Oldest = r.Started
		}
	}
	next, a := edge.NextStage(p, s, f)
	if a.Undo != "" {
		next, _ = next.RollBack("d-2", a.Undo, now)
	}
	if s = next; s.Sweep.Kind != edge.NoSweep {
		return s
	}
	i := rng.IntN(len(rows))
	if rows[i].Offered() && s.Offers() {
		happens(i, edge.Event{Kind: edge.Delivered, At: now, Attempt: s.Attempt})
	}
	if rng.IntN(4) == 0 {
		gone := rng.IntN(len(rows))
		happens(gone, edge.Event{Kind: edge.Deregistered, At: now})
		rows[gone].Gone = true // it says nothing any more
	}
	if !rows[i].Gone && rng.IntN(2) == 0 {
		happens(i, edge.Event{
			Kind: edge.Reported, At: now, Attempt: s.Attempt, Outcome: edge.Outcome(rng.IntN(3)),
			Message: "m",
		})
	}
	return s
}
