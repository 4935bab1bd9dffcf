package http1

import (
	"errors"
	"io"
	"time"
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
	bodyRead bool   // Body was called
	whole    bool   // nothing of the body is left on the connection
	block    *block // holds the body if the connection's buffer does not
	held     int    // bytes taken from the budget

	answer
}

func (x *Exchange) reset(now time.Time) {
	x.arrived = now
	x.body, x.bodyErr, x.bodyRead, x.whole = nil, nil, false, false
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

// Body reads the whole request body. The slice is valid until the handler
// returns. The error is ErrTooLarge, ErrBusy, a *Refusal for a body that is
// not well-formed, or what the connection said; after any of them the
// connection is closed once the answer is out.
func (x *Exchange) Body() ([]byte, error) {
	if !x.bodyRead {
		x.bodyRead = true
		x.body, x.bodyErr = x.readBody()
		x.whole = x.bodyErr == nil
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
	// Once memory is not plenty it follows what has come, not what was
	// announced: clients that only promise megabytes then hold few of them.
	first := n
	if g := &c.s.budget; g.used.Load() > g.limit/4 {
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
	if c.in.class == 0 {
		b := c.s.blocks.get(streamBlock)
		c.w = copy(b.b, c.in.b[c.r:c.w])
		c.r = 0
		c.s.blocks.put(c.in)
		c.in = b
	}
	if err := x.hold(streamBlock); err != nil {
		return nil, err
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
	if !x.c.s.budget.reserve(len(b.b)) {
		x.c.s.blocks.put(b)
		return ErrBusy
	}
	x.block, x.held = b, len(b.b)
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
	x.c.s.budget.release(held)
	x.c.s.blocks.put(old)
	return nil
}

// release gives the body's memory back.
func (x *Exchange) release() {
	if x.block != nil {
		x.c.s.budget.release(x.held)
		x.c.s.blocks.put(x.block)
		x.block, x.held = nil, 0
	}
	x.body = nil
}

// midway turns the end of the connection into what it means within a body.
func midway(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
