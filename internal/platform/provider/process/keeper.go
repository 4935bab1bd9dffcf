package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/platform/child"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// KeepLogs bounds the logs of a directory's instances while no server does: it
// waits until the server there has ended, however it ended, and returns when no
// instance is left that could write. It is what a keeper does, the process that a
// server starts before its first instance (Config.Keeper). bytes is the limit of
// one instance's output. It changes the working directory, by which it finds the
// files also when the directory is moved.
func KeepLogs(ctx context.Context, dir string, bytes int64) error {
	if bytes <= 0 {
		return fmt.Errorf("the limit of a log must be more than 0 bytes, not %d", bytes)
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	b := bounds{paths: paths{"."}, limit: bytes, log: slog.New(slog.DiscardHandler)}
	f, err := os.OpenFile(b.paths.logLock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() // ends the lock; nothing was left to write
	mine := make(chan error, 1)
	go func() { mine <- waitForLock(f) }() // for as long as a server lives; it ends with this process
	select {
	case err := <-mine:
		if err != nil {
			return fmt.Errorf("wait for the logs of %s: %w", dir, err)
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := sign(f); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b.run(ctx, func() bool {
		if !b.paths.written() {
			cancel()
		}
		return true
	})
	return nil
}

func waitForLock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// holder is what a keeper that has the lock writes into its file, so that the next
// server finds it.
type holder struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

func sign(f *os.File) error {
	st, err := child.ReadStat(os.Getpid())
	if err != nil {
		return err
	}
	b, err := json.Marshal(holder{os.Getpid(), st.Start})
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	return err
}

// written reports whether anybody can still write to the log of a recorded
// instance. An instance and its children hold the lock on its log.
func (p paths) written() bool {
	files, err := os.ReadDir(p.instances())
	if err != nil {
		return false // the directory is gone
	}
	for _, f := range files {
		if id := p.idOf(f.Name()); p.isRecord(f.Name()) && validID(id) && p.held(id) {
			return true
		}
	}
	return false
}

func (p paths) held(id provider.ID) bool {
	f, err := os.OpenFile(p.log(id), os.O_WRONLY, 0)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer f.Close() // ends the lock
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}

// keeper is the process that goes on bounding logs when this server has ended.
type keeper struct {
	mu   sync.Mutex
	pid  int  // 0: none runs
	told bool // that none can be started
}

// startKeeper has a keeper run, if one is configured and none does.
func (p *Provider) startKeeper() {
	if len(p.cfg.Keeper) == 0 {
		return
	}
	k := &p.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pid != 0 {
		var ws unix.WaitStatus
		if pid, err := unix.Wait4(k.pid, &ws, unix.WNOHANG, nil); err == nil && pid == 0 {
			return // it runs
		}
		k.pid = 0
	}
	pid, err := p.forkKeeper()
	if err != nil && !k.told {
		k.told = true
		p.log.Error("the logs of instances are not bounded while no server runs", "err", err)
	}
	if err == nil {
		k.pid = pid
	}
}

// forkKeeper starts the keeper in a session of its own, as an instance is.
func (p *Provider) forkKeeper() (pid int, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	argv := append(append([]string{}, p.cfg.Keeper[1:]...), p.paths.root, strconv.FormatInt(p.cfg.LogBytes, 10))
	return syscall.ForkExec(p.cfg.Keeper[0], argv, &syscall.ProcAttr{
		Dir: p.paths.root, Env: []string{"GOMAXPROCS=1"}, Files: []uintptr{null.Fd(), null.Fd(), null.Fd()},
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
}

// takeLogs takes the lock on the logs, from the keeper of an earlier server if it
// has it: this server may have another limit. If that keeper cannot be ended it
// goes on, and the server looks again at every tick.
func (p *Provider) takeLogs() bool {
	if p.logLock != nil {
		return true
	}
	f, err := os.OpenFile(p.paths.logLock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		p.log.Warn("the logs of instances are not bounded", "err", err)
		return false
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		p.logLock = f
		return true
	}
	defer f.Close() // nothing was written
	var h holder
	b := make([]byte, 256)
	n, _ := f.ReadAt(b, 0) // what it read is looked at
	if json.Unmarshal(b[:n], &h) != nil || h.PID <= 1 {
		return false // it has not signed yet
	}
	p.keeper.mu.Lock()
	own := p.keeper.pid == h.PID
	p.keeper.mu.Unlock()
	if !own {
		child.Kill(h.PID, func(pid int) bool {
			_, here := child.Opened(pid, "cwd", p.paths.root)
			return here && child.Alive(pid, h.Start)
		})
	}
	return false
}

// tendLogs is what the server does for its logs every logsEvery: it takes them, or
// leaves them to the keeper that has them, and deletes what is too old.
func (p *Provider) tendLogs() (mine bool) {
	mine = p.takeLogs()
	if p.anyRuns() {
		p.startKeeper()
	}
	if err := p.pruneLogs(time.Now()); err != nil {
		p.log.Warn("logs of removed instances were not deleted", "err", err)
	}
	return mine
}

func (p *Provider) anyRuns() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.entries {
		if e.run != nil && !e.run.exited {
			return true
		}
	}
	return false
}
