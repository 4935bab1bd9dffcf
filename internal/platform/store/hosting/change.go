package hosting

import (
	"context"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/outcome"
)

// ChangeEndpoint reads and locks an endpoint, has f change it, and writes what
// follows, in one transaction. f may run again.
func (db *DB) ChangeEndpoint(ctx context.Context, s arn.Scope, name string, f func(Tx, *hosting.Endpoint) error) error {
	return db.Change(ctx, func(tx Tx) error {
		e, err := tx.Endpoint(ctx, s, name)
		if err != nil {
			return err
		}
		was := outcome.StandingOf(e)
		if err := f(tx, e); err != nil {
			return err
		}
		is, err := tx.Instances(ctx, e.ID)
		if err != nil {
			return err
		}
		return tx.Write(ctx, outcome.OfChange(was, e, is))
	})
}

// ReportInstance records what became of an instance, and writes what follows
// from it. It says whether the instance is still there and wanted.
func (db *DB) ReportInstance(ctx context.Context, r hosting.InstanceReport, now time.Time) (wanted bool, err error) {
	i, err := db.changeInstance(ctx, r.ID, func(e *hosting.Endpoint, all []hosting.Instance) *outcome.Outcome {
		return new(outcome.OfReport(e, all, r, now))
	})
	return i != nil && i.Wanted, err
}

// RemoveInstance forgets an instance that runs no more, and writes what follows
// from it. One that is wanted stays as it is, and is told: its end was asked for in
// a state of the database that was lost.
func (db *DB) RemoveInstance(ctx context.Context, id hosting.InstanceID, now time.Time) (wanted bool, err error) {
	i, err := db.changeInstance(ctx, id, func(e *hosting.Endpoint, all []hosting.Instance) *outcome.Outcome {
		if slices.ContainsFunc(all, func(i hosting.Instance) bool { return i.ID == id && i.Wanted }) {
			return nil
		}
		return new(outcome.OfRemoval(e, all, id, now))
	})
	return i != nil && i.Wanted, err
}

// changeInstance returns an instance, nil if it is gone, and writes what follows
// from its change as f says, nothing if that is nil, given its endpoint, which is
// locked and nil if it is gone, and all instances of it.
func (db *DB) changeInstance(
	ctx context.Context, id hosting.InstanceID, f func(*hosting.Endpoint, []hosting.Instance) *outcome.Outcome,
) (i *hosting.Instance, err error) {
	err = db.Change(ctx, func(tx Tx) error {
		if i, err = tx.instance(ctx, id); err != nil || i == nil {
			return err
		}
		e, err := tx.EndpointByID(ctx, i.Endpoint)
		if err != nil {
			return err
		}
		all, err := tx.Instances(ctx, i.Endpoint)
		if err != nil {
			return err
		}
		if o := f(e, all); o != nil {
			return tx.Write(ctx, *o)
		}
		return nil
	})
	return i, err
}
