package gates_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// Write takes what is logged, which must not hold up who weighs (io.Writer).
func (y *yard) Write(line []byte) (int, error) {
	if y.s != nil && !y.s.Free() {
		y.t.Errorf("it is logged while nobody can weigh: %s", line)
	}
	y.mu.Lock()
	y.logged = append(y.logged, string(line))
	y.mu.Unlock()
	return y.t.Output().Write(line)
}

// EndpointOf implements gates.Deployments.
func (y *yard) EndpointOf(ctx context.Context, id hosting.DeploymentID) (*hosting.Endpoint, error) {
	y.mu.Lock()
	slow := y.slow
	y.mu.Unlock()
	if slow {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if id != y.id {
		return nil, nil
	}
	return y.e, nil
}

// A database that is too slow to tell of endpoints is told of, and what it says is over
// ends all the same.
func TestADeploymentThatIsGoneEndsThoughTheDatabaseIsSlow(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.deploy("d-1", nil)
		y.bake(0.5)
		y.requests(5*time.Second, 0.5, 0, 0)
		y.mu.Lock()
		y.id, y.slow = "d-2", true
		y.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if fs := y.s.Facts("d-1"); len(fs) > 0 {
			t.Errorf("it is still watched: %d facts", len(fs))
		}
		y.mu.Lock()
		defer y.mu.Unlock()
		if !slices.ContainsFunc(y.logged, func(line string) bool {
			return strings.Contains(line, "were not looked at")
		}) {
			t.Error("nobody was told that the database did not answer in time")
		}
	})
}

// What drift compares with is not saved: a server that starts learns it again, and says so.
func TestDriftBeginsAnewAfterARestartAndIsSaidTo(t *testing.T) {
	inBubbles(t, func(y *yard) {
		stop := y.start()
		y.deploy("d-1", map[string]string{"drift": "tolerance=0.05"})
		y.bake(0.5)
		y.requests(10*time.Second, 0.5, 0, 0)
		stop()
		time.Sleep(time.Second)
		at := time.Now()
		stop = y.start()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		_, f := y.shows(gate.Drift)
		if f.Since.Before(at) {
			t.Errorf("it counts since %v, before the start at %v", f.Since, at)
		}
		g, _ := gate.Find(y.e.Deployment.Plan.Policy.Gates, gate.Drift)
		said := g.Unseen(f, gate.Names{})
		if !strings.Contains(said, "It began anew at "+f.Since.Format(time.TimeOnly)) {
			t.Error(said)
		}
		stop()
		if !slices.ContainsFunc(y.logged, func(line string) bool {
			return strings.Contains(line, "what it compares with is not saved") && strings.Contains(line, "gate=drift")
		}) {
			t.Errorf("the log does not say so: %q", y.logged)
		}
	})
}
