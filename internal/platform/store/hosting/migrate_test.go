package hosting_test

import (
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	base "github.com/slipway-ml/slipway/internal/platform/store"

	"github.com/pressly/goose/v3"

	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/platform/pgtest"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
)

// older makes a database of the first release, with an endpoint, its
// deployment, and that of an endpoint that is gone.
func older(t *testing.T, driver, dsn string, d goose.Dialect) {
	t.Helper()
	text, err := os.ReadFile("../migrations/00001_hosting.sql")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p, err := goose.NewProvider(d, db, fstest.MapFS{"00001_hosting.sql": {Data: text}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		`insert into endpoint (id, region, name, name_key, status, created, modified, version, doc) values ('e-1', ` +
			`'us-east-1', 'Live', 'live', 'InService', 1, 1, 1, '{}')`,
		`insert into deployment (id, endpoint_id, kind, phase, reason, begun, ended, doc) values ('d-1', 'e-1', ` +
			`'Create', 'Succeeded', '', 1, 2, '{"ID":"d-1"}')`,
		`insert into deployment (id, endpoint_id, kind, phase, reason, begun, ended, doc) values ('d-2', 'e-0', ` +
			`'Delete', 'Succeeded', '', 1, 2, '{"ID":"d-2"}')`,
	} {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDeploymentsOfAnOlderDatabaseAreFoundByTheNameOfTheirEndpoint(t *testing.T) {
	want := func(t *testing.T, db *base.DB, err error) {
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		rs, _, err := store.New(db).Deployments(t.Context(), scope, "live", record.Page{Limit: 10})
		if err != nil || len(rs) != 1 || rs[0].ID != "d-1" || rs[0].Name != "Live" {
			t.Errorf("%+v, %v", rs, err)
		}
	}
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		older(t, "sqlite", "file:"+path, goose.DialectSQLite3)
		db, err := base.OpenSQLite(t.Context(), path)
		want(t, db, err)
	})
	t.Run("postgres", func(t *testing.T) {
		dsn := pgtest.DSN(t)
		older(t, "pgx", dsn, goose.DialectPostgres)
		db, err := base.OpenPostgres(t.Context(), dsn, slog.New(slog.DiscardHandler))
		want(t, db, err)
	})
}
