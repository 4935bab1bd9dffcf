package http1

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
)

// conn is one client connection. Only its goroutine touches it, besides wake.
type conn struct {
	s     *Server
	nc    net.Conn
	peek  *peeker
	place *connlimit.Place

	in   *block // what was read: in.b[r:w]
	r, w int
	held connlimit.Claim // for in, if it has grown
	out  []byte          // what is to be written
	vec  net.Buffers
	pair [2][]byte

	idle      atomic.Bool // between two requests
	clock     time.Time   // the time, as it was when last looked at between requests
	readBy    time.Time   // when the read in hand is to end
	slack     time.Duration
	readArmed time.Time // the deadline that is set on nc
	sendArmed time.Time

	x Exchange
}

func newConn(s *Server, nc net.Conn, place *connlimit.Place) *conn {
	c := &conn{s: s, nc: nc, peek: newPeeker(nc), place: place, clock: time.Now()}
	c.x.c = c
	return c
}

// serve answers requests until the connection ends or is handed over.
func (c *conn) serve() {
	c.in = c.s.blocks.get(smallBlock)
	c.out = make([]byte, 0, smallBlock)
	handed := false
	defer func() {
		if p := recover(); p != nil {
			c.s.cfg.Log.Error("handler panicked", "panic", p, "stack", string(debug.Stack()))
		}
		c.x.release()
		c.s.blocks.put(c.in)
		c.held.Release()
		if !handed {
			_ = c.nc.Close() // whatever was to be said has been said
		}
	}()
	for wait := c.s.cfg.FirstByte; ; wait = c.s.cfg.IdleTimeout {
		done, err := c.readHead(wait)
		if done {
			handed = true
			c.handOver()
			return
		}
		if err != nil {
			c.refuse(err)
			return
		}
		if c.place.Spare() {
			c.place.TurnedAway()
			c.x.refuse(503, "too many connections")
			return
		}
		if !c.place.Answer() {
			return // it had to make room for another
		}
		c.s.handle(&c.x)
		if !c.x.finish() || !c.place.Wait(c.clock) {
			return
		}
		c.shrink()
	}
}

// shrink prepares for the next request: a grown buffer goes back to the pool.
func (c *conn) shrink() {
	if n := c.w - c.r; c.in.class > 0 && n <= smallBlock {
		small := c.s.blocks.get(smallBlock)
		c.w = copy(small.b, c.in.b[c.r:c.w])
		c.r = 0
		c.replace(small)
	} else if n == 0 {
		c.r, c.w = 0, 0
	}
	if cap(c.out) > 4*smallBlock {
		c.out = make([]byte, 0, smallBlock)
	}
}

// readHead reads and parses the next head, of which the first byte has to come
// within wait. notMine says that the request is not for the data plane and
// nothing of it was used up.
func (c *conn) readHead(wait time.Duration) (notMine bool, err error) {
	c.readUntil(c.clock, wait)
	begun, sure, seen := false, false, 0
	for {
		// Empty lines before a request are tolerated, as RFC 9112 advises.
		for !sure && c.w-c.r >= 2 && c.in.b[c.r] == '\r' && c.in.b[c.r+1] == '\n' {
			c.r += 2
			seen = 0
		}
		have := c.in.b[c.r:c.w]
		if !sure && len(have) > 0 {
			var mine bool
			if mine, sure = c.classify(have); sure && !mine {
				return true, nil
			}
		}
		if i := bytes.Index(have[seen:], []byte("\r\n\r\n")); sure && i >= 0 {
			return c.startExchange(seen + i + 4)
		}
		if sure {
			seen = max(0, len(have)-3)
		}
		if len(have) >= c.s.cfg.MaxHead {
			return false, refuse(431, "request head too large")
		}
		if len(have) > 0 && !begun {
			begun = true
			c.readUntil(time.Now(), c.s.cfg.HeadTimeout)
		}
		if err := c.more(!begun); err != nil {
			return false, err
		}
	}
}

// classify tells whether the request is for the data plane; it is not sure before
// the request line is there.
func (c *conn) classify(have []byte) (mine, sure bool) {
	end := bytes.IndexByte(have, '\n')
	if end < 0 {
		return true, false
	}
	line := have[:end]
	i := bytes.IndexByte(line, ' ')
	if i < 0 {
		return false, true
	}
	return bytes.HasPrefix(line[i+1:], c.s.prefix), true
}

// startExchange parses the head of n bytes and starts the exchange, unless that is
// somebody else's.
func (c *conn) startExchange(n int) (notMine bool, err error) {
	x := &c.x
	x.reset(time.Now())
	// One allocation: substrings of it are the request for as long as anyone
	// keeps them, while the buffer goes on to other uses.
	head := string(c.in.b[c.r : c.r+n])
	c.r += n
	if err := x.req.parse(head, c.s.cfg.MaxFields); err != nil {
		return false, err
	}
	if c.s.cfg.Elsewhere != nil && c.s.cfg.Elsewhere(x) {
		c.r -= n
		return true, nil
	}
	return false, nil
}

// more reads once into the buffer, making room first.
func (c *conn) more(idle bool) error {
	if c.w == len(c.in.b) {
		if err := c.makeRoom(); err != nil {
			return err
		}
	}
	if idle {
		c.idle.Store(true)
		if c.s.stopping.Load() && !c.peek.readable() {
			return io.EOF
		}
	}
	n, err := c.read(c.in.b[c.w:], idle)
	c.idle.Store(false)
	c.w += n
	return err
}

// makeRoom moves what is unread to the front, or into a larger block, which is paid
// for.
func (c *conn) makeRoom() error {
	if c.r > 0 {
		c.w = copy(c.in.b, c.in.b[c.r:c.w])
		c.r = 0
		return nil
	}
	b := c.s.blocks.get(len(c.in.b) + 1)
	held, ok := c.place.PayForHead(len(b.b))
	if !ok {
		c.s.blocks.put(b)
		return ErrBusy
	}
	copy(b.b, c.in.b[:c.w])
	c.replace(b)
	c.held = held
	return nil
}

// replace takes another block for what is read.
func (c *conn) replace(b *block) {
	c.s.blocks.put(c.in)
	c.held.Release()
	c.in, c.held = b, connlimit.Claim{}
}

// read reads once before readBy. An idle read also ends when the server stops.
func (c *conn) read(p []byte, idle bool) (int, error) {
	for {
		c.armRead()
		n, err := c.nc.Read(p)
		if n > 0 {
			return n, nil
		}
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err
		}
		c.readArmed = time.Time{}
		if !time.Now().Before(c.readBy) || idle && c.s.stopping.Load() && !c.peek.readable() {
			return 0, err
		}
		// Woken early, by a lazily set deadline or by wake: go on.
	}
}

func (c *conn) readUntil(now time.Time, d time.Duration) {
	c.readBy, c.slack = now.Add(d), d/8
}

// armRead sets the deadline only if the one that is set is too early or more
// than an eighth too late: setting it costs as much as parsing the head.
func (c *conn) armRead() {
	if early := c.readArmed.Sub(c.readBy); early < 0 || early > c.slack {
		c.readArmed = c.readBy.Add(c.slack / 2)
		_ = c.nc.SetReadDeadline(c.readArmed) // a failing connection says so at the read
	}
}

// wake ends the wait of an idle connection. It may be called by others.
func (c *conn) wake() {
	if c.idle.Load() {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // a failing connection says so at the read
	}
}

// handOver gives the connection and what was read of it to Rest.
func (c *conn) handOver() {
	b := &begun{Conn: c.nc, head: bytes.Clone(c.in.b[c.r:c.w])}
	_ = c.nc.SetDeadline(time.Time{}) // net/http sets its own
	if !c.place.Hold() {              // until it has a place there
		return // it had to make room for another; it is closed
	}
	c.s.rest.handOver(b)
}

// refuse answers a head that cannot be accepted, if there is somebody to tell.
func (c *conn) refuse(err error) {
	if r, ok := errors.AsType[*Refusal](err); ok {
		c.x.reset(time.Now())
		c.x.refuse(r.Status, r.Reason)
		return
	}
	if errors.Is(err, ErrBusy) {
		c.s.places.TurnedAway(c.nc.RemoteAddr(), connlimit.NoMemory)
		c.x.reset(time.Now())
		c.x.refuse(503, "too many requests are in flight")
		return
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && c.w > c.r {
		c.x.reset(time.Now())
		c.x.refuse(408, "request head took too long")
	}
}
