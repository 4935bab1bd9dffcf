package app

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/slipway-ml/slipway/internal/api/cloudwatch"
	"github.com/slipway-ml/slipway/internal/api/credentials"
	"github.com/slipway-ml/slipway/internal/api/edge"
	"github.com/slipway-ml/slipway/internal/api/iot"
	"github.com/slipway-ml/slipway/internal/api/runtime"
	"github.com/slipway-ml/slipway/internal/api/s3"
	"github.com/slipway-ml/slipway/internal/api/sagemaker"
	fleetapi "github.com/slipway-ml/slipway/internal/api/sagemaker/fleet"
	jobsapi "github.com/slipway-ml/slipway/internal/api/sagemaker/jobs"
	"github.com/slipway-ml/slipway/internal/api/slipway"
	"github.com/slipway-ml/slipway/internal/api/sts"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/artifact"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	"github.com/slipway-ml/slipway/internal/platform/provider"
	"github.com/slipway-ml/slipway/internal/platform/provider/process"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/platform/store/jobs"
	"github.com/slipway-ml/slipway/internal/service/control"
	"github.com/slipway-ml/slipway/internal/service/deployer"
	"github.com/slipway-ml/slipway/internal/service/evidence"
	"github.com/slipway-ml/slipway/internal/service/instance"
	"github.com/slipway-ml/slipway/internal/service/mirror"
	"github.com/slipway-ml/slipway/internal/service/router"
	"github.com/slipway-ml/slipway/internal/wire/gateway"
)

// openProvider adopts the instances that an earlier server left running.
func (a *App) openProvider(ctx context.Context) (err error) {
	a.process, err = process.New(process.Config{
		Dir: a.instancesDir(), Log: a.log, Fetch: a.fetch,
		// Below what kernels give to outgoing connections, which could
		// otherwise take a port between its choice and its instance.
		FirstPort: 20000, LastPort: 31999,
		// This very program, also if its file was replaced.
		Keeper: []string{"/proc/self/exe", "slipway", KeepLogsCommand},
	})
	if err != nil {
		return err
	}
	a.onStop("process provider", a.process.Close)
	// No other server uses this directory and its database.
	for _, q := range []*store.Queue{a.hosting.Deploying(), a.edge.Stages(), jobs.New(a.db).Jobs()} {
		if err := q.ForgetLeases(ctx); err != nil {
			a.log.WarnContext(ctx, "work that was in hand waits for its leases to lapse", "err", err)
		}
	}
	a.models, err = artifact.New(artifact.Config{
		Dir: filepath.Join(a.cfg.DataDir, "models"), Source: a.objects, MaxUnpacked: a.cfg.Limits.MaxModelBytes,
		MaxCache: a.cfg.Limits.ModelCacheBytes, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.onStop("model cache", a.models.Close)
	return nil
}

// buildServices gives the services of hosting their store and each other.
func (a *App) buildServices(ctx context.Context) (err error) {
	a.registry = prometheus.NewRegistry()
	a.registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	a.admission = a.newAdmission()
	if err := a.openAlarms(ctx); err != nil {
		return err
	}
	if err := a.openGates(); err != nil {
		return err
	}
	if a.router, err = router.New(router.Config{
		Registerer: a.registry, OnSample: a.sample, OnDraw: a.gates.Started, Bodies: a.admission.invocations,
		Log: a.log,
	}); err != nil {
		return err
	}
	a.onStop("router", func() error { a.router.Close(); return nil })
	if err := a.buildCapture(); err != nil {
		return err
	}
	if a.mirror, err = mirror.New(mirror.Config{
		Router: a.router, Timeout: time.Duration(a.cfg.Limits.ModelTimeout),
		StreamTimeout: time.Duration(a.cfg.Limits.StreamTimeout), Pairs: a.pair, Registerer: a.registry, Log: a.log,
	}); err != nil {
		return err
	}
	a.mirror.Listen()
	a.gates.Listen(a.router)
	a.onStop("copies of requests", func() error { a.mirror.Close(); return nil })
	a.follower = router.NewFollower(a.hosting, a.router, a.wakeups.routes, time.Second, a.log)
	a.manager = instance.New(instance.Config{
		Store: a.hosting, Providers: provider.Set{hosting.Processes: a.process}, Command: a.command,
		Version: a.modelVersion, Digest: a.models.Digest,
		Drain: a.follower.Drain, Changed: a.wakeups.rowsChanged, Wake: a.wakeups.instances, Log: a.log,
		Tuning: instance.Tuning{
			StartupTimeout: time.Duration(a.cfg.Limits.StartupWindow),
			StopGrace:      time.Duration(a.cfg.Limits.StopGrace),
			DrainLimit:     time.Duration(a.cfg.Limits.StreamTimeout + a.cfg.Limits.ModelTimeout),
		},
	})
	a.watch = evidence.NewWatch(func(ctx context.Context) error {
		return a.db.Change(ctx, func(*store.Tx) error { return nil })
	})
	d := &deployer.Deployer{
		Change: a.hosting.Change, Changed: a.wakeups.rowsChanged, Keep: a.gates.Keep, Log: a.log,
		Evidence: &evidence.Source{
			Endpoints: a.hosting, Alarms: a.alarms, Routers: a.router, Metrics: a.metrics, Watch: a.watch,
			Gates: a.gates, Follow: a.gates.Follow, Stands: a.gates.Stands, OnEvidence: a.alarms.OnEvidence,
		},
	}
	a.turns = &loop.Runner{
		Queue: a.hosting.Deploying(), Turn: d.Turn, Log: a.log, Wake: a.wakeups.turns,
		Poll: time.Second, Lease: 10 * time.Second, Retry: time.Second,
	}
	a.notify, err = a.newNotify(ctx)
	return err
}

// apis are the APIs that share the server's address; api serves the runtime's
// requests that are not on its fast path.
func (a *App) apis(api *runtime.API) gateway.Config {
	plans := &evidence.Plans{Alarms: a.alarms, Metrics: a.metrics}
	a.ctl = control.New(control.Config{
		Store: a.hosting, Notify: a.wakeups.rowsChanged,
		ModelDataExists: a.modelDataExists, ModelVersion: a.models.Version, CheckContainer: a.checkContainer,
		MissingAlarms: a.alarms.Missing, MinimumRequests: a.cfg.Guardrails.MinimumRequests,
		Gates: a.cfg.Guardrails.Gates, Unweighed: gate.Gate.Unweighed, Seen: a.gates.Facts,
		CaptureStopped: a.capture.Stopped,
		Allowance:      a.allowance(), Suspect: plans.Suspicions, Chances: plans.Chances,
	})
	return gateway.Config{
		Verifier: a.callers, Keys: a.keys, Account: a.cfg.Account, Region: a.cfg.Region, Log: a.log,
		RequestLevel: &a.requestLevel, Bodies: a.admission.others,

		Runtime:   api,
		SageMaker: sagemaker.NewHandler(a.ctl, a.log, slices.Concat(fleetapi.Ops(a.fleet), jobsapi.Ops(a.packaging))),
		Slipway: slipway.NewHandler(slipway.Services{
			Control: a.ctl, Fleet: a.fleet, Packaging: a.packaging, Identity: a.identity,
		}, a.log),
		STS:          sts.New(a.log),
		CloudWatch:   cloudwatch.NewHandler(a.alarms, a.metrics, a.log),
		S3:           s3.New(a.objects, a.log),
		Metrics:      promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{}),
		Edge:         edge.NewHandler(a.fleet, a.log),
		IoT:          iot.NewHandler(a.identity, a.log),
		Enroll:       credentials.NewEnroll(a.identity, a.log),
		SessionAlive: credentials.Alive(a.identity),
		DeviceS3:     s3.ForDevices(a.fleet.AuthorizeObject),
		Ready:        a.readiness.check,
	}
}

// allowance is how long instances may take, for plans.
func (a *App) allowance() control.Allowance {
	t, l := a.manager.Tuning, a.cfg.Limits
	return control.Allowance{
		Download: t.DownloadTimeout, Startup: time.Duration(l.StartupWindow), Stop: t.DrainLimit + t.StopGrace,
	}
}
