package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
)

const stageColumns = `s.id, s.name, s.status, s.attempt, s.deployment, s.started, s.ready, s.inprogress, s.deployed, s.failed, s.stopping, s.stopped, s.selection, s.doc`

func scanStage(scan func(...any) error) (s edge.Stage, err error) {
	var started int64
	var selection, doc string
	c := &s.Counts
	err = scan(&s.ID, &s.Name, &s.Status, &s.Attempt, &s.Deployment, &started,
		&c.Ready, &c.InProgress, &c.Deployed, &c.Failed, &c.Stopping, &c.Stopped, &selection, &doc)
	if err != nil {
		return s, err
	}
	if started > 0 {
		s.Started = FromMicros(started)
	}
	return s, errors.Join(json.Unmarshal([]byte(selection), &s.Selection), json.Unmarshal([]byte(doc), &s))
}

// stagesOf reads the stages of a plan, and sums their counters up.
func stagesOf(ctx context.Context, q Querier, p *edge.Plan) error {
	rows, err := q.QueryContext(ctx, `select s.removed, `+stageColumns+` from edge_stage s where s.plan_id = $1 order by s.ordinal`, p.ID)
	p.Stages, err = Collect(rows, err, "read stages", func(scan func(...any) error) (edge.Stage, error) {
		var removed int
		s, err := scanStage(func(into ...any) error { return scan(append([]any{&removed}, into...)...) })
		if removed == 1 {
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
func (tx *Tx) InsertStages(ctx context.Context, p *edge.Plan, from int) error {
	if from == len(p.Stages) {
		return nil
	}
	var last int
	if err := tx.QueryRowContext(ctx, `select coalesce(max(ordinal), 0) from edge_stage where plan_id = $1`, p.ID).Scan(&last); err != nil {
		return Wrap("number stages", err)
	}
	for i := from; i < len(p.Stages); i++ {
		s := &p.Stages[i]
		selection, err := json.Marshal(s.Selection)
		if err != nil {
			return fmt.Errorf("encode selection: %w", err)
		}
		doc, err := json.Marshal(s)
		if err != nil {
			return fmt.Errorf("encode stage: %w", err)
		}
		if s.ID, err = tx.Next(ctx, "edge_stage"); err != nil {
			return err
		}
		last++
		_, err = tx.ExecContext(ctx, `insert into edge_stage (id, plan_id, ordinal, name, status, selection, doc) values ($1, $2, $3, $4, $5, $6, $7)`,
			s.ID, p.ID, last, s.Name, s.Status, string(selection), string(doc))
		if err != nil {
			return Wrap("insert stage", err)
		}
	}
	return nil
}

// SaveStage makes the row of a stage agree with s, but for its counters, and
// due at the given time; the zero time is never. The plan changed at p.Modified.
func (tx *Tx) SaveStage(ctx context.Context, p *edge.Plan, s edge.Stage, due time.Time) error {
	doc, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode stage: %w", err)
	}
	var started int64
	if !s.Started.IsZero() {
		started = Micros(s.Started)
	}
	_, err = tx.ExecContext(ctx, `
		update edge_stage set status = $1, active = $2, attempt = $3, deployment = $4, started = $5, due = $6, wakes = wakes + 1, doc = $7
		where id = $8`, s.Status, Flag(s.Active()), s.Attempt, s.Deployment, started, NullMicros(due), string(doc), s.ID)
	if err != nil {
		return Wrap("save stage", err)
	}
	_, err = tx.ExecContext(ctx, `update edge_plan set modified = $1 where id = $2 and modified < $1`, Micros(p.Modified), p.ID)
	return Wrap("save plan", err)
}

// SaveSweep records how far the sweep of a stage is.
func (tx *Tx) SaveSweep(ctx context.Context, s edge.Stage) error {
	doc, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode stage: %w", err)
	}
	_, err = tx.ExecContext(ctx, `update edge_stage set doc = $1 where id = $2`, string(doc), s.ID)
	return Wrap("save stage", err)
}

// BeginStage records to which fleet a stage deploys what from its start on.
func (tx *Tx) BeginStage(ctx context.Context, s edge.Stage, f edge.Fleet, o edge.Order) error {
	orders, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode order: %w", err)
	}
	_, err = tx.ExecContext(ctx, `update edge_stage set fleet_id = $1, orders = $2 where id = $3`, f.ID, string(orders), s.ID)
	return Wrap("save order", err)
}

// FleetOf returns the id of the fleet that a stage was started for.
func (db *DB) FleetOf(ctx context.Context, stage int64) (id int64, err error) {
	err = db.Read().QueryRowContext(ctx, `select fleet_id from edge_stage where id = $1`, stage).Scan(&id)
	return id, Wrap("read stage", err)
}

// WakeSelecting makes the stages of a plan that wait to choose their devices
// due.
func (tx *Tx) WakeSelecting(ctx context.Context, p *edge.Plan, now time.Time) error {
	return tx.Wake(ctx, "edge_stage", now, "plan_id = ? and status = ?", p.ID, edge.StageStarting)
}

// RemoveStage takes a stage out of its plan; its rows are still to be removed.
func (tx *Tx) RemoveStage(ctx context.Context, p *edge.Plan, s edge.Stage, now time.Time) error {
	// The name is free at once: what replaces it is no name that a stage can have.
	_, err := tx.ExecContext(ctx, `
		update edge_stage set removed = 1, name = $1, deployment = '', due = $2, wakes = wakes + 1 where id = $3`,
		"~"+strconv.FormatInt(s.ID, 10), Micros(now), s.ID)
	return Wrap("remove stage", err)
}

// RemoveRows removes up to n rows of a stage that was taken out of its plan,
// and the stage itself when it has no more. It reports whether that is so.
func (tx *Tx) RemoveRows(ctx context.Context, stage int64, n int) (gone bool, err error) {
	res, err := tx.ExecContext(ctx, `
		delete from edge_row where stage_id = $1 and device_id in (select device_id from edge_row where stage_id = $1 limit $2)`, stage, n)
	if err != nil {
		return false, Wrap("remove rows", err)
	}
	if removed, err := res.RowsAffected(); err != nil || removed == int64(n) {
		return false, Wrap("remove rows", err)
	}
	_, err = tx.ExecContext(ctx, `delete from edge_stage where id = $1 and removed = 1`, stage)
	return true, Wrap("remove stage", err)
}

// Removed reports whether a stage is on its way out.
func (db *DB) Removed(ctx context.Context, stage int64) (bool, error) {
	var one int
	err := db.Read().QueryRowContext(ctx, `select 1 from edge_stage where id = $1 and removed = 1`, stage).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, Wrap("read stage", err)
}

// Stages is the queue of stages.
func (db *DB) Stages() *Queue { return db.Queue("edge_stage", "id") }
