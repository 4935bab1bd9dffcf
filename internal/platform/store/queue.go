package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/loop"
)

// Queue is a table as a queue of a loop: its rows fall due. It has the columns
//
//	due           when a turn is due; null: not until woken
//	leased_until  until when somebody has the row for a turn
//	lease         which claim that was: leased_until moves when a lease is renewed
//	wakes         grows with every write of due but Release's, so that Release
//	              does not undo a wake-up that came during the turn
//
// Whoever writes due in a transaction therefore adds 1 to wakes (see Tx.Wake).
type Queue struct {
	db    *DB
	table string
	key   string

	column, value string // only rows that have the value in the column; "": all rows
	serial        string // see Serial
}

var _ loop.Queue = (*Queue)(nil)

// Queue returns the queue of a table whose column key names its rows.
func (db *DB) Queue(table, key string) *Queue { return &Queue{db: db, table: table, key: key} }

// Only returns the queue of those rows alone that have a value in a column.
func (q *Queue) Only(column, value string) *Queue {
	narrow := *q
	narrow.column, narrow.value = column, value
	return &narrow
}

// Serial returns a queue in which rows with the same value in a column wait for
// each other: only the one with the lowest key can be claimed, so that one that
// fails keeps back those after it.
func (q *Queue) Serial(column string) *Queue {
	serial := *q
	serial.serial = column
	return &serial
}

// mine returns the condition of the queue's rows and of those that can be
// claimed, and the arguments of both, which come first in a statement.
func (q *Queue) mine() (rows, claimable string, args []any) {
	rows = "true"
	if q.column != "" {
		rows, args = q.column+" = $1", []any{q.value}
	}
	claimable = rows
	if q.serial != "" {
		claimable = fmt.Sprintf("%s and %s in (select min(%s) from %s where %s group by %s)",
			rows, q.key, q.key, q.table, rows, q.serial)
	}
	return rows, claimable, args
}

// fill replaces the words of a statement: {table}, {key}, {rows}, {claimable},
// {skipLocked}, and $a, $b and so on by the numbers of the arguments after the
// queue's own.
func (q *Queue) fill(text string, more ...any) (string, []any) {
	rows, claimable, args := q.mine()
	words := []string{
		"{table}", q.table, "{key}", q.key, "{rows}", rows, "{claimable}", claimable, "{skipLocked}",
		q.db.Dialect.skipLocked,
	}
	for i, a := range more {
		args = append(args, a)
		words = append(words, "$"+string(rune('a'+i)), fmt.Sprintf("$%d", len(args)))
	}
	return strings.NewReplacer(words...).Replace(text), args
}

// Claim implements loop.Queue.
func (q *Queue) Claim(ctx context.Context, now, until time.Time) (c loop.Claim, next time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// Most looks find nothing: they must not take the connection that writes.
	due, err := q.anyDue(ctx, now)
	if err != nil {
		return c, next, err
	}
	if !due {
		next, err = q.next(ctx)
		return c, next, err
	}
	query, args := q.fill(`
		update {table} set leased_until = $a, lease = $a
		where {rows} and {key} = (
			select {key} from {table}
			where {claimable} and due <= $b and leased_until <= $b
			order by due, {key} limit 1{skipLocked})
		returning {key}, wakes`, Micros(until), Micros(now))
	switch err = q.db.write.QueryRowContext(ctx, query, args...).Scan(&c.Key, &c.Wakes); {
	case err == nil:
		c.Until = until
		return c, time.Time{}, nil
	case errors.Is(err, sql.ErrNoRows): // somebody else was faster
		next, err = q.next(ctx)
		return loop.Claim{}, next, err
	}
	return loop.Claim{}, time.Time{}, Wrap("claim from "+q.table, err)
}

// anyDue reports whether a row can be claimed.
func (q *Queue) anyDue(ctx context.Context, now time.Time) (due bool, err error) {
	query, args := q.fill(`
		select exists (select 1 from {table} where {claimable} and due <= $a and leased_until <= $a)`, Micros(now))
	err = q.db.read.QueryRowContext(ctx, query, args...).Scan(&due)
	return due, Wrap("look into "+q.table, err)
}

// next returns when the next row can be claimed; zero if no row is due ever.
func (q *Queue) next(ctx context.Context) (next time.Time, err error) {
	query, args := q.fill(`
		select min(case when leased_until > due then leased_until else due end) from {table}
		where {claimable} and due is not null`)
	err = q.db.read.QueryRowContext(ctx, query, args...).Scan(Time(&next))
	return next, Wrap("look into "+q.table, err)
}

// Release implements loop.Queue. A row that was written during the turn keeps
// the due time that it was given.
func (q *Queue) Release(ctx context.Context, c loop.Claim, due time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	query, args := q.fill(`
		update {table} set leased_until = 0, lease = 0, due = case when wakes = $d then $a else due end
		where {rows} and {key} = $b and lease = $c`, NullMicros(due), c.Key, Micros(c.Until), c.Wakes)
	_, err := q.db.write.ExecContext(ctx, query, args...)
	return Wrap("release in "+q.table, err)
}

// ForgetLeases makes every row that is due claimable at once. Only a server that
// knows itself to be the only one may call it, before it works: whoever held
// the leases is dead, and nobody need wait for them to lapse.
func (q *Queue) ForgetLeases(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	query, args := q.fill(`update {table} set leased_until = 0, lease = 0 where {rows} and leased_until > 0`)
	_, err := q.db.write.ExecContext(ctx, query, args...)
	return Wrap("forget leases in "+q.table, err)
}
