package modelserver

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/codec"
	"github.com/slipway-ml/slipway/internal/platform/oiphttp"
)

// Handler returns the server's routes.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", s.ping)
	mux.HandleFunc("POST /invocations", s.invoke)
	s.routeOIP(mux)
	return mux
}

func (s *Server) ping(w http.ResponseWriter, _ *http.Request) {
	if s.ready.Load() == nil {
		oiphttp.Refuse(w, http.StatusServiceUnavailable, "the model is still loading")
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (s *Server) invoke(w http.ResponseWriter, r *http.Request) {
	// Errors carry it too; a platform that keeps the contract drops it there.
	if a := s.opts.CustomAttributes; a != "" {
		w.Header()["X-Amzn-Sagemaker-Custom-Attributes"] = []string{a}
	}
	s.serve(w, r, func(sv *served, body []byte) (codec.Request, error) {
		if jsonSize, ok, err := jsonSizeOf(r); ok || err != nil {
			if err != nil {
				return codec.Request{}, err
			}
			return codec.DecodeOIP(body, jsonSize, sv.sig)
		}
		m, err := codec.ParseMedia(r.Header.Get("Content-Type"))
		if err != nil {
			return codec.Request{}, err
		}
		return codec.Decode(m, body, sv.sig)
	})
}

// serve takes one request through its steps: admit, read, decode, run, encode.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, decode func(*served, []byte) (codec.Request, error)) {
	sv := s.ready.Load()
	if sv == nil {
		oiphttp.Refuse(w, http.StatusServiceUnavailable, "the model is still loading")
		return
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		oiphttp.Refuse(w, http.StatusServiceUnavailable,
			"the model is busy: "+strconv.Itoa(cap(s.slots))+" requests are running or waiting")
		return
	}
	buf := s.buffers.Get()
	defer s.buffers.Put(buf)
	if err := oiphttp.ReadBody(w, r, s.opts.MaxBody, buf); err != nil {
		s.fail(w, r, err)
		return
	}
	req, err := decode(sv, buf.Bytes())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	form, media, err := codec.Choose(accept(r), &req, len(sv.sig.Outputs))
	if err != nil {
		oiphttp.Refuse(w, http.StatusNotAcceptable, publicOf(err))
		return
	}
	outs, err := sv.run(r.Context(), req.Inputs)
	if err != nil {
		s.failRun(w, r, err)
		return
	}
	// The inputs are decoded and used: the answer may overwrite the body.
	buf.Reset()
	a, err := codec.Encode(buf.AvailableBuffer(), form, media, &req, outs, s.opts.Name)
	if err != nil {
		oiphttp.Refuse(w, http.StatusNotAcceptable, publicOf(err))
		return
	}
	buf.Write(a.Body) // keeps the larger array for the next request
	h := w.Header()
	h["Content-Type"] = []string{a.ContentType}
	h["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	if a.JSONSize > 0 {
		h[oiphttp.HeaderJSONSize] = []string{strconv.Itoa(a.JSONSize)}
		if media.Type == codec.TritonBinary {
			h["Content-Type"] = []string{codec.TritonBinary + ";json-header-size=" + strconv.Itoa(a.JSONSize)}
		}
	}
	_, _ = w.Write(a.Body) // the caller has gone; there is no one to tell
}

func accept(r *http.Request) string {
	if v := r.Header["Accept"]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// fail answers a request that the model never saw.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch kind, public := fault.Public(err); kind {
	case fault.Invalid:
		oiphttp.Refuse(w, http.StatusBadRequest, public)
	case fault.NotFound:
		oiphttp.Refuse(w, http.StatusNotFound, public)
	case fault.Limit:
		oiphttp.Refuse(w, http.StatusRequestEntityTooLarge, public)
	case fault.Unsupported:
		oiphttp.Refuse(w, http.StatusUnsupportedMediaType, public)
	default:
		s.log.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "err", err)
		oiphttp.Refuse(w, http.StatusInternalServerError, public)
	}
}

func publicOf(err error) string {
	_, public := fault.Public(err)
	return public
}

// failRun answers a request whose inputs were right and that the model failed
// on all the same.
func (s *Server) failRun(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		oiphttp.Refuse(w, http.StatusServiceUnavailable, "the caller left while the request waited")
		return
	}
	if n, now := s.muted.note(time.Now()); now {
		s.log.WarnContext(r.Context(), "the model failed", "path", r.URL.Path, "err", err, "failures", n)
	}
	oiphttp.Refuse(w, http.StatusInternalServerError, "the model failed on this input: "+err.Error())
}

// failureLog lets one record a second through: a model that fails on a share of
// the traffic must not fill the disk with its log.
type failureLog struct {
	last atomic.Int64 // Unix nanoseconds of the last record
	n    atomic.Int64 // failures since
}

func (l *failureLog) note(now time.Time) (n int64, log bool) {
	l.n.Add(1)
	last := l.last.Load()
	if now.UnixNano()-last < int64(time.Second) || !l.last.CompareAndSwap(last, now.UnixNano()) {
		return 0, false
	}
	return l.n.Swap(0), true
}
