package deployer_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/outcome"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	base "github.com/slipway-ml/slipway/internal/platform/store"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
	"github.com/slipway-ml/slipway/internal/service/deployer"
	"github.com/slipway-ml/slipway/internal/service/evidence"
)

var scope = arn.Scope{Region: "us-east-1", Account: "000000000000"}

// yard is the real store and engine in a bubble, with instances that do what
// the test says.
type yard struct {
	t     *testing.T
	db    *store.DB
	turns loop.Wakeup
	fail  atomic.Int64 // turns that still fail before they do anything
	away  atomic.Bool  // the database
	slow  atomic.Int64 // how long each transaction takes
	cut   atomic.Int64 // transactions that the end of their turn cut off

	firing   atomic.Pointer[[]hosting.TrippedAlarm]
	gates    atomic.Pointer[[]gate.Fact]
	asked    atomic.Int64 // how often evidence was to be kept
	answered atomic.Int64
	dropped  atomic.Pointer[rollout.Gap]
	tripLate atomic.Bool // an alarm takes traffic back while a turn waits for the database
	deciding atomic.Bool // a transaction of a turn is under way
}

// inBubble runs f under virtual time.
func inBubble(t *testing.T, f func(y *yard)) {
	path := filepath.Join(t.TempDir(), "x.db")
	synctest.Test(t, func(t *testing.T) {
		db, err := base.OpenSQLite(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		f(&yard{t: t, db: store.New(db), turns: loop.NewWakeup()})
	})
}

// Firing implements evidence.Alarms.
func (y *yard) Firing(
	context.Context, arn.Scope, []string, time.Time,
) (all []hosting.TrippedAlarm, late rollout.Gap, err error) {
	if f := y.firing.Load(); f != nil {
		all = *f
	}
	return all, late, nil
}

// Tripped implements evidence.Routers.
func (y *yard) Tripped(hosting.DeploymentID) (a hosting.TrippedAlarm, ok bool) {
	if y.tripLate.Load() && y.deciding.Load() {
		return hosting.TrippedAlarm{Name: "errors", Reason: "Threshold Crossed: 1 datapoint."}, true
	}
	return a, false
}

// Answered implements evidence.Routers.
func (y *yard) Answered(_ traffic.Key, f traffic.FleetRef) []traffic.Reading {
	reading := traffic.Reading{Router: "r"}
	if f.Config == "c2" && f.ID != "" {
		reading.Requests = y.answered.Load()
	}
	return []traffic.Reading{reading}
}

// Dropped implements evidence.Metrics.
func (y *yard) Dropped(traffic.Key, traffic.FleetRef) (g rollout.Gap) {
	if d := y.dropped.Load(); d != nil {
		g = *d
	}
	return g
}

// start runs a deployer until stop.
func (y *yard) start() (stop func()) {
	ctx, cancel := context.WithCancel(y.t.Context())
	log := slog.New(slog.NewTextHandler(y.t.Output(), nil))
	watch := evidence.NewWatch(func(ctx context.Context) error {
		if y.away.Load() {
			return errors.New("the database is away")
		}
		return y.db.Change(ctx, func(store.Tx) error { return nil })
	})
	d := &deployer.Deployer{
		Log: log, Changed: y.turns.Notify, Keep: y.keep,
		Evidence: &evidence.Source{Endpoints: y.db, Alarms: y, Gates: y, Routers: y, Metrics: y, Watch: watch},
		Change: func(ctx context.Context, f func(store.Tx) error) error {
			if y.fail.Add(-1) >= 0 || y.away.Load() {
				return errors.New("the database is away")
			}
			select {
			case <-ctx.Done():
				y.cut.Add(1)
				return ctx.Err()
			case <-time.After(time.Duration(y.slow.Load())):
			}
			y.deciding.Store(true)
			defer y.deciding.Store(false)
			return y.db.Change(ctx, f)
		},
	}
	r := &loop.Runner{
		Queue: y.db.Deploying(), Turn: d.Turn, Log: log, Wake: y.turns, Poll: time.Minute, Lease: time.Minute,
		Retry: 10 * time.Second,
	}
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	running.Go(func() { watch.Run(ctx) })
	return func() { cancel(); running.Wait() }
}

func launch(config string, n int) hosting.Launch {
	return hosting.Launch{
		Deployment: hosting.DeploymentID("d-" + config), Fleet: hosting.FleetID("f-" + config), Now: time.Now().UTC(),
		Config: hosting.EndpointConfig{
			Scope: scope, Name: config,
			Variants: []hosting.Variant{{Name: "a", ModelName: "m", InstanceCount: n, Weight: 1}},
		},
		Models: map[string]hosting.Model{"m": {Containers: []hosting.Container{{Name: "primary", Image: "i"}}}},
	}
}

func (y *yard) create(n int) {
	e, err := hosting.Create("e-1", "e", launch("c1", n), nil)
	if err != nil {
		y.t.Fatal(err)
	}
	err = y.db.Change(y.t.Context(), func(tx store.Tx) error { return tx.Write(y.t.Context(), outcome.OfCreation(e)) })
	if err != nil {
		y.t.Fatal(err)
	}
	y.turns.Notify()
}

func (y *yard) change(f func(*hosting.Endpoint) error) {
	y.t.Helper()
	err := y.db.ChangeEndpoint(y.t.Context(), scope, "e", func(_ store.Tx, e *hosting.Endpoint) error { return f(e) })
	if err != nil {
		y.t.Fatal(err)
	}
	y.turns.Notify()
}

// obey makes instances what is wanted of them: up with status, or gone.
func (y *yard) obey(status hosting.InstanceStatus) {
	y.t.Helper()
	rows, err := y.db.InstancesSince(y.t.Context(), 0)
	if err != nil {
		y.t.Fatal(err)
	}
	for _, r := range rows {
		switch {
		case !r.Wanted:
			_, err = y.db.RemoveInstance(y.t.Context(), r.ID, time.Now())
		case r.Status == hosting.InstanceStarting:
			_, err = y.db.ReportInstance(y.t.Context(),
				hosting.InstanceReport{ID: r.ID, Status: status, Address: "a:1", Detail: "it broke"}, time.Now())
		}
		if err != nil {
			y.t.Fatal(err)
		}
	}
	y.turns.Notify()
	synctest.Wait()
}

func (y *yard) endpoint() *hosting.Endpoint {
	y.t.Helper()
	e, _, err := y.db.EndpointView(y.t.Context(), scope, "e")
	if err != nil {
		y.t.Fatal(err)
	}
	return e
}

func (y *yard) want(status hosting.Status, config string, phase rollout.Phase) {
	y.t.Helper()
	e := y.endpoint()
	var got rollout.Phase
	if e.Deployment != nil {
		got = e.Deployment.State.Phase
	}
	if e.Status != status || e.ConfigName != config || got != phase {
		y.t.Errorf("%s %s %q, want %s %s %q", e.Status, e.ConfigName, got, status, config, phase)
	}
}

// An update all at once with a termination wait goes through the real engine
// and a real database. The first turns fail and the server is replaced twice,
// once in the middle of the bake: that starts over, since nobody was watching.
func TestAnUpdateOutlivesItsServers(t *testing.T) {
	inBubble(t, func(y *yard) {
		stop := y.start()
		y.create(2)
		synctest.Wait()
		y.want(hosting.Creating, "c1", rollout.Launching)
		y.obey(hosting.InstanceReady)
		y.want(hosting.InService, "c1", "")

		y.fail.Store(3)
		y.change(func(e *hosting.Endpoint) error {
			policy := &rollout.Policy{Strategy: rollout.AllAtOnce, TerminationWait: 10 * time.Minute}
			return e.Update(hosting.Update{
				Launch:           launch("c2", 2),
				DeploymentConfig: &hosting.DeploymentConfig{Policy: policy, Document: []byte(`{}`)},
			})
		})
		y.obey(hosting.InstanceReady)
		time.Sleep(31 * time.Second) // three retries
		synctest.Wait()
		y.want(hosting.Updating, "c1", rollout.Baking)
		stop()
		time.Sleep(14 * time.Minute) // nobody is there
		stop = y.start()
		again := time.Now()
		time.Sleep(9 * time.Minute)
		y.want(hosting.Updating, "c1", rollout.Baking)
		if gaps := y.endpoint().Deployment.State.Gaps; len(gaps) != 1 || !gaps[0].Until.Equal(again) ||
			gaps[0].Missed != "the server was started meanwhile" {
			y.t.Errorf("the record says %+v", gaps)
		}
		time.Sleep(time.Until(again.Add(10 * time.Minute)))
		synctest.Wait()
		y.want(hosting.Updating, "c1", rollout.Committed)
		stop()
		stop = y.start()
		y.obey(hosting.InstanceReady)
		y.want(hosting.InService, "c2", "")
		stop()
	})
}

func TestAFleetThatCannotStartIsRolledBackWithoutMovingTraffic(t *testing.T) {
	inBubble(t, func(y *yard) {
		defer y.start()()
		y.create(1)
		synctest.Wait()
		y.obey(hosting.InstanceReady)
		y.change(func(e *hosting.Endpoint) error { return e.Update(hosting.Update{Launch: launch("c2", 1)}) })
		synctest.Wait()
		before, err := y.db.RoutesSince(y.t.Context(), 0)
		if err != nil {
			y.t.Fatal(err)
		}
		y.obey(hosting.InstanceFailed)
		y.obey(hosting.InstanceReady)
		y.want(hosting.InService, "c1", "")
		if e := y.endpoint(); e.FailureReason != "it broke" {
			y.t.Errorf("FailureReason = %q", e.FailureReason)
		}
		if after, err := y.db.RoutesSince(y.t.Context(), before[0].Version); err != nil || len(after) != 0 {
			y.t.Errorf("the route moved: %+v, %v", after, err)
		}
	})
}

func TestADeletedEndpointIsGoneWhenItsLastInstanceIs(t *testing.T) {
	inBubble(t, func(y *yard) {
		defer y.start()()
		y.create(2)
		synctest.Wait()
		y.obey(hosting.InstanceReady)
		y.change(func(e *hosting.Endpoint) error { return e.Delete("d-x", time.Now().UTC()) })
		synctest.Wait()
		y.want(hosting.Deleting, "c1", rollout.Committed)
		y.obey(hosting.InstanceReady)
		if _, _, err := y.db.EndpointView(y.t.Context(), scope, "e"); !errors.Is(err, fault.NotFound) {
			y.t.Errorf("after the deletion: %v", err)
		}
		routes, err := y.db.RoutesSince(y.t.Context(), 0)
		if err != nil || len(routes) != 1 || !routes[0].Gone {
			y.t.Errorf("routers are not told: %+v, %v", routes, err)
		}
	})
}

// The alarm starts firing in the middle of a bake, and nobody is notified: the
// next look finds it, traffic goes back in that very turn, and the record knows
// why.
func TestAnAlarmDuringABakeTakesTheTrafficBack(t *testing.T) {
	inBubble(t, func(y *yard) {
		defer y.start()()
		y.create(2)
		synctest.Wait()
		y.obey(hosting.InstanceReady)
		y.change(func(e *hosting.Endpoint) error {
			policy := &rollout.Policy{
				Strategy: rollout.Canary, CanarySize: rollout.Size{Type: rollout.InstanceCount, Value: 1},
				WaitInterval: 10 * time.Minute, Alarms: []string{"errors"},
			}
			return e.Update(hosting.Update{
				Launch:           launch("c2", 2),
				DeploymentConfig: &hosting.DeploymentConfig{Policy: policy, Document: []byte(`{}`)},
			})
		})
		y.obey(hosting.InstanceReady)
		y.want(hosting.Updating, "c1", rollout.Baking)
		y.answered.Store(7)
		time.Sleep(time.Minute)
		y.firing.Store(&[]hosting.TrippedAlarm{{Name: "errors", Reason: "Threshold Crossed: 1 datapoint."}})
		time.Sleep(11 * time.Second)
		synctest.Wait()
		e := y.endpoint()
		if d := e.Deployment; d == nil || d.State.Variants[0].NewShare != 0 || d.Exposure.Requests != 7 ||
			len(d.Tripped) != 1 {
			y.t.Errorf("after the alarm: %+v", d)
		}
		y.obey(hosting.InstanceReady)
		y.want(hosting.InService, "c1", "")
		if got := y.endpoint().FailureReason; got != "Endpoint deployment was rolled back because the following "+
			"CloudWatch alarm(s) are in ALARM state: [errors]." {
			y.t.Errorf("FailureReason = %s", got)
		}
	})
}

// A bake's last turn has gathered its evidence, and waits for the database while
// the new fleet breaks.
func TestATripBetweenTheEvidenceAndTheDecisionCounts(t *testing.T) {
	inBubble(t, func(y *yard) {
		defer y.start()()
		y.canary(10 * time.Minute)
		y.tripLate.Store(true)
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		y.obey(hosting.InstanceReady)
		y.want(hosting.InService, "c1", "")
	})
}

// DescribeEndpoint and the record tell what is true of an alarm that somebody
// deleted while it guarded a deployment.
func TestADeletedAlarmIsNotSaidToBeInAlarm(t *testing.T) {
	inBubble(t, func(y *yard) {
		defer y.start()()
		y.canary(10 * time.Minute)
		y.firing.Store(&[]hosting.TrippedAlarm{{Name: "errors", Reason: "The alarm was deleted.", Deleted: true}})
		time.Sleep(11 * time.Second)
		synctest.Wait()
		y.obey(hosting.InstanceReady)
		y.want(hosting.InService, "c1", "")
		if got := y.endpoint().FailureReason; got != "Endpoint deployment was rolled back because the following "+
			"CloudWatch alarm(s) were deleted: [errors]." {
			y.t.Errorf("FailureReason = %s", got)
		}
	})
}

// Nobody uses the canary: its bake is over and goes on all the same, until the
// requests that were asked for have come.
func TestABakeWaitsForItsRequests(t *testing.T) {
	inBubble(t, func(y *yard) {
		defer y.start()()
		y.create(2)
		synctest.Wait()
		y.obey(hosting.InstanceReady)
		y.change(func(e *hosting.Endpoint) error {
			policy := &rollout.Policy{
				Strategy: rollout.Canary, CanarySize: rollout.Size{Type: rollout.InstanceCount, Value: 1},
				WaitInterval: time.Minute,
			}
			return e.Update(hosting.Update{
				Launch:           launch("c2", 2),
				DeploymentConfig: &hosting.DeploymentConfig{Policy: policy, Document: []byte(`{}`)},
				MinimumRequests:  10,
			})
		})
		y.obey(hosting.InstanceReady)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		y.want(hosting.Updating, "c1", rollout.Baking)
		if step := y.endpoint().Deployment.State.Step; step != 0 {
			y.t.Errorf("step %d was reached without a request", step)
		}
		y.answered.Store(10)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if d := y.endpoint().Deployment; d == nil || d.State.Step != 1 {
			y.t.Errorf("ten requests did not end the bake: %+v", d)
		}
	})
}

// canary updates to c2 by a canary that bakes for that long.
func (y *yard) canary(wait time.Duration) {
	y.create(2)
	synctest.Wait()
	y.obey(hosting.InstanceReady)
	y.change(func(e *hosting.Endpoint) error {
		policy := &rollout.Policy{
			Strategy: rollout.Canary, CanarySize: rollout.Size{Type: rollout.InstanceCount, Value: 1},
			WaitInterval: wait, Alarms: []string{"errors"},
		}
		return e.Update(hosting.Update{
			Launch:           launch("c2", 2),
			DeploymentConfig: &hosting.DeploymentConfig{Policy: policy, Document: []byte(`{}`)},
		})
	})
	y.obey(hosting.InstanceReady)
	y.want(hosting.Updating, "c1", rollout.Baking)
}

// Samples of the fleet that bakes are dropped: the bake holds, says so, and
// starts over when they are measured again.
func TestABakeHoldsWhileItsFleetIsNotMeasured(t *testing.T) {
	inBubble(t, func(y *yard) {
		defer y.start()()
		y.canary(time.Minute)
		for range 60 {
			time.Sleep(5 * time.Second)
			now := time.Now()
			y.dropped.Store(&rollout.Gap{From: now, Until: now.Add(time.Second), Missed: "too many metrics"})
		}
		last := time.Now()
		d := y.endpoint().Deployment
		if d.State.Step != 0 || len(d.State.Gaps) != 1 || d.State.Gaps[0].Missed != "too many metrics" {
			y.t.Errorf("after five minutes: step %d, %+v", d.State.Step, d.State.Gaps)
		}
		time.Sleep(time.Until(last.Add(time.Minute)))
		synctest.Wait()
		if step := y.endpoint().Deployment.State.Step; step != 0 {
			y.t.Errorf("it was not observed for a minute, but went on")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if step := y.endpoint().Deployment.State.Step; step != 1 {
			y.t.Errorf("it was observed for a minute and did not go on")
		}
	})
}

// The database goes away for longer than the bake: what could not be written
// in that time was not judged either.
func TestABakeStartsOverWhenTheDatabaseWasAway(t *testing.T) {
	inBubble(t, func(y *yard) {
		defer y.start()()
		y.canary(time.Minute)
		time.Sleep(time.Second)
		y.away.Store(true)
		time.Sleep(2 * time.Minute)
		y.away.Store(false)
		back := time.Now()
		time.Sleep(59 * time.Second)
		synctest.Wait()
		d := y.endpoint().Deployment
		if d.State.Step != 0 || len(d.State.Gaps) != 1 || d.State.Gaps[0].Missed != "the database did not answer" {
			y.t.Errorf("step %d, %+v", d.State.Step, d.State.Gaps)
		}
		time.Sleep(time.Until(back.Add(75 * time.Second)))
		synctest.Wait()
		if step := y.endpoint().Deployment.State.Step; step != 1 {
			y.t.Errorf("it is at step %d", step)
		}
	})
}

// The database takes its time: a turn leaves to the next what may be cut off.
func TestAStepIsNotBegunThatTheEndOfItsTurnMayCutOff(t *testing.T) {
	inBubble(t, func(y *yard) {
		defer y.start()()
		y.create(2)
		synctest.Wait()
		y.slow.Store(int64(40 * time.Second)) // of a minute for a turn
		y.obey(hosting.InstanceReady)
		y.change(func(e *hosting.Endpoint) error { return e.Update(hosting.Update{Launch: launch("c2", 2)}) })
		for range 10 {
			time.Sleep(time.Minute)
			y.obey(hosting.InstanceReady)
		}
		y.want(hosting.InService, "c2", "")
		if n := y.cut.Load(); n > 0 {
			y.t.Errorf("%d transactions were cut off", n)
		}
	})
}
