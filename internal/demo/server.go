package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/child"
)

// server is a Slipway in a process of its own, as a person would run it.
type server struct {
	program string
	cmd     *exec.Cmd
	url     string
	dataDir string
	log     string
	exited  chan error // gets what the process ended with, once
}

// settings let devices come every second, so that nobody has to wait for them.
const settings = "devices: {pollIdle: 1s, pollActive: 1s, heartbeat: 1s}\n"

// startServer returns once the server answers.
func startServer(ctx context.Context, program, dir string) (*server, error) {
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	s := &server{
		program: program, dataDir: filepath.Join(dir, "data"), log: filepath.Join(dir, "server.log"),
		exited: make(chan error, 1),
	}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	file := filepath.Join(dir, "slipway.yaml")
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		return nil, err
	}
	s.cmd = exec.Command(program, "server", "--config", file, "--listen", "127.0.0.1:0", "--data-dir", s.dataDir)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// A group of its own: Ctrl-C reaches the demo, which stops the server in
	// order.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	go func() { s.exited <- s.cmd.Wait() }()
	if err := s.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if addr, err := os.ReadFile(filepath.Join(s.dataDir, "address")); err == nil {
			s.url = "http://" + strings.TrimSpace(string(addr))
			if ready(ctx, s.url) {
				return nil
			}
		}
		select {
		case err := <-s.exited:
			s.exited <- err
			return fmt.Errorf("the server ended before it was ready: %w\n%s", err, tail(s.log))
		case <-ctx.Done():
			return fmt.Errorf("the server was not ready in time\n%s", tail(s.log))
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // only the status matters
	return resp.StatusCode == http.StatusOK
}

// run runs another command of the program against the server, and returns what
// it prints.
func (s *server) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, s.program, append(args, "--data-dir", s.dataDir)...).Output()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), fmt.Errorf("slipway %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(e.Stderr))
	}
	return string(out), err
}

// leftovers are the model processes of this server that are still running, by
// the environment they were given.
func (s *server) leftovers() []int {
	all, _ := child.PIDs() // what could be seen is something
	return slices.DeleteFunc(all, func(pid int) bool {
		return !strings.HasPrefix(child.Env(pid, "SLIPWAY_INSTANCE_STATE"), s.dataDir+"/")
	})
}

// stop ends the server in order, by force after 40 s. Instances outlive their
// server by design, so what a demo that went wrong left running is killed.
func (s *server) stop() error {
	defer func() {
		for _, pid := range s.leftovers() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may end by itself
		}
	}()
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case err := <-s.exited:
		if err != nil {
			return fmt.Errorf("the server did not end well: %w\n%s", err, tail(s.log))
		}
		return nil
	case <-time.After(40 * time.Second):
		_ = s.cmd.Process.Kill() // as above
		<-s.exited
		return fmt.Errorf("the server did not stop within 40 s\n%s", tail(s.log))
	}
}

// tail returns the last lines of a log.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-15):], []byte("\n")))
}
