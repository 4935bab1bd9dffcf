package store_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/pgtest"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

func openPostgres(t *testing.T, dsn string) *store.DB {
	t.Helper()
	db, err := store.OpenPostgres(t.Context(), dsn, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // the test may have cut it off
	return db
}

// wantRefused fails unless a second server is kept from the database.
func wantRefused(t *testing.T, dsn string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	db, err := store.OpenPostgres(ctx, dsn, slog.New(slog.DiscardHandler))
	if err == nil {
		_ = db.Close()
	}
	if !errors.Is(err, store.ErrInUse) {
		t.Fatalf("a second server: %v", err)
	}
}

// people is a connection of nobody's server.
func people(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// terminate ends the connections of servers that meet a condition.
func terminate(t *testing.T, db *sql.DB, cond string) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity
		where datname = current_database() and application_name like 'slipway %' and `+cond)
	if err != nil {
		t.Fatal(err)
	}
}

func write(ctx context.Context, db *store.DB) error {
	return db.Change(ctx, func(tx *store.Tx) error {
		_, err := tx.Next(ctx, "event")
		return err
	})
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func TestASecondServerOnAPostgreSQLDatabaseIsRefused(t *testing.T) {
	dsn := pgtest.DSN(t)
	first := openPostgres(t, dsn)
	_, err := store.OpenPostgres(t.Context(), dsn, slog.New(slog.DiscardHandler))
	if !errors.Is(err, store.ErrInUse) || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("the second: %v", err)
	}
	if err := write(t.Context(), first); err != nil {
		t.Errorf("the first: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	openPostgres(t, dsn)
}

func TestAServerThatLosesTheConnectionOfItsLockKeepsTheDatabase(t *testing.T) {
	dsn := pgtest.DSN(t)
	first, admin := openPostgres(t, dsn), people(t, dsn)
	if err := write(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	const owner = `pid in (select pid from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock')`
	terminate(t, admin, owner)
	wantRefused(t, dsn) // the others' connections are there still
	eventually(t, "the first has its lock again", func() bool {
		var n int
		err := admin.QueryRowContext(t.Context(), `select count(distinct pid) from pg_stat_activity
			where application_name like 'slipway %' and datname = current_database() and `+owner).Scan(&n)
		return err == nil && n == 1
	})
	if err := write(t.Context(), first); err != nil {
		t.Error(err)
	}
	wantRefused(t, dsn)
}

func TestAServerThatWasCutOffDoesNotWriteBesideItsSuccessor(t *testing.T) {
	dsn := pgtest.DSN(t)
	cable, admin := newCable(t, dsn), people(t, dsn)
	first := openPostgres(t, cable.dsn)
	if err := write(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	cable.cut.Store(true)
	wantRefused(t, dsn) // PostgreSQL knows of no cut
	terminate(t, admin, "true")
	second := openPostgres(t, dsn)
	cable.cut.Store(false)
	cable.hangUp() // as the first hears when packets get through again
	for range 20 {
		if err := write(t.Context(), first); err == nil {
			t.Fatal("the first wrote beside the second")
		}
	}
	if err := write(t.Context(), second); err != nil {
		t.Error(err)
	}
}

func TestTheDatabaseIsNotMigratedWhileAnotherServerUsesIt(t *testing.T) {
	dsn := pgtest.DSN(t)
	openPostgres(t, dsn)
	admin := people(t, dsn)
	const newest = `delete from goose_db_version where version_id = (select max(version_id) from goose_db_version)`
	if _, err := admin.ExecContext(t.Context(), newest); err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		if err := admin.QueryRowContext(t.Context(), `select count(*) from goose_db_version`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count()
	wantRefused(t, dsn)
	if after := count(); after != before {
		t.Errorf("%d migrations became %d", before, after)
	}
}

// cable leads to the socket of a PostgreSQL and can be cut: then nothing passes,
// and nobody hears of it.
type cable struct {
	dsn string
	cut atomic.Bool

	mu    sync.Mutex
	conns []net.Conn // of the server
}

func newCable(t *testing.T, dsn string) *cable {
	t.Helper()
	_, dir, _ := strings.Cut(dsn, "host=")
	dir, _, _ = strings.Cut(dir, "&")
	const name = ".s.PGSQL.5432"
	here := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(here, name))
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{dsn: strings.Replace(dsn, dir, here, 1)}
	t.Cleanup(func() { _ = l.Close(); c.hangUp() })
	go func() { // ends with the listener
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", filepath.Join(dir, name))
			if err != nil {
				_ = from.Close()
				continue
			}
			c.mu.Lock()
			c.conns = append(c.conns, from)
			c.mu.Unlock()
			go c.pass(to, from)
			go c.pass(from, to)
		}
	}()
	return c
}

// pass hands on what comes, until the cable is cut.
func (c *cable) pass(to, from net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if c.cut.Load() {
			return // and closes nothing
		}
		if _, werr := to.Write(b[:n]); err != nil || werr != nil {
			_ = to.Close()
			return
		}
	}
}

// hangUp ends the connections as their server sees them.
func (c *cable) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}
