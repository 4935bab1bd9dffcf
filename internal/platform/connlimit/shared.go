package connlimit

import "sync/atomic"

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

// Copy gathers bytes that pass by, for those who look on. The zero Copy gathers
// nothing; Begin makes it ready.
type Copy struct {
	of    *Budget
	b     []byte
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
	if room := c.most - len(c.b); len(p) > room {
		c.Truncated = true
		p = p[:room]
	}
	if len(c.b)+len(p) > cap(c.b) && !c.grow(len(c.b)+len(p), hint) {
		c.Drop()
		c.Dropped = true
		return
	}
	c.b = append(c.b, p...)
}

// grow makes room for n bytes. What is announced is believed up to 64 KiB beyond
// what has come.
func (c *Copy) grow(n int, hint int64) bool {
	const trust = 64 << 10
	size := min(c.most, max(n, 2*cap(c.b), 512))
	if hint > 0 {
		size = max(n, min(int(min(hint, int64(c.most))), max(2*n, trust)))
	}
	more, ok := c.of.reserveLooking(size)
	if !ok {
		return false
	}
	c.claim.Release()
	c.claim = more
	c.b = append(make([]byte, 0, size), c.b...)
	return true
}

// Bytes returns what was gathered, until Share or Drop.
func (c *Copy) Bytes() []byte { return c.b }

// Share makes what was gathered something that others may hold, in place of c:
// the caller holds it.
func (c *Copy) Share() *Shared {
	s := &Shared{bytes: c.b, claim: c.claim}
	s.holders.Store(1)
	c.b, c.claim = nil, Claim{}
	return s
}

// Drop gives the memory back.
func (c *Copy) Drop() {
	c.claim.Release()
	c.b, c.claim = nil, Claim{}
}
