// Package pgtest gives tests a PostgreSQL of their own: a private cluster per
// test process, reachable only through a socket in a temporary directory, and
// an empty database per test. It is for tests alone; speed beats durability
// (no fsync). What a test does with its database is not its job.
package pgtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver of database/sql
)

// RequireVariable names the environment variable that turns a missing
// PostgreSQL from a skipped test into a failed one. The build sets it.
const RequireVariable = "SLIPWAY_REQUIRE_POSTGRES"

// errNotInstalled means that this machine has no PostgreSQL server.
var errNotInstalled = errors.New("PostgreSQL is not installed (Debian package: postgresql)")

// shared is the cluster of this test process, started by the first test that
// asks, so that a package whose tests need none pays nothing.
var shared = sync.OnceValues(func() (cluster, error) {
	c, err := startCluster()
	keepOpen(c.alive)
	return c, err
})

// databases numbers the databases of this process.
var databases atomic.Int64

// DSN returns the URL of a new, empty database, for the database/sql driver
// "pgx". The database is dropped when the test ends. The test is skipped where
// PostgreSQL is not installed, unless RequireVariable is set.
func DSN(t testing.TB) string {
	t.Helper()
	c, err := shared()
	needed(t, err)
	name := fmt.Sprintf("test_%d", databases.Add(1))
	if err := c.exec(context.Background(), "create database "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// force: a test that failed may have left connections behind.
		if err := c.exec(context.Background(), "drop database "+name+" with (force)"); err != nil {
			t.Error(err)
		}
	})
	return c.dsn(name)
}

// needed skips the test if there is no PostgreSQL, and fails it if that did not
// start.
func needed(t TB, err error) {
	t.Helper()
	if errors.Is(err, errNotInstalled) && os.Getenv(RequireVariable) == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// cluster is a running PostgreSQL whose files and socket are in dir. It ends when
// alive is closed.
type cluster struct {
	dir   string
	alive *os.File
}

// superviseScript ends PostgreSQL and removes its files as soon as its standard
// input closes. The only writer of that pipe is the test process, so this
// happens however the process ends: tests need no TestMain, and a killed or
// panicking test leaves nothing behind. $1 is the postgres program, $2 the
// directory. SIGQUIT is PostgreSQL's immediate shutdown.
const superviseScript = `
"$1" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c synchronous_commit=off \
	-c full_page_writes=off -c max_connections=200 -c log_min_messages=warning </dev/null >"$2/log" 2>&1 &
server=$!
( read -r _ <&3; kill -QUIT $server ) &
exec 3<&-
wait $server
rm -rf "$2"
`

func startCluster() (cluster, error) {
	bin, err := serverPrograms()
	if err != nil {
		return cluster{}, err
	}
	// A socket's path must stay below 108 bytes, so a long TMPDIR won't do.
	dir, err := os.MkdirTemp("/tmp", "slipway-pg-")
	if err != nil {
		return cluster{}, err
	}
	c := cluster{dir: dir}
	if c.alive, err = c.start(bin); err != nil {
		_ = os.RemoveAll(dir) // the error that matters is err
		return cluster{}, err
	}
	return c, nil
}

func (c cluster) start(bin string) (alive *os.File, err error) {
	who, err := unprivileged()
	if err != nil {
		return nil, err
	}
	if who != nil {
		if err := os.Chown(c.dir, int(who.Uid), int(who.Gid)); err != nil {
			return nil, err
		}
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"),
		"--pgdata", filepath.Join(c.dir, "data"), "--username", "slipway", "--auth", "trust",
		"--no-sync", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-instructions")
	initdb.Dir = c.dir
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if alive, err = c.supervise(filepath.Join(bin, "postgres"), who); err != nil {
		return nil, err
	}
	return alive, c.waitUntilReady()
}

// supervise starts the server under a supervisor that outlives this process
// just long enough to clean up.
func (c cluster) supervise(postgres string, who *syscall.Credential) (hold *os.File, err error) {
	alive, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer alive.Close()
	cmd := exec.Command("/bin/sh", "-c", superviseScript, "supervise", postgres, c.dir)
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{alive} // descriptor 3
	// A group of its own: an interrupt at the terminal reaches the tests first.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who, Setpgid: true}
	if err := cmd.Start(); err != nil {
		_ = hold.Close() // nothing reads it
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	return hold, nil
}

// held keeps the pipe to the supervisor open for the life of the process: an
// *os.File nobody refers to is closed by the garbage collector.
var held atomic.Pointer[os.File]

func keepOpen(f *os.File) { held.Store(f) }

func (c cluster) waitUntilReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		err := c.exec(ctx, "select 1")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(c.dir, "log")) // best effort: err says enough
			return fmt.Errorf("postgres did not start: %w\n%s", err, bytes.TrimSpace(log))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c cluster) dsn(database string) string {
	return fmt.Sprintf("postgres://slipway@/%s?host=%s&sslmode=disable", database, c.dir)
}

func (c cluster) exec(ctx context.Context, query string) error {
	db, err := sql.Open("pgx", c.dsn("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, query); err != nil {
		return fmt.Errorf("%s: %w", query, err)
	}
	return nil
}

// serverPrograms finds the folder with initdb and postgres. Debian keeps them
// out of PATH, one folder per version; the newest wins.
func serverPrograms() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		path, err := exec.LookPath("initdb")
		if err != nil {
			return "", errNotInstalled
		}
		return filepath.Dir(path), nil
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

// version reads 15 out of /usr/lib/postgresql/15/bin/initdb; 0 if it is not a
// number.
func version(initdb string) int {
	n, _ := strconv.Atoi(strings.Split(initdb, "/")[4]) // 0 is a fine answer
	return n
}

// unprivileged returns whom to run the server as: PostgreSQL refuses to be
// root. It is nil when this process may run it itself.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if errUID == nil && errGID == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody")
}
