package fleet

import (
	"context"
	"slices"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	store "github.com/slipway-ml/slipway/internal/platform/store/edge"
)

// maxDeregister bounds one call, so that its transaction stays short.
const maxDeregister = 10_000

// Register registers devices, all or none. Whoever repeats a registration
// succeeds; to register a name with other attributes is refused (spec §2.6).
func (s *Service) Register(ctx context.Context, sc arn.Scope, name string, ds []edge.Device, tags []hosting.Tag) error {
	if len(ds) > edge.MaxRegister {
		return fault.New(
			fault.Limit, "At most %d devices can be registered in one call, not %d.", edge.MaxRegister, len(ds),
		)
	}
	at, seen := clock.Now(), make(map[string]edge.Device, len(ds))
	for i := range ds {
		d := &ds[i]
		d.Scope, d.Fleet, d.Registered = sc, name, at
		if _, twice := seen[d.Name]; twice {
			return fault.New(fault.Invalid, "Device %s is given twice.", d.Name)
		}
		seen[d.Name] = *d
	}
	return s.Change(ctx, func(tx store.Tx) error {
		f, err := fleetForWork(ctx, tx, sc, name)
		if err != nil {
			return err
		}
		have, err := tx.InsertDevices(ctx, f, ds)
		if err != nil {
			return err
		}
		for _, old := range have {
			if !old.Same(seen[old.Name]) {
				return fault.New(
					fault.Invalid, "Device %s is registered in device fleet %s already, with other attributes.",
					old.Name, name,
				)
			}
		}
		for _, d := range ds {
			if err := tx.PutTags(ctx, d.ARN(), tags); err != nil {
				return err
			}
		}
		return nil
	})
}

// Deregister removes devices from a fleet, all or none. What stages still
// wanted of them is stopped (spec §4.6).
func (s *Service) Deregister(ctx context.Context, sc arn.Scope, name string, devices []string) error {
	if len(devices) > maxDeregister {
		return fault.New(
			fault.Limit, "At most %d devices can be deregistered in one call, not %d.", maxDeregister, len(devices),
		)
	}
	err := s.Change(ctx, func(tx store.Tx) error {
		f, err := tx.Fleet(ctx, sc, name)
		if err != nil {
			return edge.Reworded(err, edge.NoFleetOfDevice(name))
		}
		ds := make([]edge.Device, 0, len(devices))
		seen := make(map[string]bool, len(devices))
		for _, n := range devices {
			if seen[n] {
				continue
			}
			seen[n] = true
			d, err := tx.Device(ctx, f, n)
			if err != nil {
				return edge.Reworded(err, edge.NoDeviceToDeregister(name, n))
			}
			ds = append(ds, d)
		}
		if err := release(ctx, tx, ds); err != nil {
			return err
		}
		return tx.DeleteDevices(ctx, f, ds)
	})
	if err == nil {
		s.Wake.Notify()
	}
	return err
}

// release ends what stages still want of devices that leave.
func release(ctx context.Context, tx store.Tx, ds []edge.Device) error {
	at := clock.Now()
	var plans []int64
	open := make([][]edge.Offer, len(ds))
	for i, d := range ds {
		var err error
		if open[i], err = tx.OpenRowsOf(ctx, d.ID); err != nil {
			return err
		}
		for _, o := range open[i] {
			plans = append(plans, o.Plan)
		}
	}
	if len(plans) == 0 {
		return nil
	}
	slices.Sort(plans)
	plans = slices.Compact(plans)
	if err := tx.LockPlans(ctx, plans); err != nil {
		return err
	}
	deltas := map[int64]*edge.Counts{}
	for i, d := range ds {
		for _, o := range open[i] {
			r, ok, err := tx.RowOf(ctx, o.Stage, d.ID)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if err := move(ctx, tx, o.Stage, r, edge.Event{Kind: edge.Deregistered, At: at}, deltas); err != nil {
				return err
			}
		}
	}
	return tx.CountRows(ctx, plans, deltas, at)
}

// move lets an event happen to a row, and notes what it does to the counters of
// its stage.
func move(
	ctx context.Context, tx store.Tx, stage int64, r edge.Row, e edge.Event, deltas map[int64]*edge.Counts,
) error {
	next, changed := edge.NextDevice(r, e)
	if !changed {
		return nil
	}
	counts(deltas, stage).Move(r.Status, next.Status)
	return tx.SaveRow(ctx, stage, next)
}

// UpdateDevices changes devices, all or none.
func (s *Service) UpdateDevices(ctx context.Context, sc arn.Scope, name string, us []edge.DeviceUpdate) error {
	if len(us) > edge.MaxRegister {
		return fault.New(
			fault.Limit, "At most %d devices can be updated in one call, not %d.", edge.MaxRegister, len(us),
		)
	}
	return s.Change(ctx, func(tx store.Tx) error {
		f, err := fleetForWork(ctx, tx, sc, name)
		if err != nil {
			return err
		}
		for _, u := range us {
			d, err := tx.Device(ctx, f, u.Name)
			if err != nil {
				return err
			}
			if err := tx.SaveDevice(ctx, u.Apply(d)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Device returns a device with all that it last said of itself.
func (s *Service) Device(ctx context.Context, sc arn.Scope, fleet, name string) (edge.Device, error) {
	f, err := s.Store.Fleet(ctx, sc, fleet)
	if err != nil {
		return edge.Device{}, edge.Reworded(err, edge.NoFleetOfDevice(fleet))
	}
	return s.Store.Device(ctx, f, name)
}

// ListDevices returns a page of devices, by the names of fleet and device, and
// whether more follow. A fleet that does not exist has none.
func (s *Service) ListDevices(ctx context.Context, sc arn.Scope, f edge.DeviceFilter) ([]edge.Device, bool, error) {
	return s.Store.ListDevices(ctx, sc, f)
}
