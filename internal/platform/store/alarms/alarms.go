// Package alarms keeps alarms with their states, and the history of both. When
// an alarm changes its state is decided by domain/alarm.
package alarms

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// DB keeps alarms. Its methods are transactions.
type DB struct{ *store.DB }

// New returns the alarms of an open store.
func New(db *store.DB) DB { return DB{db} }

// Tx is one transaction on alarms.
type Tx struct{ *store.Tx }

// In returns the alarms in a transaction that other records are changed in, too.
func In(tx *store.Tx) Tx { return Tx{tx} }

// Change runs f in a transaction; see store.DB.Change.
func (db DB) Change(ctx context.Context, f func(Tx) error) error {
	return db.DB.Change(ctx, func(tx *store.Tx) error { return f(In(tx)) })
}

const columns = `region, version, configured, definition, state`

func scanAlarm(scan store.Scan) (r alarm.Record, err error) {
	err = scan(&r.Region, &r.Version, store.Time(&r.Configured), store.JSON(&r.Definition), store.JSON(&r.State))
	return r, err
}

// Alarms returns every alarm of every region.
func (db DB) Alarms(ctx context.Context) ([]alarm.Record, error) {
	rows, err := db.Read().QueryContext(ctx, `select `+columns+` from alarm order by region, name`)
	return store.Collect(rows, err, "read alarms", scanAlarm)
}

// Alarm reads an alarm and locks it until the transaction ends; nil if there
// is none.
func (tx Tx) Alarm(ctx context.Context, region, name string) (*alarm.Record, error) {
	row := tx.QueryRowContext(ctx,
		`select `+columns+` from alarm where region = $1 and name = $2`+tx.Dialect.ForUpdate, region, name)
	r, err := scanAlarm(row.Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &r, store.Wrap("read alarm", err)
}

// SaveAlarm creates or replaces an alarm and gives it its new version.
func (tx Tx) SaveAlarm(ctx context.Context, r *alarm.Record) (err error) {
	if r.Version, err = tx.Next(ctx, "alarm"); err != nil {
		return err
	}
	return tx.Run(ctx, "save alarm", `
		insert into alarm (region, name, version, configured, definition, state) values ($1, $2, $3, $4, $5, $6)
		on conflict (region, name) do update set version = excluded.version, configured = excluded.configured,
			definition = excluded.definition, state = excluded.state`,
		r.Region, r.Definition.Name, r.Version, store.Micros(r.Configured),
		store.JSON(r.Definition), store.JSON(r.State))
}

// SaveState writes the state of an alarm unless somebody changed the alarm
// since r was read, and gives it its new version. It says whether it wrote.
func (tx Tx) SaveState(ctx context.Context, r *alarm.Record) (bool, error) {
	version, err := tx.Next(ctx, "alarm")
	if err != nil {
		return false, err
	}
	n, err := tx.Count(ctx, "save alarm state",
		`update alarm set version = $1, state = $2 where region = $3 and name = $4 and version = $5`,
		version, store.JSON(r.State), r.Region, r.Definition.Name, r.Version)
	if n == 1 {
		r.Version = version
	}
	return n == 1, err
}

// DeleteAlarm removes an alarm; its history stays. It returns the version of
// the change.
func (tx Tx) DeleteAlarm(ctx context.Context, region, name string) (int64, error) {
	version, err := tx.Next(ctx, "alarm")
	if err != nil {
		return 0, err
	}
	return version, tx.Run(ctx, "delete alarm", `delete from alarm where region = $1 and name = $2`, region, name)
}

// Record appends a line to an alarm's history.
func (tx Tx) Record(ctx context.Context, h alarm.HistoryItem) error {
	seq, err := tx.Next(ctx, "alarm_history")
	if err != nil {
		return err
	}
	return tx.Run(ctx, "record alarm", `
		insert into alarm_history (seq, region, name, composite, at, kind, summary, data)
		values ($1, $2, $3, $4, $5, $6, $7, $8)`,
		seq, h.Region, h.Alarm, store.Flag(h.Composite), store.Micros(h.At), string(h.Kind), h.Summary, h.Data)
}

// History returns a page of history, newest first unless the filter says
// otherwise, and whether more follows.
func (db DB) History(ctx context.Context, f alarm.HistoryFilter) ([]alarm.HistoryItem, bool, error) {
	var w store.Where
	w.And("region = ?", f.Region)
	w.AndText("name = ?", f.Alarm)
	if f.Composite != nil {
		w.And("composite = ?", store.Flag(*f.Composite))
	}
	w.AndText("kind = ?", string(f.Kind))
	w.AndTime("at >= ?", f.From)
	w.AndTime("at < ?", f.Until)
	dir, beyond := "desc", "<"
	if f.Ascending {
		dir, beyond = "asc", ">"
	}
	if f.After != 0 {
		w.And("seq "+beyond+" ?", f.After)
	}
	rows, err := db.Read().QueryContext(ctx, fmt.Sprintf(`
		select seq, region, name, composite, at, kind, summary, data from alarm_history
		where %s order by seq %s limit %d`, &w, dir, f.Limit+1), w.Args...)
	return store.Page(rows, err, "read alarm history", f.Limit, func(scan store.Scan) (h alarm.HistoryItem, err error) {
		var composite int
		err = scan(&h.Seq, &h.Region, &h.Alarm, &composite, store.Time(&h.At), &h.Kind, &h.Summary, &h.Data)
		h.Composite = composite == 1
		return h, err
	})
}

// PruneHistory forgets what is older than before, and of each alarm all but the
// newest lines.
func (db DB) PruneHistory(ctx context.Context, before time.Time, keep int) error {
	return db.Change(ctx, func(tx Tx) error {
		err := tx.Run(ctx, "prune alarm history", `delete from alarm_history where at < $1`, store.Micros(before))
		if err != nil {
			return err
		}
		return tx.Run(ctx, "prune alarm history", `
			delete from alarm_history where seq in (
				select seq from (
					select seq, row_number() over (partition by region, name order by seq desc) as n from alarm_history
				) numbered
				where n > $1)`, keep)
	})
}
