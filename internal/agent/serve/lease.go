package serve

import (
	"sync"
	"unsafe"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// lender lends the memory into which shared memory is copied: fresh memory of
// megabytes costs more than copying them.
type lender struct{ pool sync.Pool }

// maxLent is how much is kept for the next call; a rare larger one is left to
// the collector.
const maxLent = 16 << 20

// lease is what one call has borrowed.
type lease struct {
	from *lender
	lent []*[]byte
}

// alloc returns n bytes that hold whatever was there before.
func (l *lease) alloc(n uint64) []byte {
	b, ok := l.from.pool.Get().(*[]byte)
	if !ok || uint64(cap(*b)) < n {
		b = new(make([]byte, n))
	}
	*b = (*b)[:n]
	l.lent = append(l.lent, b)
	return *b
}

// giveBack ends the lease of a call that went well. A call that did not may
// have left a worker that still reads. What an output lies in is not given
// back: it is yet to be sent.
func (l *lease) giveBack(outs []tensor.Tensor) {
	for _, b := range l.lent {
		if cap(*b) <= maxLent && !anyIn(outs, *b) {
			l.from.pool.Put(b)
		}
	}
}

// anyIn tells whether the data of a tensor begins in b.
func anyIn(ts []tensor.Tensor, b []byte) bool {
	from := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	for i := range ts {
		at := uintptr(unsafe.Pointer(unsafe.SliceData(ts[i].Data)))
		if at >= from && at < from+uintptr(cap(b)) {
			return true
		}
	}
	return false
}
