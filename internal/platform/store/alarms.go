package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
)

const alarmColumns = `region, name, version, configured, definition, state`

func scanAlarm(scan func(...any) error) (r alarm.Record, err error) {
	var name, definition, state string
	var configured int64
	if err := scan(&r.Region, &name, &r.Version, &configured, &definition, &state); err != nil {
		return r, err
	}
	r.Configured = FromMicros(configured)
	return r, errors.Join(json.Unmarshal([]byte(definition), &r.Definition), json.Unmarshal([]byte(state), &r.State))
}

// Alarms returns every alarm of every region.
func (db *DB) Alarms(ctx context.Context) (out []alarm.Record, err error) {
	rows, err := db.Read().QueryContext(ctx, `select `+alarmColumns+` from alarm order by region, name`)
	if err != nil {
		return nil, Wrap("read alarms", err)
	}
	defer rows.Close()
	for rows.Next() {
		r, err := scanAlarm(rows.Scan)
		if err != nil {
			return nil, Wrap("read alarms", err)
		}
		out = append(out, r)
	}
	return out, Wrap("read alarms", rows.Err())
}

// Alarm reads an alarm and locks it until the transaction ends; nil if there
// is none.
func (tx *Tx) Alarm(ctx context.Context, region, name string) (*alarm.Record, error) {
	r, err := scanAlarm(tx.QueryRowContext(ctx, `select `+alarmColumns+` from alarm where region = $1 and name = $2`+tx.Dialect.ForUpdate, region, name).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &r, Wrap("read alarm", err)
}

// SaveAlarm creates or replaces an alarm and gives it its new version.
func (tx *Tx) SaveAlarm(ctx context.Context, r *alarm.Record) error {
	definition, err := json.Marshal(r.Definition)
	if err != nil {
		return fmt.Errorf("encode alarm: %w", err)
	}
	state, err := json.Marshal(r.State)
	if err != nil {
		return fmt.Errorf("encode alarm: %w", err)
	}
	if r.Version, err = tx.Next(ctx, "alarm"); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		insert into alarm (region, name, version, configured, definition, state) values ($1, $2, $3, $4, $5, $6)
		on conflict (region, name) do update set version = excluded.version, configured = excluded.configured,
			definition = excluded.definition, state = excluded.state`,
		r.Region, r.Definition.Name, r.Version, Micros(r.Configured), string(definition), string(state))
	return Wrap("save alarm", err)
}

// SaveAlarmState writes the state of an alarm unless somebody changed the alarm
// since r was read, and gives it its new version. It says whether it wrote.
func (tx *Tx) SaveAlarmState(ctx context.Context, r *alarm.Record) (bool, error) {
	state, err := json.Marshal(r.State)
	if err != nil {
		return false, fmt.Errorf("encode alarm: %w", err)
	}
	version, err := tx.Next(ctx, "alarm")
	if err != nil {
		return false, err
	}
	res, err := tx.ExecContext(ctx, `update alarm set version = $1, state = $2 where region = $3 and name = $4 and version = $5`,
		version, string(state), r.Region, r.Definition.Name, r.Version)
	if err != nil {
		return false, Wrap("save alarm state", err)
	}
	n, err := res.RowsAffected()
	if n == 1 {
		r.Version = version
	}
	return n == 1, Wrap("save alarm state", err)
}

// DeleteAlarm removes an alarm; its history stays. It returns the version of
// the change.
func (tx *Tx) DeleteAlarm(ctx context.Context, region, name string) (int64, error) {
	version, err := tx.Next(ctx, "alarm")
	if err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `delete from alarm where region = $1 and name = $2`, region, name)
	return version, Wrap("delete alarm", err)
}

// RecordAlarm appends a line to an alarm's history.
func (tx *Tx) RecordAlarm(ctx context.Context, h alarm.HistoryItem) error {
	seq, err := tx.Next(ctx, "alarm_history")
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `insert into alarm_history (seq, region, name, composite, at, kind, summary, data) values ($1, $2, $3, $4, $5, $6, $7, $8)`,
		seq, h.Region, h.Alarm, Flag(h.Composite), Micros(h.At), string(h.Kind), h.Summary, h.Data)
	return Wrap("record alarm", err)
}

// WakeWatchers makes the unfinished updates of a region that are judged by an
// alarm due now. It may wake others that merely mention the name.
func (tx *Tx) WakeWatchers(ctx context.Context, region, name string, now time.Time) error {
	quoted, err := json.Marshal(name)
	if err != nil {
		return fmt.Errorf("encode alarm name: %w", err)
	}
	return tx.Wake(ctx, "deployment", now,
		"ended is null and "+tx.Dialect.Contains("doc", "?")+" and endpoint_id in (select id from endpoint where region = ?)",
		string(quoted), region)
}

// AlarmHistory returns a page of history, newest first unless the filter says
// otherwise, and whether more follows.
func (db *DB) AlarmHistory(ctx context.Context, f alarm.HistoryFilter) (out []alarm.HistoryItem, more bool, err error) {
	var w Where
	w.And("region = ?", f.Region)
	if f.Alarm != "" {
		w.And("name = ?", f.Alarm)
	}
	if f.Composite != nil {
		w.And("composite = ?", Flag(*f.Composite))
	}
	if f.Kind != "" {
		w.And("kind = ?", string(f.Kind))
	}
	if !f.From.IsZero() {
		w.And("at >= ?", Micros(f.From))
	}
	if !f.Until.IsZero() {
		w.And("at < ?", Micros(f.Until))
	}
	dir, beyond := "desc", "<"
	if f.Ascending {
		dir, beyond = "asc", ">"
	}
	if f.After != 0 {
		w.And("seq "+beyond+" ?", f.After)
	}
	rows, err := db.Read().QueryContext(ctx, fmt.Sprintf(`
		select seq, region, name, composite, at, kind, summary, data from alarm_history
		where %s order by seq %s limit %d`, w.String(), dir, f.Limit+1), w.Args...)
	if err != nil {
		return nil, false, Wrap("read alarm history", err)
	}
	defer rows.Close()
	for rows.Next() {
		var h alarm.HistoryItem
		var composite int
		var at int64
		if err := rows.Scan(&h.Seq, &h.Region, &h.Alarm, &composite, &at, &h.Kind, &h.Summary, &h.Data); err != nil {
			return nil, false, Wrap("read alarm history", err)
		}
		h.Composite, h.At = composite == 1, FromMicros(at)
		out = append(out, h)
	}
	if len(out) > f.Limit {
		out, more = out[:f.Limit], true
	}
	return out, more, Wrap("read alarm history", rows.Err())
}

// PruneAlarmHistory forgets what is older than before, and of each alarm all
// but the newest lines.
func (db *DB) PruneAlarmHistory(ctx context.Context, before time.Time, keep int) error {
	_, err := db.write.ExecContext(ctx, `delete from alarm_history where at < $1`, Micros(before))
	if err == nil {
		_, err = db.write.ExecContext(ctx, `
			delete from alarm_history where seq in (
				select seq from (select seq, row_number() over (partition by region, name order by seq desc) as n from alarm_history) numbered
				where n > $1)`, keep)
	}
	return Wrap("prune alarm history", err)
}
