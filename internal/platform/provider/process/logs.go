package process

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// logsEvery is how often sizes and ages of all logs are looked at. In between the
// kernel tells of those that are written.
const logsEvery = 2 * time.Second

// Logs implements provider.LogReader. tail is cut to Config.LogBytes. If not
// one line ends within tail bytes, the line's end is returned.
func (p *Provider) Logs(ctx context.Context, id provider.ID, tail int) ([]byte, error) {
	if !validID(id) {
		return nil, fault.New(fault.Invalid, "instance id %q does not match [a-z0-9-]{1,63}", id)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	want := min(int64(max(tail, 0)), p.cfg.LogBytes)
	newer, whole, err := readEnd(p.paths.log(id), want)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "no log of instance %q is kept", id)
	}
	if err != nil {
		return nil, fmt.Errorf("read log of instance %s: %w", id, err)
	}
	if whole {
		older, rest, err := readEnd(p.paths.olderLog(id), want-int64(len(newer)))
		if err == nil {
			newer, whole = append(older, newer...), rest
		}
	}
	if i := bytes.IndexByte(newer, '\n'); !whole && i >= 0 && i < len(newer)-1 {
		newer = newer[i+1:]
	}
	return newer, nil
}

// readEnd returns at most the last n bytes of a file, and whether that is all.
func readEnd(path string, n int64) (b []byte, whole bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	from := max(0, st.Size()-n)
	b, err = io.ReadAll(io.NewSectionReader(f, from, n))
	return b, from == 0, err
}

// keepLogs bounds what instances leave behind, until Close. watch, if there is
// one, tells of writes.
func (p *Provider) keepLogs(watch *os.File) {
	written := make(chan []provider.ID)
	if watch != nil {
		p.loops.Go(func() { p.watchLogs(watch, written) })
		defer watch.Close() // ends the loop; nothing was written
	}
	tick := time.NewTicker(logsEvery)
	defer tick.Stop()
	copied := map[provider.ID]time.Time{} // when a log was last copied aside
	for {
		if err := p.tidyLogs(time.Now()); err != nil {
			p.log.Warn("instance logs were not tidied", "err", err)
		}
		for tidied := true; tidied; {
			select {
			case <-p.closing.Done():
				return
			case <-tick.C:
				tidied = false
			case ids := <-written:
				for _, id := range ids {
					if id == "" {
						tidied = false
					} else if err := p.boundLog(id, copied); err != nil {
						p.log.Warn("the log of an instance was not bounded", "instance", id, "err", err)
					}
				}
			}
		}
		maps.DeleteFunc(copied, func(_ provider.ID, at time.Time) bool { return time.Since(at) > copyEvery })
	}
}

// old is a log that no instance writes to any more.
type old struct {
	id   provider.ID
	at   time.Time
	size int64
}

// tidyLogs rotates logs that grew past half of Config.LogBytes and deletes those
// of removed instances past Config.LogAge, then the oldest past
// Config.LogsTotal.
func (p *Provider) tidyLogs(now time.Time) error {
	files, err := os.ReadDir(p.paths.logs())
	if err != nil {
		return err
	}
	var errs []error
	removed := map[provider.ID]*old{}
	for _, f := range files {
		st, err := f.Info()
		if err != nil {
			continue // deleted meanwhile
		}
		if strings.HasSuffix(f.Name(), ".tmp") { // only this goroutine makes them: a crash left it
			errs = append(errs, os.Remove(filepath.Join(p.paths.logs(), f.Name())))
			continue
		}
		name, live := strings.CutSuffix(f.Name(), ".log")
		if live && st.Size() > p.cfg.LogBytes/2 {
			errs = append(errs, p.rotate(provider.ID(name)))
		}
		id := provider.ID(strings.TrimSuffix(name, ".log.1"))
		if !validID(id) || p.known(id) {
			continue
		}
		if removed[id] == nil {
			removed[id] = &old{id: id}
		}
		o := removed[id]
		o.size += st.Size()
		if st.ModTime().After(o.at) {
			o.at = st.ModTime()
		}
	}
	return errors.Join(append(errs, p.prune(now, removed))...)
}

func (p *Provider) known(id provider.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.entries[id] != nil
}

func (p *Provider) prune(now time.Time, removed map[provider.ID]*old) error {
	list := make([]*old, 0, len(removed))
	for _, o := range removed {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b *old) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.id, b.id)) })
	var errs []error
	var kept int64
	for _, o := range list {
		kept += o.size
		if now.Sub(o.at) <= p.cfg.LogAge && kept <= p.cfg.LogsTotal {
			continue
		}
		errs = append(errs, p.dropLogs(o.id))
	}
	return errors.Join(errs...)
}

// dropLogs deletes the logs of id, unless it has come back to life.
func (p *Provider) dropLogs(id provider.ID) error {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	e, err := p.enter(ctx, id)
	if err != nil {
		return nil // somebody works on it: the next round looks again
	}
	defer p.leave(e)
	p.mu.Lock()
	back := e.run != nil
	p.mu.Unlock()
	if back {
		return nil
	}
	var errs []error
	for _, path := range []string{p.paths.log(id), p.paths.olderLog(id)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// rotate copies the newest half of Config.LogBytes aside and empties the log.
// The instance holds the file open, so it can't be renamed; what it writes
// between the copy's end and the emptying is lost.
func (p *Provider) rotate(id provider.ID) error {
	log := p.paths.log(id)
	if err := p.copyAside(id); err != nil {
		// Rather lose this log than fill the disk with it.
		return errors.Join(fmt.Errorf("rotate %s: %w", filepath.Base(log), err), os.Truncate(log, 0))
	}
	return os.Truncate(log, 0)
}

func (p *Provider) copyAside(id provider.ID) error {
	from, err := os.Open(p.paths.log(id))
	if err != nil {
		return err
	}
	defer from.Close()
	st, err := from.Stat()
	if err != nil {
		return err
	}
	if _, err := from.Seek(max(0, st.Size()-p.cfg.LogBytes/2), io.SeekStart); err != nil {
		return err
	}
	tmp := p.paths.olderLog(id) + ".tmp"
	to, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	// Bounded: an instance may write faster than this copies.
	_, err = io.Copy(to, io.LimitReader(from, p.cfg.LogBytes/2))
	if err = errors.Join(err, to.Close()); err != nil {
		_ = os.Remove(tmp) // half a copy helps nobody
		return err
	}
	return os.Rename(tmp, p.paths.olderLog(id))
}
