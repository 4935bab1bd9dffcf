package http1

import (
	"net/netip"
	"sync"
)

// Budget bounds the memory that all request bodies hold together, and what part
// of it anybody may: who has not proven who they are at most half, one address of
// such a quarter, one key three quarters. It may be shared.
type Budget struct {
	limit int64

	mu        sync.Mutex // guards what follows
	used      int64
	unproven  int64
	addresses map[netip.Addr]int64 // of those unproven
	keys      map[string]int64
}

// NewBudget returns a Budget of limit bytes.
func NewBudget(limit int64) *Budget {
	return &Budget{limit: limit, addresses: map[netip.Addr]int64{}, keys: map[string]int64{}}
}

// Payer is on whose account a body is held.
type Payer struct {
	Key     string // that the request claims to be signed with; "": not known
	Address netip.Addr
	Proven  bool // an earlier request on the connection was verified
}

// Claim is a part of a Budget. The zero Claim is nothing.
type Claim struct {
	of *Budget
	n  int64
	by Payer
}

// Reserve takes n bytes for by. False: there are not so many for it.
func (b *Budget) Reserve(n int, by Payer) (Claim, bool) {
	c := Claim{b, int64(n), by}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.used+c.n > b.limit,
		by.Key != "" && b.keys[by.Key]+c.n > b.limit*3/4,
		!by.Proven && (b.unproven+c.n > b.limit/2 || b.addresses[by.Address]+c.n > b.limit/4):
		return Claim{}, false
	}
	b.add(c, c.n)
	return c, true
}

// Release gives the bytes back.
func (c Claim) Release() {
	if c.of != nil {
		c.of.mu.Lock()
		defer c.of.mu.Unlock()
		c.of.add(c, -c.n)
	}
}

// add counts n bytes more on the account of who made c. mu is held.
func (b *Budget) add(c Claim, n int64) {
	b.used += n
	if c.by.Key != "" {
		if b.keys[c.by.Key] += n; b.keys[c.by.Key] == 0 {
			delete(b.keys, c.by.Key)
		}
	}
	if !c.by.Proven {
		b.unproven += n
		if b.addresses[c.by.Address] += n; b.addresses[c.by.Address] == 0 {
			delete(b.addresses, c.by.Address)
		}
	}
}

// Used returns how many bytes are held.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// scarce reports whether memory is not plenty.
func (b *Budget) scarce() bool { return b.Used() > b.limit/4 }
