package shm

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// segment makes one that holds 0, 1, 2 … and has the given mode at the end.
func segment(t testing.TB, size int, mode uint32) uint64 {
	t.Helper()
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, size, unix.IPC_CREAT|0o600)
	if err != nil {
		t.Skip("no System V shared memory here: ", err)
	}
	t.Cleanup(func() {
		if _, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Error(err)
		}
	})
	b, err := unix.SysvShmAttach(id, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = byte(i)
	}
	if err := unix.SysvShmDetach(b); err != nil {
		t.Fatal(err)
	}
	setMode(t, id, mode)
	return uint64(id)
}

func setMode(t testing.TB, id int, mode uint32) {
	t.Helper()
	var d unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &d); err != nil {
		t.Fatal(err)
	}
	d.Perm.Mode &^= 0o777
	for bit := uint32(1); bit < 0o1000; bit <<= 1 { // the field's width differs between machines
		if mode&bit != 0 {
			d.Perm.Mode |= 1 << bits(bit)
		}
	}
	if _, err := unix.SysvShmCtl(id, unix.IPC_SET, &d); err != nil {
		t.Fatal(err)
	}
}

func bits(b uint32) (n int) {
	for ; b > 1; b >>= 1 {
		n++
	}
	return n
}

func me() Reader { return Reader{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())} }

func alloc(n uint64) ([]byte, error) { return make([]byte, n), nil }

func attached(t *testing.T, id uint64) int {
	t.Helper()
	var d unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(int(id), unix.IPC_STAT, &d); err != nil {
		t.Fatal(err)
	}
	return int(d.Nattch)
}

func TestAWindowIsReadAndTheSegmentLeftAlone(t *testing.T) {
	id := segment(t, 100, 0o400)
	for name, c := range map[string]struct {
		w       Window
		want    uint64
		at, len int
	}{
		"all of it":                       {Window{Segment: id}, 0, 0, 100},
		"as many as are needed":           {Window{Segment: id}, 64, 0, 64},
		"as many as are needed from ten":  {Window{Segment: id, Offset: 10}, 64, 10, 64},
		"what the window says":            {Window{Segment: id, Offset: 10, Size: 5}, 64, 10, 5},
		"the last byte":                   {Window{Segment: id, Offset: 99, Size: 1}, 0, 99, 1},
		"nothing, right behind the bytes": {Window{Segment: id, Offset: 100}, 0, 100, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(c.w, me(), c.want, alloc)
			if err != nil {
				t.Fatal(err)
			}
			want := make([]byte, c.len)
			for i := range want {
				want[i] = byte(c.at + i)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got %v", got)
			}
			if n := attached(t, id); n != 0 {
				t.Errorf("the segment is attached %d times", n)
			}
		})
	}
}

func TestWhatMayNotBeReadIsRefusedWithTheReason(t *testing.T) {
	id, open := segment(t, 100, 0o400), segment(t, 100, 0o600)
	removed := segment(t, 100, 0o400)
	if _, err := unix.SysvShmCtl(int(removed), unix.IPC_RMID, nil); err != nil {
		t.Fatal(err)
	}
	mode := func(m uint32) Window { return Window{Segment: segment(t, 100, m)} }
	stranger := Reader{UID: me().UID + 4711, GID: me().GID + 4711}
	for name, c := range map[string]struct {
		w    Window
		r    Reader
		want uint64
		says string
	}{
		"writable by its owner": {
			Window{Segment: open}, me(), 0, "has mode 0600: make it read-only for everyone (0400)",
		},
		"writable by the group": {mode(0o420), me(), 0, "has mode 0420"},
		"writable by others":    {mode(0o402), me(), 0, "has mode 0402"},
		"an offset outside": {
			Window{Segment: id, Offset: 101}, me(), 0, "0 bytes from 101 on lie outside",
		},
		"an end outside": {
			Window{Segment: id, Offset: 1, Size: 100}, me(), 0, "100 bytes from 1 on lie outside",
		},
		"a size that overflows": {Window{Segment: id, Offset: 8, Size: 1<<64 - 8}, me(), 0, "lie outside"},
		"less than needed": {
			Window{Segment: id, Offset: 90},
			me(), 16,
			"16 bytes are needed from 90 on, but the shared memory segment " + strconv.FormatUint(id, 10) + " has 100",
		},
		"an id beyond those of the system": {
			Window{Segment: 1 << 40}, me(), 0, "there is no shared memory segment 1099511627776",
		},
		"a removed one":             {Window{Segment: removed}, me(), 0, "there is no shared memory segment"},
		"a stranger's private one":  {Window{Segment: id}, stranger, 0, "may not be read by the user"},
		"a stranger to the group's": {mode(0o440), stranger, 0, "may not be read by the user"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(c.w, c.r, c.want, func(uint64) ([]byte, error) {
				t.Error("memory was taken for it")
				return nil, nil
			})
			if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
	if n := attached(t, id); n != 0 {
		t.Errorf("the segment is attached %d times", n)
	}
}

func TestWhoeverCouldReadItMayHaveItRead(t *testing.T) {
	stranger := Reader{UID: me().UID + 4711, GID: me().GID + 4711}
	for name, c := range map[string]struct {
		mode uint32
		r    Reader
	}{
		"its owner":           {0o400, me()},
		"anyone, if readable": {0o444, stranger},
		"one of its group":    {0o440, Reader{UID: stranger.UID, GID: me().GID}},
		"root":                {0o400, Reader{}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Read(Window{Segment: segment(t, 100, c.mode)}, c.r, 0, alloc); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNoMemoryIsTakenBeyondWhatTheCallerAllows(t *testing.T) {
	no := errors.New("too much")
	_, err := Read(Window{Segment: segment(t, 100, 0o400)}, me(), 0, func(n uint64) ([]byte, error) {
		if n != 100 {
			t.Errorf("asked for %d bytes", n)
		}
		return nil, no
	})
	if !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
}
