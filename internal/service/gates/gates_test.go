package gates_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/service/gates"
)

// yard is a service in a bubble, of one endpoint, with requests by a seed.
type yard struct {
	t  *testing.T
	s  *gates.Service
	x  *rand.Rand
	e  *hosting.Endpoint
	id hosting.DeploymentID

	mu      sync.Mutex
	away    bool               // the database
	last    map[string]float64 // by metric
	puts    map[string]int     // values since the series began
	begun   int                // times that series began
	tripped map[hosting.DeploymentID]string
	routed  traffic.Variant   // what the route says beside its fleets
	version int64             // of the route
	kept    map[string]string // by variant
	full    bool              // there is no room for series
	broken  error             // why series cannot begin
	unread  error             // why what is kept cannot be read
	anew    bool              // what is kept is of another course of things
	slow    bool              // the database does not answer about endpoints in time
	logged  []string
}

// Evidence implements gates.Store.
func (y *yard) Evidence(context.Context, hosting.DeploymentID) (map[string]string, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	return maps.Clone(y.kept), y.unread
}

// KeepEvidence implements gates.Store.
func (y *yard) KeepEvidence(_ context.Context, all []hosting.KeptEvidence) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, k := range all {
		if y.kept = map[string]string{}; k.Deployment == y.id {
			y.kept = maps.Clone(k.Documents)
		}
	}
	return nil
}

// InProgress implements gates.Deployments.
func (y *yard) InProgress(context.Context) ([]hosting.DeploymentID, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	switch {
	case y.away:
		return nil, errors.New("the database is away")
	case y.e == nil:
		return nil, nil
	}
	return []hosting.DeploymentID{y.id}, nil
}

// inBubble runs f with a service that runs.
func inBubble(t *testing.T, f func(y *yard)) {
	synctest.Test(t, func(t *testing.T) {
		y := &yard{t: t, x: rand.New(rand.NewPCG(7, 7)), tripped: map[hosting.DeploymentID]string{}}
		stop := y.start()
		f(y)
		stop()
	})
}

// start begins a life of the service.
func (y *yard) start() (stop func()) {
	var err error
	y.s, err = gates.New(gates.Config{
		Deployments: y, Store: y, Longest: time.Minute, LongestPair: time.Minute, Anew: y.anew,
		Log: slog.New(slog.NewTextHandler(y, nil)),
		Begin: func(context.Context, arn.Scope, ...metric.ID) error {
			y.mu.Lock()
			defer y.mu.Unlock()
			if y.full {
				return fault.New(fault.Limit, "There is no room.")
			}
			if y.broken != nil {
				return y.broken
			}
			y.begun++
			y.last, y.puts = map[string]float64{}, map[string]int{}
			return nil
		},
		Put: func(_ arn.Scope, id metric.ID, _ time.Time, x float64) error {
			y.mu.Lock()
			defer y.mu.Unlock()
			if id.Namespace != alarm.Evidence || id.Dimensions[0].Value != "e" || id.Dimensions[1].Value != "v" {
				y.t.Errorf("published as %+v", id)
			}
			y.last[id.Name] = x
			y.puts[id.Name]++
			return nil
		},
		Route: y.route,
		Trip: func(id hosting.DeploymentID, why string) {
			y.mu.Lock()
			defer y.mu.Unlock()
			if y.tripped[id] == "" {
				y.tripped[id] = why
			}
		},
	})
	if err != nil {
		y.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(y.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { y.s.Run(ctx) })
	return func() { cancel(); wg.Wait() }
}

// deploy begins an update with gates by tags.
func (y *yard) deploy(id hosting.DeploymentID, tags map[string]string) {
	y.t.Helper()
	y.deployed(id, tags)
	y.turn()
}

// deployed is deploy before anybody was told.
func (y *yard) deployed(id hosting.DeploymentID, tags map[string]string) {
	y.t.Helper()
	words := map[string]string{}
	for k, w := range tags {
		words[gate.TagPrefix+k] = w
	}
	all, err := gate.Read(words, nil)
	if err != nil {
		y.t.Fatal(err)
	}
	y.mu.Lock()
	y.id, y.kept = id, nil
	y.e = &hosting.Endpoint{
		Name: "e", Scope: arn.Scope{Region: key.Region, Account: "000000000000"}, Fleet: &hosting.Fleet{ID: "f-1"},
		Deployment: &hosting.Deployment{
			ID: id, From: "v1", Green: &hosting.Fleet{ID: hosting.FleetID("f-" + id), ConfigName: "v2"},
			Plan: rollout.Plan{
				Kind: rollout.Update, Variants: []rollout.Variant{{Name: "v", Old: 4, New: 4}},
				Policy: rollout.Policy{Gates: all},
			},
			State: rollout.State{
				Phase: rollout.Launching, Begun: time.Now(), Variants: []rollout.Split{{}},
			},
		},
	}
	y.mu.Unlock()
}

// turn tells what a deployer's turn does.
func (y *yard) turn() {
	y.t.Helper()
	if err := y.s.Follow(y.t.Context(), y.id, y.e); err != nil {
		y.t.Fatal(err)
	}
}

// bake has the new fleet take a share.
func (y *yard) bake(share float64) {
	y.mu.Lock()
	e, d := *y.e, *y.e.Deployment
	d.State.Phase, d.State.Variants = rollout.Baking, []rollout.Split{{NewShare: share}}
	e.Deployment = &d
	y.e = &e
	y.mu.Unlock()
	y.turn()
}

// over ends the deployment.
func (y *yard) over() {
	y.mu.Lock()
	y.e = nil
	y.mu.Unlock()
	y.turn()
}

// requests sends ten a second, of which each fleet fails a part.
func (y *yard) requests(during time.Duration, share, newFails, oldFails float64) {
	for range during / (100 * time.Millisecond) {
		s, fails := sample(y.x.Float64() < share, y.x.IntN(4), share), oldFails
		if s.Draw.Role == traffic.NewFleet {
			s.Draw.Fleet, fails = "f-"+string(y.id), newFails
		}
		s.ModelError = y.x.Float64() < fails
		s.Status5XX = s.ModelError
		y.s.Started(s.Key, s.Draw)
		y.s.Sample(s)
		time.Sleep(100 * time.Millisecond)
	}
	synctest.Wait()
}

// value is what a series has now, and how many values it has had since it began.
func (y *yard) value(name string) (x float64, n int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.last[name], y.puts[name]
}

// errors is what was seen of errors.
func (y *yard) errors(id hosting.DeploymentID) (seen []gate.Fact) {
	for _, f := range y.s.Facts(id) {
		if f.Kind == gate.Errors {
			seen = append(seen, f)
		}
	}
	return seen
}

// why is what traffic was taken back for.
func (y *yard) why(id hosting.DeploymentID) string {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.tripped[id]
}

var published = []string{
	"ErrorRateEvidence", "ServerErrorEvidence", "ClientErrorEvidence", "RetryEvidence", "AbandonedEvidence",
	"LatencyEvidence", "AnyEvidence",
}

const seed = "seed 7: "

func TestANewFleetThatFailsMoreIsTakenBackAndOneBehindABadUpstreamIsNot(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.deploy("d-1", map[string]string{"errors": "action=rollback"})
		y.bake(0.25)
		y.requests(20*time.Minute, 0.25, 0.3, 0.3)
		if x, _ := y.value("ErrorRateEvidence"); x > 1 || y.why("d-1") != "" {
			t.Errorf(seed+"both fleets fail alike: evidence %v, %s", x, y.why("d-1"))
		}
		y.over()
		y.deploy("d-2", map[string]string{"errors": "action=rollback"})
		y.bake(0.25)
		y.mu.Lock()
		y.away = true // a gate needs no database to fire
		y.mu.Unlock()
		y.requests(3*time.Minute, 0.25, 0.5, 0)
		const want = `gate "errors" fired: v2 fails `
		if why := y.why("d-2"); !strings.HasPrefix(why, want) || !strings.Contains(why, "v1 0 % at the same time") {
			t.Errorf(seed+"%q", why)
		}
		for _, name := range []string{"ErrorRateEvidence", "ServerErrorEvidence", "AnyEvidence"} {
			if x, _ := y.value(name); x < 3 {
				t.Errorf(seed+"%s is %v", name, x)
			}
		}
		for _, name := range []string{"ClientErrorEvidence", "RetryEvidence", "AbandonedEvidence"} {
			if x, _ := y.value(name); x > 0 {
				t.Errorf(seed+"%s is %v", name, x)
			}
		}
	})
}

// A turn may come when the evidence has fallen again: what fired stays said.
func TestAGateThatFiredSaysSoUntilTheDeploymentIsDecided(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.deploy("d-1", map[string]string{"errors": "action=rollback"})
		y.bake(0.25)
		for range 180 {
			if y.requests(time.Second, 0.25, 0.5, 0); y.why("d-1") != "" {
				break
			}
		}
		y.requests(20*time.Minute, 0.25, 0, 0.5)
		g, _ := gate.Find(y.e.Deployment.Plan.Policy.Gates, gate.Errors)
		if x, _ := y.value("ErrorRateEvidence"); x > g.Threshold() {
			t.Errorf(seed+"evidence is %v: it should have fallen", x)
		}
		if fs := y.errors("d-1"); len(fs) != 1 || !g.Fired(fs[0], y.e.Deployment.State.Begun) {
			t.Errorf(seed+"%+v", fs)
		}
	})
}

// Each second from the begin on there is a value, and nothing after the end. A
// deployment has nothing of the one before.
func TestSeriesBeginAtZeroWithEachDeploymentAndEndWithIt(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.deploy("d-1", nil)
		time.Sleep(30*time.Second + time.Millisecond)
		synctest.Wait()
		for _, name := range published {
			if x, n := y.value(name); x != 0 || n != 30 {
				t.Errorf("without traffic %s is %v, %d times in 30 s", name, x, n)
			}
		}
		if f := y.errors("d-1"); len(f) != 1 || f[0].Held != "no traffic is on the new fleet" {
			t.Errorf("%+v", f)
		}
		y.bake(0.5)
		y.requests(2*time.Minute, 0.5, 1, 0)
		if x, _ := y.value("ErrorRateEvidence"); x < 3 {
			t.Errorf(seed+"evidence is %v", x)
		}
		if f := y.errors("d-1"); len(f) != 1 || f[0].Log10 < 3 || f[0].Held != "" || f[0].Deployment != "d-1" ||
			f[0].Seen.New.Events != float64(f[0].Seen.New.Requests) || f[0].Seen.Old.Requests == 0 {
			t.Errorf(seed+"%+v", f)
		}
		if y.why("d-1") != "" {
			t.Error("a gate that reports took traffic back")
		}
		begun := y.begun
		y.over()
		y.deploy("d-2", nil)
		if y.begun != begun+2 {
			t.Errorf("series began %d times between two deployments", y.begun-begun)
		}
		y.bake(0.5)
		y.requests(30*time.Second, 0.5, 0, 0)
		if x, n := y.value("ErrorRateEvidence"); x > 0 || n < 29 {
			t.Errorf(seed+"the next deployment inherits %v, of %d values", x, n)
		}
		if f := y.s.Facts("d-1"); len(f) > 0 {
			t.Errorf("of one that is over it is said %+v", f)
		}
		y.over()
		y.requests(20*time.Second, 0.5, 1, 0)
		if _, n := y.value("ErrorRateEvidence"); n > 0 {
			t.Errorf("%d values after the end", n)
		}
	})
}

// The new fleet may fail a twentieth of the copies: that nothing in the others could be
// compared makes it no larger part.
func TestCopiesThatAreAnsweredHaveNotFailedThoughNothingIsCompared(t *testing.T) {
	for name, why := range map[string]gate.Unread{
		"a part that is not there": {Blank: 1}, "texts": {Loose: 1}, "long answers": {Long: 1}, "no room": {},
	} {
		inBubble(t, func(y *yard) {
			y.deploy("d-1", map[string]string{
				"disagreement": "action=rollback tolerance=0.05 mirror=0.5 sideeffects=none output=json:label",
			})
			y.bake(0)
			for i := range 3000 {
				p := gates.Pair{Deployment: "d-1", Variant: "v", Drawn: time.Now(), Slot: i % 4}
				if y.x.IntN(50) == 0 {
					y.s.Failed(p, true)
				} else {
					y.s.Shed(p, true, why)
				}
				time.Sleep(100 * time.Millisecond)
			}
			synctest.Wait()
			if x, n := y.value("MirrorFailureEvidence"); x > 1 || n == 0 {
				t.Errorf(seed+"%s: evidence %v after %d seconds", name, x, n)
			}
		})
	}
}

// Pairs of answers speak before any traffic moves.
func TestPairsThatDifferTakeCopiesBackAtZeroTraffic(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.deploy("d-1", map[string]string{
			"disagreement": "action=rollback tolerance=0.05 mirror=0.5 sideeffects=none output=json:label",
		})
		y.bake(0)
		pairs := func(differ float64, n int) {
			for range n {
				d := 0.0
				if y.x.Float64() < differ {
					d = 1
				}
				y.s.Compared(gates.Pair{Deployment: "d-1", Variant: "v", Drawn: time.Now(), Slot: y.x.IntN(4)}, d)
				y.s.Compared(gates.Pair{Deployment: "d-0", Variant: "v", Drawn: time.Now()}, 1) // of another deployment
				time.Sleep(100 * time.Millisecond)
			}
			synctest.Wait()
		}
		for range 300 { // a bad upstream fails both fleets' requests, one or the other
			of := gates.Pair{Deployment: "d-1", Variant: "v", Drawn: time.Now(), Slot: y.x.IntN(4)}
			y.s.Failed(of, y.x.IntN(2) == 0)
			time.Sleep(100 * time.Millisecond)
		}
		shed := func(id hosting.DeploymentID, why gate.Unread) {
			y.s.Shed(gates.Pair{Deployment: id, Variant: "v", Drawn: time.Now(), Slot: y.x.IntN(4)}, true, why)
		}
		shed("d-1", gate.Unread{Blank: 1})
		shed("d-0", gate.Unread{Blank: 1})
		shed("d-1", gate.Unread{Loose: 1})
		shed("d-1", gate.Unread{})
		captured := gate.Example{Under: "s3://b/e/v/2026/01/02/14/", Inference: "order 7"}
		y.s.Compared(gates.Pair{Deployment: "d-1", Variant: "v", Drawn: time.Now(), Example: captured}, 0.5)
		pairs(0.03, 2000)
		for _, f := range y.s.Facts("d-1") {
			if f.Kind == gate.Disagreement && (len(f.Examples) != 1 || f.Examples[0].Inference != "order 7") {
				t.Errorf("the examples are %+v", f.Examples)
			}
			want := gate.Unread{Blank: 1, Loose: 1}
			if f.Kind == gate.Disagreement && (f.Seen.Unread != want || f.Seen.Unseen == 0) {
				t.Errorf("%+v were not compared, want %+v; %v had no room", f.Seen.Unread, want, f.Seen.Unseen)
			}
		}
		if x, _ := y.value("DisagreementEvidence"); x > 2 || y.why("d-1") != "" {
			t.Errorf(seed+"within the tolerance: evidence %v, %s", x, y.why("d-1"))
		}
		pairs(0.6, 600)
		if why := y.why("d-1"); !strings.HasPrefix(why, `gate "disagreement" fired: v2 answers `) {
			t.Errorf(seed+"%q", why)
		}
		if x, _ := y.value("MirrorFailureEvidence"); x > 2 {
			t.Errorf(seed+"failures of both fleets: evidence %v", x)
		}
	})
}

// Without room for series a deployment is followed all the same, and whoever asks is
// told until there is some.
func TestThatThereIsNoRoomForSeriesIsSaidUntilThereIs(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.full = true
		y.deployed("d-1", map[string]string{"errors": "action=rollback"})
		for range 3 {
			if err := y.s.Follow(t.Context(), y.id, y.e); !errors.Is(err, fault.Limit) {
				t.Errorf("got %v", err)
			}
		}
		time.Sleep(11 * time.Second)
		if _, n := y.value("ErrorRateEvidence"); n > 0 || len(y.errors("d-1")) != 1 {
			t.Errorf("%d values, %+v", n, y.errors("d-1"))
		}
		y.mu.Lock()
		y.full = false
		y.mu.Unlock()
		y.turn()
		time.Sleep(2 * time.Second)
		if _, n := y.value("ErrorRateEvidence"); n == 0 {
			t.Error("no series once there is room")
		}
	})
}

// The series of a deployment that is over end, if not at once, then later: else an
// alarm stays in ALARM for want of anything newer.
func TestSeriesEndThoughTheStoreOfAlarmsWasAwayAtTheEnd(t *testing.T) {
	inBubble(t, func(y *yard) {
		y.deploy("d-1", nil)
		y.mu.Lock()
		begun := y.begun
		e := y.e
		y.e, y.broken = nil, errors.New("the store of alarms is away")
		y.mu.Unlock()
		if err := y.s.Follow(t.Context(), y.id, nil); !errors.Is(err, y.broken) {
			t.Errorf("got %v", err)
		}
		if err := y.s.Follow(t.Context(), y.id, e); err != nil || len(y.s.Facts("d-1")) > 0 {
			t.Errorf("a turn that is late begins it anew: %v, %+v", err, y.s.Facts("d-1"))
		}
		y.mu.Lock()
		y.broken = nil
		y.mu.Unlock()
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if y.begun != begun+1 {
			t.Errorf("its series ended %d times", y.begun-begun)
		}
	})
}
