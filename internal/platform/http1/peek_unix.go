//go:build unix

package http1

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// peeker looks at what a connection holds without taking it and without
// waiting.
type peeker struct {
	raw syscall.RawConn
	buf [1]byte
	n   int
	err error
	fn  func(fd uintptr)
}

// newPeeker returns a peeker for nc, or for the connection below nc's TLS.
func newPeeker(nc net.Conn) *peeker {
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = t.NetConn()
	}
	p := &peeker{}
	if sc, ok := nc.(syscall.Conn); ok {
		p.raw, _ = sc.SyscallConn() // without one nothing can be seen
	}
	p.fn = func(fd uintptr) {
		p.n, _, p.err = unix.Recvfrom(int(fd), p.buf[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	}
	return p
}

// look returns whether there are bytes to read and whether the peer has ended
// its side or the connection is broken.
func (p *peeker) look() (bytes, ended bool) {
	if p.raw == nil {
		return false, false
	}
	if err := p.raw.Control(p.fn); err != nil {
		return false, true
	}
	switch {
	case errors.Is(p.err, unix.EAGAIN), errors.Is(p.err, unix.EINTR):
		return false, false
	case p.err != nil || p.n == 0:
		return false, true
	}
	return true, false
}

func (p *peeker) readable() bool { bytes, _ := p.look(); return bytes }

func (p *peeker) ended() bool { _, ended := p.look(); return ended }

func isTemporary(err error) bool {
	e, ok := errors.AsType[syscall.Errno](err)
	return ok &&
		(e == unix.EMFILE || e == unix.ENFILE || e == unix.ECONNABORTED || e == unix.ENOBUFS || e == unix.ENOMEM)
}
