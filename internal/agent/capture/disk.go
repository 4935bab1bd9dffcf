package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
)

const (
	blockSize    = 4096 // what a small file takes, about
	temporary    = ".tmp-"
	manifestEnds = ".jsonl"
	asideEnds    = ".bin"
)

// disk keeps captures below a directory:
//
//	<prefix>/<fleet>/<model>/<YYYY>/<MM>/<DD>/<HH>/<uuid>.jsonl
//	                                               <device>-<capture id>-Input-1.bin
//
// A manifest appears after the files that it names and disappears before them,
// so that a reference never leads nowhere.
type disk struct {
	root   *os.Root
	path   string // of root
	fleet  string // <prefix>/<fleet>
	bucket string
	quota  int64

	// mu keeps a folder from being removed, because it is empty, between being
	// made and being used.
	mu sync.Mutex

	used    atomic.Int64 // bytes, in blocks
	deleted atomic.Int64 // events
}

// openDisk clears up what a power cut left and counts what lies there.
func openDisk(c *Config) (*disk, error) {
	if err := os.MkdirAll(c.DiskPath, 0o750); err != nil {
		return nil, fmt.Errorf("make the directory for captures: %w", err)
	}
	root, err := os.OpenRoot(c.DiskPath)
	if err != nil {
		return nil, fmt.Errorf("open the directory for captures: %w", err)
	}
	d := &disk{root: root, path: c.DiskPath, fleet: path.Join(c.Prefix, c.Fleet), bucket: c.Bucket, quota: c.DiskQuota}
	if err := d.sweep(d.fleet, 0); err != nil {
		_ = root.Close() // nothing was written
		return nil, fmt.Errorf("look through the captures: %w", err)
	}
	return d, nil
}

func (d *disk) close() { _ = d.root.Close() } // every file was closed with care

// depth is how many directories lie between the fleet's and an hour's.
const depth = 5

// sweep goes through dir, level directories below the fleet's.
func (d *disk) sweep(dir string, level int) error {
	entries, err := d.list(dir)
	if err != nil {
		return err
	}
	manifests := 0
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), manifestEnds) {
			manifests++
		}
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		info, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case e.IsDir():
			if level < depth {
				if err := d.sweep(name, level+1); err != nil {
					return err
				}
			}
		case strings.HasPrefix(e.Name(), temporary), manifests == 0 && strings.HasSuffix(e.Name(), asideEnds):
			if err := d.root.Remove(name); err != nil {
				return err
			}
		default:
			d.used.Add(blocks(info.Size()))
		}
	}
	return nil
}

func blocks(size int64) int64 { return (size + blockSize - 1) / blockSize * blockSize }

// list returns the entries of dir, sorted by name; a directory that is not
// there has none.
func (d *disk) list(dir string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(d.root.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}

func (d *disk) reference(folder, name string) string {
	return "file://" + path.Join(filepath.ToSlash(d.path), folder, name)
}

// exists tells whether folder has a file of that name: an id may come again once
// it is forgotten.
func (d *disk) exists(folder, name string) bool {
	_, err := d.root.Lstat(path.Join(folder, name))
	return err == nil
}

// write puts the files and then the manifest into folder.
func (d *disk) write(folder string, w *writer) error {
	size := blocks(int64(w.lines.Len()))
	for _, f := range w.files {
		size += blocks(int64(len(f.data)))
	}
	if err := d.makeRoom(size); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.mkdir(folder); err != nil {
		return err
	}
	files := append(w.files, aside{uuid.NewString() + manifestEnds, w.lines.Bytes()})
	for i, f := range files {
		if err := d.writeFile(folder, f); err != nil {
			for _, g := range files[:i] {
				d.remove(path.Join(folder, g.name))
			}
			return err
		}
	}
	return d.sync(folder)
}

// writeFile writes one whole file.
func (d *disk) writeFile(folder string, f aside) error {
	temp := path.Join(folder, temporary+uuid.NewString())
	file, err := d.root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = file.Write(f.data)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = d.root.Rename(temp, path.Join(folder, f.name))
	}
	if err != nil {
		_ = d.root.Remove(temp) // the next start removes it otherwise
		return err
	}
	d.used.Add(blocks(int64(len(f.data))))
	return nil
}

// mkdir makes folder and what is above it, for good.
func (d *disk) mkdir(folder string) error {
	if _, err := d.root.Lstat(folder); err == nil {
		return nil
	}
	if err := d.root.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	for dir := path.Dir(folder); dir != "."; dir = path.Dir(dir) {
		if err := d.sync(dir); err != nil {
			return err
		}
	}
	return d.sync(".")
}

func (d *disk) sync(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// remove removes a file and counts the space; false if it was not there.
func (d *disk) remove(name string) bool {
	info, err := d.root.Lstat(name)
	if err != nil || d.root.Remove(name) != nil {
		return false
	}
	d.used.Add(-blocks(info.Size()))
	return true
}

// makeRoom removes the oldest events until size more bytes fit.
func (d *disk) makeRoom(size int64) error {
	if size > d.quota {
		return fmt.Errorf("the captured events take %d bytes and the quota is %d", size, d.quota)
	}
	for d.used.Load()+size > d.quota {
		folders, err := d.folders()
		if err != nil {
			return err
		}
		if len(folders) == 0 {
			return fmt.Errorf("the quota of %d bytes is used up by what is not a capture", d.quota)
		}
		if err := d.thin(folders[0], size); err != nil {
			return err
		}
	}
	return nil
}

// thin removes events from an hour's folder, the oldest first, until size more
// bytes fit or it is empty and gone.
func (d *disk) thin(folder string, size int64) error {
	entries, err := d.list(folder)
	if err != nil {
		return err
	}
	defer d.prune(folder)
	for _, e := range oldestFirst(entries) {
		if d.used.Load()+size <= d.quota {
			return nil
		}
		body, err := d.root.ReadFile(path.Join(folder, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // uploaded meanwhile
		}
		if err != nil {
			return err
		}
		if d.removeEvents(folder, e.Name(), references(body)) {
			d.deleted.Add(int64(bytes.Count(body, []byte("\n"))))
		}
	}
	if d.used.Load()+size <= d.quota {
		return nil
	}
	for _, e := range entries { // what no manifest named
		d.remove(path.Join(folder, e.Name()))
	}
	d.prune(folder)
	if d.exists("", folder) {
		return fmt.Errorf("the old captures in %s can't be removed", folder)
	}
	return nil
}

// removeEvents removes a manifest, then the files that it names; false if it
// was not there.
func (d *disk) removeEvents(folder, manifest string, names []string) bool {
	if !d.remove(path.Join(folder, manifest)) {
		return false
	}
	for _, name := range names {
		d.remove(path.Join(folder, name))
	}
	return true
}

// prune removes folder and the directories above it as far as they are empty.
func (d *disk) prune(folder string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for dir := folder; dir != d.fleet && dir != "."; dir = path.Dir(dir) {
		if d.root.Remove(dir) != nil {
			return // not empty
		}
	}
}
