//go:build !unix

package http1

import "net"

// peeker sees nothing here: a client that left is noticed when it is written
// to, a stale upstream connection when it is used.
type peeker struct{}

func newPeeker(net.Conn) *peeker { return &peeker{} }

func (p *peeker) look() (bytes, ended bool) { return false, false }
func (p *peeker) readable() bool            { return false }
func (p *peeker) ended() bool               { return false }

func isTemporary(error) bool { return false }
