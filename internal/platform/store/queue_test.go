package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/loop"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// queue is one of the queues: they differ in the names of table and key alone.
func queue(db *store.DB) *store.Queue { return db.Queue("deployment", "id") }

// due adds a row to the queue that is due at t0.
func due(t *testing.T, db *store.DB, key string) {
	t.Helper()
	change(t, db, func(ctx context.Context, tx *store.Tx) error {
		return tx.Run(ctx, "insert", `
			insert into deployment (id, endpoint_id, kind, phase, reason, begun, due, doc)
			values ($1, 'e-1', 'Create', 'Launching', '', $2, $2, '{}')`, key, store.Micros(t0))
	})
}

func TestClaimGivesEachItemToOneOwner(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		const items = 40
		for i := range items {
			due(t, db, fmt.Sprint("d-e", i))
		}
		var mu sync.Mutex
		owners := map[string]int{}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for {
					c, _, err := queue(db).Claim(t.Context(), t0, t0.Add(time.Minute))
					if err != nil {
						t.Error(err)
						return
					}
					if c.Key == "" {
						return
					}
					mu.Lock()
					owners[c.Key]++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(owners) != items {
			t.Errorf("claimed %d of %d", len(owners), items)
		}
		for key, n := range owners {
			if n != 1 {
				t.Errorf("%s claimed %d times", key, n)
			}
		}
	})
}

func TestALateReleaseDoesNotTouchTheNextLease(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		due(t, db, "d-e")
		claim := func(now time.Time) (loop.Claim, time.Time) {
			t.Helper()
			c, next, err := queue(db).Claim(t.Context(), now, now.Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			return c, next
		}
		slow, _ := claim(t0)
		if c, _ := claim(t0.Add(time.Second)); c.Key != "" {
			t.Fatal("claimed under a live lease")
		}
		heir, _ := claim(t0.Add(2 * time.Minute))
		if heir.Key != "d-e" {
			t.Fatal("a lapsed lease was not taken over")
		}
		if err := queue(db).Release(t.Context(), slow, t0); err != nil {
			t.Fatal(err)
		}
		if c, _ := claim(t0.Add(2*time.Minute + time.Second)); c.Key != "" {
			t.Error("the late release freed the heir's lease")
		}
		due := t0.Add(time.Hour)
		if err := queue(db).Release(t.Context(), heir, due); err != nil {
			t.Fatal(err)
		}
		if c, next := claim(t0.Add(3 * time.Minute)); c.Key != "" || !next.Equal(due) {
			t.Errorf("Claim = %q next %v, want none until %v", c.Key, next, due)
		}
	})
}

func TestForgottenLeasesAreClaimableAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		due(t, db, "d-e")
		if c, _, err := queue(db).Claim(t.Context(), t0, t0.Add(time.Hour)); err != nil || c.Key == "" {
			t.Fatalf("Claim = %+v, %v", c, err)
		}
		if err := queue(db).ForgetLeases(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c, _, err := queue(db).Claim(t.Context(), t0, t0.Add(time.Hour)); err != nil || c.Key != "d-e" {
			t.Errorf("Claim = %+v, %v", c, err)
		}
	})
}

func TestAWakeUpDuringATurnOutlivesItsRelease(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		due(t, db, "d-e")
		c, _, err := queue(db).Claim(t.Context(), t0, t0.Add(time.Minute))
		if err != nil || c.Key != "d-e" {
			t.Fatalf("Claim = %+v, %v", c, err)
		}
		soon := t0.Add(time.Second)
		change(t, db, func(ctx context.Context, tx *store.Tx) error {
			return tx.Wake(ctx, "deployment", soon, "id = ?", c.Key)
		})
		if err := queue(db).Release(t.Context(), c, t0.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		again, _, err := queue(db).Claim(t.Context(), soon, soon.Add(time.Minute))
		if err != nil || again.Key != c.Key {
			t.Errorf("Claim = %+v, %v", again, err)
		}
		if c, next, err := queue(db).Claim(t.Context(), t0, t0); err != nil || c.Key != "" || next.IsZero() {
			t.Errorf("a leased row was handed out: %+v, next %v, %v", c, next, err)
		}
	})
}
