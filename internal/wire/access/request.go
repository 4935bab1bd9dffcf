package access

import (
	"context"
	"log/slog"
	"time"
)

// Request is what the log says of a request, beside what its API knows. One
// goroutine serves a request: it needs no lock.
type Request struct {
	Level   slog.Level // of the record of a success
	Address string     // of the client
	Started time.Time

	action, resource string // that was last asked for
}

type requestKey struct{}

// WithRequest returns a context for serving a request.
func WithRequest(ctx context.Context, r *Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// RequestOf returns what the log shall say of the request in hand.
func RequestOf(ctx context.Context) *Request {
	if r, ok := ctx.Value(requestKey{}).(*Request); ok {
		return r
	}
	return &Request{Started: time.Now()} // a handler without the gateway, in a test
}

// Facts are who asked for what, from where, and how long that took.
func (r *Request) Facts(ctx context.Context) []slog.Attr {
	var facts []slog.Attr
	c, _ := From(ctx) // none if it was refused
	for _, f := range [][2]string{
		{"caller", c.ARN},
		{"key", c.AccessKeyID},
		{"address", r.Address},
		{"action", r.action},
		{"resource", r.resource},
	} {
		if f[1] != "" {
			facts = append(facts, slog.String(f[0], f[1]))
		}
	}
	return append(facts, slog.Duration("duration", time.Since(r.Started)))
}
