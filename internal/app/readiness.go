package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/wire/gateway"
)

// readiness is whether the server takes traffic, for load balancers and people.
type readiness struct {
	db  *store.DB
	dir string

	phase atomic.Pointer[error] // why it takes no traffic whatever else is

	mu     sync.Mutex // guards what follows; one look at a time, whoever asks
	looked time.Time
	parts  []gateway.Part // what was seen
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
	errDatabase = errors.New("it does not answer")
	errSchema   = errors.New("the database is not as this version made it")
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

// check returns what the server needs, and what of it is missing. Requests are routed
// from memory: that takes neither the database nor room on the disk. A server whose
// disk is full is worth more than none, also for most of what it is asked besides.
func (r *readiness) check(part string) []gateway.Part {
	routing := gateway.Part{Name: "routing", Missing: *r.phase.Load()}
	if routing.Missing != nil || part == routing.Name { // no look at the database, which may take long
		return []gateway.Part{routing}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) > lookEvery {
		database, schema := r.checkDatabase()
		r.parts = []gateway.Part{
			routing,
			{Name: "database", Missing: database},
			{Name: "schema", Missing: schema},
			{Name: "disk", Missing: checkDisk(r.dir), Minor: true},
		}
		r.looked = time.Now()
	}
	return r.parts
}

func (r *readiness) checkDatabase() (database, schema error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	same, err := r.db.SchemaIsOurs(ctx)
	switch {
	case err != nil:
		return errDatabase, nil // the reason is in the log of whoever needed it
	case !same:
		return nil, errSchema
	}
	return nil, nil
}

func checkDisk(dir string) error {
	room, err := free(dir)
	switch {
	case err != nil:
		return errors.New("the data directory cannot be reached")
	case room < leastSpace:
		return fmt.Errorf("the data directory has %d KiB left", room>>10)
	}
	return nil
}
