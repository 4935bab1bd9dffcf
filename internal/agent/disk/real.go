package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Real is a folder of the machine. Nothing outside of it can be reached, not
// even through links.
type Real struct {
	root *os.Root
	dir  string
	held *os.File // locked for as long as the folder is in use
}

// ErrBusy says that another process uses the folder.
var ErrBusy = errors.New("the folder is in use by another process")

// OpenReal returns the folder dir, which it makes if needed, for one process
// at a time. Close releases it.
func OpenReal(dir string) (*Real, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, err
	}
	held, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", abs, ErrBusy), held.Close(), root.Close())
	}
	return &Real{root: root, dir: abs, held: held}, nil
}

// Close releases the folder.
func (r *Real) Close() error {
	// Closing is not enough while a fork elsewhere holds a copy for a moment.
	return errors.Join(syscall.Flock(int(r.held.Fd()), syscall.LOCK_UN), r.held.Close(), r.root.Close())
}

// Open opens a file for reading, or a directory for listing.
func (r *Real) Open(name string) (fs.File, error) { return r.root.Open(filepath.FromSlash(name)) }

// Create makes an empty file of mode 0600 for writing.
func (r *Real) Create(name string) (File, error) {
	return r.write(name, os.O_CREATE|os.O_TRUNC)
}

// Append opens a file for writing after its first at bytes.
func (r *Real) Append(name string, at int64) (File, error) {
	f, err := r.write(name, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() < at {
		err = &fs.PathError{Op: "append", Path: name, Err: fs.ErrInvalid}
	}
	if err == nil {
		err = f.Truncate(at)
	}
	if err == nil {
		_, err = f.Seek(at, 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (r *Real) write(name string, flags int) (*os.File, error) {
	return r.root.OpenFile(filepath.FromSlash(name), os.O_WRONLY|flags, 0o600)
}

// Rename moves a file or directory.
func (r *Real) Rename(from, to string) error {
	return r.root.Rename(filepath.FromSlash(from), filepath.FromSlash(to))
}

// Remove removes a file or an empty directory.
func (r *Real) Remove(name string) error { return r.root.Remove(filepath.FromSlash(name)) }

// Mkdir makes a directory of mode 0700; one that is there is fine.
func (r *Real) Mkdir(name string) error {
	local := filepath.FromSlash(name)
	err := r.root.Mkdir(local, 0o700)
	if errors.Is(err, fs.ErrExist) {
		if info, statErr := r.root.Lstat(local); statErr == nil && info.IsDir() {
			return nil
		}
	}
	return err
}

// SyncDir makes the names in a directory safe from a power cut.
func (r *Real) SyncDir(name string) error {
	d, err := r.root.Open(filepath.FromSlash(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Free returns how many bytes the agent's user may still write.
func (r *Real) Free() uint64 {
	var s syscall.Statfs_t
	if err := syscall.Fstatfs(int(r.held.Fd()), &s); err != nil {
		return 0
	}
	return s.Bavail * uint64(s.Bsize)
}

// Path returns the absolute path of a file.
func (r *Real) Path(name string) string { return filepath.Join(r.dir, filepath.FromSlash(name)) }
