package identity

import (
	"context"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	store "github.com/slipway-ml/slipway/internal/platform/store/identity"
)

// CreatePolicy creates a policy of a document that can be read.
func (s *Service) CreatePolicy(ctx context.Context, p trust.Policy, tags []hosting.Tag) error {
	if err := hosting.CheckTags(nil, tags); err != nil {
		return err
	}
	if _, err := trust.ParsePolicy(p.Document); err != nil {
		return err
	}
	p.Created = clock.Now()
	return s.Store.Change(ctx, func(tx store.Tx) error {
		created, err := tx.InsertPolicy(ctx, p)
		if err == nil && !created {
			err = exists(p.ARN(), p.Name, "Policy cannot be created - name already exists (name=%s)", p.Name)
		}
		return orTags(ctx, tx, err, p.ARN(), tags)
	})
}

// Policy describes a policy.
func (s *Service) Policy(ctx context.Context, sc arn.Scope, name string) (trust.Policy, error) {
	return s.Store.Policy(ctx, sc, name)
}

// DeletePolicy deletes a policy that is attached to nothing.
func (s *Service) DeletePolicy(ctx context.Context, sc arn.Scope, name string) error {
	return s.Store.Change(ctx, func(tx store.Tx) error {
		p, err := tx.Policy(ctx, sc, name)
		if err != nil {
			return err
		}
		on, err := tx.CertificatesOfPolicy(ctx, sc, name, "", 1)
		if err == nil && len(on) > 0 {
			err = fault.New(
				fault.InUse,
				"The policy cannot be deleted as the policy is attached to one or more principals (name=%s)", name,
			)
		}
		if err != nil {
			return err
		}
		return tx.DeletePolicy(ctx, p)
	})
}

// AttachPolicy attaches a policy to a certificate, named by its ARN. It may be
// attached already.
func (s *Service) AttachPolicy(ctx context.Context, sc arn.Scope, policy, target string) error {
	id, err := principal(sc, target)
	if err != nil {
		return err
	}
	return s.Store.Change(ctx, func(tx store.Tx) error {
		if _, err := tx.Certificate(ctx, sc, id); err != nil {
			return err
		}
		if _, err := tx.Policy(ctx, sc, policy); err != nil {
			return err
		}
		return attachPolicy(ctx, tx, sc, policy, id)
	})
}

// attachPolicy attaches a policy to a certificate that are both locked.
func attachPolicy(ctx context.Context, tx store.Tx, sc arn.Scope, policy, id string) error {
	have, err := tx.PoliciesOf(ctx, id, trust.MaxPolicies)
	if err != nil {
		return err
	}
	for _, name := range have {
		if name == policy {
			return nil
		}
	}
	if len(have) == trust.MaxPolicies {
		return fault.New(fault.Limit, "A certificate can have at most %d policies.", trust.MaxPolicies)
	}
	return tx.AttachPolicy(ctx, sc, id, policy)
}

// DetachPolicy detaches a policy from a certificate, named by its ARN.
func (s *Service) DetachPolicy(ctx context.Context, sc arn.Scope, policy, target string) error {
	id, err := principal(sc, target)
	if err != nil {
		return err
	}
	return s.Store.Change(ctx, func(tx store.Tx) error {
		if _, err := tx.Certificate(ctx, sc, id); err != nil {
			return err
		}
		if _, err := tx.Policy(ctx, sc, policy); err != nil {
			return err
		}
		return tx.DetachPolicy(ctx, sc, id, policy)
	})
}

// PolicyTargets lists the ARNs of the certificates that a policy is attached
// to, those after the given one.
func (s *Service) PolicyTargets(ctx context.Context, sc arn.Scope, policy, after string, limit int) ([]string, error) {
	if _, err := s.Store.Policy(ctx, sc, policy); err != nil {
		return nil, err
	}
	id, _ := trust.CertificateID(sc, after)
	ids, err := s.Store.CertificatesOfPolicy(ctx, sc, policy, id, limit)
	return arns(sc, ids), err
}
