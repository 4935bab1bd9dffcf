package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	store "github.com/slipway-ml/slipway/internal/platform/store/edge"
)

// CreateFleet records a new fleet. Without an alias it has a role alias if it
// has a role (spec §2.1).
func (s *Service) CreateFleet(ctx context.Context, f edge.Fleet, alias *bool, tags []hosting.Tag) error {
	f.Alias = f.RoleARN != ""
	if alias != nil {
		f.Alias = *alias
	}
	if err := s.ensureAlias(ctx, f); err != nil {
		return err
	}
	f.Created = clock.Now()
	f.Modified = f.Created
	return s.Change(ctx, func(tx store.Tx) error {
		if err := tx.InsertFleet(ctx, f); err != nil {
			return err
		}
		return tx.PutTags(ctx, f.ARN(), tags)
	})
}

func (s *Service) ensureAlias(ctx context.Context, f edge.Fleet) error {
	if err := f.Check(); err != nil || !f.Alias || s.EnsureAlias == nil {
		return err
	}
	return s.EnsureAlias(ctx, f.Scope, f.Name, f.RoleARN)
}

// Fleet returns a fleet.
func (s *Service) Fleet(ctx context.Context, sc arn.Scope, name string) (edge.Fleet, error) {
	return s.Store.Fleet(ctx, sc, name)
}

// ListFleets returns a page of fleets and whether more follow.
func (s *Service) ListFleets(ctx context.Context, sc arn.Scope, f edge.FleetFilter) ([]edge.Fleet, bool, error) {
	return s.Store.ListFleets(ctx, sc, f)
}

// UpdateFleet changes a fleet. Without an alias the role alias stays where it
// is; it is no longer reported (spec §11 Q28).
func (s *Service) UpdateFleet(ctx context.Context, sc arn.Scope, name string, u edge.FleetUpdate) error {
	f, err := s.Store.Fleet(ctx, sc, name)
	if err != nil {
		return err
	}
	if err := s.ensureAlias(ctx, u.Apply(f)); err != nil {
		return err
	}
	return s.Change(ctx, func(tx store.Tx) error {
		f, err := tx.Fleet(ctx, sc, name)
		if err != nil {
			return err
		}
		if f.Deleting {
			return fault.New(fault.InUse, "Device fleet with name %s is being deleted", name)
		}
		f = u.Apply(f)
		if err := f.Check(); err != nil {
			return err
		}
		f.Modified = clock.Now()
		return tx.SaveFleet(ctx, f)
	})
}

// deleteChunk is how many devices one transaction removes.
const deleteChunk = 500

// DeleteFleet removes a fleet that no stage is working on, its devices first
// (spec §11 Q1). A fleet of very many devices takes more than one transaction;
// whoever repeats the call goes on where a crash ended it.
func (s *Service) DeleteFleet(ctx context.Context, sc arn.Scope, name string) error {
	for again := false; ; again = true {
		over := false
		err := s.Change(ctx, func(tx store.Tx) (err error) {
			over, err = s.deleteSome(ctx, tx, sc, name)
			if again {
				err = unlessMissing(err, &over) // somebody else ended it
			}
			return err
		})
		if err != nil || over {
			return err
		}
		failpoint.Hit("fleet.deleting")
	}
}

// deleteSome removes as much of a fleet as one transaction may, and reports
// whether it is gone.
func (s *Service) deleteSome(ctx context.Context, tx store.Tx, sc arn.Scope, name string) (over bool, err error) {
	f, err := tx.Fleet(ctx, sc, name)
	if err != nil {
		return false, edge.Reworded(err, edge.NoFleetToDelete(name))
	}
	if !f.Deleting {
		stage, plan, err := tx.ActiveStage(ctx, f)
		if err != nil {
			return false, err
		}
		if stage != "" {
			return false, fault.New(fault.InUse,
				"DeviceFleet with name %s is in use by stage %s of edge deployment plan %s", name, stage, plan)
		}
		if s.KeepNonempty && f.Devices > 0 {
			return false, fault.New(fault.InUse, "DeviceFleet with name %s has %d registered devices", name, f.Devices)
		}
		f.Deleting = true
		if err := tx.SaveFleet(ctx, f); err != nil {
			return false, err
		}
	}
	ds, err := tx.SomeDevices(ctx, f, deleteChunk)
	if err != nil {
		return false, err
	}
	if err := tx.DeleteDevices(ctx, f, ds); err != nil {
		return false, err
	}
	if len(ds) == deleteChunk {
		return false, nil
	}
	return true, tx.DeleteFleet(ctx, f)
}

func unlessMissing(err error, over *bool) error {
	if edge.Missing(err) {
		*over = true
		return nil
	}
	return err
}

// Report counts what the devices of a fleet said of themselves (spec §2.11).
func (s *Service) Report(ctx context.Context, sc arn.Scope, name string) (edge.Fleet, edge.Report, time.Time, error) {
	at := clock.Now()
	var r edge.Report
	f, err := s.Store.Fleet(ctx, sc, name)
	if err != nil {
		return f, r, at, err
	}
	err = s.Store.EachCheckin(ctx, f, func(d edge.Device) { r.Tally(d, at.Add(-s.Window)) })
	if err != nil {
		return f, r, at, fmt.Errorf("report on fleet %s: %w", name, err)
	}
	r.Sort()
	return f, r, at, nil
}
