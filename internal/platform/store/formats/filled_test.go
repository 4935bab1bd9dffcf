package formats

import (
	"bytes"
	"compress/gzip"
	"database/sql"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/platform/pgtest"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

var update = flag.Bool("update", false, "rewrite what is read from filled databases")

// filled is a copy of a database that the server of an earlier release filled.
type filled struct {
	dir     string // testdata/filled/<release>
	name    string // sqlite or postgres
	restore func(*testing.T, []byte) string
	open    func(*testing.T, string) *store.DB
	raw     string // the driver
	columns string // a query for its columns of text, as table.column
}

// onFilled runs f on every database of every release, each a fresh copy.
func onFilled(t *testing.T, f func(*testing.T, filled)) {
	t.Helper()
	releases, err := filepath.Glob("testdata/filled/v*")
	if err != nil || len(releases) == 0 {
		t.Fatal("no filled databases", err)
	}
	for _, dir := range releases {
		for _, d := range []filled{
			{dir, "sqlite", restoreSQLite, openSQLite, "sqlite", `
				select m.name || '.' || c.name from sqlite_master m join pragma_table_info(m.name) c
				where m.type = 'table' and lower(c.type) = 'text'`},
			{dir, "postgres", restorePostgres, openPostgres, "pgx", `
				select table_name || '.' || column_name from information_schema.columns
				where table_schema = 'public' and data_type = 'text'`},
		} {
			t.Run(filepath.Base(dir)+"/"+d.name, func(t *testing.T) { f(t, d) })
		}
	}
}

// copied restores the database as it was filled, and returns where it is.
func (f filled) copied(t *testing.T) (at string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(f.dir, f.name+".*.gz"))
	files = slices.DeleteFunc(files, func(path string) bool { return path == f.golden() })
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	return f.restore(t, unpacked(t, files[0]))
}

// golden is the file of what the release read from its database.
func (f filled) golden() string { return filepath.Join(f.dir, f.name+".golden.json.gz") }

func unpacked(t *testing.T, path string) []byte {
	t.Helper()
	packed, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func pack(t *testing.T, path string, data []byte) {
	t.Helper()
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func restoreSQLite(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "slipway.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openSQLite(t *testing.T, at string) *store.DB {
	t.Helper()
	return opened(t)(store.OpenSQLite(t.Context(), at))
}

func restorePostgres(t *testing.T, data []byte) string {
	t.Helper()
	dsn := pgtest.DSN(t)
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() // and with it what the dump sets for its connection
	if _, err := db.ExecContext(t.Context(), string(data)); err != nil {
		t.Fatal(err)
	}
	return dsn
}

func openPostgres(t *testing.T, at string) *store.DB {
	t.Helper()
	return opened(t)(store.OpenPostgres(t.Context(), at, slog.New(slog.DiscardHandler)))
}

func opened(t *testing.T) func(*store.DB, error) *store.DB {
	return func(db *store.DB, err error) *store.DB {
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
}

// What the store reads today from a database of an earlier release is what the
// program of that release read.
func TestADatabaseOfAnEarlierReleaseIsReadAsThatReleaseReadIt(t *testing.T) {
	onFilled(t, func(t *testing.T, f filled) {
		at := f.copied(t)
		db := f.open(t, at)
		raw, err := sql.Open(f.raw, at)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		text, err := json.Marshal((&reader{t: t, db: db, raw: raw}).everything())
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			pack(t, f.golden(), text)
		}
		compare(t, "", numbers(t, unpacked(t, f.golden())), numbers(t, text))
	})
}

// compare reports differences where they are: in the innermost object that has
// different members.
func compare(t *testing.T, path string, before, now any) {
	t.Helper()
	b, okB := before.(map[string]any)
	n, okN := now.(map[string]any)
	if !okB || !okN || len(b) != len(n) {
		if diff := cmp.Diff(before, now); diff != "" {
			t.Errorf("%s is read otherwise than before (-before +now):\n%s", path, diff)
		}
		return
	}
	for key := range b {
		compare(t, path+"/"+key, b[key], n[key])
	}
}

// numbers decodes JSON, and keeps numbers as they are written.
func numbers(t *testing.T, text []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}
