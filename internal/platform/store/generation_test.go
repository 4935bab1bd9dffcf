package store_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/store"
)

// entry is that of a server in a directory with an instance that the database knows.
func entry(t *testing.T, dir string) store.Entry {
	return store.Entry{
		File: filepath.Join(dir, "database.json"), Instances: 1, Known: 1,
		Rewound: func(context.Context) {}, Reread: func(context.Context) error { return nil },
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// start opens a directory as a server does that is stopped at once.
func start(t *testing.T, db *store.DB, e store.Entry) error {
	t.Helper()
	d, err := db.OpenDirectory(t.Context(), e)
	if err == nil {
		ctx, stop := context.WithCancel(t.Context())
		stop()
		d.Run(ctx)
	}
	return err
}

func run(t *testing.T, db *store.DB, statement string) {
	t.Helper()
	change(t, db, func(ctx context.Context, tx *store.Tx) error { return tx.Run(ctx, "test", statement) })
}

func TestADirectoryIsOpenedWithItsDatabaseAlone(t *testing.T) {
	// Each makes another of a database that was used with a directory, and drew
	// some numbers.
	tests := map[string]struct {
		change string
		want   error
	}{
		"the same":       {"", nil},
		"one that moved": {"update counter set n = n + 5", nil},
		"an empty one":   {"delete from generation", store.ErrOtherDatabase},
		"another": {
			"update generation set token = 'x' where term = 1", store.ErrOtherDatabase,
		},
		"an older one, of before the last start": {
			"delete from generation where term = 2", store.ErrOlderDatabase,
		},
		"an older one, of after the last start": {
			"update counter set n = n - 1 where name = 'event'", store.ErrOlderDatabase,
		},
		"an older one on which another started": {
			"update generation set token = 'x' where term = 2", store.ErrOlderDatabase,
		},
		"an older one that has come further since": {
			"insert into generation (term, token, position, started) values (3, 'x', 1, 1)", store.ErrOlderDatabase,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, db *store.DB) {
				dir := t.TempDir()
				for range 2 {
					run(t, db, "update counter set n = n + 3")
					if err := start(t, db, entry(t, dir)); err != nil {
						t.Fatal(err)
					}
				}
				if tt.change != "" {
					run(t, db, tt.change)
				}
				err := start(t, db, entry(t, dir))
				if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
					t.Fatalf("the start: %v, want %v", err, tt.want)
				}
				if err != nil {
					wantAccepted(t, db, entry(t, dir), err)
				}
			})
		})
	}
}

// wantAccepted follows what a refusal says, and fails unless that is enough, once.
func wantAccepted(t *testing.T, db *store.DB, e store.Entry, refusal error) {
	t.Helper()
	_, name, ok := strings.Cut(refusal.Error(), "--accept-database ")
	if !ok {
		t.Fatalf("the refusal does not say how to go on: %v", refusal)
	}
	e.Accept = "x" + name
	if err := start(t, db, e); err == nil {
		t.Error("another state was accepted")
	}
	e.Accept = name
	if err := start(t, db, e); err != nil {
		t.Errorf("accepted: %v", err)
	}
	e.Accept = ""
	if err := start(t, db, e); err != nil {
		t.Errorf("the start after: %v", err)
	}
}

func TestADirectoryOfAnEarlierReleaseIsOpenedWithADatabaseThatKnowsItsInstances(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		unknown := entry(t, t.TempDir())
		unknown.Known = 0
		err := start(t, db, unknown)
		if !errors.Is(err, store.ErrOtherDatabase) {
			t.Errorf("a database that knows none of the instances: %v", err)
		}
		wantAccepted(t, db, unknown, err)
		if err := start(t, db, entry(t, t.TempDir())); err != nil {
			t.Errorf("one that knows some: %v", err)
		}
		none := entry(t, t.TempDir())
		none.Instances, none.Known = 0, 0
		if err := start(t, db, none); err != nil {
			t.Errorf("a new directory: %v", err)
		}
	})
}

func TestAFileThatSaysNothingKeepsNoServerFromStarting(t *testing.T) {
	for name, text := range map[string]string{
		"emptied by a power cut": "", "half written": `{"database":"x`,
		"of a start that was not recorded": `{"term":0}`,
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, db *store.DB) {
				e := entry(t, t.TempDir())
				if err := errors.Join(start(t, db, e), os.WriteFile(e.File, []byte(text), 0o600)); err != nil {
					t.Fatal(err)
				}
				if err := start(t, db, e); err != nil {
					t.Errorf("the next start: %v", err)
				}
				e.Known = 0
				if err := errors.Join(start(t, db, e), os.WriteFile(e.File, []byte(text), 0o600)); err != nil {
					t.Fatal(err)
				}
				if err := start(t, db, e); !errors.Is(err, store.ErrOtherDatabase) {
					t.Errorf("a database that knows none of the instances: %v", err)
				}
			})
		})
	}
}

func TestADatabaseThatRunsBackwardsIsReadAgain(t *testing.T) {
	for name, back := range map[string]string{
		"a counter":      "update counter set n = n - 2 where name = 'route'",
		"the last start": "delete from generation where term > 0",
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, db *store.DB) {
				run(t, db, "update counter set n = n + 5")
				run(t, db, "insert into generation (term, token, position, started) values (0, 'first', 0, 0)")
				again := make(chan struct{}, 1)
				e := entry(t, t.TempDir())
				calls, losses := 0, 0
				e.Rewound = func(context.Context) { losses++ }
				e.Reread = func(context.Context) error {
					if calls++; calls == 1 {
						return errors.New("away")
					}
					again <- struct{}{}
					return nil
				}
				d, err := db.OpenDirectory(t.Context(), e)
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); d.Run(ctx) }()
				run(t, db, back)
				<-again
				stop()
				<-done
				if len(again) != 0 {
					t.Error("it was read twice")
				}
				if losses != 1 {
					t.Errorf("it was told %d times that something was lost", losses)
				}
				if err := start(t, db, e); err != nil {
					t.Errorf("the next start: %v", err)
				}
			})
		})
	}
}

func TestAServerGivesUpADatabaseThatWasReplacedUnderIt(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		d, err := db.OpenDirectory(t.Context(), entry(t, t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); d.Run(ctx) }()
		run(t, db, "update generation set token = 'of another database'")
		if err := <-db.Lost(); !errors.Is(err, store.ErrOtherDatabase) {
			t.Error(err)
		}
		stop()
		<-done
	})
}

// It is restored, and its counters pass the old mark before anybody looks: only that
// it is on another server, or on the same one started again, tells.
func TestADatabaseThatWasRestoredAndHasComeFurtherSinceIsReadAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		run(t, db, "create table on_server (name text)")
		run(t, db, "insert into on_server (name) values ('one')")
		db.OnServerOf("select name from on_server")
		again := make(chan struct{}, 2)
		e := entry(t, t.TempDir())
		lost := false
		e.Rewound = func(context.Context) { lost = true }
		e.Reread = func(context.Context) error { again <- struct{}{}; return nil }
		d, err := db.OpenDirectory(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); d.Run(ctx) }()
		change(t, db, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.Run(ctx, "come further", "update counter set n = n + 7"),
				tx.Run(ctx, "move", "update on_server set name = 'two'"))
		})
		select {
		case <-again:
		case <-time.After(time.Minute):
			t.Error("it was not read again")
		}
		stop()
		<-done
		if len(again) != 0 {
			t.Error("it was read twice")
		}
		if lost { // most are restarts: nobody knows of anything that is missing
			t.Error("it was told that something was lost")
		}
	})
}

func TestPostgreSQLTellsOnWhichServerItIs(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		if db.Dialect.ForUpdate == "" {
			t.Skip("SQLite is on none")
		}
		if err := db.TellsServer(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestASQLiteDatabaseWhoseFileIsReplacedIsGivenUp(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"removed": os.Remove,
		"replaced": func(path string) error {
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			db, err := store.OpenSQLite(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			d, err := db.OpenDirectory(t.Context(), entry(t, t.TempDir()))
			if err != nil {
				t.Fatal(err)
			}
			if err := replace(path); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			stop()
			d.Run(ctx) // it looks once
			select {
			case err := <-db.Lost():
				if !strings.Contains(err.Error(), path) {
					t.Error(err)
				}
			default:
				t.Error("the server goes on with a file that nobody finds again")
			}
		})
	}
}
