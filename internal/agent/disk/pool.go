package disk

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
	"unsafe"
	"weak"
)

// chunkSize is how much of a file is shared as one piece, in bytes.
const chunkSize = 64 << 10

// chunk is an immutable piece of a file.
type chunk struct{ data []byte }

// node is an immutable file (kids nil) or directory of a disk at rest.
type node struct {
	dir    bool
	names  []string // sorted
	kids   []*node
	chunks []*chunk
	size   int64 // of everything below
}

// Pool shares between simulated disks what is the same on them: contents by
// their digest, and whole directories. It holds nothing alive by itself. It is
// safe for concurrent use.
type Pool struct {
	seed maphash.Seed

	mu     sync.Mutex
	chunks map[uint64]weak.Pointer[chunk]
	nodes  map[uint64]weak.Pointer[node]
	sweep  int // entries at which the dead ones are looked for
}

// NewPool returns an empty pool.
func NewPool() *Pool {
	return &Pool{
		seed: maphash.MakeSeed(), sweep: 1024,
		chunks: map[uint64]weak.Pointer[chunk]{}, nodes: map[uint64]weak.Pointer[node]{},
	}
}

// chunk returns a shared chunk of these bytes, which it copies.
func (p *Pool) chunk(data []byte) *chunk {
	digest := maphash.Bytes(p.seed, data)
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.chunks[digest].Value(); c != nil && string(c.data) == string(data) {
		return c
	}
	// Two contents of one digest are not shared: the later one wins the place.
	c := &chunk{data: slices.Clone(data)}
	p.chunks[digest] = weak.Make(c)
	p.tidy()
	return c
}

// node returns a shared node equal to n, whose parts are shared already.
func (p *Pool) node(n *node) *node {
	digest := n.digest(p.seed)
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.nodes[digest].Value(); o != nil && o.dir == n.dir &&
		slices.Equal(o.names, n.names) && slices.Equal(o.kids, n.kids) && slices.Equal(o.chunks, n.chunks) {
		return o
	}
	p.nodes[digest] = weak.Make(n)
	p.tidy()
	return n
}

func (n *node) digest(seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	if n.dir {
		_ = h.WriteByte('d') // hashes never fail
	}
	address := func(p unsafe.Pointer) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], uint64(uintptr(p)))
		_, _ = h.Write(b[:]) // a hash never fails
	}
	for i, k := range n.kids {
		_, _ = h.WriteString(n.names[i]) // as above
		_ = h.WriteByte(0)               // as above
		address(unsafe.Pointer(k))
	}
	for _, c := range n.chunks {
		address(unsafe.Pointer(c))
	}
	return h.Sum64()
}

// tidy forgets what no disk holds any more, now and then.
func (p *Pool) tidy() {
	if len(p.chunks)+len(p.nodes) < p.sweep {
		return
	}
	for k, w := range p.chunks {
		if w.Value() == nil {
			delete(p.chunks, k)
		}
	}
	for k, w := range p.nodes {
		if w.Value() == nil {
			delete(p.nodes, k)
		}
	}
	p.sweep = max(1024, 2*(len(p.chunks)+len(p.nodes)))
}
