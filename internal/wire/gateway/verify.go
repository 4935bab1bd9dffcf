package gateway

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// An api is one of those whose requests are read whole before they are verified.
type api struct {
	handler  http.Handler // nil: it is not served here
	service  string       // that requests must be signed for, "" for whichever they are
	protocol rpc.Protocol // that refusals are written in
	devices  bool         // whether devices may call it
}

// style is how refusals of a signature are named in the API's protocol.
func (a api) style() sigv4.Style {
	if a.protocol.Name() == "query" {
		return sigv4.StyleQuery
	}
	return sigv4.StyleJSON
}

// whole reads a request into memory, verifies it and hands it on.
func (g *gateway) whole(a api) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a := a
		if a.service == "" {
			_, signed := sigv4.ScopeOf(sigv4.FromHTTP(r))
			a.service = cmp.Or(signed, "sagemaker")
		}
		c, body, held, err := g.verify(w, r, a)
		defer held.Release()
		switch {
		case err != nil:
			e := refusal(err, a.style())
			g.logRefusal(w, r, a.service, e.Status, e.Code)
			a.protocol.Refuse(w, e)
		case a.handler == nil:
			e := notServed(a.service)
			g.logRefusal(w, r, a.service, e.Status, e.Code)
			a.protocol.Refuse(w, e)
		default:
			ctx, cancel := context.WithTimeout(heard(r), longest)
			defer cancel()
			r = r.WithContext(access.With(ctx, c))
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			a.handler.ServeHTTP(w, r)
		}
	}
}

// longest is how long a request takes that has come whole, whatever it waits for.
const longest = 5 * time.Minute

// heard returns the context of a request that is carried out whether its client
// listens or not. Who only closes his sending side has not left, though net/http
// takes it for that and ends the context: he was told of an internal error now and
// then, of something that had been done or not.
func heard(r *http.Request) context.Context { return context.WithoutCancel(r.Context()) }

// verify returns who calls and the request's body. The head is looked at first,
// so that only those who hold a key that may come here have their body read.
func (g *gateway) verify(
	w http.ResponseWriter, r *http.Request, a api,
) (c access.Caller, body []byte, held connlimit.Claim, err error) {
	head := sigv4.FromHTTP(r)
	claimed, err := g.Verifier.Admit(head, time.Now())
	if err == nil {
		err = g.allowDevice(g.caller(claimed), a.devices)
	}
	if err != nil {
		return c, nil, held, err
	}
	body, held, err = g.Bodies.ReadAll(
		http.MaxBytesReader(w, r.Body, g.MaxBody), g.MaxBody, connlimit.PayerOf(r, claimed.Holder()),
	)
	if err != nil {
		return c, nil, held, unreadable(err)
	}
	id, err := g.Verifier.Verify(head, body, time.Now())
	if err == nil && id.Service != a.service {
		err = sigv4.WrongService(a.service)
	}
	if err != nil {
		return c, nil, held, err
	}
	c = g.caller(id)
	if err = g.allowDevice(c, a.devices); err == nil { // while the body came, the session may have ended
		connlimit.Prove(r.Context(), id.Holder())
	}
	return c, body, held, err
}

func (g *gateway) caller(id sigv4.Identity) access.Caller {
	c := access.CallerOf(id, g.Account)
	c.Region = cmp.Or(c.Region, g.Region)
	return c
}

// allowDevice lets a device through whose certificate is good, and that may use
// the API. In another region another device may have its name. Anybody else may
// pass.
func (g *gateway) allowDevice(c access.Caller, open bool) error {
	switch {
	case c.Device == nil:
		return nil
	case !g.alive(c):
		return sigv4.BadToken()
	case !open || c.Device.Region != "" && c.Device.Region != c.Region:
		return access.Denied(c)
	}
	return nil
}

// alive reports whether the certificate of a device is still good.
func (g *gateway) alive(c access.Caller) bool {
	return g.SessionAlive == nil || g.SessionAlive(*c.Device)
}

// unreadable says why a body could not be read.
func unreadable(err error) *awserr.Error {
	if tooBig, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return awserr.TooLarge(tooBig.Limit)
	}
	if errors.Is(err, connlimit.ErrBusy) {
		return &awserr.Error{
			Code: "ServiceUnavailable", Status: http.StatusServiceUnavailable,
			Message: "Too many requests are in flight. Try again later.",
		}
	}
	return &awserr.Error{
		Code: "IncompleteBody", Status: http.StatusBadRequest, Message: "The request body could not be read.",
	}
}

// refusal says why a request was turned away, in the words of the style.
func refusal(err error, style sigv4.Style) *awserr.Error {
	if e, ok := errors.AsType[*awserr.Error](err); ok {
		return e
	}
	if s, ok := errors.AsType[*sigv4.Error](err); ok {
		in := s.In(style)
		return &awserr.Error{Code: in.Code, Status: in.Status, Message: in.Message, Query: s.In(sigv4.StyleQuery).Code}
	}
	kind, text := fault.Public(err)
	switch {
	case kind == fault.Denied && style == sigv4.StyleJSON:
		return &awserr.Error{Code: "AccessDeniedException", Status: http.StatusForbidden, Message: text}
	case kind == fault.Denied:
		return &awserr.Error{Code: "AccessDenied", Status: http.StatusForbidden, Message: text}
	case kind == fault.NotFound:
		return &awserr.Error{Code: "NoSuchKey", Status: http.StatusNotFound, Message: text}
	}
	return &awserr.Error{
		Code: "ServiceUnavailable", Status: http.StatusServiceUnavailable, Message: "Please try again.",
	}
}

func unknown(message string) *awserr.Error {
	return &awserr.Error{Code: "UnknownOperationException", Status: http.StatusBadRequest, Message: message}
}

// unknownOperation answers a request for an operation of SageMaker that cannot
// be one.
func (g *gateway) unknownOperation(p rpc.Protocol) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		e := unknown("No operation is known at " + r.Method + " " + r.URL.EscapedPath())
		if t := r.Header.Get("X-Amz-Target"); t != "" {
			e = unknown("The operation " + t + " is not known.")
		}
		g.logRefusal(w, r, "sagemaker", e.Status, e.Code)
		p.Refuse(w, e)
	}
}

// logRefusal writes the record of a request that is refused here, with the id that
// the client is told.
func (g *gateway) logRefusal(w http.ResponseWriter, r *http.Request, service string, status int, code string) {
	g.Log.LogAttrs(r.Context(), slog.LevelInfo, "request refused", append([]slog.Attr{
		slog.String("service", service), slog.Int("status", status), slog.String("code", code),
		slog.String("request_id", requestID(w.Header(), service)),
	}, access.RequestOf(r.Context()).Facts(r.Context())...)...)
}

// logServed writes the record of a request that no API answered.
func (g *gateway) logServed(w *counted, r *http.Request, level slog.Level, service string) {
	g.Log.LogAttrs(r.Context(), level, "request served", append([]slog.Attr{
		slog.String("service", service), slog.Int("status", w.status),
		slog.String("request_id", awserr.RequestID(w.Header())), slog.Int64("bytes", w.bytes),
	}, access.RequestOf(r.Context()).Facts(r.Context())...)...)
}

// counted is an answer of which the record tells.
type counted struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// Unwrap lets net/http's ResponseController find what is below.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// WriteHeader begins the answer.
func (c *counted) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

// Write sends a part of its body.
func (c *counted) Write(p []byte) (int, error) {
	c.status = cmp.Or(c.status, http.StatusOK)
	n, err := c.ResponseWriter.Write(p)
	c.bytes += int64(n)
	return n, err
}

// requestID is how the client of a service is told the id of its request.
func requestID(h http.Header, service string) string {
	if service != "s3" {
		return awserr.RequestID(h)
	}
	const header = "X-Amz-Request-Id"
	if h.Get(header) == "" {
		h.Set(header, strings.ToUpper(strings.ReplaceAll(uuid.NewString(), "-", "")[:16]))
	}
	return h.Get(header)
}
