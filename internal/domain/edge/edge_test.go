package edge_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

var t0 = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

func TestAPercentageIsRoundedUpAndAtLeastOne(t *testing.T) {
	for _, c := range []struct{ percentage, n, want int }{
		{1, 3, 1},
		{34, 3, 2},
		{50, 3, 2},
		{100, 3, 3},
		{10, 0, 0},
		{1, 1_000_000, 10_000},
	} {
		if got := edge.Target(c.percentage, c.n); got != c.want {
			t.Errorf("%d %% of %d: %d, want %d", c.percentage, c.n, got, c.want)
		}
	}
}

func TestASelectionHasExactlyItsOwnMember(t *testing.T) {
	for name, c := range map[string]struct {
		s  edge.Selection
		ok bool
	}{
		"percentage":        {edge.Selection{Type: edge.ByPercentage, Percentage: 10}, true},
		"percentage 0":      {edge.Selection{Type: edge.ByPercentage}, false},
		"percentage 101":    {edge.Selection{Type: edge.ByPercentage, Percentage: 101}, false},
		"percentage, names": {edge.Selection{Type: edge.ByPercentage, Percentage: 1, Names: []string{"a"}}, false},
		"names":             {edge.Selection{Type: edge.ByName, Names: []string{"b", "a", "b"}}, true},
		"no names":          {edge.Selection{Type: edge.ByName}, false},
		"contains":          {edge.Selection{Type: edge.ByNameContains, NameContains: "cam"}, true},
		"contains, percent": {edge.Selection{Type: edge.ByNameContains, NameContains: "cam", Percentage: 1}, false},
		"something else":    {edge.Selection{Type: "ALL"}, false},
	} {
		s, err := c.s.Check()
		if (err == nil) != c.ok || err != nil && !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "names" && (len(s.Names) != 2 || !s.Matches("b") || s.Matches("c")) {
			t.Errorf("names: %v", s.Names)
		}
	}
}

func TestAResultIsASuccessOnlyIfNothingSaysOtherwise(t *testing.T) {
	good, bad := edge.ModelResult{Handle: "m", Status: "SUCCESS"}, edge.ModelResult{
		Handle: "m", Status: "FAIL",
		Reason: "bad signature",
	}
	for name, c := range map[string]struct {
		r    edge.Result
		want edge.Outcome
	}{
		"nothing said":         {edge.Result{}, edge.Progress},
		"success, no models":   {edge.Result{Status: "success"}, edge.Success},
		"models alone":         {edge.Result{Models: []edge.ModelResult{good, good}}, edge.Success},
		"one model failed":     {edge.Result{Models: []edge.ModelResult{good, bad}}, edge.Failure},
		"a contradiction":      {edge.Result{Status: "SUCCESS", Models: []edge.ModelResult{bad}}, edge.Failure},
		"an error bucket":      {edge.Result{Status: "DISKFULL", Models: []edge.ModelResult{good}}, edge.Failure},
		"a model says nothing": {edge.Result{Models: []edge.ModelResult{{Handle: "m"}}}, edge.Failure},
	} {
		if got := edge.OutcomeOf(c.r); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if got := edge.Message(edge.Result{Message: "1 of 1 failed", Models: []edge.ModelResult{bad}},
		edge.RollbackOnFailure); got != "1 of 1 failed; m: bad signature; rolled back" {
		t.Error(got)
	}
}

func TestARowKeepsItsOutcome(t *testing.T) {
	r := edge.Row{Attempt: 1, Status: edge.DeviceReady}
	r, _ = edge.NextDevice(r, edge.Event{Kind: edge.Delivered, At: t0, Attempt: 1})
	if r.Status != edge.DeviceInProgress || !r.Started.Equal(t0) {
		t.Fatalf("%+v", r)
	}
	if _, changed := edge.NextDevice(r, edge.Event{Kind: edge.Reported, Attempt: 0, Outcome: edge.Failure}); changed {
		t.Error("a result of another order was taken")
	}
	r, _ = edge.NextDevice(r, edge.Event{Kind: edge.Reported, At: t0, Attempt: 1, Outcome: edge.Success})
	if r.Status != edge.DeviceDeployed {
		t.Fatalf("%+v", r)
	}
	for _, e := range []edge.Event{
		{Kind: edge.Reported, Attempt: 1, Outcome: edge.Failure},
		{Kind: edge.StopAsked},
		{Kind: edge.Deregistered},
		{Kind: edge.TimedOut, Fresh: true},
		{Kind: edge.Restarted, Attempt: 2},
	} {
		if _, changed := edge.NextDevice(r, e); changed {
			t.Errorf("event %d changed a deployed row", e.Kind)
		}
	}
}

func TestAStageEndsWithItsLastDevice(t *testing.T) {
	s := edge.Stage{
		Name: "s", Status: edge.StageReady,
		Selection: edge.Selection{Type: edge.ByPercentage, Percentage: 100},
	}
	s, _, err := s.Start("d-1", t0)
	if err != nil || s.Status != edge.StageStarting || s.Sweep.Kind != edge.Write {
		t.Fatal(s, err)
	}
	s.Cut = s.Selection.Freeze(9, 4)
	if n, a := edge.NextStage(edge.Policy{}, s, edge.Facts{Now: t0}); n.Status != edge.StageStarting ||
		!a.Wake.Equal(t0) {
		t.Fatal("it did not wait for its rows:", n)
	}
	s = s.Swept()
	s.Counts = edge.Counts{Ready: 1, Deployed: 2, Failed: 1}
	s, _ = edge.NextStage(edge.Policy{}, s, edge.Facts{Now: t0})
	if s.Status != edge.StageInProgress {
		t.Fatal(s)
	}
	s.Counts.Move(edge.DeviceReady, edge.DeviceDeployed)
	s, _ = edge.NextStage(edge.Policy{}, s, edge.Facts{Now: t0})
	if s.Status != edge.StageFailed || s.Message != "1 of 4 devices failed" {
		t.Error(s.Status, s.Message)
	}
}

func TestAPolicyStopsOrUndoesAStageThatFailsTooOften(t *testing.T) {
	s := edge.Stage{
		Status: edge.StageInProgress, Deployment: "d-1",
		Counts: edge.Counts{Ready: 90, Deployed: 8, Failed: 2},
	}
	p := edge.Policy{FailureThreshold: 10, MinSample: 10, OnFailure: edge.StopStage}
	if n, _ := edge.NextStage(p, s, edge.Facts{Now: t0}); n.Status != edge.StageStopping || n.Verdict != edge.Refused ||
		n.Sweep.Kind != edge.Halt {
		t.Error(n)
	}
	p.MinSample = 11
	if n, _ := edge.NextStage(p, s, edge.Facts{Now: t0}); n.Status != edge.StageInProgress {
		t.Error("judged by too few:", n)
	}
	p.MinSample, p.OnFailure = 0, edge.RollBackPlan
	n, a := edge.NextStage(p, s, edge.Facts{Now: t0})
	if a.Undo == "" {
		t.Fatal(n, a)
	}
	n, ok := n.RollBack("d-2", a.Undo, t0)
	if !ok || n.Verdict != edge.RolledBack || n.Sweep.Kind != edge.Undo || n.Attempt != 1 {
		t.Error(n)
	}
	if _, again := n.Swept().RollBack("d-3", "", t0); again {
		t.Error("a stage was rolled back twice")
	}
	n = n.Swept()
	n.Counts = edge.Counts{Failed: 10, Stopped: 90}
	if n, a = edge.NextStage(p, n, edge.Facts{Now: t0}); n.Status != edge.StageFailed || a.Undo != "" {
		t.Error(n, a)
	}
	if _, _, err := n.Start("d-4", t0); err == nil {
		t.Error("a stage that was rolled back was started again")
	}
}

func TestAStagePassesOverUnreachableDevicesAndChainsAfterItsBake(t *testing.T) {
	p := edge.Policy{AutoNext: true, Bake: time.Minute, SuccessThreshold: 90, MinSample: 5}
	s := edge.Stage{Status: edge.StageInProgress, Counts: edge.Counts{Ready: 3, Deployed: 10, Failed: 1}}
	if n, a := edge.NextStage(p, s, edge.Facts{Now: t0, Reachable: true}); n.Verdict != edge.Undecided ||
		a.Wake.IsZero() {
		t.Error("a reachable device was not waited for:", n)
	}
	n, a := edge.NextStage(p, s, edge.Facts{Now: t0})
	if n.Verdict != edge.Passed || n.Late != 3 || a.StartNext {
		t.Error(n, a)
	}
	now := t0
	if n, a, now = baking(p, n, now, edge.Facts{}); !a.StartNext || !now.Equal(t0.Add(time.Minute)) ||
		n.Status != edge.StageInProgress {
		t.Error(n, a)
	}
	if _, a = edge.NextStage(p, n, edge.Facts{Now: t0.Add(time.Hour)}); a.StartNext {
		t.Error("the next stage was started twice")
	}
}

func TestAStageGetsTheDevicesThatItSelectedAsFarAsOthersLeaveThem(t *testing.T) {
	const mine, other = 1, 2
	owned := func(stage int64, status edge.DeviceStatus) map[int64]edge.OwnedRow {
		return map[int64]edge.OwnedRow{7: {Stage: stage, Row: edge.Row{DeviceID: 7, Status: status}}}
	}
	failed := owned(other, edge.DeviceFailed)[7]
	byName := edge.Stage{ID: mine, Selection: edge.Selection{Type: edge.ByName}}
	percentage := edge.Stage{ID: mine, Selection: edge.Selection{Type: edge.ByPercentage}, Cut: &edge.Cut{Target: 3}}
	percentage.Counts = edge.Counts{Ready: 1}
	written := percentage
	written.Written = true
	for name, c := range map[string]struct {
		stage    edge.Stage
		devices  []int64
		owners   map[int64]edge.OwnedRow
		takeOver bool
		want     edge.Division
	}{
		"what nobody has": {byName, []int64{7, 8}, nil, true, edge.Division{Add: []int64{7, 8}}},
		"what it has": {
			byName,
			[]int64{7},
			owned(mine, edge.DeviceStopped), true,
			edge.Division{Own: []edge.Row{{DeviceID: 7, Status: edge.DeviceStopped}}},
		},
		"what failed elsewhere is taken over": {
			byName,
			[]int64{7},
			owned(other, edge.DeviceFailed), true,
			edge.Division{Release: []edge.OwnedRow{failed}, Add: []int64{7}},
		},
		"what is deployed elsewhere is listed": {
			byName,
			[]int64{7, 8},
			owned(other, edge.DeviceDeployed), true,
			edge.Division{Add: []int64{8}, List: []int64{7}},
		},
		"what others have is left out": {
			percentage, []int64{7}, owned(other, edge.DeviceFailed), false, edge.Division{},
		},
		"a percentage stops at its target": {
			percentage, []int64{5, 6, 8}, nil, false, edge.Division{Add: []int64{5, 6}},
		},
		"a percentage that starts again does not": {
			written, []int64{5, 6, 8}, nil, true, edge.Division{Add: []int64{5, 6, 8}},
		},
	} {
		if got := c.stage.Divide(c.devices, c.owners, c.takeOver); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
