package edge

import (
	"cmp"
	"context"
	"database/sql"
	"errors"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

const fleetColumns = `id, name, created, modified, devices, deleting, doc`

func scanFleet(s arn.Scope, scan store.Scan) (edge.Fleet, error) {
	var f, row edge.Fleet
	err := scan(&row.ID, &row.Name, store.Time(&row.Created), store.Time(&row.Modified), &row.Devices, &row.Deleting,
		store.JSON(&f))
	f.ID, f.Scope, f.Name, f.Created, f.Modified = row.ID, s, row.Name, row.Created, row.Modified
	f.Devices, f.Deleting = row.Devices, row.Deleting
	return f, err
}

// Fleet reads a fleet.
func (r reader) Fleet(ctx context.Context, s arn.Scope, name string) (edge.Fleet, error) {
	f, err := scanFleet(s, r.q.QueryRowContext(ctx,
		`select `+fleetColumns+` from fleet where region = $1 and name = $2`+r.lock, s.Region, name).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return f, edge.NoFleet(name)
	}
	return f, store.Wrap("read fleet", err)
}

// InsertFleet records a new fleet.
func (tx Tx) InsertFleet(ctx context.Context, f edge.Fleet) error {
	id, err := tx.Next(ctx, "fleet")
	if err != nil {
		return err
	}
	err = tx.Run(ctx, "insert fleet",
		`insert into fleet (id, region, name, created, modified, doc) values ($1, $2, $3, $4, $5, $6)`,
		id, f.Scope.Region, f.Name, store.Micros(f.Created), store.Micros(f.Modified), store.JSON(f))
	if store.Taken(err) {
		return fault.New(fault.InUse, "Device fleet with name %s already exists", f.Name)
	}
	return err
}

// SaveFleet makes the row agree with f, but for the count of its devices.
func (tx Tx) SaveFleet(ctx context.Context, f edge.Fleet) error {
	return tx.Run(ctx, "save fleet", `update fleet set modified = $1, deleting = $2, doc = $3 where id = $4`,
		store.Micros(f.Modified), store.Flag(f.Deleting), store.JSON(f), f.ID)
}

// DeleteFleet removes a fleet that has no devices any more, and its tags.
func (tx Tx) DeleteFleet(ctx context.Context, f edge.Fleet) error {
	if err := tx.Run(ctx, "delete fleet", `delete from fleet where id = $1`, f.ID); err != nil {
		return err
	}
	return tx.DeleteTags(ctx, f.ARN())
}

// ActiveStage returns the names of a stage of the fleet that is being carried
// out, and of its plan; "" if there is none.
func (tx Tx) ActiveStage(ctx context.Context, f edge.Fleet) (stage, plan string, err error) {
	err = tx.QueryRowContext(ctx, `
		select s.name, p.name from edge_stage s join edge_plan p on p.id = s.plan_id
		where s.fleet_id = $1 and s.active = 1 order by s.id limit 1`, f.ID).Scan(&stage, &plan)
	if errors.Is(err, sql.ErrNoRows) {
		return "", "", nil
	}
	return stage, plan, store.Wrap("look for active stages", err)
}

// ListFleets returns one page of fleets, and whether more follow.
func (db DB) ListFleets(ctx context.Context, s arn.Scope, f edge.FleetFilter) ([]edge.Fleet, bool, error) {
	w, limit := db.listed(s, f.Times, f.NameContains), cmp.Or(f.Limit, 100)
	query := `select ` + fleetColumns + ` from fleet where ` + w.Page(keyset(f.SortBy, f.Ascending, f.After, limit))
	rows, err := db.q.QueryContext(ctx, query, w.Args...)
	return store.Page(rows, err, "list fleets", limit, func(scan store.Scan) (edge.Fleet, error) {
		return scanFleet(s, scan)
	})
}
