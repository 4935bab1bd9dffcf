package identity

import (
	"context"

	"github.com/google/uuid"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	store "github.com/slipway-ml/slipway/internal/platform/store/identity"
)

// CreateThingType creates a thing type. One that is the same may be there.
func (s *Service) CreateThingType(ctx context.Context, t trust.ThingType, tags []hosting.Tag) (trust.ThingType, error) {
	if err := hosting.CheckTags(nil, tags); err != nil {
		return t, err
	}
	t.ID, t.Created = uuid.NewString(), clock.Now()
	var out trust.ThingType
	err := s.Store.Change(ctx, func(tx store.Tx) error {
		out = t
		if created, err := tx.InsertThingType(ctx, t); err != nil || created {
			return orTags(ctx, tx, err, t.ARN(), tags)
		}
		have, err := tx.ThingType(ctx, t.Scope, t.Name)
		if err == nil && !have.Same(t) {
			err = exists(
				have.ARN(), have.ID, "Thing Type %s already exists in account with different properties.", t.Name,
			)
		}
		out = have
		return err
	})
	return out, err
}

// ThingType describes a thing type.
func (s *Service) ThingType(ctx context.Context, sc arn.Scope, name string) (trust.ThingType, error) {
	return s.Store.ThingType(ctx, sc, name)
}

// CreateThing creates a thing. One that is the same may be there.
func (s *Service) CreateThing(ctx context.Context, t trust.Thing) (trust.Thing, error) {
	if len(t.Attributes) > trust.MaxAttributes {
		return t, fault.New(fault.Invalid, "A thing can have at most %d attributes.", trust.MaxAttributes)
	}
	t.ID, t.Version, t.Created = uuid.NewString(), 1, clock.Now()
	var out trust.Thing
	err := s.Store.Change(ctx, func(tx store.Tx) (err error) {
		if t.Type != "" {
			if _, err := tx.ThingType(ctx, t.Scope, t.Type); err != nil {
				return err
			}
		}
		out, err = putThing(ctx, tx, t)
		if err == nil && !out.Same(t) {
			err = exists(out.ARN(), out.ID, "Thing %s already exists in account with different attributes.", t.Name)
		}
		return err
	})
	return out, err
}

// putThing creates a thing unless there is one of its name, and returns what
// there is then, locked.
func putThing(ctx context.Context, tx store.Tx, t trust.Thing) (trust.Thing, error) {
	if created, err := tx.InsertThing(ctx, t); err != nil || created {
		return t, err
	}
	return tx.Thing(ctx, t.Scope, t.Name)
}

// Thing describes a thing.
func (s *Service) Thing(ctx context.Context, sc arn.Scope, name string) (trust.Thing, error) {
	return s.Store.Thing(ctx, sc, name)
}

// Things lists things by name.
func (s *Service) Things(ctx context.Context, sc arn.Scope, f trust.ThingFilter) ([]trust.Thing, error) {
	return s.Store.Things(ctx, sc, f)
}

// DeleteThing deletes a thing that no certificate is attached to; version, if
// it is not 0, has to be the thing's.
func (s *Service) DeleteThing(ctx context.Context, sc arn.Scope, name string, version int64) error {
	return s.Store.Change(ctx, func(tx store.Tx) error {
		t, err := tx.Thing(ctx, sc, name)
		if err != nil {
			return err
		}
		if version != 0 && version != t.Version {
			return fault.New(fault.Conflict, "The version for thing %s does not match the expected version.", name)
		}
		held, err := tx.CertificatesOfThing(ctx, sc, name, "", 1)
		if err == nil && len(held) > 0 {
			err = fault.New(fault.Invalid, "Cannot delete. Thing %s is still attached to one or more principals.", name)
		}
		if err != nil {
			return err
		}
		return tx.DeleteThing(ctx, sc, name)
	})
}

// orTags adds tags to what was just created without an error.
func orTags(ctx context.Context, tx store.Tx, err error, name string, tags []hosting.Tag) error {
	if err != nil {
		return err
	}
	return tx.PutTags(ctx, name, tags)
}

// Taken is in the cause of a refusal to create what exists and is different.
type Taken struct{ ARN, ID string }

func (t *Taken) Error() string { return "it exists: " + t.ARN }

func exists(name, id, format string, args ...any) error {
	return fault.New(fault.Exists, format, args...).Because(&Taken{name, id})
}
