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
)

// pruneEvery is how often Run looks whether the cache is too large.
const pruneEvery = time.Minute

// Run prunes from time to time until ctx ends. inUse says which directories
// somebody reads.
func (c *Cache) Run(ctx context.Context, inUse func() []string) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		freed, err := c.Prune(ctx, inUse())
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

// Prune deletes the models that were not used for the longest time until
// Config.MaxCache is met. It spares the directories in inUse and what was
// fetched within Config.KeepFor, and returns how many bytes it freed.
func (c *Cache) Prune(ctx context.Context, inUse []string) (freed int64, err error) {
	for _, digest := range c.surplus(inUse) {
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

// surplus returns what may go, the longest unused first.
func (c *Cache) surplus(inUse []string) []string {
	used := make(map[string]bool, len(inUse))
	for _, dir := range inUse {
		used[dir] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var total int64
	var free []string
	for digest, e := range c.entries {
		total += e.Size
		if !used[c.paths.model(digest)] && time.Since(e.used) >= c.cfg.KeepFor {
			free = append(free, digest)
		}
	}
	slices.SortFunc(free, func(a, b string) int {
		return cmp.Or(c.entries[a].used.Compare(c.entries[b].used), cmp.Compare(a, b))
	})
	for i, digest := range free {
		if total <= c.cfg.MaxCache {
			return free[:i]
		}
		total -= c.entries[digest].Size
	}
	return free
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
