package connlimit

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"
)

// Bounds on the pace of clients.
const (
	bodyGrace   = 30 * time.Second // for a body, and
	bodyRate    = 4 << 10          // a second more for each so many bytes that came
	sendTimeout = time.Minute      // for a client to take one write
	sendFile    = 256 << 10        // at most in one of them
)

// Listener returns a listener of the connections that l accepts and that get a
// place.
func (l *Limiter) Listener(inner net.Listener) net.Listener { return &listener{inner, l} }

type listener struct {
	net.Listener
	l *Limiter
}

// Accept waits for a connection. Those without a place are closed.
func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)) && l.l.Relieve() {
			continue
		}
		if err != nil {
			return nil, err
		}
		if p := l.l.Enter(nc.RemoteAddr(), nc.Close); p != nil {
			return &conn{Conn: nc, place: p}, nil
		}
		_ = nc.Close() // there is nobody to tell
	}
}

// conn is a connection with a place, which it gives back when it is closed.
type conn struct {
	net.Conn
	place *Place
	armed atomic.Int64 // until when a write may take, Unix nanoseconds; 0: nobody said. A close sets it, too
	head  head
}

// Close closes the connection and gives its place back.
func (c *conn) Close() error {
	c.place.Leave()
	c.head.end()
	return c.Conn.Close()
}

// Read reads what came. What is part of a head is paid for.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.head.pay(n, c.place) {
		c.place.l.TurnedAway(c.RemoteAddr(), NoMemory)
		return 0, &net.OpError{Op: "read", Net: "tcp", Err: ErrBusy} // net/http answers nothing to such an error
	}
	return n, err
}

// SetDeadline takes the place of what arm has set; net/http does so after every
// request and handshake.
func (c *conn) SetDeadline(t time.Time) error {
	c.armed.Store(0)
	return c.Conn.SetDeadline(t)
}

// SetWriteDeadline takes the place of what arm has set.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.armed.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) arm() {
	if now := time.Now(); time.Unix(0, c.armed.Load()).Sub(now) < sendTimeout {
		until := now.Add(sendTimeout + sendTimeout/4)
		c.armed.Store(until.UnixNano())
		_ = c.Conn.SetWriteDeadline(until) // a failing connection says so at the write
	}
}

// Write gives the client a minute to take p.
func (c *conn) Write(p []byte) (int, error) {
	c.arm()
	return c.Conn.Write(p)
}

// ReadFrom keeps sendfile working, in pieces for which Write's minute holds.
func (c *conn) ReadFrom(r io.Reader) (total int64, err error) {
	rf, ok := c.Conn.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	whole, limited := r.(*io.LimitedReader)
	if !limited {
		whole = &io.LimitedReader{R: r, N: 1<<63 - 1}
	}
	for whole.N > 0 {
		c.arm()
		piece := min(sendFile, whole.N)
		n, err := rf.ReadFrom(&io.LimitedReader{R: whole.R, N: piece})
		total += n
		whole.N -= n
		if err != nil || n < piece {
			return total, err
		}
	}
	return total, nil
}

// CloseWrite lets net/http end its side first.
func (c *conn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return errors.ErrUnsupported
}

// connOf returns the connection of a Listener that nc is, or that is below its TLS.
func connOf(nc net.Conn) (*conn, bool) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, ok := nc.(*conn)
	return c, ok
}

func placeOf(nc net.Conn) *Place {
	if c, ok := connOf(nc); ok {
		return c.place
	}
	return nil
}

func inHTTP2(nc net.Conn) bool {
	t, ok := nc.(*tls.Conn)
	return ok && t.ConnectionState().NegotiatedProtocol == "h2"
}

// Greeted says that nc, a connection of a Listener, has sent the whole first message
// of a handshake: tls.ClientHelloInfo.Conn. See Config.Turn.
func Greeted(nc net.Conn) {
	if p := placeOf(nc); p != nil {
		p.greet()
	}
}

type contextKey struct{}

// placeIn returns the place of the connection of the request that ctx is of, nil
// if it came another way.
func placeIn(ctx context.Context) *Place {
	p, _ := ctx.Value(contextKey{}).(*Place)
	return p
}

// Prove says that the request that ctx is of has been verified to be of whoever
// holds the key; see Place.Prove.
func Prove(ctx context.Context, key string) bool {
	p := placeIn(ctx)
	return p == nil || p.Prove(key)
}

// PayerOf is on whose account the body of a request is held that claims to be
// signed with the key, "" if it claims nothing.
func PayerOf(r *http.Request, key string) Payer {
	p := placeIn(r.Context())
	return Payer{Key: key, Address: networkOf(r.RemoteAddr), Proven: p != nil && p.Proven()}
}

// Watch has s tell what its connections, which come from a Listener, are at. A
// request's body has to keep a pace. On a spare place only the paths of health
// are served.
func Watch(s *http.Server) {
	s.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		return context.WithValue(ctx, contextKey{}, placeOf(nc))
	}
	s.ConnState = func(nc net.Conn, state http.ConnState) {
		c, ok := connOf(nc)
		if !ok {
			return
		}
		switch state {
		case http.StateActive:
			c.place.Answer() // one that was closed says so at the next read or write
			c.head.is(false)
		case http.StateIdle:
			c.place.Wait(time.Now())
			c.head.end()
			c.head.is(!inHTTP2(nc)) // in which heads come among other things: see below
		case http.StateHijacked:
			c.place.Leave() // it is somebody else's to bound
			c.head.end()
		case http.StateNew, http.StateClosed:
		}
	}
	next := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := placeIn(r.Context())
		if p != nil && p.Spare() && r.URL.Path != "/healthz" && r.URL.Path != "/readyz" {
			p.TurnedAway()
			busy(w, "Too many connections.")
			return
		}
		if p != nil && r.ProtoMajor > 1 {
			held, ok := p.PayForHead(sizeOf(r))
			if !ok {
				p.l.TurnedAway(p.remote, NoMemory)
				busy(w, "Too many requests are in flight.")
				return
			}
			defer held.Release()
		}
		if r.Body != nil && r.Body != http.NoBody {
			b := &pacedBody{ReadCloser: r.Body, control: http.NewResponseController(w), start: time.Now()}
			if p != nil && !p.Proven() && r.ProtoMajor == 1 {
				b.place = p
				p.WaitForBody(b.start)
			}
			_ = b.arm() // not all writers can; those of servers do
			// In a copy: by the body of its own request net/http tells what is still
			// to be read of it, and whether it was asked for.
			r = r.WithContext(context.WithValue(r.Context(), bodyKey{}, b))
			r.Body = b
		}
		next.ServeHTTP(w, r)
	})
}

func busy(w http.ResponseWriter, text string) {
	w.Header().Set("Connection", "close")
	w.Header().Set("Retry-After", "1")
	http.Error(w, text, http.StatusServiceUnavailable)
}

type bodyKey struct{}

// ReadBefore has reading the body of r, which w answers, end at a time at the
// latest, whatever its pace.
func ReadBefore(w http.ResponseWriter, r *http.Request, end time.Time) error {
	if b, ok := r.Context().Value(bodyKey{}).(*pacedBody); ok {
		b.end, b.armed = end, time.Time{}
		return b.arm()
	}
	return http.NewResponseController(w).SetReadDeadline(end)
}

// pacedBody is a request's body that has to come at a pace. The deadline holds,
// too, while net/http reads over what the handler left.
type pacedBody struct {
	io.ReadCloser
	control *http.ResponseController
	start   time.Time
	end     time.Time // until when, whatever the pace; zero: that alone decides
	n       int64
	armed   time.Time
	place   *Place // of a stranger's connection, which waits meanwhile; nil: not
}

func (b *pacedBody) arm() error {
	until := b.start.Add(bodyGrace + time.Duration(b.n)*time.Second/bodyRate)
	if !b.end.IsZero() && b.end.Before(until) {
		until = b.end
	}
	if until.Sub(b.armed) < time.Second {
		return nil
	}
	b.armed = until
	return b.control.SetReadDeadline(until)
}

// Read reads a part of the body in time.
func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	switch {
	case err == nil:
		_ = b.arm() // as above
	case errors.Is(err, io.EOF):
		_ = b.control.SetReadDeadline(time.Time{}) // as above
		if b.place != nil {
			b.place.Answer() // as above
			b.place = nil
		}
	}
	return n, err
}
