package edge

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

const stageColumns = `
	s.id, s.name, s.status, s.attempt, s.deployment, s.started,
	s.ready, s.inprogress, s.deployed, s.failed, s.stopping, s.stopped, s.selection, s.doc`

// scanStage reads other columns, and then stageColumns.
func scanStage(scan store.Scan, before ...any) (edge.Stage, error) {
	var s, row edge.Stage
	c := &row.Counts
	err := scan(append(before, &row.ID, &row.Name, &row.Status, &row.Attempt, &row.Deployment, moment{&row.Started},
		&c.Ready, &c.InProgress, &c.Deployed, &c.Failed, &c.Stopping, &c.Stopped,
		store.JSON(&row.Selection), store.JSON(&s))...)
	s.ID, s.Name, s.Status, s.Attempt, s.Deployment = row.ID, row.Name, row.Status, row.Attempt, row.Deployment
	s.Started, s.Counts, s.Selection = row.Started, row.Counts, row.Selection
	return s, err
}

// stagesOf reads the stages of a plan, and sums their counters up.
func (r reader) stagesOf(ctx context.Context, p *edge.Plan) error {
	rows, err := r.q.QueryContext(ctx,
		`select s.removed, `+stageColumns+` from edge_stage s where s.plan_id = $1 order by s.ordinal`, p.ID)
	p.Stages, err = store.Collect(rows, err, "read stages", func(scan store.Scan) (edge.Stage, error) {
		var removed bool
		s, err := scanStage(scan, &removed)
		if removed {
			s.ID, p.Removing = 0, true
		}
		return s, err
	})
	if err != nil {
		return err
	}
	p.Stages = slices.DeleteFunc(p.Stages, func(s edge.Stage) bool { return s.ID == 0 })
	p.Totals = p.Counts()
	return nil
}

// InsertStages records the stages of a plan from the given index on, and sets
// their ids.
func (tx Tx) InsertStages(ctx context.Context, p *edge.Plan, from int) error {
	if from == len(p.Stages) {
		return nil
	}
	var last int
	err := tx.QueryRowContext(
		ctx, `select coalesce(max(ordinal), 0) from edge_stage where plan_id = $1`, p.ID,
	).Scan(&last)
	if err != nil {
		return store.Wrap("number stages", err)
	}
	first, err := tx.NextN(ctx, "edge_stage", len(p.Stages)-from)
	if err != nil {
		return err
	}
	for i := range p.Stages[from:] {
		s := &p.Stages[from+i]
		s.ID = first + int64(i)
		err := tx.Run(ctx, "insert stage", `
			insert into edge_stage (id, plan_id, ordinal, name, status, selection, doc)
			values ($1, $2, $3, $4, $5, $6, $7)`,
			s.ID, p.ID, last+1+i, s.Name, s.Status, store.JSON(s.Selection), store.JSON(s))
		if err != nil {
			return err
		}
	}
	return nil
}

const touchPlan = `update edge_plan set modified = $1 where id = $2 and modified < $1`

// SaveStage makes the row of a stage agree with s, but for its counters, and
// due at the given time; the zero time is never. The plan changed at p.Modified.
func (tx Tx) SaveStage(ctx context.Context, p *edge.Plan, s edge.Stage, due time.Time) error {
	err := tx.Run(ctx, "save stage", `
		update edge_stage set status = $1, active = $2, attempt = $3, deployment = $4, started = $5, due = $6,
			wakes = wakes + 1, doc = $7
		where id = $8`, s.Status, store.Flag(s.Active()), s.Attempt, s.Deployment, momentMicros(s.Started),
		store.NullMicros(due), store.JSON(s), s.ID)
	if err != nil {
		return err
	}
	return tx.Run(ctx, "save plan", touchPlan, store.Micros(p.Modified), p.ID)
}

// SaveSweep records how far the sweep of a stage is, and when somebody looked at it.
func (tx Tx) SaveSweep(ctx context.Context, s edge.Stage) error {
	return tx.Run(ctx, "save stage", `update edge_stage set doc = $1 where id = $2`, store.JSON(s), s.ID)
}

// SaveOrder records to which fleet a stage deploys what from its start on.
func (tx Tx) SaveOrder(ctx context.Context, s edge.Stage, f edge.Fleet, o edge.Order) error {
	return tx.Run(ctx, "save order", `update edge_stage set fleet_id = $1, orders = $2 where id = $3`,
		f.ID, store.JSON(o), s.ID)
}

// FleetOf returns the id of the fleet that a stage was started for.
func (r reader) FleetOf(ctx context.Context, stage int64) (id int64, err error) {
	err = r.q.QueryRowContext(ctx, `select fleet_id from edge_stage where id = $1`, stage).Scan(&id)
	return id, store.Wrap("read stage", err)
}

// WakeSelecting makes the stages of a plan that wait to choose their devices
// due.
func (tx Tx) WakeSelecting(ctx context.Context, p *edge.Plan, now time.Time) error {
	return tx.Wake(ctx, "edge_stage", now, `plan_id = ? and status = ?`, p.ID, edge.StageStarting)
}

// RemoveStage takes a stage out of its plan; its rows are still to be removed.
func (tx Tx) RemoveStage(ctx context.Context, s edge.Stage, now time.Time) error {
	// The name is free at once: what replaces it is no name that a stage can have.
	return tx.Run(ctx, "remove stage", `
		update edge_stage set removed = 1, name = $1, deployment = '', due = $2, wakes = wakes + 1 where id = $3`,
		"~"+strconv.FormatInt(s.ID, 10), store.Micros(now), s.ID)
}

// RemoveRows removes up to n rows of a stage that was taken out of its plan,
// and the stage itself when it has no more. It reports whether that is so.
func (tx Tx) RemoveRows(ctx context.Context, stage int64, n int) (gone bool, err error) {
	removed, err := tx.Count(ctx, "remove rows", `
		delete from edge_row where stage_id = $1
		and device_id in (select device_id from edge_row where stage_id = $1 limit $2)`, stage, n)
	if err != nil || removed == int64(n) {
		return false, err
	}
	return true, tx.Run(ctx, "remove stage", `delete from edge_stage where id = $1 and removed = 1`, stage)
}

// Removed reports whether a stage is on its way out.
func (db DB) Removed(ctx context.Context, stage int64) (bool, error) {
	return db.exists(ctx, `select 1 from edge_stage where id = $1 and removed = 1`, stage)
}

// Stages returns the queue of stages, by id.
func (db DB) Stages() *store.Queue { return db.Queue("edge_stage", "id") }
