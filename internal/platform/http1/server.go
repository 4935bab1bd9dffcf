package http1

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
)

// Config are the bounds of a Server. A zero field takes its default.
type Config struct {
	MaxHead     int               // bytes of a request head; default 64 KiB
	MaxFields   int               // header fields of a request; default 128
	MaxBody     int               // bytes of a request body; default 6 MiB
	Bodies      *connlimit.Budget // of all requests together, heads beyond 4 KiB included; default 1 GiB
	MaxConns    int               // connections of the data plane at a time; default 16384
	PerAddress  int               // of these, of one address, that have sent nothing that verified; default a quarter
	PerKey      int               // of these, of one key; default three quarters
	FirstByte   time.Duration     // until a connection sends the first one; default 10 s
	HeadTimeout time.Duration     // from the first byte of a head to its last; default 10 s
	IdleTimeout time.Duration     // between two requests; default 75 s
	BodyTimeout time.Duration     // for a body, plus a second for each 32 KiB that came; default 30 s
	SendTimeout time.Duration     // for the client to take one write; default 60 s
	Log         *slog.Logger      // default: discard
	// Elsewhere says of a request whose path is that of the data plane that it is not
	// for it all the same; default: none is. It sees the head alone.
	Elsewhere func(*Exchange) bool
	// Turned is told of each connection that is turned away; default: nobody is.
	Turned func(connlimit.Reason)
}

func (c *Config) fill() {
	c.MaxHead = cmp.Or(c.MaxHead, 64<<10)
	c.MaxFields = cmp.Or(c.MaxFields, 128)
	c.MaxBody = cmp.Or(c.MaxBody, 6<<20)
	if c.Bodies == nil {
		c.Bodies = connlimit.NewBudget(1 << 30)
	}
	c.MaxConns = cmp.Or(c.MaxConns, 16384)
	c.HeadTimeout = cmp.Or(c.HeadTimeout, 10*time.Second)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 75*time.Second)
	c.FirstByte = min(cmp.Or(c.FirstByte, 10*time.Second), c.IdleTimeout)
	c.BodyTimeout = cmp.Or(c.BodyTimeout, 30*time.Second)
	c.SendTimeout = cmp.Or(c.SendTimeout, 60*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Handler answers one request. The Exchange is its own until it returns.
type Handler func(x *Exchange)

// Server accepts connections and answers the requests of the data plane on
// them. The first request that is not for the data plane takes its connection
// to Rest, for good.
type Server struct {
	cfg    Config
	prefix []byte
	handle Handler
	blocks *blocks // connection buffers and bodies
	places *connlimit.Limiter
	rest   *Rest

	stopping atomic.Bool
	date     dateCache
	wg       sync.WaitGroup // connections and accept loops

	mu        sync.Mutex // guards what follows
	conns     map[*conn]struct{}
	listeners map[net.Listener]struct{}
}

// NewServer returns a server whose handler gets the requests whose path, as
// received, begins with prefix.
func NewServer(cfg Config, prefix string, handle Handler) *Server {
	cfg.fill()
	s := &Server{
		cfg: cfg, prefix: []byte(prefix), handle: handle,
		blocks: newBlocks(max(cfg.MaxBody, cfg.MaxHead)),
		places: connlimit.New(connlimit.Config{
			Max: cfg.MaxConns, PerAddress: cfg.PerAddress, PerKey: cfg.PerKey, Heads: cfg.Bodies,
			Turned: cfg.Turned, Log: cfg.Log, Listener: "data",
		}),
		conns:     map[*conn]struct{}{},
		listeners: map[net.Listener]struct{}{},
	}
	s.rest = &Rest{conns: make(chan net.Conn), done: make(chan struct{})}
	return s
}

// Rest is the listener on which net/http finds the connections that are not
// for the data plane. Until somebody accepts them they count for MaxConns.
func (s *Server) Rest() *Rest { return s.rest }

// ErrClosed is returned by Serve after Shutdown.
var ErrClosed = errors.New("http1: server closed")

// Serve accepts connections from l until Shutdown, then returns ErrClosed.
func (s *Server) Serve(l net.Listener) error {
	if !s.track(l) {
		_ = l.Close() // nobody will accept from it
		return ErrClosed
	}
	defer s.wg.Done()
	s.rest.addr.CompareAndSwap(nil, new(l.Addr()))
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			s.start(nc)
			continue
		}
		if s.stopping.Load() {
			return ErrClosed
		}
		if ne, ok := errors.AsType[net.Error](err); !ok || errors.Is(err, net.ErrClosed) ||
			!ne.Timeout() && !isTemporary(err) {
			return err
		}
		// Out of descriptors, most likely: connections that wait make room.
		if s.places.Relieve() {
			continue
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.cfg.Log.Warn("accept failed", "err", err, "pause", pause)
		time.Sleep(pause)
	}
}

func (s *Server) track(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Load() {
		return false
	}
	s.listeners[l] = struct{}{}
	s.wg.Add(1)
	return true
}

// start serves nc on a goroutine of its own, which gives back its place.
func (s *Server) start(nc net.Conn) {
	place := s.places.Enter(nc.RemoteAddr(), nc.Close)
	if place == nil {
		_ = nc.Close() // there is nobody to tell
		return
	}
	c := newConn(s, nc, place)
	s.mu.Lock()
	if s.stopping.Load() {
		s.mu.Unlock()
		_ = nc.Close() // it came too late to be served
		place.Leave()
		return
	}
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	s.wg.Go(func() {
		c.serve()
		place.Leave()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	})
}

// Shutdown stops accepting, lets requests in flight finish and closes idle
// connections; connections handed to Rest are net/http's to close. When ctx
// ends it cuts off what is left and returns the reason.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping.Store(true)
	for l := range s.listeners {
		_ = l.Close() // closing is all that is wanted of it
	}
	for c := range s.conns {
		c.wake()
	}
	s.mu.Unlock()
	_ = s.rest.Close() // never fails

	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		_ = c.nc.Close() // the handler notices at its next read, write or look at the client
	}
	s.mu.Unlock()
	<-done
	return context.Cause(ctx)
}

// Rest is a net.Listener of connections that were begun elsewhere.
type Rest struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	addr  atomic.Pointer[net.Addr]
}

// Accept waits for the next connection that is not for the data plane.
func (r *Rest) Accept() (net.Conn, error) {
	select {
	case c := <-r.conns:
		return c, nil
	case <-r.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (r *Rest) Close() error {
	r.once.Do(func() { close(r.done) })
	return nil
}

// Addr returns the address of the first listener served.
func (r *Rest) Addr() net.Addr {
	if a := r.addr.Load(); a != nil {
		return *a
	}
	return &net.TCPAddr{}
}

// handOver passes nc on, or closes it when nobody will take it.
func (r *Rest) handOver(nc net.Conn) {
	select {
	case r.conns <- nc:
	case <-r.done:
		_ = nc.Close() // the server is stopping
	}
}

// begun is a connection of which something was read already.
type begun struct {
	net.Conn
	head []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.head) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.head)
	if b.head = b.head[n:]; len(b.head) == 0 {
		b.head = nil
	}
	return n, nil
}

// dateCache formats the Date header once a second.
type dateCache struct{ last atomic.Pointer[dateLine] }

type dateLine struct {
	second int64
	text   string
}

func (d *dateCache) at(now time.Time) string {
	s := now.Unix()
	if l := d.last.Load(); l != nil && l.second == s {
		return l.text
	}
	l := &dateLine{s, now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}
	d.last.Store(l)
	return l.text
}
