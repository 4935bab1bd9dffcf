package identity

import (
	"context"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/devicetls"
	store "github.com/slipway-ml/slipway/internal/platform/store/identity"
)

// Keys is a new certificate with its keys, PEM. The private one is in no other
// place.
type Keys struct {
	trust.Certificate
	Public, Private string
}

// CreateKeysAndCertificate makes an RSA key and a certificate for it.
func (s *Service) CreateKeysAndCertificate(ctx context.Context, sc arn.Scope, active bool) (k Keys, err error) {
	select {
	case s.keys <- struct{}{}:
		defer func() { <-s.keys }()
	case <-ctx.Done():
		return k, ctx.Err()
	}
	public, publicPEM, privatePEM, err := devicetls.NewKey()
	if err != nil {
		return k, err
	}
	issued, err := s.ca.Issue(public)
	if err != nil {
		return k, err
	}
	c := newCertificate(sc, issued)
	if !active {
		c.Status = trust.Inactive
	}
	err = s.change(ctx, func(tx store.Tx) error { return tx.InsertCertificate(ctx, c) })
	return Keys{c, publicPEM, privatePEM}, err
}

func newCertificate(sc arn.Scope, i devicetls.Issued) trust.Certificate {
	now := clock.Now()
	return trust.Certificate{
		Scope: sc, ID: i.ID, PEM: i.PEM, Status: trust.Active, Created: now, Modified: now, NotBefore: i.NotBefore,
		NotAfter: i.NotAfter,
	}
}

// Certificate describes a certificate.
func (s *Service) Certificate(ctx context.Context, sc arn.Scope, id string) (trust.Certificate, error) {
	return s.Store.Certificate(ctx, sc, CanonicalID(id))
}

// CanonicalID is a certificate's ID as it is kept: the API takes it in any case
// and with 0x before it.
func CanonicalID(id string) string { return strings.TrimPrefix(strings.ToLower(id), "0x") }

// SetStatus makes a certificate active or inactive, or revokes it for good. A
// state that does not allow what is asked is a fault.Conflict.
func (s *Service) SetStatus(ctx context.Context, sc arn.Scope, id string, status trust.Status) error {
	id = CanonicalID(id)
	switch status {
	case trust.Active, trust.Inactive, trust.Revoked:
	default:
		return fault.New(fault.Invalid, "The status of a certificate cannot be set to %s.", status)
	}
	return s.change(ctx, func(tx store.Tx) error {
		c, err := tx.Certificate(ctx, sc, id)
		switch {
		case err != nil:
			return err
		case c.Status == status:
			return nil
		case c.Status == trust.Revoked:
			return fault.New(fault.Conflict, "Certificate %s is revoked.", id)
		}
		return tx.SetCertificateStatus(ctx, id, status, time.Now())
	})
}

// DeleteCertificate deletes a certificate that is not active and attached to no
// thing. A policy must not be attached to it either, unless force says that it
// is detached first.
func (s *Service) DeleteCertificate(ctx context.Context, sc arn.Scope, id string, force bool) error {
	id = CanonicalID(id)
	return s.change(ctx, func(tx store.Tx) error {
		c, err := tx.Certificate(ctx, sc, id)
		if err != nil {
			return err
		}
		if c.Status == trust.Active {
			return fault.New(
				fault.Conflict, "Certificate must be deactivated (not ACTIVE) before deletion. (certificateId=%s)", id,
			)
		}
		things, err := tx.ThingsOf(ctx, id, "", 1)
		if err != nil {
			return err
		}
		if len(things) > 0 {
			return fault.New(fault.InUse, "Things must be detached before deletion (arn=%s)", c.ARN())
		}
		policies, err := tx.PoliciesOf(ctx, id, trust.MaxPolicies)
		if err != nil {
			return err
		}
		for _, p := range policies {
			if !force {
				return fault.New(fault.InUse, "Certificate policies must be detached before deletion (arn=%s)", c.ARN())
			}
			if err := tx.DetachPolicy(ctx, sc, id, p); err != nil {
				return err
			}
		}
		return tx.DeleteCertificate(ctx, id, time.Now())
	})
}

// principal returns the ID of the certificate that an ARN names. Certificates
// are the only principals there are.
func principal(sc arn.Scope, name string) (string, error) {
	id, ok := trust.CertificateID(sc, name)
	if !ok {
		if strings.HasPrefix(name, "arn:") && strings.Contains(name, ":cert/") {
			return "", fault.New(fault.NotFound, "Certificate %s cannot be found.", name)
		}
		return "", fault.New(fault.Invalid, "The principal must be the ARN of a certificate.")
	}
	return CanonicalID(id), nil
}

// AttachThing attaches a certificate, named by its ARN, to a thing. It may be
// attached already.
func (s *Service) AttachThing(ctx context.Context, sc arn.Scope, thing, certificate string) error {
	id, err := principal(sc, certificate)
	if err != nil {
		return err
	}
	return s.change(ctx, func(tx store.Tx) error {
		// Always in this order, so that two transactions cannot wait for each other.
		if _, err := tx.Thing(ctx, sc, thing); err != nil {
			return err
		}
		if _, err := tx.Certificate(ctx, sc, id); err != nil {
			return err
		}
		return attach(ctx, tx, sc, thing, id)
	})
}

// attach attaches a thing and a certificate that are both locked.
func attach(ctx context.Context, tx store.Tx, sc arn.Scope, thing, id string) error {
	things, err := tx.ThingsOf(ctx, id, "", trust.MaxThings)
	if err != nil {
		return err
	}
	held, err := tx.CertificatesOfThing(ctx, sc, thing, "", trust.MaxPrincipals)
	if err != nil {
		return err
	}
	if len(things) == trust.MaxThings || len(held) == trust.MaxPrincipals {
		return fault.New(
			fault.Invalid,
			"A certificate can be attached to at most %d things, and a thing to at most %d certificates.",
			trust.MaxThings, trust.MaxPrincipals,
		)
	}
	return tx.AttachThing(ctx, sc, id, thing)
}

// DetachThing detaches a certificate, named by its ARN, from a thing.
func (s *Service) DetachThing(ctx context.Context, sc arn.Scope, thing, certificate string) error {
	id, err := principal(sc, certificate)
	if err != nil {
		return err
	}
	return s.change(ctx, func(tx store.Tx) error {
		if _, err := tx.Thing(ctx, sc, thing); err != nil {
			return err
		}
		if _, err := tx.Certificate(ctx, sc, id); err != nil {
			return err
		}
		return tx.DetachThing(ctx, sc, id, thing)
	})
}

// ThingCertificates lists the ARNs of the certificates that are attached to a
// thing, those after the given one.
func (s *Service) ThingCertificates(
	ctx context.Context, sc arn.Scope, thing, after string, limit int,
) ([]string, error) {
	if _, err := s.Store.Thing(ctx, sc, thing); err != nil {
		return nil, err
	}
	id, _ := trust.CertificateID(sc, after)
	ids, err := s.Store.CertificatesOfThing(ctx, sc, thing, id, limit)
	return arns(sc, ids), err
}

// CertificateThings lists the things that a certificate, named by its ARN, is
// attached to, those after the given one.
func (s *Service) CertificateThings(
	ctx context.Context, sc arn.Scope, certificate, after string, limit int,
) ([]string, error) {
	id, err := principal(sc, certificate)
	if err != nil {
		return nil, err
	}
	if _, err := s.Store.Certificate(ctx, sc, id); err != nil {
		return nil, err
	}
	return s.Store.ThingsOf(ctx, id, after, limit)
}

func arns(sc arn.Scope, ids []string) (out []string) {
	for _, id := range ids {
		out = append(out, trust.CertificateARN(sc, id))
	}
	return out
}
