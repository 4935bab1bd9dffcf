package router

import (
	"errors"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/http1"
)

// attempts is how many instances a request is offered to. Only one of which
// not a byte was taken is offered again.
const attempts = 3

// Reasons why a request did not reach a container.
var (
	ErrNoEndpoint = errors.New("router: no such endpoint")
	ErrNoVariant  = errors.New("router: no such variant")
	ErrNoInstance = errors.New("router: no instance takes traffic")
)

// Call is one request on its way through the router. A Call may be reused for
// the next request once it is finished.
type Call struct {
	Key           traffic.Key
	TargetVariant string         // "": by weight
	Request       http1.Outgoing // what the container gets
	Body          Sharer         // of Request.Body beyond the call, for observers; nil: they copy it
	Arrived       time.Time      // when the client's request was there
	Streaming     bool           // the answer is passed on in parts
	Response      http1.Incoming // the head, once Do has returned without an error

	// What Do chose; set as far as it came.
	Account   string
	Variant   string
	Container string
	Slot      int // of the instance that a copy went to

	r      *Router
	in     *instance
	tally  *tally
	tried  []*instance
	active int // instances of the variant
	model  time.Duration
	first  time.Duration
	failed bool
	mid    bool
	late   bool // the answer did not come in time
	sent   bool // an instance was reached
	none   bool // there was no instance for it
	quiet  bool // what becomes of it is counted nowhere
	gone   bool // its caller has left
	draw   traffic.Draw

	retried bool // the first instance did not take it
	watch   *watch
	watched bool // observers take an interest in it: watch is theirs
}

// Do chooses an instance, sends the request and waits for the head of its
// response. The error is one of the reasons above, or a *http1.Failure. After
// it, whatever it returned, Finish must be called once.
func (r *Router) Do(c *Call) error {
	c.reset(r)
	for {
		if err := r.pick(c); err != nil {
			c.none = errors.Is(err, ErrNoInstance)
			return err
		}
		err := c.in.up.Do(&c.Request, &c.Response)
		if err == nil {
			c.sent = true
			return nil
		}
		f, ok := errors.AsType[*http1.Failure](err)
		again := ok && f.Step == http1.Dialling && !f.Timeout && !errors.Is(err, http1.ErrGone)
		c.tried = append(c.tried, c.in)
		if !again || len(c.tried) == attempts || !r.another(c) {
			c.gone, c.sent = errors.Is(err, http1.ErrGone), ok && f.Step != http1.Dialling
			c.failed, c.late = !c.gone, ok && f.Timeout
			return err
		}
		c.retried = true
		c.model += c.Response.Waited()
		c.count(-1)
		r.release(c.in)
		c.in = nil
	}
}

// reset makes c ready for a request.
func (c *Call) reset(r *Router) {
	c.r = r
	c.in, c.tally, c.tried = nil, nil, c.tried[:0]
	c.Account, c.Variant, c.Container, c.Slot = "", "", "", 0
	c.model, c.first, c.failed, c.mid, c.none, c.quiet, c.gone = 0, 0, false, false, false, false, false
	c.draw, c.late, c.sent, c.retried, c.watched = traffic.Draw{}, false, false, false, false
}

// pick chooses and claims an instance. It repeats when the route changed between
// the two.
func (r *Router) pick(c *Call) error {
	for {
		en := (*r.shard(c.Key).table.Load())[c.Key]
		if en == nil {
			return ErrNoEndpoint
		}
		rt := en.route.Load()
		c.Account = rt.Scope.Account
		v := rt.variant(c.TargetVariant)
		if v == nil {
			if c.TargetVariant == "" {
				return ErrNoInstance
			}
			return ErrNoVariant
		}
		c.Variant, c.Container = v.Name, v.Container
		if len(v.fleets) == 0 {
			c.tally = v.unserved
			return ErrNoInstance
		}
		f := v.fleet()
		if len(c.tried) > 0 {
			f = v.untried(f, c.tried)
		}
		in := f.instance(v.leastBusy, c.tried)
		if !r.take(en, rt, in) {
			continue
		}
		c.in, c.tally, c.active = in, f.tally, v.active
		c.count(1)
		if c.draw.At.IsZero() {
			c.draw = traffic.Draw{
				Variant: v.Name, Fleet: f.ID, Role: f.Role, Instance: in.ID, Slot: int(in.slot.Load()),
				Share: v.newShare, Epoch: rt.Version, At: time.Now(),
			}
			if v.newShare > 0 && v.newShare < 1 && r.onDraw != nil {
				r.onDraw(c.Key, c.draw)
			}
			if f.observed {
				c.observe(rt, v, f)
			}
		}
		return nil
	}
}

// take claims an instance that was chosen by a route, if that is still the one: if
// not, also when the instance is still there. Were the draw repeated only where a
// claim fails, the draws that stand would be more of one fleet than they say.
func (r *Router) take(en *entry, rt *route, in *instance) bool {
	if !r.claim(in) {
		return false
	}
	if en.route.Load() == rt {
		return true
	}
	r.release(in)
	return false
}

// another reports whether there is an instance that c has not tried.
func (r *Router) another(c *Call) bool {
	rt := r.find(c.Key)
	if rt == nil {
		return false
	}
	v := rt.variant(c.Variant)
	return v != nil && slices.ContainsFunc(v.fleets, func(f fleet) bool { return f.share > 0 && f.offers(c.tried) })
}

func (c *Call) count(n int64) { c.tally.inFlight.Add(n) }

// Next returns the next part of the response's body; see http1.Incoming.
func (c *Call) Next() ([]byte, error) {
	p, err := c.Response.Next()
	if c.Streaming && c.first == 0 && len(p) > 0 {
		c.first = c.Response.Waited()
	}
	if c.watched {
		c.watch.answer.Add(p, c.Response.Length())
	}
	if f, bad := errors.AsType[*http1.Failure](err); bad {
		if errors.Is(err, http1.ErrGone) {
			c.gone = true
		} else {
			c.failed, c.mid, c.late = true, true, f.Timeout
		}
	}
	return p, err
}

// Abandon says that the caller does not take the answer: it has left.
func (c *Call) Abandon() { c.gone = true }

// Finish ends the call: it lets go of the instance and counts the outcome. A
// response that was not read to its end is given up.
func (c *Call) Finish() {
	c.Response.Close()
	var s traffic.Sample
	if c.settle() && !c.quiet {
		s = c.sample()
		c.tally.add(&s)
		if c.r.onSample != nil {
			c.r.onSample(s)
		}
	}
	if c.watched {
		c.end(&s)
	}
	c.none = false
}

// settle lets go of the instance, and reports whether there is a fleet that the
// outcome counts for.
func (c *Call) settle() bool {
	switch {
	case c.none:
		c.r.missed(c)
		return c.tally != nil
	case c.in == nil:
		return false
	}
	c.count(-1)
	c.r.release(c.in)
	c.in = nil
	return true
}

func (c *Call) sample() traffic.Sample {
	model := c.model + c.Response.Waited()
	status := c.Response.Status
	s := traffic.Sample{
		Key: c.Key, Variant: c.tally.variant, Config: c.tally.fleet.Config, Fleet: c.tally.fleet.ID,
		At:              c.Arrived,
		ModelLatency:    model,
		OverheadLatency: max(0, time.Since(c.Arrived)-model), Instances: c.active,
		Streaming: c.Streaming, FirstChunk: c.first, MidStreamError: c.Streaming && c.mid,
		Draw: c.draw, Retried: c.retried, Abandoned: c.gone,
	}
	switch {
	case c.none:
		s.Status5XX, s.ModelError, s.Unserved = true, true, true
		s.ModelLatency, s.OverheadLatency, s.Instances = 0, time.Since(c.Arrived), 0
	case c.failed:
		s.Status5XX, s.ModelError = true, true
	case status >= 500:
		s.Status5XX, s.ModelError = true, true
	case status >= 400:
		s.Status4XX, s.ModelError = true, true
	case status >= 300:
		s.ModelError = true
	}
	return s
}
