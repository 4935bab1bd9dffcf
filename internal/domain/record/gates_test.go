package record_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// gated is a canary of twenty instances, one of them for that long, judged by gates.
func gated(t *testing.T, fleet int, bake time.Duration, words map[gate.Kind]string) *hosting.Endpoint {
	t.Helper()
	tags := map[string]string{}
	for k, w := range words {
		tags[gate.TagPrefix+string(k)] = w
	}
	gates, err := gate.Read(tags, nil)
	if err != nil {
		t.Fatal(err)
	}
	return judged(t, fleet, bake, gates)
}

func judged(t *testing.T, fleet int, bake time.Duration, gates []gate.Gate) *hosting.Endpoint {
	t.Helper()
	p, err := rollout.NewPlan(rollout.Update, &rollout.Policy{
		Strategy: rollout.Canary, CanarySize: rollout.Size{Type: rollout.CapacityPercent, Value: 10},
		WaitInterval: bake, TerminationWait: time.Minute, MaximumExecutionTimeout: time.Hour,
	}, []rollout.Variant{{Name: "v", Old: fleet, New: fleet}})
	if err == nil {
		p, err = p.With(gates)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &hosting.Endpoint{Deployment: &hosting.Deployment{
		ID: "d-1", Plan: p, State: rollout.Start(p, t0), From: "v1", Green: &hosting.Fleet{ConfigName: "v2"},
	}}
}

// What the server asks of all deployments is not refused to one that has nothing to
// compare, but told.
func TestAPlanSaysThatTheServersGateComparesNothing(t *testing.T) {
	gates, err := gate.Read(nil, map[string]string{"errors": "action=rollback"})
	if err != nil {
		t.Fatal(err)
	}
	e := judged(t, 1, time.Minute, gates)
	const want = `Gate "errors" compares nothing of production variant "v": no step has both`
	found := record.Blind(e, map[string]float64{"v": 1000}, map[string]float64{"v": 0.001})
	if len(found) != 1 || found[0].Code != "GateBlind" || !strings.Contains(found[0].Message, want) {
		t.Errorf("found %+v", found)
	}
}

func TestAPlanSaysWhatItsGatesCannotSee(t *testing.T) {
	const pairs = "tolerance=0.01 mirror=0.1 sideeffects=none action=rollback"
	for name, c := range map[string]struct {
		fleet   int
		bake    time.Duration
		words   map[gate.Kind]string
		rate    float64
		failing float64
		want    []string // the beginnings of all findings, each in one of them
	}{
		"traffic enough": {40, 10 * time.Minute, map[gate.Kind]string{gate.Errors: "action=rollback"}, 100, 0.001, nil},
		"too little": {
			40, 10 * time.Minute,
			map[gate.Kind]string{gate.Errors: "action=rollback"},
			15, 0.001,
			[]string{`GateBlind: Gate "errors": a rate of 1 % would be noticed after about 2,`},
		},
		"an alarm on errors needs as much": {
			40, 10 * time.Minute, nil, 1, 0.001,
			[]string{`GateBlind: Gate "errors": a rate of 1 % would be noticed after`},
		},
		"a hold that lasts": {
			40, 10 * time.Minute,
			map[gate.Kind]string{gate.Errors: "action=hold"},
			15, 0,
			[]string{`HoldLasts: Gate "errors" holds a step until it is proven: about 1,`, "GateBlind"},
		},
		"a hold that never ends": {
			40, 10 * time.Minute,
			map[gate.Kind]string{gate.Errors: "action=hold"},
			0.2, 0.001,
			[]string{`HoldNeverEnds: Gate "errors" holds the deployment until it is proven: about `, "GateBlind"},
		},
		"one new instance": {
			10, time.Hour / 2,
			map[gate.Kind]string{gate.Errors: "action=rollback patience=2m"},
			1000, 0.001,
			[]string{`OneInstance: Gate "errors": step 1 has one new instance of production variant "v": the earliest ` +
				`verdict is after 2m0s`},
		},
		"instances that differ": {
			10, time.Hour / 2,
			map[gate.Kind]string{gate.Latency: "action=rollback factor=1.05"},
			1000, 0.001,
			[]string{`InstancesDiffer: Gate "latency": with 1 new and 10 old`, "OneInstance"},
		},
		"a warm-up that mutes": {
			40, 2 * time.Minute,
			map[gate.Kind]string{gate.Latency: "action=rollback"},
			1000, 0.001,
			[]string{`ShortWarmup: Gate "latency" compares from 24s on after each step, a fifth of the shortest bake`},
		},
		"too few to see that a class is missing": {
			40, 10 * time.Minute,
			map[gate.Kind]string{gate.Drift: "action=rollback", gate.Errors: "ratio=1"},
			2, 0,
			[]string{
				`GateBlind: Gate "drift": that one of ten equally frequent labels is never answered would be noticed after ` +
					`about `, "GateBlind",
			},
		},
		"too short to see that instances crash": {
			10, time.Minute,
			map[gate.Kind]string{gate.InstanceLoss: "action=rollback"},
			1000, 0,
			[]string{
				`GateBlind: Gate "instance-loss": that each new instance is lost every 20 s would be noticed after `,
				"OneInstance",
			},
		},
		"enough for that": {
			40, 10 * time.Minute, map[gate.Kind]string{gate.Drift: "action=rollback"}, 100, 0, nil,
		},
		"too few to see that they are slow": {
			40, 10 * time.Minute,
			map[gate.Kind]string{gate.Latency: "action=rollback", gate.Errors: "ratio=1"},
			5, 0,
			[]string{
				`GateBlind: Gate "latency": that a fifth of the new fleet's requests take as long as a tenth of the old ` +
					`one's would be noticed after about `, "GateBlind",
			},
		},
		"pairs enough": {40, 10 * time.Minute, map[gate.Kind]string{gate.Disagreement: pairs}, 100, 0.001, nil},
		"few pairs": {
			40, 10 * time.Minute,
			map[gate.Kind]string{gate.Disagreement: pairs},
			0.2, 0.001,
			[]string{`GateBlind: Gate "disagreement": that 5 % of answers differ would be noticed after about `, "GateBlind"},
		},
		"a hold of pairs that never ends": {
			40, 10 * time.Minute,
			map[gate.Kind]string{gate.Disagreement: "tolerance=0.01 mirror=0.1 sideeffects=none action=hold"},
			0.1, 0.001,
			[]string{
				`HoldNeverEnds: Gate "disagreement" holds the deployment until it is proven: about 900 pairs of `,
				`GateBlind: Gate "disagreement"`, "GateBlind",
			},
		},
		"no traffic is told of elsewhere": {
			40, 10 * time.Minute, map[gate.Kind]string{gate.Errors: "action=rollback"}, 0, 0, nil,
		},
	} {
		e := gated(t, c.fleet, c.bake, c.words)
		found := record.Blind(e, map[string]float64{"v": c.rate}, map[string]float64{"v": c.failing})
		var got []string
		for _, f := range found {
			got = append(got, f.Code+": "+f.Message)
		}
		all := strings.Join(got, "\n")
		for _, w := range c.want {
			if !strings.Contains(all, w) {
				t.Errorf("%s: want %s in\n%s", name, w, all)
			}
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %d findings:\n%s", name, len(got), all)
		}
	}
}

func TestChancesAddUp(t *testing.T) {
	e := gated(t, 40, time.Minute, map[gate.Kind]string{gate.Errors: "action=rollback", gate.Latency: "action=hold"})
	c := record.ChancesOf(e.Deployment.Plan, []float64{0.01}, 1000)
	const want = "At most one in 83 of updates are rolled back though their new instances are no worse than allowed: of " +
		"the 1000 of the last 30 days that would be at most 12."
	if c.String() != want {
		t.Error(c.String())
	}
	e = gated(t, 40, time.Minute, nil)
	if got := record.ChancesOf(e.Deployment.Plan, nil, 5).String(); got != "Nothing here rolls back by evidence." {
		t.Error(got)
	}
}

// A bake of copies alone can see no request, and is not said to prove nothing.
func TestABakeOfCopiesAloneIsCalledThat(t *testing.T) {
	e := gated(t, 10, time.Minute, map[gate.Kind]string{
		gate.Disagreement: "tolerance=0.01 mirror=0.1 sideeffects=none first=3m",
	})
	sent := int64(0)
	r := run(t, e.Deployment.Plan, func(s rollout.State, f *rollout.Facts) hosting.Exposure {
		if f == nil && s.Step > 0 {
			sent += 10
		}
		return hosting.Exposure{Requests: sent, Based: true}
	})
	var notes []string
	for _, s := range r.Steps(r.Ended) {
		if s.Note != "" {
			notes = append(notes, s.Note)
		}
	}
	if len(notes) != 1 || notes[0] != "The new fleet got copies of requests alone." {
		t.Errorf("%q", notes)
	}
	if got := r.Sentence(); got != `The update to "v2" succeeded after 5m0s.` {
		t.Error(got)
	}
	if f := record.Foresee(r.Plan, record.Allowance{}); f.Wait != 5*time.Minute || f.Steps[2].Wait != 3*time.Minute {
		t.Errorf("planned to wait %s, %+v", f.Wait, f.Steps)
	}
}
