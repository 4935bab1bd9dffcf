// Package oiphttp is what servers of the Open Inference Protocol over HTTP have
// in common: its paths, the descriptions of models, bodies that are read within
// a limit, and refusals. What is said in inference requests and their answers is
// codec's job; running models, and who may, is the server's.
package oiphttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"sync"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// HeaderJSONSize says how many bytes of a body are JSON; binary tensors follow
// (the protocol's binary tensor data extension).
const HeaderJSONSize = "Inference-Header-Content-Length"

// Handlers answer the protocol's requests. Those about a model find its name in
// the path value "name" and its version, if one is asked for, in "version".
type Handlers struct {
	Ready, Metadata http.HandlerFunc // of the server

	ModelReady, ModelMetadata, Infer http.HandlerFunc
}

// Route adds the protocol's paths to mux. That a server is live needs no
// handler: it answers.
func (h Handlers) Route(mux *http.ServeMux) {
	mux.HandleFunc("GET /v2", h.Metadata)
	mux.HandleFunc("GET /v2/health/live", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v2/health/ready", h.Ready)
	for _, base := range []string{"/v2/models/{name}", "/v2/models/{name}/versions/{version}"} {
		mux.HandleFunc("GET "+base, h.ModelMetadata)
		mux.HandleFunc("GET "+base+"/ready", h.ModelReady)
		mux.HandleFunc("POST "+base+"/infer", h.Infer)
	}
}

// Server describes a server.
type Server struct {
	Extensions []string `json:"extensions"`
	Name       string   `json:"name"`
	Version    string   `json:"version"`
}

// Describe returns the description of a server that takes binary tensors.
func Describe(name, version string) Server {
	return Server{Name: name, Version: version, Extensions: []string{"binary_tensor_data"}}
}

// Model describes a model.
type Model struct {
	Name     string   `json:"name"`
	Versions []string `json:"versions"`
	Platform string   `json:"platform"`
	Inputs   []Tensor `json:"inputs"`
	Outputs  []Tensor `json:"outputs"`

	Parameters map[string]any `json:"parameters,omitempty"`
}

// Tensor describes an input or output; an open dimension is -1.
type Tensor struct {
	Name     string  `json:"name"`
	Datatype string  `json:"datatype"`
	Shape    []int64 `json:"shape"`
}

// Tensors describes specifications.
func Tensors(specs []tensor.Spec) []Tensor {
	out := make([]Tensor, len(specs))
	for i := range specs {
		out[i] = Tensor{Name: specs[i].Name, Datatype: specs[i].Type.OIP(), Shape: Shape(&specs[i])}
	}
	return out
}

// Shape returns the shape of a specification in the protocol's form.
func Shape(s *tensor.Spec) []int64 {
	shape := make([]int64, len(s.Shape))
	for i, d := range s.Shape {
		shape[i] = max(d.Size, -1)
	}
	return shape
}

// ReadBody fills buf with the body of a request, of at most limit bytes.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64, buf *bytes.Buffer) error {
	tooLarge := fault.New(fault.Limit, "the body exceeds the limit of %d bytes", limit)
	if r.ContentLength > limit {
		return tooLarge
	}
	// Memory follows what has arrived, not what was announced.
	buf.Grow(int(min(max(r.ContentLength, 0), 64<<10)) + bytes.MinRead)
	_, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge
	}
	if err != nil {
		return fault.New(fault.Invalid, "the body could not be read").Because(err)
	}
	return nil
}

// Reply answers with v in JSON.
func Reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the caller has gone; there is no one to tell
}

// Refuse answers with a sentence that says why there is no other answer.
func Refuse(w http.ResponseWriter, status int, sentence string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	body, _ := json.Marshal(map[string]string{"error": sentence}) // strings always marshal
	_, _ = w.Write(append(body, '\n'))                            // the caller has gone; there is no one to tell
}

// Buffers keeps buffers of bodies and answers for the next request; a rare large
// one is left to the collector. Its zero value is ready for use.
type Buffers struct{ pool sync.Pool }

const keptBuffer = 1 << 20

// Get returns an empty buffer.
func (p *Buffers) Get() *bytes.Buffer {
	if b, ok := p.pool.Get().(*bytes.Buffer); ok {
		return b
	}
	return new(bytes.Buffer)
}

// Put takes a buffer back that nobody uses any more.
func (p *Buffers) Put(b *bytes.Buffer) {
	if b.Cap() <= keptBuffer {
		b.Reset()
		p.pool.Put(b)
	}
}
