// Package modelserver serves one model over HTTP: the SageMaker container
// contract (GET /ping, POST /invocations) and, beside it, the Open Inference
// Protocol (/v2). It promises that a malformed request gets 400 with a sentence
// and never reaches the model, that what it holds in memory is bounded, and
// that requests in flight end before it stops. How a model computes is not its
// job: package onnx below does that, behind the Model interface.
package modelserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/oiphttp"
)

// Model computes outputs from inputs. Its methods may be called concurrently.
type Model interface {
	// Signature says what the model takes and gives.
	Signature() *tensor.Signature
	// Rows says whether its rows are known not to depend on each other.
	Rows() tensor.Rows
	// Run computes every output, in the order of the signature, from inputs
	// that Signature().Check accepted, which it neither keeps nor changes. An
	// error is the model's own failure on this input; its text is shown to the
	// caller.
	Run(in []tensor.Tensor) ([]tensor.Tensor, error)
	// Close frees the model.
	Close() error
}

// maxAttributes is the longest header of custom attributes that InvokeEndpoint
// knows.
const maxAttributes = 1024

// Options says how much a server takes on.
type Options struct {
	Name        string        // of the model, in the paths of the Open Inference Protocol
	MaxBody     int64         // bytes of a request body; more gets 413
	Concurrency int           // runs of the model at one time
	Queue       int           // requests that may wait beyond those; more get 503
	MaxBatch    int           // rows of different requests to run together, at most; 1 never does
	BatchFrom   time.Duration // how long a row must take alone before running rows together pays
	DrainWait   time.Duration // how long requests in flight may take after a stop is asked
	// CustomAttributes, if not empty, is the header
	// X-Amzn-SageMaker-Custom-Attributes of every answer of the model to
	// /invocations: at most 1024 visible ASCII characters.
	CustomAttributes string
}

// Default returns the options that measure best (BenchmarkServer in package
// models): as many runs as there are cores, and batches for models that take
// more than a request's own overhead.
func Default() Options {
	return Options{
		Name:        "model",
		MaxBody:     6<<20 + 4096, // InvokeEndpoint takes 6 MiB; a little over that is the router's to refuse
		Concurrency: max(2, runtime.NumCPU()),
		Queue:       256,
		MaxBatch:    16,
		BatchFrom:   100 * time.Microsecond,
		DrainWait:   28 * time.Second, // SIGKILL follows SIGTERM by 30 s
	}
}

// Validate reports every fault of the options at once.
func (o *Options) Validate() error {
	var errs []error
	bound := func(name string, v, least, most int64) {
		if v < least || v > most {
			errs = append(errs, fmt.Errorf("%s must be %d to %d, not %d", name, least, most, v))
		}
	}
	bound("the body limit", o.MaxBody, 1, 1<<31)
	bound("the concurrency", int64(o.Concurrency), 1, 4096)
	bound("the queue", int64(o.Queue), 0, 1<<20)
	bound("the batch size", int64(o.MaxBatch), 1, 1<<16)
	bound("the batch threshold in microseconds", o.BatchFrom.Microseconds(), 0, 1<<40)
	if o.Name == "" {
		errs = append(errs, errors.New("the model needs a name"))
	}
	unseen := func(r rune) bool { return r < ' ' || r > '~' }
	if len(o.CustomAttributes) > maxAttributes || strings.ContainsFunc(o.CustomAttributes, unseen) {
		errs = append(errs,
			fmt.Errorf("the custom attributes must be at most %d visible ASCII characters", maxAttributes))
	}
	return errors.Join(errs...)
}

// Server is the HTTP side. Its zero state answers 503 until Run has loaded the
// model.
type Server struct {
	opts    Options
	log     *slog.Logger
	slots   chan struct{} // one for each request that is read, waiting or running
	buffers oiphttp.Buffers
	ready   atomic.Pointer[served]
	muted   failureLog
}

// served is a loaded model, ready to run.
type served struct {
	sig      *tensor.Signature
	batching batching
	*runner
}

// New returns a server that has no model yet.
func New(o Options, log *slog.Logger) (*Server, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Server{opts: o, log: log, slots: make(chan struct{}, o.Concurrency+o.Queue)}, nil
}

// Run serves on ln until ctx ends, and returns nil when every request in flight
// has been answered. It answers /ping with 503 while load runs; if load fails,
// Run returns its error.
func (s *Server) Run(ctx context.Context, ln net.Listener, load func() (Model, error)) error {
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       70 * time.Second, // an invocation may take 60 s
		WriteTimeout:      80 * time.Second,
		IdleTimeout:       10 * time.Minute, // longer than any client's, so that it is the client who closes
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	serving := make(chan error, 1)
	go func() { serving <- srv.Serve(ln) }()

	loading := make(chan error, 1)
	start := time.Now()
	// A native load can't be interrupted: if ctx ends first, the end of the
	// program ends it.
	go func() { loading <- s.load(load) }()

	var err error
	select {
	case <-ctx.Done():
		return s.stop(srv, serving)
	case err = <-serving:
		return fmt.Errorf("serve: %w", err)
	case err := <-loading:
		if err != nil {
			return errors.Join(err, s.stop(srv, serving))
		}
	}
	s.log.Info("model ready", "model", s.opts.Name, "seconds", time.Since(start).Seconds(),
		"inputs", describe(s.ready.Load().sig.Inputs), "outputs", describe(s.ready.Load().sig.Outputs))
	select {
	case <-ctx.Done():
		err = s.stop(srv, serving)
	case err = <-serving:
		err = fmt.Errorf("serve: %w", err)
	}
	return errors.Join(err, s.Detach())
}

// load loads and attaches the model. Whatever goes wrong is an error, which the
// program ends with: a panic would end it with a trace.
func (s *Server) load(load func() (Model, error)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("loading the model failed: %v", p)
		}
	}()
	m, err := load()
	if err == nil {
		s.Attach(m)
	}
	return err
}

func (s *Server) stop(srv *http.Server, serving <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.DrainWait)
	defer cancel()
	err := srv.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests were still running after %s: %w", s.opts.DrainWait, err), srv.Close())
	}
	<-serving // always ErrServerClosed after a Shutdown
	return err
}

// Attach makes m the model that is served, after one run on zeros so that the
// first request does not pay for what the runtime does lazily.
func (s *Server) Attach(m Model) {
	sig := m.Signature()
	if in, ok := sig.Zeros(1 << 20); ok {
		if _, err := safely(m, in); err != nil {
			s.log.Info("the model refused the warm-up on zeros", "model", s.opts.Name, "err", err)
		}
	}
	b := proveBatching(m, s.opts)
	s.log.Info("batching decided", "model", s.opts.Name, "batching", b.allowed, "why", b.why)
	s.ready.Store(&served{sig: sig, batching: b, runner: newRunner(m, b.rows, s.opts)})
}

// Detach ends the service of the model; no request may be in flight.
func (s *Server) Detach() error {
	sv := s.ready.Swap(nil)
	if sv == nil {
		return nil
	}
	return sv.model.Close()
}

func describe(specs []tensor.Spec) []string {
	out := make([]string, len(specs))
	for i := range specs {
		out[i] = specs[i].Name + " " + specs[i].String()
	}
	return out
}
