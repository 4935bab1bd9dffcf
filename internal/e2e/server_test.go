package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	"github.com/slipway-ml/slipway/internal/platform/provider/testmodel/build"
)

// server is a `slipway server` process on a data directory of its own. It may
// be killed and started again; its instances belong to the directory.
type server struct {
	t       testing.TB
	dir     string // holds everything
	dataDir string
	journal string // a folder: one file an instance, the invocations it took
	url     string
	file    string // configuration

	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	dying  atomic.Bool   // its end is wanted
}

// testImage is the image name of the scriptable model container.
const testImage = "test/model:latest"

// startServer starts a server; change may alter its configuration.
func startServer(t testing.TB, change ...func(*config.Config)) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{
		t: t, dir: dir,
		dataDir: filepath.Join(dir, "data"), journal: filepath.Join(dir, "journal"),
		file: filepath.Join(dir, "slipway.yaml"),
	}
	if err := os.Mkdir(s.journal, 0o700); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Listen = "127.0.0.1:0"
	// A restart names its port: the one 43 above may be somebody else's.
	cfg.Devices.Listen = "127.0.0.1:0"
	cfg.DataDir = s.dataDir
	cfg.Limits.LameDuck = 0 // no balancer looks
	cfg.Account = "123456789012"
	// The shell gives every instance a journal of its own, so that a request
	// can be traced to the process that held it.
	cfg.Images[testImage] = config.Image{Command: []string{
		"/bin/sh", "-c",
		fmt.Sprintf("TESTMODEL_JOURNAL='%s'/$SLIPWAY_INSTANCE_ID exec '%s'", s.journal, build.Testmodel(t)),
	}, Environment: []string{"TESTMODEL_*", "GREETING"}}
	for _, c := range change {
		c(&cfg)
	}
	text, err := yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.cleanUp)
	s.start("127.0.0.1:0")
	if !s.awaitReady() {
		t.Fatal("the server ended before it was ready")
	}
	return s
}

// start starts the process without waiting for it. Environment entries are
// added to the little it gets.
func (s *server) start(listen string, env ...string) {
	s.t.Helper()
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	if listen == "127.0.0.1:0" {
		_ = os.Remove(filepath.Join(s.dataDir, "address")) // a new port: do not read the last one
	}
	s.cmd = exec.Command(program(s.t, "slipway"), "server", "--config", s.file, "--listen", listen)
	s.cmd.Dir = s.dir
	s.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "TMPDIR=" + os.TempDir()}, env...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.dying.Store(false)
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) { // ends with the process, which cleanUp kills
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(exited)
	}(s.cmd, s.exited)
}

// awaitReady waits until the server answers, and reports false if it ended
// instead.
func (s *server) awaitReady() bool {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if addr, err := os.ReadFile(filepath.Join(s.dataDir, "address")); err == nil {
			s.url = "http://" + strings.TrimSpace(string(addr))
			if resp, err := http.Get(s.url + "/readyz"); err == nil {
				_ = resp.Body.Close() // only the status matters
				if resp.StatusCode == http.StatusOK {
					return true
				}
			}
		}
		select {
		case <-s.exited:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
	s.t.Fatal("the server was not ready within a minute")
	return false
}

// restart starts the killed server again on the same address and waits until it
// is ready.
func (s *server) restart() {
	s.t.Helper()
	s.start(s.address())
	if !s.awaitReady() {
		s.t.Fatal("the server did not start again")
	}
}

// restartWithFailPoint starts the server so that it dies at a named step. It
// reports false if it died before it was ready.
func (s *server) restartWithFailPoint(name string) bool {
	s.t.Helper()
	s.start(s.address(), failpoint.Env+"="+name)
	return s.awaitReady()
}

func (s *server) address() string { return strings.TrimPrefix(s.url, "http://") }

// kill ends the server as kill -9 does.
func (s *server) kill() {
	s.dying.Store(true)
	_ = s.cmd.Process.Kill() // fails only if it has ended
	<-s.exited
}

// dead reports whether the process has ended.
func (s *server) dead() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// stop ends the server with SIGTERM, which must succeed.
func (s *server) stop() {
	s.t.Helper()
	s.dying.Store(true)
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // as above
	select {
	case <-s.exited:
	case <-time.After(time.Minute):
		s.t.Error("the server did not stop within a minute of SIGTERM")
		s.kill()
		return
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("the server ended with %v", s.cmd.ProcessState)
	}
}

func (s *server) cleanUp() {
	if s.cmd != nil {
		if s.dead() && !s.dying.Load() {
			s.t.Errorf("the server ended by itself: %v", s.cmd.ProcessState)
		}
		if s.t.Failed() && !s.dead() {
			// Its goroutines go to the log, for whoever looks into the failure.
			_ = s.cmd.Process.Signal(syscall.SIGQUIT) // it may end by itself meanwhile
			s.diesWithin(5 * time.Second)
		}
		s.kill()
	}
	for _, i := range s.instances() {
		_ = syscall.Kill(i.pid, syscall.SIGKILL) // as above
	}
	if s.t.Failed() {
		s.keepLog()
	}
}

// keepLog saves the log of a failed test, and shows the end of it.
func (s *server) keepLog() {
	s.t.Logf("the end of the server's log, without requests and goroutines:\n%s", tail(s.logPath(), 80))
	dir, err := filepath.Abs("../../.cache/e2e")
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	kept := filepath.Join(dir, strings.NewReplacer("/", "_", ":", "_").Replace(s.t.Name())+".log")
	if err == nil {
		err = os.Rename(s.logPath(), kept)
	}
	if err == nil {
		s.t.Log("all of it is in ", kept)
	}
}

func (s *server) logPath() string { return filepath.Join(s.dir, "server.log") }

// environment is what `slipway env` prints for this server with args, for a
// client's process, with as little else as possible.
func (s *server) environment(args ...string) []string {
	s.t.Helper()
	out, err := exec.Command(program(s.t, "slipway"), append([]string{"env", "--config", s.file}, args...)...).Output()
	if err != nil {
		s.t.Fatalf("slipway env: %v", stderrOf(err))
	}
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LANG=C.UTF-8", "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=",
		"PYTHONDONTWRITEBYTECODE=1",
	}
	for line := range strings.Lines(string(out)) {
		export, found := strings.CutPrefix(strings.TrimSpace(line), "export ")
		if !found {
			s.t.Fatalf("slipway env printed %q", line)
		}
		env = append(env, export)
	}
	return env
}

// client runs a client's program against the server and returns what it
// printed; a failure of the program fails the test.
func (s *server) client(name string, args ...string) string {
	s.t.Helper()
	out, err := s.tryClient(name, args...)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// tryClient is client for a program that may fail.
func (s *server) tryClient(name string, args ...string) (string, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = s.environment()
	// Version managers keep their programs under the real home.
	if home, err := os.UserHomeDir(); err == nil {
		cmd.Env = append(cmd.Env, "PYENV_ROOT="+filepath.Join(home, ".pyenv"))
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// eventually fails the test unless f becomes true in time.
func eventually(t testing.TB, within time.Duration, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// tail returns the last lines of a log, but for the record of each request (a
// test that waits makes many) and the goroutines of a server told to quit.
func tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	var all [][]byte
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte("SIGQUIT: quit")) {
			break
		}
		if !bytes.Contains(line, []byte(`msg="request served"`)) {
			all = append(all, line)
		}
	}
	return string(bytes.Join(all[max(0, len(all)-lines):], nil))
}

func stderrOf(err error) string {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return err.Error() + ": " + string(e.Stderr)
	}
	return err.Error()
}
