package alarms_test

import (
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/platform/store"
	storealarms "github.com/slipway-ml/slipway/internal/platform/store/alarms"
)

// execute executes a statement of a test.
func (w *world) execute(statement string) {
	w.t.Helper()
	ok(w.t, w.db.Change(w.t.Context(), func(tx *store.Tx) error { return tx.Run(w.t.Context(), "test", statement) }))
}

// A composite alarm is written after the child that decides it: what comes
// between the two must not leave it as it was for good.
func TestACompositeAlarmCatchesUpWithItsChildren(t *testing.T) {
	inBubble(t, func(w *world) {
		w.put(watching())
		w.put(alarm.Definition{Name: "top", Rule: "ALARM(a)"})
		w.execute(`create trigger full before update on alarm when new.name = 'top'
			begin select raise(abort, 'disk full'); end`)
		for range 5 {
			w.order(1)
			time.Sleep(time.Second)
		}
		w.is("a", alarm.StateAlarm)
		w.is("top", alarm.StateOK)
		w.execute(`drop trigger full`)
		for range 5 { // the child stays as it is
			w.order(1)
			time.Sleep(time.Second)
		}
		w.is("a", alarm.StateAlarm)
		w.is("top", alarm.StateAlarm)
	})
}

// A state may be written though nobody heard so: the connection broke when the
// answer to its commit was on the way.
func TestAnAlarmWhoseCommitWasNotHeardOfGoesOn(t *testing.T) {
	inBubble(t, func(w *world) {
		w.put(watching())
		time.Sleep(2 * time.Second)
		ctx := w.t.Context()
		ok(w.t, storealarms.New(w.db).Change(ctx, func(tx storealarms.Tx) error {
			r, err := tx.Alarm(ctx, scope.Region, "a")
			if err == nil {
				_, err = tx.SaveState(ctx, r)
			}
			return err
		}))
		for range 5 {
			w.order(1)
			time.Sleep(time.Second)
		}
		w.is("a", alarm.StateAlarm)
	})
}
