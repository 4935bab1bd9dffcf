package edge

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// scanCandidate reads a device and who has it.
func scanCandidate(scan store.Scan) (c edge.Candidate, err error) {
	return c, scan(&c.ID, &c.Name, &c.Stage, &c.Status)
}

// Candidates returns up to n devices of a fleet, in the order of their ids,
// after one and not after another, and who has them in a plan.
func (db DB) Candidates(ctx context.Context, w edge.Walk, n int) ([]edge.Candidate, error) {
	rows, err := db.q.QueryContext(ctx,
		`select id, name from device where fleet_id = $1 and id > $2 and id <= $3 order by id limit $4`,
		w.Fleet, w.After, w.Newest, n)
	out, err := store.Collect(rows, err, "read devices", func(scan store.Scan) (c edge.Candidate, err error) {
		return c, scan(&c.ID, &c.Name)
	})
	if err != nil || len(out) == 0 {
		return out, err
	}
	// One range of the index tells who has them: much less than a look each.
	rows, err = db.q.QueryContext(ctx, `
		select device_id, stage_id, status from edge_row
		where plan_id = $1 and owned = 1 and device_id > $2 and device_id <= $3 order by device_id`,
		w.Plan, w.After, out[len(out)-1].ID)
	if err != nil {
		return nil, store.Wrap("read owners", err)
	}
	defer rows.Close()
	for i := 0; rows.Next(); {
		var id, stage int64
		var status edge.DeviceStatus
		if err := rows.Scan(&id, &stage, &status); err != nil {
			return nil, store.Wrap("read owners", err)
		}
		for i < len(out) && out[i].ID < id {
			i++
		}
		if i < len(out) && out[i].ID == id {
			out[i].Stage, out[i].Status = stage, status
		}
	}
	return out, store.Wrap("read owners", rows.Err())
}

// Named returns the devices of a fleet that have one of the names, in the order
// of their names, and who has them in a plan.
func (db DB) Named(ctx context.Context, fleet, plan int64, names []string) ([]edge.Candidate, error) {
	rows, err := db.q.QueryContext(ctx, `
		select d.id, d.name, coalesce(r.stage_id, 0), coalesce(r.status, '') from device d
		left join edge_row r on r.plan_id = $1 and r.device_id = d.id and r.owned = 1
		where d.fleet_id = $2 and `+db.Dialect.AmongTexts("d.name", "$3")+` order by d.name`,
		plan, fleet, store.JSON(names))
	return store.Collect(rows, err, "read devices", scanCandidate)
}

// ByNames returns up to n devices of a fleet whose names come after one, as a
// stage that has not started yet would list them.
func (db DB) ByNames(
	ctx context.Context, fleet int64, p *edge.Plan, after string, n int,
) ([]edge.StageDevice, error) {
	rows, err := db.q.QueryContext(ctx, `
		select d.id, d.name, d.description, coalesce(r.stage_id, 0), coalesce(r.status, ''), coalesce(r.started, 0)
		from device d left join edge_row r on r.plan_id = $1 and r.device_id = d.id and r.owned = 1
		where d.fleet_id = $2 and d.name > $3 order by d.name limit $4`, p.ID, fleet, after, n)
	return store.Collect(rows, err, "read devices", func(scan store.Scan) (d edge.StageDevice, err error) {
		var owner int64
		err = scan(&d.DeviceID, &d.Device, &d.Description, &owner, &d.Status, moment{&d.Started})
		d.OwnerStage = p.StageName(owner)
		return d, err
	})
}

// StageDevices returns one page of the devices of a stage that has started, by
// name, and whether more follow. A device that another stage has is shown as it
// is there.
func (db DB) StageDevices(
	ctx context.Context, p *edge.Plan, s edge.Stage, f edge.RowFilter,
) ([]edge.StageDevice, bool, error) {
	w, limit := new(store.Where), cmp.Or(f.Limit, 100)
	w.And("r.stage_id = ?", s.ID)
	if f.After.Name != "" {
		w.And("(r.name, r.device_id) > (?, ?)", f.After.Name, f.After.Micro)
	}
	if f.ExcludeOwnedElsewhere {
		w.And("(r.owned = 1 or o.stage_id is null)")
	}
	rows, err := db.q.QueryContext(ctx, fmt.Sprintf(`
		select r.device_id, r.name, r.attempt, coalesce(o.status, r.status), coalesce(o.message, r.message),
			coalesce(o.started, r.started), coalesce(o.ended, r.ended), coalesce(o.undoing, r.undoing),
			coalesce(d.description, ''), case when r.owned = 1 then r.stage_id else coalesce(o.stage_id, 0) end
		from edge_row r
		left join device d on d.id = r.device_id
		left join edge_row o on o.plan_id = r.plan_id and o.device_id = r.device_id and o.owned = 1 and r.owned = 0
		where %s order by r.name, r.device_id limit %d`, w, limit+1), w.Args...)
	return store.Page(rows, err, "list stage devices", limit, func(scan store.Scan) (d edge.StageDevice, err error) {
		var owner int64
		d.Row, err = scanRow(scan, &d.Description, &owner)
		d.Mark, d.OwnerStage = d.DeviceID, p.StageName(owner)
		return d, err
	})
}

// Restartable reports whether a stage has a row that a new start would restart.
func (db DB) Restartable(ctx context.Context, s edge.Stage) (bool, error) {
	return db.exists(ctx, `
		select 1 from edge_row r join device d on d.id = r.device_id
		left join edge_row o on o.plan_id = r.plan_id and o.device_id = r.device_id and o.owned = 1
		where r.stage_id = $1 and (o.device_id is null or o.status in ('FAILED', 'STOPPED')) limit 1`, s.ID)
}

// HasRow reports whether a stage has a row of a device that a new start would
// restart.
func (db DB) HasRow(ctx context.Context, s edge.Stage, device int64) (bool, error) {
	return db.exists(ctx,
		`select 1 from edge_row where stage_id = $1 and device_id = $2 and status in ('FAILED', `+
			`'STOPPED')`, s.ID, device)
}

// OpenRows returns up to n devices, in the order of their ids, from which a stage
// still waits to hear, with who has them in another plan.
func (db DB) OpenRows(ctx context.Context, stage, plan, after int64, n int) ([]edge.Candidate, error) {
	rows, err := db.q.QueryContext(ctx, `
		select r.device_id, r.name, coalesce(o.stage_id, 0), coalesce(o.status, '') from edge_row r
		left join edge_row o on o.plan_id = $1 and o.device_id = r.device_id and o.owned = 1
		where r.stage_id = $2 and r.open = 1 and r.device_id > $3 order by r.device_id limit $4`, plan, stage, after, n)
	return store.Collect(rows, err, "read rows", scanCandidate)
}

// OldestDelivery returns when the row of a stage that has been in progress for
// longest was delivered; zero if none is.
func (db DB) OldestDelivery(ctx context.Context, s edge.Stage) (t time.Time, err error) {
	err = db.q.QueryRowContext(ctx,
		`select min(started) from edge_row where stage_id = $1 and open = 1 and status = `+
			`$2`, s.ID, edge.DeviceInProgress).
		Scan(store.Time(&t))
	return t, store.Wrap("read oldest delivery", err)
}

// AnyDeployed reports whether a device that a stage has deployed to is registered
// still.
func (db DB) AnyDeployed(ctx context.Context, s edge.Stage) (bool, error) {
	return db.exists(ctx, `
		select 1 from edge_row r join device d on d.id = r.device_id
		where r.stage_id = $1 and r.owned = 1 and r.status = $2 limit 1`, s.ID, edge.DeviceDeployed)
}

// AnyReachable reports whether a stage waits for a device that was heard of
// after a moment.
func (db DB) AnyReachable(ctx context.Context, s edge.Stage, since time.Time) (bool, error) {
	return db.exists(ctx, `
		select 1 from edge_row r join device d on d.id = r.device_id
		where r.stage_id = $1 and r.open = 1 and d.heartbeat > $2 limit 1`, s.ID, store.Micros(since))
}
