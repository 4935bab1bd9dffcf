package store_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/pgtest"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// calls are the ways in which a database is called.
func calls(db *store.DB) map[string]func(context.Context) error {
	read := func(ctx context.Context, q store.Querier) error {
		rows, err := q.QueryContext(ctx, `select n from counter`)
		_, err = store.Collect(rows, err, "read", func(scan store.Scan) (n int64, err error) { return n, scan(&n) })
		return err
	}
	return map[string]func(context.Context) error{
		"a change": func(ctx context.Context) error { return write(ctx, db) },
		"a view": func(ctx context.Context) error {
			return db.View(ctx, func(q store.Querier) error { return read(ctx, q) })
		},
		"a read": func(ctx context.Context) error { return read(ctx, db.Read()) },
		"a read of one row": func(ctx context.Context) error {
			var n int64
			return store.Wrap("read", db.Read().QueryRowContext(ctx, `select max(n) from counter`).Scan(&n))
		},
		"a claim": func(ctx context.Context) error {
			_, _, err := queue(db).Claim(ctx, t0, t0.Add(time.Minute))
			return err
		},
		"the schema": func(ctx context.Context) error { _, err := db.SchemaIsOurs(ctx); return err },
	}
}

// wantCalls makes every call several times at once, more often than there are
// connections, and fails unless each ends as it should.
func wantCalls(t *testing.T, db *store.DB, want error) {
	t.Helper()
	var wg sync.WaitGroup
	for name, call := range calls(db) {
		for range 4 {
			wg.Go(func() {
				// The test's own context has no deadline.
				err := call(context.WithoutCancel(t.Context()))
				if !errors.Is(err, want) || (err == nil) != (want == nil) {
					t.Errorf("%s: %v, want %v", name, err, want)
				}
			})
		}
	}
	wg.Wait()
}

func TestEveryCallOfADatabaseThatIsFrozenOrGoneEndsAndSaysSo(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	db := openPostgres(t, server.DSN)
	wantCalls(t, db, nil)
	server.Freeze()
	wantCalls(t, db, fault.Unavailable)
	server.Thaw()
	eventually(t, "the database is back", func() bool { return write(t.Context(), db) == nil })
	wantCalls(t, db, nil)
	server.Kill()
	wantCalls(t, db, fault.Unavailable)
}

func TestAWriteThatAnotherProcessKeepsBackEndsAndSaysSo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := store.OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	other, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	conn, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "begin immediate"); err != nil {
		t.Fatal(err)
	}
	if err := write(context.WithoutCancel(t.Context()), db); !errors.Is(err, fault.Unavailable) {
		t.Errorf("a change: %v", err)
	}
	if _, err := conn.ExecContext(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	if err := write(t.Context(), db); err != nil {
		t.Error(err)
	}
}

func TestAServerThatIsFrozenInATransactionDoesNotHoldTheDatabase(t *testing.T) {
	t.Parallel()
	db := openPostgres(t, pgtest.DSN(t))
	frozen := make(chan struct{})
	err := make(chan error)
	go func() {
		tries := 0
		err <- db.Change(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Next(t.Context(), "event")
			if tries++; tries == 1 {
				frozen <- struct{}{}
				<-frozen // as SIGSTOP would have it
			}
			return err
		})
	}()
	<-frozen
	if err := write(t.Context(), db); err != nil {
		t.Errorf("another change of the counter: %v", err)
	}
	frozen <- struct{}{}
	// Its connection is gone. It runs again if that is all that it was told; a commit
	// of which nobody knows whether it arrived is left to the caller.
	if err := <-err; err != nil && !errors.Is(err, fault.Unavailable) {
		t.Errorf("the frozen one: %v", err)
	}
}
