package codec

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

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
// answer carries; other forms need no request. What the form cannot carry is a
// fault.Unsupported.
func Encode(dst []byte, f Form, m Media, req *Request, outs []tensor.Tensor, model string) (Answer, error) {
	a := Answer{ContentType: "application/json"}
	if f == OIP {
		return encodeOIP(dst, req, outs, model)
	}
	outs, err := wanted(m, req, outs)
	if err != nil {
		return a, err
	}
	for i := range outs {
		if f != NPY && f != Raw && outs[i].Hollow() {
			return a, fault.New(fault.Unsupported,
				"output %q has shape %s, which holds nothing; accept application/x-npy",
				outs[i].Name, tensor.ShapeString(outs[i].Shape))
		}
	}
	switch f {
	case CSV:
		a.ContentType = "text/csv" // bare: clients compare it
		a.Body, err = appendCSV(dst, outs)
		return a, err
	case NPY, Raw:
		return encodeArray(dst, f, outs)
	}
	if err := CheckTexts(outs); err != nil {
		return a, err
	}
	switch f {
	case Columns:
		a.Body = appendColumns(dst, outs)
	case Lines:
		a.ContentType = "application/jsonlines"
		a.Body = appendLines(dst, outs)
	default:
		a.Body = appendPredictions(dst, outs)
	}
	return a, nil
}

// wanted returns the output that the media type's output parameter names, the
// ones that the request asks for, or all.
func wanted(m Media, req *Request, outs []tensor.Tensor) ([]tensor.Tensor, error) {
	if name, ok := m.Params["output"]; ok {
		for i := range outs {
			if outs[i].Name == name {
				return outs[i : i+1], nil
			}
		}
		return nil, fault.New(fault.Unsupported, "the model has no output %.80q; it gives %s", name, namesOf(outs))
	}
	if req == nil || req.Want == nil {
		return outs, nil
	}
	some := make([]tensor.Tensor, 0, len(req.Want))
	for _, w := range req.Want {
		some = append(some, outs[w.Output])
	}
	return some, nil
}

func namesOf(outs []tensor.Tensor) string {
	have := make([]string, 0, len(outs))
	for i := range outs {
		have = append(have, strconv.Quote(outs[i].Name))
	}
	return strings.Join(have, ", ")
}

// encodeArray writes a form without names, which carries one output.
func encodeArray(dst []byte, f Form, outs []tensor.Tensor) (a Answer, err error) {
	if len(outs) != 1 {
		return a, fault.New(fault.Unsupported,
			`the model gives %s and this media type carries one: add "; output=NAME" to the Accept header, or `+
				`accept application/json`, namesOf(outs))
	}
	t := &outs[0]
	if f == NPY {
		a.ContentType = "application/x-npy"
		a.Body, err = appendNPY(dst, t)
		return a, err
	}
	a.ContentType = "application/octet-stream"
	if t.Type == tensor.String {
		return a, fault.New(fault.Unsupported, "output %q holds strings; accept application/json", t.Name)
	}
	a.Body = append(dst, t.Data...)
	return a, nil
}

// CheckTexts refuses strings that JSON cannot carry: it would have something
// else in their place. The error is a fault.Unsupported.
func CheckTexts(outs []tensor.Tensor) error {
	for i := range outs {
		for _, texts := range [][]string{outs[i].Strings, outs[i].Keys} {
			for _, s := range texts {
				if !utf8.ValidString(s) {
					return fault.New(fault.Unsupported,
						"%q holds bytes that are not UTF-8, which JSON cannot carry; ask for it as binary data "+
							"of the Open Inference Protocol (binary_data_output)", outs[i].Name)
				}
			}
		}
	}
	return nil
}

// appendPredictions writes {"predictions": [...]} with an element for each row:
// the value itself if there is one output, otherwise an object by name.
func appendPredictions(dst []byte, outs []tensor.Tensor) []byte {
	rows, ok := predictions(outs)
	if !ok {
		return appendColumns(dst, outs)
	}
	dst = append(dst, `{"predictions":[`...)
	for r := range rows {
		if r > 0 {
			dst = append(dst, ',')
		}
		dst = appendPrediction(dst, outs, r)
	}
	return append(dst, "]}"...)
}

// appendLines writes each prediction in a line of its own or, if there are no
// rows to take them from, all outputs in one.
func appendLines(dst []byte, outs []tensor.Tensor) []byte {
	rows, ok := predictions(outs)
	if !ok {
		return append(appendColumns(dst, outs), '\n')
	}
	for r := range rows {
		dst = append(appendPrediction(dst, outs, r), '\n')
	}
	return dst
}

// predictions returns how many rows the outputs have, if all have as many.
func predictions(outs []tensor.Tensor) (rows int, ok bool) {
	rows, ok = commonRows(outs)
	for i := range outs {
		ok = ok && len(outs[i].Shape) > 0
	}
	return rows, ok
}

func appendPrediction(dst []byte, outs []tensor.Tensor, r int) []byte {
	if len(outs) == 1 {
		return appendRow(dst, &outs[0], r)
	}
	dst = append(dst, '{')
	for o := range outs {
		if o > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, outs[o].Name), ':')
		dst = appendRow(dst, &outs[o], r)
	}
	return append(dst, '}')
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
func encodeOIP(dst []byte, req *Request, outs []tensor.Tensor, model string) (Answer, error) {
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
		if err := CheckTexts(outs[w.Output : w.Output+1]); err != nil {
			return Answer{}, err
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
	return a, nil
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
