// Package shm reads windows of System V shared memory segments that
// applications share with the agent (spec §7.1). It promises that nothing is
// read of a segment that anyone may still attach for writing, that the caller
// could not read itself, or outside its bounds; and that a segment is attached
// only while it is copied, so that its owner may reuse it as soon as the call
// was answered, and nothing that happens to it can hurt the agent. What the
// bytes mean is not its job.
package shm

import (
	"errors"
	"math"
	"os"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Window is a part of a segment. Size 0 is the rest of it from Offset.
type Window struct {
	Segment      uint64 // what shmget(2) returned
	Offset, Size uint64 // in bytes
}

// Reader is on whose behalf a segment is read: the agent may have rights that
// the application lacks, and must not lend them.
type Reader struct {
	UID, GID uint32
}

// Read copies the window into the memory that alloc gives for its size, and
// returns that. want, if not 0, is how many bytes are needed: of a window
// without a size only that many are read. alloc is called once, after all
// checks; a refusal of its own ends the reading. All failures that the caller
// can mend are fault.Invalid.
func Read(w Window, r Reader, want uint64, alloc func(size uint64) ([]byte, error)) (b []byte, err error) {
	if w.Segment > math.MaxInt32 {
		return nil, gone(w, unix.EINVAL)
	}
	// Attached first and checked after: an id can't be given to another segment
	// while this one is attached.
	all, err := unix.SysvShmAttach(int(w.Segment), 0, unix.SHM_RDONLY)
	if err != nil {
		return nil, gone(w, err)
	}
	defer func() {
		if e := unix.SysvShmDetach(all); e != nil && err == nil {
			b, err = nil, fault.New(fault.Internal, "detach shared memory").Because(e)
		}
	}()
	var d unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(int(w.Segment), unix.IPC_STAT, &d); err != nil {
		return nil, gone(w, err)
	}
	if err := checkAccess(w, r, &d); err != nil {
		return nil, err
	}
	from, err := cut(w, all, want)
	if err != nil {
		return nil, err
	}
	to, err := alloc(uint64(len(from)))
	if err != nil {
		return nil, err
	}
	return to, copyGuarded(to, from)
}

// checkAccess refuses a segment that may not be read for r, or that may be written.
func checkAccess(w Window, r Reader, d *unix.SysvShmDesc) error {
	mode := uint32(d.Perm.Mode) & 0o777
	if mode&0o222 != 0 {
		return fault.New(fault.Invalid,
			"the shared memory segment %d has mode %04o: make it read-only for everyone (0400) before the call",
			w.Segment, mode)
	}
	may := r.UID == 0
	switch {
	case r.UID == d.Perm.Uid || r.UID == d.Perm.Cuid:
		may = may || mode&0o400 != 0
	case r.GID == d.Perm.Gid || r.GID == d.Perm.Cgid:
		may = may || mode&0o040 != 0
	default:
		may = may || mode&0o004 != 0
	}
	if !may {
		return fault.New(fault.Invalid, "the shared memory segment %d may not be read by the user %d", w.Segment, r.UID)
	}
	return nil
}

// cut returns the window of all.
func cut(w Window, all []byte, want uint64) ([]byte, error) {
	length := uint64(len(all))
	if w.Offset > length || w.Size > length-w.Offset {
		return nil, fault.New(fault.Invalid,
			"%d bytes from %d on lie outside the shared memory segment %d, which has %d",
			w.Size, w.Offset, w.Segment, length)
	}
	size := w.Size
	if size == 0 {
		size = length - w.Offset
		if want != 0 {
			if size < want {
				return nil, fault.New(fault.Invalid,
					"%d bytes are needed from %d on, but the shared memory segment %d has %d",
					want, w.Offset, w.Segment, length)
			}
			size = want
		}
	}
	return all[w.Offset:][:size], nil
}

// copyGuarded survives a page that the kernel can't provide: its owner may
// have filled the memory of the device, and that must cost one call only.
func copyGuarded(to, from []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			err = fault.New(fault.Limit, "the shared memory could not be read: the device is short of memory")
		}
	}()
	populate(from)
	copy(to, from)
	return nil
}

// populate maps the pages of b in one step, which takes less than half the time
// of a fault for each. Linux knows how since 5.14; without it copying works all
// the same.
func populate(b []byte) {
	page := os.Getpagesize()
	if len(b) < 2*page {
		return
	}
	// The mapping begins at a page, so that the one of the first byte is ours.
	before := int(uintptr(unsafe.Pointer(&b[0])) % uintptr(page))
	whole := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(&b[0]), -before)), len(b)+before)
	_ = unix.Madvise(whole, unix.MADV_POPULATE_READ) // faster if it works
}

func gone(w Window, err error) error {
	switch {
	case errors.Is(err, unix.EACCES):
		return fault.New(fault.Invalid,
			"the shared memory segment %d may not be read by the agent", w.Segment).Because(err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EIDRM):
		return fault.New(fault.Invalid, "there is no shared memory segment %d", w.Segment).Because(err)
	}
	return fault.New(fault.Limit, "the shared memory segment %d could not be attached", w.Segment).Because(err)
}
