package device_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/device"
	"github.com/slipway-ml/slipway/internal/agent/disk"
	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// life is one random history of a device.
type life struct {
	*box
	rng  *rand.Rand
	made []*pkg
	// want is what the reported results say that the handles serve.
	want map[string]*pkg
}

// step is one random deployment in random weather, with random cuts; then what
// was reported must be what is served.
func (l *life) step(n int) {
	l.weather()
	d := edge.Deployment{Name: fmt.Sprintf("d-%d", n), OnFailure: edge.RollbackOnFailure}
	if l.rng.IntN(3) == 0 {
		d.OnFailure = edge.DoNothing
	}
	asked := map[string]*pkg{}
	for _, h := range []string{"a", "b", "c"} {
		switch l.rng.IntN(4) {
		case 0:
			d.Definitions = append(d.Definitions, undeploy(h))
			asked[h] = nil
		case 1, 2:
			p := l.made[l.rng.IntN(len(l.made))]
			d.Definitions = append(d.Definitions, p.definition(h))
			asked[h] = p
		}
	}
	if len(d.Definitions) == 0 {
		return
	}
	l.cloud.results, l.cloud.offered = nil, []edge.Deployment{d}
	for cuts := l.rng.IntN(4); cuts > 0; cuts-- {
		l.disk.CutAfter(l.disk.Ops() + 1 + l.rng.IntN(60))
		l.run(nil)
		if l.disk.Alive() {
			break
		}
		l.restart()
	}
	l.disk.CutAfter(0)
	l.run(nil)
	if len(l.cloud.results) == 0 {
		l.t.Fatalf("deployment %d: no result", n)
	}
	r := l.cloud.results[0]
	for _, o := range l.cloud.results {
		if o.Status != r.Status {
			l.t.Fatalf("deployment %d: results contradict each other: %+v", n, l.cloud.results)
		}
	}
	l.believe(n, r, d, asked)
	l.wantTidy()
	if l.rng.IntN(4) == 0 {
		l.disk.Cut()
		l.restart()
		l.agree(n, "after a restart")
	}
}

func (l *life) restart() {
	l.disk = l.disk.Reboot(l.rng.Uint64N(20))
	must(l.t, l.boot())
}

// believe takes a result for true and compares.
func (l *life) believe(n int, r edge.Result, d edge.Deployment, asked map[string]*pkg) {
	l.t.Helper()
	if ok := r.Status == "SUCCESS"; !ok && d.OnFailure == edge.RollbackOnFailure {
		asked = nil // nothing changed
	}
	for _, m := range r.Models {
		if p, was := asked[m.Handle]; was && m.Status == "SUCCESS" {
			if l.want[m.Handle] = p; p == nil {
				delete(l.want, m.Handle)
			}
		}
		if m.Status == "FAIL" && m.Reason == "" {
			l.t.Fatalf("deployment %d fails without a reason: %+v", n, r)
		}
		if _, serves := l.want[m.Handle]; serves != (m.State == edge.Deploy) {
			l.t.Fatalf("deployment %d: %s is said to be %s: %+v", n, m.Handle, m.State, r)
		}
	}
	l.agree(n, fmt.Sprintf("%+v", r))
}

func (l *life) agree(n int, why string) {
	l.t.Helper()
	got := l.serves(l.made...)
	for h, p := range l.want {
		if got[h] == nil || !bytes.Equal(got[h].content, p.content) {
			l.t.Fatalf("deployment %d: the device serves %s, not what it reported: %s", n, names(got), why)
		}
	}
	if len(got) != len(l.want) {
		l.t.Fatalf("deployment %d: the device serves %s: %s", n, names(got), why)
	}
}

// weather breaks the network and the memory now and then.
func (l *life) weather() {
	l.cloud.fetch = func(_ string, _ int64, body []byte) (io.Reader, string, error) {
		switch l.rng.IntN(8) {
		case 0:
			return nil, "", errors.New("no route to host")
		case 1:
			k := l.rng.IntN(len(body) + 1)
			return io.MultiReader(bytes.NewReader(body[:k]), broken{}), "1", nil
		case 2:
			body = bytes.Clone(body)
			body[l.rng.IntN(len(body))] ^= 0x10
		}
		return bytes.NewReader(body), "1", nil
	}
	most := 0
	if l.rng.IntN(3) == 0 {
		most = 3
	}
	l.levers = func(e *engine) { e.most = most }
	l.engine.most = most
	l.disk.Fault(nil)
	if l.rng.IntN(3) == 0 {
		at, kind := l.disk.Ops()+l.rng.IntN(80), l.rng.IntN(2)
		l.disk.Fault(func(op disk.Op) error {
			if op.N == at {
				return []error{syscall.EIO, syscall.ENOSPC}[kind]
			}
			return nil
		})
	}
}

func TestWhatIsReportedIsWhatIsServed(t *testing.T) {
	collectLess(t)
	f := newFactory(t)
	var made []*pkg
	for i := range 6 {
		expects := []string{"", "pass", "fail"}[i%3]
		made = append(made, f.pack(t, "model-"+string(rune('a'+i%2)), fmt.Sprintf("%d.0", i), expects, nil))
	}
	lives := 60
	if raceEnabled {
		lives = 5
	}
	deployments := 0
	for seed := range lives {
		c := newCloud()
		c.put(made...)
		l := &life{
			box: newBox(t, f, c), rng: rand.New(rand.NewPCG(uint64(seed), 3)), made: made, want: map[string]*pkg{},
		}
		must(t, l.boot())
		for n := range 12 {
			l.step(n)
			deployments++
		}
	}
	t.Logf("%d deployments in %d lives", deployments, lives)
}

func TestADeviceWorksOfflineAndWithAnyClock(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	for name, jump := range map[string]time.Duration{
		"back": -30 * 365 * 24 * time.Hour, "ahead": 30 * 365 * 24 * time.Hour,
	} {
		b := newBox(t, f, newCloud())
		b.cloud.put(w.all()...)
		b.cloud.offered = []edge.Deployment{deploy("d-1", edge.RollbackOnFailure, w.a1.definition("a"))}
		must(t, b.boot())
		b.run(nil)
		b.cloud.down = errors.New("no route to host")
		for until := b.now.Add(1000 * time.Hour); b.now.Before(until); {
			wake := b.d.Step(t.Context(), b.now)
			if wait := wake.Sub(b.now); wait > 6*time.Minute {
				t.Fatalf("offline the device sleeps for %v", wait)
			}
			b.now = wake.Add(time.Millisecond)
		}
		b.now = b.now.Add(jump)
		b.now = b.d.Step(t.Context(), b.now)
		b.cloud.down = nil
		b.cloud.offered = []edge.Deployment{deploy("d-2", edge.RollbackOnFailure, w.a2.definition("a"))}
		b.run(nil)
		if got := names(b.serves(w.all()...)); got != "a=2.0" {
			t.Errorf("%s: the device serves %q", name, got)
		}
	}
}

func TestAnUnregisteredDeviceOnlyServes(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	b := newBox(t, f, newCloud())
	b.cloud.put(w.all()...)
	b.cloud.offered = []edge.Deployment{deploy("d-1", edge.RollbackOnFailure, w.a1.definition("a"))}
	must(t, b.boot())
	b.run(nil)
	b.cloud.inactive, b.cloud.polls, b.cloud.beats = true, 0, nil
	b.disk = b.disk.Reboot(0)
	must(t, b.boot())
	for range 20 {
		b.now = b.d.Step(t.Context(), b.now)
	}
	if b.cloud.polls > 0 || len(b.cloud.beats) > 0 {
		t.Errorf("%d polls, %d heartbeats", b.cloud.polls, len(b.cloud.beats))
	}
	if got := names(b.serves(w.all()...)); got != "a=1.0" {
		t.Errorf("the device serves %q", got)
	}
}

func TestTheServersHintsAreFollowedWithinBounds(t *testing.T) {
	f := newFactory(t)
	for hint, want := range map[time.Duration]time.Duration{
		time.Millisecond: 5 * time.Second, time.Minute: time.Minute, 1e6 * time.Hour: 24 * time.Hour,
	} {
		b := newBox(t, f, newCloud())
		b.cloud.hints = edge.Hints{Poll: hint, Heartbeat: hint}
		b.alter = func(c *device.Config) { c.Settings = &device.Settings{Spread: time.Nanosecond} }
		must(t, b.boot())
		var wait time.Duration
		for b.cloud.polls < 1 || len(b.cloud.beats) < 1 {
			wake := b.d.Step(t.Context(), b.now)
			wait, b.now = wake.Sub(b.now), wake
		}
		if wait < want || wait > want+want/8 {
			t.Errorf("hinted %v, the device waits %v", hint, wait)
		}
	}
}

// Polls may be rare where the network is dear: a heartbeat's answer says when
// there is something to fetch.
func TestAHeartbeatsAnswerBringsThePollForward(t *testing.T) {
	b := newBox(t, newFactory(t), newCloud())
	b.cloud.hints = edge.Hints{Poll: 24 * time.Hour, Heartbeat: time.Minute}
	b.alter = func(c *device.Config) { c.Settings = &device.Settings{Spread: time.Nanosecond} }
	must(t, b.boot())
	until := func(d time.Duration) {
		for end := b.now.Add(d); b.now.Before(end); {
			b.now = b.d.Step(t.Context(), b.now)
		}
	}
	until(time.Hour)
	if b.cloud.polls != 1 || len(b.cloud.beats) < 50 {
		t.Fatalf("in a quiet hour: %d polls, %d heartbeats", b.cloud.polls, len(b.cloud.beats))
	}
	b.cloud.hints.Poll = 10 * time.Second
	until(2 * time.Minute)
	if b.cloud.polls < 2 {
		t.Errorf("%d polls after a heartbeat was told to poll soon", b.cloud.polls)
	}
}

// A gap is declared, in the log and to the operator, and ends with the old
// model if the new one is no good.
func TestAModelThatDoesNotFitBesideTheOldOneIsSwappedWithADeclaredGap(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	fails := f.pack(t, "alpha", "9.0", "fail", nil)
	for _, to := range []*pkg{w.a2, fails} {
		b := newBox(t, f, newCloud())
		b.cloud.put(append(w.all(), fails)...)
		b.levers = func(e *engine) { e.most = 1 }
		must(t, b.boot())
		b.cloud.offered = []edge.Deployment{deploy("d-1", edge.RollbackOnFailure, w.a1.definition("a"))}
		b.run(nil)
		b.cloud.results = nil
		b.cloud.offered = []edge.Deployment{deploy("d-2", edge.RollbackOnFailure, to.definition("a"))}
		b.run(nil)
		r := only(t, b.cloud.results)
		want, status := "a=2.0", "SUCCESS"
		if to == fails {
			want, status = "a=1.0", "FAIL"
		}
		if got := names(b.serves(w.all()...)); got != want || r.Status != status ||
			!strings.Contains(r.Message, "gap") {
			t.Errorf("the device serves %q and says %+v", got, r)
		}
		b.wantTidy()
	}
}

// When the old model does not come back either, the result says so, and the
// device goes on trying.
func TestARollbackThatFailsIsReportedAndTriedOn(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	b := newBox(t, f, newCloud())
	b.cloud.put(w.all()...)
	b.levers = func(e *engine) { e.most = 1 }
	must(t, b.boot())
	b.cloud.offered = []edge.Deployment{deploy("d-1", edge.RollbackOnFailure, w.a1.definition("a"))}
	b.run(nil)
	b.cloud.results = nil
	b.engine.refuse = func([]byte) error { return errors.New("device lost") }
	b.cloud.offered = []edge.Deployment{deploy("d-2", edge.RollbackOnFailure, w.a2.definition("a"))}
	b.now = b.now.Add(time.Hour)
	for len(b.cloud.results) == 0 {
		b.now = b.d.Step(t.Context(), b.now)
	}
	if m := only(t, b.cloud.results).Models[0]; m.Status != "FAIL" ||
		!strings.Contains(m.RollbackFailure, "device lost") {
		t.Errorf("the device says %+v", m)
	}
	b.engine.refuse = nil
	b.run(nil)
	if got := names(b.serves(w.all()...)); got != "a=1.0" {
		t.Errorf("the device serves %q", got)
	}
}

// The crash of a machine that loads a model must not repeat for ever.
func TestAModelThatTakesTheMachineDownIsGivenUp(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	b := newBox(t, f, newCloud())
	b.cloud.put(w.all()...)
	b.cloud.offered = []edge.Deployment{deploy("d-1", edge.RollbackOnFailure, w.a1.definition("a"))}
	b.levers = func(e *engine) { e.refuse = func([]byte) error { b.disk.Cut(); return errors.New("gone") } }
	boots := 0
	for must(t, b.boot()); len(b.cloud.results) == 0; boots++ {
		if boots > 20 {
			t.Fatal("the device restarts for ever")
		}
		b.run(nil)
		if !b.disk.Alive() {
			b.disk = b.disk.Reboot(0)
			must(t, b.boot())
		}
	}
	if r := only(t, b.cloud.results); !strings.Contains(r.Models[0].Reason, "restarted 5 times") {
		t.Errorf("the device says %+v", r)
	}
}

func TestAResultThatTheServerRefusesDoesNotBlockTheDevice(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	b := newBox(t, f, newCloud())
	b.cloud.put(w.all()...)
	b.alter = func(c *device.Config) { c.Cloud = picky{b.cloud} }
	b.cloud.offered = []edge.Deployment{deploy("d-1", edge.RollbackOnFailure, w.a1.definition("a"))}
	must(t, b.boot())
	b.run(nil)
	if r := only(t, b.cloud.results); r.Status != "SUCCESS" || len(r.Models) > 0 {
		t.Errorf("the device says %+v", r)
	}
}

func TestASimulatedDeviceIsSmall(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	const devices = 300
	pool := disk.NewPool()
	settings := (&device.Settings{}).WithDefaults()
	all := make([]*box, 0, devices)
	before := heap()
	for i := range devices {
		b := newBox(t, f, nil)
		b.seed = uint64(i)
		c := newCloud()
		c.put(w.a1, w.a2)
		b.cloud, b.disk = c, disk.NewMemory(pool, 0)
		b.alter = func(c *device.Config) { c.Settings = settings }
		must(t, b.boot())
		for k, p := range []*pkg{w.a1, w.a2} {
			c.offered = []edge.Deployment{deploy(fmt.Sprintf("d-%d", k), edge.RollbackOnFailure, p.definition("a"))}
			b.run(nil)
		}
		// What is not the device's: the server, the table, the models.
		b.cloud, b.table, b.engine, c.beats, c.results = nil, nil, nil, nil, nil
		all = append(all, b)
	}
	t.Logf("%d bytes a device with what this test keeps of it", (heap()-before)/devices)
	with := heap()
	for _, b := range all {
		b.d = nil
	}
	t.Logf("%d of them the device and what it holds on to", (with-heap())/devices)
	with = heap()
	for _, b := range all {
		b.disk = nil
	}
	t.Logf("%d its disk", (with-heap())/devices)
	runtime.KeepAlive(all)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}
