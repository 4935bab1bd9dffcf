package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/platform/child"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// clearTimeout bounds how long processes that were sent SIGKILL may take to go.
const clearTimeout = 10 * time.Second

// adoptAll reads every record, keeps the instances that run, and kills what is
// left of the others. It may be repeated after a crash in the middle.
func (p *Provider) adoptAll() error {
	files, err := os.ReadDir(p.paths.instances())
	if err != nil {
		return err
	}
	adopted := map[provider.ID]bool{}
	var unstarted []provider.ID
	for _, f := range files {
		if !p.paths.isRecord(f.Name()) {
			_ = os.Remove(p.paths.instances() + "/" + f.Name()) // a record that was being written; harmless if it stays
			continue
		}
		id := p.paths.idOf(f.Name())
		if !validID(id) {
			continue // not ours; leave what we don't understand
		}
		rec, err := p.paths.read(id)
		if err != nil {
			return err
		}
		if rec.Phase == starting {
			unstarted = append(unstarted, id)
		}
		if p.adopt(rec) {
			adopted[id] = true
		}
	}
	if err := p.killRemains(adopted); err != nil {
		return err
	}
	for _, id := range unstarted {
		if err := p.clear(context.Background(), id); err != nil { // bounded by clearTimeout
			return err
		}
	}
	return p.dropWork()
}

// adopt takes over the instance of a record and reports whether it runs.
func (p *Provider) adopt(rec record) bool {
	e := &entry{id: rec.ID, turn: make(chan struct{}, 1)}
	p.entries[rec.ID] = e // nobody else is here yet
	if rec.Phase == running && rec.Boot == p.boot {
		pidfd := -1
		if !p.cfg.NoPidfd {
			if fd, err := unix.PidfdOpen(rec.PID, 0); err == nil {
				pidfd = fd
			}
		}
		// Looked at after the descriptor was opened: it is surely this one.
		alive, whose := child.Alive(rec.PID, rec.Start), p.paths.owner(rec.PID, rec.ID)
		if whose == unknown && (rec.Dir == "" || rec.Dir == p.paths.root) {
			whose = ours
		}
		if alive && whose == ours {
			p.register(e, &run{rec: rec, pidfd: pidfd, done: make(chan struct{})})
			p.log.Info("instance adopted", "instance", rec.ID, "endpoint", rec.Endpoint, "pid", rec.PID,
				"port", rec.Port)
			return true
		}
		if alive {
			p.log.Warn("a running instance is left alone: it belongs to the directory that this one is a copy of",
				"instance", rec.ID, "endpoint", rec.Endpoint, "pid", rec.PID)
			rec.Detail = "it runs for another server, of whose data directory this one is a copy"
			rec.PID, rec.Start = 0, 0 // nothing that is done to the instance may reach that process
			// In a copy of hard links the log is the very file that it writes to.
			_ = os.Rename(p.paths.log(rec.ID), p.paths.olderLog(rec.ID)) // there may be none
		}
		if pidfd >= 0 {
			_ = unix.Close(pidfd) // nothing to lose
		}
	}
	r := &run{rec: rec, pidfd: -1, done: make(chan struct{}), exited: true, detail: rec.howItEnded(p.boot)}
	close(r.done)
	e.run = r
	return false
}

// howItEnded says how an instance ended that is found dead.
func (r record) howItEnded(boot string) string {
	switch {
	case r.Detail != "":
		return r.Detail
	case r.Phase == starting:
		return "the server ended while it was starting the instance"
	case r.Boot != boot:
		return "the machine was restarted"
	default:
		return "ended while no server watched; its exit status is unknown"
	}
}

// killRemains kills every process that belongs to this directory but to no
// adopted instance: children of dead ones, and those started without a record.
func (p *Provider) killRemains(adopted map[provider.ID]bool) error {
	failpoint.Hit(hitAdopting)
	return sweep(func(pid int) bool {
		id, own := p.paths.owns(pid)
		return own && !adopted[id]
	})
}

// sweep kills all that are own until a look around finds none.
func sweep(own func(pid int) bool) error {
	for deadline := time.Now().Add(clearTimeout); ; time.Sleep(5 * time.Millisecond) {
		all, err := child.PIDs()
		if err != nil {
			return err
		}
		found := 0
		for _, pid := range all {
			if own(pid) {
				found = pid
				child.Kill(pid, own)
			}
		}
		if found == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d of an ended instance survives SIGKILL", found)
		}
	}
}

// clear returns once no process of an ended instance is left. The lock on the
// log tells for next to nothing; only if somebody holds it is it worth looking
// at every process of the machine.
func (p *Provider) clear(ctx context.Context, id provider.ID) error {
	f, err := p.claimLog(ctx, id)
	if err != nil {
		return err
	}
	// Closing is not enough while a fork elsewhere holds a copy for a moment.
	_ = unix.Flock(int(f.Fd()), unix.LOCK_UN) // cannot fail on a lock that is held
	return f.Close()
}

// claimLog opens the log of id for a new process, locked; it first kills
// whatever is left of the previous one.
func (p *Provider) claimLog(ctx context.Context, id provider.ID) (*os.File, error) {
	f, err := os.OpenFile(p.paths.log(id), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	own := func(pid int) bool { return p.paths.owner(pid, id) == ours }
	pause := time.Millisecond
	for deadline := time.Now().Add(clearTimeout); ; pause = min(2*pause, 50*time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) || ctx.Err() != nil {
			break
		}
		time.Sleep(pause) // its children may be dying just now
		if pause > 4*time.Millisecond {
			if err = sweep(own); err != nil {
				break
			}
		}
	}
	_ = f.Close() // nothing was written
	return nil, fmt.Errorf("processes of an earlier run still hold its log: %w", errors.Join(err, ctx.Err()))
}

// dropWork removes working directories whose instance is gone.
func (p *Provider) dropWork() error {
	dirs, err := os.ReadDir(p.paths.works())
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if id := provider.ID(d.Name()); validID(id) && p.entries[id] == nil && !strings.HasPrefix(d.Name(), ".") {
			_ = os.RemoveAll(p.paths.work(id)) // space only; the next start tries again
		}
	}
	return nil
}

// erase forgets an instance that has no process.
func (p *Provider) erase(id provider.ID) error {
	if err := os.RemoveAll(p.paths.work(id)); err != nil {
		p.log.Warn("a working directory stays behind", "instance", id, "err", err)
	}
	if err := os.Remove(p.paths.record(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
