package router

import (
	"time"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/http1"
)

// Observer looks at requests beside the answer to their callers: data capture,
// copies for shadows. It is asked once for each request whose route says that
// somebody listens (a fleet with a Capture, a variant with Shadows or a Mirror),
// when its first instance has been claimed and nothing has been sent yet.
//
// Its methods, and those of an Exchange, are called on the request's own
// goroutine: they must not wait for anything. What they cannot take now they
// leave out, and count.
type Observer interface {
	// Observe returns what becomes of the answer, or nil if the observer takes no
	// interest in it; keep is how many bytes of the answer's body it wants to see. q
	// is good until Observe returns.
	Observe(q *Request) (x Exchange, keep int)
}

// Exchange is one request that an Observer takes an interest in.
type Exchange interface {
	// End is called once, when the request is over, whatever became of it. a is good
	// until End returns.
	End(a *Answer)
}

// Request is a request that an instance was claimed for. It is not to be
// changed.
type Request struct {
	Key           traffic.Key
	Endpoint      string // id
	Account       string
	Variant       *traffic.Variant // as the route has it
	Fleet         *traffic.Fleet
	Draw          traffic.Draw
	Arrived       time.Time
	TargetVariant string // that the caller named
	Streaming     bool
	Fields        []http1.Field // the header that the container gets

	// Body is the request's body as it was received, good until Observe returns.
	Body []byte

	kind *kind
	call *Call
}

// Hold keeps the body beyond the answer, until it is released once for each
// Hold. Nil: there is no room for it among the bodies that observers hold, which
// has been counted.
func (q *Request) Hold() *connlimit.Shared { return nil }

// Answer is what came of a request.
type Answer struct {
	Sample traffic.Sample
	// Status is that of the container's answer; 0 if none came.
	Status      int
	ContentType string
	// Body is the beginning of the answer's body, as many bytes as were asked for,
	// good until End returns.
	Body      []byte
	Truncated bool // there was more of it than was asked for
	Whole     bool // the answer came to its end: nothing broke it off, and nobody left
	Timeout   bool // it did not come in time
	// Dropped says that there was no room for the body: Body is nil, whatever the
	// answer was.
	Dropped bool

	held *connlimit.Shared
}

// Hold keeps Body beyond End, until it is released. Nil: there is no body.
func (a *Answer) Hold() *connlimit.Shared { return a.held }

// Listen adds an observer; kind is its name in metrics. It is called before the
// first route is set.
func (r *Router) Listen(kind string, o Observer) {}

// kind is one observer.
type kind struct {
	name string
	o    Observer
}
