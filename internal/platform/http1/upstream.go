package http1

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// UpstreamConfig are the bounds of an Upstream. A zero field takes its default.
type UpstreamConfig struct {
	DialTimeout time.Duration // default 250 ms (spec §6.3)
	IdleTimeout time.Duration // of a kept connection; default 4 s, below what model servers use
	MaxIdle     int           // connections kept; default 256
	MaxHead     int           // bytes of a response head; default 64 KiB
	MaxFields   int           // fields of a response head; default 128
	Tick        time.Duration // between two looks at the client while waiting; default 100 ms
}

func (c *UpstreamConfig) fill() {
	c.DialTimeout = cmp.Or(c.DialTimeout, 250*time.Millisecond)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 4*time.Second)
	c.MaxIdle = cmp.Or(c.MaxIdle, 256)
	c.MaxHead = cmp.Or(c.MaxHead, 64<<10)
	c.MaxFields = cmp.Or(c.MaxFields, 128)
	c.Tick = cmp.Or(c.Tick, 100*time.Millisecond)
}

// Client makes Upstreams that share buffers.
type Client struct {
	cfg    UpstreamConfig
	blocks *blocks
	dialer net.Dialer
}

// NewClient returns a Client.
func NewClient(cfg UpstreamConfig) *Client {
	cfg.fill()
	return &Client{
		cfg:    cfg,
		blocks: newBlocks(max(largeBody, 4*cfg.MaxHead)),
		dialer: net.Dialer{Timeout: cfg.DialTimeout, KeepAlive: 15 * time.Second},
	}
}

// Upstream returns the upstream at addr (host:port), without connecting.
func (cl *Client) Upstream(addr string) *Upstream { return &Upstream{cl: cl, addr: addr} }

// Upstream is one server and the connections to it that are idle.
type Upstream struct {
	cl   *Client
	addr string

	mu     sync.Mutex // guards what follows
	idle   []*upConn  // the last one is the one used last
	sweep  *time.Timer
	closed bool
}

// Close closes the connections idle; those in use close when their
// response is done.
func (u *Upstream) Close() {
	u.mu.Lock()
	idle := u.idle
	u.idle, u.closed = nil, true
	if u.sweep != nil {
		u.sweep.Stop()
	}
	u.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

// takeIdle returns the connection used last that is still good, or nil.
func (u *Upstream) takeIdle() *upConn {
	for {
		u.mu.Lock()
		n := len(u.idle)
		if n == 0 {
			u.mu.Unlock()
			return nil
		}
		c := u.idle[n-1]
		u.idle[n-1] = nil
		u.idle = u.idle[:n-1]
		u.mu.Unlock()
		// Bytes that nobody asked for are as bad as an end: the connection
		// is out of step.
		if bytes, ended := c.peek.look(); !bytes && !ended {
			return c
		}
		c.close()
	}
}

// putIdle keeps c for the next request, or closes it when there are enough.
func (u *Upstream) putIdle(c *upConn, now time.Time) {
	c.idleSince = now
	u.mu.Lock()
	ok := !u.closed && len(u.idle) < u.cl.cfg.MaxIdle
	if ok {
		u.idle = append(u.idle, c)
		if u.sweep == nil {
			u.sweep = time.AfterFunc(u.cl.cfg.IdleTimeout, u.expire)
		}
	}
	u.mu.Unlock()
	if !ok {
		c.close()
	}
}

// expire closes what has idleSince too long. Its timer runs only while something
// rests.
func (u *Upstream) expire() {
	u.mu.Lock()
	limit := time.Now().Add(-u.cl.cfg.IdleTimeout)
	n := 0
	for n < len(u.idle) && u.idle[n].idleSince.Before(limit) {
		n++
	}
	old := u.idle[:n:n]
	u.idle = append([]*upConn(nil), u.idle[n:]...)
	u.sweep = nil
	if !u.closed && len(u.idle) > 0 {
		next := max(u.idle[0].idleSince.Sub(limit), u.cl.cfg.IdleTimeout/8)
		u.sweep = time.AfterFunc(next, u.expire)
	}
	u.mu.Unlock()
	for _, c := range old {
		c.close()
	}
}

// Idle returns how many connections are idle.
func (u *Upstream) Idle() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.idle)
}

func (u *Upstream) dial() (*upConn, error) {
	nc, err := u.cl.dialer.DialContext(context.Background(), "tcp", u.addr)
	if err != nil {
		return nil, &Failure{Step: Dialling, Err: err}
	}
	return &upConn{u: u, nc: nc, peek: newPeeker(nc), buf: u.cl.blocks.get(smallBlock)}, nil
}

// Outgoing is a request to an upstream.
type Outgoing struct {
	Method string
	Path   string // escaped, with the query if there is one
	Fields []Field
	Body   []byte
	Length bool      // say Content-Length even if the body is empty
	Before time.Time // when the whole response is to be there; zero: never
	Client Watcher   // who waits for it; nil: nobody
}

// Step says how far a request had come when it failed.
type Step uint8

// The steps of a request. Up to Dialling nothing of it was sent.
const (
	Dialling Step = iota
	Sending
	Waiting
	Reading
)

// Failure is why there is no response, or not all of it.
type Failure struct {
	Step    Step
	Timeout bool // Outgoing.Before has passed
	Err     error
}

func (f *Failure) Error() string {
	return [...]string{"dial: ", "send: ", "wait: ", "read: "}[f.Step] + f.Err.Error()
}

// Unwrap exposes ErrGone and *Refusal.
func (f *Failure) Unwrap() error { return f.Err }

// Do sends o and reads the head of the response into in. Only a request of
// which nothing was sent is tried on another connection. The error is a
// *Failure; without one, in must be closed.
func (u *Upstream) Do(o *Outgoing, in *Incoming) error {
	// What an earlier response left must not be taken for that of a request that
	// gets none.
	in.c, in.Status, in.waited, in.done = nil, 0, 0, false
	in.started = time.Now()
	err := u.try(o, in)
	in.headAt = time.Now()
	return err
}

func (u *Upstream) try(o *Outgoing, in *Incoming) error {
	for {
		c := u.takeIdle()
		fresh := c == nil
		if fresh {
			if o.Client != nil && o.Client.Gone() {
				return &Failure{Step: Dialling, Err: ErrGone}
			}
			var err error
			if c, err = u.dial(); err != nil {
				return err
			}
		}
		untouched, err := c.roundTrip(o, in)
		if err == nil {
			return nil
		}
		in.c = nil
		c.close()
		if !untouched || fresh || final(err) {
			return err
		}
	}
}

// final reports whether the request itself is over, not just a connection.
func final(err error) bool {
	f, ok := errors.AsType[*Failure](err)
	return ok && (f.Timeout || errors.Is(f.Err, ErrGone))
}
