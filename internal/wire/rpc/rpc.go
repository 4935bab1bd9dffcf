// Package rpc makes operations of plain functions and serves them over HTTP in
// every protocol that their service speaks. The order is fixed: tell the
// protocol, find the operation, unpack, decode, validate, call, answer, log.
//
// Not its job: what a protocol's bytes look like (awsjson, cborrpc, awsquery),
// who is calling, and what an operation does.
package rpc

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"

	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/shape"
)

// An Op serves one operation.
type Op struct {
	name    string
	in, out *shape.Shape
	serve   func(ctx context.Context, decode, validate func(shape.Value) error) (shape.Value, error)
}

// Bind makes an Op of a plain function. The function sees input that keeps the
// model's constraints and returns output or an error; it never sees HTTP. Its
// Out is shape.None if the operation answers with nothing.
func Bind[In, Out shape.Value](name string, f func(context.Context, In) (Out, error)) Op {
	var in In
	var out Out
	return Op{name, in.Shape(), out.Shape(), func(
		ctx context.Context, decode, validate func(shape.Value) error,
	) (shape.Value, error) {
		in := new(In)
		if err := decode(any(in).(shape.Value)); err != nil { // *In has the methods of In
			return nil, err
		}
		if err := validate(*in); err != nil {
			return nil, err
		}
		return f(ctx, *in)
	}}
}

// A Protocol is one way to write calls, answers and refusals.
type Protocol interface {
	// Name is the protocol's name in the log.
	Name() string

	// Claims reports whether r is a call in this protocol.
	Claims(r *http.Request) bool

	// Open names the operation that r calls, and returns how to decode its
	// input. body reads the request's body, once. A name may come with an error.
	Open(r *http.Request, body func() ([]byte, error)) (op string, decode func(shape.Value) error, err error)

	// Answer writes the output of op, a success.
	Answer(w http.ResponseWriter, op string, out shape.Value)

	// Refuse writes a failure.
	Refuse(w http.ResponseWriter, e *awserr.Error)
}

// Reply writes an answer whose headers are set but for its length.
func Reply(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone; nobody to tell
}

// Config is what a Handler needs.
type Config struct {
	Service *shape.Service // which operations there are
	Errors  awserr.Service // how their failures are named
	Log     *slog.Logger
	MaxBody int64       // bytes, compressed or not; 0 means 1 MiB
	Enums   shape.Enums // values to accept beyond the model's
	Quiet   bool        // log successes at level Debug, where there are very many

	// Protocols are asked in order whether a request is theirs. The last serves
	// what none of the others claims.
	Protocols []Speaker
}

// A Speaker makes the protocol of a service; awsjson.New is one.
type Speaker func(*shape.Service) Protocol

// Handler serves the operations of one service.
type Handler struct {
	Config
	protocols []Protocol
	ops       map[string]Op
}

// NewHandler serves the given operations. It panics if one of them is not the
// service's, or is not bound to the structures that the service has for it.
func NewHandler(c Config, ops ...Op) *Handler {
	c.MaxBody = cmp.Or(c.MaxBody, 1<<20)
	if len(c.Protocols) == 0 {
		panic("rpc: no protocol to speak")
	}
	h := &Handler{Config: c, ops: make(map[string]Op, len(ops))}
	for _, op := range ops {
		if _, dup := h.ops[op.name]; dup {
			panic("rpc: operation bound twice: " + op.name)
		}
		if known := c.Service.Operation(op.name); known == nil || known.Input != op.in || known.Output != op.out {
			panic("rpc: operation bound to other structures than " + c.Service.Name + " has: " + op.name)
		}
		h.ops[op.name] = op
	}
	for _, speak := range c.Protocols {
		h.protocols = append(h.protocols, speak(c.Service))
	}
	return h
}

// Unserved names the service's operations that are not bound.
func (h *Handler) Unserved() (names []string) {
	for _, op := range h.Service.Operations {
		if _, ok := h.ops[op.Name]; !ok {
			names = append(names, op.Name)
		}
	}
	return names
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	counted := &counter{ResponseWriter: w}
	w = counted
	id := awserr.RequestID(w.Header())
	p := h.protocol(r)
	name, out, err := h.call(p, r)
	answer := &awserr.Error{Status: http.StatusOK}
	if err == nil {
		p.Answer(w, name, out)
	} else {
		answer = awserr.Of(h.Errors, name, err)
		p.Refuse(w, answer)
	}
	if h.Quiet && err == nil && !h.Log.Enabled(r.Context(), slog.LevelDebug) {
		return
	}
	h.record(r.Context(), answer, err,
		slog.String("service", h.Service.Name), slog.String("op", name), slog.String("protocol", p.Name()),
		slog.String("request_id", id), slog.Int("status", answer.Status), slog.String("code", answer.Code),
		slog.Int64("bytes", counted.n))
}

// counter counts the bytes of an answer.
type counter struct {
	http.ResponseWriter
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (h *Handler) protocol(r *http.Request) Protocol {
	last := len(h.protocols) - 1
	for _, p := range h.protocols[:last] {
		if p.Claims(r) {
			return p
		}
	}
	return h.protocols[last]
}

// call runs the request's operation and names it: "" if there is none that may
// be named in a log.
func (h *Handler) call(p Protocol, r *http.Request) (name string, out shape.Value, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	name, decode, err := p.Open(r, func() ([]byte, error) { return h.body(r) })
	if !IsName(name) {
		if err == nil {
			err = awserr.UnknownOperation()
		}
		return "", nil, err
	}
	if err != nil {
		return name, nil, err
	}
	op, ok := h.ops[name]
	if !ok {
		return name, nil, awserr.NotImplemented(name)
	}
	out, err = op.serve(r.Context(), decode, h.validate)
	return name, out, err
}

// validate names a broken constraint alike for every operation: it is the
// model's rule that was broken, not one of the operation's own.
func (h *Handler) validate(in shape.Value) error {
	if err := shape.Validate(in, h.Enums); err != nil {
		return awserr.Of(h.Errors, "", err)
	}
	return nil
}

// IsName tells an operation's name, as in CreateTrainingJob, from noise.
func IsName(name string) bool {
	if name == "" || len(name) > 80 || name[0] < 'A' || name[0] > 'Z' {
		return false
	}
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9') {
			return false
		}
	}
	return true
}

// record writes the one line about a request. The private cause of a failure
// that is not the caller's is in it; our own bugs are the errors among them.
func (h *Handler) record(ctx context.Context, answer *awserr.Error, err error, facts ...slog.Attr) {
	request := access.RequestOf(ctx)
	level := request.Level
	if h.Quiet && answer.Status < http.StatusBadRequest {
		level = slog.LevelDebug
	}
	if answer.Status >= http.StatusInternalServerError {
		facts = append(facts, slog.Any("err", err))
		if ctx.Err() == nil && answer.Status == http.StatusInternalServerError { // not a client that left
			level = slog.LevelError
		}
	}
	h.Log.LogAttrs(ctx, level, "request served", append(facts, request.Facts(ctx)...)...)
}
