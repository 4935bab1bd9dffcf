package mirror

import "sync/atomic"

// DeviceBytes is how many bytes of calls are kept at a time for all handles of a
// device together: what four of the largest take.
const DeviceBytes = queued * maxBytes

// Budget is what the copies of all models of a device share. Its zero value is
// DeviceBytes; it is safe for concurrent use.
type Budget struct{ used atomic.Int64 }

// take takes n bytes, if there are so many.
func (b *Budget) take(n int) bool {
	if b.used.Add(int64(n)) > DeviceBytes {
		b.give(n)
		return false
	}
	return true
}

func (b *Budget) give(n int) { b.used.Add(-int64(n)) }
