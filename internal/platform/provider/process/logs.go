package process

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

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

// old is a log that no instance writes to any more.
type old struct {
	id   provider.ID
	at   time.Time
	size int64
}

// pruneLogs deletes the logs of removed instances past Config.LogAge, then the
// oldest past Config.LogsTotal.
func (p *Provider) pruneLogs(now time.Time) error {
	files, err := os.ReadDir(p.paths.logs())
	if err != nil {
		return err
	}
	removed := map[provider.ID]*old{}
	for _, f := range files {
		st, err := f.Info()
		if err != nil {
			continue // deleted meanwhile
		}
		id := provider.ID(strings.TrimSuffix(strings.TrimSuffix(f.Name(), ".1"), ".log"))
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
	return p.prune(now, removed)
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
