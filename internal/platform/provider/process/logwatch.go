package process

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// logPause is how long writes to logs are collected before sizes are looked at: by
// so much a log may grow past its bound, and no more often is its writer's
// chatter anybody's work.
const logPause = 2 * time.Millisecond

// copyEvery is how often the end of a log is copied aside. What is written
// faster than it can be kept is dropped.
const copyEvery = time.Second

// openLogWatch has the kernel tell of every write to a log. Where it has no watch
// left to give, sizes are looked at every logsEvery alone.
func (p *Provider) openLogWatch() *os.File {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err == nil {
		if _, err = unix.InotifyAddWatch(fd, p.paths.logs(), unix.IN_MODIFY); err != nil {
			_ = unix.Close(fd) // nothing to lose
		}
	}
	if err != nil {
		p.log.Warn("instance logs are bounded every few seconds only", "err", err)
		return nil
	}
	return os.NewFile(uintptr(fd), "logs")
}

// watchLogs sends the ids of instances that write, until f is closed; the empty
// id means that writes were missed.
func (p *Provider) watchLogs(f *os.File, written chan<- []provider.ID) {
	buf := make([]byte, 64<<10)
	for {
		n, err := f.Read(buf)
		if err != nil {
			return // closed
		}
		select {
		case written <- writers(buf[:n]):
		case <-p.closing.Done():
			return
		}
		time.Sleep(logPause)
	}
}

// writers reads inotify events, see inotify(7), each id once.
func writers(events []byte) (ids []provider.ID) {
	seen := map[provider.ID]bool{}
	for len(events) >= unix.SizeofInotifyEvent {
		mask, size := binary.NativeEndian.Uint32(events[4:]), int(binary.NativeEndian.Uint32(events[12:]))
		events = events[unix.SizeofInotifyEvent:]
		size = min(size, len(events))
		name, isLog := strings.CutSuffix(string(bytes.TrimRight(events[:size], "\x00")), ".log")
		events = events[size:]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			name, isLog = "", true
		}
		if id := provider.ID(name); isLog && !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids
}

// boundLog keeps a log that is just being written below half of Config.LogBytes;
// the other half is what was copied aside.
func (p *Provider) boundLog(id provider.ID, copied map[provider.ID]time.Time) error {
	st, err := os.Stat(p.paths.log(id))
	if err != nil || st.Size() <= p.cfg.LogBytes/2 {
		return nil // small, or removed meanwhile
	}
	if time.Since(copied[id]) < copyEvery {
		return os.Truncate(p.paths.log(id), 0)
	}
	copied[id] = time.Now()
	return p.rotate(id)
}
