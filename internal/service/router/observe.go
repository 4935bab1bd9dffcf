package router

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/http1"
)

// Observer looks at requests beside the answer to their callers: data capture,
// copies for shadows, gates that read answers. It is asked once for each request
// whose route says that somebody listens (a fleet with a Capture, a variant with
// Shadows or a Mirror, or one that a deployment Reads),
// when its first instance has been claimed and nothing has been sent yet. A
// second instance that the request is offered to changes nothing.
//
// Its methods, and those of an Exchange, are called on the request's own
// goroutine: they must not wait for anything. What they cannot take now they
// leave out, and count.
type Observer interface {
	// Observe returns what becomes of the answer, or nil if the observer takes no
	// interest in it; keep is how many bytes of the answer's body it wants to see, 0
	// to none. q is good until Observe returns.
	Observe(q *Request) (x Exchange, keep int)
}

// Exchange is one request that an Observer takes an interest in.
type Exchange interface {
	// End is called once, when the request is over, whatever became of it. a is good
	// until End returns.
	End(a *Answer)
}

// Sharer is what a request's body came in. Share returns the body as it was
// received, held for the caller, who releases it; nil: there is no room.
type Sharer interface {
	Share() *connlimit.Shared
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

	call *Call
	by   *observer
}

// Header returns the value of a field of the header that the container gets, by
// its name as that is written there; "" if it has none.
func (q *Request) Header(name string) string {
	for _, f := range q.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// Hold returns the body to be kept beyond the answer, until it is released: once
// for each Hold. Nil: there is no room for it among what observers hold of
// bodies, which has been counted. Who needs it only when the request is over
// takes it from the Answer, and holds nothing meanwhile.
func (q *Request) Hold() *connlimit.Shared { return q.by.hold(q.call) }

// hold returns the call's request body for the observer, or counts that there is
// no room for it.
func (o *observer) hold(c *Call) *connlimit.Shared {
	s := c.share()
	if s == nil {
		o.dropped.Inc()
	}
	return s
}

// share returns the request's body, held for the caller, or nil.
func (c *Call) share() *connlimit.Shared {
	if c.Body != nil {
		return c.Body.Share()
	}
	var body connlimit.Copy
	body.Begin(c.r.bodies, len(c.Request.Body))
	if body.Add(c.Request.Body, -1); body.Dropped {
		return nil
	}
	return body.Share()
}

// Answer is what came of a request.
type Answer struct {
	// Sample is what the request counts as. All but its Draw is zero for one that
	// found no endpoint any more when a second instance was looked for.
	Sample      traffic.Sample
	Status      int    // of the container's answer; 0 if none came
	ContentType string // of the answer
	// Body is the beginning of the answer's body, as many bytes as were asked for,
	// good until End returns.
	Body      []byte
	Truncated bool // more of it came than was asked for
	Sent      bool // an instance was reached: it got the request, or some of it
	Whole     bool // the answer came to its end: nothing broke it off, and nobody left
	// Cut says that its caller gets no more of it, so that nobody has read on: the
	// error of a container that says more than errors have room for.
	Cut     bool
	Timeout bool // it did not come in time
	// Dropped says that there was no room for the body: Body is nil, whatever the
	// answer was. It has been counted.
	Dropped bool
	// Request is the request's body as it was received, good until End returns.
	Request []byte

	watch *watch
	call  *Call
	by    *observer
}

// HoldRequest is Hold of the Request: of the body that the answer answers.
func (a *Answer) HoldRequest() *connlimit.Shared { return a.by.hold(a.call) }

// Hold returns bytes of which Body is the beginning, and keeps Body beyond End,
// until they are released: once for each Hold. Nil: the body was dropped.
func (a *Answer) Hold() *connlimit.Shared {
	if a.Dropped {
		return nil
	}
	w := a.watch
	if w.shared == nil {
		w.shared = w.answer.Share()
	}
	return w.shared.Hold()
}

// observer is one that Listen added.
type observer struct {
	Observer
	dropped prometheus.Counter // for want of memory
}

// Listen adds an observer; kind is its name in metrics. It is called before the
// first route is set.
func (r *Router) Listen(kind string, o Observer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.observers = append(r.observers, &observer{o, r.dropped.WithLabelValues(kind, "memory")})
}

// observed reports whether observers are asked about the requests of a fleet.
// r.mu is held.
func (r *Router) observed(v *traffic.Variant, f *traffic.Fleet) bool {
	return len(r.observers) > 0 && (f.Capture != nil || len(v.Shadows) > 0 || v.Mirror != nil || v.Reads != "")
}

// watch is what observers see of a call. It is used again by the next.
type watch struct {
	of     []watcher
	answer connlimit.Copy
	shared *connlimit.Shared // in place of the copy, once somebody holds it
}

// watcher is an observer that takes an interest in the call.
type watcher struct {
	*observer
	x    Exchange
	keep int // bytes of the answer
}

// observe asks the observers.
func (c *Call) observe(rt *route, v *variant, f *fleet) {
	if c.watch == nil {
		c.watch = &watch{}
	}
	w := c.watch
	q := Request{
		Key: c.Key, Endpoint: rt.Endpoint, Account: rt.Scope.Account, Variant: v.Variant, Fleet: f.Fleet,
		Draw: c.draw, Arrived: c.Arrived, TargetVariant: c.TargetVariant, Streaming: c.Streaming,
		Fields: c.Request.Fields, Body: c.Request.Body, call: c,
	}
	most := 0
	for _, o := range rt.observers {
		q.by = o
		if x, keep := o.Observe(&q); x != nil {
			w.of = append(w.of, watcher{o, x, keep})
			most = max(most, keep)
		}
	}
	c.watched = len(w.of) > 0
	w.answer.Begin(c.r.bodies, most)
}

// end tells those who take an interest what came of the call.
func (c *Call) end(s *traffic.Sample) {
	c.watched = false
	w := c.watch
	s.Draw = c.draw
	a := Answer{
		Sample: *s, Status: c.Response.Status, Timeout: c.late, Sent: c.sent,
		Request: c.Request.Body, watch: w, call: c,
	}
	if a.Status != 0 && !c.failed && !c.gone && !c.none {
		a.Whole, a.Cut = c.Response.Done(), !c.Response.Done()
	}
	if a.Status != 0 {
		a.ContentType, _ = c.Response.Header("content-type")
	}
	body, cut := w.answer.Bytes(), w.answer.Truncated
	for _, o := range w.of {
		n := min(o.keep, len(body))
		a.Body, a.Truncated, a.Dropped = body[:n:n], cut || n < len(body), o.keep > 0 && w.answer.Dropped
		if a.Dropped {
			o.dropped.Inc()
		}
		a.by = o.observer
		o.x.End(&a)
	}
	clear(w.of)
	w.of = w.of[:0]
	if w.shared != nil {
		w.shared.Release()
		w.shared = nil
	}
	w.answer.Drop()
}

// newDropped counts what observers missed. Those that bound something else count
// it beside.
func newDropped() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "slipway_hook_dropped_total",
		Help: "Bodies that data capture, shadows or gates did not get to see, by kind and cause.",
	}, []string{"kind", "cause"})
}

// held shows how much of the memory for bodies is in the hands of observers.
func (r *Router) held() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "slipway_hook_bytes",
		Help: "Memory that data capture, shadows and gates hold of requests and answers.",
	}, func() float64 { return float64(r.bodies.Looking()) })
}
