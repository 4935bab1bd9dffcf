package runtime

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/http1"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// ServeHTTP answers a request that came through net/http: on a connection that
// began with another API, or in HTTP/2. It is the same API, only slower.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &adapter{Request: sigv4.FromHTTP(r), api: a, w: w, r: r, arrived: time.Now()}
	defer x.release()
	a.serve(x)
	if x.aborted {
		panic(http.ErrAbortHandler) // net/http's way to cut an answer short
	}
	if x.unread {
		x.linger()
	}
}

// Bounds of linger: how long, and how much.
const (
	lingerFor   = 2 * time.Second
	lingerBytes = 64 << 20
)

// linger reads on for a moment after the answer to a client that is still
// sending: closing at once would reset the connection, and the client would lose
// the answer. net/http does so itself only on connections that go on.
func (x *adapter) linger() {
	if http.NewResponseController(x.w).Flush() != nil ||
		connlimit.ReadBefore(x.w, x.r, time.Now().Add(lingerFor)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, x.r.Body, lingerBytes) // the answer is out; nothing depends on the rest
}

// adapter is an Exchange over net/http.
type adapter struct {
	sigv4.Request
	api     *API
	w       http.ResponseWriter
	r       *http.Request
	arrived time.Time
	held    connlimit.Claim
	key     string // on whose account
	body    []byte
	shared  *connlimit.Shared

	status  int // to be written with the first byte
	began   bool
	unread  bool // the client was refused while it may still be sending
	aborted bool
}

func (x *adapter) Arrived() time.Time { return x.arrived }
func (x *adapter) Gone() bool         { return x.r.Context().Err() != nil }
func (x *adapter) Abort()             { x.aborted = true }
func (x *adapter) Remote() string     { return x.r.RemoteAddr }
func (x *adapter) Buffered() bool     { return x.r.ContentLength == 0 }
func (x *adapter) Charge(key string)  { x.key = key }
func (x *adapter) Trust(key string) bool {
	return connlimit.Prove(x.r.Context(), key)
}

func (x *adapter) Body() ([]byte, error) {
	limit := int64(x.api.MaxBody)
	if x.r.ContentLength > limit {
		return nil, x.refuse(http1.ErrTooLarge)
	}
	body, held, err := x.api.Bodies.ReadAll(x.r.Body, limit, connlimit.PayerOf(x.r, x.key))
	x.held, x.body = held, body
	if errors.Is(err, http1.ErrTooLarge) || errors.Is(err, http1.ErrBusy) {
		return nil, x.refuse(err)
	}
	return body, err
}

// Share returns the body for those who look on; see http1.Exchange.
func (x *adapter) Share() *connlimit.Shared {
	if x.shared == nil {
		if x.shared = x.api.Bodies.Share(x.body, cap(x.body), nil); x.shared == nil {
			return nil
		}
	}
	return x.shared.Hold()
}

func (x *adapter) release() {
	x.held.Release()
	if x.shared != nil {
		x.shared.Release()
	}
}

// refuse gives up on the body. Answers are written while it still comes in.
func (x *adapter) refuse(err error) error {
	x.unread = true
	if x.r.ProtoMajor == 1 {
		x.w.Header().Set("Connection", "close") // what is left of the body is no request
	}
	// HTTP/2 has no need of it and says so.
	_ = http.NewResponseController(x.w).EnableFullDuplex()
	return err
}

func (x *adapter) Start(status int, length int64) {
	x.status = status
	if length < 0 {
		return
	}
	x.AddHeader("Content-Length", strconv.FormatInt(length, 10))
}

func (x *adapter) AddHeader(name, value string) {
	// Not Set: the canonical spelling would change the names.
	x.w.Header()[name] = []string{strings.Map(printable, value)}
}

func (x *adapter) head() {
	if !x.began {
		x.began = true
		if _, ok := x.w.Header()["Content-Type"]; !ok {
			x.w.Header()["Content-Type"] = nil // do not guess one
		}
		x.w.WriteHeader(x.status)
	}
}

func (x *adapter) Write(p []byte) (int, error) {
	x.head()
	return x.w.Write(p)
}

func (x *adapter) Flush() error {
	x.head()
	return http.NewResponseController(x.w).Flush()
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}
