package gates_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/service/gates"
)

// inBubbles runs f with a yard whose services f starts and ends itself.
func inBubbles(t *testing.T, f func(y *yard)) {
	synctest.Test(t, func(t *testing.T) {
		f(&yard{t: t, x: rand.New(rand.NewPCG(7, 7)), tripped: map[hosting.DeploymentID]string{}})
	})
}

// kill ends a life of the service at once: nothing of it is kept any more.
func (y *yard) kill(stop func()) {
	y.mu.Lock()
	kept := y.kept
	y.mu.Unlock()
	stop()
	y.mu.Lock()
	y.kept = kept
	y.mu.Unlock()
}

// A server that was killed goes on with what was kept, of a deployment of which no
// turn tells it, too; what was counted after that counts neither way, and is said.
func TestEvidenceSurvivesAKillAndCountsNothingTwice(t *testing.T) {
	inBubbles(t, func(y *yard) {
		stop := y.start()
		y.deploy("d-1", map[string]string{"errors": held})
		y.step(0, 0.5)
		begun := y.e.Deployment.State.Begun
		sent := int64(0)
		for range 6 {
			y.requests(2*time.Minute+700*time.Millisecond, 0.5, 0.04, 0.04)
			sent += 1207
			_, before := y.shows(gate.Errors)
			y.kill(stop)
			stop = y.start()
			y.requests(3*time.Second, 0.5, 0, 0)
			sent += 30
			_, f := y.shows(gate.Errors)
			if all := f.Seen.New.Requests + f.Seen.Old.Requests; all > sent || all < sent-6*90 {
				t.Errorf(seed+"%d requests were counted of %d", all, sent)
			}
			if !f.Since.Equal(before.Since) || f.Since.After(begun.Add(time.Second)) {
				t.Errorf(seed+"it counts since %v, before since %v", f.Since, before.Since)
			}
			if f.Proof < before.Proof-1 || before.Proof > 1 && f.Proof < 0.5 {
				t.Errorf(seed+"the proof was %v, and is %v", before.Proof, f.Proof)
			}
			if f.Seen.Unwatched <= 0 || f.Seen.Unwatched > time.Minute {
				t.Errorf(seed+"unwatched for %v", f.Seen.Unwatched)
			}
		}
		_, f := y.shows(gate.Errors)
		g, _ := gate.Find(y.e.Deployment.Plan.Policy.Gates, gate.Errors)
		if said := g.Unseen(f, gate.Names{}); !strings.Contains(said, " s nobody counted: the server was started") {
			t.Error(said)
		}
		stop()
	})
}

// Evidence that was gathered before a kill and after it takes the traffic back
// together, and what fired before stays said.
func TestAFleetIsTakenBackByWhatWasSeenBeforeAKillToo(t *testing.T) {
	inBubbles(t, func(y *yard) {
		stop := y.start()
		y.deploy("d-1", map[string]string{"errors": "action=rollback"})
		y.bake(0.25)
		for range 300 { // until it nearly fires
			if x, _ := y.value("ErrorRateEvidence"); x > 2 {
				break
			}
			y.requests(time.Second, 0.25, 0.3, 0)
		}
		time.Sleep(6 * time.Second)
		y.kill(stop)
		stop = y.start()
		began := time.Now()
		for y.why("d-1") == "" && time.Since(began) < time.Minute {
			y.requests(time.Second, 0.25, 0.3, 0)
		}
		if took := time.Since(began); took > 40*time.Second { // anew it takes more than a minute
			t.Errorf(seed+"it took %v after the kill", took)
		}
		y.requests(6*time.Second, 0.25, 0, 0)
		y.kill(stop)
		delete(y.tripped, "d-1")
		stop = y.start()
		y.requests(2*time.Second, 0.25, 0, 0.5)
		if y.why("d-1") == "" {
			t.Error("what fired before the kill is forgotten")
		}
		stop()
	})
}

// A server that ends by itself loses nothing but what it did not see.
func TestAServerThatStopsKeepsAllThatItCounted(t *testing.T) {
	inBubbles(t, func(y *yard) {
		stop := y.start()
		y.deploy("d-1", nil)
		y.bake(0.5)
		y.requests(63*time.Second+300*time.Millisecond, 0.5, 0, 0)
		stop()
		stop = y.start()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		_, f := y.shows(gate.Errors)
		if all := f.Seen.New.Requests + f.Seen.Old.Requests; all != 633 {
			t.Errorf("%d requests of 633", all)
		}
		stop()
	})
}

// A database that ran backwards has the evidence of another course of things.
func TestEvidenceOfADatabaseThatRanBackwardsIsNotContinued(t *testing.T) {
	for name, rewind := range map[string]func(y *yard, stop func()) func(){
		"before the server started": func(y *yard, stop func()) func() {
			y.kill(stop)
			y.anew = true
			return y.start()
		},
		"while it runs": func(y *yard, stop func()) func() {
			y.s.Rewound(y.t.Context())
			return stop
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubbles(t, func(y *yard) {
				stop := y.start()
				y.deploy("d-1", nil)
				y.bake(0.5)
				y.requests(time.Minute, 0.5, 1, 0)
				at := time.Now()
				stop = rewind(y, stop)
				y.turn()
				y.requests(20*time.Second, 0.5, 0, 0)
				_, f := y.shows(gate.Errors)
				if f.Log10 > 0.1 || f.Since.Before(at.Add(-time.Second)) || f.Seen.New.Events > 0 || len(y.kept) == 0 {
					t.Errorf(seed+"%+v", f)
				}
				stop()
			})
		})
	}
}

// Without a word of the store nobody knows what is kept: then nothing begins.
func TestNothingBeginsAnewWhileTheStoreCannotBeRead(t *testing.T) {
	inBubbles(t, func(y *yard) {
		stop := y.start()
		y.deploy("d-1", nil)
		y.bake(0.5)
		y.requests(time.Minute, 0.5, 1, 0)
		y.kill(stop)
		y.unread = errors.New("the database is away")
		stop = y.start()
		if err := y.s.Follow(t.Context(), y.id, y.e); !errors.Is(err, y.unread) {
			t.Error(err)
		}
		time.Sleep(20 * time.Second)
		y.mu.Lock()
		y.unread = nil
		y.mu.Unlock()
		y.turn()
		y.requests(2*time.Second, 0.5, 0, 0)
		if _, f := y.shows(gate.Errors); f.Log10 < 3 || f.Seen.Unwatched < 20*time.Second {
			t.Errorf(seed+"%+v", f)
		}
		stop()
	})
}

var _ gates.Store = (*yard)(nil)
