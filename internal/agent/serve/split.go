package serve

import (
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// splitter accepts connections, finds out who calls, and hands each to the
// server of the protocol that its first bytes speak: HTTP/2, which is gRPC, or
// HTTP/1.1.
type splitter struct {
	s          *Server
	grpc, http *listener
	slots      chan struct{} // one for each open connection
	sniffing   sync.WaitGroup
	closed     chan struct{}
}

func newSplitter(s *Server) *splitter {
	p := &splitter{s: s, slots: make(chan struct{}, s.cfg.MaxConnections), closed: make(chan struct{})}
	p.grpc = &listener{conns: make(chan net.Conn), closed: p.closed}
	p.http = &listener{conns: make(chan net.Conn), closed: p.closed}
	return p
}

// accept takes connections from l until it is closed.
func (p *splitter) accept(l net.Listener) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			if p.pause(err) {
				continue
			}
			return nil
		}
		p.admit(c)
	}
}

// pause waits a little after an error that may pass, such as too many open
// files. false: the server stops.
func (p *splitter) pause(err error) bool {
	if p.s.records.allow(time.Now()) {
		p.s.log.Error("accept failed", "err", err)
	}
	select {
	case <-p.closed:
		return false
	case <-time.After(50 * time.Millisecond):
		return true
	}
}

func (p *splitter) admit(c net.Conn) {
	who, err := callerOf(c)
	refused := ""
	switch {
	case err != nil:
		refused = "the kernel does not say who it is"
	case who.Socket && len(p.s.cfg.AllowUIDs) > 0 && !slices.Contains(p.s.cfg.AllowUIDs, who.UID):
		refused = "the user may not call"
	default:
		select {
		case p.slots <- struct{}{}:
		default:
			refused = "too many connections are open"
		}
	}
	if refused != "" {
		_ = c.Close() // nobody we serve
		if p.s.arrivals.allow(time.Now()) {
			p.s.log.Warn("connection refused", "caller", who, "reason", refused, "err", err)
		}
		return
	}
	mine := &conn{Conn: c, who: who, slots: p.slots}
	p.sniffing.Go(func() { p.sniff(mine) })
}

// sniff reads as much as tells the protocols apart. No method of HTTP/1.1
// begins like the greeting of HTTP/2, "PRI * HTTP/2.0".
func (p *splitter) sniff(c *conn) {
	stop := make(chan struct{})
	defer close(stop)
	p.sniffing.Go(func() {
		select {
		case <-p.closed:
			_ = c.SetReadDeadline(time.Unix(1, 0)) // do not wait for what it has to say
		case <-stop:
		}
	})
	const greeting = "PRI "
	_ = c.SetReadDeadline(time.Now().Add(p.s.cfg.HandshakeTimeout)) // fails on a broken connection, as Read will
	for len(c.head) < len(greeting) {
		n, err := c.Conn.Read(c.first[len(c.head):len(greeting)])
		c.head = c.first[:len(c.head)+n]
		if err != nil {
			_ = c.Close() // it said nothing that could be answered
			return
		}
	}
	_ = c.SetReadDeadline(time.Time{}) // the servers set their own
	to, protocol := p.http, "http"
	if string(c.head) == greeting {
		to, protocol = p.grpc, "grpc"
	}
	if p.s.arrivals.allow(time.Now()) {
		p.s.log.Info("application connected", "protocol", protocol, "caller", c.who)
	}
	select {
	case to.conns <- c:
	case <-p.closed:
		_ = c.Close() // the server stops
	}
}

func (p *splitter) close() { close(p.closed) }
func (p *splitter) wait()  { p.sniffing.Wait() }

// listener is a net.Listener of connections that were accepted elsewhere.
type listener struct {
	conns  chan net.Conn
	closed chan struct{}
}

// Accept returns the next connection.
func (h *listener) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close does nothing: who closes the splitter ends Accept.
func (h *listener) Close() error { return nil }

// Addr returns a name, for the servers' logs.
func (h *listener) Addr() net.Addr { return &Caller{Socket: true} }

// conn is a connection whose first bytes were read already.
type conn struct {
	net.Conn
	who   *Caller
	first [4]byte
	head  []byte // what of first was not read again yet
	slots chan struct{}
	once  sync.Once
}

func (c *conn) Read(b []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(b, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

func (c *conn) Close() error {
	c.once.Do(func() { <-c.slots })
	return c.Conn.Close()
}

// RemoteAddr returns who calls: a *Caller.
func (c *conn) RemoteAddr() net.Addr { return c.who }

// limiter lets a few records a second through, so that no caller can fill the
// log.
type limiter struct {
	mu     sync.Mutex
	second int64
	n      int
}

const recordsPerSecond = 10

func (l *limiter) allow(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := now.Unix(); s != l.second {
		l.second, l.n = s, 0
	}
	l.n++
	return l.n <= recordsPerSecond
}
