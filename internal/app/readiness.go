package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/store"
)

// readiness is whether the server takes traffic, for load balancers and people.
type readiness struct {
	db  *store.DB
	dir string

	phase atomic.Pointer[error] // why it takes no traffic whatever else is

	mu      sync.Mutex // guards what follows; one look at a time, whoever asks
	looked  time.Time
	outcome error
}

func newReadiness(db *store.DB, dir string) *readiness {
	r := &readiness{db: db, dir: dir}
	r.become(errStarting)
	return r
}

// What is said of a server that is not ready.
var (
	errStarting = errors.New("the server is starting")
	errStopping = errors.New("the server is stopping")
	errDatabase = errors.New("database: it does not answer")
	errSchema   = errors.New("schema: the database is not as this version made it")
)

const (
	// lookEvery is how long the outcome of a look stands.
	lookEvery = 100 * time.Millisecond
	// lookTimeout is how long the database may take to answer.
	lookTimeout = 2 * time.Second
	// leastSpace is how much the data directory's disk must have left, in bytes.
	leastSpace = 8 << 20
)

// become changes what the server is doing; nil: it serves.
func (r *readiness) become(phase error) { r.phase.Store(&phase) }

// check returns why the server takes no traffic.
func (r *readiness) check() error {
	if phase := *r.phase.Load(); phase != nil {
		return phase
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) > lookEvery {
		r.outcome = errors.Join(r.checkDatabase(), checkDisk(r.dir))
		r.looked = time.Now()
	}
	return r.outcome
}

func (r *readiness) checkDatabase() error {
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	same, err := r.db.SchemaIsOurs(ctx)
	switch {
	case err != nil:
		return errDatabase // the reason is in the log of whoever needed it
	case !same:
		return errSchema
	}
	return nil
}

func checkDisk(dir string) error {
	room, err := free(dir)
	switch {
	case err != nil:
		return errors.New("disk: the data directory cannot be reached")
	case room < leastSpace:
		return fmt.Errorf("disk: the data directory has %d KiB left", room>>10)
	}
	return nil
}
