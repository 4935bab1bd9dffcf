package hosting

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/notice"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// Outbox is the queue of the events that one subscriber has still to be told
// of. Its keys are the events' numbers. Of an endpoint's events only the oldest
// may be delivered, so that one that fails keeps back those after it.
type Outbox struct {
	*store.Queue

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
	err = o.db.Read().QueryRowContext(ctx,
		`select endpoint, kind, at, attempts, body from outbox where webhook = $1 and seq = $2`, o.name, key).
		Scan(&n.Endpoint, &n.Kind, store.Time(&n.At), &n.Attempts, &n.Body)
	if errors.Is(err, sql.ErrNoRows) {
		return n, false, nil
	}
	return n, err == nil, store.Wrap("read event", err)
}

// Delivered forgets an event that its receiver has.
func (o *Outbox) Delivered(ctx context.Context, key string) error {
	return o.db.Change(ctx, func(tx Tx) error {
		return tx.Run(ctx, "forget event", `delete from outbox where webhook = $1 and seq = $2`, o.name, key)
	})
}

// Failed records how often delivering an event has failed and when to try
// again, so that a restart goes on where it was.
func (o *Outbox) Failed(ctx context.Context, key string, attempts int, due time.Time) error {
	return o.db.Change(ctx, func(tx Tx) error {
		return tx.Run(ctx, "put event off", `
			update outbox set attempts = $3, due = $4, wakes = wakes + 1 where webhook = $1 and seq = $2`,
			o.name, key, attempts, store.Micros(due))
	})
}

// Trim drops events that nobody could be told of: those older than before, and
// the oldest of more than most. It returns how many there were.
func (o *Outbox) Trim(ctx context.Context, before time.Time, most int) (dropped int64, err error) {
	err = o.db.Change(ctx, func(tx Tx) error {
		dropped, err = tx.Count(ctx, "trim outbox", fmt.Sprintf(`
			delete from outbox where webhook = $1 and (at < $2 or seq in (
				select seq from outbox where webhook = $1 order by seq desc limit 1000000 offset %d))`, most),
			o.name, store.Micros(before))
		return err
	})
	return dropped, err
}

// ForgetOutboxes drops the events of subscribers other than those told of: they
// are gone for good.
func (db *DB) ForgetOutboxes(ctx context.Context) (dropped int64, err error) {
	var w store.Where
	w.And("true")
	for _, s := range db.subscribers {
		w.And("webhook <> ?", s.Name)
	}
	err = db.Change(ctx, func(tx Tx) error {
		dropped, err = tx.Count(ctx, "forget outboxes", `delete from outbox where `+w.String(), w.Args...)
		return err
	})
	return dropped, err
}
