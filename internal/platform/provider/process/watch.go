package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/platform/child"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
)

// pollEvery is how often processes without a descriptor are looked at.
const pollEvery = 200 * time.Millisecond

func (p *Provider) openWatch() error {
	var err error
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("watch processes: %w", err)
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("watch processes: %w", err)
	}
	return p.poll(p.wake)
}

func (p *Provider) poll(fd int) error {
	return unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// register makes r the run of e and has its end noticed.
func (p *Provider) register(e *entry, r *run) {
	p.ports.Hold(r.rec.Port)
	p.mu.Lock()
	e.run = r
	if r.pidfd < 0 {
		p.polled[r] = true
		p.mu.Unlock()
		p.wakeWatcher()
		return
	}
	p.watched[r.pidfd] = r
	p.mu.Unlock()
	if err := p.poll(r.pidfd); err != nil { // no memory for it, or a sandbox that forbids it
		p.mu.Lock()
		delete(p.watched, r.pidfd)
		p.polled[r] = true
		p.mu.Unlock()
		p.wakeWatcher()
	}
}

// wakeWatcher makes the watcher look at what changed.
func (p *Provider) wakeWatcher() {
	_, _ = unix.Write(p.wake, binary.NativeEndian.AppendUint64(nil, 1)) // full means that it is awake
}

// watch notices the end of processes, children or adopted ones, until Close.
func (p *Provider) watch() {
	events := make([]unix.EpollEvent, 128)
	for {
		n, err := unix.EpollWait(p.epoll, events, p.timeout())
		if err != nil && !errors.Is(err, unix.EINTR) {
			// Only a programming error gets here. Instances run on, unwatched.
			p.log.Error("watching instances failed", "err", err)
			return
		}
		select {
		case <-p.closing.Done():
			return
		default:
		}
		for _, ev := range events[:max(n, 0)] {
			if int(ev.Fd) == p.wake {
				_, _ = unix.Read(p.wake, make([]byte, 8)) // it only had to wake us
				continue
			}
			p.mu.Lock()
			r := p.watched[int(ev.Fd)]
			p.mu.Unlock()
			if r != nil {
				p.ended(r)
			}
		}
		for _, r := range p.withoutDescriptor() {
			if !child.Alive(r.rec.PID, r.rec.Start) {
				p.ended(r)
			}
		}
	}
}

// timeout returns how long to wait for an event, in milliseconds.
func (p *Provider) timeout() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.polled) > 0 {
		return int(pollEvery / time.Millisecond)
	}
	return -1
}

func (p *Provider) withoutDescriptor() []*run {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*run, 0, len(p.polled))
	for r := range p.polled {
		list = append(list, r)
	}
	return list
}

// ended records the end of a process that was seen dead. Only the watcher calls it, once
// for each run. The record is written before the exit is published: whoever
// acts on the exit may write the next one.
func (p *Provider) ended(r *run) {
	failpoint.Hit(hitExited)
	// Its children end with it. While it is uncollected, or a child is left in
	// its group, the number can't belong to anybody else.
	_ = unix.Kill(-r.rec.PID, unix.SIGKILL) // mostly there is nobody left
	rec := r.rec
	rec.Phase, rec.Detail = exited, p.collect(r)
	if err := p.paths.write(rec); err != nil {
		p.log.Warn("the end of an instance was not recorded", "instance", rec.ID, "err", err)
	}
	p.mu.Lock()
	r.exited, r.detail = true, rec.Detail
	delete(p.watched, r.pidfd)
	delete(p.polled, r)
	stopped := !r.killAt.IsZero()
	p.mu.Unlock()
	p.ports.Release(rec.Port)
	if r.pidfd >= 0 {
		_ = unix.Close(r.pidfd) // nothing to lose
	}
	close(r.done)
	p.log.Info("instance ended", "instance", rec.ID, "endpoint", rec.Endpoint, "pid", rec.PID, "how", rec.Detail,
		"asked", stopped)
	select {
	case p.changes <- struct{}{}:
	default: // a value waits already
	}
}

// collect returns how the process ended. The kernel tells a parent alone; of an
// adopted process it shows the status only while nobody has collected it.
func (p *Provider) collect(r *run) string {
	const unknown = "ended; its exit status is unknown because an earlier server process had started it"
	if r.child {
		ws, err := wait(r.rec.PID)
		if err != nil {
			return "ended; its exit status was collected by somebody else"
		}
		return describe(ws)
	}
	if s, err := child.ReadStat(r.rec.PID); err == nil && s.Start == r.rec.Start && s.Dead() && s.Exit >= 0 {
		return describe(unix.WaitStatus(s.Exit))
	}
	return unknown
}

func describe(ws unix.WaitStatus) string {
	switch {
	case ws.Signaled() && ws.CoreDump():
		return fmt.Sprintf("killed by signal %d (core dumped)", int(ws.Signal()))
	case ws.Signaled():
		return fmt.Sprintf("killed by signal %d", int(ws.Signal()))
	default:
		return fmt.Sprintf("exit status %d", ws.ExitStatus())
	}
}
