package device_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/device"
	"github.com/slipway-ml/slipway/internal/agent/handles"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// scene is what happens while models run beside others.
type scene struct {
	b      *box
	look   func(handle string) edge.Pairs // what a look brings
	absent int                            // how often the handle means no model
	begun  int
	open   map[string]bool // that have not ended
}

func (s *scene) Begin(handle string, _ model.Runner, _ *edge.Mirror) (device.Mirroring, error) {
	if s.absent > 0 {
		s.absent--
		return nil, fault.New(fault.NotFound, "no model")
	}
	w, err := s.b.table.Watch(handle, func(handles.Answered) {})
	if err != nil {
		return nil, err
	}
	if s.open == nil {
		s.open = map[string]bool{}
	}
	s.begun++
	s.open[handle] = true
	return act{s, handle, w}, nil
}

type act struct {
	*scene
	handle string
	w      *handles.Watched
}

func (a act) Old() model.Info { return a.w.Info }
func (a act) On() bool        { return a.w.On() }

// Take brings something only while what is watched serves.
func (a act) Take() edge.Pairs {
	if !a.w.On() {
		return edge.Pairs{}
	}
	return a.look(a.handle)
}
func (a act) Memory() (int64, int64) { return 40 << 20, 42 << 20 }
func (a act) End()                   { delete(a.open, a.handle) }

// withMirrors gives a device models that run beside others, and has it keep what it
// counted often.
func withMirrors(s *scene) func(*device.Config) {
	return func(c *device.Config) {
		kept := *settings
		kept.Keep = 5 * time.Second
		c.Mirrors, c.Settings = s, &kept
	}
}

// compared is a deployment that asks for a comparison of half a minute, 100 requests
// and one percent.
func compared(d edge.Deployment) edge.Deployment {
	d.Mirror = &edge.Mirror{MaxDisagreement: 1, Time: 30 * time.Second, MinPairs: 100}
	return d
}

// stage is a device that serves a version of each of two models, on a scene.
func stage(t *testing.T, s *scene) (*box, *wares) {
	t.Helper()
	f := newFactory(t)
	w := newWares(t, f)
	b := newBox(t, f, newCloud())
	b.cloud.put(w.all()...)
	b.alter, s.b = withMirrors(s), b
	must(t, b.boot())
	b.cloud.offered = []edge.Deployment{deploy("d-0", edge.RollbackOnFailure, a1(w), b1(w))}
	b.run(nil)
	b.cloud.results, b.cloud.beats = nil, nil
	return b, w
}

func TestAModelTakesItsPlaceOnlyIfItAnswersAsTheOldOneDoes(t *testing.T) {
	for name, c := range map[string]struct {
		look    map[string]edge.Pairs
		absent  int
		finding edge.Finding
		ends    string
		says    string
	}{
		"they agree": {
			map[string]edge.Pairs{"a": {Compared: 50}, "b": {Compared: 50}},
			0, edge.Agrees, "a=2.0 b=2.0",
			"a answers 0 % of requests differently than 1.0; 1 % is allowed; 350 compared, which show",
		},
		"a few differ": {
			map[string]edge.Pairs{"a": {Compared: 150, Differing: 1}, "b": {Compared: 50}},
			0, edge.Agrees, "a=2.0 b=2.0",
			"a answers 0.67 % of requests differently than 1.0",
		},
		"many differ": {
			map[string]edge.Pairs{"a": {Compared: 50, Differing: 3}, "b": {Compared: 50}},
			0, edge.Disagrees, "a=1.0 b=1.0",
			"a: answers 6 % of requests differently than 1.0; 1 % is allowed; ",
		},
		"it fails what the old one answers": {
			map[string]edge.Pairs{"a": {Compared: 20, Failed: 20}, "b": {Compared: 50}},
			0, edge.Disagrees, "a=1.0 b=1.0",
			"of which it failed",
		},
		"nobody asks": {
			map[string]edge.Pairs{"b": {Compared: 50}},
			0, edge.NotProven, "a=1.0 b=1.0",
			"a: not proven: 0 requests were compared with 1.0 in 30s, and 100 are needed; there were no others",
		},
		"the same is asked again and again": {
			map[string]edge.Pairs{"a": {Compared: 1, Repeated: 200, Shed: 2}, "b": {Compared: 50}},
			0, edge.NotProven,
			"a=1.0 b=1.0", "and 100 are needed; besides there were 14 for which there was no room, 1400 asked before",
		},
		"the old model fails": {
			map[string]edge.Pairs{"a": {OldFailed: 30}, "b": {Compared: 50}},
			0, edge.NotProven, "a=1.0 b=1.0",
			"besides there were 210 that the old model failed",
		},
		"it is too slow": {
			map[string]edge.Pairs{"a": {Compared: 50, Late: 5}, "b": {Compared: 50}},
			0, edge.NotProven, "a=1.0 b=1.0",
			"a: not proven: 35 of 385 copies were not answered in 10s",
		},
		"the handle means no model for a while": {
			map[string]edge.Pairs{"a": {Compared: 50}, "b": {Compared: 50}},
			2, edge.Agrees, "a=2.0 b=2.0",
			"a answers 0 % of requests differently than 1.0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scene{look: func(h string) edge.Pairs { return c.look[h] }, absent: c.absent}
			b, w := stage(t, s)
			b.cloud.offered = []edge.Deployment{
				compared(deploy("d-1", edge.RollbackOnFailure, w.a2.definition("a"), w.b2.definition("b"))),
			}
			b.run(func() {
				if got := names(b.serves(w.all()...)); len(b.cloud.results) == 0 && b.d.State().Job != nil &&
					b.d.State().Job.Phase == "preparing" && got != "a=1.0 b=1.0" {
					t.Fatalf("while they are compared the device serves %s", got)
				}
			})
			r := only(t, b.cloud.results)
			if got := names(b.serves(w.all()...)); got != c.ends {
				t.Errorf("the device serves %s, want %s: %+v", got, c.ends, r)
			}
			m := r.Models[0]
			if m.Comparison == nil || m.Comparison.Finding != c.finding || m.Comparison.OldBytes == 0 {
				t.Errorf("the comparison is %+v, want %s", m.Comparison, c.finding)
			}
			if says := edge.Message(r, edge.RollbackOnFailure); !strings.Contains(says, c.says) {
				t.Errorf("the result says %q, want %q", says, c.says)
			}
			if len(s.open) > 0 {
				t.Errorf("still beside: %v", s.open)
			}
			b.wantTidy()
			told := false
			for _, h := range b.cloud.beats {
				for _, x := range h.Comparisons {
					told = told || x.Deployment == "d-1" && x.Finding == edge.Comparing
				}
			}
			if !told {
				t.Error("no heartbeat told of the comparison while it went on")
			}
		})
	}
}

// What is counted before a cut counts after it, as far as it was saved.
func TestAComparisonGoesOnAfterAPowerCut(t *testing.T) {
	looks := 0
	s := &scene{look: func(string) edge.Pairs { looks++; return edge.Pairs{Compared: 20} }}
	b, w := stage(t, s)
	b.cloud.offered = []edge.Deployment{compared(deploy("d-1", edge.RollbackOnFailure, w.a2.definition("a")))}
	b.run(func() {
		if looks == 4 {
			b.disk.Cut()
		}
	})
	b.disk = b.disk.Reboot(0) // keeps what was made safe, and nothing else
	must(t, b.boot())
	was := b.d.State().Job.Models[0].Trial
	if was == nil || was.Comparison.Compared < 60 {
		t.Fatalf("the cut left %+v", was)
	}
	b.run(nil)
	r := only(t, b.cloud.results)
	c := r.Models[0].Comparison
	if r.Status != "SUCCESS" || c.Compared < was.Comparison.Compared+20 || c.Ran < 30*time.Second || s.begun != 2 {
		t.Errorf("%+v, begun %d times", c, s.begun)
	}
}

func TestWhatCannotBeComparedIsNotTakenForAlike(t *testing.T) {
	alike := func(string) edge.Pairs { return edge.Pairs{Compared: 50} }
	one := func(w *wares, p *pkg) []edge.Deployment {
		return []edge.Deployment{compared(deploy("d-1", edge.RollbackOnFailure, p.definition("a")))}
	}
	t.Run("the memory holds one model", func(t *testing.T) {
		b, w := stage(t, &scene{look: alike})
		b.engine.most = 2
		b.cloud.offered = one(w, w.a2)
		b.run(nil)
		if r := only(t, b.cloud.results); r.Status != "FAIL" ||
			!strings.Contains(r.Models[0].Reason, "not proven: the memory cannot hold the model beside") {
			t.Errorf("%+v", r)
		}
		if got := names(b.serves(w.all()...)); got != "a=1.0 b=1.0" {
			t.Error(got)
		}
	})
	t.Run("the device cannot compare", func(t *testing.T) {
		b, w := stage(t, &scene{look: alike})
		b.alter = nil
		must(t, b.boot())
		b.cloud.offered = one(w, w.a2)
		b.run(nil)
		if r := only(t, b.cloud.results); r.Status != "FAIL" || !strings.Contains(r.Message, "cannot compare models") {
			t.Errorf("%+v", r)
		}
	})
	t.Run("the handle had no model", func(t *testing.T) {
		s := &scene{look: alike}
		b, w := stage(t, s)
		b.cloud.offered = []edge.Deployment{compared(deploy("d-1", edge.RollbackOnFailure, w.b2.definition("c")))}
		b.run(nil)
		r := only(t, b.cloud.results)
		if r.Status != "SUCCESS" || r.Models[0].Comparison.Finding != edge.NothingBefore || s.begun != 0 ||
			!strings.Contains(r.Message, "c not compared: the device had no model under this name") {
			t.Errorf("%+v", r)
		}
	})
}

func TestAComparisonEndsWithItsDeployment(t *testing.T) {
	alike := func(string) edge.Pairs { return edge.Pairs{Compared: 50} }
	one := func(p *pkg) []edge.Deployment {
		return []edge.Deployment{compared(deploy("d-1", edge.RollbackOnFailure, p.definition("a")))}
	}
	t.Run("the device has the package", func(t *testing.T) {
		b, w := stage(t, &scene{look: alike})
		b.cloud.offered = one(w.a1)
		b.run(nil)
		if r := only(t, b.cloud.results); r.Status != "SUCCESS" || r.Models[0].Comparison.Finding != edge.Unchanged {
			t.Errorf("%+v", r)
		}
	})
	t.Run("the deployment is taken back", func(t *testing.T) {
		s := &scene{}
		b, w := stage(t, s)
		b.cloud.hints.Poll = 5 * time.Second
		s.look = func(string) edge.Pairs {
			b.cloud.offered, b.cloud.hints.Poll = nil, 10*time.Minute
			return edge.Pairs{Compared: 50}
		}
		b.cloud.offered = one(w.a2)
		b.run(nil)
		if r := only(t, b.cloud.results); r.Status != "STOPPED" || len(s.open) > 0 {
			t.Errorf("%+v, open %v", r, s.open)
		}
		b.wantTidy()
	})
	t.Run("what agrees stays under DO_NOTHING", func(t *testing.T) {
		s := &scene{look: func(h string) edge.Pairs {
			return map[string]edge.Pairs{"a": {Compared: 50}, "b": {Compared: 50, Differing: 5}}[h]
		}}
		b, w := stage(t, s)
		b.cloud.offered = []edge.Deployment{
			compared(deploy("d-1", edge.DoNothing, w.a2.definition("a"), w.b2.definition("b"))),
		}
		b.run(nil)
		if got := names(b.serves(w.all()...)); got != "a=2.0 b=1.0" || len(s.open) > 0 {
			t.Errorf("%s, open %v", got, s.open)
		}
		b.wantTidy()
	})
}

// A model that takes the machine down while it is compared is given up.
func TestAModelThatEndsTheMachineWhileItIsComparedIsGivenUp(t *testing.T) {
	s := &scene{}
	b, w := stage(t, s)
	s.look = func(string) edge.Pairs { b.disk.Cut(); return edge.Pairs{} }
	b.cloud.offered = []edge.Deployment{compared(deploy("d-1", edge.RollbackOnFailure, w.a2.definition("a")))}
	for range 8 {
		b.run(nil)
		if b.disk.Alive() {
			break
		}
		b.disk = b.disk.Reboot(1)
		must(t, b.boot())
	}
	r := only(t, b.cloud.results)
	const want = "restarted 5 times while it loaded the model or compared it"
	if r.Status != "FAIL" || !strings.Contains(r.Models[0].Reason, want) {
		t.Errorf("%+v", r)
	}
}
