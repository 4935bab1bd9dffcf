package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"
)

// Config says where to serve and what calls may cost.
type Config struct {
	Socket     string      // path of the Unix socket; "" for none
	SocketMode fs.FileMode // who may connect: the permission to write
	// SocketUID and SocketGID own the socket; -1 leaves the agent's own.
	SocketUID, SocketGID int
	// AllowUIDs, if not empty, are the only users who may call through the
	// socket, besides its file mode.
	AllowUIDs []uint32

	Loopback string // a loopback address with a port, 127.0.0.1:0 for any; "" for none
	Token    string // what callers there must carry: Authorization: Bearer TOKEN; at least 16 characters

	Version string // of the agent, as it tells callers

	MaxMessage       int           // bytes of a request or an answer
	MaxShared        int           // bytes of shared memory that one call may bring
	MaxCalls         int           // calls under way; one more is refused before its body is read
	MaxConnections   int           // one more is closed
	MaxTensors       int           // in one call
	HandshakeTimeout time.Duration // until a new connection has said what it speaks
	CallTimeout      time.Duration // of a call that brings no deadline or a later one
	LoadTimeout      time.Duration // the same for LoadModel and UnLoadModel
	Drain            time.Duration // for calls under way when the server stops
}

// Default is the configuration of an agent whose own says nothing but the path
// of the socket.
func Default(socket string) Config {
	return Config{
		Socket: socket, SocketMode: 0o660, SocketUID: -1, SocketGID: -1, Version: "0",
		MaxMessage: 64 << 20, MaxShared: 256 << 20, MaxCalls: 128, MaxConnections: 256, MaxTensors: 256,
		HandshakeTimeout: 10 * time.Second, CallTimeout: time.Minute, LoadTimeout: 10 * time.Minute,
		Drain: 10 * time.Second,
	}
}

// Validate reports every fault of the configuration at once.
func (c *Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.Socket == "" && c.Loopback == "", "neither a socket nor a loopback address is set")
	// The kernel's limit, less the suffix under which the socket is prepared.
	bad(len(c.Socket) > 107-len(preparing), "the path of the socket is longer than %d bytes", 107-len(preparing))
	bad(c.Socket != "" && c.Socket[0] == '@', "an abstract socket has no file mode, so that anyone could connect")
	bad(c.SocketMode&^0o777 != 0 || c.SocketMode&0o200 == 0,
		"the mode of the socket must be permissions with those of its owner, not %v", c.SocketMode)
	bad(c.Loopback != "" && len(c.Token) < 16, "the loopback port needs a token of at least 16 characters")
	bad(c.MaxMessage < 1 || c.MaxMessage > math.MaxInt32,
		"the limit of a message must be 1 byte to 2 GiB, not %d bytes", c.MaxMessage)
	bad(c.MaxShared < 0, "the limit of shared memory can't be %d bytes", c.MaxShared)
	bad(c.MaxCalls < 1 || c.MaxCalls > 1<<16, "1 to %d calls may be under way, not %d", 1<<16, c.MaxCalls)
	bad(c.MaxConnections < 1, "a connection must be allowed")
	bad(c.MaxTensors < 1, "a call must be allowed a tensor")
	bad(c.HandshakeTimeout <= 0 || c.CallTimeout <= 0 || c.LoadTimeout <= 0 || c.Drain <= 0,
		"time limits must be longer than nothing")
	return errors.Join(errs...)
}
