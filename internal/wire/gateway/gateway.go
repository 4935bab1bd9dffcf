// Package gateway is the one address of every API: it tells them apart, verifies
// who is calling, and hands the request on with the caller in its context. A
// request that is refused here hears so in the words of the API that it
// addressed. What an API does, and verifying invocations (the runtime does
// that itself, on its own fast path), is not its job.
package gateway

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// Keys are the keys of the callers. access.Keys is one.
type Keys interface {
	sigv4.Keyring
	Authenticate(id, secret string) (sigv4.Key, bool)
}

// S3 serves the S3 API, and says for the gateway why a request is refused.
type S3 interface {
	http.Handler
	Refuse(w http.ResponseWriter, r *http.Request, status int, code, message string)
}

// Config is what lies behind the gateway. An API that is nil is answered for with
// an error that names it.
type Config struct {
	Verifier *sigv4.Verifier
	Keys     Keys
	Account  string // of every caller
	Region   string // of callers whose form of signature names none
	Log      *slog.Logger

	Runtime    http.Handler // gets requests unverified
	SageMaker  http.Handler // AWS JSON, X-Amz-Target: SageMaker.*
	Slipway    http.Handler // our own operations, in the same words: X-Amz-Target: Slipway.*
	STS        http.Handler // AWS Query
	CloudWatch http.Handler // AWS JSON, Query and CBOR
	Edge       http.Handler // REST-JSON: what devices call
	IoT        http.Handler // REST-JSON
	Enroll     http.Handler // gets POST /enroll unverified, its body bounded
	S3         S3
	Metrics    http.Handler
	Console    http.Handler // serves what a browser needs, unverified: it holds no data
	Ready      func() bool  // whether the server takes traffic; nil: always

	// Devices reach Edge, STS, and of S3 the objects that DeviceObject lets them
	// have; nil: none. Everything else is denied to them.
	DeviceObject DeviceObject

	// SessionAlive reports whether the certificate of a device is still good. It
	// is asked on every request, and must answer from memory. nil: always.
	SessionAlive func(access.Device) bool

	MaxBody int64 // of a control-plane request, in bytes; 0 means 4 MiB
}

const defaultMaxBody = 4 << 20

// bodyTimeout is how long the body of a control-plane request may take.
const bodyTimeout = 30 * time.Second

// stsNamespace and cloudWatchNamespace are the XML namespaces of the Query
// APIs' errors.
const (
	stsNamespace        = "https://sts.amazonaws.com/doc/2011-06-15/"
	cloudWatchNamespace = "http://monitoring.amazonaws.com/doc/2010-08-01/"
)

// CloudWatch's other two protocols have their own ways to name an operation,
// and put a namespace before the names of errors.
const (
	cloudWatchTarget = "GraniteServiceVersion20100801"
	cloudWatchTypes  = "com.amazonaws.cloudwatch"
)

// New returns the handler of the one address.
func New(c Config) http.Handler {
	if c.MaxBody == 0 {
		c.MaxBody = defaultMaxBody
	}
	return &gateway{c}
}

type gateway struct{ Config }

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/healthz":
		g.health(w, r, true)
		return
	case "/readyz":
		g.health(w, r, g.Ready == nil || g.Ready())
		return
	case "/metrics":
		g.metrics(w, r)
		return
	}
	g.route(r)(w, r)
}

// route decides which API a request addresses: by what it was signed for, and
// where that is not to be read by its target and shape (spec §1.1).
func (g *gateway) route(r *http.Request) http.HandlerFunc {
	_, service := sigv4.ScopeOf(sigv4.FromHTTP(r))
	target := r.Header.Get("X-Amz-Target")
	switch {
	case service == "s3" || sigv4.IsV2(r):
		return g.s3
	case edgePaths[r.URL.Path] && (service == "sagemaker" || service == ""):
		return g.whole(api{g.Edge, "sagemaker", awserr.WriteREST, sigv4.StyleJSON, true})
	case (service == "iot" || service == "execute-api") && target == "": // SDKs before 2023 sign IoT for the latter
		return g.whole(api{g.IoT, service, writeIoT, sigv4.StyleJSON, false})
	case service == "" && g.Enroll != nil && r.Method == http.MethodPost && r.URL.Path == "/enroll":
		return g.enroll
	case strings.HasPrefix(r.URL.Path, "/endpoints/"):
		return g.runtime
	case g.Console != nil && (r.URL.Path == "/" && browses(r) || strings.HasPrefix(r.URL.Path, "/console/")):
		return g.console
	case service == "sts":
		return g.whole(api{g.STS, "sts", writeQuery(stsNamespace), sigv4.StyleQuery, true})
	case service == "monitoring", strings.HasPrefix(target, cloudWatchTarget+"."), isCBOR(r):
		return g.cloudWatch(r)
	case strings.HasPrefix(target, "SageMaker."):
		return g.whole(api{g.SageMaker, "sagemaker", writeJSON, sigv4.StyleJSON, false})
	case strings.HasPrefix(target, "Slipway."):
		return g.whole(api{g.Slipway, "sagemaker", writeJSON, sigv4.StyleJSON, false})
	case service == "sagemaker" || target != "":
		return g.unknown
	case service != "":
		return g.whole(api{nil, service, writeJSON, sigv4.StyleJSON, false})
	case isForm(r) || r.URL.Query().Has("Action"):
		return g.whole(api{g.STS, "sts", writeQuery(stsNamespace), sigv4.StyleQuery, true})
	case r.Method == http.MethodPost && r.URL.Path == "/":
		return g.unknown
	}
	return g.s3 // it speaks of buckets, or of nothing else either
}

func isForm(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
}

// browses reports whether a person with a browser is asking.
func browses(r *http.Request) bool {
	_, signed := r.Header["Authorization"]
	return r.Method == http.MethodGet && !signed && r.URL.RawQuery == "" && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// api is one of those whose requests are read whole before they are verified.
type api struct {
	handler http.Handler
	service string // of the credential scope
	write   func(http.ResponseWriter, *awserr.Error)
	style   sigv4.Style
	devices bool // whether devices may call it
}

func writeJSON(w http.ResponseWriter, e *awserr.Error) { awserr.WriteJSON(w, "1.1", e) }

func writeIoT(w http.ResponseWriter, e *awserr.Error) { awserr.WriteRESTAs(w, "message", e) }

func writeQuery(ns string) func(http.ResponseWriter, *awserr.Error) {
	return func(w http.ResponseWriter, e *awserr.Error) { awserr.WriteQuery(w, ns, e) }
}

// isCBOR reports whether r is written in RPC v2 CBOR, as CloudWatch alone is.
func isCBOR(r *http.Request) bool {
	return r.Header.Get("Smithy-Protocol") == "rpc-v2-cbor" || strings.Contains(r.URL.Path, "/service/"+cloudWatchTarget+"/operation/")
}

func (g *gateway) cloudWatch(r *http.Request) http.HandlerFunc {
	a := api{g.CloudWatch, "monitoring", writeQuery(cloudWatchNamespace), sigv4.StyleQuery, false}
	switch {
	case isCBOR(r):
		a.style, a.write = sigv4.StyleJSON, func(w http.ResponseWriter, e *awserr.Error) { awserr.WriteCBOR(w, cloudWatchTypes, e) }
	case r.Header.Get("X-Amz-Target") != "":
		a.style, a.write = sigv4.StyleJSON, func(w http.ResponseWriter, e *awserr.Error) {
			awserr.WriteCompatibleJSON(w, "1.0", cloudWatchTypes, e)
		}
	}
	return g.whole(a)
}

// whole reads a request into memory, verifies it and hands it on. The head is
// judged first, so that only those who hold a key have their body read.
func (g *gateway) whole(a api) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		head := sigv4.FromHTTP(r)
		if err := g.Verifier.Admit(head, time.Now()); err != nil {
			g.refuse(w, r, a, err)
			return
		}
		// Whoever holds the ID of a key could otherwise hold a connection and what
		// was read so far, for ever: the signature is judged with the body.
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // not all writers can; those of servers do
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, g.MaxBody))
		_ = control.SetReadDeadline(time.Time{}) // as above
		if err != nil {
			g.refuse(w, r, a, err)
			return
		}
		id, err := g.Verifier.Verify(head, body, time.Now())
		if err == nil && id.Service != a.service {
			err = sigv4.WrongService(a.service)
		}
		c := g.caller(id)
		if err == nil {
			err = g.admit(c, a.devices)
		}
		if err != nil {
			g.refuse(w, r, a, err)
			return
		}
		if a.handler == nil {
			a.write(w, &awserr.Error{Code: "UnknownOperationException", Status: http.StatusBadRequest, Message: "The service " + a.service + " is not served by Slipway."})
			return
		}
		r = r.WithContext(access.With(r.Context(), c))
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		a.handler.ServeHTTP(w, r)
	}
}

func (g *gateway) caller(id sigv4.Identity) access.Caller {
	c := access.CallerOf(id, g.Account)
	if c.Region == "" {
		c.Region = g.Region
	}
	return c
}

// refuse answers a request that did not get past the gateway.
func (g *gateway) refuse(w http.ResponseWriter, r *http.Request, a api, err error) {
	var e *awserr.Error
	if tooBig, ok := errors.AsType[*http.MaxBytesError](err); ok {
		e = awserr.TooLarge(tooBig.Limit)
	} else if _, ok := errors.AsType[*sigv4.Error](err); ok || errors.Is(err, fault.Denied) {
		e = refusalOf(err, a.style)
	} else {
		e = &awserr.Error{Code: "IncompleteBody", Status: http.StatusBadRequest, Message: "The request body could not be read."}
	}
	g.logRefusal(r, a.service, e.Status, e.Code)
	a.write(w, e)
}

func (g *gateway) logRefusal(r *http.Request, service string, status int, code string) {
	g.Log.InfoContext(r.Context(), "request refused", "service", service, "status", status, "code", code, "remote", r.RemoteAddr)
}

// unknown answers a request for an operation of SageMaker that cannot be one.
func (g *gateway) unknown(w http.ResponseWriter, r *http.Request) {
	a := api{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := awserr.UnknownOperation()
		e.Message = "No operation is known at " + r.Method + " " + r.URL.EscapedPath()
		if t := r.Header.Get("X-Amz-Target"); t != "" {
			e.Message = "The operation " + t + " is not known."
		}
		writeJSON(w, e)
	}), "sagemaker", writeJSON, sigv4.StyleJSON, false}
	if _, service := sigv4.ScopeOf(sigv4.FromHTTP(r)); service != "" {
		a.service = service
	}
	g.whole(a)(w, r)
}

func (g *gateway) runtime(w http.ResponseWriter, r *http.Request) {
	if g.Runtime == nil {
		awserr.WriteREST(w, &awserr.Error{Code: "ServiceUnavailable", Status: http.StatusServiceUnavailable, Message: "The runtime is not served here."})
		return
	}
	g.Runtime.ServeHTTP(w, r)
}

func (g *gateway) s3(w http.ResponseWriter, r *http.Request) {
	if g.S3 == nil {
		writeJSON(w, &awserr.Error{Code: "UnknownOperationException", Status: http.StatusBadRequest, Message: "The service s3 is not served here."})
		return
	}
	id, payload, err := g.Verifier.VerifyS3(r, time.Now())
	if err != nil {
		e := sigv4.Missing().In(sigv4.StyleS3)
		if s, ok := errors.AsType[*sigv4.Error](err); ok {
			e = s
		}
		g.logRefusal(r, "s3", e.Status, e.Code)
		g.S3.Refuse(w, r, e.Status, e.Code, e.Message)
		return
	}
	c := g.caller(id)
	if err := g.deviceObject(r, c); err != nil {
		e := refusalOf(err, sigv4.StyleS3)
		if e.Status >= http.StatusInternalServerError {
			g.Log.ErrorContext(r.Context(), "device not judged", "thing", c.Device.Thing, "err", err)
		}
		g.logRefusal(r, "s3", e.Status, e.Code)
		g.S3.Refuse(w, r, e.Status, e.Code, e.Message)
		return
	}
	r = r.WithContext(access.With(r.Context(), c))
	r.Body = payload
	g.S3.ServeHTTP(w, r)
}
