package connlimit

import (
	"sync"
	"sync/atomic"
)

// Shared are bytes of a message that several hold at the same time and nobody
// changes: who answers it, and those who look on. Their memory is used for
// something else once the last has released them.
type Shared struct {
	bytes   []byte
	holders atomic.Int32
	claim   Claim
	recycle func()
}

// Share makes p something that those who look on may hold; size is how much
// memory it keeps from other uses. It is held once, by the caller. When the last
// releases it, recycle is called, unless it is nil. Nil: there is no room for it
// among what they hold already.
func (b *Budget) Share(p []byte, size int, recycle func()) *Shared {
	claim, ok := b.reserveLooking(size)
	if !ok {
		return nil
	}
	s := &Shared{bytes: p, claim: claim, recycle: recycle}
	s.holders.Store(1)
	return s
}

// Bytes returns them; they are good until Release.
func (s *Shared) Bytes() []byte { return s.bytes }

// Hold holds them once more, for somebody else who releases them. The caller
// holds them.
func (s *Shared) Hold() *Shared {
	if s.holders.Add(1) < 2 {
		panic("connlimit: bytes are held after the last has released them")
	}
	return s
}

// Release lets go of them, once for each that held them.
func (s *Shared) Release() {
	switch n := s.holders.Add(-1); {
	case n == 0:
		s.claim.Release()
		if s.recycle != nil {
			s.recycle()
		}
	case n < 0:
		panic("connlimit: bytes are released more often than they were held")
	}
}

// buffer is memory that copies are gathered in, one after the other.
type buffer struct {
	b     []byte
	class int // of buffers; -1: it is larger than all of them
}

// smallest is the size of the first class of buffers; each is four times the one
// before.
const smallest = 1 << 10

// buffers are those that nobody uses, by class: up to 16 MiB.
type buffers [8]sync.Pool

// classOf returns the class of buffers that hold n bytes, and their size; for more
// than the largest, -1 and n.
func (p *buffers) classOf(n int) (class, size int) {
	for size = smallest; size < n; size *= 4 {
		if class++; class == len(p) {
			return -1, n
		}
	}
	return class, size
}

func (p *buffers) get(class, size int) *buffer {
	if class >= 0 {
		if b, ok := p[class].Get().(*buffer); ok {
			return b
		}
	}
	return &buffer{make([]byte, size), class}
}

func (p *buffers) put(b *buffer) {
	if b.class >= 0 {
		p[b.class].Put(b)
	}
}

// Copy gathers bytes that pass by, for those who look on. The zero Copy gathers
// nothing; Begin makes it ready.
type Copy struct {
	of    *Budget
	in    *buffer // nil: nothing was gathered yet
	n     int     // bytes in it
	most  int
	claim Claim
	// Truncated says that more passed than most. Dropped says that there was no room:
	// nothing is left of what was gathered.
	Truncated, Dropped bool
}

// Begin makes c ready for at most so many bytes.
func (c *Copy) Begin(of *Budget, most int) { *c = Copy{of: of, most: most} }

// Add gathers p, which the caller keeps. hint is how many bytes are expected in
// all, if that is known, else -1.
func (c *Copy) Add(p []byte, hint int64) {
	if c.Dropped || len(p) == 0 {
		return
	}
	if room := c.most - c.n; len(p) > room {
		c.Truncated = true
		p = p[:room]
	}
	if len(p) > 0 && (c.in == nil || c.n+len(p) > len(c.in.b)) && !c.grow(c.n+len(p), hint) {
		c.Drop()
		c.Dropped = true
		return
	}
	if len(p) > 0 {
		c.n += copy(c.in.b[c.n:], p)
	}
}

// grow makes room for n bytes. What is announced is believed up to 64 KiB, or twice
// what has come.
func (c *Copy) grow(n int, hint int64) bool {
	const trust = 64 << 10
	if hint > int64(n) {
		n = max(n, min(int(min(hint, int64(c.most))), max(2*n, trust)))
	}
	class, size := c.of.spare.classOf(n)
	claim, ok := c.of.reserveLooking(size)
	if !ok {
		return false
	}
	more := c.of.spare.get(class, size)
	if c.in != nil {
		copy(more.b, c.in.b[:c.n])
		c.of.spare.put(c.in)
	}
	c.claim.Release()
	c.in, c.claim = more, claim
	return true
}

// Bytes returns what was gathered, until Share or Drop.
func (c *Copy) Bytes() []byte {
	if c.in == nil {
		return nil
	}
	return c.in.b[:c.n:c.n]
}

// Share makes what was gathered something that others may hold, in place of c:
// the caller holds it.
func (c *Copy) Share() *Shared {
	s := &Shared{bytes: c.Bytes(), claim: c.claim}
	if in, of := c.in, c.of; in != nil {
		s.recycle = func() { of.spare.put(in) }
	}
	s.holders.Store(1)
	c.in, c.n, c.claim = nil, 0, Claim{}
	return s
}

// Drop gives the memory back.
func (c *Copy) Drop() {
	c.claim.Release()
	if c.in != nil {
		c.of.spare.put(c.in)
	}
	c.in, c.n, c.claim = nil, 0, Claim{}
}
