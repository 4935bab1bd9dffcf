// Package filelock says that one process alone uses a directory, by a lock on a
// file in it. The kernel ends the lock with the process, however it ends. What
// the directory holds is not its job.
package filelock

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrHeld means that another process has the lock.
var ErrHeld = errors.New("another server uses this directory")

// patience is for a process that was just killed: it may hold its lock for a
// moment longer, until the kernel has cleared it away.
const patience = 2 * time.Second

// Lock takes the lock on the file at path, which it creates if there is none.
// Closing the file gives the lock back.
func Lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			_ = f.Close() // nothing was written
			return nil, fmt.Errorf("%w: lock %s: %w", ErrHeld, path, err)
		}
	}
}
