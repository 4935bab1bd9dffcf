package http1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/http1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers with what it got.
func echo(x *http1.Exchange) {
	body, err := x.Body()
	status := 200
	switch {
	case errors.Is(err, http1.ErrTooLarge):
		status, body = 413, []byte("too large")
	case errors.Is(err, http1.ErrBusy):
		status, body = 503, []byte("busy")
	case err != nil:
		status, body = 400, []byte(err.Error())
	}
	ct, _ := x.Header("content-type")
	text := fmt.Sprintf("%s %s?%s [%s] %s", x.Method(), x.Path(), x.Query(), ct, body)
	x.Start(status, int64(len(text)))
	x.AddHeader("X-Test", "yes")
	_, _ = io.WriteString(x, text)
}

type testServer struct {
	*http1.Server
	addr string
}

// serve starts a server with net/http behind it.
func serve(t *testing.T, cfg http1.Config, h http1.Handler) *testServer {
	t.Helper()
	s := http1.NewServer(cfg, "/endpoints/", h)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rest := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "rest %s %s %s", r.Method, r.URL.Path, b)
	})}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Serve(l); !errors.Is(err, http1.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	wg.Go(func() { _ = rest.Serve(s.Rest()) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		_ = rest.Close()
		wg.Wait()
	})
	return &testServer{s, l.Addr().String()}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// talk sends input, ends its side, and returns the answers' statuses and
// bodies until the server closes.
func talk(t *testing.T, addr, input string) string {
	t.Helper()
	c := dial(t, addr)
	go func() {
		_, _ = io.WriteString(c, input)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	var out []string
	br := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			return strings.Join(out, " | ")
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			b = append(b, " ("+err.Error()+")"...)
		}
		out = append(out, fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(string(b))))
	}
}

const host = "Host: h\r\n"

const postHead = "POST /endpoints/e HTTP/1.1\r\n" + host

// wellFormed are requests and what echo makes of them.
var wellFormed = map[string]struct{ in, want string }{
	"a plain request": {
		postHead + "Content-Length: 2\r\nContent-Type: a\r\n\r\nhi", "200 POST /endpoints/e? [a] hi",
	},
	"a query": {
		"GET /endpoints/e?a=b%20c HTTP/1.1\r\n" + host + "\r\n", "200 GET /endpoints/e?a=b%20c []",
	},
	"no body": {postHead + "\r\n", "200 POST /endpoints/e? []"},
	"two in a row": {
		postHead + "Content-Length: 1\r\n\r\n1" + postHead + "Content-Length: 1\r\n\r\n2",
		"200 POST /endpoints/e? [] 1 | 200 POST /endpoints/e? [] 2",
	},
	"a closing one ends it": {
		postHead + "Connection: close\r\n\r\n" + postHead + "\r\n", "200 POST /endpoints/e? []",
	},
	"HTTP/1.0 ends it": {
		"GET /endpoints/a HTTP/1.0\r\n\r\nGET /endpoints/b HTTP/1.0\r\n\r\n", "200 GET /endpoints/a? []",
	},
	"HTTP/1.0 may stay": {
		"GET /endpoints/a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\nGET /endpoints/b HTTP/1.0\r\n\r\n",
		"200 GET /endpoints/a? [] | 200 GET /endpoints/b? []",
	},
	"chunks": {
		postHead + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n" + postHead + "\r\n",
		"200 POST /endpoints/e? [] abcde | 200 POST /endpoints/e? []",
	},
	"chunks with a trailer": {
		postHead + "Transfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
		"200 POST /endpoints/e? [] 0123456789",
	},
	"empty lines before it": {"\r\n\r\n" + postHead + "\r\n", "200 POST /endpoints/e? []"},
	"several values are joined": {
		postHead + "Content-Type: a\r\nContent-Type: b\r\n\r\n", "200 POST /endpoints/e? [a,b]",
	},
	"a body beyond the buffer": {
		postHead + "Content-Length: 300000\r\n\r\n" + strings.Repeat("x", 300_000) + postHead + "\r\n",
		"200 POST /endpoints/e? [] " + strings.Repeat("x", 300_000) + " | 200 POST /endpoints/e? []",
	},
	"chunks beyond the buffer": {
		postHead + "Transfer-Encoding: chunked\r\n\r\n493E0\r\n" + strings.Repeat("x", 300_000) + "\r\n0\r\n\r\n",
		"200 POST /endpoints/e? [] " + strings.Repeat("x", 300_000),
	},
	"a body that ends early": {
		postHead + "Content-Length: 9\r\n\r\nhi", "400 POST /endpoints/e? [] unexpected EOF",
	},
	"chunks that end early": {
		postHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nab", "400 POST /endpoints/e? [] unexpected EOF",
	},
	"a chunk longer than said": {
		postHead + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
		"400 POST /endpoints/e? [] http1: chunk longer than its size",
	},
	"a chunk size with a sign": {
		postHead + "Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n",
		"400 POST /endpoints/e? [] http1: malformed chunk size",
	},
	"a chunk line without CR": {
		postHead + "Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
		"400 POST /endpoints/e? [] http1: chunk line without CRLF",
	},
	"a body announced too large": {
		postHead + "Content-Length: 99999999\r\n\r\n", "413 POST /endpoints/e? [] too large",
	},
	"another path goes elsewhere": {
		"POST /x HTTP/1.1\r\n" + host + "Content-Length: 2\r\n\r\nhi", "200 rest POST /x hi",
	},
	"and takes the connection": {
		"GET /x HTTP/1.1\r\n" + host + "\r\n" + postHead + "\r\n", "200 rest GET /x | 200 rest POST /endpoints/e",
	},
	"also later": {
		postHead + "\r\nGET /x HTTP/1.1\r\n" + host + "\r\n", "200 POST /endpoints/e? [] | 200 rest GET /x",
	},
}

func TestRequestsAreUnderstood(t *testing.T) {
	s := serve(t, http1.Config{}, echo)
	for name, tc := range wellFormed {
		t.Run(name, func(t *testing.T) {
			if got := talk(t, s.addr, tc.in); got != strings.TrimSpace(tc.want) {
				t.Errorf("got  %.200s\nwant %.200s", got, tc.want)
			}
		})
	}
}

// What two parsers could read differently is refused (RFC 9112 §11).
const postLine = "POST /endpoints/e HTTP/1.1\r\n"

// ambiguous are requests that another server might read otherwise.
var ambiguous = map[string]struct{ in, want string }{
	"length and encoding": {
		postHead + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"400 both Content-Length and Transfer-Encoding",
	},
	"encoding and length": {
		postHead + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
		"400 both Content-Length and Transfer-Encoding",
	},
	"two lengths": {
		postHead + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400 bad or repeated Content-Length",
	},
	"a list of lengths": {
		postHead + "Content-Length: 3, 3\r\n\r\nabc", "400 bad or repeated Content-Length",
	},
	"a length with a sign": {
		postHead + "Content-Length: +3\r\n\r\nabc", "400 bad or repeated Content-Length",
	},
	"a negative length": {postHead + "Content-Length: -1\r\n\r\n", "400 bad or repeated Content-Length"},
	"a length in hex": {
		postHead + "Content-Length: 0x3\r\n\r\nabc", "400 bad or repeated Content-Length",
	},
	"a length that overflows": {
		postHead + "Content-Length: 18446744073709551619\r\n\r\nabc", "400 bad or repeated Content-Length",
	},
	"an empty length": {postHead + "Content-Length:\r\n\r\n", "400 bad or repeated Content-Length"},
	"another encoding": {
		postHead + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501 unsupported Transfer-Encoding",
	},
	"chunked twice": {
		postHead + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"501 unsupported Transfer-Encoding",
	},
	"an encoding with a tail": {
		postHead + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", "400 control character in a header value",
	},
	"an encoding in HTTP/1.0": {
		"POST /endpoints/e HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"400 Transfer-Encoding in HTTP/1.0",
	},
	"a folded line":            {postHead + "X: a\r\n b\r\n\r\n", "400 malformed header name"},
	"a space before the colon": {postHead + "Content-Length : 3\r\n\r\nabc", "400 malformed header name"},
	"no colon":                 {postHead + "Nonsense\r\n\r\n", "400 malformed header name"},
	"an empty name":            {postHead + ": x\r\n\r\n", "400 malformed header name"},
	"a NUL":                    {postHead + "X: a\x00b\r\n\r\n", "400 control character in a header value"},
	"a bare CR":                {postHead + "X: a\rY: b\r\n\r\n", "400 control character in a header value"},
	"a bare LF":                {postHead + "X: a\nY: b\r\n\r\n", "400 header line without CRLF"},
	"a bare LF, first line":    {"POST /endpoints/e HTTP/1.1\n" + host + "\r\n", "400 request line without CRLF"},
	"no host":                  {postLine + "\r\n", "400 not exactly one Host"},
	"two hosts":                {postHead + host + "\r\n", "400 not exactly one Host"},
	"two spaces":               {"POST /endpoints/e  HTTP/1.1\r\n" + host + "\r\n", "505 unsupported HTTP version"},
	"an unknown version":       {"POST /endpoints/e HTTP/1.2\r\n" + host + "\r\n", "505 unsupported HTTP version"},
	"a control in the target": {
		"POST /endpoints/\x01 HTTP/1.1\r\n" + host + "\r\n", "400 request target is not visible ASCII",
	},
	"too many fields": {
		postHead + strings.Repeat("X: y\r\n", 10) + "\r\n", "431 too many header fields",
	},
	"too large a head": {
		postHead + "X: " + strings.Repeat("y", 5000) + "\r\n\r\n", "431 request head too large",
	},
	"an unknown expectation": {postHead + "Expect: wonders\r\n\r\n", "417 unknown expectation"},
}

func TestAmbiguousRequestsAreRefused(t *testing.T) {
	s := serve(t, http1.Config{MaxFields: 10, MaxHead: 4096}, echo)
	for name, tc := range ambiguous {
		t.Run(name, func(t *testing.T) {
			if got := talk(t, s.addr, tc.in+postHead+"\r\n"); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestARequestMayComeByteByByte(t *testing.T) {
	s := serve(t, http1.Config{}, echo)
	c := dial(t, s.addr)
	_ = c.(*net.TCPConn).SetNoDelay(true)
	for _, b := range []byte(
		"\r\nPOST /endpoints/e HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: r\r\n\r\n",
	) {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	if string(b) != "POST /endpoints/e? [] abc" || resp.Header.Get("X-Test") != "yes" {
		t.Errorf("%s %v", b, resp.Header)
	}
}

func TestABodyIsInvited(t *testing.T) {
	s := serve(t, http1.Config{}, echo)
	c := dial(t, s.addr)
	br := bufio.NewReader(c)
	_, _ = io.WriteString(c,
		"POST /endpoints/e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
	if line, err := br.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	_, _ = br.ReadString('\n')
	_, _ = io.WriteString(c, "hi")
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(resp.Body); string(b) != "POST /endpoints/e? [] hi" {
		t.Errorf("%s", b)
	}
}

// The client sends on while it is refused; it must see the refusal, not a
// reset connection.
func TestAClientThatIsStillSendingSeesItsRefusal(t *testing.T) {
	s := serve(t, http1.Config{MaxBody: 1000}, echo)
	c := dial(t, s.addr)
	body := strings.Repeat("x", 1<<20)
	go func() {
		fmt.Fprintf(c, "POST /endpoints/e HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 413 || !resp.Close {
		t.Fatalf("%v, %v", resp, err)
	}
	if b, err := io.ReadAll(resp.Body); err != nil || !strings.HasSuffix(string(b), "too large") {
		t.Errorf("%s, %v", b, err)
	}
}

func TestASlowHeadIsCutOff(t *testing.T) {
	s := serve(t, http1.Config{HeadTimeout: 50 * time.Millisecond, IdleTimeout: 80 * time.Millisecond}, echo)
	c := dial(t, s.addr)
	_, _ = io.WriteString(c, "POST /endpoints/e HTTP/1.1\r\nHo")
	if b, _ := io.ReadAll(c); !strings.HasPrefix(string(b), "HTTP/1.1 408 ") {
		t.Errorf("%q", b)
	}
	idle := dial(t, s.addr)
	if b, err := io.ReadAll(idle); err != nil || len(b) > 0 {
		t.Errorf("an idle connection: %q, %v", b, err)
	}
	body := serve(t, http1.Config{BodyTimeout: 50 * time.Millisecond}, echo)
	c = dial(t, body.addr)
	_, _ = io.WriteString(c, "POST /endpoints/e HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
	if b, _ := io.ReadAll(c); !strings.Contains(string(b), os.ErrDeadlineExceeded.Error()) {
		t.Errorf("%q", b)
	}
}

func TestBodiesStayWithinTheirBudget(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{})
	budget := connlimit.NewBudget(400_000) // a quarter of it for an address
	s := serve(t, http1.Config{Bodies: budget}, func(x *http1.Exchange) {
		if _, err := x.Body(); err == nil {
			held <- struct{}{}
			<-hold
		}
		echo(x)
	})
	request := "POST /endpoints/e HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n" + strings.Repeat("x", 60000)
	first := make(chan string)
	go func() { first <- talk(t, s.addr, request) }()
	<-held
	if n := budget.Used(); n != 65536 {
		t.Errorf("%d bytes in use", n)
	}
	if got := talk(t, s.addr, request); got != "503 POST /endpoints/e? [] busy" {
		t.Errorf("%.100s", got)
	}
	close(hold)
	if got := <-first; !strings.HasPrefix(got, "200 ") {
		t.Errorf("%.100s", got)
	}
	for end := time.Now().Add(10 * time.Second); budget.Used() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) { // they are given back after the answer was written
			t.Fatalf("%d bytes in use at the end", budget.Used())
		}
	}
}

func TestShutdownLetsRequestsFinishAndClosesTheIdle(t *testing.T) {
	hold, began := make(chan struct{}), make(chan struct{})
	s := serve(t, http1.Config{}, func(x *http1.Exchange) { close(began); <-hold; echo(x) })
	busy, idle := dial(t, s.addr), dial(t, s.addr)
	_, _ = io.WriteString(busy, "POST /endpoints/e HTTP/1.1\r\nHost: h\r\n\r\n")
	<-began
	done := make(chan error)
	go func() { done <- s.Shutdown(t.Context()) }()
	if b, err := io.ReadAll(idle); err != nil || len(b) > 0 {
		t.Errorf("the idle connection: %q, %v", b, err)
	}
	close(hold)
	resp, err := http.ReadResponse(bufio.NewReader(busy), nil)
	if err != nil || resp.StatusCode != 200 || !resp.Close {
		t.Errorf("%v, %v", resp, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	began := make(chan struct{})
	s := serve(t, http1.Config{}, func(x *http1.Exchange) {
		close(began)
		for !x.Gone() {
			time.Sleep(time.Millisecond)
		}
	})
	c := dial(t, s.addr)
	_, _ = io.WriteString(c, "POST /endpoints/e HTTP/1.1\r\nHost: h\r\n\r\n")
	<-began
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestAPanicEndsItsConnectionOnly(t *testing.T) {
	s := serve(t, http1.Config{}, func(x *http1.Exchange) {
		if x.Path() == "/endpoints/panic" {
			panic("for the test")
		}
		echo(x)
	})
	if got := talk(t, s.addr, "GET /endpoints/panic HTTP/1.1\r\nHost: h\r\n\r\n"); got != "" {
		t.Errorf("%s", got)
	}
	if got := talk(t, s.addr, "GET /endpoints/e HTTP/1.1\r\nHost: h\r\n\r\n"); got != "200 GET /endpoints/e? []" {
		t.Errorf("%s", got)
	}
}

func TestAnAnswerOfUnknownLengthIsChunkedOrEndsWithTheConnection(t *testing.T) {
	s := serve(t, http1.Config{}, func(x *http1.Exchange) {
		x.Start(200, -1)
		for i := range 3 {
			fmt.Fprintf(x, "part %d ", i)
			_ = x.Flush()
		}
		if x.Path() == "/endpoints/abort" {
			x.Abort()
		}
	})
	for name, tc := range map[string]struct{ in, want string }{
		"HTTP/1.1": {
			"GET /endpoints/e HTTP/1.1\r\nHost: h\r\n\r\nGET /endpoints/e HTTP/1.1\r\nHost: h\r\n\r\n",
			"200 part 0 part 1 part 2 | 200 part 0 part 1 part 2",
		},
		"HTTP/1.0": {"GET /endpoints/e HTTP/1.0\r\n\r\n", "200 part 0 part 1 part 2"},
		"HEAD":     {"HEAD /endpoints/e HTTP/1.0\r\n\r\n", "200"},
		"aborted":  {"GET /endpoints/abort HTTP/1.1\r\nHost: h\r\n\r\n", "200 part 0 part 1 part 2  (unexpected EOF)"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.TrimSpace(talk(t, s.addr, tc.in)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}
