package modelserver

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/codec"
)

// headerJSONSize says how many bytes of a body are JSON; binary tensors follow
// (the binary tensor data extension of the Open Inference Protocol).
const headerJSONSize = "Inference-Header-Content-Length"

func jsonSizeOf(r *http.Request) (n int, ok bool, err error) {
	v := r.Header[headerJSONSize]
	if len(v) == 0 {
		return 0, false, nil
	}
	n, err = strconv.Atoi(v[0])
	if err != nil || n < 0 {
		return 0, true, fault.New(fault.Invalid, "%s must be a whole number of bytes", headerJSONSize)
	}
	return n, true, nil
}

func (s *Server) routeOIP(mux *http.ServeMux) {
	mux.HandleFunc("GET /v2", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{
			"name": "slipway-onnx", "version": "2", "extensions": []string{"binary_tensor_data"},
		})
	})
	mux.HandleFunc("GET /v2/health/live", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v2/health/ready", s.ping)
	for _, base := range []string{"/v2/models/{name}", "/v2/models/{name}/versions/{version}"} {
		mux.HandleFunc("GET "+base, s.named(s.metadata))
		mux.HandleFunc("GET "+base+"/ready", s.named(s.ping))
		mux.HandleFunc("POST "+base+"/infer", s.named(s.infer))
	}
}

// named refuses paths of models that are not here.
func (s *Server) named(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") != s.opts.Name {
			s.fail(w, r,
				fault.New(fault.NotFound,
					"the model %.80q is not here; this server serves %q", r.PathValue("name"), s.opts.Name))
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

type oipMetadata struct {
	Name     string    `json:"name"`
	Versions []string  `json:"versions"`
	Platform string    `json:"platform"`
	Inputs   []oipSpec `json:"inputs"`
	Outputs  []oipSpec `json:"outputs"`
}

type oipSpec struct {
	Name     string  `json:"name"`
	Datatype string  `json:"datatype"`
	Shape    []int64 `json:"shape"`
}

func (s *Server) metadata(w http.ResponseWriter, _ *http.Request) {
	sv := s.ready.Load()
	if sv == nil {
		s.refuse(w, http.StatusServiceUnavailable, "the model is still loading")
		return
	}
	writeJSON(w, oipMetadata{
		Name: s.opts.Name, Versions: []string{"1"}, Platform: "onnx_onnxv1",
		Inputs: oipSpecs(sv.sig.Inputs), Outputs: oipSpecs(sv.sig.Outputs),
	})
}

func oipSpecs(specs []tensor.Spec) []oipSpec {
	out := make([]oipSpec, len(specs))
	for i := range specs {
		out[i] = oipSpec{Name: specs[i].Name, Datatype: specs[i].Type.OIP(), Shape: []int64{}}
		for _, d := range specs[i].Shape {
			out[i].Shape = append(out[i].Shape, max(d.Size, -1))
		}
	}
	return out
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the caller has gone; there is no one to tell
}
