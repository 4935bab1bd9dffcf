package answer

import (
	"strconv"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// Format is the kind of answer that a selector reads.
type Format uint8

// The formats of selectors.
const (
	Whole       Format = iota // no selector: all of the answer
	JSON                      // a way through a JSON document, or through each of its lines
	CSV                       // a column
	Array                     // a NumPy array, or a tensor of the Open Inference Protocol by name
	RawElements               // the body as the elements of an array, little-endian
	Bytes                     // the body as it is
)

// Measure says how two values are compared.
type Measure uint8

// The measures. ByKind compares texts and truth values as labels, numbers by
// their tolerance.
const (
	ByKind    Measure = iota
	Labels            // equal or not
	Numbers           // how far apart, in tolerances, at most 1
	Embedding         // all numbers together are a vector: half of one minus the cosine
)

// Selector names the part of an answer that counts. The zero Selector is all of it.
type Selector struct {
	Format  Format
	Steps   []string // JSON: names of members and places in arrays, from the outside
	Column  int      // CSV: from 0
	Name    string   // Array: of the tensor; "" for the only one
	Element tensor.Type
	Measure Measure
}

const selectorHelp = `a selector is json:WAY (names and places, as in json:predictions.0.label), csv:COLUMN, ` +
	`npy:NAME, raw:TYPE (as in raw:FP32) or bytes, perhaps followed by @label, @number or @embedding`

// ParseSelector reads a selector as people write it:
//
//	json:predictions.0.label  members by name, elements by place; a name at an
//	                          array is looked up in each of its elements
//	csv:0                     a column of every row, from 0
//	npy, npy:scores           a NumPy array, or the tensor of that name
//	raw:FP32                  the body as elements of that type (the names of the
//	                          Open Inference Protocol), little-endian
//	bytes                     the body as it is
//
// and any of them followed by @label, @number or @embedding, which says how to
// compare. "" is the zero Selector. The error is a fault.Invalid.
func ParseSelector(s string) (Selector, error) {
	bad := func(why string) (Selector, error) {
		return Selector{}, fault.New(fault.Invalid, "the selector %.80q %s: %s", s, why, selectorHelp)
	}
	if s == "" {
		return Selector{}, nil
	}
	var sel Selector
	what, measure, measured := strings.Cut(s, "@")
	format, rest, _ := strings.Cut(what, ":")
	switch {
	case !measured:
	case measure == "label":
		sel.Measure = Labels
	case measure == "number":
		sel.Measure = Numbers
	case measure == "embedding":
		sel.Measure = Embedding
	default:
		return bad("has an unknown measure")
	}
	switch format {
	case "json":
		if rest == "" {
			return bad("leads nowhere")
		}
		sel.Format, sel.Steps = JSON, strings.Split(rest, ".")
	case "csv":
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return bad("has no column")
		}
		sel.Format, sel.Column = CSV, n
	case "npy":
		sel.Format, sel.Name = Array, rest
	case "raw":
		sel.Format, sel.Element = RawElements, tensor.FromOIP(rest)
		if sel.Element == tensor.Invalid || sel.Element == tensor.String {
			return bad("has no element type of a fixed size")
		}
	case "bytes":
		if what != s || rest != "" {
			return bad("says too much")
		}
		sel.Format = Bytes
	default:
		return bad("has an unknown format")
	}
	return sel, nil
}
