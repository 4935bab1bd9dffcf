package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/notice"
	"github.com/slipway-ml/slipway/internal/platform/loop"
)

// Subscriber is who wants to be told of events.
type Subscriber struct {
	Name  string        // of its queue, never empty
	Kinds []notice.Kind // none: every kind
}

func (s Subscriber) wants(k notice.Kind) bool {
	return len(s.Kinds) == 0 || slices.Contains(s.Kinds, k)
}

// Tell makes every later transaction write the events of what it changes to
// the queues of these subscribers. It is called before the store is used; a
// store that tells nobody writes no events.
func (db *DB) Tell(to ...Subscriber) { db.to = to }

// tell writes an event about e, as it is after this change, to the queues of
// those who want it.
func (tx *Tx) tell(ctx context.Context, k notice.Kind, e *hosting.Endpoint, is []hosting.Instance, now time.Time) error {
	wanted := func(s Subscriber) bool { return s.wants(k) }
	if !slices.ContainsFunc(tx.to, wanted) {
		return nil
	}
	v := e.View(is)
	if k == notice.DeploymentChange && !notice.Doing(v) {
		return nil
	}
	ts, err := tx.Tags(ctx, e.ARN())
	if err != nil {
		return err
	}
	body, err := notice.Tell(k, notice.Subject{ID: uuid.NewString(), At: now, View: v, Tags: ts})
	if err != nil {
		return err
	}
	// Drawn under the counter's lock, which is held until the commit: events
	// become visible in the order of their numbers.
	seq, err := tx.next(ctx, "event")
	if err != nil {
		return err
	}
	for _, s := range tx.to {
		if !wanted(s) {
			continue
		}
		_, err := tx.ExecContext(ctx, `
			insert into outbox (webhook, endpoint, seq, at, kind, due, body) values ($1, $2, $3, $4, $5, $4, $6)`,
			s.Name, e.Scope.Region+"/"+strings.ToLower(e.Name), seq, micros(now), k, string(body))
		if err != nil {
			return wrap("write event", err)
		}
	}
	return nil
}

// Outbox is the queue of the events that one subscriber has still to be told.
// Its keys are the events' numbers.
type Outbox struct {
	db   *DB
	name string
}

// Outbox returns the queue of a subscriber.
func (db *DB) Outbox(subscriber string) *Outbox { return &Outbox{db, subscriber} }

// heads selects the oldest event of every endpoint: only they may be
// delivered, so that one that fails keeps back those after it.
const heads = `select min(seq) from outbox where webhook = $1 group by endpoint`

// Claim implements loop.Queue.
func (o *Outbox) Claim(ctx context.Context, now, until time.Time) (c loop.Claim, next time.Time, err error) {
	var seq int64
	err = o.db.write.QueryRowContext(ctx, `
		update outbox set leased_until = $2
		where webhook = $1 and seq = (
			select seq from outbox
			where webhook = $1 and seq in (`+heads+`) and due <= $3 and leased_until <= $3
			order by due, seq limit 1`+o.db.d.skipLocked+`)
		returning seq`, o.name, micros(until), micros(now)).Scan(&seq)
	if err == nil {
		return loop.Claim{Key: strconv.FormatInt(seq, 10), Until: until}, next, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return c, next, wrap("claim event", err)
	}
	var at sql.NullInt64
	err = o.db.read.QueryRowContext(ctx, `
		select min(case when leased_until > due then leased_until else due end) from outbox
		where webhook = $1 and seq in (`+heads+`)`, o.name).Scan(&at)
	if at.Valid {
		next = fromMicros(at.Int64)
	}
	return c, next, wrap("look for the next event", err)
}

// Release implements loop.Queue. The due time of an event is kept by Failed.
func (o *Outbox) Release(ctx context.Context, c loop.Claim, _ time.Time) error {
	_, err := o.db.write.ExecContext(ctx, `update outbox set leased_until = 0 where webhook = $1 and seq = $2 and leased_until = $3`,
		o.name, c.Key, micros(c.Until))
	return wrap("release event", err)
}

// Notice returns the event called key; false if it was delivered or dropped.
func (o *Outbox) Notice(ctx context.Context, key string) (n notice.Notice, ok bool, err error) {
	var at int64
	var body string
	err = o.db.read.QueryRowContext(ctx, `select endpoint, kind, at, attempts, body from outbox where webhook = $1 and seq = $2`, o.name, key).
		Scan(&n.Endpoint, &n.Kind, &at, &n.Attempts, &body)
	if errors.Is(err, sql.ErrNoRows) {
		return n, false, nil
	}
	n.At, n.Body = fromMicros(at), []byte(body)
	return n, err == nil, wrap("read event", err)
}

// Delivered forgets an event that its receiver has.
func (o *Outbox) Delivered(ctx context.Context, key string) error {
	_, err := o.db.write.ExecContext(ctx, `delete from outbox where webhook = $1 and seq = $2`, o.name, key)
	return wrap("forget event", err)
}

// Failed records how often delivering an event has failed and when to try
// again, so that a restart goes on where it was.
func (o *Outbox) Failed(ctx context.Context, key string, attempts int, due time.Time) error {
	_, err := o.db.write.ExecContext(ctx, `update outbox set attempts = $3, due = $4 where webhook = $1 and seq = $2`,
		o.name, key, attempts, micros(due))
	return wrap("put event off", err)
}

// Trim drops events that nobody could be told of: those older than before, and
// the oldest of more than most. It returns how many there were.
func (o *Outbox) Trim(ctx context.Context, before time.Time, most int) (dropped int64, err error) {
	res, err := o.db.write.ExecContext(ctx, fmt.Sprintf(`
		delete from outbox where webhook = $1 and (at < $2 or seq in (
			select seq from outbox where webhook = $1 order by seq desc limit 1000000 offset %d))`, most), o.name, micros(before))
	if err != nil {
		return 0, wrap("trim outbox", err)
	}
	dropped, err = res.RowsAffected()
	return dropped, wrap("trim outbox", err)
}

// ForgetOutboxes drops the events of subscribers other than those told of: they
// are gone for good.
func (db *DB) ForgetOutboxes(ctx context.Context) (dropped int64, err error) {
	query, args := `delete from outbox where 1 = 1`, []any{}
	for i, s := range db.to {
		query += fmt.Sprintf(` and webhook <> $%d`, i+1)
		args = append(args, s.Name)
	}
	res, err := db.write.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, wrap("forget outboxes", err)
	}
	dropped, err = res.RowsAffected()
	return dropped, wrap("forget outboxes", err)
}
