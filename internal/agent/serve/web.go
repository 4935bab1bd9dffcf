package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/codec"
)

// headerJSONSize says how many bytes of a body are JSON; binary tensors follow
// (the binary tensor data extension of the Open Inference Protocol).
const headerJSONSize = "Inference-Header-Content-Length"

type callerKey struct{}

// web speaks the Open Inference Protocol over HTTP/1.1.
func (s *Server) web() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2", s.serverMetadata)
	mux.HandleFunc("GET /v2/health/live", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v2/health/ready", func(http.ResponseWriter, *http.Request) {})
	for _, base := range []string{"/v2/models/{name}", "/v2/models/{name}/versions/{version}"} {
		mux.HandleFunc("GET "+base, s.modelMetadata)
		mux.HandleFunc("GET "+base+"/ready", s.modelReady)
		mux.HandleFunc("POST "+base+"/infer", s.infer)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := r.Context().Value(callerKey{}).(*Caller)
		if who == nil || !s.mayEnter(who, r.Header.Get("Authorization")) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, http.StatusUnauthorized, "the token is missing or wrong: send Authorization: Bearer TOKEN")
			return
		}
		if !s.startCall() {
			w.Header().Set("Retry-After", "1")
			refuse(w, http.StatusServiceUnavailable, s.busy())
			return
		}
		defer s.endCall()
		ctx, cancel := context.WithTimeout(r.Context(), s.cfg.CallTimeout)
		defer cancel()
		defer func() {
			if p := recover(); p != nil {
				if s.records.allow(time.Now()) {
					s.log.ErrorContext(ctx, "a call panicked", "path", r.URL.Path, "panic", p,
						"stack", string(debug.Stack()))
				}
				refuse(w, http.StatusInternalServerError, "the agent failed on this call; its log says more")
			}
		}()
		mux.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (s *Server) serverMetadata(w http.ResponseWriter, _ *http.Request) {
	reply(w, map[string]any{"name": serverName, "version": s.cfg.Version, "extensions": []string{"binary_tensor_data"}})
}

func (s *Server) modelReady(w http.ResponseWriter, r *http.Request) {
	if _, err := s.info(r.PathValue("name"), r.PathValue("version")); err != nil {
		s.fail(w, r, err)
	}
}

type webModel struct {
	Name     string    `json:"name"`
	Versions []string  `json:"versions"`
	Platform string    `json:"platform"`
	Inputs   []webSpec `json:"inputs"`
	Outputs  []webSpec `json:"outputs"`
}

type webSpec struct {
	Name     string  `json:"name"`
	Datatype string  `json:"datatype"`
	Shape    []int64 `json:"shape"`
}

func (s *Server) modelMetadata(w http.ResponseWriter, r *http.Request) {
	i, err := s.info(r.PathValue("name"), r.PathValue("version"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	reply(w, webModel{
		Name: r.PathValue("name"), Versions: []string{i.ModelVersion}, Platform: platform,
		Inputs: webSpecs(i.Signature.Inputs), Outputs: webSpecs(i.Signature.Outputs),
	})
}

func webSpecs(specs []tensor.Spec) []webSpec {
	out := make([]webSpec, len(specs))
	for i := range specs {
		out[i] = webSpec{Name: specs[i].Name, Datatype: specs[i].Type.OIP(), Shape: shapeOf(&specs[i])}
	}
	return out
}

// infer runs a model.
func (s *Server) infer(w http.ResponseWriter, r *http.Request) {
	buf := s.buffer()
	defer s.giveBack(buf)
	jsonSize, err := s.readBody(w, r, buf)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	var a codec.Answer
	err = s.parts.Models.Call(r.Context(), r.PathValue("name"), func(l *model.Loaded) error {
		if err := isVersion(&l.Info, r.PathValue("name"), r.PathValue("version")); err != nil {
			return err
		}
		g := &l.Info.Signature
		if len(g.Inputs) == 0 {
			var err error
			if g, err = announced(buf.Bytes()[:jsonSize]); err != nil {
				return err
			}
		}
		req, err := codec.DecodeOIP(buf.Bytes(), jsonSize, g)
		if err != nil {
			return err
		}
		outs, err := l.Predict(r.Context(), req.Inputs)
		if err != nil {
			return err
		}
		if outs, err = arranged(&req, g, outs); err != nil {
			return err
		}
		a, err = codec.Encode(nil, codec.OIP, codec.Media{}, &req, outs, r.PathValue("name"))
		withVersion(&a, l.ModelVersion)
		return err
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.ContentType)
	h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	if a.JSONSize > 0 {
		h.Set(headerJSONSize, strconv.Itoa(a.JSONSize))
	}
	_, _ = w.Write(a.Body) // the caller has gone; there is no one to tell
}

// readBody fills buf with the body, up to the limit, and says how much of it
// is JSON.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, buf *bytes.Buffer) (jsonSize int, err error) {
	limit := int64(s.cfg.MaxMessage)
	tooLarge := fault.New(fault.Limit, "the body exceeds the limit of %d bytes", limit)
	if r.ContentLength > limit {
		return 0, tooLarge
	}
	// Memory follows what has arrived, not what was announced.
	buf.Grow(int(min(max(r.ContentLength, 0), 64<<10)) + bytes.MinRead)
	_, err = buf.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return 0, tooLarge
	}
	if err != nil {
		return 0, fault.New(fault.Invalid, "the body could not be read").Because(err)
	}
	size := r.Header.Get(headerJSONSize)
	if size == "" {
		return buf.Len(), nil
	}
	if jsonSize, err = strconv.Atoi(size); err != nil || jsonSize < 0 || jsonSize > buf.Len() {
		return 0, fault.New(fault.Invalid, "%s must say how many of the %d bytes are JSON", headerJSONSize, buf.Len())
	}
	return jsonSize, nil
}

// announced is the signature that a request itself describes, for models that
// do not say what they take and give.
func announced(head []byte) (*tensor.Signature, error) {
	var said struct {
		Inputs  []webSpec
		Outputs []struct{ Name string }
	}
	if err := json.Unmarshal(head, &said); err != nil {
		return nil, fault.New(fault.Invalid, "the body is not an inference request").Because(err)
	}
	g := &tensor.Signature{}
	for _, in := range said.Inputs {
		typ := tensor.FromOIP(in.Datatype)
		if typ == tensor.Invalid {
			return nil, fault.New(fault.Invalid, "input %.80q: the datatype %.20q is unknown", in.Name, in.Datatype)
		}
		g.Inputs = append(g.Inputs, tensor.Spec{Name: in.Name, Type: typ})
	}
	for _, out := range said.Outputs {
		g.Outputs = append(g.Outputs, tensor.Spec{Name: out.Name})
	}
	return g, nil
}

// arranged puts outs in the order of the signature by which the request names
// its outputs: a model that says nothing may give others, or more.
func arranged(req *codec.Request, g *tensor.Signature, outs []tensor.Tensor) ([]tensor.Tensor, error) {
	if req.Want == nil {
		return outs, nil
	}
	in := make([]tensor.Tensor, len(g.Outputs))
	for _, w := range req.Want {
		name := g.Outputs[w.Output].Name
		at := slices.IndexFunc(outs, func(t tensor.Tensor) bool { return t.Name == name })
		if at < 0 {
			return nil, fault.New(fault.Invalid, "the model gave no output %.256q", name)
		}
		in[w.Output] = outs[at]
	}
	return in, nil
}

// withVersion puts the model's version in the place of the one that the codec
// writes for servers that have one version only. It follows the name, in which
// no quote stands without a backslash before it.
func withVersion(a *codec.Answer, version string) {
	written := []byte(`,"model_version":"1"`)
	i := bytes.Index(a.Body, written)
	if i < 0 || version == "1" {
		return
	}
	text, _ := json.Marshal(version) // a string always marshals
	from := i + len(written) - len(`"1"`)
	a.Body = slices.Replace(a.Body, from, from+len(`"1"`), text...)
	if a.JSONSize > 0 {
		a.JSONSize += len(text) - len(`"1"`)
	}
}

// keptBuffer is what a buffer may hold between two requests; a rare large one
// is left to the collector.
const keptBuffer = 1 << 20

func (s *Server) buffer() *bytes.Buffer {
	if b, ok := s.buffers.Get().(*bytes.Buffer); ok {
		return b
	}
	return new(bytes.Buffer)
}

func (s *Server) giveBack(b *bytes.Buffer) {
	if b.Cap() <= keptBuffer {
		b.Reset()
		s.buffers.Put(b)
	}
}

// webStatus gives the statuses of gRPC their like in HTTP.
func webStatus(c codes.Code) int {
	switch c {
	case codes.InvalidArgument, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.NotFound:
		return http.StatusNotFound
	case codes.AlreadyExists, codes.FailedPrecondition, codes.Aborted:
		return http.StatusConflict
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.Unimplemented:
		return http.StatusNotImplemented
	case codes.ResourceExhausted, codes.Unavailable, codes.Canceled:
		return http.StatusServiceUnavailable
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	code, says := verdict(err)
	at := webStatus(code)
	if errors.Is(err, fault.Limit) && !errors.Is(err, model.ErrBusy) {
		at = http.StatusRequestEntityTooLarge
	}
	if at == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	s.report(r.Context(), code, r.URL.Path, err)
	refuse(w, at, says)
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the caller has gone; there is no one to tell
}

func refuse(w http.ResponseWriter, status int, sentence string) {
	body, _ := json.Marshal(map[string]string{"error": sentence}) // strings always marshal
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "%s\n", body) // the caller has gone; there is no one to tell
}
