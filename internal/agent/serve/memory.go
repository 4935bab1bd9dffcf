package serve

import (
	"sync"
	"unsafe"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// memoryPool keeps the memory into which shared memory is copied: fresh memory of
// megabytes costs more than copying them.
type memoryPool struct{ pool sync.Pool }

// maxKept is how much is kept for the next call; a rare larger one is left to
// the collector.
const maxKept = 16 << 20

// callMemory is what one call has of the pool.
type callMemory struct {
	from *memoryPool
	held []*[]byte
}

// alloc returns n bytes that hold whatever was there before.
func (m *callMemory) alloc(n uint64) []byte {
	b, ok := m.from.pool.Get().(*[]byte)
	if !ok || uint64(cap(*b)) < n {
		b = new(make([]byte, n))
	}
	*b = (*b)[:n]
	m.held = append(m.held, b)
	return *b
}

// release returns the memory of a call that went well to the pool. A call that
// did not may have left a worker that still reads. What an output lies in is kept:
// it is yet to be sent.
func (m *callMemory) release(outs []tensor.Tensor) {
	for _, b := range m.held {
		if cap(*b) <= maxKept && !anyIn(outs, *b) {
			m.from.pool.Put(b)
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
