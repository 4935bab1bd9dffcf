package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	"github.com/slipway-ml/slipway/internal/platform/oiphttp"
)

type callerKey struct{}

// web speaks the Open Inference Protocol over HTTP/1.1.
func (s *Server) web() http.Handler {
	mux := http.NewServeMux()
	oiphttp.Handlers{
		Metadata: func(w http.ResponseWriter, _ *http.Request) {
			oiphttp.Reply(w, oiphttp.Describe(serverName, s.cfg.Version))
		},
		Ready:      func(http.ResponseWriter, *http.Request) {},
		ModelReady: s.modelReady, ModelMetadata: s.modelMetadata, Infer: s.infer,
	}.Route(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := r.Context().Value(callerKey{}).(*Caller)
		if who == nil || !s.authorized(who, r.Header.Get("Authorization")) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			oiphttp.Refuse(w, http.StatusUnauthorized,
				"the token is missing or wrong: send Authorization: Bearer TOKEN")
			return
		}
		if !s.startCall() {
			w.Header().Set("Retry-After", "1")
			oiphttp.Refuse(w, http.StatusServiceUnavailable, s.busy())
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
				oiphttp.Refuse(w, http.StatusInternalServerError, "the agent failed on this call; its log says more")
			}
		}()
		mux.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (s *Server) modelReady(w http.ResponseWriter, r *http.Request) {
	if _, err := s.info(r.PathValue("name"), r.PathValue("version")); err != nil {
		s.fail(w, r, err)
	}
}

func (s *Server) modelMetadata(w http.ResponseWriter, r *http.Request) {
	i, err := s.info(r.PathValue("name"), r.PathValue("version"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	oiphttp.Reply(w, oiphttp.Model{
		Name: r.PathValue("name"), Versions: []string{i.ModelVersion}, Platform: platform,
		Inputs: oiphttp.Tensors(i.Signature.Inputs), Outputs: oiphttp.Tensors(i.Signature.Outputs),
	})
}

// infer runs a model.
func (s *Server) infer(w http.ResponseWriter, r *http.Request) {
	buf := s.buffers.Get()
	defer s.buffers.Put(buf)
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
		h.Set(oiphttp.HeaderJSONSize, strconv.Itoa(a.JSONSize))
	}
	_, _ = w.Write(a.Body) // the caller has gone; there is no one to tell
}

// readBody fills buf with the body, up to the limit, and says how much of it
// is JSON.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, buf *bytes.Buffer) (jsonSize int, err error) {
	if err := oiphttp.ReadBody(w, r, int64(s.cfg.MaxMessage), buf); err != nil {
		return 0, err
	}
	size := r.Header.Get(oiphttp.HeaderJSONSize)
	if size == "" {
		return buf.Len(), nil
	}
	if jsonSize, err = strconv.Atoi(size); err != nil || jsonSize < 0 || jsonSize > buf.Len() {
		return 0,
			fault.New(fault.Invalid, "%s must say how many of the %d bytes are JSON", oiphttp.HeaderJSONSize, buf.Len())
	}
	return jsonSize, nil
}

// announced is the signature that a request itself describes, for models that
// do not say what they take and give.
func announced(head []byte) (*tensor.Signature, error) {
	var said struct {
		Inputs  []oiphttp.Tensor
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
	code, says := statusOf(err)
	at := webStatus(code)
	if errors.Is(err, fault.Limit) && !errors.Is(err, model.ErrBusy) {
		at = http.StatusRequestEntityTooLarge
	}
	if at == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	s.report(r.Context(), code, r.URL.Path, err)
	oiphttp.Refuse(w, at, says)
}
