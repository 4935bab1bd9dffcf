// Package app puts a server together: it opens what the configuration names,
// joins services to the store, starts what runs and stops it in reverse. It is
// the only place that wires; deciding anything is not its job.
package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/api/runtime"
	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/platform/artifact"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/filelock"
	"github.com/slipway-ml/slipway/internal/platform/http1"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/platform/provider/process"
	"github.com/slipway-ml/slipway/internal/platform/store"
	edgestore "github.com/slipway-ml/slipway/internal/platform/store/edge"
	"github.com/slipway-ml/slipway/internal/platform/store/hosting"
	"github.com/slipway-ml/slipway/internal/platform/trips"
	"github.com/slipway-ml/slipway/internal/service/alarms"
	"github.com/slipway-ml/slipway/internal/service/capture"
	"github.com/slipway-ml/slipway/internal/service/control"
	"github.com/slipway-ml/slipway/internal/service/evidence"
	"github.com/slipway-ml/slipway/internal/service/fleet"
	"github.com/slipway-ml/slipway/internal/service/gates"
	"github.com/slipway-ml/slipway/internal/service/identity"
	"github.com/slipway-ml/slipway/internal/service/instance"
	"github.com/slipway-ml/slipway/internal/service/metrics"
	"github.com/slipway-ml/slipway/internal/service/mirror"
	"github.com/slipway-ml/slipway/internal/service/notify"
	"github.com/slipway-ml/slipway/internal/service/packaging"
	"github.com/slipway-ml/slipway/internal/service/router"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/gateway"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
	"github.com/slipway-ml/slipway/internal/wire/tunnel"
)

// App is a server that listens but does not serve yet.
type App struct {
	cfg  config.Config
	live atomic.Pointer[config.Config] // cfg with what has changed since; see Reload
	log  *slog.Logger

	keys      *access.Keys
	sessions  *access.Sessions
	verifier  *sigv4.Verifier // of operators: devices invoke no endpoint
	callers   *sigv4.Verifier // of operators and devices
	db        *store.DB
	directory *store.Directory
	edge      edgestore.DB
	hosting   *hosting.DB
	objects   *objects.Store
	models    *artifact.Cache
	process   *process.Provider
	registry  *prometheus.Registry
	router    *router.Router
	mirror    *mirror.Mirror
	metrics   *metrics.Service
	alarms    *alarms.Service
	follower  *router.Follower
	manager   *instance.Manager
	turns     *loop.Runner
	watch     *evidence.Watch
	notify    *notify.Service
	capture   *capture.Service
	gates     *gates.Service
	fleet     *fleet.Service
	packaging *packaging.Service
	identity  *identity.Service
	stages    *loop.Runner
	trips     *trips.Keeper
	wakeups   wakeups

	listener  net.Listener
	data      *http1.Server // accepts every connection, keeps those of the data plane
	control   *http.Server  // gets the others
	tunnels   *tunnel.Server
	admission admission

	ctl          *control.Control
	requestLevel slog.LevelVar
	invocations  slog.LevelVar // of the records of invocations; below all others: there are none

	deviceListener net.Listener // nil without one
	devices        *http.Server
	readiness      *readiness

	stops []stop // run in reverse
}

// stop ends one part of the server.
type stop struct {
	name string
	do   func() error
}

// wakeups tell the loops that rows may have changed; each has one listener.
type wakeups struct{ turns, instances, routes, notices, stages, trips loop.Wakeup }

func newWakeups() wakeups {
	w := loop.NewWakeup
	return wakeups{w(), w(), w(), w(), w(), w()}
}

// rowsChanged wakes whoever follows endpoints, their instances and their events.
func (w wakeups) rowsChanged() {
	w.routes.Notify()
	w.instances.Notify()
	w.turns.Notify()
	w.notices.Notify()
}

// New opens everything that cfg names and listens. Close undoes it.
func New(ctx context.Context, cfg config.Config, log *slog.Logger) (*App, error) {
	a := &App{cfg: cfg, log: log, wakeups: newWakeups()}
	a.live.Store(&cfg)
	for _, step := range []func(context.Context) error{
		a.openState, a.openProvider, a.buildServices, a.buildPackaging, a.buildEdge, a.listen,
	} {
		if err := step(ctx); err != nil {
			a.Close()
			return nil, err
		}
	}
	return a, nil
}

func (a *App) onStop(name string, do func() error) { a.stops = append(a.stops, stop{name, do}) }

// Close stops what New opened, last first. Instances go on.
func (a *App) Close() {
	for len(a.stops) > 0 {
		s := a.stops[len(a.stops)-1]
		a.stops = a.stops[:len(a.stops)-1]
		if err := s.do(); err != nil {
			a.log.Warn("a part did not stop cleanly", "part", s.name, "err", err)
		}
	}
}

// openState opens the data directory: keys, records, objects, model cache.
func (a *App) openState(ctx context.Context) (err error) {
	dir := a.cfg.DataDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	// First of all: nothing in the directory is touched beside another server.
	lock, err := filelock.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return fmt.Errorf("use the data directory %s: %w", dir, err)
	}
	a.onStop("lock of the data directory", lock.Close)
	if useReserve(dir) {
		a.log.ErrorContext(ctx, "the disk of the data directory is full; the server starts on its reserve", "dir", dir)
	}
	if a.keys, err = access.OpenFile(a.cfg.CredentialsPath(), a.cfg.Account); err != nil {
		return fmt.Errorf("open credentials: %w", err)
	}
	if a.sessions, err = access.OpenSessions(filepath.Join(dir, "session.key")); err != nil {
		return fmt.Errorf("open the key of the sessions: %w", err)
	}
	a.verifier = sigv4.NewVerifier(a.keys)
	a.callers = sigv4.NewVerifier(access.Ring{Keys: a.keys, Sessions: a.sessions})
	a.callers.LongestPresigned = time.Duration(a.cfg.Limits.PresignedLifetime)
	a.verifier.LongestPresigned = a.callers.LongestPresigned
	if url := a.cfg.Database.URL; url != "" {
		a.db, err = store.OpenPostgres(ctx, url, a.log)
	} else {
		a.db, err = store.OpenSQLite(ctx, filepath.Join(dir, "slipway.db"))
	}
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	a.onStop("store", a.db.Close)
	a.readiness = newReadiness(a.db, dir)
	a.hosting = hosting.New(a.db, subscribers(a.cfg.Webhooks)...)
	if err := a.openDirectory(ctx); err != nil {
		return err
	}
	if a.edge, err = edgestore.New(ctx, a.db); err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	if a.objects, err = objects.Open(filepath.Join(dir, "objects")); err != nil {
		return fmt.Errorf("open the object store: %w", err)
	}
	a.onStop("object store", a.objects.Close)
	return nil
}

// Addr is the host:port that the server listens on.
func (a *App) Addr() string { return a.listener.Addr().String() }

// listen takes the address. Routes are loaded first, so that the first request
// after a restart finds its endpoint, and not what traffic was taken back from.
func (a *App) listen(ctx context.Context) (err error) {
	var before trips.Trips
	if a.trips, before, err = trips.Open(filepath.Join(a.cfg.DataDir, "trips.json"), a.log); err != nil {
		return err
	}
	a.router.Restore(before)
	if err := a.follower.CatchUp(ctx); err != nil {
		return fmt.Errorf("load routes: %w", err)
	}
	a.alarms.TripFiring()
	a.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", a.cfg.Listen)
	if err != nil {
		return err
	}
	// The listener is closed by the data plane's Shutdown; closing it twice
	// is an error that tells nobody anything.
	a.onStop("listener", func() error { _ = a.listener.Close(); return nil })
	l := a.cfg.Limits
	api := runtime.New(runtime.Config{
		Router: a.router, Verifier: a.verifier, Account: a.cfg.Account, MaxBody: int(l.MaxBodyBytes),
		Timeout: time.Duration(l.ModelTimeout), StreamTimeout: time.Duration(l.StreamTimeout), Log: a.log,
		Bodies: a.admission.invocations, Registerer: a.registry, Record: &a.invocations,
	})
	a.setLevels(a.cfg.Log)
	a.data = http1.NewServer(http1.Config{
		MaxBody: int(l.MaxBodyBytes), Bodies: a.admission.invocations, Log: a.log, Turned: a.admission.told("data"),
		MaxConns: int(l.Connections), PerAddress: int(l.ConnectionsPerAddress), PerKey: int(l.ConnectionsPerKey),
		Elsewhere: func(x *http1.Exchange) bool { return gateway.OfS3(x) },
	}, runtime.Prefix, api.Serve)
	front := gateway.New(a.apis(api))
	devices := a.forDevices(front)
	if err := a.listenForDevices(ctx, devices); err != nil {
		return err
	}
	authority, err := tunnel.OpenAuthority(a.cfg.DataDir)
	if err != nil {
		return err
	}
	a.tunnels = tunnel.New(tunnel.Config{
		Authority: authority, Gateway: front, Devices: devices, Log: a.log, Places: a.part(16, "tunnels"),
	})
	a.control = &http.Server{
		Handler: a.tunnels, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	connlimit.Watch(a.control)
	return nil
}

// tidy forgets, at the start and now and then, what nobody needs any more.
func (a *App) tidy(ctx context.Context) {
	tick := time.NewTicker(10 * time.Minute)
	defer tick.Stop()
	for {
		now := time.Now()
		if err := keepReserve(a.cfg.DataDir); err != nil {
			a.log.WarnContext(ctx, "no room was kept for the next start", "err", err)
		}
		if err := a.hosting.PruneRoutes(ctx, now.Add(-time.Hour)); err != nil && ctx.Err() == nil {
			a.log.WarnContext(ctx, "old routes were not pruned", "err", err)
		}
		if err := a.hosting.PruneRecords(ctx, record.DefaultRetention(), now); err != nil && ctx.Err() == nil {
			a.log.WarnContext(ctx, "old deployments were not forgotten", "err", err)
		}
		n, err := a.objects.RemoveUploads(ctx, now.Add(-time.Duration(a.live.Load().Limits.UploadLifetime)))
		if err != nil && ctx.Err() == nil {
			a.log.WarnContext(ctx, "uploads that nobody completes were not removed", "err", err)
		}
		if n > 0 {
			a.log.InfoContext(ctx, "uploads that nobody completed were removed", "uploads", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
