package http1

import (
	"errors"
	"io"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
)

// bodyRate is the pace, in bytes a second, at which a body may at least come
// after its grace (Config.BodyTimeout).
const bodyRate = 32 << 10

// An Exchange is one request and the answer to it. It belongs to the handler
// until that returns; strings it gave out may be kept, byte slices not.
type Exchange struct {
	c       *conn
	req     requestHead
	arrived time.Time

	body     []byte
	bodyErr  error
	bodyRead bool            // Body was called
	whole    bool            // nothing of the body is left on the connection
	block    *block          // holds the body if the connection's buffer does not
	held     connlimit.Claim // on the budget
	key      string          // on whose account the body is held
	shared   *connlimit.Shared

	answer
}

func (x *Exchange) reset(now time.Time) {
	x.arrived = now
	x.body, x.bodyErr, x.bodyRead, x.whole, x.key = nil, nil, false, false, ""
	x.req.framing = framing{length: -1}
	x.req.minor = 1
	x.answer = answer{length: -1}
}

// Method returns the request method.
func (x *Exchange) Method() string { return x.req.method }

// Path returns the path as received: still escaped, without the query.
func (x *Exchange) Path() string { return x.req.path }

// Query returns the query as received, without its question mark.
func (x *Exchange) Query() string { return x.req.query }

// Header returns the value of a header field by its lower-case name; several
// values are joined by commas.
func (x *Exchange) Header(name string) (string, bool) { return x.req.fields.get(name) }

// Arrived returns when the request head was complete.
func (x *Exchange) Arrived() time.Time { return x.arrived }

// Gone reports whether the client has closed its side of the connection.
func (x *Exchange) Gone() bool { return x.c.peek.ended() }

// Remote returns the client's address.
func (x *Exchange) Remote() string { return x.c.nc.RemoteAddr().String() }

// Buffered reports whether the whole body has arrived with the head: that it is
// read costs nobody anything.
func (x *Exchange) Buffered() bool {
	return !x.req.chunked && int64(x.c.w-x.c.r) >= x.req.length
}

// Charge says on whose account the body is held: that of the key with which the
// request claims to be signed.
func (x *Exchange) Charge(key string) { x.key = key }

// Trust says that the request has been verified to be of whoever holds the key:
// its connection is no stranger's. False: they have too many.
func (x *Exchange) Trust(key string) bool { return x.c.place.Prove(key) }

// Body reads the whole request body. The slice is valid until the handler
// returns. The error is ErrTooLarge, ErrBusy, a *Refusal for a body that is
// not well-formed, or what the connection said; after any of them the
// connection is closed once the answer is out.
func (x *Exchange) Body() ([]byte, error) {
	if !x.bodyRead {
		x.bodyRead = true
		x.body, x.bodyErr = x.readBody()
		x.whole = x.bodyErr == nil
		if !x.c.place.Answer() && x.whole {
			x.body, x.bodyErr, x.whole = nil, io.ErrUnexpectedEOF, false // it had to make room
		}
	}
	return x.body, x.bodyErr
}

func (x *Exchange) readBody() ([]byte, error) {
	c := x.c
	n := x.req.length
	if n > int64(c.s.cfg.MaxBody) {
		return nil, ErrTooLarge
	}
	if n <= 0 && !x.req.chunked {
		return nil, nil
	}
	if !x.Buffered() && !c.place.WaitForBody(x.arrived) {
		return nil, io.ErrUnexpectedEOF
	}
	c.readUntil(x.arrived, c.s.cfg.BodyTimeout)
	if x.req.expect && c.r == c.w && x.req.minor > 0 {
		if err := x.proceed(); err != nil {
			return nil, err
		}
	}
	if x.req.chunked {
		return x.readChunked()
	}
	return x.readSized(int(n))
}

// proceed invites the body of a client that waits for it.
func (x *Exchange) proceed() error {
	x.c.armSend()
	_, err := x.c.nc.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	return err
}

func (x *Exchange) readSized(n int) ([]byte, error) {
	c := x.c
	if c.r+n <= len(c.in.b) { // it fits beside its head
		for c.w-c.r < n {
			if err := c.more(false); err != nil {
				return nil, midway(err)
			}
		}
		body := c.in.b[c.r : c.r+n : c.r+n]
		c.r += n
		return body, nil
	}
	// Memory follows what has come, not what was announced: clients that only
	// promise megabytes hold none of them. Those who proved who they are get all at
	// once while it is plenty, which saves moving it.
	first := n
	switch {
	case !c.place.Proven():
		for c.w < len(c.in.b) {
			if err := c.more(false); err != nil {
				return nil, midway(err)
			}
		}
		first = min(n, max(4*smallBlock, c.w-c.r))
	case c.s.cfg.Bodies.Scarce():
		first = min(n, 256<<10)
	}
	if err := x.hold(first); err != nil {
		return nil, err
	}
	got := copy(x.block.b, c.in.b[c.r:c.w])
	c.r += got
	for got < n {
		if got == len(x.block.b) {
			if err := x.grow(got, n); err != nil {
				return nil, err
			}
		}
		m, err := c.read(x.block.b[got:min(n, len(x.block.b))], false)
		if err != nil {
			return nil, midway(err)
		}
		got += m
		c.readBy = c.readBy.Add(time.Second * time.Duration(m) / bodyRate)
	}
	return x.block.b[:n], nil
}

func (x *Exchange) readChunked() ([]byte, error) {
	c := x.c
	if c.in.class == 0 && c.place.Proven() {
		b := c.s.blocks.get(streamBlock)
		c.w = copy(b.b, c.in.b[c.r:c.w])
		c.r = 0
		c.replace(b)
	}
	var d chunked
	got := 0
	for {
		used, data, err := d.next(c.in.b[c.r:c.w])
		if err != nil {
			return nil, err
		}
		if got+len(data) > c.s.cfg.MaxBody {
			return nil, ErrTooLarge
		}
		if x.block == nil && len(data) > 0 {
			if err := x.hold(max(smallBlock, len(data))); err != nil {
				return nil, err
			}
		}
		for len(data) > 0 {
			m := copy(x.block.b[got:], data)
			got += m
			if data = data[m:]; len(data) > 0 {
				if err := x.grow(got, c.s.cfg.MaxBody); err != nil {
					return nil, err
				}
			}
		}
		c.r += used
		switch {
		case d.state == chunkDone && x.block == nil:
			return nil, nil
		case d.state == chunkDone:
			return x.block.b[:got], nil
		case used > 0 && c.r < c.w:
			continue
		}
		before := c.w - c.r
		if err := c.more(false); err != nil {
			return nil, midway(err)
		}
		c.readBy = c.readBy.Add(time.Second * time.Duration(c.w-c.r-before) / bodyRate)
	}
}

// hold takes a block of at least n bytes out of the budget.
func (x *Exchange) hold(n int) error {
	b := x.c.s.blocks.get(n)
	held, ok := x.c.s.cfg.Bodies.Reserve(len(b.b), x.payer())
	if !ok {
		x.c.s.blocks.put(b)
		return ErrBusy
	}
	x.block, x.held = b, held
	return nil
}

// grow moves the first got bytes to a larger block, of at most n if that is
// enough.
func (x *Exchange) grow(got, n int) error {
	old, held := x.block, x.held
	if err := x.hold(min(4*len(old.b), n)); err != nil {
		return err
	}
	copy(x.block.b, old.b[:got])
	held.Release()
	x.c.s.blocks.put(old)
	return nil
}

func (x *Exchange) payer() connlimit.Payer {
	return connlimit.Payer{Key: x.key, Address: connlimit.Network(x.c.nc.RemoteAddr()), Proven: x.c.place.Proven()}
}

// Share returns the body for those who look on, who may hold it beyond the answer
// and release it once for each call. Nil: there is no room for it, or no body.
func (x *Exchange) Share() *connlimit.Shared {
	if x.shared == nil {
		if !x.bodyRead || x.bodyErr != nil {
			return nil
		}
		s, b := x.c.s, x.block
		body := x.body
		if b == nil { // it is where the next request will be
			b = s.blocks.get(len(body))
			body = b.b[:copy(b.b, body)]
		}
		if x.shared = s.cfg.Bodies.Share(body, len(b.b), func() { s.blocks.put(b) }); x.shared == nil {
			if b != x.block {
				s.blocks.put(b)
			}
			return nil
		}
	}
	return x.shared.Hold()
}

// release gives the body's memory back, or leaves it to those who look on.
func (x *Exchange) release() {
	x.held.Release()
	switch {
	case x.shared != nil:
		x.shared.Release()
	case x.block != nil:
		x.c.s.blocks.put(x.block)
	}
	x.block, x.held, x.shared = nil, connlimit.Claim{}, nil
	x.body = nil
}

// midway turns the end of the connection into what it means within a body.
func midway(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
