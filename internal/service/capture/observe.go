package capture

import (
	"math/rand/v2"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// maxSide is how many bytes of a body are captured: what a request may have
// (spec §6.1).
const maxSide = 6 << 20

// exchange is a request that was drawn and is under way.
type exchange struct {
	s       *Service
	r       Record
	in, out *connlimit.Shared
}

// Observe draws once for each request (router.Observer). What the line will say
// of the request is all that is kept of its header: who called, and by which
// right, is not.
func (s *Service) Observe(q *router.Request) (router.Exchange, int) {
	c := q.Fleet.Capture
	if c == nil || rand.IntN(100) >= c.Percent {
		return nil, 0
	}
	x := &exchange{s: s, r: Record{Key: q.Key, Variant: q.Variant.Name, Capture: c}}
	if s.stopped.Load() != nil { // no body is kept for nothing
		s.drop(&x.r, causeStopped)
		return nil, 0
	}
	for _, f := range q.Fields {
		switch f.Name {
		case "Content-Type":
			x.r.Input.ContentType = strings.Clone(f.Value) // not the whole head
		case "X-Amzn-SageMaker-Custom-Attributes":
			x.r.Attributes = strings.Clone(f.Value)
		case "X-Amzn-SageMaker-Inference-Id":
			x.r.Inference = strings.Clone(f.Value)
		}
	}
	if c.Input {
		x.r.Input.Taken = true
		if len(q.Body) > 0 {
			if x.in = q.Hold(); x.in == nil {
				s.drop(&x.r, causeRoom)
				return nil, 0
			}
			x.r.Input.Data = x.in.Bytes()
			if len(x.r.Input.Data) > maxSide {
				x.r.Input.Data, x.r.Input.Truncated = x.r.Input.Data[:maxSide], true
			}
		}
	}
	x.r.Release = x.release
	if !c.Output {
		return x, 0
	}
	return x, maxSide
}

// End captures what became of the request (spec §5.2): both sides of an answer,
// whatever its status, the input alone if no whole answer came, nothing if no
// container got it (router.Exchange).
func (x *exchange) End(a *router.Answer) {
	x.r.At = time.Now()
	switch {
	case !a.Sent:
		x.release()
		return
	case !a.Whole || !x.r.Capture.Output:
	case a.Dropped:
		x.s.drop(&x.r, causeRoom)
		return
	default:
		x.r.Output = Side{Taken: true, ContentType: strings.Clone(a.ContentType), Truncated: a.Truncated}
		if x.out = a.Hold(); x.out != nil {
			x.r.Output.Data = x.out.Bytes()[:len(a.Body)]
		}
	}
	if !x.r.Input.Taken && !x.r.Output.Taken {
		x.release()
		return
	}
	x.s.Take(x.r)
}

// release lets go of the bodies.
func (x *exchange) release() {
	if x.in != nil {
		x.in.Release()
	}
	if x.out != nil {
		x.out.Release()
	}
}
