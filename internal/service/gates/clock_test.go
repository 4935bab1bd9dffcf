package gates_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// fromAhead is a request of the new fleet that was drawn while the clock was ahead.
func (y *yard) fromAhead(by time.Duration) traffic.Sample {
	s := sample(true, 0, 0.5)
	s.Draw.Fleet, s.Draw.At = "f-"+string(y.id), time.Now().Add(by)
	return s
}

// begins has the deployment have begun at a time.
func (y *yard) begins(at time.Time) {
	y.mu.Lock()
	defer y.mu.Unlock()
	e, d := *y.e, *y.e.Deployment
	d.State.Begun = at
	e.Deployment = &d
	y.e = &e
}

// The seconds of requests that were drawn before lie ahead, as do those of requests
// that end late: they must not keep out what comes.
func TestAGateProvesAtOnceAfterTheClockWasSetBack(t *testing.T) {
	const ahead = time.Hour
	inBubble(t, func(y *yard) {
		y.deploy("d-1", map[string]string{"errors": held})
		y.step(0, 0.5)
		for range 100 { // more seconds than are kept
			s := y.fromAhead(ahead)
			y.s.Started(s.Key, s.Draw)
			time.Sleep(time.Second)
		}
		y.s.SetBack(ahead)
		time.Sleep(2 * time.Second)
		for i := range 100 {
			y.s.Sample(y.fromAhead(ahead - time.Duration(i)*time.Second))
		}
		y.requests(5*time.Minute, 0.5, 0, 0)
		if ok, f := y.shows(gate.Errors); !ok {
			t.Errorf(seed+"not proven: %v by %+v", f.Proof, f.Seen)
		}
	})
}

// A series takes no value of a second before it began.
func TestSeriesBeginAnewWhenTheClockWasSetBack(t *testing.T) {
	for by, anew := range map[time.Duration]int{time.Hour: 1, 2 * time.Second: 0, -time.Hour: 0} {
		inBubble(t, func(y *yard) {
			y.deploy("d-1", map[string]string{"errors": held})
			y.bake(0.5)
			y.requests(10*time.Second, 0.5, 0, 0)
			y.mu.Lock()
			before := y.begun
			y.mu.Unlock()
			y.s.SetBack(by)
			y.requests(30*time.Second, 0.5, 0, 0)
			if _, n := y.value("ErrorRateEvidence"); y.begun != before+anew || n < 15 {
				t.Errorf("set back by %v: begun %d more times, want %d, with %d values", by, y.begun-before, anew, n)
			}
		})
	}
}

// A server that starts after the clock was set back learns only from the next turn when
// the deployment began by the new time.
func TestAGateFiresThoughTheDeploymentBeganAhead(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.deployed("d-1", map[string]string{"errors": "action=rollback"})
		y.begins(time.Now().Add(time.Hour))
		y.turn()
		time.Sleep(time.Second)
		y.begins(time.Now())
		y.bake(0.5)
		y.requests(2*time.Minute, 0.5, 0.9, 0)
		if why := y.why("d-1"); !strings.HasPrefix(why, `gate "errors" fired`) {
			t.Errorf(seed+"%q", why)
		}
	})
}
