package router

import (
	"errors"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/http1"
)

// Copy is a request that goes to an instance besides the one that answers the
// caller: to one of a shadow variant, or of the fleet that a deployment brings up.
// It is offered to one instance only. A Copy may be used again for the next
// request once it is finished.
type Copy struct {
	Key     traffic.Key
	Variant string         // the production variant, whose request it is
	Shadow  string         // the shadow variant that gets it; "": the variant's new fleet
	Request http1.Outgoing // what the container gets

	Response http1.Incoming // the head, once Send has returned without an error

	// What Send chose.
	Fleet     traffic.FleetRef
	Instance  string // id
	Slot      int
	Container string

	r      *Router
	in     *instance
	tally  *tally
	active int
	begun  time.Time
	failed bool
}

// Send chooses an instance, sends the copy and waits for the head of its response.
// The error is ErrNoEndpoint, ErrNoVariant (the route names no such shadow),
// ErrNoInstance or a *http1.Failure. After it, whatever it returned, Finish must
// be called once.
func (r *Router) Send(c *Copy) error {
	c.r, c.in, c.tally, c.failed, c.begun = r, nil, nil, false, time.Now()
	if err := r.pickCopy(c); err != nil {
		return err
	}
	err := c.in.up.Do(&c.Request, &c.Response)
	c.failed = err != nil && !errors.Is(err, http1.ErrGone)
	return err
}

// pickCopy chooses and claims an instance for a copy.
func (r *Router) pickCopy(c *Copy) error {
	for {
		rt := r.find(c.Key)
		if rt == nil {
			return ErrNoEndpoint
		}
		v := rt.variant(c.Variant)
		if v == nil {
			return ErrNoVariant
		}
		to, f := v.receiver(c.Shadow)
		if to == nil {
			return ErrNoVariant
		}
		if f == nil {
			return ErrNoInstance
		}
		in := f.instance(to.leastBusy, nil)
		if !r.claim(in) {
			continue
		}
		c.in, c.active = in, to.active
		c.Fleet, c.Instance, c.Slot, c.Container = f.Ref(), in.ID, int(in.slot.Load()), to.Container
		if c.Shadow != "" {
			c.tally = f.tally
			c.tally.inFlight.Add(1)
		}
		return nil
	}
}

// receiver returns the variant and the fleet that a copy of v's requests goes to;
// no variant if there is no such shadow, no fleet if it has no instance.
func (v *variant) receiver(shadow string) (*variant, *fleet) {
	if shadow == "" {
		for i := range v.fleets {
			if f := &v.fleets[i]; f.Role == traffic.NewFleet {
				return v, f
			}
		}
		return v, nil
	}
	for i := range v.shadows {
		if s := &v.shadows[i]; s.Name == shadow {
			if len(s.fleets) == 0 {
				return s, nil
			}
			return s, s.fleet()
		}
	}
	return nil, nil
}

// Next returns the next part of the response's body; see http1.Incoming.
func (c *Copy) Next() ([]byte, error) {
	p, err := c.Response.Next()
	if _, bad := errors.AsType[*http1.Failure](err); bad {
		c.failed = true
	}
	return p, err
}

// Finish ends the copy and lets go of the instance. What a shadow did of it counts
// under the shadow's own name; what the new fleet did counts nowhere: no caller
// was answered by it.
func (c *Copy) Finish() {
	if c.in == nil {
		return
	}
	c.Response.Close()
	c.r.release(c.in)
	c.in = nil
	if c.tally == nil {
		return
	}
	c.tally.inFlight.Add(-1)
	model, status := c.Response.Waited(), c.Response.Status
	s := traffic.Sample{
		Key: c.Key, Variant: c.tally.variant, Config: c.tally.fleet.Config, Fleet: c.tally.fleet.ID, At: c.begun,
		ModelLatency: model, OverheadLatency: max(0, time.Since(c.begun)-model), Instances: c.active,
		Status4XX: !c.failed && status >= 400 && status < 500, Status5XX: c.failed || status >= 500,
		ModelError: c.failed || status >= 300,
	}
	c.tally.add(&s)
	if c.r.onSample != nil {
		c.r.onSample(s)
	}
}
