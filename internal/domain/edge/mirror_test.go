package edge_test

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
)

func onePercent() *edge.Mirror {
	return &edge.Mirror{MaxDisagreement: 1, Time: 10 * time.Minute, MinPairs: 100}
}

func TestAComparisonComesToWhatItsFiguresSay(t *testing.T) {
	over := func(p edge.Pairs) edge.Comparison { return edge.Comparison{Pairs: p, Ran: 10 * time.Minute} }
	for name, tt := range map[string]struct {
		c    edge.Comparison
		want edge.Finding
	}{
		"before its time": {edge.Comparison{Pairs: edge.Pairs{Compared: 1e6}, Ran: 10*time.Minute - 1}, edge.Comparing},
		"strong evidence, at any time": {
			edge.Comparison{Pairs: edge.Pairs{Compared: 40, Differing: 9}, Evidence: 3.1}, edge.Disagrees,
		},
		"as much as is allowed": {over(edge.Pairs{Compared: 200, Differing: 2}), edge.Agrees},
		"one more":              {over(edge.Pairs{Compared: 200, Differing: 3}), edge.Disagrees},
		"failures count":        {over(edge.Pairs{Compared: 200, Differing: 2, Failed: 1}), edge.Disagrees},
		"one too few":           {over(edge.Pairs{Compared: 99}), edge.NotProven},
		"nothing":               {over(edge.Pairs{}), edge.NotProven},
		"only failures":         {over(edge.Pairs{Failed: 500}), edge.NotProven},
		"many late":             {over(edge.Pairs{Compared: 200, Late: 11}), edge.NotProven},
		"a few late":            {over(edge.Pairs{Compared: 200, Late: 10}), edge.Agrees},
	} {
		if got := onePercent().Judge(tt.c); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
	none := onePercent()
	none.MaxDisagreement = 0
	if got := none.Judge(over(edge.Pairs{Compared: 1000, Differing: 1})); got != edge.Disagrees {
		t.Errorf("one of a thousand where none is allowed: %s", got)
	}
}

func TestAComparisonIsToldInWords(t *testing.T) {
	for want, c := range map[string]edge.Comparison{
		"answers 4.7 % of requests differently than 1.0; 1 % is allowed; 612 compared; evidence 1:13,000": {
			Finding: edge.Disagrees, Old: "1.0", Evidence: 4.1, Pairs: edge.Pairs{Compared: 612, Differing: 29},
		},
		"not proven: 36 requests were compared with 1.0 in 10m0s, and 100 are needed; besides there were 12 for which " +
			"there was no room, 3 asked before": {
			Finding: edge.NotProven, Old: "1.0", Ran: 10 * time.Minute,
			Pairs: edge.Pairs{Compared: 36, Shed: 12, Repeated: 3},
		},
		"runs beside 1.0 for 2m0s of 10m0s: 1 of 80 requests differ; 1 % is allowed; memory 40 MiB and 41 MiB; a request " +
			"took 1ms and 2ms": {
			Finding: edge.Comparing, Old: "1.0", Ran: 2 * time.Minute, OldBytes: 40 << 20, NewBytes: 41 << 20,
			Pairs: edge.Pairs{
				Compared: 80, Differing: 1, OldTime: 80 * time.Millisecond, NewTime: 160 * time.Millisecond,
			},
		},
	} {
		if got := onePercent().Sentence(c); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

// With as much disagreement as is allowed, evidence ends hardly any comparison, and
// with five times as much nearly every one, however often one looks; a restart
// changes nothing.
func TestEvidenceEndsComparisonsEarlyOnlyAgainstBadModels(t *testing.T) {
	ended := func(rate float64, restarts bool) (n int) {
		rng := rand.New(rand.NewPCG(1, uint64(rate*1000)))
		for range 100 {
			trial := edge.NewTrial(onePercent(), nil)
			for range 100 {
				var p edge.Pairs
				for range 5 {
					p.Compared++
					if rng.Float64() < rate {
						p.Differing++
					}
				}
				if restarts {
					trial = edge.NewTrial(onePercent(), trial.State())
				}
				if trial.Add(p, 5*time.Second) == edge.Disagrees {
					n++
					break
				}
			}
		}
		return n
	}
	for _, restarts := range []bool{false, true} {
		if n := ended(0.01, restarts); n > 1 {
			t.Errorf("%d of 100 comparisons within the allowance were ended (restarts: %t)", n, restarts)
		}
		if n := ended(0.05, restarts); n < 96 {
			t.Errorf("only %d of 100 comparisons of bad models were ended (restarts: %t)", n, restarts)
		}
	}
}

func TestATrialIsTheSameAfterARestart(t *testing.T) {
	a := edge.NewTrial(onePercent(), nil)
	a.Add(edge.Pairs{Compared: 60, Differing: 2, Failed: 1, Shed: 3, OldTime: time.Second}, 25*time.Second)
	b := edge.NewTrial(onePercent(), a.State())
	for range 20 {
		p := edge.Pairs{Compared: 10, Differing: 1}
		a.Add(p, 5*time.Second)
		b.Add(p, 5*time.Second)
	}
	if x, y := a.Evidence-b.Evidence, a.Pairs == b.Pairs; x > 1e-3 || x < -1e-3 || !y {
		t.Errorf("%+v, and %+v after a restart", a.Comparison, b.Comparison)
	}
}

// A stage whose order asks for a comparison passes by devices that made one.
func TestAStagePassesByDevicesThatCompared(t *testing.T) {
	for name, tt := range map[string]struct {
		m       edge.Mirrored
		passes  bool
		message string
	}{
		"all agreed":             {edge.Mirrored{Agreed: 3}, true, ""},
		"one had nothing before": {edge.Mirrored{Agreed: 2, Fresh: 1}, true, ""},
		"none had anything": {
			edge.Mirrored{Fresh: 3},
			false,
			"not passed: no device had a model to compare the new one with, as the policy wants",
		},
		"one says nothing of it": {
			edge.Mirrored{Agreed: 2},
			false,
			"not passed: 1 of 3 devices took the new models without comparing them, as the policy wants",
		},
	} {
		s := edge.Stage{
			Status: edge.StageInProgress, Counts: edge.Counts{Deployed: 3}, Mirror: onePercent(), Mirrored: tt.m,
		}
		p := edge.Policy{AutoNext: true, Mirror: onePercent()}
		next, a := edge.NextStage(p, s, edge.Facts{Now: time.Unix(1e9, 0)})
		if (next.Verdict == edge.Passed) != tt.passes || a.StartNext != tt.passes || next.Message != tt.message {
			t.Errorf("%s: %s, %q, next %t", name, next.Verdict, next.Message, a.StartNext)
		}
	}
}

// What a device says is taken for agreement only if its figures bear it out.
func TestAResultCountsByItsFigures(t *testing.T) {
	good := edge.Comparison{Finding: edge.Agrees, Ran: 10 * time.Minute, Pairs: edge.Pairs{Compared: 200}}
	few, bad := good, good
	few.Compared, bad.Differing = 20, 50
	for name, tt := range map[string]struct {
		models []*edge.Comparison
		status edge.DeviceStatus
		want   edge.Mirrored
	}{
		"it agrees": {[]*edge.Comparison{&good}, edge.DeviceDeployed, edge.Mirrored{Agreed: 1, Compared: 200}},
		"too few":   {[]*edge.Comparison{&few}, edge.DeviceDeployed, edge.Mirrored{Compared: 20}},
		"it does not": {[]*edge.Comparison{&bad}, edge.DeviceDeployed, edge.Mirrored{
			Compared: 200, Differing: 50,
		}},
		"it says nothing":   {[]*edge.Comparison{nil}, edge.DeviceDeployed, edge.Mirrored{}},
		"one of two agrees": {[]*edge.Comparison{&good, nil}, edge.DeviceDeployed, edge.Mirrored{Compared: 200}},
		"no model at all":   {nil, edge.DeviceDeployed, edge.Mirrored{}},
		"nothing before": {
			[]*edge.Comparison{{Finding: edge.NothingBefore}}, edge.DeviceDeployed, edge.Mirrored{Fresh: 1},
		},
		"it failed after all": {[]*edge.Comparison{&good}, edge.DeviceFailed, edge.Mirrored{Compared: 200}},
		"they disagree": {
			[]*edge.Comparison{{Finding: edge.Disagrees, Pairs: edge.Pairs{Compared: 9, Differing: 9}}},
			edge.DeviceFailed,
			edge.Mirrored{Refused: 1, Compared: 9, Differing: 9},
		},
	} {
		var r edge.Result
		for _, c := range tt.models {
			r.Models = append(r.Models, edge.ModelResult{Comparison: c})
		}
		if got := onePercent().Of(r, tt.status); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestAPolicyWithAComparisonIsChecked(t *testing.T) {
	for name, change := range map[string]func(p *edge.Policy){
		"more than all":                func(p *edge.Policy) { p.Mirror.MaxDisagreement = 100 },
		"no time":                      func(p *edge.Policy) { p.Mirror.Time = 0 },
		"no pairs":                     func(p *edge.Policy) { p.Mirror.MinPairs = 0 },
		"a share beyond all":           func(p *edge.Policy) { p.Mirror.Share = 101 },
		"an output without a name":     func(p *edge.Policy) { p.Mirror.Outputs = []edge.ComparedOutput{{}} },
		"devices time out while it is": func(p *edge.Policy) { p.DeviceTimeout = 10 * time.Minute },
	} {
		p := edge.Policy{Mirror: onePercent()}
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
		if change(&p); p.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAnotherAttemptTellsNothingOfWhatFailedBefore(t *testing.T) {
	s := edge.Stage{Name: "s", Status: edge.StageFailed, Mirrored: edge.Mirrored{
		Agreed: 1, Fresh: 2, Refused: 3, Unproven: 4, Compared: 5, Differing: 6, Failed: 7,
	}}
	s, _, err := s.Start("d-2", time.Now())
	if want := (edge.Mirrored{Agreed: 1, Fresh: 2}); err != nil || s.Mirrored != want {
		t.Errorf("%+v, %v", s.Mirrored, err)
	}
}
