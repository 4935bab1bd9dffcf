package router

import (
	"errors"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/http1"
)

// Copies are requests that somebody else answers, sent once more: to a shadow
// variant, or to the new fleet of a deployment that compares its answers with the
// old one's. Nobody waits for what comes of them. They are drawn by whoever
// observes requests; the router knows which instances may get them, so that none
// lands on an instance that has left, and counts them apart from what was asked.

// Receiver names the instances that a copy may go to.
type Receiver struct {
	Variant string // whose requests are copied
	Shadow  string // the shadow variant that gets the copy; "": the fleet that is mirrored to
	Fleet   string // id of its fleet
}

// receiver is a shadow, or a fleet that is mirrored to, prepared for choosing as if
// it were a variant of its own.
type receiver struct {
	Receiver
	variant
}

// receivers prepares who gets copies of the requests for v. A shadow counts under
// its own name, a fleet that is mirrored to does not count at all. r.mu is held.
func (r *Router) receivers(en *entry, old, rt *route, v *traffic.Variant) (out []receiver) {
	for i := range v.Shadows {
		s := &v.Shadows[i]
		for j := range s.Fleets {
			rv := r.prepare(en, old, rt, &traffic.Variant{
				Name: s.Name, Routing: s.Routing, Container: s.Container, Fleets: s.Fleets[j : j+1],
			})
			if t := rt.tally(s.Name, s.Fleets[j].Ref()); !t.copies {
				t.copies = true
			}
			out = append(out, receiver{Receiver{Variant: v.Name, Shadow: s.Name, Fleet: s.Fleets[j].ID}, rv})
		}
	}
	if m := v.Mirror; m != nil {
		rv := variant{Variant: v, leastBusy: v.Routing == traffic.LeastOutstandingRequests, total: 1}
		if n := len(m.To.Instances); n > 0 {
			f := fleet{Fleet: &m.To, share: 1, tally: &tally{variant: v.Name, fleet: m.To.Ref(), copies: true}}
			for _, in := range m.To.Instances {
				f.instances = append(f.instances, r.join(in))
			}
			rv.fleets, rv.active = []fleet{f}, n
		}
		out = append(out, receiver{Receiver{Variant: v.Name, Fleet: m.To.ID}, rv})
	}
	return out
}

// DoCopy sends a copy to one of the receiver's instances and waits for the head of
// the response, as Do does; it asks no second instance. ErrNoInstance says that
// none of them takes copies any more. After it, whatever it returned, Finish must
// be called once.
func (r *Router) DoCopy(c *Call, to Receiver) error {
	c.reset(r)
	if err := r.pickCopy(c, to); err != nil {
		return err
	}
	err := c.in.up.Do(&c.Request, &c.Response)
	f, ok := errors.AsType[*http1.Failure](err)
	c.gone, c.sent = errors.Is(err, http1.ErrGone), err == nil || ok && f.Step != http1.Dialling
	c.failed, c.late = err != nil && !c.gone, ok && f.Timeout
	return err
}

// pickCopy chooses and claims an instance.
func (r *Router) pickCopy(c *Call, to Receiver) error {
	for {
		rt := r.find(c.Key)
		if rt == nil {
			return ErrNoEndpoint
		}
		v := rt.receiver(to)
		if v == nil || len(v.fleets) == 0 {
			return ErrNoInstance
		}
		f := v.fleet()
		in := f.instance(v.leastBusy, nil)
		if !r.claim(in) {
			continue // the route that does without it is there already
		}
		c.Account, c.Variant, c.Container, c.Slot = rt.Scope.Account, v.Name, v.Container, int(in.slot.Load())
		c.in, c.tally, c.active, c.quiet = in, f.tally, v.active, to.Shadow == ""
		c.count(1)
		if f.observed {
			c.observe(rt, v, f)
		}
		return nil
	}
}

func (rt *route) receiver(to Receiver) *variant {
	for i := range rt.variants {
		for j := range rt.variants[i].copies {
			if rc := &rt.variants[i].copies[j]; rc.Receiver == to {
				return &rc.variant
			}
		}
	}
	return nil
}
