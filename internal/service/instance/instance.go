// Package instance makes wanted instances true: it starts what the rows want,
// watches its health, restarts what crashed, drains and removes what is no
// longer wanted, and adopts what an earlier process left running. Which
// instances are wanted, and where traffic goes, is not its job.
package instance

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	"github.com/slipway-ml/slipway/internal/platform/provider"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
)

// Config is what a Manager is made of.
type Config struct {
	Store     *store.DB
	Providers provider.Set // an instance is the business of the one that its row names, and of no other
	// Command resolves a container to what the provider runs.
	Command func(c hosting.Container) ([]string, error)
	// Version returns which version of its model data a fleet shall serve that was
	// not told when it was created; served says that this instance has served it.
	// nil: whatever is there at each start.
	Version func(ctx context.Context, id hosting.InstanceID, d hosting.ModelData, served bool) (string, error)
	// Digest returns the digest of model data in its version, "" if it is not known
	// here. Nil: it never is.
	Digest func(d hosting.ModelData) string
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
	DownloadTimeout time.Duration // for model data, until the instance has an address; 20 min
	StartAttempts   int           // starts that may end badly before a new instance is given up; 3
	BackoffMin      time.Duration // after the first crash; 200 ms
	BackoffMax      time.Duration // after many; 30 s
	DrainLimit      time.Duration // longest time a drain may take; 9 min
	StopGrace       time.Duration // from SIGTERM to SIGKILL; 30 s
	Parallel        int64         // instances being fetched or started at a time; 8
}

// Manager looks after every instance, with a supervisor for each.
type Manager struct {
	Config
	pings *http.Client
	slots *semaphore.Weighted // bounds the instances being started at a time

	mu          sync.Mutex
	supervisors map[hosting.InstanceID]*supervisor
	running     map[place]provider.Status // left by an earlier server, not yet adopted
	version     int64                     // of the newest row seen
	rereads     int                       // how often the versions began anew
	followed    int                       // the rereads of which all that there is was read

	wg sync.WaitGroup // the supervisors
}

// place is where an instance is: one provider knows it by its id.
type place struct {
	provider hosting.ProviderName
	id       hosting.InstanceID
}

// New returns a Manager; Run makes it work.
func New(c Config) *Manager {
	t := &c.Tuning
	t.Poll = cmp.Or(t.Poll, 2*time.Second)
	t.PingInterval = cmp.Or(t.PingInterval, 5*time.Second)
	t.PingTimeout = cmp.Or(t.PingTimeout, 2*time.Second)
	t.UnhealthyAfter = cmp.Or(t.UnhealthyAfter, 3)
	t.StartupTimeout = cmp.Or(t.StartupTimeout, 8*time.Minute)
	t.DownloadTimeout = cmp.Or(t.DownloadTimeout, 20*time.Minute)
	t.StartAttempts = cmp.Or(t.StartAttempts, 3)
	t.BackoffMin = cmp.Or(t.BackoffMin, 200*time.Millisecond)
	t.BackoffMax = cmp.Or(t.BackoffMax, 30*time.Second)
	t.DrainLimit = cmp.Or(t.DrainLimit, 9*time.Minute)
	t.StopGrace = cmp.Or(t.StopGrace, 30*time.Second)
	t.Parallel = cmp.Or(t.Parallel, 8)
	return &Manager{
		Config: c,
		slots:  semaphore.NewWeighted(t.Parallel),
		pings: &http.Client{
			Timeout:       t.PingTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		},
		supervisors: map[hosting.InstanceID]*supervisor{},
	}
}

// Run looks after instances until ctx ends, then stops looking; the instances
// go on.
func (m *Manager) Run(ctx context.Context) {
	defer m.wg.Wait()
	listed, swept := false, false
	changes := loop.NewWakeup()
	for _, p := range m.Providers {
		if n, ok := p.(provider.Notifier); ok {
			m.wg.Go(func() { forward(ctx, n.Changes(), changes) })
		}
	}
	tick := time.NewTicker(m.Tuning.Poll)
	defer tick.Stop()
	for ctx.Err() == nil {
		listed = listed || m.findRunning(ctx)
		if listed {
			if err := m.follow(ctx); err != nil {
				m.warn(ctx, "follow instances", err)
			} else if !swept {
				// Only now is it known which running instances have no row.
				swept = m.sweep(ctx)
			}
		}
		select {
		case <-ctx.Done():
		case <-m.Wake:
		case <-changes:
			m.observe(ctx)
		case <-tick.C:
			m.observe(ctx)
		}
	}
}

// forward makes of many channels one.
func forward(ctx context.Context, from <-chan struct{}, to loop.Wakeup) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-from:
			to.Notify()
		}
	}
}

// list returns what the providers have, and whether every one of them said so.
func (m *Manager) list(ctx context.Context) (all map[place]provider.Status, complete bool) {
	all, complete = map[place]provider.Status{}, true
	for name, p := range m.Providers {
		list, err := p.List(ctx)
		if err != nil {
			complete = false
			m.warn(ctx, "list instances of provider "+string(name), err)
		}
		for _, st := range list {
			all[place{name, hosting.InstanceID(st.ID)}] = st
		}
	}
	return all, complete
}

// findRunning notes what an earlier server left running, so that it is adopted
// as it is, whether or not it could be started now.
func (m *Manager) findRunning(ctx context.Context) bool {
	list, complete := m.list(ctx)
	if !complete {
		return false
	}
	maps.DeleteFunc(list, func(_ place, st provider.Status) bool { return st.Exited })
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running = list
	return true
}

// adopt returns the instance that an earlier server left running, once.
func (m *Manager) adopt(at place) (provider.Status, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	st, ok := m.running[at]
	delete(m.running, at)
	return st, ok
}

// follow gives every changed row to its supervisor. What the row says is run by
// a provider that this server does not have is left as it is.
func (m *Manager) follow(ctx context.Context) error {
	m.mu.Lock()
	version, rereads := m.version, m.rereads
	anew := m.followed < rereads
	m.mu.Unlock()
	if anew {
		version = 0
	}
	rows, err := m.Store.InstancesSince(ctx, version)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if anew {
		m.keepOnly(ctx, rows)
		m.followed = rereads
	}
	for _, row := range rows {
		m.version = row.Version
		s, ok := m.supervisors[row.ID]
		if !ok {
			p, ok := m.Providers[row.Provider]
			if !ok {
				m.Log.ErrorContext(ctx, "instance is left alone: its provider is not configured",
					"endpoint", row.Spec.Endpoint, "instance", row.ID, "provider", row.Provider)
				continue
			}
			s = newSupervisor(ctx, m, p, row)
			m.supervisors[row.ID] = s
			m.wg.Go(func() { m.supervise(ctx, s) })
		} else if anew {
			m.asIs(s, row)
		}
		if !row.Wanted {
			s.wish.set(false)
		}
	}
	return nil
}

// Reread forgets how far the rows were followed: their versions ran backwards.
func (m *Manager) Reread() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.version = 0
	m.rereads++
}

// asIs has an instance be what its row says that was read anew, and the row what
// the instance is: the end that it was asked for, and the news of it that nobody
// has any more, may be lost. m.mu is held.
func (m *Manager) asIs(s *supervisor, row hosting.InstanceRow) {
	if row.Wanted {
		s.wish.set(true)
	}
	asIs, _ := s.wish.now()
	m.wg.Go(func() { s.reportAgain(asIs, row) })
}

// keepOnly ends the instances that are in no row any more. m.mu is held.
func (m *Manager) keepOnly(ctx context.Context, rows []hosting.InstanceRow) {
	there := map[hosting.InstanceID]bool{}
	for _, row := range rows {
		there[row.ID] = true
	}
	for id, s := range m.supervisors {
		if !there[id] {
			m.Log.ErrorContext(ctx, "instance ends: the database knows it no longer", "instance", id)
			s.wish.set(false)
		}
	}
}

// supervise has s look after its instance until that is gone, and not wanted again
// just then, or ctx ends.
func (m *Manager) supervise(ctx context.Context, s *supervisor) {
	defer s.wish.end()
	for gone := false; !gone; {
		s.run(ctx)
		m.mu.Lock()
		if _, wanted := s.wish.now(); !wanted || ctx.Err() != nil {
			gone = true
			delete(m.supervisors, s.row.ID)
		}
		m.mu.Unlock()
	}
}

// sweep removes instances that no row gives to the provider that runs them: what
// a crash between two writes may have left.
func (m *Manager) sweep(ctx context.Context) bool {
	list, complete := m.list(ctx)
	for at := range list {
		m.mu.Lock()
		s := m.supervisors[at.id]
		m.mu.Unlock()
		if s != nil && s.place() == at {
			continue
		}
		m.Log.InfoContext(ctx, "orphan removed", "instance", at.id, "provider", at.provider)
		m.wg.Go(func() {
			if err := m.Providers[at.provider].Remove(ctx, provider.ID(at.id)); err != nil {
				m.warn(ctx, "remove orphan", err)
			}
		})
	}
	m.observe(ctx)
	return complete
}

// observe tells the supervisors what became of their instances. Which start of
// its instance each supervisor was at is noted before looking: what is seen is
// of that start or of an earlier one.
func (m *Manager) observe(ctx context.Context) {
	starts := map[place]int64{}
	m.mu.Lock()
	for _, s := range m.supervisors {
		starts[s.place()] = s.starts.Load()
	}
	m.mu.Unlock()
	list, _ := m.list(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	for at, st := range list {
		if s := m.supervisors[at.id]; s != nil && s.place() == at {
			s.observe(st, starts[at])
		}
	}
}

func (m *Manager) warn(ctx context.Context, what string, err error) {
	if ctx.Err() == nil {
		m.Log.WarnContext(ctx, "instance service failed and will try again", "what", what, "err", err)
	}
}
