package identity

import (
	"cmp"
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	store "github.com/slipway-ml/slipway/internal/platform/store/identity"
)

// EnsureAlias makes the role alias of a device fleet exist and point to a role.
// An alias of that name which somebody else made is taken over only if it points
// there already (edge spec §2.1).
func (s *Service) EnsureAlias(ctx context.Context, sc arn.Scope, fleet, roleARN string) error {
	return s.Store.Change(ctx, func(tx store.Tx) error {
		now := clock.Now()
		a := trust.RoleAlias{
			Scope: sc, Name: edge.AliasName(fleet), RoleARN: roleARN, Duration: trust.DefaultDuration, Fleet: true,
			Created: now, Modified: now,
		}
		if created, err := tx.InsertRoleAlias(ctx, a); err != nil || created {
			return err
		}
		have, err := tx.RoleAlias(ctx, sc, a.Name)
		switch {
		case err != nil:
			return err
		case !have.Fleet && have.RoleARN != roleARN:
			return fault.New(fault.Invalid, "The role alias %s exists already and points to another role.", a.Name)
		case have.Fleet && have.RoleARN == roleARN:
			return nil
		}
		have.RoleARN, have.Fleet, have.Modified = roleARN, true, now
		return tx.SaveRoleAlias(ctx, have)
	})
}

// CreateRoleAlias creates a role alias; its Duration may be 0.
func (s *Service) CreateRoleAlias(ctx context.Context, a trust.RoleAlias, tags []hosting.Tag) error {
	if err := hosting.CheckTags(nil, tags); err != nil {
		return err
	}
	a.Created = clock.Now()
	a.Modified = a.Created
	a.Duration = cmp.Or(a.Duration, trust.DefaultDuration)
	return s.Store.Change(ctx, func(tx store.Tx) error {
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
func (s *Service) RoleAliases(
	ctx context.Context, sc arn.Scope, after string, ascending bool, limit int,
) ([]string, error) {
	return s.Store.RoleAliases(ctx, sc, after, ascending, limit)
}

// UpdateRoleAlias changes the role or the duration of an alias, or what is not
// empty of them.
func (s *Service) UpdateRoleAlias(
	ctx context.Context, sc arn.Scope, name, roleARN string, d time.Duration,
) (trust.RoleAlias, error) {
	var out trust.RoleAlias
	err := s.Store.Change(ctx, func(tx store.Tx) error {
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
		a.Modified = clock.Now()
		out = a
		return tx.SaveRoleAlias(ctx, a)
	})
	return out, err
}

// DeleteRoleAlias deletes a role alias. Sessions that were granted live on.
func (s *Service) DeleteRoleAlias(ctx context.Context, sc arn.Scope, name string) error {
	return s.Store.Change(ctx, func(tx store.Tx) error {
		return tx.DeleteRoleAlias(ctx, sc, name)
	})
}
