package openload

import (
	"time"

	"golang.org/x/sys/unix"
)

// fine is the stretch before a deadline that is slept with the kernel's own
// clock: an idle Go program wakes up to a millisecond late, which would count
// as latency.
const fine = 2 * time.Millisecond

// sleepUntil returns at t, or within fine after either channel is closed.
func sleepUntil(done, stop <-chan struct{}, t time.Time) {
	if coarse := time.Until(t) - fine; coarse > 0 {
		timer := time.NewTimer(coarse)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-done:
			return
		case <-stop:
			return
		}
	}
	if rest := time.Until(t); rest > 0 {
		ts := unix.NsecToTimespec(int64(rest))
		_ = unix.Nanosleep(&ts, nil) // a signal may end it early; that is near enough
	}
}
