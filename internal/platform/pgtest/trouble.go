package pgtest

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Lock locks every table of the server's first database, so that whoever reads or
// writes one waits, until Unlock.
func (s *Server) Lock() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	db, err := sql.Open("pgx", s.DSN)
	if err != nil {
		s.t.Fatal(err)
	}
	var tx *sql.Tx
	for range 20 { // whoever is in the middle of something may be in the way
		if tx, err = lockAll(ctx, db); err == nil {
			s.unlock = func() { _ = errors.Join(tx.Rollback(), db.Close()) } // a server that is gone holds no locks
			return
		}
	}
	_ = db.Close() // err is why nothing is locked
	s.t.Fatal(err)
}

func lockAll(ctx context.Context, db *sql.DB) (*sql.Tx, error) {
	tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return nil, err
	}
	var tables string
	err = tx.QueryRowContext(ctx, `select string_agg(quote_ident(tablename), ', ' order by tablename)
		from pg_tables where schemaname = 'public'`).Scan(&tables)
	if err == nil {
		_, err = tx.ExecContext(ctx, "lock table "+tables+" in access exclusive mode")
	}
	if err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	return tx, nil
}

// Unlock lets go of what Lock locked.
func (s *Server) Unlock() {
	if s.unlock != nil {
		s.unlock()
		s.unlock = nil
	}
}

// Slow is a way to a Server on which every answer takes a while.
type Slow struct {
	DSN string // of the server's first database

	to    string // the server's socket
	delay atomic.Int64
	done  chan struct{}
	wg    sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

// Slow returns a way to the server that takes no time until it is told to.
func (s *Server) Slow() *Slow {
	s.t.Helper()
	dir, err := os.MkdirTemp("/tmp", "slipway-slow-") // as short as that of the server
	if err != nil {
		s.t.Fatal(err)
	}
	const socket = ".s.PGSQL.5432"
	l, err := net.Listen("unix", filepath.Join(dir, socket))
	if err != nil {
		s.t.Fatal(err)
	}
	w := &Slow{
		DSN: strings.Replace(s.DSN, s.c.dir, dir, 1), to: filepath.Join(s.c.dir, socket), done: make(chan struct{}),
	}
	w.wg.Go(func() { w.serve(l) })
	s.t.Cleanup(func() {
		close(w.done)
		_ = l.Close() // it ends serve
		w.mu.Lock()
		for _, c := range w.conns {
			_ = c.Close() // it ends its copies
		}
		w.mu.Unlock()
		w.wg.Wait()
		_ = os.RemoveAll(dir) // it is temporary
	})
	return w
}

// By has every answer from now on take so much longer.
func (w *Slow) By(d time.Duration) { w.delay.Store(int64(d)) }

func (w *Slow) serve(l net.Listener) {
	for {
		here, err := l.Accept()
		if err != nil {
			return
		}
		there, err := net.Dial("unix", w.to)
		if err != nil {
			_ = here.Close() // the server is gone
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, here, there)
		w.mu.Unlock()
		w.wg.Go(func() { w.pass(there, here, false) })
		w.wg.Go(func() { w.pass(here, there, true) })
	}
}

// pass copies until either side ends.
func (w *Slow) pass(to, from net.Conn, slowly bool) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if d := time.Duration(w.delay.Load()); slowly && d > 0 && n > 0 {
			select {
			case <-time.After(d):
			case <-w.done:
			}
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}
