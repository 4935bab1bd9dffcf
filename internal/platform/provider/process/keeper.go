package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/platform/child"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// KeepLogs bounds the logs of a directory's instances while no server does: it
// waits until the server there has ended, however it ended, and returns when no
// instance is left that could write. It is what a keeper does, the process that a
// server starts before its first instance (Config.Keeper). limit is the bytes of
// one instance's output. It changes the working directory, by which it finds the
// files also when the directory is moved.
func KeepLogs(ctx context.Context, dir string, limit int64) error {
	if limit <= 0 {
		return fmt.Errorf("the limit of a log must be more than 0 bytes, not %d", limit)
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	b := bounds{paths: paths{"."}, limit: limit, log: slog.New(slog.DiscardHandler)}
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
	signed := false
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b.run(ctx, func() bool {
		if !signed {
			signed = sign(f) == nil // on a full disk it can fail until logs were bounded
		}
		if !b.paths.written() || replaced(f, b.paths.logLock()) {
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

// holderBytes is the length of a holder in its file, filled up with spaces: a new
// one takes the place of an old one without space of the disk being asked for.
const holderBytes = 128

func sign(f *os.File) error {
	st, err := child.ReadStat(os.Getpid())
	if err != nil {
		return err
	}
	b, err := json.Marshal(holder{os.Getpid(), st.Start})
	if err != nil {
		return err
	}
	return writeHolder(f, b)
}

func writeHolder(f *os.File, b []byte) error {
	_, err := f.WriteAt(append(b, bytes.Repeat([]byte(" "), max(0, holderBytes-len(b)))...), 0)
	return err
}

// replaced reports whether the file at path is another one than f.
func replaced(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && !os.SameFile(mine, there)
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
