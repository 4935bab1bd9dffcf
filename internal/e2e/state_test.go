package e2e

import (
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/internal/platform/pgtest"
)

// A server on an empty database must not end the models that run; nor one on
// another server's.
func TestAServerOnAnotherDatabaseRefusesAndLeavesTheModelsRunning(t *testing.T) {
	t.Run("an empty file", func(t *testing.T) {
		s := startServer(t)
		db := filepath.Join(s.dataDir, "slipway.db")
		wantRefusal(t, s, func() { rename(t, db, db+".kept") }, func() { rename(t, db+".kept", db) })
	})
	t.Run("another database of PostgreSQL", func(t *testing.T) {
		url, other := pgtest.DSN(t), pgtest.DSN(t)
		startServer(t, func(c *config.Config) { c.Database.URL = other }).stop()
		s := startServer(t, func(c *config.Config) { c.Database.URL = url })
		wantRefusal(t, s, func() { s.replaceInConfig(url, other) }, func() { s.replaceInConfig(other, url) })
	})
	t.Run("an older state", func(t *testing.T) {
		url := pgtest.DSN(t)
		s := startServer(t, func(c *config.Config) { c.Database.URL = url })
		back := func(by string) func() {
			return func() {
				db, err := sql.Open("pgx", url)
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				if _, err := db.ExecContext(t.Context(), `update counter set n = n `+by); err != nil {
					t.Fatal(err)
				}
			}
		}
		wantRefusal(t, s, back("- 1"), back("+ 1"))
	})
}

// wantRefusal has the server of a running model start on another database, and
// then again on its own.
func wantRefusal(t *testing.T, s *server, replace, restore func()) {
	t.Helper()
	c := s.sdk()
	c.deployable("m", 2, nil)
	c.createEndpoint("e", "m")
	before := pids(s)
	s.stop()
	replace()
	out, err := s.tryClient(program(t, "slipway"), "server", "--config", s.file, "--listen", "127.0.0.1:0")
	if err == nil || !strings.Contains(string(out), "--accept-database ") {
		t.Errorf("the start: %v\n%s", err, out)
	}
	if now := pids(s); !slices.Equal(now, before) {
		t.Errorf("the instances were %v and are %v", before, now)
	}
	restore()
	s.restart()
	s.wantWhole(c, "m")
	if now := pids(s); !slices.Equal(now, before) {
		t.Errorf("the instances were %v, adopted they are %v", before, now)
	}
	c.deleteEndpoint("e")
	eventually(t, 10*time.Second, "no instance runs", func() bool { return len(s.instances()) == 0 })
	s.stop()
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func (s *server) replaceInConfig(from, to string) {
	s.t.Helper()
	text, err := os.ReadFile(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(text), from, to)
	if err := os.WriteFile(s.file, []byte(changed), 0o600); err != nil {
		s.t.Fatal(err)
	}
}
