package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// logsEvery is how often sizes and ages of all logs are looked at. In between the
// kernel tells of those that are written.
const logsEvery = 2 * time.Second

// bounds keeps logs that are written below a limit. One at a time does so for a
// directory, the server or its keeper: whoever has the lock of paths.logLock.
type bounds struct {
	paths paths
	limit int64 // bytes of one instance's output
	log   *slog.Logger
}

// run bounds logs until ctx ends. tick is called at once and every logsEvery; it
// says whether the logs are this process's to bound.
func (b bounds) run(ctx context.Context, tick func() bool) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	written := make(chan []provider.ID)
	if watch := b.watch(); watch != nil {
		wg.Go(func() { forward(ctx, watch, written) })
		defer watch.Close() // ends the loop; nothing was written
	}
	every := time.NewTicker(logsEvery)
	defer every.Stop()
	copied := map[provider.ID]time.Time{} // when a log was last copied aside
	for {
		mine := tick()
		if ctx.Err() != nil {
			return
		}
		if mine {
			if err := b.all(); err != nil {
				b.log.Warn("instance logs were not bounded", "err", err)
			}
		}
		for looked := true; looked; {
			select {
			case <-ctx.Done():
				return
			case <-every.C:
				looked = false
			case ids := <-written:
				looked = !mine || b.these(ids, copied)
			}
		}
		maps.DeleteFunc(copied, func(_ provider.ID, at time.Time) bool { return time.Since(at) > copyEvery })
	}
}

// these bounds the logs of instances that just wrote; it reports false if all have
// to be looked at.
func (b bounds) these(ids []provider.ID, copied map[provider.ID]time.Time) bool {
	known := true
	for _, id := range ids {
		if id == "" {
			known = false
		} else if err := b.one(id, copied); err != nil {
			b.log.Warn("the log of an instance was not bounded", "instance", id, "err", err)
		}
	}
	return known
}

// all rotates every log that grew past half of the limit.
func (b bounds) all() error {
	files, err := os.ReadDir(b.paths.logs())
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".tmp") { // only this goroutine makes them: a crash left it
			errs = append(errs, os.Remove(filepath.Join(b.paths.logs(), f.Name())))
			continue
		}
		name, live := strings.CutSuffix(f.Name(), ".log")
		if st, err := f.Info(); err == nil && live && st.Size() > b.limit/2 {
			errs = append(errs, b.rotate(provider.ID(name)))
		}
	}
	return errors.Join(errs...)
}

// one keeps a log that is just being written below half of the limit; the other
// half is what was copied aside.
func (b bounds) one(id provider.ID, copied map[provider.ID]time.Time) error {
	st, err := os.Stat(b.paths.log(id))
	if err != nil || st.Size() <= b.limit/2 {
		return nil // small, or removed meanwhile
	}
	if time.Since(copied[id]) < copyEvery {
		return os.Truncate(b.paths.log(id), 0)
	}
	copied[id] = time.Now()
	return b.rotate(id)
}

// rotate copies the newest half of the limit aside and empties the log.
// The instance holds the file open, so it can't be renamed; what it writes
// between the copy's end and the emptying is lost.
func (b bounds) rotate(id provider.ID) error {
	log := b.paths.log(id)
	if err := b.copyAside(id); err != nil {
		// Rather lose this log than fill the disk with it.
		return errors.Join(fmt.Errorf("rotate %s: %w", filepath.Base(log), err), os.Truncate(log, 0))
	}
	return os.Truncate(log, 0)
}

func (b bounds) copyAside(id provider.ID) error {
	from, err := os.Open(b.paths.log(id))
	if err != nil {
		return err
	}
	defer from.Close()
	st, err := from.Stat()
	if err != nil {
		return err
	}
	if _, err := from.Seek(max(0, st.Size()-b.limit/2), io.SeekStart); err != nil {
		return err
	}
	tmp := b.paths.olderLog(id) + ".tmp"
	to, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	// Bounded: an instance may write faster than this copies.
	_, err = io.Copy(to, io.LimitReader(from, b.limit/2))
	if err = errors.Join(err, to.Close()); err != nil {
		_ = os.Remove(tmp) // half a copy helps nobody
		return err
	}
	return os.Rename(tmp, b.paths.olderLog(id))
}
