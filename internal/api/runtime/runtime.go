// Package runtime speaks the SageMaker Runtime API: it verifies a request,
// sends it to the endpoint it names and says what came of it, in the API's
// words (spec §6). Which instance answers is the router's choice, and bytes on
// connections are http1's and net/http's business.
package runtime

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/http1"
	"github.com/slipway-ml/slipway/internal/service/router"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// Prefix is how the path of every request of this API begins.
const Prefix = "/endpoints/"

// Exchange is one request and the answer to it, however they travel.
type Exchange interface {
	sigv4.Request
	Arrived() time.Time // when the head was there
	Remote() string     // the client's address
	Gone() bool         // whether the client has left

	Buffered() bool        // whether the whole body is there already
	Charge(key string)     // on whose account the body is held
	Body() ([]byte, error) // the whole body, valid until the answer is done; http1.ErrTooLarge, http1.ErrBusy
	Trust(key string) bool // the request has been verified to be of the key's holder, who may go on
	// Share returns the body for those who look on, to be released once for each call;
	// nil: there is no room.
	Share() *connlimit.Shared

	Start(status int, length int64) // length -1: not known beforehand
	AddHeader(name, value string)   // after Start, before the first Write
	io.Writer
	Flush() error
	Abort() // end the answer so that the client knows it is not whole
}

// verifier says who signed a request (package sigv4).
type verifier interface {
	Admit(r sigv4.Request, now time.Time) (claimed sigv4.Identity, err error)
	Verify(r sigv4.Request, body []byte, now time.Time) (sigv4.Identity, error)
}

// Config is what an API is made of.
type Config struct {
	Router        *router.Router
	Verifier      verifier
	Account       string                // that every key belongs to
	MaxBody       int                   // bytes; in messages, and the limit of the net/http side; default 6 MiB
	Timeout       time.Duration         // for a container's answer; default 60 s
	StreamTimeout time.Duration         // for a whole streamed answer; default 8 min
	Bodies        *connlimit.Budget     // of all request bodies on the net/http side; default 256 MiB
	Log           *slog.Logger          // default: discard
	Registerer    prometheus.Registerer // where refusals are counted; nil: nowhere
	Record        slog.Leveler          // of the record of each request; nil, or one below all that Log takes: none
}

// API answers the requests of the runtime.
type API struct {
	Config
	calls    sync.Pool
	refused  *prometheus.CounterVec
	toldBusy atomic.Int64 // when the log last heard of one that was refused for lack of memory, in Unix seconds
}

// New returns an API. It panics if its metrics are registered already.
func New(cfg Config) *API {
	cfg.MaxBody = cmp.Or(cfg.MaxBody, 6<<20)
	cfg.Timeout = cmp.Or(cfg.Timeout, 60*time.Second)
	cfg.StreamTimeout = cmp.Or(cfg.StreamTimeout, 8*time.Minute)
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	if cfg.Bodies == nil {
		cfg.Bodies = connlimit.NewBudget(256 << 20)
	}
	a := &API{Config: cfg, refused: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "slipway_invocations_refused_total",
		Help: "Invocations that were refused before an endpoint was looked for: by signature, access or busy.",
	}, []string{"reason"})}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(a.refused)
	}
	a.calls.New = func() any { return new(call) }
	return a
}

// Serve answers a request that came through package http1.
func (a *API) Serve(x *http1.Exchange) { a.serve(x) }

// operation is one of the API's calls.
type operation uint8

const (
	unknown operation = iota
	invoke
	invokeStream
	invokeAsync
)

// route finds the operation and the endpoint's name, still escaped.
func route(method, path string) (operation, string) {
	rest, ok := strings.CutPrefix(path, Prefix)
	if !ok || method != "POST" {
		return unknown, ""
	}
	name, verb, _ := strings.Cut(rest, "/")
	switch verb {
	case "invocations":
		return invoke, name
	case "invocations-response-stream":
		return invokeStream, name
	case "async-invocations":
		return invokeAsync, name
	}
	return unknown, ""
}

// call is the state of one request, reused.
type call struct {
	router.Call
	id     [36]byte // the request's
	op     operation
	region string
	in     input
	record outcome
	frame  []byte // of an event stream
	fields []http1.Field
}

func (a *API) serve(x Exchange) {
	c := a.calls.Get().(*call)
	defer func() {
		c.Request.Client, c.Request.Body, c.Body = nil, nil, nil
		a.calls.Put(c)
	}()
	newRequestID(&c.id)
	c.record = outcome{}
	if a.Record != nil && a.Log.Enabled(context.Background(), a.Record.Level()) {
		c.in, c.Variant = input{}, "" // of an earlier request
		defer a.tell(x, c)
	}
	var name string
	if c.op, name = route(x.Method(), x.Path()); c.op == unknown {
		c.fail(x, &failure{
			status: 404, code: "UnknownOperationException",
			Message: "There is no operation " + x.Method() + " " + x.Path() + ".",
		})
		return
	}
	body, id, ok := a.verify(x, c)
	if !ok {
		return
	}
	c.region = id.Region
	c.record.caller, c.record.key = id.ARN, id.AccessKeyID
	var err error
	if name, err = url.PathUnescape(name); err != nil {
		c.fail(x, invalid("", "The path is not properly escaped."))
		return
	}
	c.in.read(x, c.op, name)
	if f := c.in.check(c.op); f != nil {
		c.fail(x, f)
		return
	}
	scope := arn.Scope{Region: id.Region, Account: a.Account}
	if err := access.Allow(access.CallerOf(id, a.Account), actions[c.op], scope.Endpoint(name)); err != nil {
		_, text := fault.Public(err)
		a.logRefusal(x, c, "access", 403, "AccessDeniedException")
		c.fail(x, &failure{status: 403, code: "AccessDeniedException", Message: text})
		return
	}
	if f := a.refuse(c); f != nil {
		c.fail(x, f)
		return
	}
	a.invoke(x, c, body)
}

// verify reads the body and says who calls. False: they were refused.
func (a *API) verify(x Exchange, c *call) (body []byte, id sigv4.Identity, ok bool) {
	// Whoever holds no key has no body read, nor asked for. One that is there
	// already needs no look of its own at the head.
	if !x.Buffered() {
		claimed, err := a.Verifier.Admit(x, x.Arrived())
		if err != nil {
			a.failAuth(x, c, err)
			return nil, id, false
		}
		x.Charge(claimed.Holder())
	}
	body, err := x.Body()
	if err != nil {
		a.failBody(x, c, err)
		return nil, id, false
	}
	id, err = a.Verifier.Verify(x, body, x.Arrived())
	if err != nil {
		a.failAuth(x, c, err)
		return nil, id, false
	}
	if !x.Trust(id.Holder()) {
		a.refused.WithLabelValues("busy").Inc()
		c.fail(x, unavailable("Too many of your requests are in flight. Try again later."))
		return nil, id, false
	}
	return body, id, true
}

var actions = [...]string{
	invoke:       "sagemaker:InvokeEndpoint",
	invokeStream: "sagemaker:InvokeEndpointWithResponseStream",
	invokeAsync:  "sagemaker:InvokeEndpointAsync",
}

// failBody answers a request whose body did not come.
func (a *API) failBody(x Exchange, c *call, err error) {
	refusal, malformed := errors.AsType[*http1.Refusal](err)
	switch {
	case errors.Is(err, http1.ErrTooLarge):
		c.fail(x, tooLarge(a.MaxBody))
	case errors.Is(err, http1.ErrBusy):
		a.refused.WithLabelValues("busy").Inc()
		now := time.Now().Unix()
		if last := a.toldBusy.Load(); now-last >= 10 && a.toldBusy.CompareAndSwap(last, now) {
			a.Log.Error("invocations are answered with 503: there is no memory for their bodies", "address", x.Remote())
		}
		c.fail(x, unavailable("Too many requests are in flight. Try again later."))
	case malformed:
		c.fail(x, invalid("", "The request body is malformed: "+refusal.Reason+"."))
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.fail(x, &failure{
			status: 408, code: "RequestTimeoutException", Message: "The request body took too long to arrive.",
		})
	default:
		x.Abort() // the client is gone
	}
}

func (a *API) failAuth(x Exchange, c *call, err error) {
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		a.logRefusal(x, c, "signature", e.Status, e.Code)
		c.fail(x, &failure{status: e.Status, code: e.Code, Message: e.Message})
		return
	}
	a.Log.Error("verification failed", "err", err)
	c.fail(x, &failure{status: 500, code: "InternalFailure", Message: "internal error"})
}

// logRefusal logs and counts a request of somebody who may not make it, as the
// gateway does.
func (a *API) logRefusal(x Exchange, c *call, reason string, status int, code string) {
	a.refused.WithLabelValues(reason).Inc()
	c.record.told = true
	a.Log.Info("request refused", "service", "sagemaker", "path", x.Path(), "status", status, "code", code,
		"request_id", string(c.id[:]), "address", x.Remote(), "duration", time.Since(x.Arrived()))
}
