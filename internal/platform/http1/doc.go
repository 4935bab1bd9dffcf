// Package http1 speaks HTTP/1.1 for the data plane: a server that parses a
// request without waste and hands it to a handler on the connection's own
// goroutine, and a client that keeps connections to upstreams. It promises
// that whatever a peer sends, memory and time per connection are bounded, and
// that a message with two readings is refused instead of guessed at (request
// smuggling).
//
// It is not a general HTTP library: connections whose requests are not for
// the data plane are handed, with the bytes read so far, to net/http; there
// are no upgrades, no HTTP/2, and no TLS of its own.
package http1

import (
	"errors"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
)

// ErrGone is returned when the peer on whose behalf work was done has left.
var ErrGone = errors.New("http1: the client has gone")

// ErrTooLarge is returned for a body that exceeds the server's limit.
var ErrTooLarge = connlimit.ErrTooLarge

// ErrBusy is returned when the budget for request bodies is used up.
var ErrBusy = connlimit.ErrBusy

// Refusal is a message that cannot be accepted, with the status that says so.
type Refusal struct {
	Status int
	Reason string // for people, one clause
}

func (e *Refusal) Error() string { return "http1: " + e.Reason }

func refuse(status int, reason string) error { return &Refusal{Status: status, Reason: reason} }

// Field is one header field as it was received: the name in its original
// case, the value without surrounding white space.
type Field struct{ Name, Value string }

// Watcher says whether the one who asked is still there. It is consulted now
// and then while waiting, never concurrently.
type Watcher interface{ Gone() bool }
