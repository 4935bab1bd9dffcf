package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrInUse means that another server uses the database.
var ErrInUse = errors.New("another Slipway server uses this database")

// sole sees to it that one server alone uses a PostgreSQL database, by advisory
// locks, which belong to connections:
//
//	owner   exclusive, held by one connection that does nothing else
//	member  shared, held by every connection that reads and writes
//
// A server starts when it has the owner's lock and nobody has a member's. Each of
// its connections takes the member's lock first and then sees whether the server
// is the owner still. So the loss of the owner's connection lets nobody else in
// before the last connection has gone that could write, and a server that came
// back from a cut network finds that it gets no connection. Poolers must leave
// sessions alone ("session" mode).
type sole struct {
	config *pgx.ConnConfig
	log    *slog.Logger

	mu    sync.Mutex // guards what follows; not held on the network
	owner *pgx.Conn
	token int32 // the number of a further lock, which tells this owner from any other

	stop func() // ends watch and waits for it
}

// The numbers of the locks; the first of the pair is the same for all.
const (
	lockClass   = 0x534c4950 // "SLIP"
	lockOwner   = 1
	lockMember  = 2
	lockOfToken = 0x534c4954 // the first of the pair whose second is an owner's token
)

const (
	// ownerPatience is for a server that was just killed: PostgreSQL needs a
	// moment to see it.
	ownerPatience = 3 * time.Second
	// memberPatience is for the last statements of one, which end with their
	// timeout, and for a host that died: its connections end with keepalives.
	memberPatience = 15 * time.Second
	// watchInterval is between two looks at the owner's connection, and
	// watchTimeout how long one may take.
	watchInterval = time.Second
	watchTimeout  = 3 * time.Second
)

func newSole(config *pgx.ConnConfig, log *slog.Logger) *sole {
	return &sole{config: config, log: log, stop: func() {}}
}

// acquire takes the owner's lock, and waits until no connection of an earlier
// owner is left.
func (s *sole) acquire(ctx context.Context) error {
	if err := s.retry(ctx, ownerPatience, s.own); err != nil {
		return err
	}
	if err := s.retry(ctx, memberPatience, s.awaitMembers); err != nil {
		s.release()
		return err
	}
	return nil
}

// retry repeats f while it says that the database is in use.
func (s *sole) retry(ctx context.Context, patience time.Duration, f func(context.Context) error) error {
	var inUse error
	for deadline := time.Now().Add(patience); ; {
		err := f(ctx)
		switch {
		case inUse != nil && ctx.Err() != nil:
			return inUse
		case !errors.Is(err, ErrInUse) || time.Now().After(deadline):
			return err
		}
		inUse = err
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// own opens a connection that holds the owner's lock.
func (s *sole) own(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := pgx.ConnectConfig(ctx, s.config)
	if err != nil {
		return err
	}
	token := rand.Int32()
	var owns bool
	err = set(ctx, c, sessionSettings)
	if err == nil {
		err = c.QueryRow(ctx, `select pg_try_advisory_lock($1, $2)`, lockClass, lockOwner).Scan(&owns)
	}
	switch {
	case err != nil:
	case !owns:
		err = inUse(ctx, c)
	default:
		err = c.QueryRow(ctx, `select pg_try_advisory_lock($1, $2)`, lockOfToken, token).Scan(&owns)
	}
	if err != nil {
		closeSoon(c)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner, s.token = c, token
	return nil
}

// inUse says who has the owner's lock.
func inUse(ctx context.Context, c *pgx.Conn) error {
	var who, where string
	var since time.Time
	err := c.QueryRow(ctx, `
		select a.application_name, coalesce(host(a.client_addr), 'local'), a.backend_start
		from pg_locks l join pg_stat_activity a using (pid)
		where l.locktype = 'advisory' and l.classid = $1 and l.objid = $2 and l.granted
			and l.database = (select oid from pg_database where datname = current_database())`,
		lockClass, lockOwner).Scan(&who, &where, &since)
	if err != nil { // it has gone, or may not be seen
		return fmt.Errorf("%w; stop it first, or give this one a database of its own", ErrInUse)
	}
	return fmt.Errorf("%w (%s, from %s, since %s); stop it first, or give this one a database of its own",
		ErrInUse, who, where, since.UTC().Format(time.RFC3339))
}

// awaitMembers fails while a connection of an earlier owner is left.
func (s *sole) awaitMembers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var none bool
	err := s.owner.QueryRow(ctx, `select pg_try_advisory_lock($1, $2)`, lockClass, lockMember).Scan(&none)
	if err == nil && !none {
		return fmt.Errorf("%w: connections of an earlier one are still open; they end by themselves, try again",
			ErrInUse)
	}
	if err == nil {
		err = s.owner.QueryRow(ctx, `select pg_advisory_unlock($1, $2)`, lockClass, lockMember).Scan(&none)
	}
	return err
}

// admit returns what makes a new connection one of this server's, or closes it
// and says why.
func (s *sole) admit(settings map[string]string) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, c *pgx.Conn) error {
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		err := set(ctx, c, settings)
		if err == nil {
			err = s.join(ctx, c)
		}
		if err != nil {
			closeSoon(c) // its lock would go on keeping others out
		}
		return err
	}
}

// join takes the member's lock for a connection.
func (s *sole) join(ctx context.Context, c *pgx.Conn) error {
	s.mu.Lock()
	token := s.token
	s.mu.Unlock()
	var member, owns bool
	err := c.QueryRow(ctx, `select pg_try_advisory_lock_shared($1, $2)`, lockClass, lockMember).Scan(&member)
	if err != nil {
		return err
	}
	if member { // only now: whoever became the owner before has looked for members
		err = c.QueryRow(ctx, `
			select exists (
				select 1 from pg_locks o join pg_locks t using (pid, database, locktype)
				where locktype = 'advisory' and o.granted and t.granted
					and database = (select oid from pg_database where datname = current_database())
					and o.classid = $1 and o.objid = $2 and t.classid = $3 and t.objid = $4)`,
			lockClass, lockOwner, lockOfToken, token).Scan(&owns)
	}
	if err == nil && !owns {
		err = fmt.Errorf("%w, or this one has lost its connection to it", ErrInUse)
	}
	return err
}

// watch looks after the owner's connection until release.
func (s *sole) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(watchInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				s.look(ctx)
			}
		}
	})
	s.stop = func() { cancel(); wg.Wait() }
}

// look opens the owner's connection again if it is gone.
func (s *sole) look(ctx context.Context) {
	s.mu.Lock()
	c := s.owner
	s.mu.Unlock()
	if c != nil {
		ping, cancel := context.WithTimeout(ctx, watchTimeout)
		err := c.Ping(ping)
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}
		s.log.WarnContext(ctx, "the connection that keeps the database for this server was lost", "err", err)
		closeSoon(c)
		s.mu.Lock()
		s.owner = nil
		s.mu.Unlock()
	}
	if err := s.own(ctx); err != nil {
		if ctx.Err() == nil {
			s.log.WarnContext(ctx, "the database is not this server's at the moment", "err", err)
		}
		return
	}
	s.log.InfoContext(ctx, "the database is kept for this server again")
}

// release lets another server have the database.
func (s *sole) release() {
	s.stop()
	s.mu.Lock()
	c := s.owner
	s.owner = nil
	s.mu.Unlock()
	if c != nil {
		closeSoon(c)
	}
}

// closeSoon closes a connection, whose server may not answer.
func closeSoon(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx) // it ends with its socket
}
