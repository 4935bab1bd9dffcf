package record_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// canary is an update of four instances, one of them a canary for five minutes.
func canary(t *testing.T) rollout.Plan {
	t.Helper()
	p, err := rollout.NewPlan(rollout.Update, &rollout.Policy{
		Strategy: rollout.Canary, CanarySize: rollout.Size{Type: rollout.InstanceCount, Value: 1},
		WaitInterval: 5 * time.Minute, TerminationWait: 2 * time.Minute, Alarms: []string{"errors"},
	}, []rollout.Variant{{Name: "v", Old: 4, New: 4}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// run records what rollout.Next makes of a plan when everything wanted is
// there. Before a turn, look may change the facts; after a transition there are
// none, and it returns the requests sent by then.
func run(t *testing.T, p rollout.Plan, look func(s rollout.State, f *rollout.Facts) hosting.Exposure) record.Record {
	t.Helper()
	r := record.Record{Name: "e", Deployment: hosting.Deployment{
		ID: "d-1", Plan: p, State: rollout.Start(p, t0), Begun: t0, From: "v1", Green: &hosting.Fleet{ConfigName: "v2"},
	}}
	now, from := t0, rollout.Phase("")
	note := func() {
		r.Exposure = look(r.State, nil)
		r.Transitions = append(r.Transitions,
			record.Transition{
				At: now, From: from, To: r.State.Phase, Reason: r.State.Reason, State: r.State,
				Requests: r.Exposure.Requests,
			})
		from = r.State.Phase
	}
	note()
	for range 100 {
		f := rollout.Facts{Now: now, Observed: rollout.Observation{Until: now}}
		for _, c := range r.State.Variants {
			f.Old = append(f.Old, rollout.Fleet{Ready: c.OldWanted, Exists: c.OldWanted})
			f.New = append(f.New, rollout.Fleet{Ready: c.NewWanted, Exists: c.NewWanted})
		}
		f.GreenRequests = look(r.State, &f).Requests
		next, wake := rollout.Next(p, r.State, f)
		changed := wake.Equal(now)
		r.State = next
		if changed {
			note()
		}
		if r.State.Phase.Terminal() {
			r.Ended = now
			return r
		}
		now = wake
	}
	t.Fatal("it never ended")
	return r
}

func TestStepsTellWhatWasDoneForHowLongAndToHowManyRequests(t *testing.T) {
	sent := int64(0)
	r := run(t, canary(t), func(s rollout.State, f *rollout.Facts) hosting.Exposure {
		if f == nil && (s.Phase == rollout.Baking && s.Step == 0 || s.Phase == rollout.Shifting && s.Step == 1 ||
			s.Phase == rollout.Committed) {
			sent += 100
		}
		return hosting.Exposure{Requests: sent, Based: true}
	})
	var got []string
	for _, s := range r.Steps(r.Ended) {
		line := fmt.Sprintf("%s %s #%d for %s, %s", s.At.Sub(t0), s.Phase, s.Number, s.Lasted, s.Share())
		got = append(got, fmt.Sprintf("%s, %d requests%s", line, s.Requests, s.Note))
	}
	want := []string{
		"0s Launching #1 for 0s, 0%, 0 requests",
		"0s Shifting #1 for 0s, 25%, 100 requests",
		"0s Baking #1 for 5m0s, 25%, 100 requests",
		"5m0s Shifting #2 for 0s, 100%, 0 requests",
		"5m0s Baking #2 for 2m0s, 100%, 100 requests",
		"7m0s Committed #2 for 0s, 100%, 0 requests",
		"7m0s Succeeded #2 for 0s, 100%, 0 requests",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if s := r.Sentence(); s != `The update to "v2" succeeded after 7m0s.` || r.Verdict() != record.Succeeded ||
		r.Share() != 1 {
		t.Errorf("%s %s %g", r.Verdict(), s, r.Share())
	}
}

func TestABakeThatSawNoRequestIsCalledThat(t *testing.T) {
	r := run(t, canary(t),
		func(rollout.State, *rollout.Facts) hosting.Exposure { return hosting.Exposure{Based: true} })
	notes := 0
	for _, s := range r.Steps(r.Ended) {
		if s.Note != "" {
			notes++
		}
		if (s.Phase == rollout.Baking) != (s.Note != "") {
			t.Errorf("%s: %q", s.Phase, s.Note)
		}
	}
	if notes != 2 {
		t.Errorf("%d notes", notes)
	}
	const want = `The update to "v2" succeeded after 7m0s. No request reached the new fleet during the bake of ` +
		`step 1, 2 of 2: that proves nothing.`
	if r.Sentence() != want {
		t.Error(r.Sentence())
	}
	uncounted := run(t, canary(t), func(rollout.State, *rollout.Facts) hosting.Exposure { return hosting.Exposure{} })
	for _, s := range uncounted.Steps(uncounted.Ended) {
		if s.Note != "" {
			t.Errorf("nobody counted, but %s says %q", s.Phase, s.Note)
		}
	}
}

func TestAStepThatWasNotToBeBakedIsNotCalledUnproven(t *testing.T) {
	quiet := func(rollout.State, *rollout.Facts) hosting.Exposure { return hosting.Exposure{Based: true} }
	p := canary(t)
	p.Policy.TerminationWait = 0
	r := run(t, p, quiet)
	const want = `The update to "v2" succeeded after 5m0s. No request reached the new fleet during the bake of ` +
		`step 1 of 2: that proves nothing.`
	if r.Sentence() != want {
		t.Error(r.Sentence())
	}
	for _, s := range r.Steps(r.Ended) {
		if (s.Phase == rollout.Baking && s.Number == 1) != (s.Note != "") {
			t.Errorf("%s of step %d: %q", s.Phase, s.Number, s.Note)
		}
	}
	p.Policy.WaitInterval = 0
	if r = run(t, p, quiet); r.Sentence() != `The update to "v2" succeeded after 2ms.` {
		t.Error(r.Sentence())
	}
}

func TestARollbackNamesItsReasonOnceAndItsExposure(t *testing.T) {
	r := run(t, canary(t), func(s rollout.State, f *rollout.Facts) hosting.Exposure {
		if f != nil && s.Phase == rollout.Baking {
			f.FiringAlarms = []string{"errors"}
		}
		return hosting.Exposure{}
	})
	const why = "Endpoint deployment was rolled back because the following CloudWatch alarm(s) are in ALARM " +
		"state: [errors]."
	var reasons []rollout.Phase
	for _, s := range r.Steps(r.Ended) {
		if s.Reason != "" {
			reasons = append(reasons, s.Phase)
			if s.Reason != why {
				t.Error(s.Reason)
			}
		}
	}
	if d := cmp.Diff([]rollout.Phase{rollout.Returning}, reasons); d != "" {
		t.Error(d)
	}
	if want := `The update to "v2" was rolled back after 0s: "v1" serves. ` + why; r.Sentence() != want ||
		r.Verdict() != record.RolledBack {
		t.Errorf("%s: %s", r.Verdict(), r.Sentence())
	}
	if r.Share() != 0.25 {
		t.Errorf("exposed %g", r.Share())
	}
}

func TestTheSentenceOfEveryVerdict(t *testing.T) {
	for want, c := range map[string]struct {
		kind  rollout.Kind
		state rollout.State
	}{
		`The update to "v2" is under way (Baking).`: {
			rollout.Update, rollout.State{Phase: rollout.Baking},
		},
		`The update to "v2" is being rolled back (Withdrawing). Why.`: {
			rollout.Update, rollout.State{Phase: rollout.Withdrawing, Turned: t0, Reason: "Why."},
		},
		`The update to "v2" failed, and so did its rollback: a mix of both configurations serves. Why.`: {
			rollout.Update, rollout.State{Phase: rollout.RollbackFailed, Reason: "Why."},
		},
		`The creation failed after 1m30s. Why.`: {
			rollout.Create, rollout.State{Phase: rollout.Failed, Reason: "Why."},
		},
		`The change of capacity was rolled back after 1m30s: the endpoint serves as it did before. Why.`: {
			rollout.Scale, rollout.State{Phase: rollout.RolledBack, Reason: "Why."},
		},
		`The deletion succeeded after 1m30s.`: {
			rollout.Delete, rollout.State{Phase: rollout.Succeeded},
		},
	} {
		r := record.Record{Ended: t0.Add(90 * time.Second), Deployment: hosting.Deployment{
			Begun: t0, From: "v1", Plan: rollout.Plan{Kind: c.kind}, State: c.state,
			Green: &hosting.Fleet{ConfigName: "v2"},
		}}
		if got := r.Sentence(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// A server that was killed took its counts with it: a bake that seems to have
// seen nothing is not said to prove nothing.
func TestACountThatWasLostIsNotTakenForNoTraffic(t *testing.T) {
	r := run(t, canary(t), func(rollout.State, *rollout.Facts) hosting.Exposure {
		return hosting.Exposure{Based: true, AtLeast: true}
	})
	if got := r.Sentence(); strings.Contains(got, "proves nothing") || !strings.Contains(got, "a lower bound") {
		t.Errorf("Sentence = %s", got)
	}
	for _, s := range r.Steps(r.Ended) {
		if s.Note != "" {
			t.Errorf("step %d notes %q", s.Number, s.Note)
		}
	}
}
