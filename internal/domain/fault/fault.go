// Package fault says what kind of failure happened and what the caller may be
// told about it. Everything else about a failure is for the log. Naming the
// error on the wire is not its job: each protocol has a table for that.
package fault

import (
	"errors"
	"fmt"
)

// Kind is the part of a failure that code may act on. A Kind is itself an
// error, so errors.Is(err, fault.NotFound) holds however deep it is wrapped.
type Kind uint8

// Internal is the zero Kind: any error nobody classified is an internal one.
const (
	Internal    Kind = iota
	Invalid          // the request breaks a rule of the API
	NotFound         // what the request names does not exist
	Exists           // what the request would create exists already
	InUse            // the resource is busy or used by another
	Conflict         // somebody else changed it first
	Limit            // a quota or a size limit
	Unavailable      // not now; the same request may succeed later
	Denied           // the caller may not do this
	Unsupported      // the real API has it, Slipway does not (yet)
)

var kindNames = [...]string{
	"internal", "invalid", "not found", "exists", "in use", "conflict",
	"limit", "unavailable", "denied", "unsupported",
}

func (k Kind) Error() string { return kindNames[k] }

// Error pairs a Kind with a sentence that is safe to show to the caller.
type Error struct {
	Kind   Kind
	Public string
	cause  error
}

// New returns an Error whose text the caller will see. Never format an error
// into it: attach that with Because, which only the log shows.
func New(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Public: fmt.Sprintf(format, args...)}
}

// Because records the private cause and returns e.
func (e *Error) Because(cause error) *Error { e.cause = cause; return e }

func (e *Error) Error() string {
	if e.cause == nil {
		return e.Public
	}
	return e.Public + ": " + e.cause.Error()
}

// Unwrap exposes both the Kind and the cause to errors.Is and errors.AsType.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.cause}
}

// Public returns what a caller may be told about err.
func Public(err error) (Kind, string) {
	if e, ok := errors.AsType[*Error](err); ok && e.Kind != Internal {
		return e.Kind, e.Public
	}
	return Internal, "internal error"
}
