package pgtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// TB is what a Server needs of a test (testing.TB), or of a benchmark that is none.
type TB interface {
	Helper()
	Cleanup(func())
	Skip(args ...any)
	Fatal(args ...any)
}

// A Server is a PostgreSQL of one test's own, which may be frozen, locked, slowed
// down and killed.
type Server struct {
	DSN string // the URL of an empty database

	t      TB
	c      cluster
	pids   []int // that are frozen
	unlock func()
}

// Start starts a Server, which ends with the test. The test is skipped as DSN
// does it.
func Start(t TB) *Server {
	t.Helper()
	c, err := startCluster()
	needed(t, err)
	s := &Server{DSN: c.dsn("postgres"), t: t, c: c}
	t.Cleanup(func() {
		s.Thaw()
		s.Unlock()
		_ = c.alive.Close() // ends it
	})
	return s
}

// Freeze stops every process of the server where it is: connections stay open and
// nobody answers.
func (s *Server) Freeze() {
	s.t.Helper()
	s.pids = s.processes()
	s.signal(syscall.SIGSTOP)
}

// Thaw lets a frozen server go on.
func (s *Server) Thaw() {
	s.signal(syscall.SIGCONT)
	s.pids = nil
}

// Kill ends the server for good, and its connections with it.
func (s *Server) Kill() {
	s.t.Helper()
	s.Thaw()
	s.Unlock()
	_ = s.c.alive.Close() // ends it, and then its directory is removed
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(s.c.dir); os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatal("PostgreSQL survives")
		}
	}
}

func (s *Server) signal(sig syscall.Signal) {
	for _, pid := range s.pids {
		_ = syscall.Kill(pid, sig) // one that has ended needs none
	}
}

// processes are the server's first process and its children.
func (s *Server) processes() []int {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.c.dir, "data", "postmaster.pid"))
	if err != nil {
		s.t.Fatal(err)
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	first, err := strconv.Atoi(string(line))
	if err != nil {
		s.t.Fatal(err)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", first, first))
	if err != nil {
		s.t.Fatal(err)
	}
	pids := []int{first} // first: it starts no more
	for _, f := range bytes.Fields(children) {
		pid, err := strconv.Atoi(string(f))
		if err != nil {
			s.t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}
