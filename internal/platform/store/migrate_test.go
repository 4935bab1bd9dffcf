package store_test

import (
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/slipway-ml/slipway/internal/platform/pgtest"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// A migration of the future, or one of another line of development.
func TestADatabaseOfANewerProgramIsRefusedAndLeftAsItIs(t *testing.T) {
	tests := map[string]func(t *testing.T) (driver, dsn string, open func() (*store.DB, error)){
		"sqlite": func(t *testing.T) (string, string, func() (*store.DB, error)) {
			path := filepath.Join(t.TempDir(), "x.db")
			return "sqlite", "file:" + path, func() (*store.DB, error) { return store.OpenSQLite(t.Context(), path) }
		},
		"postgres": func(t *testing.T) (string, string, func() (*store.DB, error)) {
			dsn := pgtest.DSN(t)
			return "pgx", dsn, func() (*store.DB, error) {
				return store.OpenPostgres(t.Context(), dsn, slog.New(slog.DiscardHandler))
			}
		},
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			driver, dsn, open := prepare(t)
			db, err := open()
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			raw, err := sql.Open(driver, dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			for _, version := range []int{9999, 99999} {
				_, err = raw.ExecContext(t.Context(),
					`insert into goose_db_version (version_id, is_applied) values ($1, true)`, version)
				if err != nil {
					t.Fatal(err)
				}
				if db, err = open(); !errors.Is(err, store.ErrNewer) {
					t.Errorf("migration %d: %v", version, err)
				}
				if err == nil {
					_ = db.Close()
				}
			}
		})
	}
}
