// Package gateway is the one address of every API: it tells them apart, verifies
// who is calling, and hands the request on with the caller in its context. A
// request that is refused here hears so in the words of the API that it
// addressed. What an API does, which objects a device may have, and verifying
// invocations (the runtime does that itself, on its own fast path), are not its
// job.
package gateway

import (
	"cmp"
	"log/slog"
	"net/http"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// Keys are the keys of the callers. access.Keys is one.
type Keys interface {
	sigv4.Keyring
	Authenticate(id, secret string) (sigv4.Key, bool)
}

// S3 serves the S3 API, and says in its words why the gateway refused a request.
type S3 interface {
	http.Handler
	Refuse(w http.ResponseWriter, r *http.Request, status int, code, message string)
}

// Config is what the gateway leads to. An API that is nil is answered for with an
// error that names it.
type Config struct {
	Verifier *sigv4.Verifier
	Keys     Keys
	Account  string // of every caller
	Region   string // of callers whose form of signature names none
	Log      *slog.Logger

	Runtime    http.Handler // gets requests unverified
	SageMaker  http.Handler // AWS JSON, X-Amz-Target: SageMaker.*
	Slipway    http.Handler // our own operations, in the same words: X-Amz-Target: Slipway.*
	STS        http.Handler // AWS Query
	CloudWatch http.Handler // AWS JSON, Query and CBOR
	Edge       http.Handler // REST-JSON: what devices call
	IoT        http.Handler // REST-JSON
	Enroll     http.Handler // gets POST /enroll unverified, its body bounded
	S3         S3
	Metrics    http.Handler
	Console    http.Handler // serves what a browser needs, unverified: it holds no data
	// Ready says what the server needs, and what of it is missing, to anybody; nil:
	// nothing ever is. Asked for one part, it need not look at others; "": for all.
	Ready func(part string) []Part

	// DeviceS3 decides whether a device may make a request of S3, which it may
	// change; nil: none may. Besides, devices reach Edge and STS, and nothing else.
	DeviceS3 func(*http.Request, access.Caller) error

	// SessionAlive reports whether the certificate of a device is still good. It
	// is asked on every request, and must answer from memory. nil: always.
	SessionAlive func(access.Device) bool

	RequestLevel slog.Leveler // of the record of a request that succeeded; nil: info

	MaxBody int64             // of a control-plane request, in bytes; 0 means 4 MiB
	Bodies  *connlimit.Budget // of those of all requests; nil: 512 MiB
}

const defaultMaxBody = 4 << 20

// New returns the handler of the one address.
func New(c Config) http.Handler {
	c.MaxBody = cmp.Or(c.MaxBody, defaultMaxBody)
	if c.Bodies == nil {
		c.Bodies = connlimit.NewBudget(512 << 20)
	}
	if c.RequestLevel == nil {
		c.RequestLevel = slog.LevelInfo
	}
	g := &gateway{Config: c}
	g.routes = g.table()
	return g
}

type gateway struct {
	Config
	routes []route
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = r.WithContext(access.WithRequest(r.Context(), &access.Request{
		Level: g.RequestLevel.Level(), Address: r.RemoteAddr, Started: time.Now(),
	}))
	g.routeOf(r).to(w, r)
}
