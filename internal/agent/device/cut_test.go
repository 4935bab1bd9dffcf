package device_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/agent/depot"
	"github.com/slipway-ml/slipway/internal/agent/disk"
	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// update is one deployment whose every operation is cut.
type update struct {
	before     func(b *box, w *wares) []edge.Deployment // run to the end first, uncut
	deployment func(w *wares) edge.Deployment
	old, new   string // what the handles serve on either side: "a=1.0 b=1.0"
	ends       string // which of the two it ends with
	mixed      bool   // DO_NOTHING: each handle for itself
	status     string
	levers     func(w *wares, e *engine)
	lever      func(w *wares, b *box)
	pairs      *edge.Pairs // what each look at models that are compared brings
}

// wares are the packages of a test.
type wares struct {
	a1, a2, b1, b2, bad *pkg
}

func (w *wares) all() []*pkg { return []*pkg{w.a1, w.a2, w.b1, w.b2, w.bad} }

func newWares(t testing.TB, f *factory) *wares {
	return &wares{
		a1: f.pack(t, "alpha", "1.0", "", nil), a2: f.pack(t, "alpha", "2.0", "pass", nil),
		b1: f.pack(t, "beta", "1.0", "", nil), b2: f.pack(t, "beta", "2.0", "", nil),
		bad: f.pack(t, "beta", "3.0", "fail", nil),
	}
}

func deploy(name string, policy edge.FailurePolicy, defs ...edge.Definition) edge.Deployment {
	return edge.Deployment{Name: name, OnFailure: policy, Definitions: defs}
}

func undeploy(handle string) edge.Definition {
	return edge.Definition{Handle: handle, State: edge.Undeploy}
}

func installed(ps ...func(w *wares) edge.Definition) func(b *box, w *wares) []edge.Deployment {
	return func(_ *box, w *wares) []edge.Deployment {
		d := deploy("d-before", edge.RollbackOnFailure)
		for _, p := range ps {
			d.Definitions = append(d.Definitions, p(w))
		}
		return []edge.Deployment{d}
	}
}

func a1(w *wares) edge.Definition { return w.a1.definition("a") }
func b1(w *wares) edge.Definition { return w.b1.definition("b") }

var updates = map[string]update{
	"first install": {
		deployment: func(w *wares) edge.Deployment {
			return deploy("d-1", edge.RollbackOnFailure, w.a1.definition("a"))
		},
		old: "", new: "a=1.0", ends: "a=1.0", status: "SUCCESS",
	},
	"replacement": {
		before: installed(a1),
		deployment: func(w *wares) edge.Deployment {
			return deploy("d-1", edge.RollbackOnFailure, w.a2.definition("a"))
		},
		old: "a=1.0", new: "a=2.0", ends: "a=2.0", status: "SUCCESS",
	},
	"two handles": {
		before: installed(a1, b1),
		deployment: func(w *wares) edge.Deployment {
			return deploy("d-1", edge.RollbackOnFailure, w.a2.definition("a"), w.b2.definition("b"))
		},
		old: "a=1.0 b=1.0", new: "a=2.0 b=2.0", ends: "a=2.0 b=2.0", status: "SUCCESS",
	},
	"a handle fails its golden inputs": {
		before: installed(a1, b1),
		deployment: func(w *wares) edge.Deployment {
			return deploy("d-1", edge.RollbackOnFailure, w.a2.definition("a"), w.bad.definition("b"))
		},
		old: "a=1.0 b=1.0", new: "a=1.0 b=1.0", ends: "a=1.0 b=1.0", status: "FAIL",
	},
	"a handle fails and the rest stays": {
		before: installed(a1, b1),
		deployment: func(w *wares) edge.Deployment {
			return deploy("d-1", edge.DoNothing, w.bad.definition("b"), w.a2.definition("a"))
		},
		old: "a=1.0 b=1.0", new: "a=2.0 b=1.0", ends: "a=2.0 b=1.0", status: "FAIL", mixed: true,
	},
	"undeploy": {
		before: installed(a1, b1),
		deployment: func(w *wares) edge.Deployment {
			return deploy("d-1", edge.RollbackOnFailure, undeploy("a"), w.b2.definition("b"))
		},
		old: "a=1.0 b=1.0", new: "b=2.0", ends: "b=2.0", status: "SUCCESS",
	},
	"the memory holds one model": {
		before: installed(a1),
		deployment: func(w *wares) edge.Deployment {
			return deploy("d-1", edge.RollbackOnFailure, w.a2.definition("a"))
		},
		levers: func(_ *wares, e *engine) { e.most = 1 },
		old:    "a=1.0", new: "a=2.0", ends: "a=2.0", status: "SUCCESS",
	},
	"download resumed on a bad network": {
		before: installed(a1),
		deployment: func(w *wares) edge.Deployment {
			return deploy("d-1", edge.RollbackOnFailure, w.a2.definition("a"))
		},
		lever: func(_ *wares, b *box) { b.cloud.fetch = cutShort(700) },
		old:   "a=1.0", new: "a=2.0", ends: "a=2.0", status: "SUCCESS",
	},
	"compared before, and the models agree": {
		before: installed(a1, b1), pairs: &edge.Pairs{Compared: 30},
		deployment: func(w *wares) edge.Deployment {
			return compared(deploy("d-1", edge.RollbackOnFailure, w.a2.definition("a"), w.b2.definition("b")))
		},
		old: "a=1.0 b=1.0", new: "a=2.0 b=2.0", ends: "a=2.0 b=2.0", status: "SUCCESS",
	},
	"compared before, and the models disagree": {
		before: installed(a1, b1), pairs: &edge.Pairs{Compared: 30, Differing: 3},
		deployment: func(w *wares) edge.Deployment {
			return compared(deploy("d-1", edge.RollbackOnFailure, w.a2.definition("a"), w.b2.definition("b")))
		},
		old: "a=1.0 b=1.0", new: "a=1.0 b=1.0", ends: "a=1.0 b=1.0", status: "FAIL",
	},
	"the new one cannot be loaded after a cut": {
		before: installed(a1, b1),
		deployment: func(w *wares) edge.Deployment {
			return deploy("d-1", edge.RollbackOnFailure, w.a2.definition("a"), w.b2.definition("b"))
		},
		lever: func(w *wares, b *box) { b.levers = refuseAfterRestart(w, b) },
		old:   "a=1.0 b=1.0", new: "a=2.0 b=2.0", ends: "", status: "",
	},
}

// TestAPowerCutAnywhereLeavesTheOldOrTheNew stops every update at every single
// operation that changes the disk, with several ideas of what survived.
func TestAPowerCutAnywhereLeavesTheOldOrTheNew(t *testing.T) {
	collectLess(t)
	f := newFactory(t)
	w := newWares(t, f)
	points, cuts := 0, 0
	remains := uint64(3)
	if n, err := strconv.ParseUint(os.Getenv("SLIPWAY_CUT_SEEDS"), 10, 16); err == nil && n > 0 {
		remains = n
	}
	stride := 1
	if raceEnabled {
		stride = 7
	}
	for name, u := range updates {
		t.Run(name, func(t *testing.T) {
			c := &cutting{t: t, f: f, w: w, u: u, rng: rand.New(rand.NewPCG(7, 7))}
			c.prepare()
			n := 1
			for ; c.once(n, 0); n += stride { // nothing survived
				cuts++
				for k := uint64(1); k < remains; k++ {
					// Everything, and then a different mixture each time.
					seed := k
					if k > 1 {
						seed = uint64(n)*remains + k
					}
					cuts++
					c.again(n, seed)
				}
				if n%4 == 0 || remains > 3 { // and again while it recovers
					cuts++
					c.again(n, uint64(n), uint64(n)+1, uint64(n)+2)
				}
			}
			points += n - 1
			t.Logf("%d cut points", n-1)
		})
	}
	t.Logf("%d cut points in all, %d restarts with different remains", points, cuts)
	if points < 500 {
		t.Errorf("only %d operations were cut", points)
	}
}

// collectLess spends less of a test on garbage: of thousands of small devices,
// each for a moment, collecting takes a third of the time otherwise.
func collectLess(t *testing.T) {
	before := debug.SetGCPercent(400)
	t.Cleanup(func() { debug.SetGCPercent(before) })
}

// cutting is the work on one update.
type cutting struct {
	t    *testing.T
	f    *factory
	w    *wares
	u    update
	rng  *rand.Rand
	base *disk.Memory // before the update
}

func (c *cutting) prepare() {
	b := c.box(disk.NewMemory(disk.NewPool(), 0))
	must(c.t, b.boot())
	if c.u.before != nil {
		b.cloud.offered = c.u.before(b, c.w)
		b.run(nil)
		b.cloud.results = nil
	}
	if got := names(b.serves(c.w.all()...)); got != c.u.old {
		c.t.Fatalf("before the update the device serves %q", got)
	}
	b.wantTidy()
	c.base = b.disk
}

func (c *cutting) box(d *disk.Memory) *box {
	b := newBox(c.t, c.f, newCloud())
	b.cloud.put(c.w.all()...)
	b.disk = d
	if c.u.pairs != nil {
		b.alter = withMirrors(&scene{b: b, look: func(string) edge.Pairs { return *c.u.pairs }})
	}
	if c.u.levers != nil {
		b.levers = func(e *engine) { c.u.levers(c.w, e) }
	}
	return b
}

// once runs the update with a cut after operation n, restarts it with each of
// the seeds, cutting it again before the next, and lets it end. It returns false
// if the update ended before that operation.
func (c *cutting) once(n int, seeds ...uint64) bool {
	base, ok := c.base.Copy()
	if !ok {
		c.t.Fatal("the disk is not at rest")
	}
	b := c.box(base)
	if c.u.lever != nil {
		c.u.lever(c.w, b)
	}
	b.cloud.offered = []edge.Deployment{c.u.deployment(c.w)}
	b.disk.CutAfter(n)
	if b.boot() == nil && b.disk.Alive() {
		c.check(b, "before the cut")
		b.run(func() { c.check(b, "before the cut") })
	}
	if b.disk.Alive() {
		c.end(b, n, seeds)
		return false
	}
	for i, seed := range seeds {
		b.disk = b.disk.Reboot(seed)
		if i+1 < len(seeds) {
			b.disk.CutAfter(1 + c.rng.IntN(20))
		}
		where := fmt.Sprintf("after cut %d with seeds %v", n, seeds[:i+1])
		if b.boot() != nil {
			continue
		}
		if b.disk.Alive() {
			c.check(b, where)
		}
		b.run(func() { c.check(b, where) })
		if b.disk.Alive() {
			c.end(b, n, seeds[:i+1])
			return true
		}
	}
	return true
}

// again cuts after an operation that was reached before.
func (c *cutting) again(n int, seeds ...uint64) {
	if !c.once(n, seeds...) {
		c.t.Fatalf("operation %d was not reached", n)
	}
}

// check is the promise: the old or the new, never neither, never a mix.
func (c *cutting) check(b *box, where string) {
	if c.u.status == "" && len(b.cloud.results) > 0 {
		return // it was good when it was reported, and broke later
	}
	got := names(b.serves(c.w.all()...))
	if got == c.u.old || got == c.u.new {
		return
	}
	if c.u.mixed {
		old, now := strings.Fields(c.u.old), strings.Fields(c.u.new)
		each := strings.Fields(got)
		if len(each) == len(old) && !slices.ContainsFunc(each, func(s string) bool {
			return !slices.Contains(old, s) && !slices.Contains(now, s)
		}) {
			return
		}
	}
	if c.u.levers != nil && got == "" && b.d.State().Job != nil && b.d.State().Job.Phase == depot.Preparing {
		return // the declared gap
	}
	c.t.Fatalf("%s the device serves %q, neither %q nor %q", where, got, c.u.old, c.u.new)
}

// end checks that the update came to the right end and left nothing behind.
func (c *cutting) end(b *box, n int, seeds []uint64) {
	got := names(b.serves(c.w.all()...))
	where := fmt.Sprintf("cut after operation %d, seeds %v", n, seeds)
	if len(b.cloud.results) == 0 {
		c.t.Fatalf("%s: no result was reported", where)
	}
	first := b.cloud.results[0]
	if c.u.status == "" && first.Status == "SUCCESS" && got != c.u.new {
		return // it was good when it was reported, and broke later
	}
	for _, r := range b.cloud.results {
		if r.Deployment != "d-1" || r.Status != first.Status {
			c.t.Fatalf("%s: results contradict each other: %+v", where, b.cloud.results)
		}
	}
	ends, status := c.u.ends, c.u.status
	if status == "" {
		ends, status = c.u.new, "SUCCESS"
		if first.Status == "FAIL" {
			ends, status = c.u.old, "FAIL"
		}
	}
	if got != ends || first.Status != status {
		c.t.Fatalf("%s: the device ends with %q and says %+v", where, got, first)
	}
	for _, m := range first.Models {
		if m.RollbackFailure != "" {
			c.t.Fatalf("%s: the rollback failed: %+v", where, first)
		}
		if serves := strings.Contains(" "+got, " "+m.Handle+"="); serves != (m.State == edge.Deploy) {
			c.t.Fatalf("%s: %s is said to be %s, and the device serves %q", where, m.Handle, m.State, got)
		}
	}
	b.wantTidy()
	if _, rests := b.disk.Copy(); !rests {
		c.t.Fatalf("%s: something on the disk was never made safe", where)
	}
}
