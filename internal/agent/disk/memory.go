package disk

import (
	"errors"
	"io/fs"
	"path"
	"sync"
	"syscall"
)

// Op is one operation that changes a simulated disk.
type Op struct {
	N    int    // from 1, since the disk was made or started again
	Kind string // "create", "append", "write", "sync", "rename", "remove", "mkdir" or "syncdir"
	Name string
}

// ErrCut is what every operation fails with once the power is gone.
var ErrCut = errors.New("the power was cut")

// Memory is a simulated disk with a volatile cache: an FS that a test can cut
// off after any operation, fill and break. At rest it costs a pointer into its
// pool, so that a hundred thousand equal disks fit into one process.
type Memory struct {
	pool *Pool

	mu    sync.Mutex
	rest  *node  // the whole tree while nothing is volatile
	live  *inode // its root otherwise
	cache []*change
	dirty int   // files whose content is not safe
	open  int   // files open for writing
	used  int64 // bytes of all files
	size  int64
	ops   int
	cutAt int
	dead  bool
	fault func(Op) error
}

// NewMemory returns an empty disk of size bytes (0: without end) that shares
// what it holds with the other disks of the pool.
func NewMemory(pool *Pool, size int64) *Memory {
	return &Memory{pool: pool, size: size, rest: pool.node(&node{dir: true})}
}

// CutAfter cuts the power right after the n-th operation from the start that
// changes the disk; 0 never does.
func (m *Memory) CutAfter(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cutAt = n
}

// Cut cuts the power now.
func (m *Memory) Cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
}

// Alive says whether the power is still there.
func (m *Memory) Alive() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.dead
}

// Copy returns another disk with the same content, and false if this one is
// not at rest.
func (m *Memory) Copy() (*Memory, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{pool: m.pool, size: m.size, rest: m.rest, used: m.used}, m.live == nil
}

// Ops returns how many operations changed the disk so far.
func (m *Memory) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// Resize changes the size of the disk in bytes; 0 is without end.
func (m *Memory) Resize(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.size = size
}

// Fault lets f refuse operations with an error of its choice, such as
// syscall.EIO; nil refuses none.
func (m *Memory) Fault(f func(Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
}

// Used returns the bytes of all files.
func (m *Memory) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// Free returns how many bytes may still be written.
func (m *Memory) Free() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.size == 0 {
		return 1 << 50
	}
	return uint64(max(0, m.size-m.used))
}

// Path returns the name, under the root of a disk that no system has.
func (m *Memory) Path(name string) string { return "/" + name }

// do runs one changing operation, and cuts the power after it if it was the one.
func (m *Memory) do(kind, name string, change func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return ErrCut
	}
	m.ops++
	fail := func(err error) error {
		if err == nil || errors.Is(err, ErrCut) {
			return err
		}
		return &fs.PathError{Op: kind, Path: name, Err: err}
	}
	if m.fault != nil {
		if err := m.fault(Op{N: m.ops, Kind: kind, Name: name}); err != nil {
			return fail(err)
		}
	}
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	m.thaw()
	err := change()
	if m.ops == m.cutAt {
		m.dead = true
		return ErrCut
	}
	m.settle()
	return fail(err)
}

// Create makes an empty file.
func (m *Memory) Create(name string) (File, error) {
	var w *writer
	err := m.do("create", name, func() error {
		parent, base, err := m.parent(name)
		if err != nil {
			return err
		}
		f := parent.kids[base]
		switch {
		case f == nil:
			f = &inode{}
			m.enter(entry{dir: parent, name: base, to: f})
		case f.dir:
			return syscall.EISDIR
		}
		m.truncate(f, 0)
		w = m.writer(name, f)
		return nil
	})
	if w == nil {
		return nil, err
	}
	return w, err
}

// Append opens a file for writing after its first at bytes.
func (m *Memory) Append(name string, at int64) (File, error) {
	var w *writer
	err := m.do("append", name, func() error {
		f, err := m.find(name)
		switch {
		case err != nil:
			return err
		case f.dir:
			return syscall.EISDIR
		case f.now.size() < at || at < 0:
			return fs.ErrInvalid
		}
		m.truncate(f, at)
		w = m.writer(name, f)
		return nil
	})
	if w == nil {
		return nil, err
	}
	return w, err
}

// Rename moves a file or directory.
func (m *Memory) Rename(from, to string) error {
	return m.do("rename", from, func() error {
		src, a, err := m.parent(from)
		if err != nil {
			return err
		}
		dst, b, err := m.parent(to)
		if err != nil {
			return err
		}
		f, old := src.kids[a], dst.kids[b]
		switch {
		case f == nil:
			return fs.ErrNotExist
		case f == old:
			return nil
		case old != nil && (old.dir || f.dir):
			return fs.ErrExist
		case old != nil:
			m.forget(old)
		}
		m.enter(entry{dir: src, name: a}, entry{dir: dst, name: b, to: f})
		return nil
	})
}

// Remove removes a file or an empty directory.
func (m *Memory) Remove(name string) error {
	return m.do("remove", name, func() error {
		parent, base, err := m.parent(name)
		if err != nil {
			return err
		}
		f := parent.kids[base]
		e := entry{dir: parent, name: base}
		switch {
		case f == nil:
			return fs.ErrNotExist
		case f.dir:
			if m.expand(f); len(f.kids) > 0 {
				return syscall.ENOTEMPTY
			}
			e.gone = f
		default:
			m.forget(f)
		}
		m.enter(e)
		return nil
	})
}

// Mkdir makes a directory.
func (m *Memory) Mkdir(name string) error {
	return m.do("mkdir", name, func() error {
		parent, base, err := m.parent(name)
		if err != nil {
			return err
		}
		if old := parent.kids[base]; old != nil {
			if old.dir {
				return nil
			}
			return fs.ErrExist
		}
		m.enter(entry{
			dir: parent, name: base, to: &inode{dir: true, kids: map[string]*inode{}, safe: map[string]*inode{}},
		})
		return nil
	})
}

// SyncDir makes the names in a directory safe.
func (m *Memory) SyncDir(name string) error {
	return m.do("syncdir", name, func() error {
		d, err := m.find(name)
		if err != nil {
			return err
		}
		if !d.dir {
			return syscall.ENOTDIR
		}
		m.expand(d)
		m.flush(d)
		return nil
	})
}

// Open opens a file for reading, or a directory for listing.
func (m *Memory) Open(name string) (fs.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fail := func(err error) (fs.File, error) { return nil, &fs.PathError{Op: "open", Path: name, Err: err} }
	switch {
	case m.dead:
		return fail(ErrCut)
	case !fs.ValidPath(name):
		return fail(fs.ErrInvalid)
	}
	if m.live == nil {
		n, err := m.rest.find(name)
		if err != nil {
			return fail(err)
		}
		return &reader{name: path.Base(name), node: n}, nil
	}
	f, err := m.find(name)
	if err != nil {
		return fail(err)
	}
	return &reader{name: path.Base(name), node: m.look(f)}, nil
}

// writer is a file of a Memory that is open for writing.
type writer struct {
	m      *Memory
	name   string
	f      *inode
	closed bool
}

func (m *Memory) writer(name string, f *inode) *writer {
	m.open++
	return &writer{m: m, name: name, f: f}
}

// Write appends b, or as much of it as there is room for.
func (w *writer) Write(b []byte) (int, error) {
	n := 0
	err := w.m.do("write", w.name, func() error {
		if w.closed {
			return fs.ErrClosed
		}
		n = len(b)
		var err error
		if w.m.size > 0 && int64(n) > w.m.size-w.m.used {
			n, err = int(max(0, w.m.size-w.m.used)), syscall.ENOSPC
		}
		w.m.used += int64(n)
		w.m.soil(w.f)
		w.f.now.append(w.m.pool, b[:n])
		return err
	})
	if err == nil && n < len(b) {
		err = syscall.ENOSPC
	}
	return n, err
}

// Sync makes the content safe. Like on Linux, a Sync after one that failed
// says that all is well though it is not.
func (w *writer) Sync() error {
	err := w.m.do("sync", w.name, func() error {
		if w.closed {
			return fs.ErrClosed
		}
		if w.f.lost {
			return nil
		}
		w.f.now.seal(w.m.pool)
		w.f.safe0 = w.f.now.clone()
		w.m.clean(w.f)
		return nil
	})
	if err != nil && !errors.Is(err, ErrCut) && !errors.Is(err, fs.ErrClosed) {
		w.m.mu.Lock()
		w.f.lost = true
		w.m.soil(w.f)
		w.m.mu.Unlock()
	}
	return err
}

// Close ends writing. It makes nothing safe.
func (w *writer) Close() error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.closed {
		return fs.ErrClosed
	}
	w.closed = true
	w.m.open--
	w.m.settle()
	return nil
}
