package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/slipway-ml/slipway/internal/openload"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
	"github.com/slipway-ml/slipway/internal/simdevices"
)

// benchEdge measures the device side of a real server on SQLite: what a fleet
// costs that heartbeats and polls once a minute, how soon a stage for all of it
// is offered, and how a stage of a large fleet starts while people look on. The
// devices are simulated in this process, by the agent's own state machine; they
// share 256 connections, without TLS.
func benchEdge(ctx context.Context, o options) error {
	dir, bins, err := buildPrograms(ctx)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := benchFleet(ctx, filepath.Join(dir, "fleet"), bins, o); err != nil {
		return err
	}
	return benchLargeFleet(ctx, filepath.Join(dir, "large"), bins, o)
}

// plant is a server with a running fleet of simulated devices.
type plant struct {
	*benchServer
	n      int
	fleet  *simdevices.Fleet
	remote *simdevices.Remote
}

const (
	benchPlant  = "plant"
	connections = 256
	// onceAMinute makes the server ask for polls as often as the aim has them;
	// heartbeats are once a minute anyway.
	onceAMinute = "devices: {listen: \"off\", pollIdle: 1m}\n"
)

// benchFleet measures a fleet in its steady state, and a stage for all of it.
func benchFleet(ctx context.Context, data string, bins map[string]string, o options) error {
	s, err := startServer(ctx, data, bins, "listen: 127.0.0.1:0\nlog: {level: warn}\n"+onceAMinute, os.Stderr)
	if err != nil {
		return err
	}
	defer s.stop()
	p := &plant{benchServer: s, n: o.devices}
	if err := p.register(ctx, o.devices); err != nil {
		return err
	}
	if err := s.pack(ctx); err != nil {
		return err
	}
	roots, err := p.remote.Roots(ctx)
	if err != nil {
		return err
	}
	p.fleet, err = simdevices.New(simdevices.Config{
		Server: p.remote, Verifier: &bundle.Verifier{Roots: roots}, Fleet: benchPlant, Count: o.devices, Seed: 7,
		Workers: connections,
	})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { p.fleet.Run(running) })
	defer wg.Wait()
	defer stop()
	if err := p.steady(ctx, o.steady); err != nil {
		return err
	}
	if err := p.stage(ctx); err != nil {
		return err
	}
	// The server says how long calls took only where somebody reads it.
	s.stop()
	at := s.address()
	log, err := os.Create(filepath.Join(data, "calls.log"))
	if err != nil {
		return err
	}
	defer log.Close() // the server has its own
	again, err := startServer(ctx, data, bins, "listen: "+at+"\nlog: {level: debug, format: json}\n"+onceAMinute, log)
	if err != nil {
		return err
	}
	defer again.stop()
	return serverTimes(ctx, filepath.Join(data, "calls.log"), o.devices)
}

// register registers so many devices through the API, as an operator would.
func (p *plant) register(ctx context.Context, n int) error {
	keys, err := p.aws.Credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	p.remote = simdevices.NewRemote(p.url, benchRegion, keys, connections)
	begun := time.Now()
	if err := p.remote.Register(ctx, benchPlant, n, nil); err != nil {
		return err
	}
	fmt.Printf("%d devices registered by RegisterDevices in %s\n", n, time.Since(begun).Round(time.Millisecond))
	return nil
}

// steady prints what the fleet costs once every device has begun.
func (p *plant) steady(ctx context.Context, length time.Duration) error {
	const patience = 5 * time.Minute
	err := until(ctx, patience, func() (bool, error) { return p.fleet.Report().Registered == p.n, nil })
	if err != nil {
		return fmt.Errorf("the devices did not come: %w: %s", err, p.fleet.Report().Line(simdevices.Report{}))
	}
	p.fleet.Reset()
	begun, server, own := time.Now(), cpu(p.cmd.Process.Pid), ownCPU()
	if err := sleep(ctx, length); err != nil {
		return err
	}
	r := p.fleet.Report()
	took := time.Since(begun).Seconds()
	p.calls(fmt.Sprintf("%d devices that heartbeat and poll every 60 s, for %s", p.n, length), r)
	fmt.Printf("  server: RSS %.0f MiB, at most %.0f (aim < 512); %.0f%% of a core. Simulator: %.0f%% of a core, "+
		"late by p99 %.1f ms\n",
		rss(p.cmd.Process.Pid), peak(p.cmd.Process.Pid), (cpu(p.cmd.Process.Pid)-server).Seconds()/took*100,
		(ownCPU()-own).Seconds()/took*100, r.LateP99)
	return nil
}

// calls prints how the calls of the devices went, as they saw it.
func (p *plant) calls(what string, r simdevices.Report) {
	fmt.Printf("%s, as the devices see it:\n", what)
	for _, kind := range []string{"heartbeat", "poll"} {
		c := r.Calls[kind]
		fmt.Printf(
			"  %s: %.0f/s, p50 %.1f ms, p99 %.1f ms (aim < 50), max %.1f ms; %d failed\n", kind, c.PerSecond, c.P50,
			c.P99, c.Max, c.Failed,
		)
	}
	for what, n := range r.Errors {
		fmt.Printf("  failed: %s %d times\n", what, n)
	}
}

// stage prints how soon a stage of all devices is there for them, and how soon
// they have carried it out.
func (p *plant) stage(ctx context.Context) error {
	if err := p.plan(ctx, 100); err != nil {
		return err
	}
	p.fleet.Reset()
	own, server := ownCPU(), cpu(p.cmd.Process.Pid)
	started, written, err := p.start(ctx, p.n)
	if err != nil {
		return err
	}
	fmt.Printf(
		"a stage of %d devices: the call took %s; all rows written and offered after %s (aim < 10 s)\n", p.n,
		started.Round(time.Millisecond), written.Round(time.Millisecond),
	)
	begun := time.Now()
	var end *types.EdgeDeploymentStatus
	err = until(ctx, 20*time.Minute, func() (bool, error) {
		if err := sleep(ctx, time.Second); err != nil { // the devices need the processors
			return false, err
		}
		end, err = p.status(ctx)
		return err == nil &&
			(end.StageStatus == types.StageStatusDeployed || end.StageStatus == types.StageStatusFailed), err
	})
	if err != nil {
		return err
	}
	r := p.fleet.Report()
	fmt.Printf("  carried out by all devices %s later: %d succeeded, %d failed, the devices say %d and %d; processor "+
		"time of the server %s, of the simulator %s, whose devices acted late by p99 %.0f ms\n",
		time.Since(begun).Round(time.Millisecond), aws.ToInt32(end.EdgeDeploymentSuccessInStage),
		aws.ToInt32(end.EdgeDeploymentFailedInStage), r.Deployed, r.Failed,
		(cpu(p.cmd.Process.Pid) - server).Round(time.Second), (ownCPU() - own).Round(time.Second), r.LateP99)
	p.calls("  meanwhile", r)
	fmt.Printf("  server: RSS %.0f MiB, at most %.0f\n", rss(p.cmd.Process.Pid), peak(p.cmd.Process.Pid))
	return nil
}

// start starts the stage; it returns how long the call took, and after how long
// a row was written for each of n devices.
func (p *plant) start(ctx context.Context, n int) (call, written time.Duration, err error) {
	begun := time.Now()
	_, err = p.api.StartEdgeDeploymentStage(ctx, &sagemaker.StartEdgeDeploymentStageInput{
		EdgeDeploymentPlanName: aws.String(benchPlan), StageName: aws.String("all"),
	})
	if err != nil {
		return 0, 0, err
	}
	call = time.Since(begun)
	err = until(ctx, 5*time.Minute, func() (bool, error) {
		s, err := p.status(ctx)
		if err != nil || s.StageStatus == types.StageStatusStarting {
			return false, err
		}
		rows := aws.ToInt32(s.EdgeDeploymentPendingInStage) + aws.ToInt32(s.EdgeDeploymentSuccessInStage) +
			aws.ToInt32(s.EdgeDeploymentFailedInStage)
		if int(rows) != n {
			return false, fmt.Errorf("the stage is %s with %d rows for %d devices", s.StageStatus, rows, n)
		}
		return true, nil
	})
	return call, time.Since(begun), err
}

func (p *plant) status(ctx context.Context) (*types.EdgeDeploymentStatus, error) {
	out, err := p.api.DescribeEdgeDeploymentPlan(
		ctx, &sagemaker.DescribeEdgeDeploymentPlanInput{EdgeDeploymentPlanName: aws.String(benchPlan)},
	)
	if err != nil {
		return nil, err
	}
	if len(out.Stages) != 1 || out.Stages[0].DeploymentStatus == nil {
		return nil, errors.New("the plan has not one stage")
	}
	return out.Stages[0].DeploymentStatus, nil
}

// benchLargeFleet starts a stage of a tenth of a fleet that nobody polls for,
// while people look at the plan ten times a second.
func benchLargeFleet(ctx context.Context, data string, bins map[string]string, o options) error {
	s, err := startBenchServer(ctx, data, bins)
	if err != nil {
		return err
	}
	defer s.stop()
	p := &plant{benchServer: s, n: o.registered}
	if err := p.register(ctx, o.registered); err != nil {
		return err
	}
	defer p.remote.Close()
	if err := s.pack(ctx); err != nil {
		return err
	}
	if err := p.plan(ctx, 10); err != nil {
		return err
	}
	enough, looked := make(chan struct{}), make(chan error, 1)
	var looks *openload.Report
	go func() { // ends when enough is closed
		var err error
		looks, err = openload.Run(ctx, openload.Config{
			Rate: 10, Duration: 10 * time.Minute, Stop: enough,
		}, func(ctx context.Context, _ int) error {
			_, err := p.status(ctx)
			return err
		})
		looked <- err
	}()
	err = sleep(ctx, 2*time.Second)
	var written time.Duration
	if err == nil {
		_, written, err = p.start(ctx, (o.registered+9)/10)
	}
	if err == nil {
		err = sleep(ctx, 5*time.Second)
	}
	close(enough)
	if err = errors.Join(err, <-looked, looks.FirstErr); err != nil {
		return err
	}
	fmt.Printf(
		"%d devices registered: a stage of 10%% of them is selected, written and offered after %s (aim < 20 s)\n",
		o.registered, written.Round(time.Millisecond),
	)
	fmt.Printf("  DescribeEdgeDeploymentPlan 10 times a second from 2 s before to 5 s after, by the Go SDK: %d "+
		"calls, p50 %s, p99 %s (aim < 20 ms), max %s\n",
		looks.Latency.Len(), looks.Latency.Quantile(0.5).Round(10*time.Microsecond),
		looks.Latency.Quantile(0.99).Round(10*time.Microsecond), looks.Latency.Max().Round(10*time.Microsecond))
	fmt.Printf("  server: RSS %.0f MiB, at most %.0f\n", rss(s.cmd.Process.Pid), peak(s.cmd.Process.Pid))
	return nil
}

// until asks twenty times a second until the answer is yes.
func until(ctx context.Context, patience time.Duration, done func() (bool, error)) error {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if yes, err := done(); err != nil || yes {
			return err
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("not within %s", patience)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ownCPU returns the processor time that this process has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it knows itself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
