package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// pruneEvery is how often Run looks for what may go.
const pruneEvery = 2 * time.Minute

// InUse says what models in the cache are for.
type InUse struct {
	Dirs   []string            // that somebody reads
	Served []hosting.ModelData // that fleets serve, each in its version: only the cache may have it
	Named  []hosting.ModelData // that may be asked for again, in whatever version
}

// Run prunes from time to time until ctx ends. inUse says what has to stay; if it
// can't tell, nothing goes.
func (c *Cache) Run(ctx context.Context, inUse func(ctx context.Context) (InUse, error)) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if len(c.idle()) == 0 {
			continue // to find out what is in use takes a while
		}
		use, err := inUse(ctx)
		var freed int64
		if err == nil {
			freed, err = c.Prune(ctx, use)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.cfg.Log.WarnContext(ctx, "model cache not pruned", "err", err)
		case freed > 0:
			c.cfg.Log.InfoContext(ctx, "model cache pruned", "bytes", freed)
		}
	}
}

// Prune deletes the models that nobody names any more, then those that were not
// used for the longest time until Config.MaxCache is met. It spares what is read
// or served and what was fetched within Config.KeepFor, and returns how many
// bytes it freed.
func (c *Cache) Prune(ctx context.Context, use InUse) (freed int64, err error) {
	for _, digest := range c.surplus(use) {
		if err := ctx.Err(); err != nil {
			return freed, err
		}
		n, err := c.evict(digest)
		if err != nil {
			return freed, fmt.Errorf("prune model %s: %w", digest, err)
		}
		freed += n
	}
	return freed, nil
}

// idle returns what was not fetched within Config.KeepFor.
func (c *Cache) idle() (digests []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for digest, e := range c.entries {
		if time.Since(e.used) >= c.cfg.KeepFor {
			digests = append(digests, digest)
		}
	}
	return digests
}

// surplus returns what may go: what nobody names, then the longest unused.
func (c *Cache) surplus(use InUse) []string {
	kept, named := map[string]bool{}, map[ref]bool{}
	for _, dir := range use.Dirs {
		kept[filepath.Base(dir)] = true
	}
	for _, d := range slices.Concat(use.Named, use.Served) {
		if bucket, key, err := locate(d); err == nil {
			named[ref{Bucket: bucket, Key: key, Layout: d.Layout}] = true
		}
	}
	idle := c.idle()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range use.Served {
		if bucket, key, err := locate(d); err == nil {
			kept[c.refs[ref{bucket, key, d.Layout, d.Version}]] = true
			kept[d.Digest] = true
		}
	}
	var total int64
	for _, e := range c.entries {
		total += e.Size
	}
	var unnamed, free []string
	for _, digest := range idle {
		e := c.entries[digest]
		switch {
		case e == nil || kept[digest]:
		case slices.ContainsFunc(e.Refs, func(r ref) bool { r.ETag = ""; return named[r] }):
			free = append(free, digest)
		default:
			unnamed = append(unnamed, digest)
			total -= e.Size
		}
	}
	slices.SortFunc(free, func(a, b string) int {
		return cmp.Or(c.entries[a].used.Compare(c.entries[b].used), cmp.Compare(a, b))
	})
	for i, digest := range free {
		if total <= c.cfg.MaxCache {
			free = free[:i]
			break
		}
		total -= c.entries[digest].Size
	}
	return append(unnamed, free...)
}

func (c *Cache) evict(digest string) (int64, error) {
	trash, err := os.MkdirTemp(c.paths.tmp(), "pruned-")
	if err != nil {
		return 0, err
	}
	size, err := c.detach(digest, filepath.Join(trash, "model"))
	return size, errors.Join(err, removeTree(trash))
}

// detach moves a model to trash unless it has just been fetched again.
func (c *Cache) detach(digest, trash string) (int64, error) {
	c.dirs.Lock()
	defer c.dirs.Unlock()
	c.mu.Lock()
	e := c.entries[digest]
	if e == nil || time.Since(e.used) < c.cfg.KeepFor {
		c.mu.Unlock()
		return 0, nil
	}
	for _, r := range e.Refs {
		delete(c.refs, r)
	}
	delete(c.entries, digest)
	c.mu.Unlock()
	dir := c.paths.model(digest)
	err := os.Chmod(dir, 0o700) // or it can't be moved
	if err == nil {
		err = os.Rename(dir, trash)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // somebody else may have deleted it
		return 0, err
	}
	return e.Size, remove(c.paths.record(digest))
}
