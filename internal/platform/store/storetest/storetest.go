// Package storetest opens stores for tests, on both databases.
package storetest

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/slipway-ml/slipway/internal/platform/pgtest"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// OnBoth runs f against each database, PostgreSQL where it is installed.
func OnBoth(t *testing.T, f func(*testing.T, *store.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { f(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) {
		db, err := store.OpenPostgres(t.Context(), pgtest.DSN(t), slog.New(slog.DiscardHandler))
		f(t, closed(t, db, err))
	})
}

// SQLite opens a new store that is closed when the test ends.
func SQLite(t testing.TB) *store.DB {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "x.db"))
	return closed(t, db, err)
}

func closed(t testing.TB, db *store.DB, err error) *store.DB {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}
