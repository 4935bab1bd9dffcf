package disk

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
)

// inode is a file or directory of a disk that has something volatile.
type inode struct {
	dir bool
	was *node // a directory not looked into yet; kids and safe are nil then

	kids map[string]*inode // what a program sees
	safe map[string]*inode // what is on the platter

	now   content // what a program sees
	safe0 content // what is on the platter
	dirty bool    // they differ
	lost  bool    // a sync failed: later ones save nothing
	gone  bool    // it has no name any more
}

// entry is one name that changes: to what it leads, nil if it goes away.
type entry struct {
	dir  *inode
	name string
	to   *inode
	gone *inode // a directory that was removed
}

// change is entries that reach the platter together, as long as none of their
// directories was synced.
type change struct{ entries []entry }

// content is the bytes of a file: whole chunks, then what is not shared yet.
type content struct {
	chunks []*chunk // all but the last are full
	tail   []byte
}

func (c *content) size() int64 {
	n := int64(len(c.tail))
	if k := len(c.chunks); k > 0 {
		n += int64(k-1)*chunkSize + int64(len(c.chunks[k-1].data))
	}
	return n
}

func (c *content) clone() content {
	return content{chunks: slices.Clip(c.chunks), tail: slices.Clone(c.tail)}
}

func (c *content) append(p *Pool, b []byte) {
	if k := len(c.chunks); k > 0 && len(c.chunks[k-1].data) < chunkSize {
		c.tail = slices.Clone(c.chunks[k-1].data)
		c.chunks = slices.Clip(c.chunks[:k-1])
	}
	for len(b) > 0 {
		n := min(len(b), chunkSize-len(c.tail))
		c.tail = append(c.tail, b[:n]...)
		if b = b[n:]; len(c.tail) == chunkSize {
			c.seal(p)
		}
	}
}

// seal shares the tail.
func (c *content) seal(p *Pool) {
	if len(c.tail) > 0 {
		c.chunks = append(c.chunks, p.chunk(c.tail))
		c.tail = nil
	}
}

func (c *content) cut(p *Pool, at int64) {
	c.seal(p)
	k := int(at / chunkSize)
	var tail []byte
	if rest := at % chunkSize; rest > 0 {
		tail = slices.Clone(c.chunks[k].data[:rest])
	}
	c.chunks, c.tail = slices.Clip(c.chunks[:k]), tail
}

func (c *content) bytes() []byte {
	b := make([]byte, 0, c.size())
	for _, k := range c.chunks {
		b = append(b, k.data...)
	}
	return append(b, c.tail...)
}

// thaw makes the tree changeable.
func (m *Memory) thaw() {
	if m.live == nil {
		m.live = thawed(m.rest)
	}
}

func thawed(n *node) *inode {
	if n.dir {
		return &inode{dir: true, was: n}
	}
	c := content{chunks: slices.Clip(n.chunks)}
	return &inode{now: c, safe0: c}
}

// expand looks into a directory.
func (m *Memory) expand(d *inode) {
	if d.kids != nil {
		return
	}
	d.kids = make(map[string]*inode, len(d.was.kids))
	for i, k := range d.was.kids {
		d.kids[d.was.names[i]] = thawed(k)
	}
	d.safe = maps.Clone(d.kids)
	d.was = nil
}

// settle puts the tree to rest when nothing in it is volatile.
func (m *Memory) settle() {
	if m.live == nil || m.dirty > 0 || m.open > 0 || len(m.cache) > 0 {
		return
	}
	m.rest, m.live = m.freeze(m.live), nil
}

func (m *Memory) freeze(f *inode) *node {
	switch {
	case !f.dir:
		f.now.seal(m.pool)
		return m.pool.node(&node{chunks: f.now.chunks, size: f.now.size()})
	case f.kids == nil:
		return f.was
	}
	n := &node{dir: true, names: slices.Sorted(maps.Keys(f.kids))}
	for _, name := range n.names {
		k := m.freeze(f.kids[name])
		n.kids = append(n.kids, k)
		n.size += k.size
	}
	n.names, n.kids = slices.Clip(n.names), slices.Clip(n.kids)
	return m.pool.node(n)
}

// look returns a file or the names of a directory as they are now.
func (m *Memory) look(f *inode) *node {
	if !f.dir {
		c := f.now.clone()
		c.seal(m.pool)
		return &node{chunks: c.chunks, size: c.size()}
	}
	m.expand(f)
	n := &node{dir: true, names: slices.Sorted(maps.Keys(f.kids))}
	for _, name := range n.names {
		k := f.kids[name]
		n.kids = append(n.kids, &node{dir: k.dir, size: k.now.size()})
	}
	return n
}

func (m *Memory) find(name string) (*inode, error) {
	f := m.live
	if name == "." {
		return f, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if !f.dir {
			return nil, syscall.ENOTDIR
		}
		m.expand(f)
		if f = f.kids[part]; f == nil {
			return nil, fs.ErrNotExist
		}
	}
	return f, nil
}

func (n *node) find(name string) (*node, error) {
	if name == "." {
		return n, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		i, ok := slices.BinarySearch(n.names, part)
		if !ok {
			return nil, fs.ErrNotExist
		}
		n = n.kids[i]
	}
	return n, nil
}

// parent returns the directory of a name, looked into.
func (m *Memory) parent(name string) (*inode, string, error) {
	dir, base := ".", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		dir, base = name[:i], name[i+1:]
	}
	if name == "." {
		return nil, "", fs.ErrInvalid
	}
	d, err := m.find(dir)
	if err == nil && !d.dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, "", err
	}
	m.expand(d)
	return d, base, nil
}

// enter changes names, in the cache for now.
func (m *Memory) enter(entries ...entry) {
	for _, e := range entries {
		if e.to == nil {
			delete(e.dir.kids, e.name)
		} else {
			e.dir.kids[e.name] = e.to
		}
	}
	m.cache = append(m.cache, &change{entries: entries})
}

// flush makes the names of d safe. A file moved between two directories may
// still be under both names, or under none of them if only the directory that
// it left was synced: nothing else is promised.
func (m *Memory) flush(d *inode) {
	d.safe = maps.Clone(d.kids)
	// What happened in a directory that is gone for good matters no more.
	safe := map[*inode]bool{d: true}
	for found := true; found; {
		found = false
		for _, c := range m.cache {
			for _, e := range c.entries {
				if e.gone != nil && safe[e.dir] && !safe[e.gone] {
					safe[e.gone], found = true, true
				}
			}
		}
	}
	m.cache = slices.DeleteFunc(m.cache, func(c *change) bool {
		c.entries = slices.DeleteFunc(c.entries, func(e entry) bool { return safe[e.dir] })
		return len(c.entries) == 0
	})
	if len(m.cache) == 0 {
		m.cache = nil
	}
}

func (m *Memory) truncate(f *inode, at int64) {
	if n := f.now.size(); n != at {
		m.used -= n - at
		f.now.cut(m.pool, at)
		m.soil(f)
	}
	if at == 0 {
		f.lost = false
	}
}

func (m *Memory) soil(f *inode) {
	if !f.dirty && !f.gone {
		m.dirty++
	}
	f.dirty = true
}

func (m *Memory) clean(f *inode) {
	if f.dirty && !f.gone {
		m.dirty--
	}
	f.dirty = false
}

// forget stops counting a file that lost its name; it is still there after a
// cut if losing it is forgotten.
func (m *Memory) forget(f *inode) {
	m.used -= f.now.size()
	if f.dirty {
		m.dirty--
	}
	f.gone = true
}
