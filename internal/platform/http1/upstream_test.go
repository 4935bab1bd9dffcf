package http1_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/http1"
)

// script listens and lets f speak on every connection; n counts from 0.
func script(t *testing.T, f func(n int, c net.Conn, br *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			wg.Go(func() {
				defer c.Close()
				f(n, c, bufio.NewReader(c))
			})
		}
	})
	return l.Addr().String()
}

// readRequest reads a request with its body.
func readRequest(br *bufio.Reader) bool {
	req, err := http.ReadRequest(br)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

func post(body string) *http1.Outgoing {
	return &http1.Outgoing{
		Method: "POST", Path: "/invocations", Body: []byte(body), Length: true,
		Before: time.Now().Add(10 * time.Second),
	}
}

func upstream(t *testing.T, cfg http1.UpstreamConfig, addr string) *http1.Upstream {
	t.Helper()
	if cfg.Tick == 0 {
		cfg.Tick = 10 * time.Millisecond
	}
	u := http1.NewClient(cfg).Upstream(addr)
	t.Cleanup(u.Close)
	return u
}

// call sends o and returns the status and the body, or how it failed.
func call(u *http1.Upstream, o *http1.Outgoing) string {
	var in http1.Incoming
	if err := u.Do(o, &in); err != nil {
		return err.Error()
	}
	defer in.Close()
	var body []byte
	for {
		p, err := in.Next()
		body = append(body, p...)
		if errors.Is(err, io.EOF) {
			return fmt.Sprintf("%d %s", in.Status, body)
		}
		if err != nil {
			return fmt.Sprintf("%d %s: %v", in.Status, body, err)
		}
	}
}

const okLine = "HTTP/1.1 200 OK\r\n"

// responses are what upstreams answer, and what callers get of it.
var responses = map[string]struct {
	answer, want string
	idle         int // connections kept afterwards
}{
	"a length":                 {okLine + "Content-Length: 2\r\n\r\nhi", "200 hi", 1},
	"no reason":                {"HTTP/1.1 204\r\n\r\n", "204 ", 1},
	"no content, and a length": {"HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n", "204 ", 0},
	"no content, of length 0":  {"HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n", "204 ", 1},
	"no content, and two lengths": {
		"HTTP/1.1 204 X\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "204 ", 0,
	},
	"chunks in HTTP/1.0": {
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
		"200 hi", 0,
	},
	"not modified with a length": {"HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", "304 ", 1},
	"chunks": {
		okLine + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n", "200 hi!", 1,
	},
	"chunks with a trailer": {
		okLine + "Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n", "200 hi", 1,
	},
	"until the close": {okLine + "\r\nhi", "200 hi", 0},
	"HTTP/1.0":        {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 hi", 0},
	"HTTP/1.0 that stays": {
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", "200 hi", 1,
	},
	"closing": {okLine + "Connection: close\r\nContent-Length: 2\r\n\r\nhi", "200 hi", 0},
	"interim responses": {
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + okLine +
			"Content-Length: 2\r\n\r\nhi", "200 hi", 1,
	},
	"a large body": {
		okLine + "Content-Length: 200000\r\n\r\n" + strings.Repeat("x", 200_000), "200 " + strings.Repeat("x", 200_000),
		1,
	},
	"a large body in chunks": {
		okLine + "Transfer-Encoding: chunked\r\n\r\n30d40\r\n" + strings.Repeat("x", 200_000) + "\r\n0\r\n\r\n",
		"200 " + strings.Repeat("x", 200_000), 1,
	},
	"a large head": {
		okLine + "X: " + strings.Repeat("x", 200_000)[:20_000] + "\r\nContent-Length: 2\r\n\r\nhi", "200 hi", 1,
	},
	"more than it said": {okLine + "Content-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n", "200 hi", 0},
	"less than it said": {
		okLine + "Content-Length: 3\r\n\r\nhi", "200 hi: read: connection closed within the response", 0,
	},
	"chunks that end early": {
		okLine + "Transfer-Encoding: chunked\r\n\r\n3\r\nhi", "200 hi: read: connection closed within the response", 0,
	},
	"a chunk of nonsense": {
		okLine + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "200 : read: http1: malformed chunk size", 0,
	},
	"nothing":            {"", "wait: EOF", 0},
	"half a head":        {okLine + "Content-Le", "wait: connection closed within the response", 0},
	"not HTTP":           {"220 smtp ready\r\n", "wait: http1: not HTTP", 0},
	"a malformed status": {"HTTP/1.1 2x0 OK\r\n\r\n", "wait: http1: malformed status code", 0},
	"a switch of protocols": {
		"HTTP/1.1 101 Switching Protocols\r\n\r\n", "wait: http1: unexpected interim response", 0,
	},
	"interim responses for ever": {
		strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 50), "wait: http1: unexpected interim response", 0,
	},
	"two lengths": {
		okLine + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi", "wait: http1: bad or repeated Content-Length", 0,
	},
	"length and encoding": {
		okLine + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
		"wait: http1: both Content-Length and Transfer-Encoding", 0,
	},
	"an unknown encoding": {
		okLine + "Transfer-Encoding: br\r\n\r\n", "wait: http1: unsupported Transfer-Encoding", 0,
	},
	"a head beyond the limit": {
		okLine + "X: " + strings.Repeat("x", 200_000) + "\r\n\r\n", "wait: http1: response head too large", 0,
	},
	"fields beyond the limit": {
		okLine + strings.Repeat("X: y\r\n", 200) + "\r\n", "wait: http1: too many header fields", 0,
	},
	"a header with a control": {okLine + "X: a\x00b\r\n\r\n", "wait: http1: control character in a header value", 0},
}

func TestResponsesAreUnderstood(t *testing.T) {
	for name, tc := range responses {
		t.Run(name, func(t *testing.T) {
			addr := script(t, func(_ int, c net.Conn, br *bufio.Reader) {
				if !readRequest(br) {
					return
				}
				_, _ = io.WriteString(c, tc.answer)
				if tc.idle > 0 {
					_, _ = br.ReadByte() // until the client closes
				}
			})
			u := upstream(t, http1.UpstreamConfig{}, addr)
			if got := call(u, post("x")); got != tc.want {
				t.Errorf("got  %.200s\nwant %.200s", got, tc.want)
			}
			if n := u.Idle(); n != tc.idle {
				t.Errorf("%d connections kept, want %d", n, tc.idle)
			}
			u.Close()
		})
	}
}

func TestTheResponseToHEADHasNoBody(t *testing.T) {
	addr := script(t, func(_ int, c net.Conn, br *bufio.Reader) {
		for readRequest(br) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
		}
	})
	u := upstream(t, http1.UpstreamConfig{}, addr)
	for range 2 {
		if got := call(u, &http1.Outgoing{Method: "HEAD", Path: "/"}); got != "200 " {
			t.Errorf("%s", got)
		}
	}
	u.Close()
}

// An idle connection that the upstream has closed must not cost a request.
func TestAStaleConnectionIsNotUsed(t *testing.T) {
	closed := make(chan struct{})
	addr := script(t, func(n int, c net.Conn, br *bufio.Reader) {
		for readRequest(br) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
			if n == 0 {
				_ = c.Close()
				close(closed)
				return
			}
		}
	})
	u := upstream(t, http1.UpstreamConfig{}, addr)
	if got := call(u, post("x")); got != "200 0" {
		t.Fatal(got)
	}
	<-closed
	for range 3 {
		if got := call(u, post("x")); got != "200 1" {
			t.Error(got)
		}
	}
	u.Close()
}

func TestARequestThatWasSentIsNotSentAgain(t *testing.T) {
	var got atomic.Int32
	addr := script(t, func(_ int, c net.Conn, br *bufio.Reader) {
		for readRequest(br) {
			if got.Add(1) == 2 {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	u := upstream(t, http1.UpstreamConfig{}, addr)
	if s := call(u, post("x")); s != "200 " {
		t.Fatal(s)
	}
	if s := call(u, post("x")); s != "wait: EOF" {
		t.Error(s)
	}
	if n := got.Load(); n != 2 {
		t.Errorf("the upstream saw %d requests", n)
	}
}

// The upstream answers while it still should be reading, and reads no more.
func TestAnEarlyResponseIsTakenWhileTheBodyIsBeingSent(t *testing.T) {
	for name, after := range map[string]func(c net.Conn, release chan struct{}){
		"and the upstream waits":  func(_ net.Conn, release chan struct{}) { <-release },
		"and the upstream closes": func(net.Conn, chan struct{}) {},
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			addr := script(t, func(_ int, c net.Conn, br *bufio.Reader) {
				if _, err := http.ReadRequest(br); err != nil {
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
				after(c, release)
			})
			u := upstream(t, http1.UpstreamConfig{}, addr)
			got := call(u, post(strings.Repeat("x", 32<<20)))
			close(release)
			// A reset may overtake the answer; then it is an error, never a hang.
			if got != "413 no" && !(name == "and the upstream closes" && strings.Contains(got, "connection reset")) {
				t.Errorf("%.200s", got)
			}
			if u.Idle() != 0 {
				t.Error("the connection was kept with half a request on it")
			}
		})
	}
}

type gone struct{ atomic.Bool }

func (g *gone) Gone() bool { return g.Load() }

func TestWaitingEndsWithTheTimeOrTheClient(t *testing.T) {
	closed := make(chan struct{}, 2)
	addr := script(t, func(_ int, _ net.Conn, br *bufio.Reader) {
		if readRequest(br) {
			_, _ = br.ReadByte()
			closed <- struct{}{}
		}
	})
	u := upstream(t, http1.UpstreamConfig{}, addr)
	o := post("x")
	o.Before = time.Now().Add(30 * time.Millisecond)
	var in http1.Incoming
	if f, ok := errors.AsType[*http1.Failure](u.Do(o, &in)); !ok || !f.Timeout || time.Now().Before(o.Before) {
		t.Errorf("%v", f)
	}
	<-closed
	var g gone
	o = post("x")
	o.Client = &g
	time.AfterFunc(30*time.Millisecond, func() { g.Store(true) })
	if err := u.Do(o, &in); !errors.Is(err, http1.ErrGone) {
		t.Errorf("%v", err)
	}
	<-closed
}

func TestIdleConnectionsAreBoundedAndExpire(t *testing.T) {
	var wg sync.WaitGroup
	wg.Add(5)
	addr := script(t, func(_ int, c net.Conn, br *bufio.Reader) {
		if !readRequest(br) {
			return
		}
		wg.Done()
		wg.Wait() // so that five are in use at once
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_, _ = br.ReadByte()
	})
	u := upstream(t, http1.UpstreamConfig{MaxIdle: 3, IdleTimeout: 50 * time.Millisecond}, addr)
	var calls sync.WaitGroup
	for range 5 {
		calls.Go(func() {
			if got := call(u, post("x")); got != "200 " {
				t.Error(got)
			}
		})
	}
	calls.Wait()
	if n := u.Idle(); n > 3 {
		t.Errorf("%d connections kept", n)
	}
	for end := time.Now().Add(5 * time.Second); u.Idle() > 0; {
		if time.Now().After(end) {
			t.Fatalf("%d connections never expired", u.Idle())
		}
		time.Sleep(time.Millisecond)
	}
}

func TestNobodyThereIsKnownAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	var in http1.Incoming
	err = upstream(t, http1.UpstreamConfig{}, l.Addr().String()).Do(post("x"), &in)
	if f, ok := errors.AsType[*http1.Failure](err); !ok || f.Step != http1.Dialling {
		t.Errorf("%v", err)
	}
	in.Close() // harmless after a failure
}
