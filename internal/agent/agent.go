// Package agent puts a device agent together: it opens what the configuration
// names, joins the state machine to disk, server, engines and applications,
// runs it, and stops it in reverse. It promises that the files of the device's
// identity are only ever read, that two agents never share a data root, that a
// socket somebody listens on is never taken away, and that no secret is logged.
// Deciding anything about models is not its job.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/capture"
	"github.com/slipway-ml/slipway/internal/agent/cloud"
	"github.com/slipway-ml/slipway/internal/agent/config"
	"github.com/slipway-ml/slipway/internal/agent/device"
	"github.com/slipway-ml/slipway/internal/agent/disk"
	"github.com/slipway-ml/slipway/internal/agent/engine"
	"github.com/slipway-ml/slipway/internal/agent/handles"
	"github.com/slipway-ml/slipway/internal/agent/mirror"
	"github.com/slipway-ml/slipway/internal/agent/serve"
	"github.com/slipway-ml/slipway/internal/platform/build"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// Version is what the agent calls itself in heartbeats (spec §3.3).
const Version = build.Version

// Options is what the command line says besides the configuration.
type Options struct {
	// KeepSocket makes a socket file that is there already an error, although
	// nobody listens on it: Edge Manager's -a without -f.
	KeepSocket bool
	// Settings are of the state machine; Poll, Heartbeat and Spread are the
	// configuration's.
	Settings device.Settings
	Getenv   func(string) string // nil: os.Getenv
	Log      *slog.Logger
}

// Agent is an agent that has its models back, and serves when it runs.
type Agent struct {
	cfg      config.Config
	settings device.Settings
	log      *slog.Logger
	systemd  *notifier

	root, models *disk.Real
	crashes      *crashCounter
	verifier     *bundle.Verifier
	cloud        *cloud.Client // nil without a provider
	engine       *engine.Engine
	table        *handles.Table
	metrics      *metrics
	capture      *capture.Pipeline
	device       *device.Device
	server       *serve.Server

	stepped atomic.Int64 // when the state machine last began a step, Unix seconds
	stops   []stop       // run in reverse
}

// stop ends one part of the agent.
type stop struct {
	name string
	do   func(context.Context) error
}

// New opens everything and loads what the device served last. Close undoes it.
func New(ctx context.Context, cfg config.Config, o Options) (*Agent, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, settings: o.Settings, log: o.Log, systemd: newNotifier(o.Getenv, o.Log)}
	if len(cfg.Ignored) > 0 {
		a.log.InfoContext(ctx, "keys of the configuration mean nothing to this agent", "keys", cfg.Ignored)
	}
	if err := socketFree(cfg.Socket, o.KeepSocket); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{
		a.openDisk, a.openCloud, a.openEngine, a.openCapture, a.openDevice, a.listen,
	} {
		if err := step(ctx); err != nil {
			a.Close(context.WithoutCancel(ctx))
			return nil, err
		}
	}
	return a, nil
}

func (a *Agent) onStop(name string, do func(context.Context) error) {
	a.stops = append(a.stops, stop{name, do})
}

// stopTime is how long the parts of a stopping agent may take together.
const stopTime = 60 * time.Second

// Close stops what New opened, last first. What is on the disk stays.
func (a *Agent) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	for len(a.stops) > 0 {
		s := a.stops[len(a.stops)-1]
		a.stops = a.stops[:len(a.stops)-1]
		if err := s.do(ctx); err != nil {
			a.log.WarnContext(ctx, "a part did not stop cleanly", "part", s.name, "err", err)
		}
	}
}

// openDisk takes the data root, for this agent alone.
func (a *Agent) openDisk(ctx context.Context) (err error) {
	if a.root, err = disk.OpenReal(a.cfg.DataRoot); err != nil {
		if errors.Is(err, disk.ErrBusy) {
			return fmt.Errorf("another agent uses the data root %s", a.cfg.DataRoot)
		}
		return fmt.Errorf("open the data root: %w", err)
	}
	a.onStop("data root", func(context.Context) error { return a.root.Close() })
	if err := a.clearCopies(); err != nil {
		return fmt.Errorf("clear up the data root: %w", err)
	}
	a.crashes = countCrashes(ctx, a.root, a.log)
	a.onStop("count of crashes", func(context.Context) error { return a.crashes.end() })
	if a.models, err = disk.OpenReal(filepath.Join(a.cfg.DataRoot, "models")); err != nil {
		return fmt.Errorf("open the models: %w", err)
	}
	a.onStop("models", func(context.Context) error { return a.models.Close() })
	return nil
}

func (a *Agent) openCloud(context.Context) (err error) {
	a.verifier = &bundle.Verifier{
		Roots:  signingRoots(a.cfg.RootsDir, a.log),
		Limits: bundle.Limits{Total: a.cfg.MaxPackage, File: a.cfg.MaxPackage}, StrictTime: a.cfg.StrictTime,
	}
	c := a.cfg.Cloud
	if c.Provider == config.ProviderNone {
		return nil
	}
	a.cloud, err = cloud.New(cloud.Config{
		Credentials: a.cfg.CredentialsURL(), Endpoint: a.cfg.DataURL(), Objects: a.cfg.ObjectsURL(),
		Region: a.cfg.Region,
		Fleet:  a.cfg.Fleet, Device: a.cfg.Device, Thing: a.cfg.Thing,
		CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile, TolerateClock: c.TolerateClock,
		UserAgent: "slipway-agent/" + Version, Log: a.log,
	})
	if err != nil {
		return fmt.Errorf("prepare the connection to the server: %w", err)
	}
	a.onStop("connections", func(context.Context) error { a.cloud.Close(); return nil })
	return nil
}

func (a *Agent) openEngine(context.Context) (err error) {
	c := engine.Default()
	c.RunDir, c.Log = a.cfg.RunDir(), a.log
	c.Program, c.Library, c.Threads = a.cfg.ONNX.Program, a.cfg.ONNX.Library, a.cfg.ONNX.Threads
	c.MaxBody, c.Budget = a.cfg.MaxMessage, a.cfg.ModelMemory
	c.Command = map[string]engine.Command{}
	for runtime, e := range a.cfg.Engines {
		c.Command[runtime] = engine.Command{
			Args: e.Command, Env: e.Env, Format: engine.Format(e.Format), Header: e.Header,
		}
	}
	if a.engine, err = engine.New(c); err != nil {
		return fmt.Errorf("prepare the engines: %w", err)
	}
	a.onStop("engines", a.engine.Close)
	a.table = handles.New(handles.Options{})
	a.metrics = newMetrics(a.cfg.Device, a.crashes.count, a.table.Stats)
	return nil
}

func (a *Agent) openCapture(context.Context) (err error) {
	k, c := a.cfg.Capture, capture.Default()
	c.Fleet, c.Device = a.cfg.Fleet, a.cfg.Device
	c.Destination, c.DiskPath = capture.Destination(k.Destination), a.cfg.CaptureDir()
	c.Bucket, c.Prefix = k.Bucket, k.Prefix
	c.BufferSize, c.BatchSize, c.PushPeriod = k.Buffer, k.Batch, k.Push
	c.EmbedLimit, c.Upload, c.UploadPeriod = k.EmbedLimit, k.Upload, k.UploadPeriod
	var to capture.Cloud
	if a.cloud != nil && k.Bucket != "" {
		to = a.cloud.Bucket(k.Bucket)
	}
	if a.capture, err = capture.New(c, to, a.log); err != nil {
		return fmt.Errorf("prepare capturing: %w", err)
	}
	return nil
}

func (a *Agent) openDevice(ctx context.Context) (err error) {
	var server device.Cloud = noServer{}
	if a.cloud != nil {
		server = a.cloud
	}
	settings := a.settings
	settings.Poll, settings.Heartbeat = a.cfg.Poll, a.cfg.Heartbeat
	settings.Spread = max(a.cfg.Spread, 1) // 0 would mean its default
	a.device, err = device.Open(ctx, device.Config{
		Fleet: a.cfg.Fleet, Name: a.cfg.Device, AgentVersion: Version,
		Disk: a.models, Cloud: server, Engine: timed{a.engine, a.metrics.loaded}, Table: a.table,
		Verifier: a.verifier, Machine: device.Here(), Golden: runGolden, Mirrors: mirrors{a.table, new(mirror.Budget)},
		Metrics: a.metrics.collect, Log: a.log,
		Settings: &settings,
	})
	if err != nil {
		return fmt.Errorf("open the device's state: %w", err)
	}
	a.onStop("device", func(ctx context.Context) error { a.device.Close(ctx); return nil })
	return nil
}

func (a *Agent) listen(context.Context) (err error) {
	c := serve.Default(a.cfg.Socket)
	c.SocketMode, c.AllowUIDs = a.cfg.SocketMode, a.cfg.AllowUIDs
	c.Version, c.MaxMessage = Version, int(a.cfg.MaxMessage)
	if c.Loopback = a.cfg.Loopback; c.Loopback != "" {
		token, err := os.ReadFile(a.cfg.TokenFile)
		if err != nil {
			return fmt.Errorf("read the token of the loopback port: %w", err)
		}
		c.Token = strings.TrimSpace(string(token))
	}
	if err := os.MkdirAll(filepath.Dir(a.cfg.Socket), 0o755); err != nil {
		return fmt.Errorf("make the socket's directory: %w", err)
	}
	a.server, err = serve.New(c, serve.Parts{Models: a.table, Load: a.load, Capture: a.capture, Log: a.log})
	if err != nil {
		return fmt.Errorf("serve applications: %w", err)
	}
	return nil
}

// Run serves and follows the server until ctx ends, then finishes what is in
// flight. It returns why it could not go on, or nil; Close comes after it.
func (a *Agent) Run(ctx context.Context) error {
	// Applications are told first, so that their last captures are flushed and
	// their last calls find their models.
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	steps, stopSteps := context.WithCancel(ctx)
	defer stopSteps()
	var captures, machine, signs sync.WaitGroup
	captures.Go(func() { a.capture.Run(background) })
	machine.Go(func() { a.follow(steps) })
	signs.Go(func() { a.systemd.watch(background, a.alive) })
	a.systemd.send("READY=1")
	a.log.InfoContext(ctx, "slipway-agent is ready", "version", Version, "device", a.cfg.Device, "fleet", a.cfg.Fleet,
		"socket", a.cfg.Socket, "models", len(a.table.List()))

	err := a.server.Run(ctx)
	a.systemd.send("STOPPING=1")
	a.log.InfoContext(context.WithoutCancel(ctx), "stopping")
	stopSteps()
	machine.Wait()
	stopBackground()
	captures.Wait()
	signs.Wait()
	if err != nil {
		return fmt.Errorf("serve applications: %w", err)
	}
	return nil
}

// follow lets the state machine take its steps.
func (a *Agent) follow(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		a.stepped.Store(time.Now().Unix())
		wake := a.device.Step(ctx, time.Now())
		a.stepped.Store(0)
		timer.Reset(time.Until(wake))
	}
}

// longestStep is what a step may take before the agent counts as stuck: to load
// a model and check its golden cases is one.
const longestStep = 15 * time.Minute

// alive reports whether the state machine waits, or began its step lately.
func (a *Agent) alive() bool {
	began := a.stepped.Load()
	return began == 0 || time.Since(time.Unix(began, 0)) < longestStep
}
