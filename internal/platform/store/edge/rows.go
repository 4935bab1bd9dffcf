package edge

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

const rowColumns = `r.device_id, r.name, r.attempt, r.status, r.message, r.started, r.ended, r.undoing`

// scanRow reads rowColumns, and then more.
func scanRow(scan store.Scan, more ...any) (r edge.Row, err error) {
	return r, scan(append([]any{
		&r.DeviceID, &r.Device, &r.Attempt, &r.Status, &r.Message, moment{&r.Started}, moment{&r.Ended}, &r.Undoing,
	}, more...)...)
}

const rowOf = `
	select ` + rowColumns + ` from edge_row r where r.stage_id = $1 and r.device_id = $2 and r.owned = 1`

// RowOf returns the row of a device in a stage; false if the stage does not have
// the device.
func (tx Tx) RowOf(ctx context.Context, stage, device int64) (edge.Row, bool, error) {
	r, err := scanRow(tx.QueryRowContext(ctx, rowOf, stage, device).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	return r, err == nil, store.Wrap("read row", err)
}

// OpenRowsOf returns what is still wanted of a device, as the stages and plans
// that want it.
func (tx Tx) OpenRowsOf(ctx context.Context, device int64) ([]edge.Offer, error) {
	rows, err := tx.QueryContext(ctx,
		`select stage_id, plan_id from edge_row where device_id = $1 and open = 1 order by stage_id`, device)
	return store.Collect(rows, err, "read rows", func(scan store.Scan) (o edge.Offer, err error) {
		return o, scan(&o.Stage, &o.Plan)
	})
}

// NextRows returns up to n rows of a stage whose devices come after a given one,
// with the facts about them that a sweep needs. A device is busy from which a
// rival waits to hear. The plan is locked.
func (tx Tx) NextRows(ctx context.Context, s edge.Stage, rivals []int64, n int) ([]edge.SweptRow, error) {
	busy, only := "0", ""
	args := []any{s.ID, s.Sweep.At, n}
	if len(rivals) > 0 {
		busy = `case when exists (
			select 1 from edge_row o where o.device_id = r.device_id and o.open = 1
				and ` + tx.Dialect.Among("o.stage_id", "$4") + `) then 1 else 0 end`
		args = append(args, store.JSON(rivals))
	}
	switch s.Sweep.Kind {
	case edge.Halt, edge.Grace, edge.Expire:
		only = " and r.open = 1"
	case edge.NoSweep, edge.Write, edge.Restart, edge.Undo:
	}
	rows, err := tx.QueryContext(ctx, `
		select `+rowColumns+`, r.owned, case when d.id is null then 1 else 0 end, `+busy+`
		from edge_row r left join device d on d.id = r.device_id
		where r.stage_id = $1 and r.device_id > $2`+only+` order by r.device_id limit $3`, args...)
	return store.Collect(rows, err, "read rows", func(scan store.Scan) (edge.SweptRow, error) {
		var owned, gone, busy bool
		r, err := scanRow(scan, &owned, &gone, &busy)
		r.Gone, r.Busy = gone, busy
		return edge.SweptRow{Row: r, Owned: owned}, err
	})
}

const saveRow = `
	update edge_row set status = $1, open = $2, attempt = $3, message = $4, started = $5, ended = $6, undoing = $7
	where stage_id = $8 and device_id = $9`

// SaveRow records a row of a stage that changed. Its stage has to be told by
// CountRows in the same transaction.
func (tx Tx) SaveRow(ctx context.Context, stage int64, r edge.Row) error {
	return tx.Run(ctx, "save row", saveRow, r.Status, store.Flag(r.Unfinished()), r.Attempt, r.Message,
		momentMicros(r.Started), momentMicros(r.Ended), store.Flag(r.Undoing), stage, r.DeviceID)
}

// Owners returns who has devices in a plan, by device.
func (tx Tx) Owners(ctx context.Context, p *edge.Plan, devices []int64) (map[int64]edge.OwnedRow, error) {
	rows, err := tx.QueryContext(ctx, `
		select `+rowColumns+`, r.stage_id from edge_row r
		where r.plan_id = $1 and r.owned = 1 and `+tx.Dialect.Among("r.device_id", "$2"), p.ID, store.JSON(devices))
	out := map[int64]edge.OwnedRow{}
	_, err = store.Collect(rows, err, "read owners", func(scan store.Scan) (o edge.OwnedRow, err error) {
		o.Row, err = scanRow(scan, &o.Stage)
		out[o.DeviceID] = o
		return o, err
	})
	return out, err
}

// DisownRow makes a stage only list a device that it had.
func (tx Tx) DisownRow(ctx context.Context, stage, device int64) error {
	return tx.Run(ctx, "give a device away", `update edge_row set owned = 0 where stage_id = $1 and device_id = $2`,
		stage, device)
}

// InsertRows gives a stage those of the devices that are still registered, in
// one statement, and returns how many there were. They have no other owner in
// the plan.
func (tx Tx) InsertRows(ctx context.Context, p *edge.Plan, s edge.Stage, devices []int64) (int, error) {
	return tx.insertRows(ctx, p, s, devices, edge.DeviceReady, `
		update set owned = 1, open = 1, attempt = excluded.attempt, status = excluded.status, undoing = 0,
			started = 0, ended = 0, message = ''`)
}

// ListRows makes a stage list those of the devices that are still registered;
// other stages of the plan have them.
func (tx Tx) ListRows(ctx context.Context, p *edge.Plan, s edge.Stage, devices []int64) error {
	_, err := tx.insertRows(ctx, p, s, devices, edge.DeviceStopped, "nothing")
	return err
}

func (tx Tx) insertRows(
	ctx context.Context, p *edge.Plan, s edge.Stage, devices []int64, status edge.DeviceStatus, conflict string,
) (int, error) {
	if len(devices) == 0 {
		return 0, nil
	}
	n, err := tx.Count(ctx, "insert rows", `
		insert into edge_row (stage_id, device_id, plan_id, owned, open, attempt, status, name)
		select cast($1 as bigint), d.id, cast($2 as bigint), cast($3 as integer), cast($3 as integer),
			cast($4 as bigint), cast($5 as text), d.name
		from device d where `+tx.Dialect.Among("d.id", "$6")+`
		on conflict (stage_id, device_id) do `+conflict,
		s.ID, p.ID, store.Flag(edge.Row{Status: status}.Unfinished()), s.Attempt, status, store.JSON(devices))
	return int(n), err
}

const countRows = `
	update edge_stage set ready = ready + $1, inprogress = inprogress + $2, deployed = deployed + $3,
		failed = failed + $4, stopping = stopping + $5, stopped = stopped + $6, wakes = wakes + 1,
		due = case when ready + $1 + inprogress + $2 + stopping + $5 <= 0 then $7
			when due is null or due > $8 then $8 else due end
	where id = $9`

// soon is when a stage is due whose rows changed, so that many results are
// looked at together.
const soon = time.Second

// CountRows adds changes to the counters of stages whose plans are locked, and
// makes the stages due: at once if nothing is pending any more, or else soon.
func (tx Tx) CountRows(ctx context.Context, plans []int64, deltas map[int64]*edge.Counts, now time.Time) error {
	at := store.Micros(now)
	for _, stage := range slices.Sorted(maps.Keys(deltas)) {
		c := deltas[stage]
		if *c == (edge.Counts{}) {
			continue
		}
		err := tx.Run(ctx, "count rows", countRows, c.Ready, c.InProgress, c.Deployed, c.Failed, c.Stopping, c.Stopped,
			at, at+soon.Microseconds(), stage)
		if err != nil {
			return err
		}
	}
	for _, p := range plans {
		if err := tx.Run(ctx, "touch plan", touchPlan, at, p); err != nil {
			return err
		}
	}
	return nil
}
