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
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/http1"
)

// client is a connection on which one request after the other is made.
type client struct {
	net.Conn
	br *bufio.Reader
}

func newClient(t *testing.T, addr string) *client {
	t.Helper()
	c := dial(t, addr)
	return &client{c, bufio.NewReader(c)}
}

// get returns the status of an answer, or that there is none.
func (c *client) get(path string) string {
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\n%s\r\n", path, host)
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		return "closed"
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return fmt.Sprint(resp.StatusCode)
}

// closed waits until the server has closed the connection.
func (c *client) closed(t *testing.T) {
	t.Helper()
	if b, err := c.br.ReadByte(); err == nil {
		t.Errorf("got %q on a connection that was to be closed", b)
	} else if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		t.Error("the connection was not closed")
	}
}

func TestASilentConnectionIsClosedBeforeOneThatSpoke(t *testing.T) {
	s := serve(t, http1.Config{FirstByte: 50 * time.Millisecond}, echo)
	spoke := newClient(t, s.addr)
	if got := spoke.get("/endpoints/e"); got != "200" {
		t.Fatal(got)
	}
	newClient(t, s.addr).closed(t) // the other was silent for longer
	if got := spoke.get("/endpoints/e"); got != "200" {
		t.Errorf("the one that spoke: %s", got)
	}
}

// Which of several has waited longest, package connlimit's tests say under
// virtual time: here a client has its answer a moment before the server counts
// the connection as waiting.
func TestANewConnectionTakesThePlaceOfOneThatWaits(t *testing.T) {
	hold, began := make(chan struct{}), make(chan struct{})
	s := serve(t, http1.Config{MaxConns: 4, PerAddress: 4, PerKey: 4}, func(x *http1.Exchange) {
		x.Trust("k")
		if x.Path() == "/endpoints/busy" {
			began <- struct{}{}
			<-hold
		}
		echo(x)
	})
	answers := make(chan string)
	var waits *client
	for i := range 4 {
		c := newClient(t, s.addr)
		if i == 1 {
			waits = c
			if got := c.get("/endpoints/e"); got != "200" {
				t.Fatal(got)
			}
			continue
		}
		go func() { answers <- c.get("/endpoints/busy") }()
		<-began
	}
	fresh := newClient(t, s.addr)
	if got := fresh.get("/endpoints/e"); got != "200" {
		t.Errorf("the new one: %s", got)
	}
	waits.closed(t)
	close(hold)
	for range 3 {
		if got := <-answers; got != "200" {
			t.Errorf("one that was busy: %s", got)
		}
	}
	if got := fresh.get("/endpoints/e"); got != "200" {
		t.Errorf("the new one, again: %s", got)
	}
}

func TestOneAddressDoesNotTakeThePlacesOfAnother(t *testing.T) {
	s := serve(t, http1.Config{MaxConns: 100, PerAddress: 3}, func(x *http1.Exchange) {
		if x.Path() == "/endpoints/signed" {
			x.Trust("k")
		}
		echo(x)
	})
	known := newClient(t, s.addr)
	if got := known.get("/endpoints/signed"); got != "200" {
		t.Fatal(got)
	}
	var strangers []*client
	for range 3 {
		c := newClient(t, s.addr)
		if got := c.get("/endpoints/e"); got != "200" {
			t.Fatal(got)
		}
		strangers = append(strangers, c)
	}
	if got := newClient(t, s.addr).get("/endpoints/e"); got != "200" {
		t.Fatal(got)
	}
	gone := make(chan struct{}, len(strangers))
	for _, c := range strangers {
		go func() {
			if _, err := c.br.ReadByte(); err != nil {
				gone <- struct{}{}
			}
		}()
	}
	<-gone // one of them made room
	if got := known.get("/endpoints/e"); got != "200" {
		t.Errorf("the one that was verified: %s", got)
	}
}

func TestHealthAnswersWhileEveryConnectionIsBusy(t *testing.T) {
	hold, began := make(chan struct{}), make(chan struct{})
	s := serve(t, http1.Config{MaxConns: 4, PerAddress: 4, PerKey: 4}, func(x *http1.Exchange) {
		x.Trust("k")
		began <- struct{}{}
		<-hold
		echo(x)
	})
	answers := make(chan string)
	for range 4 {
		c := newClient(t, s.addr)
		go func() { answers <- c.get("/endpoints/e") }()
		<-began
	}
	if got := newClient(t, s.addr).get("/healthz"); got != "200" {
		t.Errorf("health: %s", got)
	}
	if got := newClient(t, s.addr).get("/endpoints/e"); got != "503" {
		t.Errorf("one more request: %s", got)
	}
	close(hold)
	for range 4 {
		if got := <-answers; got != "200" {
			t.Errorf("one of those: %s", got)
		}
	}
}

// Thousands of clients that only promise a body are no reason to refuse one that
// sends it.
func TestBodiesThatDoNotComeHoldNoMemory(t *testing.T) {
	budget := connlimit.NewBudget(2 << 20)
	s := serve(t, http1.Config{Bodies: budget, MaxBody: 1 << 20, MaxConns: 1000}, echo)
	for i := range 200 {
		c := newClient(t, s.addr)
		framing := "Content-Length: 1000000\r\n\r\n"
		if i%10 == 0 {
			framing = "Transfer-Encoding: chunked\r\n\r\nf4240\r\n"
		}
		_, _ = io.WriteString(c, postHead+framing+strings.Repeat("x", 76))
	}
	for range 20 {
		got := talk(t, s.addr, postHead+"Content-Length: 100000\r\n\r\n"+strings.Repeat("x", 100_000))
		if !strings.HasPrefix(got, "200 ") {
			t.Fatalf("%.100s", got)
		}
	}
}

// pipes is a listener whose connections are net.Pipes.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// Between the two servers a connection is neither's idle one: nobody closes it who
// needs room.
func TestAConnectionThatIsHandedOverKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := http1.NewServer(http1.Config{MaxConns: 1, PerAddress: 1}, "/endpoints/", echo)
		l := make(pipes)
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.Serve(l) })
		defer func() { _ = s.Shutdown(t.Context()); wg.Wait() }()
		ask := func(path string) *client {
			here, there := net.Pipe()
			t.Cleanup(func() { _ = here.Close() })
			l <- there
			c := &client{here, bufio.NewReader(here)}
			fmt.Fprintf(c, "GET %s HTTP/1.1\r\n%sConnection: close\r\n\r\n", path, host)
			synctest.Wait()
			return c
		}
		status := func(c *client) string {
			resp, err := http.ReadResponse(c.br, nil)
			if err != nil {
				return err.Error()
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			return fmt.Sprint(resp.StatusCode)
		}
		handed := ask("/rest") // nobody takes it over yet
		if got := status(ask("/endpoints/e")); got != "503" {
			t.Errorf("one more: %s", got)
		}
		rest := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
		})}
		wg.Go(func() { _ = rest.Serve(s.Rest()) })
		if got := status(handed); got != "202" {
			t.Errorf("the one that was handed over: %s", got)
		}
		_ = rest.Close()
	})
}

// Nor do heads that are never ended.
func TestHeadsThatDoNotEndHoldLittleMemory(t *testing.T) {
	budget := connlimit.NewBudget(1 << 20) // of which an address gets a quarter
	s := serve(t, http1.Config{Bodies: budget, MaxBody: 1 << 18, MaxConns: 1000}, echo)
	answered := 0
	for range 50 {
		c := newClient(t, s.addr)
		fmt.Fprintf(c, "POST /endpoints/e HTTP/1.1\r\n%sX: %s", host, strings.Repeat("x", 40_000))
		defer c.Close()
		if n := budget.Used(); n > 1<<18 {
			t.Fatalf("%d bytes are held", n)
		}
	}
	for range 50 {
		if got := newClient(t, s.addr).get("/endpoints/e"); got == "200" {
			answered++
		}
	}
	if answered != 50 {
		t.Errorf("%d of 50 small ones are answered", answered)
	}
	if budget.Used() == 0 {
		t.Error("heads cost nothing")
	}
}
