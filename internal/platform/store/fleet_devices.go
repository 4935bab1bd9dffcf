package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

const deviceColumns = `d.id, d.name, d.description, d.thing, d.registered, d.heartbeat, d.agent, d.models`

func scanDevice(f edge.Fleet, scan func(...any) error) (edge.Device, error) {
	d := edge.Device{Scope: f.Scope, Fleet: f.Name}
	var registered, heartbeat int64
	var models string
	if err := scan(&d.ID, &d.Name, &d.Description, &d.Thing, &registered, &heartbeat, &d.AgentVersion, &models); err != nil {
		return d, err
	}
	d.Registered = FromMicros(registered)
	if heartbeat > 0 {
		d.Heartbeat = FromMicros(heartbeat)
	}
	return d, decodeModels(models, &d.Models)
}

func decodeModels(doc string, into *[]edge.LoadedModel) error {
	if doc == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(doc), into); err != nil {
		return fmt.Errorf("decode models: %w", err)
	}
	return nil
}

func device(ctx context.Context, q Querier, f edge.Fleet, name, lock string) (edge.Device, error) {
	d, err := scanDevice(f, q.QueryRowContext(ctx, `select `+deviceColumns+` from device d where d.fleet_id = $1 and d.name = $2`+lock, f.ID, name).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return d, edge.NoDevice(f.Name, name)
	}
	return d, Wrap("read device", err)
}

// Device reads a device of a fleet.
func (db *DB) Device(ctx context.Context, f edge.Fleet, name string) (edge.Device, error) {
	return device(ctx, db.Read(), f, name, "")
}

// Device reads and locks a device of a fleet.
func (tx *Tx) Device(ctx context.Context, f edge.Fleet, name string) (edge.Device, error) {
	return device(ctx, tx, f, name, tx.Dialect.ForUpdate)
}

const insertDevice = `
	insert into device (id, fleet_id, name, description, thing, registered) values ($1, $2, $3, $4, $5, $6)
	on conflict (fleet_id, name) do nothing`

// InsertDevices registers devices in a fleet that is locked, and returns those
// whose name was registered already, as they are.
func (tx *Tx) InsertDevices(ctx context.Context, f edge.Fleet, ds []edge.Device) (have []edge.Device, err error) {
	id, err := tx.NextN(ctx, "device", len(ds))
	if err != nil {
		return nil, err
	}
	added := 0
	for i, d := range ds {
		res, err := tx.ExecContext(ctx, insertDevice, id+int64(i), f.ID, d.Name, d.Description, d.Thing, Micros(d.Registered))
		if err != nil {
			return nil, Wrap("insert device", err)
		}
		n, err := res.RowsAffected()
		if err != nil {
			return nil, Wrap("insert device", err)
		}
		if added += int(n); n > 0 {
			continue
		}
		old, err := tx.Device(ctx, f, d.Name)
		if err != nil {
			return nil, err
		}
		have = append(have, old)
	}
	return have, tx.countDevices(ctx, f, added)
}

func (tx *Tx) countDevices(ctx context.Context, f edge.Fleet, n int) error {
	_, err := tx.ExecContext(ctx, `update fleet set devices = devices + $1 where id = $2`, n, f.ID)
	return Wrap("count devices", err)
}

// SaveDevice records what a person says of a device.
func (tx *Tx) SaveDevice(ctx context.Context, d edge.Device) error {
	_, err := tx.ExecContext(ctx, `update device set description = $1, thing = $2 where id = $3`, d.Description, d.Thing, d.ID)
	return Wrap("save device", err)
}

// DeleteDevices removes devices of a fleet that is locked. Their rows in stages
// stay.
func (tx *Tx) DeleteDevices(ctx context.Context, f edge.Fleet, ds []edge.Device) error {
	for _, d := range ds {
		for _, q := range []string{`delete from device where id = $1`, `delete from device_handle where device_id = $1`} {
			if _, err := tx.ExecContext(ctx, q, d.ID); err != nil {
				return Wrap("delete device", err)
			}
		}
		if err := tx.DeleteTags(ctx, d.ARN()); err != nil {
			return err
		}
	}
	return tx.countDevices(ctx, f, -len(ds))
}

// SomeDevices returns up to n devices of a fleet.
func (tx *Tx) SomeDevices(ctx context.Context, f edge.Fleet, n int) ([]edge.Device, error) {
	rows, err := tx.QueryContext(ctx, `select `+deviceColumns+` from device d where d.fleet_id = $1 order by d.id limit $2`, f.ID, n)
	return Collect(rows, err, "read devices", func(scan func(...any) error) (edge.Device, error) { return scanDevice(f, scan) })
}

// ListDevices returns one page of devices by the names of fleet and device, and
// whether more follow.
func (db *DB) ListDevices(ctx context.Context, s arn.Scope, f edge.DeviceFilter) ([]edge.Device, bool, error) {
	limit := pageSize(f.Limit, 100)
	if f.Fleet != "" {
		fl, err := db.Fleet(ctx, s, f.Fleet)
		if err != nil {
			return nil, false, unlessMissing(err)
		}
		return db.devicesOf(ctx, fl, f, f.After.Name, limit)
	}
	w := new(Where)
	w.And("region = ?", s.Region)
	if f.After.Name != "" {
		w.And("name >= ?", f.After.Value)
	}
	rows, err := db.Read().QueryContext(ctx, `select `+fleetColumns+` from fleet where `+w.String()+` order by name`, w.Args...)
	fleets, err := Collect(rows, err, "list fleets", func(scan func(...any) error) (edge.Fleet, error) { return scanFleet(s, scan) })
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
func (db *DB) devicesOf(ctx context.Context, fl edge.Fleet, f edge.DeviceFilter, after string, limit int) ([]edge.Device, bool, error) {
	w := new(Where)
	w.And("d.fleet_id = ?", fl.ID)
	if after != "" {
		w.And("d.name > ?", after)
	}
	if !f.HeartbeatAfter.IsZero() {
		w.And("d.heartbeat > ?", Micros(f.HeartbeatAfter))
	}
	if f.Model != "" {
		// A name that the API lets through has nothing that JSON would escape.
		w.And(db.Dialect.Contains("d.models", "?"), `{"n":"`+f.Model+`",`)
	}
	rows, err := db.Read().QueryContext(ctx, fmt.Sprintf(`select %s from device d where %s order by d.name limit %d`, deviceColumns, w.String(), limit+1), w.Args...)
	return Page(rows, err, "list devices", limit, func(scan func(...any) error) (edge.Device, error) { return scanDevice(fl, scan) })
}

// EachCheckin calls f with what every device of a fleet last said of itself,
// one by one: a fleet need not fit into memory.
func (db *DB) EachCheckin(ctx context.Context, fl edge.Fleet, f func(edge.Device)) error {
	rows, err := db.Read().QueryContext(ctx, `select heartbeat, agent, models from device where fleet_id = $1`, fl.ID)
	if err != nil {
		return Wrap("read devices", err)
	}
	defer rows.Close()
	for rows.Next() {
		var d edge.Device
		var heartbeat int64
		var models string
		if err := rows.Scan(&heartbeat, &d.AgentVersion, &models); err != nil {
			return Wrap("read devices", err)
		}
		if heartbeat > 0 {
			d.Heartbeat = FromMicros(heartbeat)
		}
		if err := decodeModels(models, &d.Models); err != nil {
			return err
		}
		f(d)
	}
	return Wrap("read devices", rows.Err())
}

// unlessMissing is err, but nil if it says that something does not exist.
func unlessMissing(err error) error {
	if errors.Is(err, fault.NotFound) {
		return nil
	}
	return err
}
