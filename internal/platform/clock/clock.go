// Package clock says what time it is, as records have it. It is no clock to be
// replaced: tests run in a bubble of testing/synctest.
package clock

import "time"

// Now is the present in UTC, to the microsecond, which is what the store keeps:
// a time that was written is equal to itself when it is read again.
func Now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
