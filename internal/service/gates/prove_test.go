package gates_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/service/gates"
)

// step moves the traffic of a step.
func (y *yard) step(n int, share float64) {
	y.mu.Lock()
	e, d := *y.e, *y.e.Deployment
	d.State.Step = n
	e.Deployment = &d
	y.e = &e
	y.mu.Unlock()
	y.bake(share)
}

// shows reports whether a gate is proven, and what it has seen.
func (y *yard) shows(k gate.Kind) (bool, gate.Fact) {
	y.t.Helper()
	d := y.e.Deployment
	g, _ := gate.Find(d.Plan.Policy.Gates, k)
	for _, f := range y.s.Facts(y.id) {
		if f.Kind == k {
			return g.Shows(f, d.State.Begun, d.State.Step), f
		}
	}
	y.t.Fatalf("no gate %q", k)
	return false, gate.Fact{}
}

const held = "action=hold proven=0.05"

// Each step has to be proven by itself, by requests that were drawn since its
// traffic moved.
func TestANewFleetThatIsWithinItsMarginIsProvenInEachStepAnew(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.deploy("d-1", map[string]string{"errors": held})
		y.step(0, 0.25)
		y.requests(20*time.Second, 0.25, 0, 0)
		if ok, f := y.shows(gate.Errors); ok {
			t.Errorf(seed+"proven by %+v", f.Seen)
		}
		y.requests(2*time.Minute, 0.25, 0, 0)
		ok, f := y.shows(gate.Errors)
		if x, n := y.value("ErrorRateProof"); !ok || x < 3 || n < 100 || f.Proof < x {
			t.Errorf(seed+"not proven: %v by %+v; %v of %d values", f.Proof, f.Seen, x, n)
		}
		y.requests(20*time.Second, 0.25, 0.06, 0) // what was shown stays shown
		if ok, f := y.shows(gate.Errors); !ok {
			t.Errorf(seed+"no longer proven: %v", f.Proof)
		}
		y.step(1, 0.5)
		y.requests(3*time.Second, 0.5, 0, 0)
		if ok, f := y.shows(gate.Errors); ok || f.Step != 1 || f.Proof > 1 {
			t.Errorf(seed+"the next step is proven by the one before: %v in step %d", f.Proof, f.Step)
		}
		y.requests(3*time.Minute, 0.5, 0, 0)
		if ok, f := y.shows(gate.Errors); !ok {
			t.Errorf(seed+"the next step is not proven: %v", f.Proof)
		}
		for _, name := range []string{"RetryProof", "AbandonedProof"} { // nobody asked
			if _, n := y.value(name); n > 0 {
				t.Errorf("%s has %d values", name, n)
			}
		}
	})
}

// While the new fleet hangs on some of its requests, those that it answered prove
// nothing: the second that they were drawn in is not over.
func TestAFleetThatHangsIsNotProvenByTheRequestsThatItAnswered(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.deploy("d-1", map[string]string{"errors": held})
		y.step(0, 0.5)
		var hanging []traffic.Sample
		for range 3000 { // 50 s of a minute
			s := sample(y.x.IntN(2) == 0, y.x.IntN(4), 0.5)
			if s.Draw.Role == traffic.NewFleet {
				s.Draw.Fleet = "f-d-1"
			}
			y.s.Started(s.Key, s.Draw)
			if s.Draw.Role == traffic.NewFleet && y.x.IntN(12) == 0 {
				hanging = append(hanging, s)
			} else {
				y.s.Sample(s)
			}
			time.Sleep(time.Second / 60)
		}
		synctest.Wait()
		if ok, f := y.shows(gate.Errors); ok || f.Seen.New.Requests < 1000 {
			t.Errorf(seed+"proven while %d requests hang: %v by %+v", len(hanging), f.Proof, f.Seen)
		}
		for _, s := range hanging {
			s.ModelError = true
			y.s.Sample(s)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if ok, f := y.shows(gate.Errors); ok {
			t.Errorf(seed+"proven by a fleet that fails every twelfth: %v by %+v", f.Proof, f.Seen)
		}
	})
}

func TestPairsProveUnlessTooManyOfThemWereNotCompared(t *testing.T) {
	words := map[string]string{
		"disagreement": "action=hold tolerance=0.05 mirror=0.5 sideeffects=none output=json:label",
	}
	inBubble(t, func(y *yard) {
		y.deploy("d-1", words)
		y.bake(0)
		of := func() gates.Pair {
			return gates.Pair{Deployment: "d-1", Variant: "v", Drawn: time.Now(), Slot: y.x.IntN(4)}
		}
		for range 400 {
			y.s.Compared(of(), 0)
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if ok, f := y.shows(gate.Disagreement); ok {
			t.Errorf("proven before the answers that may be late can have come: %v", f.Proof)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if ok, f := y.shows(gate.Disagreement); !ok {
			t.Errorf("not proven by 400 pairs that agree: %v", f.Proof)
		}
		for range 150 {
			y.s.Shed(of(), false, gate.Unread{})
		}
		time.Sleep(time.Second)
		synctest.Wait()
		ok, f := y.shows(gate.Disagreement)
		if ok || f.Proof != 0 {
			t.Errorf("proven though %v of the copies were not compared", f.Seen.Unseen)
		}
		g, _ := gate.Find(y.e.Deployment.Plan.Policy.Gates, gate.Disagreement)
		if said := g.Lacking(f, gate.Names{New: "v2", Old: "v1"}); !strings.Contains(said, "27 % of the copies") {
			t.Error(said)
		}
	})
}

// What was not compared in one step says nothing of the next, and what was makes up
// for nothing there; a server that is killed meanwhile knows it still.
func TestEachStepIsProvenByWhatWasComparedInIt(t *testing.T) {
	words := map[string]string{
		"disagreement": "action=hold tolerance=0.05 mirror=0.5 sideeffects=none output=json:label",
	}
	for name, killed := range map[string]bool{"in one life": false, "in two": true} {
		t.Run(name, func(t *testing.T) {
			inBubbles(t, func(y *yard) {
				stop := y.start()
				send := func(compared, shed int, why gate.Unread) {
					of := gates.Pair{Deployment: "d-1", Variant: "v"}
					for i := range max(compared, shed) {
						of.Drawn, of.Slot = time.Now(), y.x.IntN(4)
						if i < compared {
							y.s.Compared(of, 0)
						}
						if i < shed {
							y.s.Shed(of, false, why)
						}
						time.Sleep(100 * time.Millisecond)
					}
					time.Sleep(70 * time.Second) // until they can prove something
					if killed {
						y.kill(stop)
						stop = y.start()
						time.Sleep(2 * time.Second)
					}
					synctest.Wait()
				}
				y.deploy("d-1", words)
				y.step(0, 0)
				send(100, 400, gate.Unread{})
				if ok, f := y.shows(gate.Disagreement); ok || f.Uncompared < 0.7 {
					t.Errorf("step 1 is proven: %v with %v missing", f.Proof, f.Uncompared)
				}
				y.step(1, 0)
				send(600, 0, gate.Unread{})
				if ok, f := y.shows(gate.Disagreement); !ok || f.Uncompared != 0 || f.Seen.Unseen < 0.3 {
					t.Errorf("step 2 is not proven: %v with %v missing, %v in all", f.Proof, f.Uncompared,
						f.Seen.Unseen)
				}
				send(3000, 0, gate.Unread{})
				for step, why := range []gate.Unread{{}, {Blank: 1}} {
					y.step(2+step, 0)
					send(400, 200, why)
					if ok, f := y.shows(gate.Disagreement); ok || f.Uncompared < 0.3 || f.Uncompared > 0.35 {
						t.Errorf("step %d is proven: %v with %v missing", step+3, f.Proof, f.Uncompared)
					}
				}
				stop()
			})
		})
	}
}

// One bad instance of four fires its fleet's gate, but not before it has been in
// trouble for as long as the gate is patient.
func TestOneBadInstanceOfFourTakesItsFleetBackAfterThePatience(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.deploy("d-1", map[string]string{"errors": "action=rollback patience=60s"})
		y.bake(0.5)
		began := time.Now()
		for y.why("d-1") == "" && time.Since(began) < 20*time.Minute {
			s := sample(y.x.IntN(2) == 0, y.x.IntN(4), 0.5)
			if s.Draw.Role == traffic.NewFleet {
				s.Draw.Fleet = "f-d-1"
				s.ModelError = s.Draw.Slot == 0
			}
			y.s.Started(s.Key, s.Draw)
			y.s.Sample(s)
			time.Sleep(20 * time.Millisecond)
		}
		if took := time.Since(began); took < time.Minute || took > 5*time.Minute {
			t.Errorf(seed+"it took %v: %s", took, y.why("d-1"))
		}
	})
}

// What one gate has proven is nothing against what another one has found.
func TestAGateThatFiresIsHeardThoughAnotherIsProven(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.deploy("d-1", map[string]string{"errors": held, "retries": "action=rollback"})
		y.step(0, 0.25)
		y.requests(3*time.Minute, 0.25, 0, 0)
		if ok, _ := y.shows(gate.Errors); !ok || y.why("d-1") != "" {
			t.Fatalf(seed+"proven: %v; %s", ok, y.why("d-1"))
		}
		for n := 0; n < 600 && y.why("d-1") == ""; n++ {
			s := sample(y.x.IntN(4) == 0, y.x.IntN(4), 0.25)
			if s.Draw.Role == traffic.NewFleet {
				s.Draw.Fleet, s.Retried = "f-d-1", true
			}
			y.s.Started(s.Key, s.Draw)
			y.s.Sample(s)
			time.Sleep(100 * time.Millisecond)
		}
		if why := y.why("d-1"); !strings.HasPrefix(why, `gate "retries" fired: v2 needs a second instance`) {
			t.Errorf(seed+"%q", why)
		}
	})
}
