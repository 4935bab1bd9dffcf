package connlimit

import (
	"net/http"
	"sync"
)

// smallHead is what of a head costs nobody anything, in bytes: about what every
// connection has beside it anyhow.
const smallHead = 4 << 10

// headStep is what is paid for at a time.
const headStep = 16 << 10

// head is what came of the head of a request on a connection that net/http reads.
type head struct {
	mu    sync.Mutex // of who reads, and who says what it is
	over  bool       // what comes is none
	bytes int
	paid  int
	held  []Claim
}

// is says whether what comes is part of a head.
func (h *head) is(head bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = !head
}

// pay takes n bytes more on the account of who has the place. False: there is no
// memory for them.
func (h *head) pay(n int, p *Place) bool {
	b := p.l.cfg.Heads
	if b == nil || n <= 0 {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return true
	}
	for h.bytes += n; h.bytes > smallHead+h.paid; h.paid += headStep {
		c, ok := b.Reserve(headStep, p.payer())
		if !ok {
			return false
		}
		h.held = append(h.held, c)
	}
	return true
}

// end gives back what was paid: the request has been answered.
func (h *head) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.held {
		c.Release()
	}
	h.bytes, h.paid, h.held = 0, 0, nil
}

func (p *Place) payer() Payer { return Payer{Address: p.from.ip, Proven: p.proven.Load()} }

// PayForHead takes memory for n bytes of a head on the account of who has the place.
// False: there is none.
func (p *Place) PayForHead(n int) (Claim, bool) {
	if b := p.l.cfg.Heads; b != nil && n > smallHead {
		return b.Reserve(n, p.payer())
	}
	return Claim{}, true
}

// sizeOf is about how many bytes the head of a request has.
func sizeOf(r *http.Request) int {
	n := len(r.Method) + len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v) + 4
		}
	}
	return n
}
