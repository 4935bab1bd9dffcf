package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/http1"
)

// Run serves until ctx ends. Then it is not ready, for as long as the lame duck's
// time, takes no more connections, and finishes what is in flight, bounded by the
// drain timeout. It returns why it could not go on, or nil.
func (a *App) Run(ctx context.Context) error {
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	var wg sync.WaitGroup
	a.work(background, &wg)
	failed := a.serve(&wg)
	a.readiness.become(nil)

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	case err = <-a.db.Lost():
	}
	a.readiness.become(errStopping)
	l := a.live.Load().Limits
	a.log.InfoContext(ctx, "stopping; instances go on",
		"lameDuck", time.Duration(l.LameDuck), "drainTimeout", time.Duration(l.DrainTimeout))
	if err == nil {
		select {
		case err = <-failed:
		case <-time.After(time.Duration(l.LameDuck)):
		}
	}
	err = errors.Join(err, a.drain(context.WithoutCancel(ctx)))
	stopBackground()
	wg.Wait()
	return err
}

// work starts what runs beside the listeners, until ctx ends.
func (a *App) work(ctx context.Context, wg *sync.WaitGroup) {
	for _, run := range []func(context.Context){
		a.directory.Run,
		a.follower.Run,
		a.manager.Run,
		a.turns.Run,
		a.watch.Run,
		a.capture.Run,
		a.metrics.Run,
		a.alarms.Run,
		a.gates.Run,
		func(ctx context.Context) { a.trips.Run(ctx, a.wakeups.trips, a.router.Trips) },
		a.notify.Run,
		a.tidy,
		a.packaging.Run,
		a.identity.Run,
		a.fleet.Run,
		a.stages.Run,
		func(ctx context.Context) { a.models.Run(ctx, a.modelsInUse) },
	} {
		wg.Go(func() { run(ctx) })
	}
}

// serve starts accepting connections. Whatever cannot go on is told.
func (a *App) serve(wg *sync.WaitGroup) (failed <-chan error) {
	failures := make(chan error, 4)
	serve := func(name string, f func() error) {
		wg.Go(func() {
			if err := f(); !errors.Is(err, http1.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
				failures <- fmt.Errorf("serve %s: %w", name, err)
			}
		})
	}
	serve("the data plane", func() error { return a.data.Serve(a.listener) })
	serve("the control plane", func() error {
		return a.control.Serve(connlimit.New(a.part(4, "control")).Listener(a.data.Rest()))
	})
	serve("tunnels", a.tunnels.Serve)
	if a.devices != nil {
		serve("devices", func() error { return a.devices.ServeTLS(a.deviceListener, "", "") })
	}
	return failures
}

// drain takes no more connections and lets what is under way end.
func (a *App) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(a.live.Load().Limits.DrainTimeout))
	defer cancel()
	var all sync.WaitGroup
	var dataErr, controlErr, deviceErr, tunnelErr error
	all.Go(func() { dataErr = a.data.Shutdown(ctx) })
	all.Go(func() { controlErr = shutdown(ctx, a.control) })
	all.Go(func() { deviceErr = shutdown(ctx, a.devices) })
	all.Go(func() { tunnelErr = a.tunnels.Shutdown(ctx) })
	all.Wait()
	return errors.Join(dataErr, controlErr, deviceErr, tunnelErr)
}

// shutdown lets what is under way end; what does not end in time is cut off.
func shutdown(ctx context.Context, s *http.Server) error {
	if s == nil {
		return nil
	}
	err := s.Shutdown(ctx)
	if err != nil {
		_ = s.Close() // the reason is told
	}
	return err
}
