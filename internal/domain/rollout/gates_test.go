package rollout_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// gates reads the words of gates by kind.
func gates(t testing.TB, words map[gate.Kind]string) []gate.Gate {
	t.Helper()
	tags := map[string]string{}
	for k, w := range words {
		tags[gate.TagPrefix+string(k)] = w
	}
	all, err := gate.Read(tags, nil)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// gated is a plan that is judged by the gates of some words.
func gated(t testing.TB, c *rollout.Policy, vs []rollout.Variant, words map[gate.Kind]string) rollout.Plan {
	t.Helper()
	p, err := plan(t, rollout.Update, c, vs).With(gates(t, words))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const copies = "tolerance=0.01 mirror=0.1 sideeffects=none "

// saw is what gates have seen by now.
func saw(facts ...gate.Fact) func(*rollout.Facts) {
	return func(f *rollout.Facts) {
		for _, g := range facts {
			if g.Variant == "" {
				g.Variant = "A"
			}
			if g.Since.IsZero() {
				g.Since = t0
			}
			f.Gates = append(f.Gates, rollout.GateFact{Fact: g, Against: "It is worse.", Lacking: "It was not shown."})
		}
	}
}

func against(k gate.Kind, log10 float64) gate.Fact { return gate.Fact{Kind: k, Log10: log10} }

func proof(k gate.Kind, log10 float64, step int) gate.Fact {
	return gate.Fact{Kind: k, Proof: log10, Step: step}
}

func TestAGateThatFiresUndoesADeployment(t *testing.T) {
	earlier := against(gate.Errors, 200)
	earlier.Since = t0.Add(-time.Microsecond)
	const undone, goesOn = "RolledBack old 4/4 new 0/0 0%", "Baking old 3/4 new 1/4 25%"
	for name, c := range map[string]struct {
		words string
		seen  gate.Fact
		want  string
	}{
		"a verdict":                         {"action=rollback", against(gate.Errors, 3.01), undone},
		"a gate that holds is a verdict":    {"action=hold", against(gate.Errors, 3.01), undone},
		"and one that may end a bake early": {"action=early wait=9m", against(gate.Errors, 3.01), undone},
		"its own threshold":                 {"action=rollback alpha=0.05", against(gate.Errors, 1.4), undone},
		"it does not fire at its threshold": {"action=rollback", against(gate.Errors, 3), goesOn},
		"a report is none":                  {"", against(gate.Errors, 200), goesOn},
		"another gate is none":              {"action=rollback", against(gate.Drift, 200), goesOn},
		"an earlier deployment's evidence":  {"action=rollback", earlier, goesOn},
		"another variant's": {
			"action=rollback", gate.Fact{Kind: gate.Errors, Variant: "B", Log10: 9}, goesOn,
		},
	} {
		p := gated(t, canary(count(1), 300, 120), fleet(4, 4), map[gate.Kind]string{gate.Errors: c.words})
		r := start(t, p).to(rollout.Baking, 0)
		r.now = r.now.Add(secs(100))
		if r.rest(saw(c.seen)); line(r.state) != c.want {
			t.Errorf("%s: %s, want %s", name, line(r.state), c.want)
		}
	}
}

func TestTheReasonOfAGateIsItsSentence(t *testing.T) {
	words := map[gate.Kind]string{gate.Errors: "action=rollback", gate.Latency: "action=rollback"}
	p := gated(t, canary(count(1), 300, 120), fleet(4, 4), words)
	r := start(t, p).to(rollout.Baking, 0).rest(saw(against(gate.Errors, 4), against(gate.Latency, 5)))
	const want = `Endpoint deployment was rolled back because gate "errors" fired: It is worse. Besides, gate "latency" ` +
		`fired: It is worse.`
	if r.state.Reason != want {
		t.Error(r.state.Reason)
	}
	two := []rollout.Variant{{Name: "A", Old: 2, New: 2}, {Name: "B", Old: 2, New: 2}}
	r = start(t, gated(t, canary(count(1), 300, 120), two, words)).to(rollout.Baking, 0)
	r.rest(saw(gate.Fact{Kind: gate.Errors, Variant: "B", Log10: 4}))
	if !strings.Contains(r.state.Reason, `gate "errors" of production variant "B" fired`) {
		t.Error(r.state.Reason)
	}
}

// held is the facts in which a gate is proven in every step but one.
func held(k gate.Kind, but int) func(*ride) func(*rollout.Facts) {
	return func(r *ride) func(*rollout.Facts) {
		return func(f *rollout.Facts) {
			if r.state.Step != but {
				saw(proof(k, 4, r.state.Step))(f)
			}
		}
	}
}

func TestAHoldWaitsForItsProofInEveryStepThatIsSplit(t *testing.T) {
	c := linear(percent(25), 60, 30)
	c.MaximumExecutionTimeout = secs(1000)
	p := gated(t, c, fleet(4, 4), map[gate.Kind]string{gate.Errors: "action=hold"})
	for step := range 3 {
		r := start(t, p)
		bend := held(gate.Errors, step)(r)
		for r.now.Sub(t0) < secs(900) && !r.state.Phase.Terminal() {
			if !r.turn(bend) {
				r.now = r.wake
			}
		}
		if r.state.Phase != rollout.Baking || r.state.Step != step {
			t.Fatalf("unproven in step %d, it is %s in step %d", step, line(r.state), r.state.Step)
		}
		if again := r.rest(bend).wake.Sub(r.now); again != time.Second {
			t.Errorf("it asks again after %s", again)
		}
		// The proof of the step before, an older deployment's, one at its threshold.
		old := proof(gate.Errors, 9, step)
		old.Since = t0.Add(-time.Second)
		for _, no := range []gate.Fact{proof(gate.Errors, 9, step-1), old, proof(gate.Errors, 3, step)} {
			if r.rest(saw(no)); r.state.Step != step {
				t.Errorf("%+v counts as proof of step %d", no, step)
			}
		}
		r.rest(saw(proof(gate.Errors, 3.1, step)))
		if r.state.Step != step+1 || r.state.Reason != "" {
			t.Errorf("proven, it is %s in step %d", line(r.state), r.state.Step)
		}
	}
	// At 100 % nothing can be compared, so nothing is asked for.
	if r := start(t, p); true {
		if r.end(held(gate.Errors, 3)(r)); r.state.Phase != rollout.Succeeded || r.now.Sub(t0) != secs(3*60+30) {
			t.Errorf("%s after %s", line(r.state), r.now.Sub(t0))
		}
	}
}

func TestAHoldEndsAtTheTimeoutAndSaysThatItWasNotProven(t *testing.T) {
	c := canary(count(1), 60, 0)
	c.MaximumExecutionTimeout = secs(600)
	p := gated(t, c, fleet(4, 4), map[gate.Kind]string{gate.Errors: "action=hold"})
	r := start(t, p).end(saw(against(gate.Errors, 0)))
	const want = `Endpoint deployment was rolled back because it was not proven within ` +
		`MaximumExecutionTimeoutInSeconds of 600 seconds: gate "errors": It was not shown.`
	if r.state.Reason != want || r.state.Phase != rollout.RolledBack || r.now.Sub(t0) != secs(600) {
		t.Errorf("%s after %s: %s", line(r.state), r.now.Sub(t0), r.state.Reason)
	}
	if r := start(t, p).end(nil); !strings.Contains(r.state.Reason, `gate "errors": it has seen nothing.`) {
		t.Errorf("when nobody counts: %s", r.state.Reason)
	}
	c.MinimumRequests = 10 // that is what it waits for
	p = gated(t, c, fleet(4, 4), map[gate.Kind]string{gate.Errors: "action=hold"})
	if r := start(t, p).end(nil); r.state.Reason != timedOut {
		t.Error(r.state.Reason)
	}
}

func TestPromoteSkipsAHold(t *testing.T) {
	p := gated(t, canary(count(1), 60, 0), fleet(4, 4), map[gate.Kind]string{gate.Errors: "action=hold"})
	r := start(t, p).to(rollout.Baking, 0)
	r.now = r.now.Add(secs(200))
	if r.rest(nil); r.state.Phase != rollout.Baking {
		t.Fatal(line(r.state))
	}
	promote := ordered(said(rollout.Promote, 200))
	if r.end(promote); r.state.Phase != rollout.Succeeded {
		t.Error(line(r.state))
	}
	r = start(t, p).to(rollout.Baking, 0)
	r.now = r.now.Add(secs(200))
	if r.rest(both(promote, saw(against(gate.Errors, 9)))); r.state.Phase != rollout.RolledBack {
		t.Errorf("promoted, a gate that fires is overlooked: %s", line(r.state))
	}
}

func TestAProofEndsABakeEarlyButNotBeforeWhatWasStated(t *testing.T) {
	c := canary(count(1), 600, 0)
	c.MinimumRequests = 50
	p := gated(t, c, fleet(4, 4), map[gate.Kind]string{
		gate.Errors: "action=early wait=2m", gate.Latency: "action=hold",
	})
	came := func(n int64) func(*rollout.Facts) { return func(f *rollout.Facts) { f.GreenRequests = n } }
	proven := saw(proof(gate.Errors, 4, 0), proof(gate.Latency, 4, 0))
	ride := func(after int) *ride {
		r := start(t, p).to(rollout.Baking, 0)
		r.now = r.now.Add(secs(after))
		return r
	}
	for name, c := range map[string]struct {
		after int
		bend  func(*rollout.Facts)
		ends  bool
	}{
		"before its time":           {119, both(proven, came(90)), false},
		"at its time":               {120, both(proven, came(90)), true},
		"without the requests":      {300, both(proven, came(49)), false},
		"without a proof":           {300, came(90), false},
		"without the other's proof": {300, both(saw(proof(gate.Errors, 4, 0)), came(90)), false},
		"by the proof of another one": {
			300, both(saw(proof(gate.Errors, 4, 1), proof(gate.Latency, 4, 0)), came(90)), false,
		},
		"not observed that long": {300, both(both(proven, came(90)), since(119, "away")), false},
		"after all, when held":   {600, both(saw(proof(gate.Errors, 4, 0)), came(90)), false},
		"after all, unproven but for the hold": {
			600, both(saw(proof(gate.Latency, 4, 0)), came(90)), true,
		},
	} {
		r := ride(c.after).rest(c.bend)
		if ended := r.state.Step == 1; ended != c.ends {
			t.Errorf("%s: %s of step %d", name, line(r.state), r.state.Step)
		}
	}
	if r := ride(0).rest(came(90)); r.wake.Sub(r.now) != secs(120) {
		t.Errorf("it asks again after %s, want when it may end", r.wake.Sub(r.now))
	}
	if r := ride(130).rest(came(90)); r.wake.Sub(r.now) != time.Second {
		t.Errorf("it asks again after %s, want each second", r.wake.Sub(r.now))
	}
}

func TestADeploymentMayBeginWithCopiesAlone(t *testing.T) {
	words := map[gate.Kind]string{gate.Disagreement: copies + "first=5m action=rollback"}
	for name, c := range map[string]struct {
		policy *rollout.Policy
		want   []string
	}{
		"canary": {canary(count(1), 60, 30), []string{
			"Launching old 4/4 new 0/4 0%", "Shifting old 4/4 new 0/4 0%", "Baking old 4/4 new 0/4 0%",
			"Shifting old 3/4 new 1/4 25%", "Baking old 3/4 new 1/4 25%",
			"Shifting old 0/4 new 4/4 100%", "Baking old 0/4 new 4/4 100%",
			"Committed old 0/0 new 4/4 100%", "Succeeded old 0/0 new 4/4 100%",
		}},
		"all at once": {allAtOnce(30), []string{
			"Launching old 4/4 new 0/4 0%", "Shifting old 4/4 new 0/4 0%", "Baking old 4/4 new 0/4 0%",
			"Shifting old 0/4 new 4/4 100%", "Baking old 0/4 new 4/4 100%",
			"Committed old 0/0 new 4/4 100%", "Succeeded old 0/0 new 4/4 100%",
		}},
		"rolling": {rolling(percent(50), rollout.Size{}, 30), []string{
			"Launching old 4/4 new 0/2 0%", "Shifting old 4/4 new 0/2 0%", "Baking old 4/4 new 0/2 0%",
			"Shifting old 2/4 new 2/2 50%", "Baking old 2/4 new 2/2 50%", "Retiring old 2/2 new 2/2 50%",
			"Launching old 2/2 new 2/4 50%", "Shifting old 0/2 new 4/4 100%", "Baking old 0/2 new 4/4 100%",
			"Committed old 0/0 new 4/4 100%", "Succeeded old 0/0 new 4/4 100%",
		}},
	} {
		p := gated(t, c.policy, fleet(4, 4), words)
		r := start(t, p)
		n := int64(0)
		r.end(func(f *rollout.Facts) {
			if r.state.Step > 0 {
				n++
			}
			f.GreenRequests = n
		})
		if d := cmp.Diff(c.want, r.trail); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if len(r.state.Unproven) > 0 {
			t.Errorf("%s: that no request came while none could is told of steps %v", name, r.state.Unproven)
		}
		if got := p.TotalWait(); got != r.now.Sub(t0) || got < 5*time.Minute {
			t.Errorf("%s: waits %s, planned %s", name, r.now.Sub(t0), got)
		}
	}
	c := watching(canary(count(1), 60, 30))
	c.MinimumRequests = 7 // no request can come, so none is waited for
	p := gated(t, c, fleet(4, 4), words)
	r := start(t, p).to(rollout.Baking, 0)
	r.now = r.now.Add(secs(300))
	if r.turn(nil); r.state.Step != 1 {
		t.Errorf("after five minutes of copies: %s", line(r.state))
	}
	r = start(t, p).to(rollout.Baking, 0)
	r.now = r.now.Add(secs(10))
	r.rest(saw(against(gate.Disagreement, 9)))
	if line(r.state) != "RolledBack old 4/4 new 0/0 0%" {
		t.Error(line(r.state))
	}
	for _, l := range r.trail {
		if strings.HasSuffix(l, "25%") {
			t.Errorf("it was found bad by copies and got traffic: %v", r.trail)
		}
	}
}

func TestAPairedGateCanHoldBeforeAnyTraffic(t *testing.T) {
	c := allAtOnce(60)
	c.MaximumExecutionTimeout = secs(900)
	p := gated(t, c, fleet(4, 4), map[gate.Kind]string{gate.Disagreement: copies + "first=1m action=hold"})
	r := start(t, p)
	if r.end(nil); !strings.Contains(r.state.Reason, "not proven") || r.state.Step != 0 {
		t.Errorf("%s of step %d: %s", line(r.state), r.state.Step, r.state.Reason)
	}
	r = start(t, p).to(rollout.Baking, 0)
	r.now = r.now.Add(secs(60))
	if r.rest(saw(proof(gate.Disagreement, 4, 0))); r.state.Step != 1 {
		t.Fatal(line(r.state))
	}
	r.now = r.wake
	if r.end(nil); r.state.Phase != rollout.Succeeded {
		t.Errorf("at 100 %%, with nothing to compare, it is held: %s", line(r.state))
	}
	r = start(t, p)
	bend := func(f *rollout.Facts) { // copies go the other way: there is something to compare
		if r.state.Step == 0 {
			saw(proof(gate.Disagreement, 4, 0))(f)
		} else {
			saw(proof(gate.Disagreement, 1, 1))(f)
		}
	}
	if r.end(bend); !strings.Contains(r.state.Reason, "not proven") || r.state.Step != 1 {
		t.Errorf("%s of step %d: %s", line(r.state), r.state.Step, r.state.Reason)
	}
}

func TestWhatCanNeverBeProvenIsRefused(t *testing.T) {
	canaryOf := func(wait int) *rollout.Policy { return canary(count(1), wait, 30) }
	for name, c := range map[string]struct {
		policy *rollout.Policy
		vs     []rollout.Variant
		kind   gate.Kind
		words  string
		want   string // in the refusal; "" if it is accepted
	}{
		"hold, all at once":     {allAtOnce(30), fleet(4, 4), gate.Errors, "action=hold", "ALL_AT_ONCE"},
		"early, all at once":    {allAtOnce(30), fleet(4, 4), gate.Errors, "action=early wait=1m", "ALL_AT_ONCE"},
		"rollback, all at once": {allAtOnce(30), fleet(4, 4), gate.Errors, "action=rollback", "ALL_AT_ONCE"},
		"rollback without a bake": {
			canaryOf(0), fleet(4, 4), gate.Errors, "action=rollback", "WaitIntervalInSeconds is 0",
		},
		"rollback with one instance": {
			canary(percent(25), 60, 0), fleet(1, 1), gate.Errors, "action=rollback", "first step moves all",
		},
		"rollback by pairs, all at once": {
			allAtOnce(30), fleet(4, 4), gate.Disagreement, copies + "action=rollback", "first=",
		},
		"hold without a bake": {
			canaryOf(0), fleet(4, 4), gate.Errors, "action=hold", "WaitIntervalInSeconds is 0",
		},
		"hold": {canaryOf(1), fleet(4, 4), gate.Errors, "action=hold", ""},
		"hold with one instance": {
			canary(percent(25), 60, 0), fleet(1, 1), gate.Errors, "action=hold", "first step moves all",
		},
		"hold of pairs without a start": {
			allAtOnce(30), fleet(4, 4), gate.Disagreement, copies + "action=hold", "first=",
		},
		"hold of pairs": {canaryOf(60), fleet(4, 4), gate.Disagreement, copies + "action=hold", ""},
		"hold of pairs, with a start": {
			allAtOnce(0), fleet(4, 4), gate.Disagreement, copies + "first=1m action=hold", "",
		},
		"longer than it may take": {
			allAtOnce(30), fleet(4, 4), gate.Disagreement, copies + "first=8h",
			"(28830 seconds), 28800 of which it begins with copies",
		},
	} {
		p, err := plan(t, rollout.Update, c.policy, c.vs).With(gates(t, map[gate.Kind]string{c.kind: c.words}))
		switch _, text := fault.Public(err); {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want == "":
			if g, ok := gate.Find(p.Policy.Gates, c.kind); !ok || c.words != "" && g.Action == gate.Report {
				t.Errorf("%s: %+v", name, p.Policy.Gates)
			}
		case !errors.Is(err, fault.Invalid) || !strings.Contains(text, c.want):
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// What the server asks of all deployments is not refused to one that cannot
// have it.
func TestTheServersHoldBecomesARollbackWhereNothingCanBeProven(t *testing.T) {
	server, err := gate.Read(nil, map[string]string{"errors": "action=hold", "latency": "action=early wait=1m"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan(t, rollout.Update, canary(count(1), 0, 0), fleet(4, 4)).With(server)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range p.Policy.Gates {
		if g.Action != gate.Rollback {
			t.Errorf("%s has action %s", g.Kind, g.Action)
		}
	}
	if p, err = plan(t, rollout.Update, canary(count(1), 9, 0), fleet(4, 4)).With(server); err != nil {
		t.Fatal(err)
	}
	if p.Policy.Gates[0].Action != gate.Hold || p.Policy.Gates[1].Action != gate.Early {
		t.Errorf("%+v", p.Policy.Gates)
	}
	plain := gates(t, nil)
	p, err = plan(t, rollout.Update, nil, fleet(4, 4)).With(plain)
	if err != nil || len(p.Policy.Gates) > 0 {
		t.Errorf("gates that nobody set and that see nothing are kept: %+v, %v", p.Policy.Gates, err)
	}
	p, err = plan(t, rollout.Create, nil, fleet(0, 4)).With(gates(t, map[gate.Kind]string{gate.Errors: "action=hold"}))
	if err != nil || len(p.Policy.Gates) > 0 {
		t.Errorf("a creation is judged by %+v, %v", p.Policy.Gates, err)
	}
}

func TestGatesAreStoredWithThePlan(t *testing.T) {
	p := gated(t, canary(count(1), 300, 120), fleet(4, 4), map[gate.Kind]string{
		gate.Disagreement: copies + "first=5m action=hold output=json:a.0@0.5", gate.Drift: "",
		gate.Latency: "action=early wait=1m",
	})
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back rollout.Plan
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, back); diff != "" {
		t.Errorf("lost in storage: %s", diff)
	}
	line, forecast := rollout.Timeline(p, t0), rollout.Timeline(back, t0)
	if diff := cmp.Diff(line, forecast); diff != "" || line[len(line)-1].At != p.TotalWait() {
		t.Errorf("planned until %s, waits %s: %s", line[len(line)-1].At, p.TotalWait(), diff)
	}
}

// Two gates that disagree: a deployment goes on only when each that holds it is
// proven, and one that fires undoes it whatever the other has shown.
func TestOfTwoGatesThatDisagreeTheOneThatIsNotContentCounts(t *testing.T) {
	c := canary(count(1), 60, 30)
	c.MaximumExecutionTimeout = secs(900)
	p := gated(t, c, fleet(4, 4), map[gate.Kind]string{gate.Errors: "action=hold", gate.Retries: "action=hold"})
	until := func(r *ride, at time.Duration, bend func(*rollout.Facts)) {
		for r.now.Sub(t0) < at && !r.state.Phase.Terminal() {
			if !r.turn(bend) {
				r.now = r.wake
			}
		}
	}
	r := start(t, p)
	until(r, secs(300), saw(proof(gate.Errors, 9, 0), proof(gate.Retries, 2.9, 0)))
	if r.state.Phase != rollout.Baking || r.state.Step != 0 {
		t.Errorf("with one of two proven it is %s in step %d", line(r.state), r.state.Step)
	}
	r.rest(saw(proof(gate.Errors, 9, 0), proof(gate.Retries, 3.1, 0)))
	if r.state.Step != 1 {
		t.Errorf("with both proven it is %s in step %d", line(r.state), r.state.Step)
	}
	r = start(t, p)
	until(r, secs(30), nil)
	r.end(saw(proof(gate.Errors, 9, 0), against(gate.Retries, 4)))
	if r.state.Phase != rollout.RolledBack || !strings.Contains(r.state.Reason, `gate "retries" fired`) {
		t.Errorf("%s: %s", line(r.state), r.state.Reason)
	}
}
