package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
)

func jsonList[T any](xs []T) (string, error) {
	doc, err := json.Marshal(xs)
	if err != nil {
		return "", fmt.Errorf("encode list: %w", err)
	}
	return string(doc), nil
}

const rowColumns = `r.device_id, r.name, r.attempt, r.status, r.message, r.started, r.ended, r.undoing`

func scanRow(scan func(...any) error, more ...any) (r edge.Row, err error) {
	var started, ended int64
	var undoing int
	err = scan(append([]any{&r.DeviceID, &r.Device, &r.Attempt, &r.Status, &r.Message, &started, &ended, &undoing}, more...)...)
	if started > 0 {
		r.Started = FromMicros(started)
	}
	if ended > 0 {
		r.Ended = FromMicros(ended)
	}
	r.Undoing = undoing == 1
	return r, err
}

// NextRows returns up to n rows of a stage whose devices come after a given one,
// with the facts about them that a sweep needs. The plan is locked.
func (tx *Tx) NextRows(ctx context.Context, s edge.Stage, n int) ([]edge.SweptRow, error) {
	busy, only := "0", ""
	switch s.Sweep.Kind {
	case edge.Undo:
		busy = "case when exists (select 1 from edge_row o where o.device_id = r.device_id and o.open = 1 and o.plan_id <> r.plan_id) then 1 else 0 end"
	case edge.Halt, edge.Grace, edge.Expire:
		only = " and r.open = 1"
	case edge.NoSweep, edge.Write, edge.Restart:
	}
	rows, err := tx.QueryContext(ctx, `
		select `+rowColumns+`, r.owned, case when d.id is null then 1 else 0 end, `+busy+`
		from edge_row r left join device d on d.id = r.device_id
		where r.stage_id = $1 and r.device_id > $2`+only+` order by r.device_id limit $3`, s.ID, s.Sweep.At, n)
	return Collect(rows, err, "read rows", func(scan func(...any) error) (edge.SweptRow, error) {
		var owned, gone, busy int
		r, err := scanRow(scan, &owned, &gone, &busy)
		r.Gone, r.Busy = gone == 1, busy == 1
		return edge.SweptRow{Row: r, Owned: owned == 1}, err
	})
}

const saveRow = `
	update edge_row set status = $1, open = $2, attempt = $3, message = $4, started = $5, ended = $6, undoing = $7
	where stage_id = $8 and device_id = $9`

// SaveRow records a row of a stage that changed. Its stage has to be told by
// CountRows in the same transaction.
func (tx *Tx) SaveRow(ctx context.Context, stage int64, r edge.Row) error {
	var started, ended int64
	if !r.Started.IsZero() {
		started = Micros(r.Started)
	}
	if !r.Ended.IsZero() {
		ended = Micros(r.Ended)
	}
	_, err := tx.ExecContext(ctx, saveRow, r.Status, Flag(r.Unfinished()), r.Attempt, r.Message, started, ended, Flag(r.Undoing), stage, r.DeviceID)
	return Wrap("save row", err)
}

// owner is who has a device in a plan.
type owner struct {
	edge.Row
	stage int64
}

// TakeDevices gives the stage of a plan the devices that it selected, as far as
// they are still there: a row and the order. A device that another stage of the
// plan has is taken over if its deployment there failed or was stopped and
// mayTake says so; else it is only listed, or left out if mayTake says no. The
// counters of all stages follow. The plan is locked.
func (tx *Tx) TakeDevices(ctx context.Context, p *edge.Plan, s edge.Stage, ids []int64, mayTake bool, e edge.Event) error {
	if len(ids) == 0 {
		return nil
	}
	owners, err := tx.owners(ctx, p, ids)
	if err != nil {
		return err
	}
	deltas := map[int64]*edge.Counts{}
	delta := func(stage int64) *edge.Counts {
		if deltas[stage] == nil {
			deltas[stage] = new(edge.Counts)
		}
		return deltas[stage]
	}
	var take, list []int64
	for _, id := range ids {
		o, owned := owners[id]
		switch {
		case !owned:
			take = append(take, id)
		case o.stage == s.ID:
			if next, changed := edge.NextDevice(o.Row, e); changed {
				delta(s.ID).Move(o.Status, next.Status)
				if err := tx.SaveRow(ctx, s.ID, next); err != nil {
					return err
				}
			}
		case mayTake && o.MayTake():
			delta(o.stage).Move(o.Status, "")
			_, err := tx.ExecContext(ctx, `update edge_row set owned = 0 where stage_id = $1 and device_id = $2`, o.stage, id)
			if err != nil {
				return Wrap("give a device away", err)
			}
			take = append(take, id)
		case mayTake:
			list = append(list, id)
		}
	}
	if s.Selection.Type == edge.ByPercentage && !s.Written {
		take = take[:min(len(take), max(0, s.Cut.Target-s.Counts.Total()))]
	}
	n, err := tx.insertRows(ctx, p, s, take, true)
	if err != nil {
		return err
	}
	delta(s.ID).Ready += n
	if _, err := tx.insertRows(ctx, p, s, list, false); err != nil {
		return err
	}
	return tx.CountRows(ctx, []int64{p.ID}, deltas, e.At)
}

// owners returns who has devices in a plan.
func (tx *Tx) owners(ctx context.Context, p *edge.Plan, ids []int64) (map[int64]owner, error) {
	doc, err := jsonList(ids)
	if err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, `select `+rowColumns+`, r.stage_id from edge_row r where r.plan_id = $1 and r.owned = 1 and `+tx.Dialect.Among("r.device_id", "$2"), p.ID, doc)
	found, err := Collect(rows, err, "read owners", func(scan func(...any) error) (o owner, err error) {
		o.Row, err = scanRow(scan, &o.stage)
		return o, err
	})
	out := make(map[int64]owner, len(found))
	for _, o := range found {
		out[o.DeviceID] = o
	}
	return out, err
}

// insertRows writes rows for those of the devices that are still registered, in
// one statement, and returns how many it wrote.
func (tx *Tx) insertRows(ctx context.Context, p *edge.Plan, s edge.Stage, ids []int64, owned bool) (int, error) {
	if len(ids) == 0 {
		return 0, nil
	}
	doc, err := jsonList(ids)
	if err != nil {
		return 0, err
	}
	status, conflict := edge.DeviceReady, `update set owned = 1, open = 1, attempt = excluded.attempt, status = excluded.status, undoing = 0, started = 0, ended = 0, message = ''`
	if !owned {
		status, conflict = edge.DeviceStopped, "nothing"
	}
	res, err := tx.ExecContext(ctx, `
		insert into edge_row (stage_id, device_id, plan_id, owned, open, attempt, status, name)
		select cast($1 as bigint), d.id, cast($2 as bigint), cast($3 as integer), cast($3 as integer), cast($4 as bigint), cast($5 as text), d.name
		from device d where `+tx.Dialect.Among("d.id", "$6")+`
		on conflict (stage_id, device_id) do `+conflict, s.ID, p.ID, Flag(owned), s.Attempt, status, doc)
	if err != nil {
		return 0, Wrap("insert rows", err)
	}
	n, err := res.RowsAffected()
	return int(n), Wrap("insert rows", err)
}

const countRows = `
	update edge_stage set ready = ready + $1, inprogress = inprogress + $2, deployed = deployed + $3,
		failed = failed + $4, stopping = stopping + $5, stopped = stopped + $6, wakes = wakes + 1,
		due = case when ready + $1 + inprogress + $2 + stopping + $5 <= 0 then $7 when due is null or due > $8 then $8 else due end
	where id = $9`

// CountRows adds changes to the counters of stages whose plans are locked, and
// makes the stages due: at once if nothing is pending any more, or else within a
// second, so that many results are judged together.
func (tx *Tx) CountRows(ctx context.Context, plans []int64, deltas map[int64]*edge.Counts, now time.Time) error {
	at := Micros(now)
	for _, stage := range sortedKeys(deltas) {
		c := deltas[stage]
		if *c == (edge.Counts{}) {
			continue
		}
		_, err := tx.ExecContext(ctx, countRows, c.Ready, c.InProgress, c.Deployed, c.Failed, c.Stopping, c.Stopped, at, at+1e6, stage)
		if err != nil {
			return Wrap("count rows", err)
		}
	}
	for _, p := range plans {
		if _, err := tx.ExecContext(ctx, touchPlan, at, p); err != nil {
			return Wrap("touch plan", err)
		}
	}
	return nil
}

const touchPlan = `update edge_plan set modified = $1 where id = $2 and modified < $1`
