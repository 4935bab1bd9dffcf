package codec

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

func byteCount(n int) string { return strconv.Itoa(n) + " bytes" }

// Answer is an encoded response body.
type Answer struct {
	Body        []byte
	ContentType string
	// JSONSize is the length of the JSON that precedes binary tensors, or 0.
	JSONSize int
}

// Encode writes outs, all outputs of the model in the order of its graph, in
// form f, appending to dst. model is the name that an Open Inference Protocol
// answer carries. What the form cannot carry is a fault.Unsupported.
func Encode(dst []byte, f Form, m Media, req *Request, outs []tensor.Tensor, model string) (Answer, error) {
	var err error
	a := Answer{ContentType: "application/json"}
	switch f {
	case CSV:
		a.ContentType = "text/csv; charset=utf-8"
		a.Body, err = appendCSV(dst, outs)
	case NPY, Raw:
		var t *tensor.Tensor
		if t, err = single(m, outs); err != nil {
			return a, err
		}
		if f == NPY {
			a.ContentType = "application/x-npy"
			a.Body, err = appendNPY(dst, t)
			break
		}
		a.ContentType = "application/octet-stream"
		if t.Type == tensor.String {
			return a, fault.New(fault.Unsupported, "output %q holds strings; accept application/json", t.Name)
		}
		a.Body = append(dst, t.Data...)
	case Columns:
		a.Body = appendColumns(dst, outs)
	case OIP:
		return encodeOIP(dst, req, outs, model), nil
	default:
		a.Body = appendPredictions(dst, outs)
	}
	return a, err
}

// single returns the output that a form without names carries: the only one,
// or the one that the media type's output parameter names.
func single(m Media, outs []tensor.Tensor) (*tensor.Tensor, error) {
	name, named := m.Params["output"]
	var have []string
	for i := range outs {
		if outs[i].Name == name || !named && len(outs) == 1 {
			return &outs[i], nil
		}
		have = append(have, strconv.Quote(outs[i].Name))
	}
	return nil,
		fault.New(fault.Unsupported,
			`the model gives %s and this media type carries one: add "; output=NAME" to the Accept header, or `+
				`accept application/json`,
			strings.Join(have, ", "))
}

// appendPredictions writes {"predictions": [...]} with an element for each row:
// the value itself if there is one output, otherwise an object by name.
func appendPredictions(dst []byte, outs []tensor.Tensor) []byte {
	rows, ok := commonRows(outs)
	for i := range outs {
		ok = ok && len(outs[i].Shape) > 0
	}
	if !ok {
		return appendColumns(dst, outs)
	}
	dst = append(dst, `{"predictions":[`...)
	for r := range rows {
		if r > 0 {
			dst = append(dst, ',')
		}
		if len(outs) == 1 {
			dst = appendRow(dst, &outs[0], r)
			continue
		}
		dst = append(dst, '{')
		for o := range outs {
			if o > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, outs[o].Name), ':')
			dst = appendRow(dst, &outs[o], r)
		}
		dst = append(dst, '}')
	}
	return append(dst, "]}"...)
}

func appendRow(dst []byte, t *tensor.Tensor, r int) []byte {
	_, width, _ := t.Rows()
	return appendNested(dst, t, t.Shape[1:], r*width)
}

// appendColumns writes {"outputs": ...}, the value itself if there is one.
func appendColumns(dst []byte, outs []tensor.Tensor) []byte {
	dst = append(dst, `{"outputs":`...)
	if len(outs) == 1 {
		return append(appendNested(dst, &outs[0], outs[0].Shape, 0), '}')
	}
	dst = append(dst, '{')
	for o := range outs {
		if o > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, outs[o].Name), ':')
		dst = appendNested(dst, &outs[o], outs[o].Shape, 0)
	}
	return append(dst, "}}"...)
}

// appendNested writes the elements from at on as arrays of the given shape.
func appendNested(dst []byte, t *tensor.Tensor, shape []int64, at int) []byte {
	if len(shape) == 0 {
		return appendElement(dst, t, at)
	}
	keyed := t.Keys != nil && len(shape) == 1
	width := 1
	for _, d := range shape[1:] {
		width *= int(d)
	}
	dst = append(dst, "[{"[b2i(keyed)])
	for i := range int(shape[0]) {
		if i > 0 {
			dst = append(dst, ',')
		}
		if keyed {
			dst = append(appendString(dst, t.Keys[i]), ':')
		}
		dst = appendNested(dst, t, shape[1:], at+i*width)
	}
	return append(dst, "]}"[b2i(keyed)])
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// appendElement writes one JSON value. JSON has no NaN or infinity: those are
// the strings that decoding takes too.
func appendElement(dst []byte, t *tensor.Tensor, i int) []byte {
	switch {
	case t.Type == tensor.String:
		return appendString(dst, t.Strings[i])
	case t.Type.Float():
		switch f := t.Float(i); {
		case math.IsNaN(f):
			return append(dst, `"NaN"`...)
		case math.IsInf(f, 1):
			return append(dst, `"Infinity"`...)
		case math.IsInf(f, -1):
			return append(dst, `"-Infinity"`...)
		}
	}
	return t.AppendElement(dst, i)
}

func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f || c == '<' || c == '>' || c == '&' {
			b, _ := json.Marshal(s) // a string always marshals
			return append(dst, b...)
		}
	}
	dst = append(dst, '"')
	return append(append(dst, s...), '"')
}

// encodeOIP writes an Open Inference Protocol response; outputs asked for in
// binary follow the JSON.
func encodeOIP(dst []byte, req *Request, outs []tensor.Tensor, model string) Answer {
	want := req.Want
	if want == nil {
		want = make([]Want, len(outs))
		for i := range want {
			want[i] = Want{Output: i, Binary: req.Binary}
		}
	}
	start := len(dst)
	dst = append(appendString(append(dst, `{"model_name":`...), model), `,"model_version":"1"`...)
	if req.ID != "" {
		dst = appendString(append(dst, `,"id":`...), req.ID)
	}
	dst = append(dst, `,"outputs":[`...)
	var tail []byte
	binaryTail := false
	for i, w := range want {
		if i > 0 {
			dst = append(dst, ',')
		}
		t := &outs[w.Output]
		dst = appendTensorHead(dst, t)
		if w.Binary {
			binaryTail = true
			before := len(tail)
			tail = appendBinary(tail, t)
			dst = strconv.AppendInt(append(dst, `],"parameters":{"binary_data_size":`...), int64(len(tail)-before), 10)
			dst = append(dst, "}}"...)
			continue
		}
		dst = append(dst, `],"data":`...)
		dst = append(appendFlat(dst, t), '}')
	}
	dst = append(dst, "]}"...)
	a := Answer{Body: dst, ContentType: "application/json"}
	if binaryTail {
		a.JSONSize = len(dst) - start
		a.ContentType = "application/octet-stream"
		a.Body = append(dst, tail...)
	}
	return a
}

func appendFlat(dst []byte, t *tensor.Tensor) []byte {
	dst = append(dst, '[')
	for i := range t.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendElement(dst, t, i)
	}
	return append(dst, ']')
}

func appendBinary(dst []byte, t *tensor.Tensor) []byte {
	if t.Type != tensor.String {
		return append(dst, t.Data...)
	}
	for _, s := range t.Strings {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(s)))
		dst = append(dst, s...)
	}
	return dst
}
