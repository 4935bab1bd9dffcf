package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/service/gates"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// baking is the one deployment that there is: a canary of half of the requests,
// which bakes for ever. It stands for the database.
type baking struct{ e *hosting.Endpoint }

const (
	oldFleet, newFleet = "f-1", "f-2"
	bakingID           = hosting.DeploymentID("d-1")
)

func newBaking() baking {
	return baking{&hosting.Endpoint{
		Name: "bench", Scope: arn.Scope{Region: region, Account: account}, Fleet: &hosting.Fleet{ID: oldFleet},
		Deployment: &hosting.Deployment{
			ID: bakingID, From: "c", Green: &hosting.Fleet{ID: newFleet, ConfigName: "d"},
			Plan: rollout.Plan{Kind: rollout.Update, Variants: []rollout.Variant{{Name: "v", Old: 4, New: 4}}},
			State: rollout.State{
				Phase: rollout.Baking, Begun: time.Now(), Variants: []rollout.Split{{NewShare: .5}},
			},
		},
	}}
}

// InProgress implements gates.Deployments.
func (b baking) InProgress(context.Context) ([]hosting.DeploymentID, error) {
	return []hosting.DeploymentID{bakingID}, nil
}

// EndpointOf implements gates.Deployments.
func (b baking) EndpointOf(context.Context, hosting.DeploymentID) (*hosting.Endpoint, error) {
	return b.e, nil
}

// Evidence implements gates.Store.
func (b baking) Evidence(context.Context, hosting.DeploymentID) (map[string]string, error) {
	return nil, nil
}

// KeepEvidence implements gates.Store.
func (b baking) KeepEvidence(context.Context, []hosting.KeptEvidence) error { return nil }

// weighing runs a service that weighs the requests of the deployment, until ctx
// ends; then wait waits for it.
func weighing(ctx context.Context) (s *gates.Service, wait func(), err error) {
	b := newBaking()
	s, err = gates.New(gates.Config{
		Deployments: b, Store: b, Longest: time.Minute, LongestPair: time.Minute, Log: slog.New(slog.DiscardHandler),
		Route: func(traffic.Key) (traffic.Route, bool) { return traffic.Route{}, false },
		Begin: func(context.Context, arn.Scope, ...metric.ID) error { return nil },
		Put:   func(arn.Scope, metric.ID, time.Time, float64) error { return nil },
		Trip:  func(hosting.DeploymentID, string) {},
	})
	if err != nil {
		return nil, nil, err
	}
	if err := s.Follow(ctx, bakingID, b.e); err != nil {
		return nil, nil, err
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	return s, wg.Wait, nil
}

// weighed has a router's requests weighed.
func weighed(ctx context.Context, c *router.Config) (wait func(), err error) {
	s, wait, err := weighing(ctx)
	if err == nil {
		c.OnSample, c.OnDraw = s.Sample, s.Started
	}
	return wait, err
}

// divide divides a route's requests between its fleet and a new one like it.
func divide(rt *traffic.Route) {
	v := &rt.Variants[0]
	old := v.Fleets[0]
	old.ID, old.Role, old.Share = oldFleet, traffic.OldFleet, .5
	green := old
	green.ID, green.Role, green.Config = newFleet, traffic.NewFleet, "d"
	in := old.Instances[0]
	in.ID = "j"
	green.Instances = []traffic.Instance{in}
	v.Fleets = []traffic.Fleet{old, green}
}

// benchEvidence measures what it takes to count and weigh a million requests a
// minute of one deployment.
func benchEvidence(ctx context.Context, _ options) error {
	const (
		perMinute = 1_000_000
		during    = 20 * time.Second
		step      = 10 * time.Millisecond
	)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s, wait, err := weighing(ctx)
	if err != nil {
		return err
	}
	draws := [2]traffic.Draw{
		{Variant: "v", Fleet: oldFleet, Role: traffic.OldFleet, Share: .5},
		{Variant: "v", Fleet: newFleet, Role: traffic.NewFleet, Share: .5},
	}
	one := traffic.Sample{Key: traffic.Key{Region: region, Name: "bench"}, Variant: "v", ModelLatency: time.Millisecond}
	tick := time.NewTicker(step)
	defer tick.Stop()
	began, before, n := time.Now(), cpu(os.Getpid()), 0
	for time.Since(began) < during {
		<-tick.C
		for due := int(time.Since(began).Seconds() * perMinute / 60); n < due; n++ {
			one.Draw = draws[n&1]
			one.Draw.At = time.Now()
			one.ModelError = rand.IntN(100) == 0
			s.Started(one.Key, one.Draw)
			s.Sample(one)
		}
	}
	took, spent := time.Since(began), cpu(os.Getpid())-before
	stop()
	wait()
	fmt.Printf("counted and weighed: %.0f requests a minute, %.1f %% of a core (aim <= 10 %%)\n",
		float64(n)/took.Minutes(), 100*spent.Seconds()/took.Seconds())
	return nil
}
