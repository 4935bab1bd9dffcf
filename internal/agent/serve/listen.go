package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// preparing is added to the path of a socket until it has its mode and owner.
const preparing = ".new"

// socketFile is the socket that was made, to remove that one and no other.
type socketFile struct {
	path string
	made fs.FileInfo
}

// remove removes the socket unless another agent has put its own there.
func (f *socketFile) remove() {
	if now, err := os.Lstat(f.path); err == nil && os.SameFile(now, f.made) {
		_ = os.Remove(f.path) // if it stays, the next start finds that nobody listens
	}
}

// listenUnix makes the socket, with its mode and owner from the first moment
// that it can be found. One that a crash left behind is replaced; one that
// somebody listens on is an error.
func listenUnix(cfg Config) (net.Listener, *socketFile, error) {
	if err := checkReplaceable(cfg.Socket); err != nil {
		return nil, nil, err
	}
	tmp := cfg.Socket + preparing
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("prepare the socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, nil, fmt.Errorf("listen on the socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	file, err := publish(cfg, tmp)
	if err != nil {
		_ = l.Close()      // it was never found
		_ = os.Remove(tmp) // nor was this
		return nil, nil, fmt.Errorf("prepare the socket: %w", err)
	}
	return l, file, nil
}

func publish(cfg Config, tmp string) (*socketFile, error) {
	if err := os.Lchown(tmp, cfg.SocketUID, cfg.SocketGID); err != nil {
		return nil, err
	}
	if err := os.Chmod(tmp, cfg.SocketMode); err != nil {
		return nil, err
	}
	made, err := os.Lstat(tmp)
	if err != nil {
		return nil, err
	}
	return &socketFile{path: cfg.Socket, made: made}, os.Rename(tmp, cfg.Socket)
}

// checkReplaceable refuses a path that is taken by anything but a socket that nobody
// listens on.
func checkReplaceable(path string) error {
	at, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for the socket: %w", err)
	}
	if at.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is no socket", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = c.Close() // only a question
		return fmt.Errorf("somebody listens on %s already", path)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("ask who listens on the socket: %w", err)
	}
	return nil
}

// listenLoopback refuses addresses that others than this device can reach.
func listenLoopback(address string) (net.Listener, error) {
	at, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("read the loopback address: %w", err)
	}
	if !at.IP.IsLoopback() {
		return nil, fmt.Errorf("%s is not a loopback address", address)
	}
	l, err := net.ListenTCP("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("listen on the loopback address: %w", err)
	}
	return l, nil
}

// Caller is who is at the other end of a connection. It is its remote address.
type Caller struct {
	Socket   bool   // through the socket: the ids are the kernel's word
	UID, GID uint32 // the user and group
	PID      int32
	at       string
}

// Network returns unix or tcp.
func (c *Caller) Network() string {
	if c.Socket {
		return "unix"
	}
	return "tcp"
}

// String tells who it is.
func (c *Caller) String() string {
	if c.Socket {
		return fmt.Sprintf("pid %d of user %d", c.PID, c.UID)
	}
	return c.at
}

// callerOf asks the kernel who connected.
func callerOf(c net.Conn) (*Caller, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return &Caller{at: c.RemoteAddr().String()}, nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var asked error
	if err := raw.Control(func(fd uintptr) {
		cred, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	if asked != nil {
		return nil, asked
	}
	return &Caller{Socket: true, UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}, nil
}
