package connlimit

import (
	"errors"
	"io"
	"net/netip"
	"sync"
)

// ErrTooLarge is returned for a body that exceeds its limit.
var ErrTooLarge = errors.New("connlimit: body exceeds the limit")

// ErrBusy is returned when the budget for request bodies is used up.
var ErrBusy = errors.New("connlimit: the memory for request bodies is used up")

// Budget bounds the memory that all request bodies hold together, and what part
// of it anybody may: who has not proven who they are at most half, one address of
// such a quarter, one key three quarters. Those who look on (see Share) hold as
// much as a quarter of it besides, of which no request has less, and take nothing
// while more than half of all is used. It may be shared.
type Budget struct {
	spare buffers // for copies

	mu        sync.Mutex // guards what follows
	limit     int64
	used      int64
	lookers   int64 // of these, of those who look on
	unproven  int64
	addresses map[netip.Addr]int64 // of those unproven
	keys      map[string]int64
}

// NewBudget returns a Budget of limit bytes.
func NewBudget(limit int64) *Budget {
	return &Budget{limit: limit, addresses: map[netip.Addr]int64{}, keys: map[string]int64{}}
}

// SetLimit takes over another limit. What is held beyond it stays so.
func (b *Budget) SetLimit(limit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = limit
}

// Payer is on whose account a body is held.
type Payer struct {
	Key     string // that the request claims to be signed with; "": not known
	Address netip.Addr
	Proven  bool // an earlier request on the connection was verified
}

// Claim is a part of a Budget. The zero Claim is nothing.
type Claim struct {
	of     *Budget
	n      int64
	by     Payer
	looker bool // it is of those who look on
}

// Reserve takes n bytes for by. False: there are not so many for it.
func (b *Budget) Reserve(n int, by Payer) (Claim, bool) {
	c := Claim{of: b, n: int64(n), by: by}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.used-b.lookers+c.n > b.limit,
		by.Key != "" && b.keys[by.Key]+c.n > b.limit*3/4,
		!by.Proven && (b.unproven+c.n > b.limit/2 || b.addresses[by.Address]+c.n > b.limit/4):
		return Claim{}, false
	}
	b.add(c, c.n)
	return c, true
}

// reserveLooking takes n bytes for those who look on. False: there are not so many
// for them.
func (b *Budget) reserveLooking(n int) (Claim, bool) {
	c := Claim{of: b, n: int64(n), by: Payer{Proven: true}, looker: true}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+c.n > b.limit/2 || b.lookers+c.n > b.limit/4 {
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
	if c.looker {
		b.lookers += n
	}
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

// Looking returns how many of them those hold who look on.
func (b *Budget) Looking() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lookers
}

// Scarce reports whether memory is not plenty.
func (b *Budget) Scarce() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used-b.lookers > b.limit/4
}

// ReadAll reads the whole of r, at most limit bytes, into memory that by is
// charged with until the claim is released, whatever the error: ErrTooLarge,
// ErrBusy, or what r said. Memory follows what comes, not what was announced.
func (b *Budget) ReadAll(r io.Reader, limit int64, by Payer) (body []byte, held Claim, err error) {
	body = make([]byte, 0, 512) // so little is not worth counting
	for {
		if len(body) == cap(body) {
			size := min(max(4*int64(cap(body)), 4<<10), limit+1)
			more, ok := b.Reserve(int(size), by)
			if !ok {
				return nil, held, ErrBusy
			}
			held.Release()
			held = more
			body = append(make([]byte, 0, size), body...)
		}
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > limit:
			return nil, held, ErrTooLarge
		case errors.Is(err, io.EOF):
			return body, held, nil
		case err != nil:
			return nil, held, err
		}
	}
}
