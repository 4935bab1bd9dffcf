package pgtest

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestEachTestHasADatabaseOfItsOwn(t *testing.T) {
	first, second := open(t, DSN(t)), open(t, DSN(t))
	if _, err := first.Exec("create table mine (n integer)"); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Exec("select n from mine"); err == nil {
		t.Error("a table of one database is visible in another")
	}
}

// The test runs itself as a child, which panics while its cluster is up.
func TestNothingStaysBehindWhenATestProcessDies(t *testing.T) {
	if os.Getenv("PGTEST_CHILD") != "" {
		c, err := shared()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString("dir=" + c.dir + "\n") // read by the parent
		panic("as a broken test would")
	}
	DSN(t) // skips where there is no PostgreSQL
	child := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), "PGTEST_CHILD=1")
	out, err := child.CombinedOutput()
	if err == nil {
		t.Fatalf("the child should have panicked:\n%s", out)
	}
	_, rest, found := strings.Cut(string(out), "dir=")
	if !found {
		t.Fatalf("the child started no cluster:\n%s", out)
	}
	dir, _, _ := strings.Cut(rest, "\n")
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there", dir)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // the database is dropped anyway
	return db
}

// Whoever reads a table of a locked server waits until it is unlocked, and on a slow
// way an answer takes as long as it was told to.
func TestALockedServerAndASlowWayKeepWaiting(t *testing.T) {
	s := Start(t)
	way := s.Slow()
	db, err := sql.Open("pgx", way.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	read := func(patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := db.ExecContext(ctx, "select * from t")
		return err
	}
	if _, err := db.ExecContext(t.Context(), "create table t (n int)"); err != nil {
		t.Fatal(err)
	}
	s.Lock()
	if read(100*time.Millisecond) == nil {
		t.Error("a locked table was read")
	}
	s.Unlock()
	if err := read(time.Minute); err != nil {
		t.Errorf("unlocked: %v", err)
	}
	way.By(200 * time.Millisecond)
	began := time.Now()
	if err := read(time.Minute); err != nil || time.Since(began) < 200*time.Millisecond {
		t.Errorf("slow: %v after %v", err, time.Since(began))
	}
	way.By(0)
	if err := read(time.Minute); err != nil {
		t.Errorf("as it was: %v", err)
	}
}
