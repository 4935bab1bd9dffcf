package modelserver

import (
	"net/http"
	"strconv"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/codec"
	"github.com/slipway-ml/slipway/internal/platform/oiphttp"
)

func jsonSizeOf(r *http.Request) (n int, ok bool, err error) {
	v := r.Header[oiphttp.HeaderJSONSize]
	if len(v) == 0 {
		return 0, false, nil
	}
	n, err = strconv.Atoi(v[0])
	if err != nil || n < 0 {
		return 0, true, fault.New(fault.Invalid, "%s must be a whole number of bytes", oiphttp.HeaderJSONSize)
	}
	return n, true, nil
}

func (s *Server) routeOIP(mux *http.ServeMux) {
	oiphttp.Handlers{
		Metadata: func(w http.ResponseWriter, _ *http.Request) {
			oiphttp.Reply(w, oiphttp.Describe("slipway-onnx", "2"))
		},
		Ready: s.ping, ModelReady: s.named(s.ping), ModelMetadata: s.named(s.metadata), Infer: s.named(s.infer),
	}.Route(mux)
}

// version is what the one version that is served is called.
const version = "1"

// named refuses paths of models and versions that are not here.
func (s *Server) named(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") != s.opts.Name {
			s.fail(w, r,
				fault.New(fault.NotFound,
					"the model %.80q is not here; this server serves %q", r.PathValue("name"), s.opts.Name))
			return
		}
		if v := r.PathValue("version"); v != "" && v != version {
			s.fail(w, r,
				fault.New(fault.NotFound,
					"the model %q has no version %.80q here; this server serves version %s", s.opts.Name, v, version))
			return
		}
		h(w, r)
	}
}

func (s *Server) infer(w http.ResponseWriter, r *http.Request) {
	s.serve(w, r, func(sv *served, body []byte) (codec.Request, error) {
		jsonSize, ok, err := jsonSizeOf(r)
		if err != nil {
			return codec.Request{}, err
		}
		if !ok {
			jsonSize = len(body)
		}
		return codec.DecodeOIP(body, jsonSize, sv.sig)
	})
}

func (s *Server) metadata(w http.ResponseWriter, _ *http.Request) {
	sv := s.ready.Load()
	if sv == nil {
		oiphttp.Refuse(w, http.StatusServiceUnavailable, "the model is still loading")
		return
	}
	allowed, why := sv.batching.allowed, sv.batching.why
	if sv.alone.Load() {
		allowed, why = false, "it gave another number of rows than it took"
	}
	oiphttp.Reply(w, oiphttp.Model{
		Name: s.opts.Name, Versions: []string{version}, Platform: "onnx_onnxv1",
		Inputs: oiphttp.Tensors(sv.sig.Inputs), Outputs: oiphttp.Tensors(sv.sig.Outputs),
		Parameters: map[string]any{"batching": allowed, "batching_reason": why},
	})
}
