package connlimit_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
)

// pipes is a listener whose connections are net.Pipes.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

type world struct {
	t *testing.T
	l *pipes
	// limiter is of the connections that dial makes
	limiter *connlimit.Limiter
	hold    chan struct{} // requests for /hold are answered when it is closed
}

// serve starts a server in a bubble, in which an address that is not TCP's is one
// client.
func serve(t *testing.T, cfg connlimit.Config) *world {
	w := &world{
		t: t, l: &pipes{make(chan net.Conn), make(chan struct{})}, limiter: connlimit.New(cfg),
		hold: make(chan struct{}),
	}
	s := &http.Server{
		IdleTimeout: 2 * time.Minute, ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/prove":
				connlimit.Prove(r.Context(), r.Header.Get("Key"))
			case "/hold":
				connlimit.Prove(r.Context(), r.RemoteAddr)
				<-w.hold
			case "/soon":
				_ = connlimit.ReadBefore(rw, r, time.Now().Add(10*time.Second))
				fallthrough
			case "/read":
				if _, err := io.ReadAll(r.Body); err != nil {
					rw.WriteHeader(http.StatusRequestTimeout)
				}
			}
		}),
	}
	connlimit.Watch(s)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(w.limiter.Listener(w.l)) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return w
}

type client struct {
	net.Conn
	br *bufio.Reader
}

func (w *world) dial() *client {
	here, there := net.Pipe()
	w.t.Cleanup(func() { _ = here.Close() })
	w.l.conns <- there
	synctest.Wait()
	return &client{here, bufio.NewReader(here)}
}

// answer returns the status of the next answer, or that there is none.
func (c *client) answer() string {
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		return "closed"
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return fmt.Sprint(resp.StatusCode)
}

func (c *client) get(path string) string {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path); err != nil {
		return "closed"
	}
	return c.answer()
}

func (w *world) want(what, got, want string) {
	w.t.Helper()
	synctest.Wait() // the server is done with it, too
	if got != want {
		w.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestANewConnectionTakesThePlaceOfAStrangerWhoHasWaitedLongest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, connlimit.Config{Max: 4, PerAddress: 4})
		known := w.dial()
		w.want("the one that is verified", known.get("/prove"), "200")
		var strangers []*client
		for range 3 {
			time.Sleep(time.Second)
			strangers = append(strangers, w.dial())
			w.want("a stranger", strangers[len(strangers)-1].get("/"), "200")
		}
		time.Sleep(time.Second)
		w.want("the first again", strangers[0].get("/"), "200")
		w.want("a new one", w.dial().get("/"), "200")
		w.want("the one that waited longest", strangers[1].get("/"), "closed")
		for _, c := range []*client{known, strangers[0], strangers[2]} {
			w.want("another", c.get("/"), "200")
		}
	})
}

func TestHealthAnswersThoughAllArePlacesAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, connlimit.Config{Max: 4, PerAddress: 4, PerKey: 4})
		busy := make(chan string)
		for range 4 {
			c := w.dial()
			go func() { busy <- c.get("/hold") }()
			synctest.Wait()
		}
		for range 100 {
			w.want("health", w.dial().get("/healthz"), "200")
		}
		w.want("anything else", w.dial().get("/"), "503")
		close(w.hold)
		for range 4 {
			w.want("one of those", <-busy, "200")
		}
	})
}

func TestStrangersOfOneAddressMakeRoomForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, connlimit.Config{Max: 100, PerAddress: 2})
		first := w.dial()
		w.want("the first", first.get("/"), "200")
		for range 10 {
			time.Sleep(time.Second)
			w.want("one more", w.dial().get("/"), "200")
		}
		w.want("the first", first.get("/"), "closed")
		if n := w.limiter.Len(); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// The holder of one key, too, leaves room for others: its own connections make
// room for each other, and if all of them are busy it is told so.
func TestOneKeyDoesNotTakeThePlacesOfAnother(t *testing.T) {
	l := connlimit.New(connlimit.Config{Max: 100, PerKey: 2})
	closed := map[int]bool{}
	enter := func(i int) *connlimit.Place {
		return l.Enter(&net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(i))}, func() error { closed[i] = true; return nil })
	}
	now := time.Now()
	var mine []*connlimit.Place
	for i := range 3 {
		p := enter(i)
		if !p.Prove("mine") || !p.Wait(now.Add(time.Duration(i)*time.Second)) {
			t.Fatal("no room for connection", i)
		}
		mine = append(mine, p)
	}
	if !closed[0] || closed[1] || closed[2] || l.Len() != 2 {
		t.Errorf("closed %v, %d are left", closed, l.Len())
	}
	mine[1].Answer()
	mine[2].Answer()
	if p := enter(3); p.Prove("mine") || p.Proven() || !enter(4).Prove("another") {
		t.Error("all are busy, and one more is taken, or another's is not")
	}
}

func TestWhoProvesNothingInTimeIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, connlimit.Config{Max: 100, ProveWithin: 10 * time.Second})
		known, stranger := w.dial(), w.dial()
		w.want("the one that is verified", known.get("/prove"), "200")
		w.want("the stranger", stranger.get("/"), "200")
		time.Sleep(11 * time.Second)
		w.want("the stranger, later", stranger.get("/"), "closed")
		w.want("the one that is verified, later", known.get("/"), "200")
		if n := w.limiter.Len(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// Whoever sends requests and takes no answers keeps nobody out.
func TestAStrangerWhoIsBeingAnsweredMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, connlimit.Config{Max: 3, PerAddress: 3})
		for range 3 {
			c := w.dial()
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n") // and does not read
			synctest.Wait()
		}
		time.Sleep(time.Second) // their turns are over
		known := w.dial()
		w.want("somebody else", known.get("/prove"), "200")
	})
}

// Without a deadline, whoever announces a body could keep a connection for ever,
// whether the handler reads it or leaves it to net/http.
func TestABodyHasToKeepAPace(t *testing.T) {
	for _, path := range []string{"/read", "/"} {
		synctest.Test(t, func(t *testing.T) {
			w := serve(t, connlimit.Config{Max: 100})
			c, start := w.dial(), time.Now()
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nx", path)
			c.answer()
			if _, err := c.br.ReadByte(); err == nil {
				t.Errorf("%s: the connection goes on", path)
			}
			if took := time.Since(start); took > 40*time.Second {
				t.Errorf("%s: it took %s", path, took)
			}
		})
		synctest.Test(t, func(t *testing.T) { // one that is slow, but comes
			w := serve(t, connlimit.Config{Max: 100})
			c := w.dial()
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n", path)
			got := make(chan string)
			go func() { got <- c.answer() }()
			for range 20 {
				time.Sleep(2 * time.Second)
				_, _ = c.Write(make([]byte, 10_000))
			}
			w.want("slow, but coming", <-got, "200")
		})
	}
}

// What is left of a body is no request, though it may look like one.
func TestABodyThatWasNotReadIsNoRequest(t *testing.T) {
	l := connlimit.New(connlimit.Config{Max: 100})
	var asked atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_ = http.NewResponseController(rw).EnableFullDuplex()
		rw.WriteHeader(http.StatusRequestEntityTooLarge)
	}))
	connlimit.Watch(s.Config)
	s.Listener = l.Listener(s.Listener)
	s.Start()
	defer s.Close()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	const inside = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
	go func() { // ends with the connection
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", 10<<20)
		_, _ = io.WriteString(c, strings.Repeat(inside, (9<<20)/len(inside)))
	}()
	answers, _ := io.ReadAll(c) // it ends, or is reset
	if n := strings.Count(string(answers), "HTTP/1.1 "); n > 1 || asked.Load() != 1 {
		t.Errorf("%d answers, %d requests", n, asked.Load())
	}
}

func TestAWriteThatNobodyTakesEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, connlimit.Config{Max: 100})
		c := w.dial()
		w.want("the first request", c.get("/"), "200")                // after it net/http clears the deadline
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n") // and does not read
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := w.limiter.Len(); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}

func TestAnAddressOfIPv6IsItsNetwork(t *testing.T) {
	at := func(remote string) string {
		return connlimit.PayerOf(&http.Request{RemoteAddr: remote}, "").Address.String()
	}
	for a, b := range map[string]string{
		"[2001:db8::1]:1": "[2001:db8::ffff:2]:2", "[::ffff:192.0.2.1]:1": "192.0.2.1:2",
	} {
		if at(a) != at(b) {
			t.Errorf("%s is %s, %s is %s", a, at(a), b, at(b))
		}
	}
	if at("[2001:db8::1]:1") == at("[2001:db8:0:1::1]:1") || at("192.0.2.1:1") == at("192.0.2.2:1") {
		t.Error("two networks are one")
	}
}

// Whatever comes and goes, places are neither lost nor given twice.
func TestPlacesAreCounted(t *testing.T) {
	l := connlimit.New(connlimit.Config{Max: 50, PerAddress: 10})
	var held []*connlimit.Place
	for i := range 10_000 {
		switch p := l.Enter(&net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(i%7))}, func() error { return nil }); {
		case p == nil:
		case i%3 == 0:
			p.Answer()
			held = append(held, p)
		default:
			if i%5 == 0 {
				p.Prove("k")
			}
			held = append(held, p)
		}
		if n := l.Len(); n > 50+64 {
			t.Fatalf("%d connections", n)
		}
		if len(held) > 30 {
			held[i%30].Leave()
			held = append(held[:i%30], held[i%30+1:]...)
		}
	}
	for _, p := range held {
		p.Leave()
	}
	for l.Relieve() { // those that were not kept
	}
	if n := l.Len(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func TestARequestThatCameAnotherWayIsNobodys(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	connlimit.Prove(r.Context(), "k")
	if connlimit.PayerOf(r, "k").Proven {
		t.Error("proven")
	}
}

// One caller's bodies take a part of the memory, and what nobody verified half.
func TestABudgetKeepsSomethingForOthers(t *testing.T) {
	b := connlimit.NewBudget(1000)
	pay := func(key string, proven bool) connlimit.Payer { return connlimit.Payer{Key: key, Proven: proven} }
	fill := func(by connlimit.Payer) (claims []connlimit.Claim) {
		for {
			c, ok := b.Reserve(10, by)
			if !ok {
				return claims
			}
			claims = append(claims, c)
		}
	}
	strangers := fill(pay("k", false))
	if b.Used() != 250 {
		t.Errorf("one address of strangers holds %d", b.Used())
	}
	known := fill(pay("k", true))
	if b.Used() != 750 {
		t.Errorf("one key holds %d", b.Used())
	}
	others := fill(pay("l", true))
	if b.Used() != 1000 {
		t.Errorf("all hold %d", b.Used())
	}
	for _, c := range append(append(strangers, known...), others...) {
		c.Release()
	}
	if b.Used() != 0 {
		t.Errorf("%d are left", b.Used())
	}
}

// Whoever shows who they are at the moment in which somebody else needs room is
// being answered from then on.
func TestProvingIsOneStep(t *testing.T) {
	l := connlimit.New(connlimit.Config{Max: 100, PerKey: 1})
	at := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}
	relieved := false
	first := l.Enter(at, func() error { relieved = l.Relieve(); return nil })
	first.Prove("k")
	first.Wait(time.Now())
	closed := false
	second := l.Enter(at, func() error { closed = true; return nil })
	second.Prove("k") // in the place of the first, at the end of which somebody else needs room
	if relieved || closed || !second.Proven() || !second.Wait(time.Now()) {
		t.Error("the second was closed while it was being answered")
	}
}

func TestNobodyKnownIsClosedWhileAStrangerWaits(t *testing.T) {
	l := connlimit.New(connlimit.Config{Max: 3, PerKey: 3, Turn: 1})
	var closed []int
	enter := func(i int) *connlimit.Place {
		at := &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(i))}
		return l.Enter(at, func() error { closed = append(closed, i); return nil })
	}
	start := time.Now()
	for i := range 3 {
		p := enter(i)
		p.Prove("k")
		p.Wait(start.Add(time.Duration(i)))
	}
	for i := 3; i < 8; i++ {
		enter(i)
	}
	if want := []int{0, 3, 4, 5, 6}; !slices.Equal(closed, want) {
		t.Errorf("closed %v, want %v", closed, want)
	}
}

// What a handler sets for its body holds, whatever the pace at which it comes.
func TestAHandlersOwnDeadlineHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, connlimit.Config{Max: 100})
		c, start := w.dial(), time.Now()
		fmt.Fprint(c, "POST /soon HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				time.Sleep(time.Second)
				if _, err := c.Write(make([]byte, 5000)); err != nil {
					return
				}
			}
		}()
		w.want("a body that is late", c.answer(), "408")
		_ = c.Close()
		<-done
		time.Sleep(time.Second) // for which net/http waits before it closes
		if took := time.Since(start); took > 12*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// Who sends a body without an end is not kept at the cost of somebody known.
func TestAStrangerInABodyMakesRoomBeforeAnybodyKnown(t *testing.T) {
	l := connlimit.New(connlimit.Config{Max: 2})
	var closed []string
	enter := func(name string, at byte) *connlimit.Place {
		from := &net.TCPAddr{IP: net.IPv4(192, 0, 2, at)}
		return l.Enter(from, func() error { closed = append(closed, name); return nil })
	}
	known := enter("known", 1)
	known.Prove("k")
	known.Wait(time.Now())
	enter("stranger", 2).WaitForBody(time.Now())
	if enter("new", 3) == nil || !slices.Equal(closed, []string{"stranger"}) {
		t.Error("closed:", closed)
	}
}
