// Package disk is the file system as the device agent sees it: every file
// operation of the state machine goes through it. On a simulated disk (Memory) a
// test can cut the power at any single operation and restart; on a real one
// (Real) the same calls reach nothing outside of one folder.
//
// It does not say what is kept where: that is package depot.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"syscall"
)

// FS is a tree of files. Names are slash-separated and relative, as in package
// io/fs. What was written is only safe from a power cut once the file's Sync
// returned, and a name only once SyncDir of its folder returned: the strict
// reading of POSIX. All methods are safe for concurrent use.
type FS interface {
	fs.FS // Open reads a file, or lists a directory (fs.ReadDirFile)

	// Create makes an empty file for writing, replacing the content of one that
	// is there. Only the owner can read and write it.
	Create(name string) (File, error)
	// Append opens a file for writing after its first at bytes and drops the
	// rest. It fails with fs.ErrInvalid when the file is shorter.
	Append(name string, at int64) (File, error)
	// Rename moves a file or directory, replacing a file of that name.
	Rename(from, to string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// Mkdir makes a directory for the owner alone; one that is there is fine.
	Mkdir(name string) error
	// SyncDir makes the names in a directory safe from a power cut.
	SyncDir(name string) error
	// Free returns how many bytes may still be written; 0 also when the disk does
	// not say.
	Free() uint64
	// Path returns where the operating system finds a file.
	Path(name string) string
}

// File is a file open for writing.
type File interface {
	io.Writer
	// Sync makes what was written safe from a power cut. After an error the
	// content is unknown: write the file anew, never just sync again.
	Sync() error
	Close() error
}

// Full reports whether err says that there is no room on the disk.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// WriteSynced writes a whole file and makes its content safe; its name is only
// safe after SyncDir.
func WriteSynced(fsys FS, name string, data []byte) error {
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// RemoveAll removes name and what is in it; nothing there is fine.
func RemoveAll(fsys FS, name string) error {
	err := fsys.Remove(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	entries, listErr := fs.ReadDir(fsys, name)
	if listErr != nil {
		return err // a file that could not be removed
	}
	for _, e := range entries {
		if err := RemoveAll(fsys, path.Join(name, e.Name())); err != nil {
			return err
		}
	}
	return fsys.Remove(name)
}

// ReadLimited reads a whole file of at most limit bytes.
func ReadLimited(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return data, err
}
