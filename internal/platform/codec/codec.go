// Package codec turns request bodies into tensors and tensors into response
// bodies: CSV, JSON (instances, columns, Open Inference Protocol), NumPy arrays
// and raw bytes. It is pure: it neither runs a model nor speaks HTTP. Bodies
// are hostile; memory taken stays within a small multiple of the body's length.
package codec

import (
	"math"
	"mime"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// Form is how a caller spoke, and so how it expects to be answered.
type Form uint8

// The forms of a body. Columns is {"inputs": {...}} answered by {"outputs":
// {...}}; Instances is {"instances": [...]} answered by {"predictions": [...]}.
const (
	None Form = iota
	CSV
	Instances
	Columns
	OIP
	NPY
	Raw
	Lines // JSON Lines: an instance, or a prediction, in each
)

// Request is a decoded body: the inputs in the order of the graph, and what
// the caller asked of the answer.
type Request struct {
	Form   Form
	Inputs []tensor.Tensor
	ID     string // of an Open Inference Protocol request, echoed
	Want   []Want // the outputs asked for, in that order; nil for all
	Binary bool   // answer tensors as bytes after the JSON unless Want says otherwise
}

// Want is one output that the caller asked for.
type Want struct {
	Output int  // its place in the graph
	Binary bool // as bytes after the JSON
}

// Media is a parsed Content-Type or one choice of an Accept header.
type Media struct {
	Type   string
	Params map[string]string
}

// TritonBinary is the media type that carries an Open Inference Protocol body
// with binary tensors through a runtime API that keeps no other headers.
const TritonBinary = "application/vnd.sagemaker-triton.binary+json"

// ParseMedia reads a Content-Type.
func ParseMedia(header string) (Media, error) {
	switch header { // the usual ones, without the cost of parsing
	case "text/csv", "application/json", "application/x-npy", "application/octet-stream":
		return Media{Type: header}, nil
	case "":
		return Media{}, fault.New(fault.Unsupported, "the request has no Content-Type; send %s", accepted)
	}
	typ, params, err := mime.ParseMediaType(header)
	if err != nil {
		return Media{}, fault.New(fault.Unsupported, "the Content-Type is malformed; send %s", accepted).Because(err)
	}
	return Media{Type: typ, Params: params}, nil
}

const accepted = "text/csv, application/json, application/jsonlines, application/x-npy or application/octet-stream"

// Decode reads body, of media type m, into the inputs of a model with signature
// g, and checks them against it. Failures are fault.Invalid (the body) or
// fault.Unsupported (the media type).
func Decode(m Media, body []byte, g *tensor.Signature) (Request, error) {
	var r Request
	var err error
	switch m.Type {
	case "text/csv":
		r, err = decodeCSV(body, g)
	case "application/json":
		r, err = decodeJSON(body, g)
	case "application/jsonlines", "application/x-jsonlines":
		r, err = decodeLines(body, g)
	case "application/x-npy", "application/npy":
		r, err = decodeNPY(body, g)
	case "application/octet-stream":
		r, err = decodeRaw(body, g)
	case TritonBinary:
		r, err = decodeTriton(m, body, g)
	default:
		return r, fault.New(fault.Unsupported, "the media type %.80q is not served; send %s", m.Type, accepted)
	}
	if err != nil {
		return r, err
	}
	if name, ok := m.Params["output"]; ok && r.Want == nil {
		i, err := g.Output(name)
		if err != nil {
			return r, err
		}
		r.Want = []Want{{Output: i, Binary: r.Binary}}
	}
	return r, g.Check(r.Inputs)
}

func decodeTriton(m Media, body []byte, g *tensor.Signature) (Request, error) {
	n, ok := parseSize(m.Params["json-header-size"])
	if !ok || n > len(body) {
		return Request{}, fault.New(fault.Invalid,
			"json-header-size must say how many bytes of the %d are JSON", len(body))
	}
	return decodeOIP(body[:n], body[n:], g)
}

func parseSize(s string) (int, bool) {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > (math.MaxInt-9)/10 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, s != ""
}

// Choose picks the form of the answer: the first choice of the Accept header
// that is served, or the family of the request if the caller leaves it open.
func Choose(accept string, req *Request, outputs int) (Form, Media, error) {
	own := answerTo(req.Form)
	if (own == NPY || own == Raw) && outputs != 1 && len(req.Want) != 1 {
		own = Instances // these carry one array; the request did not say which
	}
	if accept == "" || accept == "*/*" {
		return own, Media{}, nil
	}
	for choice := range strings.SplitSeq(accept, ",") {
		choice = strings.TrimSpace(choice)
		m, err := ParseMedia(choice)
		if err != nil {
			continue
		}
		switch m.Type {
		case "*/*", "application/*":
			return own, m, nil
		case "text/csv", "text/*":
			return CSV, m, nil
		case "application/json":
			return jsonFor(req.Form), m, nil
		case "application/jsonlines", "application/x-jsonlines":
			return Lines, m, nil
		case "application/x-npy", "application/npy":
			return NPY, m, nil
		case "application/octet-stream":
			if req.Form == OIP {
				return OIP, m, nil
			}
			return Raw, m, nil
		case TritonBinary:
			return OIP, m, nil
		}
	}
	return None, Media{}, fault.New(fault.Unsupported,
		"nothing that %.80q accepts is served; accept %s", accept, accepted)
}

func answerTo(f Form) Form {
	if f == CSV || f == NPY || f == Raw || f == Lines {
		return f
	}
	return jsonFor(f)
}

func jsonFor(f Form) Form {
	if f == OIP || f == Columns {
		return f
	}
	return Instances
}
