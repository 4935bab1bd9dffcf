package identity

import (
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/trust"
)

// AliasTx is what EnsureAliasIn needs of a transaction.
type AliasTx interface {
	InsertRoleAlias(ctx context.Context, a trust.RoleAlias) (bool, error)
	RoleAlias(ctx context.Context, s arn.Scope, name string) (trust.RoleAlias, error)
	SaveRoleAlias(ctx context.Context, a trust.RoleAlias) error
}

// EnsureAlias makes the role alias of a device fleet exist and point to a role,
// as EnsureAliasIn does, in a transaction of its own.
func (s *Service) EnsureAlias(ctx context.Context, sc arn.Scope, fleet, roleARN string) error {
	return s.Change(ctx, func(tx Tx) error {
		_, err := EnsureAliasIn(ctx, tx, sc, fleet, roleARN, time.Now().UTC())
		return err
	})
}

// EnsureAliasIn makes the role alias of a device fleet exist and point to a
// role, within the transaction that writes the fleet, and returns the alias's
// ARN. An alias of that name which somebody else made is taken over only if it
// points there already (edge spec §2.1).
func EnsureAliasIn(ctx context.Context, tx AliasTx, s arn.Scope, fleet, roleARN string, now time.Time) (string, error) {
	a := trust.RoleAlias{
		Scope: s, Name: trust.FleetAlias(fleet), RoleARN: roleARN, Duration: trust.DefaultDuration, Fleet: true, Created: now, Modified: now,
	}
	if created, err := tx.InsertRoleAlias(ctx, a); err != nil || created {
		return a.ARN(), err
	}
	have, err := tx.RoleAlias(ctx, s, a.Name)
	switch {
	case err != nil:
		return "", err
	case !have.Fleet && have.RoleARN != roleARN:
		return "", fault.New(fault.Invalid, "The role alias %s exists already and points to another role.", a.Name)
	case have.Fleet && have.RoleARN == roleARN:
		return a.ARN(), nil
	}
	have.RoleARN, have.Fleet, have.Modified = roleARN, true, now
	return a.ARN(), tx.SaveRoleAlias(ctx, have)
}

// CreateRoleAlias creates a role alias; its Duration may be 0.
func (s *Service) CreateRoleAlias(ctx context.Context, a trust.RoleAlias, tags []hosting.Tag) error {
	if err := hosting.CheckTags(nil, tags); err != nil {
		return err
	}
	a.Created = time.Now().UTC()
	a.Modified = a.Created
	if a.Duration == 0 {
		a.Duration = trust.DefaultDuration
	}
	return s.Change(ctx, func(tx Tx) error {
		created, err := tx.InsertRoleAlias(ctx, a)
		if err == nil && !created {
			err = exists(a.ARN(), a.Name, "Role alias already exists (roleAlias=%s)", a.Name)
		}
		return orTags(ctx, tx, err, a.ARN(), tags)
	})
}

// RoleAlias describes a role alias.
func (s *Service) RoleAlias(ctx context.Context, sc arn.Scope, name string) (trust.RoleAlias, error) {
	return s.Store.RoleAlias(ctx, sc, name)
}

// RoleAliases lists the names of role aliases beyond the given one.
func (s *Service) RoleAliases(ctx context.Context, sc arn.Scope, after string, ascending bool, limit int) ([]string, error) {
	return s.Store.RoleAliases(ctx, sc, after, ascending, limit)
}

// UpdateRoleAlias changes the role or the duration of an alias, or what is not
// empty of them.
func (s *Service) UpdateRoleAlias(ctx context.Context, sc arn.Scope, name, roleARN string, d time.Duration) (trust.RoleAlias, error) {
	var out trust.RoleAlias
	err := s.Change(ctx, func(tx Tx) error {
		a, err := tx.RoleAlias(ctx, sc, name)
		if err != nil {
			return err
		}
		if roleARN != "" {
			a.RoleARN = roleARN
		}
		if d != 0 {
			a.Duration = d
		}
		a.Modified = time.Now().UTC()
		out = a
		return tx.SaveRoleAlias(ctx, a)
	})
	return out, err
}

// DeleteRoleAlias deletes a role alias. Sessions that were granted live on.
func (s *Service) DeleteRoleAlias(ctx context.Context, sc arn.Scope, name string) error {
	return s.Change(ctx, func(tx Tx) error {
		if err := tx.DeleteTags(ctx, trust.AliasARN(sc, name)); err != nil {
			return err
		}
		return tx.DeleteRoleAlias(ctx, sc, name)
	})
}
