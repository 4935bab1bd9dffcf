package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
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
	seq, err := tx.Next(ctx, "event")
	if err != nil {
		return err
	}
	for _, s := range tx.to {
		if !wanted(s) {
			continue
		}
		_, err := tx.ExecContext(ctx, `
			insert into outbox (webhook, endpoint, seq, at, kind, due, body) values ($1, $2, $3, $4, $5, $4, $6)`,
			s.Name, e.Scope.Region+"/"+strings.ToLower(e.Name), seq, Micros(now), k, string(body))
		if err != nil {
			return Wrap("write event", err)
		}
	}
	return nil
}

// Outbox is the queue of the events that one subscriber has still to be told
// of. Its keys are the events' numbers. Of an endpoint's events only the oldest
// may be delivered, so that one that fails keeps back those after it.
type Outbox struct {
	*Queue

	db   *DB
	name string
}

// Outbox returns the queue of a subscriber.
func (db *DB) Outbox(subscriber string) *Outbox {
	return &Outbox{db.Queue("outbox", "seq").Only("webhook", subscriber).Serial("endpoint"), db, subscriber}
}

// Release implements loop.Queue. An event stays due when it was, or when Failed
// said.
func (o *Outbox) Release(ctx context.Context, c loop.Claim, _ time.Time) error {
	c.Wakes = -1 // unlike that of any row: the due time in it is kept
	return o.Queue.Release(ctx, c, time.Time{})
}

// Notice returns the event called key; false if it was delivered or dropped.
func (o *Outbox) Notice(ctx context.Context, key string) (n notice.Notice, ok bool, err error) {
	var at int64
	var body string
	err = o.db.Read().QueryRowContext(ctx, `select endpoint, kind, at, attempts, body from outbox where webhook = $1 and seq = $2`, o.name, key).
		Scan(&n.Endpoint, &n.Kind, &at, &n.Attempts, &body)
	if errors.Is(err, sql.ErrNoRows) {
		return n, false, nil
	}
	n.At, n.Body = FromMicros(at), []byte(body)
	return n, err == nil, Wrap("read event", err)
}

// Delivered forgets an event that its receiver has.
func (o *Outbox) Delivered(ctx context.Context, key string) error {
	_, err := o.db.write.ExecContext(ctx, `delete from outbox where webhook = $1 and seq = $2`, o.name, key)
	return Wrap("forget event", err)
}

// Failed records how often delivering an event has failed and when to try
// again, so that a restart goes on where it was.
func (o *Outbox) Failed(ctx context.Context, key string, attempts int, due time.Time) error {
	_, err := o.db.write.ExecContext(ctx, `update outbox set attempts = $3, due = $4, wakes = wakes + 1 where webhook = $1 and seq = $2`,
		o.name, key, attempts, Micros(due))
	return Wrap("put event off", err)
}

// Trim drops events that nobody could be told of: those older than before, and
// the oldest of more than most. It returns how many there were.
func (o *Outbox) Trim(ctx context.Context, before time.Time, most int) (dropped int64, err error) {
	res, err := o.db.write.ExecContext(ctx, fmt.Sprintf(`
		delete from outbox where webhook = $1 and (at < $2 or seq in (
			select seq from outbox where webhook = $1 order by seq desc limit 1000000 offset %d))`, most), o.name, Micros(before))
	if err != nil {
		return 0, Wrap("trim outbox", err)
	}
	dropped, err = res.RowsAffected()
	return dropped, Wrap("trim outbox", err)
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
		return 0, Wrap("forget outboxes", err)
	}
	dropped, err = res.RowsAffected()
	return dropped, Wrap("forget outboxes", err)
}
