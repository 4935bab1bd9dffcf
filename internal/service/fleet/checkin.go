package fleet

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/clock"
)

// allowed refuses a caller with the credentials of another thing.
func allowed(c edge.Caller, d edge.Device) error {
	if d.Acts(c) {
		return nil
	}
	return fault.New(
		fault.Denied, "The credentials are those of thing %s, which may not act for device %s.", c.Thing, d.Name,
	)
}

// Registration says whether a device is registered, and for how long it may
// believe that (spec §3.1).
func (s *Service) Registration(
	ctx context.Context, sc arn.Scope, caller edge.Caller, fleet, device string,
) (active bool, ttl time.Duration, err error) {
	p, err := s.Store.Poll(ctx, sc, fleet, device)
	if edge.Missing(err) {
		return false, s.UnregisteredTTL, nil
	}
	if err == nil {
		err = allowed(caller, p.Device)
	}
	if err != nil {
		return false, 0, err
	}
	return true, s.RegisteredTTL, nil
}

// Deployments returns what a device is to do, oldest stage first (spec §3.2).
// A device without work costs one read.
func (s *Service) Deployments(
	ctx context.Context, sc arn.Scope, caller edge.Caller, fleet, device string,
) ([]edge.Deployment, edge.Hints, error) {
	p, err := s.Store.Poll(ctx, sc, fleet, device)
	if err == nil {
		err = allowed(caller, p.Device)
	}
	if err != nil {
		return nil, edge.Hints{}, err
	}
	hints := s.hints(p)
	for _, o := range p.Offers {
		if o.Status != edge.DeviceReady && !beyond(caller, o) {
			continue
		}
		c := &checkin{
			scope: sc, fleet: fleet, device: p.Device.Name, caller: caller, id: p.Device.ID, offers: p.Offers,
		}
		if err := s.submit(ctx, c); err != nil {
			return nil, hints, err
		}
		p.Offers = c.given
		break
	}
	var out []edge.Deployment
	for _, o := range p.Offers {
		d, err := s.deployment(ctx, p.Device.ID, o)
		if err != nil {
			return nil, hints, err
		}
		out = append(out, d)
	}
	return out, hints, nil
}

// beyond reports whether an agent would leave out a part of an order: that is no
// order for it.
func beyond(c edge.Caller, o edge.Offer) bool {
	return o.Order.Mirror != nil && !o.Undoing && !c.Mirrors
}

// deployment is an offer in the words of the API.
func (s *Service) deployment(ctx context.Context, device int64, o edge.Offer) (edge.Deployment, error) {
	d := edge.Deployment{Name: o.Deployment, OnFailure: o.Order.OnFailure}
	if !o.Undoing {
		d.Definitions, d.Mirror = o.Order.Definitions(nil), o.Order.Mirror
		return d, nil
	}
	had, err := s.Store.Before(ctx, device, o.Plan)
	if err != nil {
		return d, err
	}
	d.Definitions = o.Order.Definitions(func(handle string) (edge.Package, bool) {
		p, ok := had[handle]
		return p, ok
	})
	return d, nil
}

// hints say when a device should come again. The devices of a large fleet come
// less often, so that all of them together can be served.
func (s *Service) hints(p edge.Polled) edge.Hints {
	h := edge.Hints{Poll: s.IdlePoll, Heartbeat: s.HeartbeatEvery}
	if p.Active {
		h.Poll = s.ActivePoll
	}
	crowd := (time.Duration(p.Devices) * time.Second / time.Duration(s.PollRate)).Truncate(time.Second)
	h.Poll, h.Heartbeat = max(h.Poll, crowd), max(h.Heartbeat, crowd)
	return h
}

// maxModels bounds what is kept of the models that a device says it has loaded.
const maxModels = 256

// Heartbeat records what a device says of itself, and how a deployment went
// (spec §3.3). Metrics never make it fail.
func (s *Service) Heartbeat(
	ctx context.Context, sc arn.Scope, caller edge.Caller, h edge.Heartbeat,
) (edge.Hints, error) {
	h.AgentVersion = clean(h.AgentVersion)
	h.Models = h.Models[:min(len(h.Models), maxModels)]
	for i := range h.Models {
		m := &h.Models[i]
		m.Name, m.Version = clean(m.Name), clean(m.Version)
	}
	h.Comparisons = h.Comparisons[:min(len(h.Comparisons), edge.MaxModels)]
	c := &checkin{scope: sc, fleet: h.Fleet, device: h.Device, caller: caller, heartbeat: &h}
	if r := h.Result; r != nil {
		c.outcome = edge.OutcomeOf(*r)
	}
	if err := s.submit(ctx, c); err != nil {
		return edge.Hints{}, err
	}
	if s.Measured != nil && len(h.Metrics)+h.Dropped > 0 {
		s.Measured(sc, h)
	}
	return s.hints(c.polled), nil
}

// clean makes a string one that every database can keep.
func clean(t string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(t, "\x00", ""), "\uFFFD")
}

// errStopped says that nobody writes check-ins any more.
var errStopped = errors.New("the server is stopping")

// submit has a check-in written together with others, and waits for that. A
// caller that gives up may find it written all the same.
func (s *Service) submit(ctx context.Context, c *checkin) error {
	c.at, c.done = clock.Now(), make(chan error, 1)
	select {
	case s.queue <- c:
	default:
		s.deaf()
		return fault.New(fault.Unavailable, "Too many devices are checking in. Try again.")
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
	}
	select {
	case err := <-c.done:
		return err
	default:
		return fault.New(fault.Unavailable, "The server is stopping. Try again.").Because(errStopped)
	}
}
