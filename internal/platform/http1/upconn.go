package http1

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"time"
)

const (
	joinBody   = 16 << 10 // a body up to this size is copied behind its head and leaves with it
	maxInterim = 8        // 1xx responses before the real one
)

var (
	errTimeout   = errors.New("no answer in time")
	errTruncated = errors.New("connection closed within the response")
)

// upConn is one connection to an upstream.
type upConn struct {
	u         *Upstream
	nc        net.Conn
	peek      *peeker
	idleSince time.Time
	out       []byte

	buf  *block // what was read: buf.b[r:w]
	r, w int

	readArmed, sendArmed time.Time
	before               time.Time // of the request in hand
	client               Watcher
}

func (c *upConn) close() {
	_ = c.nc.Close() // nothing more is expected of it
	if c.buf != nil {
		c.u.cl.blocks.put(c.buf)
		c.buf = nil
	}
}

// roundTrip sends o and reads the response head. untouched says that nothing
// of o was sent.
func (c *upConn) roundTrip(o *Outgoing, in *Incoming) (untouched bool, err error) {
	c.before, c.client = o.Before, o.Client
	c.r, c.w = 0, 0
	in.reset(c, o.Method)
	sent, err := c.send(o, in.started)
	if err != nil && !errors.Is(err, errEarly) {
		// A server that refuses a large body may answer and close; its answer
		// is still there to be read.
		if sent == 0 {
			return true, failure(Dialling, err)
		}
		if !c.answered() {
			return false, failure(Sending, err)
		}
	}
	in.spent = err != nil // part of the request is missing: no further use
	// Under load there is other work to do while the upstream thinks; its
	// answer then is often there already, which saves a wait.
	runtime.Gosched()
	if err := in.readHead(); err != nil {
		return false, failure(Waiting, err)
	}
	return false, nil
}

func failure(s Step, err error) error {
	return &Failure{Step: s, Timeout: errors.Is(err, errTimeout), Err: err}
}

// errEarly says that the response came before the request was out.
var errEarly = errors.New("early response")

func (c *upConn) answered() bool { b, _ := c.peek.look(); return b }

// send writes the request. Of a large body it stops sending when a response
// comes while the upstream does not take more.
func (c *upConn) send(o *Outgoing, now time.Time) (sent int, err error) {
	c.head(o)
	rest := o.Body
	if len(rest) <= joinBody {
		c.out = append(c.out, rest...)
		rest = nil
	} else {
		n := max(0, joinBody-len(c.out))
		c.out = append(c.out, rest[:n]...)
		rest = rest[n:]
	}
	for _, p := range [2][]byte{c.out, rest} {
		for len(p) > 0 {
			c.armSend(now, len(rest) > 0)
			n, err := c.nc.Write(p)
			sent += n
			p = p[n:]
			if err == nil {
				continue
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return sent, err
			}
			c.sendArmed = time.Time{}
			now = time.Now()
			if err := c.stillWanted(now); err != nil {
				return sent, err
			}
			if sent > 0 && c.answered() {
				return sent, errEarly
			}
		}
	}
	return sent, nil
}

func (c *upConn) head(o *Outgoing) {
	b := append(c.out[:0], o.Method...)
	b = append(b, ' ')
	b = append(b, o.Path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, c.u.addr...)
	b = append(b, "\r\n"...)
	for i := range o.Fields {
		b = append(b, o.Fields[i].Name...)
		b = append(b, ": "...)
		b = append(b, o.Fields[i].Value...)
		b = append(b, "\r\n"...)
	}
	if o.Length || len(o.Body) > 0 {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, int64(len(o.Body)), 10)
		b = append(b, "\r\n"...)
	}
	c.out = append(b, "\r\n"...)
}

// stillWanted says why the request is to be given up, if it is.
func (c *upConn) stillWanted(now time.Time) error {
	if !c.before.IsZero() && !now.Before(c.before) {
		return errTimeout
	}
	if c.client != nil && c.client.Gone() {
		return ErrGone
	}
	return nil
}

// armSend sets a deadline for writing: a tick for what may block, something
// far away otherwise.
func (c *upConn) armSend(now time.Time, large bool) {
	d := c.u.cl.cfg.Tick
	if !large {
		d *= 10 // fits the socket's buffer; blocks only if something is wrong
	}
	if until := c.sendArmed.Sub(now); until < d/2 || until > d {
		c.sendArmed = now.Add(d)
		_ = c.nc.SetWriteDeadline(c.sendArmed) // a failing connection says so at the write
	}
}

// armRead makes the next read end after a tick at most. A deadline that is
// set and has not passed serves: its end is only an occasion to look around.
func (c *upConn) armRead(now time.Time) {
	late := now.Add(c.u.cl.cfg.Tick)
	if !c.before.IsZero() && c.before.Before(late) {
		late = c.before
	}
	if c.readArmed.After(now) && !c.readArmed.After(late) {
		return
	}
	c.readArmed = late
	_ = c.nc.SetReadDeadline(late) // a failing connection says so at the read
}

// read reads once into p, waiting as long as the request is wanted. now is
// the time, or was a moment ago.
func (c *upConn) read(p []byte, now time.Time) (int, error) {
	for {
		c.armRead(now)
		n, err := c.nc.Read(p)
		if n > 0 {
			return n, nil
		}
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err
		}
		c.readArmed = time.Time{}
		now = time.Now()
		if err := c.stillWanted(now); err != nil {
			return 0, err
		}
	}
}

// Incoming is a response. It is reused from request to request.
type Incoming struct {
	Status int

	c       *upConn
	head    responseHead
	method  string // that it answers
	spent   bool   // the connection is of no further use
	done    bool   // the body has been read
	toEnd   bool   // the body ends with the connection
	length  int64  // of the body; -1: its end will tell
	left    int64
	chunks  chunked
	started time.Time // when the request was to be sent
	headAt  time.Time // when the head had come, or failed to
	waited  time.Duration
}

func (in *Incoming) reset(c *upConn, method string) {
	fs := in.head.fields[:0]
	*in = Incoming{c: c, method: method, started: in.started}
	in.head.fields = fs
}

// readHead reads up to the head of the final response.
func (in *Incoming) readHead() error {
	c, now := in.c, in.started
	seen := 0
	for interim := 0; ; now = time.Now() {
		have := c.buf.b[c.r:c.w]
		if i := bytes.Index(have[seen:], []byte("\r\n\r\n")); i >= 0 {
			n := seen + i + 4
			if err := in.parse(have[:n]); err != nil {
				return err
			}
			c.r += n
			if in.head.status >= 200 {
				in.Status = in.head.status
				return in.frame()
			}
			if interim++; interim > maxInterim || in.head.status == 101 {
				return refuse(502, "unexpected interim response")
			}
			seen = 0
			continue
		}
		seen = max(0, len(have)-3)
		if len(have) >= c.u.cl.cfg.MaxHead {
			return refuse(502, "response head too large")
		}
		if len(have) >= 5 && string(have[:5]) != "HTTP/" {
			return refuse(502, "not HTTP")
		}
		if c.w == len(c.buf.b) {
			c.makeRoom()
		}
		n, err := c.read(c.buf.b[c.w:], now)
		if err != nil {
			if errors.Is(err, io.EOF) && c.w > 0 {
				return errTruncated
			}
			return err
		}
		c.w += n
	}
}

func (c *upConn) makeRoom() {
	if c.r > 0 {
		c.w = copy(c.buf.b, c.buf.b[c.r:c.w])
		c.r = 0
		return
	}
	b := c.u.cl.blocks.get(len(c.buf.b) + 1)
	copy(b.b, c.buf.b[:c.w])
	c.u.cl.blocks.put(c.buf)
	c.buf = b
}

func (in *Incoming) parse(head []byte) error {
	// One allocation, as for requests; interim heads are rare.
	return in.head.parse(string(head), in.c.u.cl.cfg.MaxFields)
}

// frame decides where the body ends (RFC 9112 §6.3). A message that cannot have
// one ends with its head, whatever its fields announce; a server that announces
// one all the same may go on to send it, so that the next response on the
// connection would be found in the wrong place.
func (in *Incoming) frame() error {
	h := &in.head
	h.close = h.close || h.chunked && h.minor == 0 // RFC 9112 §6.1
	switch {
	case bodyless(in.method, h.status):
		in.done = true
		told := in.method == "HEAD" || h.status == 304 // of what another request would get: no body follows
		if h.err != nil || !told && (h.length > 0 || h.chunked || in.method == "CONNECT") {
			in.spent = true
		}
	case h.err != nil:
		return h.err
	case h.chunked:
		in.length = -1
	case h.length >= 0:
		in.length, in.left = h.length, h.length
		in.done = h.length == 0
	default:
		in.length, in.toEnd = -1, true
	}
	return nil
}

// bodyless reports whether the response to a request has no body whatever its
// fields say. One to CONNECT that succeeds turns the connection into a tunnel.
func bodyless(method string, status int) bool {
	return method == "HEAD" || status == 204 || status == 304 ||
		method == "CONNECT" && status >= 200 && status < 300
}

// Header returns the value of a field by its lower-case name.
func (in *Incoming) Header(name string) (string, bool) { return in.head.fields.get(name) }

// Length returns the length of the body, -1 if only its end will tell.
func (in *Incoming) Length() int64 { return in.length }
