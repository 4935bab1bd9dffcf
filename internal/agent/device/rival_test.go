package device_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// application has a handle lead to p, or to nothing, as an application does that
// loads models itself: the device does not hear of it.
func (b *box) application(handle string, p *pkg) {
	if old := b.table.Swap(handle, nil); old != nil {
		must(b.t, old.Runner.Close(b.t.Context()))
	}
	if p == nil {
		return
	}
	r := &runner{b.engine, "", p.content}
	b.engine.alive[r] = true
	b.table.Add(handle, &model.Loaded{Runner: r, Info: model.Info{ModelName: p.name, ModelVersion: p.version}})
}

func TestWhatAnApplicationLoadedIsNotReplacedUncompared(t *testing.T) {
	for name, c := range map[string]struct {
		look    edge.Pairs
		ends    string
		finding edge.Finding
	}{
		"they agree":    {edge.Pairs{Compared: 50}, "2.0", edge.Agrees},
		"they disagree": {edge.Pairs{Compared: 50, Differing: 10}, "1.0", edge.Disagrees},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scene{look: func(string) edge.Pairs { return c.look }}
			b, w := stage(t, s)
			b.application("c", w.b1)
			b.cloud.offered = []edge.Deployment{compared(deploy("d-1", edge.RollbackOnFailure, w.b2.definition("c")))}
			b.run(nil)
			m := only(t, b.cloud.results).Models[0]
			if m.Comparison == nil || m.Comparison.Finding != c.finding || m.Comparison.Old != "1.0" {
				t.Errorf("%+v", m.Comparison)
			}
			if got := b.serves(w.all()...)["c"].version; got != c.ends {
				t.Errorf("%s serves", got)
			}
		})
	}
}

// An application loads a model under a handle that had none, while another one of
// the deployment is compared.
func TestWhatWasNotThereIsComparedOnceItIs(t *testing.T) {
	looks := 0
	s := &scene{}
	b, w := stage(t, s)
	s.look = func(handle string) edge.Pairs {
		if looks++; looks == 3 {
			b.application("c", w.b1)
		}
		if handle == "c" {
			return edge.Pairs{Compared: 50, Differing: 10}
		}
		return edge.Pairs{Compared: 50}
	}
	b.cloud.offered = []edge.Deployment{
		compared(deploy("d-1", edge.RollbackOnFailure, w.a2.definition("a"), w.b2.definition("c"))),
	}
	b.run(nil)
	r := only(t, b.cloud.results)
	if c := r.Models[1].Comparison; c.Finding != edge.Disagrees || strings.Contains(r.Message, "had no model") {
		t.Errorf("%+v", r)
	}
	if got := names(b.serves(w.all()...)); got != "a=1.0 b=1.0 c=1.0" {
		t.Error(got)
	}
}

func TestAComparisonFollowsWhatServes(t *testing.T) {
	for name, c := range map[string]struct {
		next     func(w *wares) *pkg
		old      string
		compared int64 // at most: of what was compared with another model nothing counts
		finding  edge.Finding
	}{
		"the same model again": {func(w *wares) *pkg { return w.a1 }, "1.0", 1000, edge.Agrees},
		"another version": {
			func(*wares) *pkg { return &pkg{name: "alpha", version: "3.0", content: []byte("3")} },
			"3.0", 400, edge.Agrees,
		},
		"nothing": {func(*wares) *pkg { return nil }, "1.0", 200, edge.NotProven},
	} {
		t.Run(name, func(t *testing.T) {
			looks := 0
			s := &scene{}
			b, w := stage(t, s)
			s.look = func(string) edge.Pairs {
				looks++
				return edge.Pairs{Compared: 50}
			}
			b.cloud.offered = []edge.Deployment{compared(deploy("d-1", edge.RollbackOnFailure, w.a2.definition("a")))}
			replaced := false
			b.run(func() {
				if looks == 3 && !replaced {
					replaced = true
					b.application("a", c.next(w))
				}
			})
			r := only(t, b.cloud.results)
			got := r.Models[0].Comparison
			if got == nil || got.Finding != c.finding || got.Old != c.old || got.Compared > c.compared {
				t.Fatalf("%+v: %s", got, r.Models[0].Reason)
			}
			if c.finding == edge.Agrees && (got.Ran < 30*time.Second || s.begun != 2) {
				t.Errorf("ran %s, begun %d times", got.Ran, s.begun)
			}
			if c.finding == edge.NotProven && !strings.Contains(r.Models[0].Reason, "no model served under this name") {
				t.Error(r.Models[0].Reason)
			}
			if len(s.open) > 0 {
				t.Errorf("still beside: %v", s.open)
			}
		})
	}
}

// A device that is switched off every night compares for as long as it is asked to.
func TestNightsDoNotEndAComparison(t *testing.T) {
	looks := 0
	s := &scene{}
	b, w := stage(t, s)
	s.look = func(string) edge.Pairs { looks++; return edge.Pairs{Compared: 5} }
	d := compared(deploy("d-1", edge.RollbackOnFailure, w.a2.definition("a")))
	d.Mirror.Time = 5 * time.Minute
	b.cloud.offered = []edge.Deployment{d}
	nights := 0
	for range 20 {
		b.run(func() {
			if looks >= 5 {
				b.disk.Cut()
			}
		})
		if b.disk.Alive() {
			break
		}
		nights, looks = nights+1, 0
		b.disk = b.disk.Reboot(0)
		must(t, b.boot())
	}
	if r := only(t, b.cloud.results); r.Status != "SUCCESS" || nights < 7 {
		t.Errorf("after %d nights: %+v", nights, r)
	}
}
