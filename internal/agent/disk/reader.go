package disk

import (
	"io"
	"io/fs"
	"time"
)

// reader is an open file or directory of a Memory, as it was when opened. It
// is its own fs.FileInfo and fs.DirEntry.
type reader struct {
	name string
	node *node
	at   int64
}

func (r *reader) Stat() (fs.FileInfo, error) { return r, nil }
func (r *reader) Close() error               { return nil }

func (r *reader) Read(b []byte) (int, error) {
	if r.node.dir {
		return 0, &fs.PathError{Op: "read", Path: r.name, Err: fs.ErrInvalid}
	}
	if r.at >= r.node.size {
		return 0, io.EOF
	}
	n := copy(b, r.node.chunks[r.at/chunkSize].data[r.at%chunkSize:])
	r.at += int64(n)
	return n, nil
}

func (r *reader) ReadDir(n int) ([]fs.DirEntry, error) {
	if !r.node.dir {
		return nil, &fs.PathError{Op: "readdir", Path: r.name, Err: fs.ErrInvalid}
	}
	left := len(r.node.names) - int(r.at)
	if n > 0 && left == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > left {
		n = left
	}
	list := make([]fs.DirEntry, 0, n)
	for ; n > 0; n-- {
		list = append(list, &reader{name: r.node.names[r.at], node: r.node.kids[r.at]})
		r.at++
	}
	return list, nil
}

func (r *reader) Name() string               { return r.name }
func (r *reader) Size() int64                { return r.node.size }
func (r *reader) ModTime() time.Time         { return time.Time{} }
func (r *reader) IsDir() bool                { return r.node.dir }
func (r *reader) Sys() any                   { return nil }
func (r *reader) Type() fs.FileMode          { return r.Mode().Type() }
func (r *reader) Info() (fs.FileInfo, error) { return r, nil }

func (r *reader) Mode() fs.FileMode {
	if r.node.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
