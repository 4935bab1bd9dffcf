package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// ErrNewer means that a newer Slipway wrote the database: this one does not know
// what it would be changing.
var ErrNewer = errors.New("the database was migrated by a newer version of Slipway")

// migrate brings the database up to date, through a pool of its own. One with a migration that this program
// does not know is left as it is, and refused.
func (db *DB) migrate(ctx context.Context, on *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(db.Dialect.goose, on, files)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	var known []int64
	for _, s := range p.ListSources() {
		known = append(known, s.Version)
	}
	if _, err := p.GetDBVersion(ctx); err != nil { // makes goose's table where there is none
		return fmt.Errorf("migrate: %w", err)
	}
	newest, err := newestMigration(ctx, on, known)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	db.migration = slices.Max(known)
	if newest > db.migration {
		return fmt.Errorf("%w: it has migration %d, this program knows up to %d; run the version that wrote it or a "+
			"newer one, or restore a backup from before the upgrade", ErrNewer, newest, db.migration)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// newestMigration returns the newest migration of a database. One between the
// known ones that is not among them counts as newer than all: another line of
// development made it.
func newestMigration(ctx context.Context, db *sql.DB, known []int64) (newest int64, err error) {
	rows, err := db.QueryContext(ctx, `select version_id from goose_db_version where is_applied`)
	applied, err := Collect(rows, err, "read the migrations", func(scan Scan) (v int64, err error) {
		return v, scan(&v)
	})
	for _, v := range applied {
		if v > newest {
			newest = v
		}
		if v != 0 && !slices.Contains(known, v) { // goose notes 0 when it makes its table
			return max(v, slices.Max(known)+1), err
		}
	}
	return newest, err
}
