package process

import (
	"encoding/json"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/platform/child"
)

const (
	// keeperSteady is how long a keeper has to run to count as one that works.
	keeperSteady = time.Minute

	// keeperPause is the longest time until a keeper that ended is started anew.
	keeperPause = 5 * time.Minute

	// lockPatience is how long a process that was killed may have its lock still.
	lockPatience = 100 * time.Millisecond
)

// keeper is the process that goes on bounding logs when this server has ended.
type keeper struct {
	mu    sync.Mutex
	pid   int       // 0: none runs
	began time.Time // when pid was started
	pause time.Duration
	next  time.Time // none is started before; zero: at once

	killed             bool // pid, by this server
	toldStart, toldEnd bool // that none can be started; that one ended by itself
	toldLeft           bool // that one could not be ended; takeLogs alone uses it
}

// startKeeper has a keeper run, if one is configured and none does. One that ends
// soon after its start is started again after ever longer pauses.
func (p *Provider) startKeeper() {
	if len(p.cfg.Keeper) == 0 {
		return
	}
	k := &p.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pid != 0 {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(k.pid, &ws, unix.WNOHANG, nil)
		if err == nil && pid == 0 {
			return // it runs
		}
		p.keeperEnded(ws, time.Now())
	}
	if time.Now().Before(k.next) {
		return
	}
	pid, err := p.forkKeeper()
	if err != nil && !k.toldStart {
		k.toldStart = true
		p.log.Error("the logs of instances are not bounded while no server runs", "err", err)
	}
	if err == nil {
		k.pid, k.began = pid, time.Now()
	}
}

// keeperEnded notes that the keeper has ended, which it does not while its server
// lives unless something is wrong. keeper.mu is held.
func (p *Provider) keeperEnded(ws unix.WaitStatus, now time.Time) {
	k := &p.keeper
	if k.killed {
		k.pid, k.killed = 0, false
		return
	}
	if now.Sub(k.began) >= keeperSteady {
		k.pause, k.toldEnd = 0, false
	}
	if !k.toldEnd {
		k.toldEnd = true
		p.log.Error("the process that bounds logs while no server runs has ended; it is started again",
			"pid", k.pid, "exit_status", ws.ExitStatus(), "signal", int(ws.Signal()))
	}
	k.pause = min(max(2*k.pause, logsEvery), keeperPause)
	k.pid, k.next = 0, now.Add(k.pause)
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

// takeLogs takes the lock on the logs, from a keeper if one has it: this server may
// have another limit, and it says when logs cannot be bounded. If that keeper
// cannot be ended it goes on, and the server looks again at every tick.
func (p *Provider) takeLogs() bool {
	if p.logLock != nil {
		return true
	}
	f, err := os.OpenFile(p.paths.logLock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		p.log.Warn("the logs of instances are not bounded", "err", err)
		return false
	}
	if linked(f) {
		f = p.unlink(f)
	}
	if !lockNow(f) && !(p.killHolder(f) && lockSoon(f)) {
		if !p.keeper.toldLeft {
			p.log.Warn("another process bounds the logs of instances, and could not be ended yet")
		}
		p.keeper.toldLeft = true
		_ = f.Close() // nothing was written
		return false
	}
	if len(p.cfg.Keeper) > 0 {
		_ = writeHolder(f, nil) // room for a keeper's; it tries again when it needs it
	}
	p.logLock = f
	return true
}

// linked reports whether the file has a second name: in a copy of the directory
// that was made of hard links, whose lock would be the same.
func linked(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink > 1
}

// unlink puts a new lock file in the place of f, which it closes, and returns it;
// f itself if that fails. A keeper of this directory that has f is ended, or sees
// for itself that its file was replaced. The lock of the directory is held, so
// nobody else does this.
func (p *Provider) unlink(f *os.File) *os.File {
	tmp := p.paths.logLock() + ".tmp"
	own, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err == nil {
		if err = os.Rename(tmp, p.paths.logLock()); err != nil {
			_ = own.Close()    // empty
			_ = os.Remove(tmp) // as above
		}
	}
	if err != nil {
		p.log.Warn("a copy of this directory has the same lock of logs", "err", err)
		return f
	}
	p.killHolder(f)
	_ = f.Close() // nothing was written
	k := &p.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pid != 0 { // it waits for the old file; not collected yet, so the number is still its own
		k.killed = unix.Kill(k.pid, unix.SIGKILL) == nil
	}
	return own
}

func lockNow(f *os.File) bool { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }

// lockSoon waits for a process that was just killed.
func lockSoon(f *os.File) bool {
	for deadline := time.Now().Add(lockPatience); !lockNow(f); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// killHolder kills the keeper of this directory that signed f, also if it is this
// server's own: it was faster. It reports whether it did.
func (p *Provider) killHolder(f *os.File) bool {
	var h holder
	b := make([]byte, 256)
	n, _ := f.ReadAt(b, 0) // what it read is looked at
	if json.Unmarshal(b[:n], &h) != nil || h.PID <= 1 {
		return false // it has not signed yet
	}
	p.keeper.mu.Lock()
	defer p.keeper.mu.Unlock()
	killed := child.Kill(h.PID, func(pid int) bool {
		_, here := child.Opened(pid, "cwd", p.paths.root)
		return here && child.Alive(pid, h.Start)
	})
	p.keeper.killed = p.keeper.killed || killed && p.keeper.pid == h.PID
	return killed
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
