package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/oiphttp"
)

// conns are the connections to one process. They speak just as much HTTP as
// the container contract needs, with as few copies as it can be spoken with:
// tensors go from the caller's memory to the socket.
type conns struct {
	network, address string
	header           string // lines of every request
	maxBody          int64

	mu     sync.Mutex
	idle   []*conn
	open   map[*conn]bool
	closed bool
}

type conn struct {
	net.Conn
	r      *bufio.Reader
	reused bool
}

// request is a request that may be sent more than once.
type request struct {
	head []byte
	body [][]byte
	size int64 // of the body
}

// reply is what came back, whole.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// lostError says that a request got no answer for a reason that lies with the
// process.
type lostError struct {
	sent  bool // the process may have seen it
	hung  bool // the time was up
	cause error
}

func (e *lostError) Error() string { return e.cause.Error() }
func (e *lostError) Unwrap() error { return e.cause }

const (
	maxHead    = 64 << 10 // of a request's JSON, beyond its tensors
	whole      = 32 << 10 // requests up to this size are sent in one piece
	readBuffer = 8 << 10
)

func (c *conns) connect(ctx context.Context, fresh bool) (*conn, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, net.ErrClosed
	}
	if n := len(c.idle); n > 0 && !fresh {
		k := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		k.reused = true
		return k, nil
	}
	c.mu.Unlock()
	var d net.Dialer
	nc, err := d.DialContext(ctx, c.network, c.address)
	if err != nil {
		return nil, err
	}
	k := &conn{Conn: nc, r: bufio.NewReaderSize(nc, readBuffer)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = nc.Close() // never used
		return nil, net.ErrClosed
	}
	if c.open == nil {
		c.open = map[*conn]bool{}
	}
	c.open[k] = true
	return k, nil
}

func (c *conns) put(k *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.idle = append(c.idle, k)
	}
}

func (c *conns) drop(k *conn) {
	_ = k.Close() // nothing is expected of it any more
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, k)
}

// close ends all connections: the process has ended.
func (c *conns) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for k := range c.open {
		_ = k.Close() // as above
	}
	c.open, c.idle = nil, nil
}

// exchange sends q and reads the reply, by limit at the latest. When ctx ends
// first its error is returned, and if the process has the request by then, left
// is given the connection on which the reply will come.
func (c *conns) exchange(ctx context.Context, q *request, limit time.Time, left func(*conn)) (*reply, error) {
	for fresh := false; ; fresh = true {
		k, err := c.connect(ctx, fresh)
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, &lostError{sent: fresh, cause: err} // what was sent before was lost with the process
		}
		a, sent, err := c.attempt(ctx, k, q, limit)
		if err == nil {
			return a, nil
		}
		switch {
		case ctx.Err() != nil && sent && left != nil:
			left(k)
			return nil, ctx.Err()
		case ctx.Err() != nil:
			c.drop(k)
			return nil, ctx.Err()
		}
		c.drop(k)
		hung := errors.Is(err, os.ErrDeadlineExceeded)
		if !k.reused || hung {
			return nil, &lostError{sent: true, hung: hung, cause: err}
		}
		// It may have been closed while it was idle.
	}
}

// attempt makes one exchange on k, and gives it back if it can be used again.
func (c *conns) attempt(ctx context.Context, k *conn, q *request, limit time.Time) (a *reply, sent bool, err error) {
	if err := k.SetDeadline(limit); err != nil {
		return nil, false, err
	}
	if ctx.Done() != nil {
		fired := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			_ = k.SetDeadline(time.Unix(1, 0)) // a closed connection ends the exchange too
			close(fired)
		})
		defer func() {
			if !stop() {
				<-fired
			}
		}()
	}
	if err := k.send(q); err != nil {
		return nil, false, err
	}
	a, reusable, err := k.receive(c.maxBody)
	if err != nil {
		return nil, true, err
	}
	if reusable {
		c.put(k)
	} else {
		c.drop(k)
	}
	return a, true, nil
}

func (k *conn) send(q *request) error {
	if int64(len(q.head))+q.size <= whole {
		b := q.head
		for _, part := range q.body {
			b = append(b, part...)
		}
		q.head, q.body, q.size = b, nil, 0 // it may be sent again
		_, err := k.Write(b)
		return err
	}
	parts := make(net.Buffers, 0, 1+len(q.body)) // WriteTo consumes it
	parts = append(append(parts, q.head), q.body...)
	_, err := parts.WriteTo(k.Conn)
	return err
}

func (k *conn) receive(maxBody int64) (a *reply, reusable bool, err error) {
	resp, err := http.ReadResponse(k.r, nil)
	for err == nil && resp.StatusCode >= 100 && resp.StatusCode < 200 { // what comes before the answer
		resp, err = http.ReadResponse(k.r, nil)
	}
	if err != nil {
		return nil, false, err
	}
	a = &reply{status: resp.StatusCode, header: resp.Header}
	switch n := resp.ContentLength; {
	case n > maxBody:
		return nil, false, fmt.Errorf("the answer has %d bytes, more than the limit of %d", n, maxBody)
	case n >= 0:
		a.body = make([]byte, n)
		_, err = io.ReadFull(resp.Body, a.body)
	default:
		a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
		if err == nil && int64(len(a.body)) > maxBody {
			err = fmt.Errorf("the answer has more than %d bytes, the limit", maxBody)
		}
	}
	if err != nil {
		return nil, false, err
	}
	var one [1]byte // the end of a chunked body
	n, err := resp.Body.Read(one[:])
	return a, n == 0 && errors.Is(err, io.EOF) && !resp.Close && k.r.Buffered() == 0, nil
}

// get asks for a path without a body.
func (c *conns) get(ctx context.Context, path string, timeout time.Duration) (*reply, error) {
	q := &request{head: []byte("GET " + path + " HTTP/1.1\r\nHost: worker\r\n" + c.header + "\r\n")}
	return c.exchange(ctx, q, time.Now().Add(timeout), nil)
}

const pingTimeout = 5 * time.Second

// ping says whether the process is ready.
func (c *conns) ping(ctx context.Context) error {
	a, err := c.get(ctx, "/ping", pingTimeout)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("/ping answers %d", a.status)
	}
	return nil
}

// post builds the head of an invocation; its body is the caller's.
func (c *conns) post(dst []byte, media, accept string, jsonSize int, size int64) []byte {
	dst = append(dst, "POST /invocations HTTP/1.1\r\nHost: worker\r\nContent-Type: "...)
	dst = append(append(append(dst, media...), "\r\nAccept: "...), accept...)
	if jsonSize > 0 {
		dst = strconv.AppendInt(append(dst, "\r\n"+oiphttp.HeaderJSONSize+": "...), int64(jsonSize), 10)
	}
	dst = strconv.AppendInt(append(dst, "\r\nContent-Length: "...), size, 10)
	return append(append(append(dst, "\r\n"...), c.header...), "\r\n"...)
}
