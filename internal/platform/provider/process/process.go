// Package process runs each instance as one operating system process on this
// machine (Linux). It promises that an instance outlives the server that
// started it, kill -9 included, and that the next server finds every instance
// again: none runs twice and none is forgotten. See states.go for how.
//
// It isolates nothing: an instance runs as the server's user and sees its
// files. Readiness, restarts and choosing what an image means are not its job.
//
// Under a service manager, let only the server be stopped with the service
// (systemd: KillMode=process), or the manager takes the instances with it.
package process

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/child"
	"github.com/slipway-ml/slipway/internal/platform/filelock"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// Config says where instances live and how much they may leave behind.
type Config struct {
	Dir string       // state, logs and working directories; made if missing, one server at a time
	Log *slog.Logger // nil discards

	// Fetch brings model data to this host and returns its directory, which must
	// stay while ModelDirs names it. Its failures are those of ModelDataError. It
	// is needed by instances with model data.
	Fetch func(ctx context.Context, d hosting.ModelData) (dir string, err error)

	// FirstPort and LastPort bound the ports that instances get. Zero lets the
	// kernel choose. A range outside the kernel's own ephemeral one avoids that
	// an outgoing connection takes a port before its instance does; such an
	// instance exits and gets another port from the next Ensure.
	FirstPort, LastPort int

	LogBytes  int64         // kept of one instance's output; 0 means 16 MiB
	LogsTotal int64         // kept of all removed instances' output; 0 means 1 GiB
	LogAge    time.Duration // how long a removed instance's log is kept; 0 means 7 days

	// Keeper is a program, by its path, and the arguments with which it calls
	// KeepLogs, the zeroth included; the directory and LogBytes are appended. It is
	// started before the first instance, so that logs are bounded also while no
	// server runs. Without it they are bounded only while one does.
	Keeper []string

	// NoPidfd makes the provider poll instead of using process descriptors, as
	// it does by itself where the kernel has none (before 5.4, some sandboxes).
	NoPidfd bool
}

// Provider implements provider.Provider, provider.LogReader and
// provider.Notifier. It holds one file descriptor per running instance and
// three goroutines in all.
type Provider struct {
	cfg   Config
	log   *slog.Logger
	paths paths
	boot  string // this boot of the machine: start times are counted from it
	lock  *os.File
	ports *child.Ports

	logLock *os.File // nil: another process bounds the logs
	keeper  keeper

	epoll, wake int // the watcher's descriptors
	changes     chan struct{}
	closing     context.Context // ends with Close
	close       context.CancelFunc
	loops       sync.WaitGroup // watcher and log keeper
	verbs       sync.WaitGroup // Ensure and Remove under way

	mu      sync.Mutex
	closed  bool
	entries map[provider.ID]*entry
	watched map[int]*run // by process descriptor
	polled  map[*run]bool
}

var (
	_ provider.Provider  = (*Provider)(nil)
	_ provider.LogReader = (*Provider)(nil)
	_ provider.Notifier  = (*Provider)(nil)
	_ provider.Listener  = (*Provider)(nil)
	_ provider.Meter     = (*Provider)(nil)
)

// entry is one instance id; it exists while a run or a verb does.
type entry struct {
	id   provider.ID
	turn chan struct{} // holds one value while a verb works on the id

	// Guarded by Provider.mu:
	users   int
	run     *run
	waiting string // of an instance whose model data is being fetched
}

// run is one process.
type run struct {
	rec   record // as it was written when the process was started
	child bool   // of this server: its exit status can be collected
	pidfd int    // -1: polled
	done  chan struct{}

	// Guarded by Provider.mu:
	exited bool
	detail string
	killAt time.Time // when the grace of the first SIGTERM ends
}

// New opens the state in cfg.Dir and adopts the instances that still run there.
// It fails if another server uses the directory.
func New(cfg Config) (*Provider, error) {
	p, err := open(cfg)
	if err != nil {
		return nil, fmt.Errorf("open process provider in %s: %w", cfg.Dir, err)
	}
	if err := p.adoptAll(); err != nil {
		p.shut()
		return nil, fmt.Errorf("adopt instances in %s: %w", cfg.Dir, err)
	}
	p.takeLogs()
	p.loops.Go(p.watch)
	p.loops.Go(func() { bounds{p.paths, p.cfg.LogBytes, p.log}.run(p.closing, p.tendLogs) })
	return p, nil
}

func open(cfg Config) (*Provider, error) {
	ports, err := child.NewPorts(cfg.FirstPort, cfg.LastPort)
	if err != nil {
		return nil, err
	}
	cfg.LogBytes = cmp.Or(cfg.LogBytes, 16<<20)
	cfg.LogsTotal = cmp.Or(cfg.LogsTotal, 1<<30)
	cfg.LogAge = cmp.Or(cfg.LogAge, 7*24*time.Hour)
	p := &Provider{
		cfg: cfg, log: cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)), ports: ports, epoll: -1, wake: -1,
		changes: make(chan struct{}, 1),
		entries: map[provider.ID]*entry{}, watched: map[int]*run{}, polled: map[*run]bool{},
	}
	p.closing, p.close = context.WithCancel(context.Background())
	if p.paths, err = makePaths(cfg.Dir); err != nil {
		return nil, err
	}
	if p.boot, err = child.BootID(); err != nil {
		return nil, err
	}
	if p.lock, err = filelock.Lock(p.paths.lock()); err != nil {
		return nil, err
	}
	// Descriptors that the server inherited from whoever started it would reach
	// every instance and outlive the server there. Go's own are closed on exec
	// anyhow; before Linux 5.11 the call fails and changes nothing.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if err := p.openWatch(); err != nil {
		p.shut()
		return nil, err
	}
	return p, nil
}

// Close stops watching and waits for verbs under way; instances go on running,
// and the next New adopts them. A Remove that waits for a process and an Ensure
// that fetches model data give up.
func (p *Provider) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	p.close()
	p.verbs.Wait()
	p.wakeWatcher()
	p.loops.Wait()
	p.shut()
	return nil
}

// shut gives back every descriptor; no goroutine uses them any more.
func (p *Provider) shut() {
	p.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for fd := range p.watched {
		_ = unix.Close(fd) // a process descriptor has nothing to lose
	}
	for r := range p.polled {
		if r.pidfd >= 0 {
			_ = unix.Close(r.pidfd) // as above
		}
	}
	clear(p.watched)
	clear(p.polled)
	for _, fd := range []int{p.epoll, p.wake} {
		if fd >= 0 {
			_ = unix.Close(fd) // as above
		}
	}
	if p.logLock != nil {
		_ = p.logLock.Close() // as below; the keeper goes on
	}
	_ = p.lock.Close() // releases the lock; nothing was written
}

// Changes implements provider.Notifier.
func (p *Provider) Changes() <-chan struct{} { return p.changes }

// List returns every instance, in no order.
func (p *Provider) List(context.Context) ([]provider.Status, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]provider.Status, 0, len(p.entries))
	for id, e := range p.entries {
		switch {
		case e.waiting != "":
			list = append(list, provider.Status{ID: id, Waiting: e.waiting})
		case e.run != nil:
			list = append(list, e.run.status(id))
		}
	}
	return list, nil
}

// Listens implements provider.Listener.
func (p *Provider) Listens(_ context.Context, id provider.ID) (bool, error) {
	p.mu.Lock()
	e := p.entries[id]
	if e == nil || e.run == nil || e.run.exited {
		p.mu.Unlock()
		return false, nil
	}
	pid, port := e.run.rec.PID, e.run.rec.Port
	p.mu.Unlock()
	return child.Listens(port, pid, child.Session)
}

// ModelDir returns the directory of model data that an instance runs on; "" if it is
// not known here, or has none.
func (p *Provider) ModelDir(id provider.ID) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.entries[id]; e != nil && e.run != nil {
		return e.run.rec.ModelDir
	}
	return ""
}

// ModelDirs returns the directories of model data that instances run on.
func (p *Provider) ModelDirs() (dirs []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.entries {
		if e.run != nil && e.run.rec.ModelDir != "" {
			dirs = append(dirs, e.run.rec.ModelDir)
		}
	}
	return dirs
}

// status is called with the provider's mutex held.
func (r *run) status(id provider.ID) provider.Status {
	if r.exited {
		return provider.Status{ID: id, Exited: true, Detail: r.detail}
	}
	return provider.Status{ID: id, Address: r.rec.address()}
}

var errClosed = fault.New(fault.Unavailable, "the process provider is closed")

// enter waits for the caller's turn with id. Verbs on other ids go on.
func (p *Provider) enter(ctx context.Context, id provider.ID) (*entry, error) {
	if !validID(id) {
		return nil, fault.New(fault.Invalid, "instance id %q does not match [a-z0-9-]{1,63}", id)
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errClosed
	}
	e := p.entries[id]
	if e == nil {
		e = &entry{id: id, turn: make(chan struct{}, 1)}
		p.entries[id] = e
	}
	e.users++
	p.verbs.Add(1)
	p.mu.Unlock()
	select {
	case e.turn <- struct{}{}:
		return e, nil
	case <-ctx.Done():
		p.forget(e)
		return nil, ctx.Err()
	case <-p.closing.Done():
		p.forget(e)
		return nil, errClosed
	}
}

func (p *Provider) leave(e *entry) {
	<-e.turn
	p.forget(e)
}

// forget drops an entry that nobody uses and that has no run.
func (p *Provider) forget(e *entry) {
	p.mu.Lock()
	e.users--
	if e.users == 0 && e.run == nil {
		delete(p.entries, e.id)
	}
	p.mu.Unlock()
	p.verbs.Done()
}

func validID(id provider.ID) bool {
	if len(id) < 1 || len(id) > 63 {
		return false
	}
	for _, c := range []byte(id) {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
