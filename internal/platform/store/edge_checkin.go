package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// pollDevice finds a device and what it has open, if anything: a device without
// work costs this one statement.
const pollDevice = `
	select d.id, d.name, d.thing, f.id, f.devices,
		case when exists (select 1 from edge_stage a where a.fleet_id = f.id and a.active = 1) then 1 else 0 end,
		case when exists (select 1 from edge_row r where r.device_id = d.id and r.open = 1) then 1 else 0 end
	from fleet f join device d on d.fleet_id = f.id
	where f.region = $1 and f.name = $2 and d.name = $3`

// pollOrders reads the orders that a device is to be given, oldest stage first.
const pollOrders = `
	select s.id, s.plan_id, s.attempt, s.deployment, s.orders, r.status, r.undoing
	from edge_row r join edge_stage s on s.id = r.stage_id
	where r.device_id = $1 and r.open = 1 and r.owned = 1 and r.attempt = s.attempt
		and r.status in ('READYTODEPLOY', 'INPROGRESS') and s.status in ('STARTING', 'INPROGRESS')
	order by s.started, s.id`

// Poll reads what a device is to be told. A device that is not registered is a
// fault in the words of DescribeDevice.
func (db *DB) Poll(ctx context.Context, s arn.Scope, fleet, name string) (edge.Polled, error) {
	rows, err := db.Read().QueryContext(ctx, pollDevice, s.Region, fleet, name)
	found, err := Collect(rows, err, "read device", func(scan func(...any) error) (p edge.Polled, err error) {
		var active, open int
		err = scan(&p.Device.ID, &p.Device.Name, &p.Device.Thing, &p.Fleet, &p.Devices, &active, &open)
		p.Active, p.Open = active == 1, open == 1
		return p, err
	})
	switch {
	case err != nil:
		return edge.Polled{}, err
	case len(found) == 0:
		return edge.Polled{}, db.missing(ctx, s, fleet, name)
	}
	p := found[0]
	if !p.Open {
		return p, nil
	}
	rows, err = db.Read().QueryContext(ctx, pollOrders, p.Device.ID)
	p.Offers, err = Collect(rows, err, "read orders", func(scan func(...any) error) (o edge.Offer, err error) {
		var doc string
		var undoing int
		if err := scan(&o.Stage, &o.Plan, &o.Attempt, &o.Deployment, &doc, &o.Status, &undoing); err != nil {
			return o, err
		}
		o.Undoing = undoing == 1
		return o, json.Unmarshal([]byte(doc), &o.Order)
	})
	return p, err
}

// missing says what of a fleet and a device does not exist.
func (db *DB) missing(ctx context.Context, s arn.Scope, fleet, name string) error {
	if _, err := db.Fleet(ctx, s, fleet); err != nil {
		return edge.Reworded(err, edge.NoFleetOfDevice(fleet))
	}
	return edge.NoDevice(fleet, name)
}

// Before returns what a device had for each handle before a plan deployed to
// it: what an order to go back asks for.
func (db *DB) Before(ctx context.Context, device, plan int64) (map[string]edge.Package, error) {
	rows, err := db.Read().QueryContext(ctx, `
		select h.handle, p.job, p.s3url, p.sha1 from device_handle h
		join edge_package p on p.id = case when h.plan_id = $1 then h.before_id else h.package_id end
		where h.device_id = $2`, plan, device)
	if err != nil {
		return nil, Wrap("read packages", err)
	}
	defer rows.Close()
	out := map[string]edge.Package{}
	for rows.Next() {
		var handle string
		var p edge.Package
		if err := rows.Scan(&handle, &p.Job, &p.S3URL, &p.SHA1); err != nil {
			return nil, Wrap("read packages", err)
		}
		out[handle] = p
	}
	return out, Wrap("read packages", rows.Err())
}

const checkinDevice = `
	select ` + deviceColumns + `, f.id, f.devices,
		case when exists (select 1 from edge_stage a where a.fleet_id = f.id and a.active = 1) then 1 else 0 end
	from fleet f join device d on d.fleet_id = f.id
	where f.region = $1 and f.name = $2 and d.name = $3`

// CheckinDevice reads a device that says something.
func (tx *Tx) CheckinDevice(ctx context.Context, s arn.Scope, fleet, name string) (p edge.Polled, err error) {
	var active int
	row := tx.QueryRowContext(ctx, checkinDevice, s.Region, fleet, name)
	p.Device, err = scanDevice(edge.Fleet{Scope: s, Name: fleet}, func(into ...any) error {
		return row.Scan(append(into, &p.Fleet, &p.Devices, &active)...)
	})
	if errors.Is(err, sql.ErrNoRows) {
		if _, err := fleetOnly(ctx, tx, s, fleet); err != nil {
			return p, err
		}
		return p, edge.NoDevice(fleet, name)
	}
	p.Active = active == 1
	return p, Wrap("read device", err)
}

// fleetOnly reads a fleet without a lock, in the words of operations on devices.
func fleetOnly(ctx context.Context, q Querier, s arn.Scope, name string) (edge.Fleet, error) {
	f, err := fleet(ctx, q, s, name, "")
	if err != nil {
		return f, edge.Reworded(err, edge.NoFleetOfDevice(name))
	}
	return f, nil
}

const (
	saveCheckin   = `update device set heartbeat = $1, agent = $2, models = $3 where id = $4`
	saveHeartbeat = `update device set heartbeat = $1 where id = $2`
)

// SaveCheckin records what a device said of itself; same says that it said
// nothing new.
func (tx *Tx) SaveCheckin(ctx context.Context, d edge.Device, same bool) error {
	if same {
		_, err := tx.ExecContext(ctx, saveHeartbeat, Micros(d.Heartbeat), d.ID)
		return Wrap("save heartbeat", err)
	}
	models := ""
	if d.Models != nil {
		doc, err := json.Marshal(d.Models)
		if err != nil {
			return fmt.Errorf("encode models: %w", err)
		}
		models = string(doc)
	}
	_, err := tx.ExecContext(ctx, saveCheckin, Micros(d.Heartbeat), d.AgentVersion, models, d.ID)
	return Wrap("save heartbeat", err)
}

const ordered = `select id, plan_id, attempt, status, orders from edge_stage where deployment = $1`

// Ordered returns the stage whose order in hand has the name; false if there is
// none: it is over, or never was.
func (tx *Tx) Ordered(ctx context.Context, deployment string) (o edge.Offer, ok bool, err error) {
	var status edge.StageStatus
	var doc string
	err = tx.QueryRowContext(ctx, ordered, deployment).Scan(&o.Stage, &o.Plan, &o.Attempt, &status, &doc)
	if errors.Is(err, sql.ErrNoRows) {
		return o, false, nil
	}
	if err != nil {
		return o, false, Wrap("read order", err)
	}
	o.Deployment, o.Live = deployment, edge.Stage{Status: status}.Offers()
	return o, true, json.Unmarshal([]byte(doc), &o.Order)
}

// LockPlans locks plans, so that rows of theirs can be changed.
func (tx *Tx) LockPlans(ctx context.Context, ids []int64) error {
	if tx.Dialect.ForUpdate == "" {
		return nil // whoever writes is alone
	}
	ids = slices.Clone(ids)
	slices.Sort(ids)
	doc, err := jsonList(slices.Compact(ids))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `select id from edge_plan where `+tx.Dialect.Among("id", "$1")+` order by id`+tx.Dialect.ForUpdate, doc)
	return Wrap("lock plans", err)
}

const rowOf = `select ` + rowColumns + ` from edge_row r where r.stage_id = $1 and r.device_id = $2 and r.owned = 1`

// RowOf returns the row of a device in a stage; false if the stage does not have
// the device.
func (tx *Tx) RowOf(ctx context.Context, stage, device int64) (edge.Row, bool, error) {
	r, err := scanRow(tx.QueryRowContext(ctx, rowOf, stage, device).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	return r, err == nil, Wrap("read row", err)
}

// OpenRowsOf returns what is still wanted of a device, as orders with their rows.
func (tx *Tx) OpenRowsOf(ctx context.Context, device int64) ([]edge.Offer, error) {
	rows, err := tx.QueryContext(ctx, `select r.stage_id, r.plan_id from edge_row r where r.device_id = $1 and r.open = 1 order by r.stage_id`, device)
	return Collect(rows, err, "read rows", func(scan func(...any) error) (o edge.Offer, err error) {
		return o, scan(&o.Stage, &o.Plan)
	})
}

const putHandle = `
	insert into device_handle (device_id, handle, plan_id, package_id) values ($1, $2, $3, $4)
	on conflict (device_id, handle) do update set plan_id = excluded.plan_id, package_id = excluded.package_id,
		before_id = case when device_handle.plan_id = excluded.plan_id then device_handle.before_id else device_handle.package_id end`

// PutHandles remembers that a plan has deployed to a device.
func (tx *Tx) PutHandles(ctx context.Context, device, plan int64, o edge.Order) error {
	for _, m := range o.Models {
		if _, err := tx.ExecContext(ctx, putHandle, device, m.Handle, plan, m.Package); err != nil {
			return Wrap("remember package", err)
		}
	}
	return nil
}

// RestoreHandles remembers that a device has again what it had before a plan.
func (tx *Tx) RestoreHandles(ctx context.Context, device, plan int64) error {
	for _, q := range []string{
		`delete from device_handle where device_id = $1 and plan_id = $2 and before_id = 0`,
		`update device_handle set package_id = before_id, before_id = 0, plan_id = 0 where device_id = $1 and plan_id = $2`,
	} {
		if _, err := tx.ExecContext(ctx, q, device, plan); err != nil {
			return Wrap("forget package", err)
		}
	}
	return nil
}
