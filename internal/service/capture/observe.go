package capture

import (
	"math/rand/v2"
	"strings"

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
	in, out *connlimit.Shared // of a large request that waits for the writer
}

// Observe draws once for each request (router.Observer). What the line will say
// of the request is all that is kept of its header: who called, and by which
// right, is not.
func (s *Service) Observe(q *router.Request) (router.Exchange, int) {
	c := q.Fleet.Capture
	if c == nil || c.Percent < 100 && rand.IntN(100) >= c.Percent {
		return nil, 0
	}
	if s.stopped.Load() != nil { // no body is kept for nothing
		s.counts.dropped(causeStopped, 1)
		return nil, 0
	}
	x := s.exchange()
	x.r = Record{Key: q.Key, Variant: q.Variant.Name, Capture: c, Input: Side{Taken: c.Input}}
	for i := range q.Fields {
		switch f := &q.Fields[i]; f.Name {
		case "Content-Type":
			x.r.Input.ContentType = f.Value
		case "X-Amzn-SageMaker-Custom-Attributes":
			x.r.Attributes = f.Value
		case "X-Amzn-SageMaker-Inference-Id":
			x.r.Inference = f.Value
		}
	}
	if !c.Output {
		return x, 0
	}
	return x, maxSide
}

// exchange returns one that nobody uses.
func (s *Service) exchange() *exchange {
	if x, ok := s.exchanges.Get().(*exchange); ok {
		return x
	}
	return &exchange{s: s}
}

// End captures what became of the request (spec §5.2): both sides of an answer,
// whatever its status, the input alone if no whole answer came, nothing if no
// container got it (router.Exchange).
func (x *exchange) End(a *router.Answer) {
	r := &x.r
	switch {
	case !a.Sent:
		x.recycle()
		return
	case !a.Whole && !a.Cut || !r.Capture.Output:
	case a.Dropped:
		x.s.counts.dropped(causeRoom, 1)
		x.recycle()
		return
	default:
		r.Output = Side{Taken: true, ContentType: a.ContentType, Data: a.Body, Truncated: a.Truncated || a.Cut}
	}
	if r.Input.Taken {
		r.Input.Data = a.Request
		if len(r.Input.Data) > maxSide {
			r.Input.Data, r.Input.Truncated = r.Input.Data[:maxSide], true
		}
	}
	switch {
	case !r.Input.Taken && !r.Output.Taken:
	case r.size() <= maxInline:
		x.s.take(r)
	case !x.hold(a):
		x.s.counts.dropped(causeRoom, 1)
		x.release()
	default:
		x.s.take(r)
		return
	}
	x.recycle()
}

// hold keeps the bodies beyond End, and what else the record says. False: there
// is no room for them.
func (x *exchange) hold(a *router.Answer) bool {
	r := &x.r
	r.Release = x.release
	if n := len(r.Input.Data); n > 0 {
		if x.in = a.HoldRequest(); x.in == nil {
			return false
		}
		r.Input.Data = x.in.Bytes()[:n]
	}
	if n := len(r.Output.Data); n > 0 {
		if x.out = a.Hold(); x.out == nil {
			return false
		}
		r.Output.Data = x.out.Bytes()[:n]
	}
	for _, s := range []*string{
		&r.Attributes, &r.Inference, &r.Input.ContentType, &r.Output.ContentType,
	} {
		*s = strings.Clone(*s) // not the whole head
	}
	return true
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

// recycle makes x, which nobody refers to, one for the next request.
func (x *exchange) recycle() {
	*x = exchange{s: x.s}
	x.s.exchanges.Put(x)
}
