package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// NewestDevice returns the id of the device that was registered last in a fleet.
func (tx *Tx) NewestDevice(ctx context.Context, f edge.Fleet) (id int64, err error) {
	err = tx.QueryRowContext(ctx, `select coalesce(max(id), 0) from device where fleet_id = $1`, f.ID).Scan(&id)
	return id, Wrap("read newest device", err)
}

// Candidates returns up to n devices of a fleet, in the order of their ids,
// after one and not after another, and who has them in a plan.
func (db *DB) Candidates(ctx context.Context, w edge.Walk, n int) ([]edge.Candidate, error) {
	rows, err := db.Read().QueryContext(ctx, `select id, name from device where fleet_id = $1 and id > $2 and id <= $3 order by id limit $4`, w.Fleet, w.After, w.Newest, n)
	out, err := Collect(rows, err, "read devices", func(scan func(...any) error) (c edge.Candidate, err error) {
		return c, scan(&c.ID, &c.Name)
	})
	if err != nil || len(out) == 0 {
		return out, err
	}
	// One range of the index tells who has them: much less than a look each.
	rows, err = db.Read().QueryContext(ctx, `
		select device_id, stage_id, status from edge_row
		where plan_id = $1 and owned = 1 and device_id > $2 and device_id <= $3 order by device_id`, w.Plan, w.After, out[len(out)-1].ID)
	if err != nil {
		return nil, Wrap("read owners", err)
	}
	defer rows.Close()
	for i := 0; rows.Next(); {
		var id, stage int64
		var status edge.DeviceStatus
		if err := rows.Scan(&id, &stage, &status); err != nil {
			return nil, Wrap("read owners", err)
		}
		for i < len(out) && out[i].ID < id {
			i++
		}
		if i < len(out) && out[i].ID == id {
			out[i].Stage, out[i].Status = stage, status
		}
	}
	return out, Wrap("read owners", rows.Err())
}

// Named returns the devices of a fleet that have one of the names, in the order
// of their names, and who has them in a plan.
func (db *DB) Named(ctx context.Context, fleet, plan int64, names []string) ([]edge.Candidate, error) {
	doc, err := jsonList(names)
	if err != nil {
		return nil, err
	}
	rows, err := db.Read().QueryContext(ctx, `
		select d.id, d.name, coalesce(r.stage_id, 0), coalesce(r.status, '') from device d
		left join edge_row r on r.plan_id = $1 and r.device_id = d.id and r.owned = 1
		where d.fleet_id = $2 and `+db.Dialect.AmongTexts("d.name", "$3")+` order by d.name`, plan, fleet, doc)
	return Collect(rows, err, "read devices", func(scan func(...any) error) (c edge.Candidate, err error) {
		return c, scan(&c.ID, &c.Name, &c.Stage, &c.Status)
	})
}

// ByNames returns up to n devices of a fleet whose names come after one, as a
// stage that has not started yet would list them.
func (db *DB) ByNames(ctx context.Context, fleet int64, p *edge.Plan, after string, n int) ([]edge.StageDevice, error) {
	rows, err := db.Read().QueryContext(ctx, `
		select d.id, d.name, d.description, coalesce(r.stage_id, 0), coalesce(r.status, ''), coalesce(r.started, 0) from device d
		left join edge_row r on r.plan_id = $1 and r.device_id = d.id and r.owned = 1
		where d.fleet_id = $2 and d.name > $3 order by d.name limit $4`, p.ID, fleet, after, n)
	return Collect(rows, err, "read devices", func(scan func(...any) error) (d edge.StageDevice, err error) {
		var stage, started int64
		err = scan(&d.DeviceID, &d.Device, &d.Description, &stage, &d.Status, &started)
		if started > 0 {
			d.Started = FromMicros(started)
		}
		d.OwnerStage = stageName(p, stage)
		return d, err
	})
}

func stageName(p *edge.Plan, id int64) string {
	for _, s := range p.Stages {
		if s.ID == id {
			return s.Name
		}
	}
	return ""
}

// StageDevices returns one page of the devices of a stage that has started, by
// name, and whether more follow. A device that another stage has is shown as it
// is there.
func (db *DB) StageDevices(ctx context.Context, p *edge.Plan, s edge.Stage, f edge.RowFilter) ([]edge.StageDevice, bool, error) {
	limit := pageSize(f.Limit, 100)
	w := new(Where)
	w.And("r.stage_id = ?", s.ID)
	if f.After.Name != "" {
		w.And("(r.name, r.device_id) > (?, ?)", f.After.Name, f.After.Micro)
	}
	if f.ExcludeOwnedElsewhere {
		w.And("(r.owned = 1 or o.stage_id is null)")
	}
	w.Args = append(w.Args, limit+1)
	rows, err := db.Read().QueryContext(ctx, `
		select r.device_id, r.name, r.attempt, coalesce(o.status, r.status), coalesce(o.message, r.message),
			coalesce(o.started, r.started), coalesce(o.ended, r.ended), coalesce(o.undoing, r.undoing),
			coalesce(d.description, ''), case when r.owned = 1 then r.stage_id else coalesce(o.stage_id, 0) end
		from edge_row r
		left join device d on d.id = r.device_id
		left join edge_row o on o.plan_id = r.plan_id and o.device_id = r.device_id and o.owned = 1 and r.owned = 0
		where `+w.String()+` order by r.name, r.device_id limit $`+strconv.Itoa(len(w.Args)), w.Args...)
	return Page(rows, err, "list stage devices", limit, func(scan func(...any) error) (d edge.StageDevice, err error) {
		var owner int64
		d.Row, err = scanRow(scan, &d.Description, &owner)
		d.Mark, d.OwnerStage = d.DeviceID, stageName(p, owner)
		return d, err
	})
}

// Restartable reports whether a stage has a row that a new start would restart.
func (db *DB) Restartable(ctx context.Context, s edge.Stage) (bool, error) {
	return db.exists(ctx, `
		select 1 from edge_row r join device d on d.id = r.device_id
		left join edge_row o on o.plan_id = r.plan_id and o.device_id = r.device_id and o.owned = 1
		where r.stage_id = $1 and (o.device_id is null or o.status in ('FAILED', 'STOPPED')) limit 1`, s.ID)
}

// HasRow reports whether a stage has a row of a device that a new start would
// restart.
func (db *DB) HasRow(ctx context.Context, s edge.Stage, device int64) (bool, error) {
	return db.exists(ctx, `select 1 from edge_row where stage_id = $1 and device_id = $2 and status in ('FAILED', 'STOPPED')`, s.ID, device)
}

func (db *DB) exists(ctx context.Context, query string, args ...any) (bool, error) {
	var one int
	err := db.Read().QueryRowContext(ctx, query, args...).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, Wrap("look for a row", err)
}

// rivals are the active stages of other plans on a fleet.
const rivals = `
	select p.name, p.models, ` + stageColumns + ` from edge_stage s join edge_plan p on p.id = s.plan_id
	where s.fleet_id = $1 and s.active = 1 and s.plan_id <> $2 order by s.id`

// Rivals returns the stages of other plans that are active on a fleet and
// deploy to a handle that the plan deploys to as well.
func (db *DB) Rivals(ctx context.Context, fleet int64, p *edge.Plan) ([]edge.Rival, error) {
	return rivalsOf(ctx, db.Read(), fleet, p)
}

// Rivals is as DB.Rivals. The fleet is locked, so that no other can appear.
func (tx *Tx) Rivals(ctx context.Context, fleet int64, p *edge.Plan) ([]edge.Rival, error) {
	return rivalsOf(ctx, tx, fleet, p)
}

func rivalsOf(ctx context.Context, q Querier, fleet int64, p *edge.Plan) ([]edge.Rival, error) {
	rows, err := q.QueryContext(ctx, rivals, fleet, p.ID)
	all, err := Collect(rows, err, "look for other plans", func(scan func(...any) error) (r edge.Rival, err error) {
		var models string
		r.Stage, err = scanStage(func(into ...any) error { return scan(append([]any{&r.Plan, &models}, into...)...) })
		if err != nil {
			return r, err
		}
		var ms []edge.ModelConfig
		err = json.Unmarshal([]byte(models), &ms)
		r.Handle = p.Shares(ms)
		return r, err
	})
	return slices.DeleteFunc(all, func(r edge.Rival) bool { return r.Handle == "" }), err
}

// OpenRows returns up to n devices, in the order of their ids, from which a stage
// still waits to hear, with who has them in another plan.
func (db *DB) OpenRows(ctx context.Context, stage, plan, after int64, n int) ([]edge.Candidate, error) {
	rows, err := db.Read().QueryContext(ctx, `
		select r.device_id, r.name, coalesce(o.stage_id, 0), coalesce(o.status, '') from edge_row r
		left join edge_row o on o.plan_id = $1 and o.device_id = r.device_id and o.owned = 1
		where r.stage_id = $2 and r.open = 1 and r.device_id > $3 order by r.device_id limit $4`, plan, stage, after, n)
	return Collect(rows, err, "read rows", func(scan func(...any) error) (c edge.Candidate, err error) {
		return c, scan(&c.ID, &c.Name, &c.Stage, &c.Status)
	})
}

// OldestDelivery returns when the row of a stage that has been in progress for
// longest was delivered; zero if none is.
func (db *DB) OldestDelivery(ctx context.Context, s edge.Stage) (t time.Time, err error) {
	var at sql.NullInt64
	err = db.Read().QueryRowContext(ctx, `select min(started) from edge_row where stage_id = $1 and open = 1 and status = $2`, s.ID, edge.DeviceInProgress).Scan(&at)
	if at.Valid {
		t = FromMicros(at.Int64)
	}
	return t, Wrap("read oldest delivery", err)
}

// AnyReachable reports whether a stage waits for a device that was heard of
// after a moment.
func (db *DB) AnyReachable(ctx context.Context, s edge.Stage, since time.Time) (bool, error) {
	return db.exists(ctx, `
		select 1 from edge_row r join device d on d.id = r.device_id
		where r.stage_id = $1 and r.open = 1 and d.heartbeat > $2 limit 1`, s.ID, Micros(since))
}
