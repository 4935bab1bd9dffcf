// Package awsjson speaks the AWS JSON protocol: one URL, the operation in a
// header, errors named in the body (behaviour specification §1.2, §1.4). The
// order is fixed: find the operation, parse, validate, call, answer, log.
//
// Not its job: who is calling, and what an operation does.
package awsjson

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/shape"
)

// An Op serves one operation.
type Op struct {
	name    string
	in, out *shape.Shape
	serve   func(ctx context.Context, body []byte, more shape.Enums) (shape.Value, error)
}

// Bind makes an Op of a plain function. The function sees input that keeps the
// model's constraints and returns output or an error; it never sees HTTP. Its
// Out is shape.None if the operation answers with an empty body.
func Bind[In, Out shape.Value](name string, f func(context.Context, In) (Out, error)) Op {
	var in In
	var out Out
	return Op{name, in.Shape(), out.Shape(), func(ctx context.Context, body []byte, more shape.Enums) (shape.Value, error) {
		in := new(In)
		if err := shape.Decode(body, any(in).(shape.Value)); err != nil { // *In has the methods of In
			return nil, err
		}
		if err := shape.Validate(*in, more); err != nil {
			return nil, err
		}
		return f(ctx, *in)
	}}
}

// Config is what a Handler needs.
type Config struct {
	Service *shape.Service // which operations there are
	Errors  awserr.Service // how their failures are named
	Log     *slog.Logger
	MaxBody int64       // bytes; 0 means 1 MiB
	Enums   shape.Enums // values to accept beyond the model's
}

// Handler dispatches on the X-Amz-Target header.
type Handler struct {
	Config
	ops map[string]Op
}

// NewHandler serves the given operations. It panics if one of them is not the
// service's, or is not bound to the structures that the service has for it.
func NewHandler(c Config, ops ...Op) *Handler {
	if c.MaxBody == 0 {
		c.MaxBody = 1 << 20
	}
	h := &Handler{Config: c, ops: make(map[string]Op, len(ops))}
	for _, op := range ops {
		if _, dup := h.ops[op.name]; dup {
			panic("awsjson: operation bound twice: " + op.name)
		}
		if known := c.Service.Operation(op.name); known == nil || known.Input != op.in || known.Output != op.out {
			panic("awsjson: operation bound to other structures than " + c.Service.Name + " has: " + op.name)
		}
		h.ops[op.name] = op
	}
	return h
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	id := awserr.RequestID(w.Header())
	name, out, err := h.call(r)
	answer := &awserr.Error{Status: http.StatusOK}
	if err == nil {
		h.write(w, out)
	} else {
		answer = awserr.Of(h.Errors, name, err)
		awserr.WriteJSON(w, h.Service.JSONVersion, answer)
	}
	h.record(r.Context(), answer, err,
		slog.String("service", h.Service.Name), slog.String("op", name), slog.String("request_id", id),
		slog.Int("status", answer.Status), slog.String("code", answer.Code), slog.Duration("duration", time.Since(started)))
}

// call runs the request's operation and names it: "" if there is none that may
// be named in a log.
func (h *Handler) call(r *http.Request) (name string, out shape.Value, err error) {
	prefix, name, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if prefix != h.Service.TargetPrefix || !plausible(name) || r.Method != http.MethodPost {
		return "", nil, awserr.UnknownOperation()
	}
	op, ok := h.ops[name]
	if !ok {
		return name, nil, awserr.NotImplemented(name)
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, h.MaxBody))
	if err != nil {
		if _, tooBig := errors.AsType[*http.MaxBytesError](err); tooBig {
			return name, nil, awserr.TooLarge(h.MaxBody)
		}
		return name, nil, fault.New(fault.Invalid, "The request body could not be read.").Because(err)
	}
	if len(body) == 0 {
		body = []byte("{}") // no parameters, said by a terse client
	}
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	out, err = op.serve(r.Context(), body, h.Enums)
	return name, out, err
}

// plausible tells an operation's name, as in CreateTrainingJob, from noise.
func plausible(name string) bool {
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

func (h *Handler) write(w http.ResponseWriter, out shape.Value) {
	var body []byte
	if out.Shape() != nil {
		body = shape.Append(make([]byte, 0, 512), out)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-"+h.Service.JSONVersion)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // the client is gone; nobody to tell
}

// record writes the one line about a request. The private cause of a failure
// that is not the caller's is in it; our own bugs are the errors among them.
func (h *Handler) record(ctx context.Context, answer *awserr.Error, err error, facts ...slog.Attr) {
	level := slog.LevelInfo
	if answer.Status >= http.StatusInternalServerError {
		facts = append(facts, slog.Any("err", err))
		if ctx.Err() == nil && answer.Status == http.StatusInternalServerError { // not a client that left
			level = slog.LevelError
		}
	}
	h.Log.LogAttrs(ctx, level, "request served", facts...)
}
