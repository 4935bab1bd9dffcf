package http1

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	keepOut     = 16 << 10               // what is gathered before it is written
	lingerFor   = 2 * time.Second        // for a client that still sends when it was refused
	lingerBytes = 64 << 20               // and how much of it
	lingerPause = 500 * time.Millisecond // longest pause in it
)

// answer is the response half of an Exchange.
type answer struct {
	begun   bool // the status line is in the buffer
	headEnd bool // and so is the empty line
	close   bool // the connection ends with this answer
	chunked bool
	bare    bool  // no body goes out
	aborted bool  // the answer is beyond repair
	length  int64 // announced; -1: not
	sent    int64 // of it
}

// Start starts the answer. length is that of the body, -1 if it is not known
// beforehand. Header fields follow by AddHeader, then the body by Write.
func (x *Exchange) Start(status int, length int64) {
	c := x.c
	x.begun = true
	x.length = length
	x.bare = bodyless(x.req.method, status)
	b := append(c.out[:0], "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(status)...)
	b = append(b, "\r\nDate: "...)
	b = append(b, c.s.date.at(x.arrived)...)
	b = append(b, "\r\n"...)
	unread := !x.whole && (x.req.chunked || x.req.length > 0)
	tunnel := x.bare && x.req.method == "CONNECT" // nobody here digs one
	if unread || tunnel || c.s.stopping.Load() || x.req.close || x.req.minor == 0 && !x.req.keepAlive {
		x.close = true
	}
	switch {
	case length >= 0 && status != 204 && !tunnel:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, length, 10)
		b = append(b, "\r\n"...)
	case length >= 0 || x.bare:
	case x.req.minor > 0:
		x.chunked = true
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	default:
		x.close = true // HTTP/1.0 knows the end by the close
	}
	switch {
	case x.close:
		b = append(b, "Connection: close\r\n"...)
	case x.req.minor == 0:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	c.out = b
}

// AddHeader adds a field to the answer. A control character in the value
// becomes a space: what a model server sent must not become a second header.
func (x *Exchange) AddHeader(name, value string) {
	b := append(x.c.out, name...)
	b = append(b, ": "...)
	if cleanValue(value) {
		b = append(b, value...)
	} else {
		for i := range len(value) {
			if v := value[i]; v >= ' ' && v != 0x7f {
				b = append(b, v)
			} else {
				b = append(b, ' ')
			}
		}
	}
	x.c.out = append(b, "\r\n"...)
}

// Write sends a part of the body, gathering small ones until Flush or the end.
func (x *Exchange) Write(p []byte) (int, error) {
	c := x.c
	x.endHead()
	if x.bare || len(p) == 0 {
		return len(p), nil
	}
	if x.length >= 0 && x.sent+int64(len(p)) > x.length {
		x.aborted = true
		return 0, errors.New("http1: body longer than announced")
	}
	x.sent += int64(len(p))
	if x.chunked {
		c.out = strconv.AppendInt(c.out, int64(len(p)), 16)
		c.out = append(c.out, "\r\n"...)
	}
	var err error
	if len(c.out)+len(p) <= keepOut {
		c.out = append(c.out, p...)
	} else {
		err = c.send(p)
	}
	if x.chunked {
		c.out = append(c.out, "\r\n"...)
	}
	x.aborted = x.aborted || err != nil
	return len(p), err
}

// Flush sends what was gathered.
func (x *Exchange) Flush() error {
	x.endHead()
	err := x.c.send(nil)
	x.aborted = x.aborted || err != nil
	return err
}

// Abort makes the answer end without its end, so that the client knows it is
// not whole.
func (x *Exchange) Abort() { x.aborted = true }

func (x *Exchange) endHead() {
	if !x.headEnd {
		x.headEnd = true
		x.c.out = append(x.c.out, "\r\n"...)
	}
}

// finish completes the answer and reports whether the connection goes on.
func (x *Exchange) finish() bool {
	defer x.release()
	if !x.begun || x.aborted || !x.bare && x.length > x.sent {
		if x.begun {
			_ = x.c.send(nil) // the client may have use for what there is; it ends short anyhow
		}
		return false
	}
	x.endHead()
	if x.chunked && !x.bare {
		x.c.out = append(x.c.out, "0\r\n\r\n"...)
	}
	if x.c.send(nil) != nil {
		return false
	}
	if x.close && !x.whole && (x.req.chunked || x.req.length > 0) {
		x.c.linger()
	}
	return !x.close
}

// refuse answers a request that was not understood.
func (x *Exchange) refuse(status int, reason string) {
	x.req.close = true
	x.req.method = ""
	x.req.chunked = true // nobody knows what follows
	x.Start(status, int64(len(reason))+1)
	x.AddHeader("Content-Type", "text/plain; charset=utf-8")
	_, _ = x.Write([]byte(reason + "\n")) // the connection ends either way
	x.finish()
}

// send writes what was gathered and p.
func (c *conn) send(p []byte) error {
	if len(c.out)+len(p) == 0 {
		return nil
	}
	c.armSend()
	var err error
	switch {
	case len(p) == 0:
		_, err = c.nc.Write(c.out)
	case len(c.out) == 0:
		_, err = c.nc.Write(p)
	default:
		c.pair = [2][]byte{c.out, p}
		c.vec = c.pair[:]
		_, err = c.vec.WriteTo(c.nc)
		c.pair = [2][]byte{}
	}
	c.out = c.out[:0]
	return err
}

// armSend sets the deadline for writing, lazily like armRead.
func (c *conn) armSend() {
	d := c.s.cfg.SendTimeout
	c.clock = time.Now()
	if until := c.sendArmed.Sub(c.clock); until < d || until > d+d/8 {
		c.sendArmed = c.clock.Add(d + d/16)
		_ = c.nc.SetWriteDeadline(c.sendArmed) // a failing connection says so at the write
	}
}

// linger reads on for a moment after the answer to a client that is still
// sending: closing at once would reset the connection and take the answer from
// under its eyes.
func (c *conn) linger() {
	if hc, ok := c.nc.(interface{ CloseWrite() error }); !ok || hc.CloseWrite() != nil {
		return
	}
	if !c.place.WaitForBody(time.Now()) {
		return
	}
	b := c.s.blocks.get(smallBlock)
	defer c.s.blocks.put(b)
	end := time.Now().Add(lingerFor)
	for n := 0; n < lingerBytes && time.Now().Before(end); {
		pause := time.Now().Add(lingerPause)
		if pause.After(end) {
			pause = end
		}
		if c.nc.SetReadDeadline(pause) != nil {
			return
		}
		m, err := c.nc.Read(b.b)
		if err != nil {
			return
		}
		n += m
	}
}

var _ io.Writer = (*Exchange)(nil)

// ReadFrom keeps sendfile working for connections handed to net/http.
func (b *begun) ReadFrom(r io.Reader) (int64, error) {
	if rf, ok := b.Conn.(io.ReaderFrom); ok {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{b.Conn}, r)
}

// CloseWrite lets net/http end its side first.
func (b *begun) CloseWrite() error {
	if c, ok := b.Conn.(*net.TCPConn); ok {
		return c.CloseWrite()
	}
	return b.Close()
}
