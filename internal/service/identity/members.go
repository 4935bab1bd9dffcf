package identity

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/trust"
	edgestore "github.com/slipway-ml/slipway/internal/platform/store/edge"
	store "github.com/slipway-ml/slipway/internal/platform/store/identity"
)

// Member is a device of a fleet.
type Member struct {
	Fleet, Device string
	Thing         string // "" if it has none
	role          string // ARN of the fleet's role; "" if it has none
}

// acts returns the thing that a caller has to be to act for the device (edge
// spec §5.1).
func (m Member) acts() string {
	if m.Thing == "" {
		return m.Device
	}
	return m.Thing
}

// fleet reads a fleet, or says that it does not exist as operations on devices
// say it.
func (s *Service) fleet(ctx context.Context, sc arn.Scope, name string) (edge.Fleet, error) {
	f, err := s.Fleets.Fleet(ctx, sc, name)
	return f, edge.Reworded(err, edge.NoFleetOfDevice(name))
}

// register makes a device a member of its fleet, with that thing if it had
// none, and returns what it is then.
func register(
	ctx context.Context, tx store.Tx, sc arn.Scope, fleet, device, thing string, now time.Time,
) (m Member, err error) {
	fleets := edgestore.In(tx.Tx)
	f, err := fleets.Fleet(ctx, sc, fleet)
	if err != nil {
		return m, edge.Reworded(err, edge.NoFleetOfDevice(fleet))
	}
	if f.Deleting {
		return m, fault.New(fault.InUse, "Device fleet with name %s is being deleted", fleet)
	}
	m = Member{Fleet: fleet, Device: device, Thing: thing, role: f.RoleARN}
	had, err := fleets.InsertDevices(
		ctx, f, []edge.Device{{Scope: sc, Fleet: fleet, Name: device, Thing: thing, Registered: now}},
	)
	if err != nil || len(had) == 0 {
		return m, err
	}
	d := had[0]
	if d.Thing == "" {
		d.Thing = thing
		return m, fleets.SaveDevice(ctx, d)
	}
	m.Thing = d.Thing
	return m, nil
}

// Identity is a device of a fleet with its certificates.
type Identity struct {
	Member
	Heard        time.Time // of its latest heartbeat; zero if there was none
	Certificates []trust.Certificate
}

// Identities lists the devices of a fleet by name, those after the given one,
// and says whether more follow.
func (s *Service) Identities(
	ctx context.Context, sc arn.Scope, fleet, after string, limit int,
) (out []Identity, more bool, err error) {
	if _, err := s.fleet(ctx, sc, fleet); err != nil {
		return nil, false, err
	}
	f := edge.DeviceFilter{Fleet: fleet, Limit: limit}
	if after != "" {
		f.After = edge.Cursor{Value: fleet, Name: after}
	}
	ds, more, err := s.Fleets.ListDevices(ctx, sc, f)
	if err != nil {
		return nil, false, err
	}
	for _, d := range ds {
		i := Identity{Member: Member{Fleet: fleet, Device: d.Name, Thing: d.Thing}, Heard: d.Heartbeat}
		if i.Certificates, err = s.certificatesOf(ctx, sc, i.acts()); err != nil {
			return nil, false, err
		}
		out = append(out, i)
	}
	return out, more, nil
}

// certificatesOf returns the certificates that are attached to a thing, which
// need not exist.
func (s *Service) certificatesOf(ctx context.Context, sc arn.Scope, thing string) (out []trust.Certificate, err error) {
	ids, err := s.Store.CertificatesOfThing(ctx, sc, thing, "", trust.MaxPrincipals)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		c, err := s.Store.Certificate(ctx, sc, id)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// Revoke deactivates every certificate of a device, also those that are
// attached to other things, and ends a token that is out for it. It returns the
// certificates that were active.
func (s *Service) Revoke(ctx context.Context, sc arn.Scope, fleet, device string) (ended []string, err error) {
	f, err := s.fleet(ctx, sc, fleet)
	if err != nil {
		return nil, err
	}
	d, err := s.Fleets.Device(ctx, f, device)
	if err != nil {
		return nil, err
	}
	thing := Member{Device: d.Name, Thing: d.Thing}.acts()
	now := time.Now()
	err = s.change(ctx, func(tx store.Tx) error {
		ended = nil
		// A token that has expired is as good as none.
		e := trust.Enrollment{Scope: sc, ID: rand.Text(), Fleet: fleet, Device: device, Expires: now}
		if err := tx.PutEnrollment(ctx, e); err != nil {
			return err
		}
		ids, err := tx.CertificatesOfThing(ctx, sc, thing, "", trust.MaxPrincipals)
		if err != nil {
			return err
		}
		for _, id := range ids {
			c, err := tx.Certificate(ctx, sc, id)
			if err != nil {
				return err
			}
			if c.Status != trust.Active {
				continue
			}
			if err := tx.SetCertificateStatus(ctx, id, trust.Inactive, now); err != nil {
				return err
			}
			ended = append(ended, id)
		}
		return nil
	})
	return ended, err
}
