package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/codec"
	"github.com/slipway-ml/slipway/internal/platform/oiphttp"
)

// message is the encoded inputs of a call, the same for every process that it
// may be sent to.
type message struct {
	text     []byte // JSON, CSV or NumPy
	data     [][]byte
	jsonSize int // of text, if data follows it
	size     int64
}

// scratch keeps what encoding needs for the next call.
type scratch struct{ head, text []byte }

type scratches struct{ pool sync.Pool }

const keptScratch = 64 << 10

func (p *scratches) get() *scratch {
	if s, ok := p.pool.Get().(*scratch); ok {
		return s
	}
	return new(scratch)
}

func (p *scratches) put(s *scratch) {
	if cap(s.head)+cap(s.text) <= keptScratch {
		p.pool.Put(s)
	}
}

// media returns the Content-Type of requests, and what to accept.
func (f Format) media() (content, accept string) {
	switch f {
	case OIPBinary:
		return "application/octet-stream", "application/octet-stream"
	case NPY:
		return "application/x-npy", "application/x-npy"
	case CSV:
		return "text/csv", "text/csv"
	case OIPJSON, "":
	}
	return "application/json", "application/json"
}

// encode writes in, in the order of the model's inputs.
func (f Format) encode(s *scratch, in []tensor.Tensor) (message, error) {
	var m message
	switch f {
	case NPY, CSV:
		form := codec.NPY
		if f == CSV {
			form = codec.CSV
		}
		a, err := codec.Encode(s.text[:0], form, codec.Media{}, nil, in, "")
		if err != nil {
			_, why := fault.Public(err)
			return m, fault.New(fault.Invalid, "the engine takes %s: %s", f, why)
		}
		m.text = a.Body
	case OIPBinary:
		m.text = codec.AppendOIPHead(s.text[:0], in, true)
		m.jsonSize = len(m.text)
		for i := range in {
			d := in[i].Data
			if in[i].Type == tensor.String {
				d = codec.AppendOIPData(nil, &in[i])
			}
			m.data = append(m.data, d)
			m.size += int64(len(d))
		}
	case OIPJSON, "":
		if err := codec.CheckTexts(in); err != nil {
			_, why := fault.Public(err)
			return m, fault.New(fault.Invalid, "the engine takes JSON: %s", why)
		}
		m.text = codec.AppendOIPHead(s.text[:0], in, false)
	}
	s.text = m.text
	m.size += int64(len(m.text))
	return m, nil
}

// decode reads the outputs of a good answer.
func (f Format) decode(a *reply, sig *tensor.Signature) ([]tensor.Tensor, error) {
	var outs []tensor.Tensor
	var err error
	switch f {
	case NPY, CSV:
		// The answer has the form of a request whose inputs are the outputs.
		var r codec.Request
		content, _ := f.media()
		r, err = codec.Decode(codec.Media{Type: content}, a.body, &tensor.Signature{Inputs: sig.Outputs})
		outs = r.Inputs
	case OIPJSON, OIPBinary, "":
		n := len(a.body)
		if h := a.header[oiphttp.HeaderJSONSize]; len(h) == 1 {
			if n, err = strconv.Atoi(h[0]); err != nil {
				return nil, fmt.Errorf("%w: its answer's JSON has %.20q bytes", model.ErrFailed, h[0])
			}
		}
		outs, err = codec.DecodeOIPAnswer(a.body, n)
	}
	if err != nil {
		_, why := fault.Public(err)
		return nil, fmt.Errorf("%w: its answer can't be read: %s", model.ErrFailed, why)
	}
	return outs, nil
}

// refusal turns an answer that is none into the error of model.Runner.
func refusal(a *reply) error {
	why := sentence(a.body)
	switch a.status {
	case http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return fault.New(fault.Invalid, "%s", why)
	case http.StatusRequestEntityTooLarge:
		return fault.New(fault.Limit, "%s", why)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return fmt.Errorf("%w: %s", model.ErrBusy, why)
	}
	if a.status != http.StatusInternalServerError {
		why = fmt.Sprintf("status %d: %s", a.status, why)
	}
	return fmt.Errorf("%w: %s", model.ErrFailed, strings.TrimPrefix(why, model.ErrFailed.Error()+": "))
}

// sentence returns what the body of an error says.
func sentence(body []byte) string {
	var e struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &e) == nil && e.Error != "" {
		return e.Error
	}
	return strconv.Quote(string(body[:min(len(body), 200)]))
}

// metadata reads the signature from an Open Inference Protocol description.
func metadata(a *reply) (sig tensor.Signature, err error) {
	var m struct{ Inputs, Outputs []oiphttp.Tensor }
	if a.status != http.StatusOK {
		return sig, fmt.Errorf("the model's description: status %d", a.status)
	}
	if err := json.Unmarshal(a.body, &m); err != nil {
		return sig, fmt.Errorf("the model's description: %w", err)
	}
	if len(m.Inputs) == 0 || len(m.Outputs) == 0 {
		return sig, errors.New("the model's description has no inputs or no outputs")
	}
	if sig.Inputs, err = specs(m.Inputs); err == nil {
		sig.Outputs, err = specs(m.Outputs)
	}
	return sig, err
}

func specs(list []oiphttp.Tensor) ([]tensor.Spec, error) {
	out := make([]tensor.Spec, len(list))
	for i, t := range list {
		// No shape may mean a single number or any shape: the worker knows.
		out[i] = tensor.Spec{Name: t.Name, Type: tensor.FromOIP(t.Datatype), Ranked: len(t.Shape) > 0}
		if out[i].Type == tensor.Invalid {
			return nil, fmt.Errorf("the model's description: %q has the unknown datatype %q", t.Name, t.Datatype)
		}
		for _, d := range t.Shape {
			out[i].Shape = append(out[i].Shape, tensor.Dim{Size: max(d, -1)})
		}
	}
	return out, nil
}
