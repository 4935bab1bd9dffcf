package edge

import (
	"context"
	"database/sql"
	"errors"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// fleetIsActive tells whether the fleet f has a stage that is being carried out.
const fleetIsActive = `
	case when exists (select 1 from edge_stage a where a.fleet_id = f.id and a.active = 1) then 1 else 0 end`

// pollDevice finds a device and what it has open, if anything: a device without
// work costs this one statement.
const pollDevice = `
	select d.id, d.name, d.thing, f.id, f.devices, ` + fleetIsActive + `,
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
func (db DB) Poll(ctx context.Context, s arn.Scope, fleet, name string) (edge.Polled, error) {
	rows, err := db.q.QueryContext(ctx, pollDevice, s.Region, fleet, name)
	found, err := store.Collect(rows, err, "read device", func(scan store.Scan) (p edge.Polled, err error) {
		d := &p.Device
		return p, scan(&d.ID, &d.Name, &d.Thing, &p.Fleet, &p.Devices, &p.Active, &p.Open)
	})
	switch {
	case err != nil:
		return edge.Polled{}, err
	case len(found) == 0:
		return edge.Polled{}, db.noDevice(ctx, s, fleet, name)
	}
	p := found[0]
	if !p.Open {
		return p, nil
	}
	rows, err = db.q.QueryContext(ctx, pollOrders, p.Device.ID)
	p.Offers, err = store.Collect(rows, err, "read orders", func(scan store.Scan) (o edge.Offer, err error) {
		return o, scan(&o.Stage, &o.Plan, &o.Attempt, &o.Deployment, store.JSON(&o.Order), &o.Status, &o.Undoing)
	})
	return p, err
}

// noDevice says what of a fleet and a device does not exist, in the words of
// operations on devices.
func (r reader) noDevice(ctx context.Context, s arn.Scope, fleet, name string) error {
	r.lock = ""
	if _, err := r.Fleet(ctx, s, fleet); err != nil {
		return edge.Reworded(err, edge.NoFleetOfDevice(fleet))
	}
	return edge.NoDevice(fleet, name)
}

// Before returns what a device had for each handle before a plan deployed to
// it: what an order to go back asks for.
func (db DB) Before(ctx context.Context, device, plan int64) (map[string]edge.Package, error) {
	rows, err := db.q.QueryContext(ctx, `
		select h.handle, p.job, p.s3url, p.sha1 from device_handle h
		join edge_package p on p.id = case when h.plan_id = $1 then h.before_id else h.package_id end
		where h.device_id = $2`, plan, device)
	out := map[string]edge.Package{}
	_, err = store.Collect(rows, err, "read packages", func(scan store.Scan) (p edge.Package, err error) {
		var handle string
		err = scan(&handle, &p.Job, &p.S3URL, &p.SHA1)
		out[handle] = p
		return p, err
	})
	return out, err
}

const checkinDevice = `
	select ` + deviceColumns + `, f.id, f.devices, ` + fleetIsActive + `
	from fleet f join device d on d.fleet_id = f.id
	where f.region = $1 and f.name = $2 and d.name = $3`

// CheckinDevice reads a device that says something.
func (tx Tx) CheckinDevice(ctx context.Context, s arn.Scope, fleet, name string) (p edge.Polled, err error) {
	row := tx.QueryRowContext(ctx, checkinDevice, s.Region, fleet, name)
	p.Device, err = scanDevice(edge.Fleet{Scope: s, Name: fleet}, row.Scan, &p.Fleet, &p.Devices, &p.Active)
	if errors.Is(err, sql.ErrNoRows) {
		return p, tx.noDevice(ctx, s, fleet, name)
	}
	return p, store.Wrap("read device", err)
}

const (
	saveCheckin   = `update device set heartbeat = $1, agent = $2, models = $3 where id = $4`
	saveHeartbeat = `update device set heartbeat = $1 where id = $2`
)

// SaveHeartbeat records when a device was heard of that said nothing new.
func (tx Tx) SaveHeartbeat(ctx context.Context, d edge.Device) error {
	return tx.Run(ctx, "save heartbeat", saveHeartbeat, store.Micros(d.Heartbeat), d.ID)
}

// SaveCheckin records what a device said of itself.
func (tx Tx) SaveCheckin(ctx context.Context, d edge.Device) error {
	models := any("") // it never said
	if d.Models != nil {
		models = store.JSON(d.Models)
	}
	return tx.Run(ctx, "save heartbeat", saveCheckin, store.Micros(d.Heartbeat), d.AgentVersion, models, d.ID)
}

const stageOfOrder = `select id, plan_id, attempt, status, orders from edge_stage where deployment = $1`

// Ordered returns the stage whose order in hand has the name; false if there is
// none: it is over, or never was.
func (tx Tx) Ordered(ctx context.Context, deployment string) (o edge.Offer, ok bool, err error) {
	var stage edge.Stage
	err = tx.QueryRowContext(ctx, stageOfOrder, deployment).
		Scan(&o.Stage, &o.Plan, &o.Attempt, &stage.Status, store.JSON(&o.Order))
	if errors.Is(err, sql.ErrNoRows) {
		return o, false, nil
	}
	o.Deployment, o.Live = deployment, stage.Offers()
	return o, err == nil, store.Wrap("read order", err)
}

const putHandle = `
	insert into device_handle (device_id, handle, plan_id, package_id) values ($1, $2, $3, $4)
	on conflict (device_id, handle) do update set plan_id = excluded.plan_id, package_id = excluded.package_id,
		before_id = case when device_handle.plan_id = excluded.plan_id then device_handle.before_id
			else device_handle.package_id end`

// PutHandles remembers that a plan has deployed to a device.
func (tx Tx) PutHandles(ctx context.Context, device, plan int64, o edge.Order) error {
	for _, m := range o.Models {
		if err := tx.Run(ctx, "remember package", putHandle, device, m.Handle, plan, m.Package); err != nil {
			return err
		}
	}
	return nil
}

// RestoreHandles remembers that a device has again what it had before a plan.
func (tx Tx) RestoreHandles(ctx context.Context, device, plan int64) error {
	const what = "forget package"
	err := tx.Run(ctx, what, `delete from device_handle where device_id = $1 and plan_id = $2 and before_id = 0`,
		device, plan)
	if err != nil {
		return err
	}
	return tx.Run(ctx, what, `
		update device_handle set package_id = before_id, before_id = 0, plan_id = 0
		where device_id = $1 and plan_id = $2`, device, plan)
}
