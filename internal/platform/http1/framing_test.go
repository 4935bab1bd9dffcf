package http1_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/http1"
)

// framings are the ways in which an upstream can say where a body ends.
var framings = []struct {
	name, fields, body string
	refused            bool // it says so in two ways, or in none that can be read
	toEnd              bool // the body ends with the connection
}{
	{name: "nothing", toEnd: true},
	{name: "nothing, and a body", body: "hello", toEnd: true},
	{name: "length 0", fields: "Content-Length: 0\r\n"},
	{name: "a length", fields: "Content-Length: 5\r\n", body: "hello"},
	{name: "chunks", fields: "Transfer-Encoding: chunked\r\n", body: "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"},
	{name: "no chunks", fields: "Transfer-Encoding: chunked\r\n", body: "0\r\n\r\n"},
	{
		name: "chunks and a trailer", fields: "Transfer-Encoding: chunked\r\nTrailer: X\r\n",
		body: "5\r\nhello\r\n0\r\nX: y\r\n\r\n",
	},
	{
		name: "a length and chunks", fields: "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
		body: "5\r\nhello\r\n0\r\n\r\n", refused: true,
	},
	{
		name: "chunks and a length", fields: "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
		body: "5\r\nhello\r\n0\r\n\r\n", refused: true,
	},
	{name: "two lengths", fields: "Content-Length: 5\r\nContent-Length: 6\r\n", body: "hello", refused: true},
	{name: "a list of lengths", fields: "Content-Length: 5, 5\r\n", body: "hello", refused: true},
	{name: "no number", fields: "Content-Length: five\r\n", body: "hello", refused: true},
	{name: "less than nothing", fields: "Content-Length: -1\r\n", body: "hello", refused: true},
	{name: "another coding", fields: "Transfer-Encoding: gzip\r\n", body: "hello", refused: true},
	{name: "chunks twice", fields: strings.Repeat("Transfer-Encoding: chunked\r\n", 2), body: "hello", refused: true},
	{name: "an expectation", fields: "Expect: nothing\r\nContent-Length: 5\r\n", body: "hello"},
}

// relay hands a request on to up and its answer back, announcing the length, or
// streaming if the query says so.
func relay(up *http1.Upstream) http1.Handler {
	return func(x *http1.Exchange) {
		var in http1.Incoming
		o := &http1.Outgoing{Method: x.Method(), Path: x.Path(), Before: x.Arrived().Add(10 * time.Second)}
		if err := up.Do(o, &in); err != nil {
			x.Start(502, 7)
			_, _ = io.WriteString(x, "refused")
			return
		}
		defer in.Close()
		length := in.Length()
		if x.Query() == "stream" {
			length = -1
		}
		x.Start(in.Status, length)
		for {
			p, err := in.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					x.Abort()
				}
				return
			}
			_, _ = x.Write(p)
		}
	}
}

// A client, two raw sockets and what is between them: whatever status, method and
// framing come together, the client gets a whole answer, and the next one on its
// connection is its own.
func TestAMessageEndsWhereRFC9112SaysNotWhereItsFieldsDo(t *testing.T) {
	statuses := []int{200, 201, 203, 204, 205, 206, 299, 304, 400, 404, 500, 503, 599}
	for _, status := range statuses {
		for _, version := range []string{"HTTP/1.1", "HTTP/1.0"} {
			t.Run(fmt.Sprint(status, " in ", version), func(t *testing.T) {
				t.Parallel()
				for _, f := range framings {
					line := fmt.Sprintf("%s %d X\r\n", version, status)
					c := newFramingCase(t, line+f.fields+"\r\n"+f.body, f.toEnd && status != 204 && status != 304)
					for _, method := range []string{"POST", "GET", "HEAD"} {
						none := method == "HEAD" || status == 204 || status == 304
						want := fmt.Sprint(status, " hello")
						switch {
						case none:
							want = fmt.Sprint(status, " ")
						case f.refused:
							want = "502 refused"
						case !strings.Contains(f.body, "l"):
							want = fmt.Sprint(status, " ")
						}
						for _, query := range []string{"", "?stream"} {
							if got := c.exchange(t, method, query); got != want {
								t.Errorf("%s, %s %q: got %q, want %q", f.name, method, query, got, want)
							}
						}
					}
				}
			})
		}
	}
}

// framingCase is a server before an upstream that answers every request of /odd
// with the same bytes.
type framingCase struct{ addr string }

func newFramingCase(t *testing.T, answer string, toEnd bool) *framingCase {
	t.Helper()
	up := upstream(t, http1.UpstreamConfig{}, script(t, func(_ int, nc net.Conn, br *bufio.Reader) {
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if strings.HasSuffix(req.URL.Path, "/next") {
				_, _ = io.WriteString(nc, okLine+"Content-Length: 4\r\n\r\nnext")
				continue
			}
			_, _ = io.WriteString(nc, answer)
			if toEnd && req.Method != "HEAD" { // else nothing waits for the end: the connection may go on
				return
			}
		}
	}))
	return &framingCase{serve(t, http1.Config{}, relay(up)).addr}
}

// exchange makes a request, and one more on the same connection if that goes on.
// It returns the first answer's status and body.
func (c *framingCase) exchange(t *testing.T, method, query string) string {
	t.Helper()
	nc := dial(t, c.addr)
	defer nc.Close()
	br := bufio.NewReader(nc)
	ask := func(method, path string) (string, bool) {
		fmt.Fprintf(nc, "%s /endpoints/%s HTTP/1.1\r\n%s\r\n", method, path, host)
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			return err.Error(), false
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return fmt.Sprint(resp.StatusCode, " ", string(body), " ", err), false
		}
		if resp.StatusCode == 204 && (resp.Header["Content-Length"] != nil || len(resp.TransferEncoding) > 0) {
			return "a 204 that announces a body", false
		}
		return fmt.Sprint(resp.StatusCode, " ", string(body)), !resp.Close
	}
	got, more := ask(method, "odd"+query)
	if !more {
		return got + " and closed"
	}
	if next, _ := ask("GET", "next"); next != "200 next" {
		return got + ", then " + next
	}
	return got
}
