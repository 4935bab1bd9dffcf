package artifact

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/platform/failpoint"
)

// A model in the cache is a directory models/<digest>, and models/<digest>.json
// says where it was fetched from. A directory appears by a rename, whole and
// flushed to the disk; without its file it is merely never found again, and
// pruned like any other.

// maxRefs is how many places are remembered for one content.
const maxRefs = 1024

// entry is a model in the cache.
type entry struct {
	record
	used time.Time
}

// record is what is stored beside the directory.
type record struct {
	Size int64 `json:"size"`
	Refs []ref `json:"refs"`
}

type paths struct{ dir string }

func makePaths(dir string) (paths, error) {
	if dir == "" {
		return paths{}, errors.New("no directory is configured")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return paths{}, err
	}
	p := paths{dir}
	for _, sub := range []string{p.models(), p.tmp()} {
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return paths{}, err
		}
	}
	return p, nil
}

func (p paths) models() string              { return filepath.Join(p.dir, "models") }
func (p paths) tmp() string                 { return filepath.Join(p.dir, "tmp") }
func (p paths) model(digest string) string  { return filepath.Join(p.models(), digest) }
func (p paths) record(digest string) string { return p.model(digest) + ".json" }

// load reads what is in the cache and empties the place for unfinished things.
func (c *Cache) load() error {
	left, err := os.ReadDir(c.paths.tmp())
	if err != nil {
		return err
	}
	for _, f := range left {
		if err := removeTree(filepath.Join(c.paths.tmp(), f.Name())); err != nil {
			return err
		}
	}
	found, err := os.ReadDir(c.paths.models())
	if err != nil {
		return err
	}
	for _, f := range found {
		digest := strings.TrimSuffix(f.Name(), ".json")
		if !f.IsDir() {
			if _, err := os.Lstat(c.paths.model(digest)); errors.Is(err, fs.ErrNotExist) {
				_ = os.Remove(c.paths.record(digest)) // of a model that was pruned; harmless
			}
			continue
		}
		st, err := f.Info()
		if err != nil {
			return err
		}
		e := &entry{used: st.ModTime()}
		b, err := os.ReadFile(c.paths.record(digest))
		if err != nil || json.Unmarshal(b, &e.record) != nil {
			e.record = record{Size: sizeOf(c.paths.model(digest))}
		}
		c.entries[digest] = e
		for _, r := range e.Refs {
			c.refs[r] = digest
		}
	}
	return nil
}

// lookup finds what was fetched from r before.
func (c *Cache) lookup(r ref) (Model, bool) {
	c.mu.Lock()
	digest := c.refs[r]
	c.mu.Unlock()
	if r.ETag == "" {
		return Model{}, false
	}
	return c.use(digest)
}

// use returns the model that is here with a digest, if any.
func (c *Cache) use(digest string) (Model, bool) {
	c.mu.Lock()
	e := c.entries[digest]
	if e == nil {
		c.mu.Unlock()
		return Model{}, false
	}
	now := time.Now()
	stale := now.Sub(e.used) > time.Minute
	e.used = now // from here on it is not pruned
	m := Model{c.paths.model(digest), digest, e.Size}
	c.mu.Unlock()
	if _, err := os.Lstat(m.Dir); err != nil {
		return Model{}, false // somebody deleted it; place brings it back
	}
	if stale {
		_ = os.Chtimes(m.Dir, now, now) // only the order of pruning after a restart depends on it
	}
	return m, true
}

// place moves a sealed directory into the cache, or finds that it is there.
func (c *Cache) place(dir string, m Model, r ref) (Model, error) {
	m.Dir = c.paths.model(m.Digest)
	c.dirs.Lock()
	defer c.dirs.Unlock()
	if _, err := os.Lstat(m.Dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.Rename(dir, m.Dir); err != nil {
			return Model{}, err
		}
	} else if err != nil {
		return Model{}, err
	}
	// A directory that may not be written can't be moved, so it comes last.
	if err := os.Chmod(m.Dir, 0o555); err != nil {
		return Model{}, err
	}
	now := time.Now()
	_ = os.Chtimes(m.Dir, now, now) // as in lookup
	failpoint.Hit("artifact.placed")

	c.mu.Lock()
	e := c.entries[m.Digest]
	if e == nil {
		e = &entry{record: record{Size: m.Size}}
		c.entries[m.Digest] = e
	}
	e.used = now
	for r.ETag != "" && len(e.Refs) >= maxRefs {
		delete(c.refs, e.Refs[0])
		e.Refs = e.Refs[1:]
	}
	if r.ETag != "" && c.refs[r] != m.Digest {
		e.Refs = append(slices.Clip(e.Refs), r)
		c.refs[r] = m.Digest
	}
	todo := e.record
	c.mu.Unlock()
	return m, c.writeRecord(m.Digest, todo)
}

func (c *Cache) writeRecord(digest string, rec record) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	tmp := filepath.Join(c.paths.tmp(), digest+".json")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	if err := syncFile(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, c.paths.record(digest)); err != nil {
		return err
	}
	return syncFile(c.paths.models())
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// seal makes the directories below dir read-only and flushes everything to the
// disk, so that a power loss after the rename can't leave half a model.
func seal(dir string, files int) error {
	const few = 64 // beyond, flushing the whole file system is cheaper than each file
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, path)
			return nil
		}
		if files <= few {
			return syncFile(path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range slices.Backward(dirs) {
		if d != dir {
			if err := os.Chmod(d, 0o555); err != nil {
				return err
			}
		}
		if files <= few {
			if err := syncFile(d); err != nil {
				return err
			}
		}
	}
	if files <= few {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close() // nothing is written through it
	return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd())))
}

// syncFile flushes a file or a directory, whoever wrote it.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// removeTree removes a directory whose directories may be read-only.
func removeTree(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// sizeOf adds up the files of a model whose record was lost.
func sizeOf(dir string) int64 {
	var n int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error { // what can't be read counts nothing
		if err == nil && d.Type().IsRegular() {
			if st, err := d.Info(); err == nil {
				n += st.Size()
			}
		}
		return nil
	})
	return n
}
