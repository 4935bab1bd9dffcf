package http1

import (
	"errors"
	"io"
	"time"
)

// Next returns the next part of the body as it came, without waiting for more
// than there is. The slice is valid until the next call. After the last part
// it returns io.EOF; any other error is a *Failure.
func (in *Incoming) Next() ([]byte, error) {
	for {
		if in.done {
			return nil, io.EOF
		}
		p, err := in.decode()
		if err != nil {
			in.spent, in.done = true, true
			return nil, failure(Reading, err)
		}
		if len(p) > 0 {
			return p, nil
		}
		if in.done {
			continue
		}
		if err := in.fill(); err != nil {
			in.done = true
			if in.toEnd && errors.Is(err, io.EOF) {
				continue
			}
			in.spent = true
			if errors.Is(err, io.EOF) {
				err = errTruncated
			}
			return nil, failure(Reading, err)
		}
	}
}

// decode takes body bytes out of the buffer.
func (in *Incoming) decode() ([]byte, error) {
	c := in.c
	have := c.buf.b[c.r:c.w]
	switch {
	case in.head.chunked:
		for len(have) > 0 {
			used, data, err := in.chunks.next(have)
			if err != nil {
				return nil, err
			}
			c.r += used
			have = have[used:]
			if in.chunks.state == chunkDone {
				in.done = true
			}
			if len(data) > 0 {
				in.lookAhead(have)
				return data, nil
			}
			if used == 0 || in.done {
				return nil, nil
			}
		}
		return nil, nil
	case in.toEnd:
		c.r = c.w
		return have, nil
	}
	n := int(min(int64(len(have)), in.left))
	c.r += n
	in.left -= int64(n)
	in.done = in.left == 0
	return have[:n], nil
}

// lookAhead takes the end of a chunked body if it is there already: that the
// part before it is the last one saves the client a write of its own.
func (in *Incoming) lookAhead(have []byte) {
	d := in.chunks
	used, data, err := d.next(have)
	if err == nil && len(data) == 0 && d.state == chunkDone {
		in.chunks = d
		in.c.r += used
		in.done = true
	}
}

// fill reads more; a body that does not fit beside its head gets a larger
// buffer for as long as it lasts.
func (in *Incoming) fill() error {
	c := in.c
	if c.buf.class == 0 {
		size := streamBlock
		if in.left > largeBody {
			size = largeBody
		}
		b := c.u.cl.blocks.get(size)
		c.w = copy(b.b, c.buf.b[c.r:c.w])
		c.r = 0
		c.u.cl.blocks.put(c.buf)
		c.buf = b
	}
	if c.r == c.w {
		c.r, c.w = 0, 0
	} else if c.w == len(c.buf.b) {
		c.makeRoom()
	}
	start := time.Now()
	n, err := c.read(c.buf.b[c.w:], start)
	in.waited += time.Since(start)
	c.w += n
	return err
}

// Waited returns how long the upstream has been waited for so far: from the
// moment before the request was sent, without the time between calls of Next.
func (in *Incoming) Waited() time.Duration { return in.headAt.Sub(in.started) + in.waited }

// Extend replaces the time by which the response is to be there.
func (in *Incoming) Extend(before time.Time) { in.c.before = before }

// Close ends the response. The connection is kept if the body has been read
// to its end and nothing speaks against it, and closed otherwise: that is how
// an upstream learns that nobody waits any more.
func (in *Incoming) Close() {
	c := in.c
	if c == nil {
		return
	}
	in.c = nil
	h := &in.head
	persistent := !h.close && (h.minor > 0 || h.keepAlive)
	if !in.done || in.spent || in.toEnd || !persistent || c.r != c.w {
		c.close()
		return
	}
	c.client = nil
	if c.buf.class > 0 {
		c.u.cl.blocks.put(c.buf)
		c.buf = c.u.cl.blocks.get(smallBlock)
	}
	if cap(c.out) > 2*joinBody {
		c.out = nil
	}
	c.u.putIdle(c, in.headAt.Add(in.waited)) // or a little later: another look at the clock is not worth it
}

// Done reports whether the whole body has been returned.
func (in *Incoming) Done() bool { return in.done }
