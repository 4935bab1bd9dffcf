package process

import (
	"bytes"
	"context"
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

// watch has the kernel tell of every write to a log. Where it has no watch
// left to give, sizes are looked at every logsEvery alone.
func (b bounds) watch() *os.File {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err == nil {
		if _, err = unix.InotifyAddWatch(fd, b.paths.logs(), unix.IN_MODIFY); err != nil {
			_ = unix.Close(fd) // nothing to lose
		}
	}
	if err != nil {
		b.log.Warn("instance logs are bounded every few seconds only", "err", err)
		return nil
	}
	return os.NewFile(uintptr(fd), "logs")
}

// forward sends the ids of instances that write, until f is closed or ctx ends;
// the empty id means that writes were missed.
func forward(ctx context.Context, f *os.File, written chan<- []provider.ID) {
	buf := make([]byte, 64<<10)
	for {
		n, err := f.Read(buf)
		if err != nil {
			return // closed
		}
		select {
		case written <- writers(buf[:n]):
		case <-ctx.Done():
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
