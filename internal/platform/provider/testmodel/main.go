// Command testmodel is a model container for tests: a small HTTP server under
// the SageMaker container contract (spec §6.6) that misbehaves as told. Serving
// models is not its job.
//
// The environment says how an instance behaves:
//
//	TESTMODEL_NAME             what it answers; else the file "name" in the model directory, else "testmodel"
//	TESTMODEL_EXIT             exits at start with this status
//	TESTMODEL_STDERR           written to standard error at start, as a line
//	TESTMODEL_LISTEN_MS        does not listen for so long
//	TESTMODEL_LOAD_MS          listens, but fails /ping (503) and invocations (503) for so long
//	TESTMODEL_PING_FAIL_AFTER  fails /ping (500) after so many good ones
//	TESTMODEL_CRASH_AFTER      exits with status 3 instead of answering invocation n+1
//	TESTMODEL_IGNORE_SIGTERM   any value: only SIGKILL stops it
//	TESTMODEL_CHILD            "group": has a child process; "session": has one in a session of its own
//	TESTMODEL_STATUS           what invocations are answered with unless they ask for a status themselves
//	TESTMODEL_STATUS_PERCENT   for so many of a hundred, in turn; else all; the others get 200
//	TESTMODEL_JOURNAL          a file that gets "<inference id> <name>\n" for every invocation before it is answered
//
// Each invocation may ask for more, by "key=value" pairs separated by commas in
// X-Amzn-SageMaker-Custom-Attributes, or by the members of a JSON object as
// body; see ask.
package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "testmodel:", err)
		os.Exit(1)
	}
}

func run() error {
	child := len(os.Args) > 1 && os.Args[1] == "child"
	if s := os.Getenv("TESTMODEL_STDERR"); s != "" && !child {
		fmt.Fprintln(os.Stderr, s)
	}
	if s := os.Getenv("TESTMODEL_EXIT"); s != "" {
		os.Exit(number("TESTMODEL_EXIT", 1))
	}
	stop := make(chan os.Signal, 1)
	if os.Getenv("TESTMODEL_IGNORE_SIGTERM") == "" {
		signal.Notify(stop, syscall.SIGTERM)
	} else {
		signal.Ignore(syscall.SIGTERM)
	}
	for child { // does nothing until a signal ends it
		time.Sleep(time.Hour)
	}
	if err := haveChild(os.Getenv("TESTMODEL_CHILD")); err != nil {
		return err
	}
	m, err := newModel()
	if err != nil {
		return err
	}
	time.Sleep(time.Duration(number("TESTMODEL_LISTEN_MS", 0)) * time.Millisecond)
	return serve(m, stop)
}

// serve answers until SIGTERM, then lets running invocations end.
func serve(m *model, stop <-chan os.Signal) error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(number("SAGEMAKER_BIND_TO_PORT", 8080))))
	if err != nil {
		return err
	}
	slog.Info("testmodel listens", "address", l.Addr().String(), "name", m.name)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", m.ping)
	mux.HandleFunc("POST /invocations", m.invoke)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-stop:
	}
	slog.Info("testmodel stops")
	m.drain(srv)
	return nil
}

// haveChild starts a process that does nothing, in this process's group or in
// a session of its own.
func haveChild(how string) error {
	if how == "" {
		return nil
	}
	cmd := exec.Command("/proc/self/exe", "child")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: how == "session"}
	return cmd.Start()
}

func newModel() (*model, error) {
	m := &model{
		name:      os.Getenv("TESTMODEL_NAME"),
		dir:       os.Getenv("SM_MODEL_DIR"),
		ready:     time.Now().Add(time.Duration(number("TESTMODEL_LOAD_MS", 0)) * time.Millisecond),
		pingsGood: int64(number("TESTMODEL_PING_FAIL_AFTER", -1)),
		crashAt:   int64(number("TESTMODEL_CRASH_AFTER", -1)),
		status:    number("TESTMODEL_STATUS", http.StatusOK),
		percent:   int64(number("TESTMODEL_STATUS_PERCENT", 100)),
	}
	if m.name == "" {
		if b, err := os.ReadFile(filepath.Join(m.dir, "name")); err == nil {
			m.name = strings.TrimSpace(string(b))
		} else {
			m.name = "testmodel"
		}
	}
	if path := os.Getenv("TESTMODEL_JOURNAL"); path != "" {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		m.journal = f
	}
	return m, nil
}

// number reads an integer knob; a malformed one stops the program, so that no
// test passes because its knob was misspelt.
func number(name string, otherwise int) int {
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		fmt.Fprintf(os.Stderr, "testmodel: %s=%q is not a number\n", name, s)
		os.Exit(64)
	}
	return n
}
