// Package instance makes wanted instances true: it starts what the rows want,
// watches its health, restarts what crashed, drains and removes what is no
// longer wanted, and adopts what an earlier process left running. Which
// instances are wanted, and where traffic goes, is not its job.
package instance

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/provider"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
)

// Config is what a Manager is made of.
type Config struct {
	Store    *store.DB
	Provider provider.Provider
	// Fetch brings model data to this host and returns its directory. A
	// failure that repeating will not mend is a fault.NotFound or a
	// fault.Invalid.
	Fetch func(ctx context.Context, d hosting.ModelData) (dir string, err error)
	// Command resolves an image to what the provider runs.
	Command func(image string) ([]string, error)
	// Drain waits until no request is in flight on an instance that has left
	// the routes.
	Drain func(ctx context.Context, id hosting.InstanceID) error
	// Changed is called after every report, so that deployments and routers
	// look again. It must not block.
	Changed func()
	Wake    <-chan struct{} // rows may have changed
	Log     *slog.Logger
	Tuning  Tuning
}

// Tuning is the pace at which instances are watched. Zero fields get the
// defaults.
type Tuning struct {
	Poll            time.Duration // longest time between two looks at the rows; 2 s
	PingInterval    time.Duration // between two health checks of a healthy instance; 5 s
	PingTimeout     time.Duration // spec §6.6; 2 s
	UnhealthyAfter  int           // failed health checks in a row before an instance is replaced; 3
	StartupTimeout  time.Duration // until the first health check must have passed; 8 min
	DownloadTimeout time.Duration // for model data; 20 min
	StartAttempts   int           // starts that may end badly before a new instance is given up; 3
	BackoffMin      time.Duration // after the first crash; 200 ms
	BackoffMax      time.Duration // after many; 30 s
	DrainLimit      time.Duration // longest time a drain may take; 9 min
	StopGrace       time.Duration // from SIGTERM to SIGKILL; 30 s
	Parallel        int64         // instances being fetched or started at a time; 8
}

func (t Tuning) withDefaults() Tuning {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&t.Poll, 2*time.Second)
	def(&t.PingInterval, 5*time.Second)
	def(&t.PingTimeout, 2*time.Second)
	def(&t.StartupTimeout, 8*time.Minute)
	def(&t.DownloadTimeout, 20*time.Minute)
	def(&t.BackoffMin, 200*time.Millisecond)
	def(&t.BackoffMax, 30*time.Second)
	def(&t.DrainLimit, 9*time.Minute)
	def(&t.StopGrace, 30*time.Second)
	if t.UnhealthyAfter == 0 {
		t.UnhealthyAfter = 3
	}
	if t.StartAttempts == 0 {
		t.StartAttempts = 3
	}
	if t.Parallel == 0 {
		t.Parallel = 8
	}
	return t
}

// Manager looks after every instance of this host, one keeper each.
type Manager struct {
	Config
	pings *http.Client
	slots *semaphore.Weighted // bounds the instances being started at a time

	mu      sync.Mutex
	keepers map[hosting.InstanceID]*keeper
	running map[provider.ID]provider.Status // left by an earlier server, not yet adopted
	version int64                           // of the newest row seen

	wg sync.WaitGroup // the keepers
}

// New returns a Manager; Run makes it work.
func New(c Config) *Manager {
	c.Tuning = c.Tuning.withDefaults()
	return &Manager{
		Config: c,
		slots:  semaphore.NewWeighted(c.Tuning.Parallel),
		pings: &http.Client{
			Timeout:       c.Tuning.PingTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		},
		keepers: map[hosting.InstanceID]*keeper{},
	}
}

// Run looks after instances until ctx ends, then stops looking; the instances
// go on.
func (m *Manager) Run(ctx context.Context) {
	defer m.wg.Wait()
	listed, swept := false, false
	var exits <-chan struct{}
	if n, ok := m.Provider.(provider.Notifier); ok {
		exits = n.Changes()
	}
	tick := time.NewTicker(m.Tuning.Poll)
	defer tick.Stop()
	for ctx.Err() == nil {
		listed = listed || m.findRunning(ctx)
		if listed {
			if err := m.follow(ctx); err != nil {
				m.complain(ctx, "follow instances", err)
			} else if !swept {
				// Only now is it known which running instances have no row.
				swept = m.sweep(ctx)
			}
		}
		select {
		case <-ctx.Done():
		case <-m.Wake:
		case <-exits:
			m.notice(ctx)
		case <-tick.C:
			m.notice(ctx)
		}
	}
}

// findRunning notes what an earlier server left running, so that it is adopted
// as it is and not judged by whether it could be started now.
func (m *Manager) findRunning(ctx context.Context) bool {
	list, err := m.Provider.List(ctx)
	if err != nil {
		m.complain(ctx, "list instances", err)
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running = make(map[provider.ID]provider.Status, len(list))
	for _, s := range list {
		if !s.Exited && s.Address != "" {
			m.running[s.ID] = s
		}
	}
	return true
}

// adopt returns the instance that an earlier server left running, once.
func (m *Manager) adopt(id hosting.InstanceID) (provider.Status, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.running[provider.ID(id)]
	delete(m.running, provider.ID(id))
	return s, ok
}

// follow gives every changed row to its keeper.
func (m *Manager) follow(ctx context.Context) error {
	m.mu.Lock()
	version := m.version
	m.mu.Unlock()
	rows, err := m.Store.InstancesSince(ctx, version)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, row := range rows {
		m.version = row.Version
		k, ok := m.keepers[row.ID]
		if !ok {
			k = newKeeper(m, row)
			m.keepers[row.ID] = k
			m.wg.Go(func() { m.keep(ctx, k) })
			continue
		}
		if !row.Wanted {
			k.unwant()
		}
	}
	return nil
}

// ModelDirs returns the directories of model data that running instances use.
func (m *Manager) ModelDirs(ctx context.Context) (dirs []string, err error) {
	list, err := m.Provider.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		if s.ModelDir != "" {
			dirs = append(dirs, s.ModelDir)
		}
	}
	return dirs, nil
}

func (m *Manager) keep(ctx context.Context, k *keeper) {
	k.run(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.keepers, k.row.ID)
}

// sweep removes instances that the provider runs and nobody wants: what a
// crash between two writes may have left.
func (m *Manager) sweep(ctx context.Context) bool {
	list, err := m.Provider.List(ctx)
	if err != nil {
		m.complain(ctx, "list instances", err)
		return false
	}
	for _, s := range list {
		m.mu.Lock()
		_, known := m.keepers[hosting.InstanceID(s.ID)]
		m.mu.Unlock()
		if known {
			continue
		}
		m.Log.InfoContext(ctx, "orphan removed", "instance", s.ID)
		m.wg.Go(func() {
			if err := m.Provider.Remove(ctx, s.ID); err != nil {
				m.complain(ctx, "remove orphan", err)
			}
		})
	}
	m.notice(ctx)
	return true
}

// notice tells the keepers of exited instances. Which start of its instance
// each keeper was at is noted before looking: an exit is of that start or of an
// earlier one.
func (m *Manager) notice(ctx context.Context) {
	starts := map[provider.ID]int64{}
	m.mu.Lock()
	for id, k := range m.keepers {
		starts[provider.ID(id)] = k.starts.Load()
	}
	m.mu.Unlock()
	list, err := m.Provider.List(ctx)
	if err != nil {
		m.complain(ctx, "list instances", err)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range list {
		if k := m.keepers[hosting.InstanceID(s.ID)]; k != nil && s.Exited {
			k.exitSeen(s, starts[s.ID])
		}
	}
}

func (m *Manager) complain(ctx context.Context, what string, err error) {
	if ctx.Err() == nil {
		m.Log.WarnContext(ctx, "instance service failed and will try again", "what", what, "err", err)
	}
}
