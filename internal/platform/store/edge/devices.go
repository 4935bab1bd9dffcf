package edge

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

const deviceColumns = `d.id, d.name, d.description, d.thing, d.registered, d.heartbeat, d.agent, d.models`

// scanDevice reads deviceColumns, and then more.
func scanDevice(f edge.Fleet, scan store.Scan, more ...any) (edge.Device, error) {
	d := edge.Device{Scope: f.Scope, Fleet: f.Name}
	var models string
	err := scan(append([]any{
		&d.ID, &d.Name, &d.Description, &d.Thing, store.Time(&d.Registered),
		moment{&d.Heartbeat},
		&d.AgentVersion,
		&models,
	}, more...)...)
	if err != nil {
		return d, err
	}
	return d, decodeModels(models, &d.Models)
}

func scanDevices(f edge.Fleet) func(store.Scan) (edge.Device, error) {
	return func(scan store.Scan) (edge.Device, error) { return scanDevice(f, scan) }
}

// Device reads a device of a fleet.
func (r reader) Device(ctx context.Context, f edge.Fleet, name string) (edge.Device, error) {
	d, err := scanDevice(f, r.q.QueryRowContext(ctx,
		`select `+deviceColumns+` from device d where d.fleet_id = $1 and d.name = $2`+r.lock, f.ID, name).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return d, edge.NoDevice(f.Name, name)
	}
	return d, store.Wrap("read device", err)
}

const insertDevice = `
	insert into device (id, fleet_id, name, description, thing, registered) values ($1, $2, $3, $4, $5, $6)
	on conflict (fleet_id, name) do nothing`

// InsertDevices registers devices in a fleet that is locked, and returns those
// whose name was registered already, as they are.
func (tx Tx) InsertDevices(ctx context.Context, f edge.Fleet, ds []edge.Device) (have []edge.Device, err error) {
	id, err := tx.NextN(ctx, "device", len(ds))
	if err != nil {
		return nil, err
	}
	for i, d := range ds {
		n, err := tx.Count(ctx, "insert device", insertDevice,
			id+int64(i), f.ID, d.Name, d.Description, d.Thing, store.Micros(d.Registered))
		if err != nil {
			return nil, err
		}
		if n > 0 {
			continue
		}
		old, err := tx.Device(ctx, f, d.Name)
		if err != nil {
			return nil, err
		}
		have = append(have, old)
	}
	return have, tx.countDevices(ctx, f, len(ds)-len(have))
}

func (tx Tx) countDevices(ctx context.Context, f edge.Fleet, n int) error {
	return tx.Run(ctx, "count devices", `update fleet set devices = devices + $1 where id = $2`, n, f.ID)
}

// SaveDevice records what a person says of a device.
func (tx Tx) SaveDevice(ctx context.Context, d edge.Device) error {
	return tx.Run(ctx, "save device", `update device set description = $1, thing = $2 where id = $3`,
		d.Description, d.Thing, d.ID)
}

// DeleteDevices removes devices of a fleet that is locked. Their rows in stages
// stay.
func (tx Tx) DeleteDevices(ctx context.Context, f edge.Fleet, ds []edge.Device) error {
	for _, d := range ds {
		err := tx.Run(ctx, "delete device", `delete from device where id = $1`, d.ID)
		if err == nil {
			err = tx.Run(ctx, "delete device", `delete from device_handle where device_id = $1`, d.ID)
		}
		if err == nil {
			err = tx.DeleteTags(ctx, d.ARN())
		}
		if err != nil {
			return err
		}
	}
	return tx.countDevices(ctx, f, -len(ds))
}

// SomeDevices returns up to n devices of a fleet.
func (tx Tx) SomeDevices(ctx context.Context, f edge.Fleet, n int) ([]edge.Device, error) {
	rows, err := tx.QueryContext(ctx,
		`select `+deviceColumns+` from device d where d.fleet_id = $1 order by d.id limit $2`, f.ID, n)
	return store.Collect(rows, err, "read devices", scanDevices(f))
}

// ListDevices returns one page of devices by the names of fleet and device, and
// whether more follow.
func (db DB) ListDevices(ctx context.Context, s arn.Scope, f edge.DeviceFilter) ([]edge.Device, bool, error) {
	limit := cmp.Or(f.Limit, 100)
	if f.Fleet != "" {
		fl, err := db.Fleet(ctx, s, f.Fleet)
		switch {
		case edge.Missing(err):
			return nil, false, nil
		case err != nil:
			return nil, false, err
		}
		return db.devicesOf(ctx, fl, f, f.After.Name, limit)
	}
	w := new(store.Where)
	w.And("region = ?", s.Region)
	if f.After.Name != "" {
		w.And("name >= ?", f.After.Value)
	}
	rows, err := db.q.QueryContext(
		ctx, fmt.Sprintf(`select %s from fleet where %s order by name`, fleetColumns, w), w.Args...,
	)
	fleets, err := store.Collect(rows, err, "list fleets", func(scan store.Scan) (edge.Fleet, error) {
		return scanFleet(s, scan)
	})
	if err != nil {
		return nil, false, err
	}
	var out []edge.Device
	for _, fl := range fleets {
		after := ""
		if fl.Name == f.After.Value {
			after = f.After.Name
		}
		ds, more, err := db.devicesOf(ctx, fl, f, after, limit-len(out))
		if out = append(out, ds...); err != nil || more {
			return out, more, err
		}
	}
	return out, false, nil
}

// devicesOf lists the devices of one fleet whose name follows after.
func (db DB) devicesOf(
	ctx context.Context, fl edge.Fleet, f edge.DeviceFilter, after string, limit int,
) ([]edge.Device, bool, error) {
	w := new(store.Where)
	w.And("d.fleet_id = ?", fl.ID)
	w.AndText("d.name > ?", after)
	w.AndTime("d.heartbeat > ?", f.HeartbeatAfter)
	if f.Model != "" {
		// A name that the API lets through has nothing that JSON would escape.
		w.And(db.Dialect.Contains("d.models", "?"), `{"n":"`+f.Model+`",`)
	}
	query := fmt.Sprintf(`select %s from device d where %s order by d.name limit %d`, deviceColumns, w, limit+1)
	rows, err := db.q.QueryContext(ctx, query, w.Args...)
	return store.Page(rows, err, "list devices", limit, scanDevices(fl))
}

// EachCheckin calls f with what every device of a fleet last said of itself,
// one by one: a fleet need not fit into memory.
func (db DB) EachCheckin(ctx context.Context, fl edge.Fleet, f func(edge.Device)) error {
	rows, err := db.q.QueryContext(ctx, `select heartbeat, agent, models from device where fleet_id = $1`, fl.ID)
	if err != nil {
		return store.Wrap("read devices", err)
	}
	defer rows.Close()
	for rows.Next() {
		var d edge.Device
		var models string
		if err := rows.Scan(moment{&d.Heartbeat}, &d.AgentVersion, &models); err != nil {
			return store.Wrap("read devices", err)
		}
		if err := decodeModels(models, &d.Models); err != nil {
			return err
		}
		f(d)
	}
	return store.Wrap("read devices", rows.Err())
}

// NewestDevice returns the id of the device that was registered last in a fleet.
func (tx Tx) NewestDevice(ctx context.Context, f edge.Fleet) (id int64, err error) {
	err = tx.QueryRowContext(ctx, `select coalesce(max(id), 0) from device where fleet_id = $1`, f.ID).Scan(&id)
	return id, store.Wrap("read newest device", err)
}
