// Package loop drives durable state machines. A Runner claims one due item at
// a time under a lease, gives it one turn, and records when it is next due. A
// process that dies mid-turn loses its lease, and the turn is taken again
// elsewhere; so a turn must be safe to take twice.
package loop

import (
	"context"
	"log/slog"
	"time"
)

// Queue is the durable side of a Runner: rows that fall due.
type Queue interface {
	// Claim leases the longest-due item. If none is due, the Claim is zero
	// and next is when one will be, or zero if that is unknown.
	Claim(ctx context.Context, now, until time.Time) (c Claim, next time.Time, err error)
	// Release gives a claimed item back. It is next due at the given time;
	// zero means not until something wakes it. An item that was woken during
	// the turn stays due at the time it was woken for. It does nothing if the
	// lease has passed to somebody else.
	Release(ctx context.Context, c Claim, due time.Time) error
}

// A Claim is the right to take one turn.
type Claim struct {
	Key   string
	Until time.Time // the lease; also what tells this claim from a later one
	Wakes int64     // the item's wake count when it was claimed
}

// A Wakeup tells a Runner that something may have fallen due. Notifying never
// blocks; many notifications before a look are one.
type Wakeup chan struct{}

// NewWakeup returns a Wakeup.
func NewWakeup() Wakeup { return make(Wakeup, 1) }

// Notify wakes the Runner up, now or as soon as its turn is over.
func (w Wakeup) Notify() {
	select {
	case w <- struct{}{}:
	default: // it will look anyway
	}
}

// Turn advances the item called key and says when it is next due.
type Turn func(ctx context.Context, key string) (due time.Time, err error)

// Runner takes turns until its context ends.
type Runner struct {
	Queue Queue
	Turn  Turn
	Log   *slog.Logger
	Wake  <-chan struct{} // optional: something may have fallen due early
	Poll  time.Duration   // longest time between two looks at the queue
	Lease time.Duration   // longest time one turn may take
	Retry time.Duration   // wait before repeating a failed turn
}

// Run returns when ctx ends and the turn in hand has finished.
func (r *Runner) Run(ctx context.Context) {
	for ctx.Err() == nil {
		idle := time.NewTimer(r.once(ctx))
		select {
		case <-ctx.Done():
		case <-r.Wake:
		case <-idle.C:
		}
		idle.Stop()
	}
}

// once takes at most one turn and says how long to idle before the next.
func (r *Runner) once(ctx context.Context) time.Duration {
	now := time.Now()
	c, next, err := r.Queue.Claim(ctx, now, now.Add(r.Lease))
	switch {
	case ctx.Err() != nil:
		return 0
	case err != nil:
		r.Log.WarnContext(ctx, "claim failed", "err", err)
		return r.Retry
	case c.Key == "" && next.IsZero():
		return r.Poll
	case c.Key == "":
		return min(r.Poll, max(0, time.Until(next)))
	}
	// Shutdown must not interrupt a turn halfway: it is bounded by its lease.
	turn, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.Lease)
	defer cancel()
	due, err := r.Turn(turn, c.Key)
	if err != nil {
		r.Log.WarnContext(turn, "turn failed", "key", c.Key, "err", err)
		due = time.Now().Add(r.Retry)
	}
	if err := r.Queue.Release(turn, c, due); err != nil {
		r.Log.WarnContext(turn, "release failed; the lease will lapse", "key", c.Key, "err", err)
	}
	return 0
}
