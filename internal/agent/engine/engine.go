// Package engine runs models in worker processes: slipway-onnx for the runtime
// "onnx", and any program under the SageMaker container contract for others. It
// is the agent's model.Engine. It promises that whatever native code does to
// its process costs a restart and never the agent, that a call which loses its
// worker is made once more so that the application sees a delay and no error,
// that what waits and what is held is bounded, and that no worker outlives the
// agent, however that ends. Which model to load, and what is done when one
// can't be, is not its job.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/platform/child"
)

// ONNX is the runtime that slipway-onnx serves unless Config.Commands says
// otherwise.
const ONNX = "onnx"

// Config says how workers are started and how much they may take.
type Config struct {
	// RunDir is a directory for sockets, absolute and this agent's alone; it
	// is made if it is missing. Linux bounds the path to about 90 bytes.
	RunDir string
	// Program is the path of slipway-onnx; "" looks for it beside this
	// program, then on PATH.
	Program string
	Library string             // of ONNX Runtime; "" leaves the search to slipway-onnx
	Threads int                // inside one run of slipway-onnx
	Command map[string]Command // by runtime: the programs of other engines

	InFlight     int           // calls that one worker is given at a time
	Queue        int           // calls that may wait beyond those, for each model
	MaxBody      int64         // bytes of a call or an answer
	StartTimeout time.Duration // until a worker must be ready
	CallTimeout  time.Duration // after which a call's worker is taken for hung, and replaced
	HealthEvery  time.Duration // how often an idle worker is asked whether it is well
	RestartWait  time.Duration // how long calls wait for a worker that is restarting
	Grace        time.Duration // between SIGTERM and SIGKILL

	Budget  int64   // bytes that all workers may take; 0: what the machine has
	Reserve int64   // bytes of the machine's that are left alone
	Factor  float64 // bytes of memory for each byte of a model that was never measured

	Log *slog.Logger // required
}

// Command starts an engine of the container contract: GET /ping and POST
// /invocations on the port in SAGEMAKER_BIND_TO_PORT, the model below
// SM_MODEL_DIR, SIGTERM to end. The port is on loopback, which every user of
// the device can reach: a program that can should check the header
// X-Slipway-Worker-Token against SLIPWAY_WORKER_TOKEN, or listen on {socket}.
type Command struct {
	// Args is the program and its arguments; {port}, {model_dir} and {socket}
	// in them are filled in. With {socket} it must listen on that Unix socket.
	Args   []string
	Env    map[string]string
	Format Format
	Header map[string]string // of every invocation
}

// Format says how tensors travel to a command and back.
type Format string

// The formats. NPY and CSV carry one input and one output, which the package's
// manifest must describe.
const (
	OIPJSON   Format = "oip-json"   // Open Inference Protocol v2; the default
	OIPBinary Format = "oip-binary" // with its binary tensor data extension
	NPY       Format = "npy"
	CSV       Format = "csv"
)

// Default returns the configuration of an agent whose file says nothing; RunDir
// and Log are the caller's to fill in.
func Default() Config {
	return Config{
		Threads: 1, InFlight: 16, Queue: 256, MaxBody: 64 << 20,
		StartTimeout: 2 * time.Minute, CallTimeout: time.Minute, HealthEvery: 30 * time.Second,
		RestartWait: 20 * time.Second, Grace: 10 * time.Second,
		Reserve: 32 << 20, Factor: 2,
	}
}

// Validate reports every fault of the configuration at once.
func (c *Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(!filepath.IsAbs(c.RunDir), "the run directory must be absolute, not %q", c.RunDir)
	bad(len(c.RunDir) > 80,
		"the run directory's path must have at most 80 bytes, for the sake of the sockets in it, not %d", len(c.RunDir))
	bad(c.Threads < 0 || c.Threads > 1024, "the threads must be 0 to 1024, not %d", c.Threads)
	bad(c.InFlight < 1 || c.InFlight > 4096, "the calls in flight must be 1 to 4096, not %d", c.InFlight)
	bad(c.Queue < 0 || c.Queue > 1<<20, "the queue must hold 0 to %d calls, not %d", 1<<20, c.Queue)
	bad(c.MaxBody < 1 || c.MaxBody > 1<<30, "the largest call must have 1 to %d bytes, not %d", 1<<30, c.MaxBody)
	for name, d := range map[string]time.Duration{
		"start timeout": c.StartTimeout, "call timeout": c.CallTimeout, "health period": c.HealthEvery,
		"restart wait": c.RestartWait, "grace": c.Grace,
	} {
		bad(d <= 0, "the %s must be longer than nothing", name)
	}
	bad(c.Budget < 0 || c.Reserve < 0, "the memory budget and reserve must not be negative")
	bad(c.Factor < 0 || c.Factor > 1000, "the memory factor must be 0 to 1000, not %g", c.Factor)
	for _, runtime := range slices.Sorted(maps.Keys(c.Command)) {
		cmd := c.Command[runtime]
		bad(len(cmd.Args) == 0 || cmd.Args[0] == "", "the engine for the runtime %q needs a command", runtime)
		for k, v := range cmd.Header {
			bad(k == "" || strings.ContainsAny(k+v, "\r\n\x00") || strings.ContainsAny(k, ": "),
				"the engine for the runtime %q has the malformed header %q", runtime, k)
		}
		switch cmd.Format {
		case "", OIPJSON, OIPBinary, NPY, CSV:
		default:
			bad(true, "the engine for the runtime %q has the unknown format %q", runtime, cmd.Format)
		}
	}
	bad(c.Log == nil, "the engine needs a log")
	return errors.Join(errs...)
}

// Engine starts and supervises workers.
type Engine struct {
	cfg              Config
	lock             *os.File // held while the run directory is in use
	mark             string   // of its workers
	memory           *memory
	mayLowerPriority bool         // loading workers give way to serving ones
	serial           atomic.Int64 // of processes

	restarts, oomKills atomic.Int64

	closing context.Context // ends with Close, and what is loading with it
	close   context.CancelFunc
	loads   sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	workers map[*Worker]bool
}

// New takes possession of the run directory and ends workers that an earlier
// agent, killed, left behind.
func New(c Config) (*Engine, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.RunDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the run directory: %w", err)
	}
	if err := os.Chmod(c.RunDir, 0o700); err != nil { // whoever can open a socket may use the model
		return nil, fmt.Errorf("make the run directory private: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(c.RunDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the run directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close() // not held
		return nil, fmt.Errorf("the run directory %s is in use by another agent: %w", c.RunDir, err)
	}
	mark, err := markOf(lock)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	e := &Engine{
		cfg: c, lock: lock, mark: mark, memory: newMemory(&c), mayLowerPriority: canLowerPriority(),
		workers: map[*Worker]bool{},
	}
	e.closing, e.close = context.WithCancel(context.Background())
	if n := endLeftovers(c.RunDir, mark); n > 0 {
		c.Log.Warn("ended workers that an earlier agent left behind", "processes", n)
	}
	return e, nil
}

// markOf tells the workers of a run directory from those of every other, also of a
// copy that has come to its path: by this boot, and the lock file itself.
func markOf(lock *os.File) (string, error) {
	boot, err := child.BootID()
	if err != nil {
		return "", err
	}
	var s unix.Stat_t
	if err := unix.Fstat(int(lock.Fd()), &s); err != nil {
		return "", fmt.Errorf("look at the lock of the run directory: %w", err)
	}
	return fmt.Sprintf("%s/%d/%d", boot, s.Dev, s.Ino), nil
}

// endLeftovers kills the workers of an agent that used the run directory before
// and was killed, and removes its sockets. The kernel has ended the workers
// themselves by then; what they started may have stayed.
func endLeftovers(runDir, mark string) (ended int) {
	pids, _ := child.PIDs() // what could be seen is something
	for _, pid := range pids {
		if child.Kill(pid, func(pid int) bool {
			return child.Env(pid, envRunDir) == runDir && child.Env(pid, envRunMark) == mark
		}) {
			ended++
		}
	}
	sockets, _ := filepath.Glob(filepath.Join(runDir, "*.sock")) // the pattern is good
	for _, s := range sockets {
		_ = os.Remove(s) // a socket of that number is refused otherwise, and the error says so
	}
	return ended
}

// Load implements model.Engine.
func (e *Engine) Load(ctx context.Context, p model.Package) (model.Runner, error) {
	w, err := e.load(ctx, p)
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (e *Engine) load(ctx context.Context, p model.Package) (*Worker, error) {
	l, err := e.launch(p)
	if err != nil {
		return nil, err
	}
	taken, err := e.memory.reserve(p, e.measure())
	if err != nil {
		return nil, err
	}
	defer taken.release()
	w := newWorker(e, p, l)
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil, fmt.Errorf("%w: the engine has been closed", model.ErrUnavailable)
	}
	e.workers[w] = true
	e.loads.Add(1)
	e.mu.Unlock()
	defer e.loads.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.closing, cancel)()
	if err := w.start(ctx); err != nil {
		e.forget(w)
		return nil, fmt.Errorf("start %s %s: %w", p.ModelName, p.ModelVersion, err)
	}
	e.memory.record(p, w.rss())
	return w, nil
}

func (e *Engine) forget(w *Worker) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.workers, w)
}

func (e *Engine) all() []*Worker {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Keys(e.workers))
}

// measure returns the memory that all workers hold, in bytes, and notes what
// each holds.
func (e *Engine) measure() (sum int64) {
	for _, w := range e.all() {
		bytes := w.rss()
		e.memory.record(w.pkg, bytes)
		sum += bytes
	}
	return sum
}

// Stats counts what happened to workers since the start.
type Stats struct {
	Workers  int
	Restarts int64 // after a crash or a hang
	OOMKills int64 // of those, by the kernel for lack of memory
	Memory   int64 // bytes that the workers hold now, files that they map left out
}

// Stats returns the counts; it reads a few files of /proc.
func (e *Engine) Stats() Stats {
	return Stats{Workers: len(e.all()), Restarts: e.restarts.Load(), OOMKills: e.oomKills.Load(), Memory: e.measure()}
}

// Close gives up what is loading, closes every Runner and gives the run directory back. The context
// bounds how long calls under way may take.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.close()
	e.loads.Wait()
	var wg sync.WaitGroup
	for _, w := range e.all() {
		wg.Go(func() { _ = w.Close(ctx) }) // it ends in any case; calls cut off have their own error
	}
	wg.Wait()
	// Closing is not enough while a fork elsewhere holds a copy for a moment.
	return errors.Join(unix.Flock(int(e.lock.Fd()), unix.LOCK_UN), e.lock.Close())
}

// findProgram returns the path of slipway-onnx.
func (c *Config) findProgram() (string, error) {
	if c.Program != "" {
		path, err := exec.LookPath(c.Program)
		if err != nil {
			return "", fmt.Errorf("%w: %w", model.ErrUnsupported, err)
		}
		return filepath.Abs(path)
	}
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(exe), "slipway-onnx")); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath("slipway-onnx")
	if err != nil {
		return "", fmt.Errorf(
			"%w: slipway-onnx is neither beside this program nor on PATH, and the configuration names none",
			model.ErrUnsupported)
	}
	return filepath.Abs(path)
}
