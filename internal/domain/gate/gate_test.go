package gate_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/gate"
)

func read(t *testing.T, tags, server map[string]string) []gate.Gate {
	t.Helper()
	gates, err := gate.Read(tags, server)
	if err != nil {
		t.Fatal(err)
	}
	return gates
}

func one(t *testing.T, k gate.Kind, tags, server map[string]string) gate.Gate {
	t.Helper()
	g, ok := gate.Find(read(t, tags, server), k)
	if !ok {
		t.Fatalf("there is no gate %s", k)
	}
	return g
}

func tag(k gate.Kind, words string) map[string]string {
	return map[string]string{gate.TagPrefix + string(k): words}
}

const mirrored = "tolerance=0.01 mirror=0.1 sideeffects=none"

func TestErrorsAndLatencyReportThoughNobodySaysSo(t *testing.T) {
	want := []gate.Gate{
		{
			Kind: gate.Errors, Action: gate.Report, Alpha: 0.01, Patience: time.Minute, Ratio: 1.5, Plus: 0.001,
			Proven: 0.005,
		},
		{
			Kind: gate.Latency, Action: gate.Report, Alpha: 0.01, Patience: time.Minute, Factor: 1.1,
			Warmup: time.Minute,
		},
	}
	for name, tags := range map[string]map[string]string{
		"no tags": nil, "tags of others": {"team": "x", "slip": "way", "gate:errors": "action=rollback"},
	} {
		if d := cmp.Diff(want, read(t, tags, nil)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestWhatNobodySaysDependsOnTheAction(t *testing.T) {
	for words, want := range map[string]float64{
		"":                           2,
		"action=report":              2,
		"action=rollback":            3,
		"action=hold":                3,
		"action=early wait=1m":       3,
		"action=rollback alpha=0.05": 1.301029996,
	} {
		g := one(t, gate.Errors, tag(gate.Errors, words), nil)
		if g.Threshold() != want {
			t.Errorf("%q: threshold %v", words, g.Threshold())
		}
	}
}

func TestAWordOfATagWinsOverTheServers(t *testing.T) {
	server := map[string]string{
		"errors": "action=early wait=2m ratio=2", "drift": "tolerance=0.1 output=csv:0 output=csv:1",
	}
	g := one(t, gate.Errors, tag(gate.Errors, "ratio=3 alpha=0.0001"), server)
	if g.Ratio != 3 || g.Action != gate.Early || g.Wait != 2*time.Minute || g.Threshold() != 4 {
		t.Errorf("%+v", g)
	}
	want := map[string]gate.Origin{
		"ratio": gate.FromTag, "alpha": gate.FromTag, "action": gate.FromServer, "wait": gate.FromServer,
	}
	if d := cmp.Diff(want, g.From); d != "" || g.Origin() != gate.FromTag {
		t.Errorf("%s by %s", d, g.Origin())
	}
	if g := one(t, gate.Errors, tag(gate.Errors, "action=hold"), server); g.Wait != 0 || g.Action != gate.Hold {
		t.Errorf("the wait of the server's action is left: %+v", g)
	}
	g = one(t, gate.Drift, nil, server)
	if g.Tolerance != 0.1 || len(g.Outputs) != 2 || g.Origin() != gate.FromServer {
		t.Errorf("%+v", g)
	}
	drift := one(t, gate.Drift, tag(gate.Drift, "output=json:label"), server)
	if len(drift.Outputs) != 1 || drift.Outputs[0].Selector != "json:label" {
		t.Errorf("outputs of the server are left: %+v", drift.Outputs)
	}
	if _, ok := gate.Find(read(t, nil, map[string]string{"disagreement": "tolerance=0.1"}), gate.Disagreement); ok {
		t.Error("the server had requests copied of which nobody said that a copy does no harm")
	}
	g = one(t, gate.Disagreement, tag(gate.Disagreement, "mirror=1 sideeffects=none"),
		map[string]string{"disagreement": "tolerance=0.1 action=rollback"})
	if g.Tolerance != 0.1 || g.Action != gate.Rollback || g.Mirror.Share != 1 {
		t.Errorf("%+v", g)
	}
}

func TestOutputsAndMirrorsAreRead(t *testing.T) {
	g := one(t, gate.Disagreement, tag(gate.Disagreement,
		mirrored+" first=5m labels=public output=json:predictions.0.label output=csv:3@0.5 output=npy "+
			"output=json:id@label output=raw:FP32@number@2 action=hold failures=0"), nil)
	want := []gate.Output{
		{Selector: "json:predictions.0.label"},
		{Selector: "csv:3", Within: 0.5},
		{Selector: "npy"},
		{Selector: "json:id@label"},
		{Selector: "raw:FP32@number", Within: 2},
	}
	if d := cmp.Diff(want, g.Outputs); d != "" {
		t.Error(d)
	}
	if *g.Mirror != (gate.Mirror{Share: 0.1, First: 5 * time.Minute}) || !g.PublicLabels || g.Failures != 0 {
		t.Errorf("%+v, %+v", g, g.Mirror)
	}
	failures := one(t, gate.MirrorFailure, tag(gate.Disagreement, mirrored+" action=hold alpha=0.0001"), nil)
	if failures.Action != gate.Rollback || failures.Tolerance != 0.05 || failures.Threshold() != 4 {
		t.Errorf("copies that fail: %+v", failures)
	}
	gates := []gate.Gate{{Kind: gate.Errors}, g}
	if gate.FirstOf(gates) != 5*time.Minute || gate.MirrorOf(gates) != g.Mirror || gate.FirstOf(nil) != 0 ||
		gate.MirrorOf(nil) != nil || !gate.AnyJudges(gates) || gate.AnyJudges(gates[:1]) {
		t.Error("what gates ask for together is wrong")
	}
}

// Each refusal names the tag, the word, and what would be right.
func TestWordsThatCannotBeAreRefused(t *testing.T) {
	for words, c := range map[string]struct {
		kind  gate.Kind
		wants []string
	}{
		"ratoi=2":                      {gate.Errors, []string{`"ratoi"`, `did you mean "ratio"?`, "alpha", "plus"}},
		"xyzzy=2":                      {gate.Errors, []string{`"xyzzy"`, "which is none of its words.", "ratio"}},
		"factor=2":                     {gate.Errors, []string{`"factor"`}},
		"ratio":                        {gate.Errors, []string{`"ratio"`, "a number from 1 to 100"}},
		"ratio=0.5":                    {gate.Errors, []string{`"ratio=0.5"`, "a number from 1 to 100"}},
		"ratio=NaN":                    {gate.Errors, []string{`"ratio=NaN"`}},
		"ratio=1e400":                  {gate.Errors, []string{`"ratio=1e400"`}},
		"plus=-0.1":                    {gate.Errors, []string{`"plus=-0.1"`, "a number from 0 to 0.5"}},
		"alpha=0":                      {gate.Errors, []string{`"alpha=0"`, "1e-09"}},
		"alpha=1":                      {gate.Errors, []string{`"alpha=1"`}},
		"action=roll":                  {gate.Errors, []string{`"action=roll"`, "report, rollback, hold or early"}},
		"action=hold action=hold":      {gate.Errors, []string{`says "action" twice`}},
		"action=early":                 {gate.Errors, []string{"needs wait="}},
		"action=rollback wait=1m":      {gate.Errors, []string{`"wait"`, "action=early"}},
		"wait=1m":                      {gate.Errors, []string{`"wait"`, "action=early"}},
		"proven=0":                     {gate.Errors, []string{`"proven=0"`, "from 0.0001 to 0.5"}},
		"action=early wait=1m":         {gate.InstanceLoss, []string{"cannot be proven"}},
		"patience=1m":                  {gate.Any, []string{`"patience"`, "action and alpha"}},
		"patience=5s":                  {gate.Latency, []string{`"patience=5s"`, "from 10s to 5m"}},
		"warmup=60":                    {gate.Latency, []string{`"warmup=60"`, "from 0s to 10m"}},
		"action=hold factor=1":         {gate.Latency, []string{`"factor=1"`}},
		"output=csv":                   {gate.Drift, []string{`"output=csv"`, "csv:COLUMN"}},
		"output=csv:x":                 {gate.Drift, []string{`"output=csv:x"`}},
		"output=csv:-1":                {gate.Drift, []string{`"output=csv:-1"`}},
		"output=xml:a":                 {gate.Drift, []string{`"output=xml:a"`}},
		"output=json:a output=json:a":  {gate.Drift, []string{`"output=json:a"`, "each once"}},
		"output=json:a..b":             {gate.Drift, []string{`"output=json:a..b"`}},
		"output=json:a@labels":         {gate.Drift, []string{`"output=json:a@labels"`}},
		"output=json:a@label@1":        {gate.Drift, []string{`"output=json:a@label@1"`}},
		"output=npy:":                  {gate.Drift, []string{`"output=npy:"`}},
		"output=csv:+1":                {gate.Drift, []string{`"output=csv:+1"`}},
		"output=json:a@0":              {gate.Drift, []string{`"output=json:a@0"`}},
		"output=bytes@1":               {gate.Drift, []string{`"output=bytes@1"`}},
		"labels=secret":                {gate.Drift, []string{`"labels=secret"`, "public"}},
		"output=bytes action=rollback": {gate.Drift, []string{`"output=bytes"`, "may only report"}},
		"mirror=0.1 sideeffects=none":  {gate.Disagreement, []string{"needs tolerance="}},
		"tolerance=0.01":               {gate.Disagreement, []string{"needs mirror="}},
		"tolerance=0.01 mirror=0.1":    {gate.Disagreement, []string{"needs sideeffects=none"}},
		"tolerance=0 sideeffects=none": {gate.Disagreement, []string{"needs mirror="}},
		mirrored + " mirror=0":         {gate.Disagreement, []string{`says "mirror" twice`}},
		"tolerance=0.01 mirror=0":      {gate.Disagreement, []string{`"mirror=0"`}},
		"tolerance=0.01 first=5m":      {gate.Disagreement, []string{"needs mirror="}},
		"sideeffects=few":              {gate.Disagreement, []string{`"sideeffects=few"`}},
		"action=hold":                  {gate.Accuracy, []string{"may only report or roll back"}},
		"mirror=1 sideeffects=none":    {gate.Accuracy, []string{`"mirror"`, `"sideeffects"`}},
		"ratio=0.5 plus=2 fatcor=3 plus": {
			gate.Errors, []string{`"ratio=0.5"`, `"plus=2"`, `"fatcor"`, `says "plus" twice`},
		},
	} {
		gates, err := gate.Read(tag(c.kind, words), nil)
		if !errors.Is(err, fault.Invalid) || gates != nil {
			t.Errorf("%s %q is accepted: %v, %v", c.kind, words, gates, err)
			continue
		}
		_, text := fault.Public(err)
		for _, want := range append(c.wants, `"slipway:gate:`+string(c.kind)+`"`) {
			if !strings.Contains(text, want) {
				t.Errorf("%s %q: %s\nwant %s in it", c.kind, words, text, want)
			}
		}
	}
}

func TestKeysThatSetNothingAreRefused(t *testing.T) {
	for key, want := range map[string]string{
		"slipway:gate:error":    `did you mean "errors"?`,
		"slipway:gate:":         "there are errors, server-errors",
		"slipway:gate:Errors":   `did you mean "errors"?`,
		"Slipway:Gate:errors":   `did you mean "slipway:gate:errors"?`,
		"slipway:gates:latency": `did you mean "slipway:gate:latency"?`,
		"slipway:owner":         `keys that begin with "slipway:" set gates`,
	} {
		_, err := gate.Read(map[string]string{key: ""}, nil)
		if text := fmt.Sprint(err); !errors.Is(err, fault.Invalid) || !strings.Contains(text, want) ||
			!strings.Contains(text, key) {
			t.Errorf("%s: %v, want %s", key, err, want)
		}
	}
	_, err := gate.Read(map[string]string{
		"slipway:gate:error": "x=y", "slipway:gate:errors": "ratoi=1", "slipway:gate:drift": "tolerance=2",
	}, nil)
	for _, want := range []string{`"error`, "ratoi", "tolerance=2"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("all faults at once: %v, want %s", err, want)
		}
	}
}

func TestTheServersWordsAreChecked(t *testing.T) {
	if wrong := gate.CheckServer(map[string]string{
		"errors": "action=rollback", "disagreement": "tolerance=0.01 output=csv:0", "drift": "",
	}); len(wrong) > 0 {
		t.Error(wrong)
	}
	wrong := gate.CheckServer(map[string]string{
		"error": "", "latency": "fatcor=2 warmup=1h", "drift": "action=early",
		"disagreement": "mirror=1 sideeffects=none",
	})
	for i, want := range []string{
		`disagreement: says "mirror", which only the tag`, `disagreement: says "sideeffects"`,
		`drift: says "action=early"`,
		`error: names no gate; did you mean "errors"?`, `latency: says "fatcor"`, `latency: says "warmup=1h"`,
	} {
		if i >= len(wrong) || !strings.HasPrefix(wrong[i], want) {
			t.Fatalf("fault %d: %q, want %s", i, wrong, want)
		}
	}
}

// What a gate was told can be told again, also after it was stored.
func TestWordsSayWhatTheyWereMadeOf(t *testing.T) {
	for seed := range uint64(2000) {
		d := rand.New(rand.NewPCG(seed, 1))
		k := gate.Kinds()[d.IntN(len(gate.Kinds()))]
		words := someWords(d, k)
		gates, err := gate.Read(tag(k, words), nil)
		if err != nil {
			continue // not every mixture is a gate
		}
		g, _ := gate.Find(gates, k)
		var again []string
		for _, w := range g.Words() {
			again = append(again, w.Word+"="+w.Value)
		}
		twice := one(t, k, tag(k, strings.Join(again, " ")), nil)
		twice.From, g.From = nil, nil
		if diff := cmp.Diff(g, twice); diff != "" {
			t.Fatalf("seed %d: %q became %q: %s", seed, words, again, diff)
		}
		doc, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		var stored gate.Gate
		if err := json.Unmarshal(doc, &stored); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(g, stored); diff != "" {
			t.Fatalf("seed %d: %s: %s", seed, doc, diff)
		}
	}
}

func someWords(d *rand.Rand, k gate.Kind) string {
	all := []string{
		"action=rollback", "action=hold", "action=early wait=3m", "alpha=0.0003", "patience=2m30s", "ratio=2.25",
		"plus=0.0125", "factor=1.3", "warmup=0s", "tolerance=0.02", "output=json:a.b.0", "output=csv:2@0.25",
		"labels=public", "failures=0.1", "mirror=0.35 sideeffects=none", "first=90s",
	}
	d.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	var some []string
	for _, w := range all[:d.IntN(len(all))] {
		name, _, _ := strings.Cut(w, "=")
		rest := slices.Clone(some)
		_, err := gate.Read(tag(k, name+"=?"), nil)
		if err != nil && strings.Contains(err.Error(), "none of its words") {
			continue
		}
		some = append(rest, w)
	}
	if k == gate.Disagreement {
		some = append(some, "tolerance=0.07", "mirror=0.5", "sideeffects=none")
		seen := map[string]string{}
		for _, w := range strings.Fields(strings.Join(some, " ")) {
			name, _, _ := strings.Cut(w, "=")
			seen[name] = w
		}
		some = slices.Sorted(maps.Values(seen))
	}
	return strings.Join(some, " ")
}

func FuzzWordsNeverPanic(f *testing.F) {
	f.Add("errors", "action=hold plus=0.01")
	f.Add("disagreement", mirrored+" output=json:a@1")
	f.Fuzz(func(t *testing.T, kind, words string) {
		gates, err := gate.Read(map[string]string{gate.TagPrefix + kind: words}, map[string]string{kind: words})
		if err == nil && len(gates) < 2 {
			t.Errorf("%q: %d gates", words, len(gates))
		}
	})
}
