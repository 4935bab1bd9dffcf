// Package clock says what time it is, as records have it. It is no clock to be
// replaced: tests run in a bubble of testing/synctest.
package clock

import (
	"context"
	"time"
)

// Now is the present in UTC, to the microsecond, which is what the store keeps:
// a time that was written is equal to itself when it is read again.
func Now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// Every calls do, with pauses between, until ctx ends.
func Every(ctx context.Context, pause time.Duration, do func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}
