package serve

import (
	"encoding/binary"
	"math"

	"github.com/slipway-ml/slipway/internal/agent/proto/oip"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// decodeOIP reads the inputs of a model with signature g, in the order of its
// graph; a model without inputs does not say what it takes, and gets what came.
func decodeOIP(r *oip.ModelInferRequest, g *tensor.Signature) ([]tensor.Tensor, error) {
	if n := len(r.RawInputContents); n > 0 && n != len(r.Inputs) {
		return nil,
			fault.New(fault.Invalid,
				"raw_input_contents must hold one element for each of the %d inputs, not %d", len(r.Inputs), n)
	}
	free := len(g.Inputs) == 0
	in := make([]tensor.Tensor, max(len(g.Inputs), len(r.Inputs)))
	for i, t := range r.Inputs {
		at, spec := i, (*tensor.Spec)(nil)
		if !free {
			var err error
			if spec, at, err = inputCalled(t.GetName(), g); err != nil {
				return nil, err
			}
		}
		if in[at].Type != tensor.Invalid {
			return nil, fault.New(fault.Invalid, "the input %q comes twice", t.GetName())
		}
		head := tensor.Tensor{Name: t.GetName(), Type: tensor.FromOIP(t.GetDatatype()), Shape: t.GetShape()}
		if err := checkFits(&head, t, spec); err != nil {
			return nil, err
		}
		var err error
		if len(r.RawInputContents) > 0 {
			err = raw(&head, r.RawInputContents[i])
		} else {
			err = typed(&head, t.GetContents())
		}
		if err != nil {
			return nil, err
		}
		in[at] = head
	}
	if free {
		return in, nil
	}
	return in[:len(g.Inputs)], g.Check(in[:len(g.Inputs)])
}

// inputCalled finds an input by its name as the protocol can write it.
func inputCalled(name string, g *tensor.Signature) (*tensor.Spec, int, error) {
	for i := range g.Inputs {
		if plain(g.Inputs[i].Name) == name {
			return &g.Inputs[i], i, nil
		}
	}
	return g.Input(name[:min(len(name), 1024)])
}

// checkFits checks what is said of an input before its elements are read. spec is
// nil when the model does not say what it takes.
func checkFits(head *tensor.Tensor, t *oip.ModelInferRequest_InferInputTensor, spec *tensor.Spec) error {
	if spec != nil {
		head.Name = spec.Name
		if head.Type != spec.Type {
			return fault.New(fault.Invalid, "input %q: expected shape %s (datatype %s), got datatype %.20q", spec.Name,
				spec.String(), spec.Type.OIP(), t.GetDatatype())
		}
	}
	if head.Type == tensor.Invalid {
		return fault.New(fault.Invalid, "input %.80q: the datatype %.20q is unknown", head.Name, t.GetDatatype())
	}
	if len(head.Shape) > tensor.MaxRank {
		return fault.New(fault.Invalid, "input %.80q has more than %d dimensions", head.Name, tensor.MaxRank)
	}
	if _, ok := tensor.Elements(head.Shape, maxElements); !ok {
		return fault.New(fault.Invalid,
			"input %.80q: the shape %s is negative or too large", head.Name, tensor.ShapeString(head.Shape))
	}
	if t.GetParameters()["shared_memory_region"] != nil {
		return fault.New(fault.Unsupported,
			"input %.80q: registered shared memory regions are not supported; use the Edge Manager protocol's segments",
			head.Name)
	}
	return nil
}

// checkCount checks that n elements are what the shape says.
func checkCount(t *tensor.Tensor, n int) error {
	want, _ := tensor.Elements(t.Shape, maxElements) // fits saw that it can be counted
	if int64(n) != want {
		return fault.New(fault.Invalid,
			"input %.80q: the shape %s takes %d elements, got %d", t.Name, tensor.ShapeString(t.Shape), want, n)
	}
	return nil
}

// raw takes elements as bytes.
func raw(t *tensor.Tensor, b []byte) error {
	t.Data = b
	if t.Type == tensor.String {
		if err := unpackStrings(t); err != nil {
			return err
		}
		return checkCount(t, len(t.Strings))
	}
	if len(b)%t.Type.Size() != 0 {
		return fault.New(fault.Invalid,
			"input %.80q: %d bytes are not a whole number of %s", t.Name, len(b), t.Type.OIP())
	}
	normalize(t)
	return checkCount(t, len(b)/t.Type.Size())
}

// typed takes elements from the field that belongs to the datatype. Memory
// follows what came, not what the shape says.
func typed(t *tensor.Tensor, c *oip.InferTensorContents) error {
	if t.Type == tensor.Float16 {
		return fault.New(fault.Invalid, "input %.80q: FP16 has no typed contents; send raw_input_contents", t.Name)
	}
	if err := checkCount(t, typedLen(t.Type, c)); err != nil {
		return err
	}
	n := typedLen(t.Type, c)
	if t.Type == tensor.String {
		t.Strings = make([]string, n)
		for i, s := range c.GetBytesContents() {
			t.Strings[i] = string(s)
		}
		return nil
	}
	b := make([]byte, 0, n*t.Type.Size())
	for i := range n {
		v, ok := element(t.Type, c, i)
		if !ok {
			return fault.New(fault.Invalid,
				"input %.80q: element %d is out of the range of %s", t.Name, i, t.Type.OIP())
		}
		switch t.Type.Size() {
		case 1:
			b = append(b, byte(v))
		case 2:
			b = binary.LittleEndian.AppendUint16(b, uint16(v))
		case 4:
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		default:
			b = binary.LittleEndian.AppendUint64(b, v)
		}
	}
	t.Data = b
	return nil
}

// typedLen returns how many elements the field of type t has.
func typedLen(t tensor.Type, c *oip.InferTensorContents) int {
	switch t {
	case tensor.Bool:
		return len(c.GetBoolContents())
	case tensor.Int8, tensor.Int16, tensor.Int32:
		return len(c.GetIntContents())
	case tensor.Int64:
		return len(c.GetInt64Contents())
	case tensor.Uint8, tensor.Uint16, tensor.Uint32:
		return len(c.GetUintContents())
	case tensor.Uint64:
		return len(c.GetUint64Contents())
	case tensor.Float32:
		return len(c.GetFp32Contents())
	case tensor.Float64:
		return len(c.GetFp64Contents())
	case tensor.String:
		return len(c.GetBytesContents())
	}
	return 0
}

// element returns the bits of an element; ok is false when it does not fit.
func element(t tensor.Type, c *oip.InferTensorContents, i int) (v uint64, ok bool) {
	switch t {
	case tensor.Bool:
		if c.BoolContents[i] {
			v = 1
		}
		return v, true
	case tensor.Int8, tensor.Int16, tensor.Int32:
		n := c.IntContents[i]
		limit := int64(1) << (8*t.Size() - 1)
		return uint64(n), int64(n) >= -limit && int64(n) < limit
	case tensor.Int64:
		return uint64(c.Int64Contents[i]), true
	case tensor.Uint8, tensor.Uint16, tensor.Uint32:
		n := c.UintContents[i]
		return uint64(n), uint64(n)>>(8*t.Size()) == 0
	case tensor.Uint64:
		return c.Uint64Contents[i], true
	case tensor.Float32:
		return uint64(math.Float32bits(c.Fp32Contents[i])), true
	}
	return math.Float64bits(c.Fp64Contents[i]), true
}

// encodeOIP writes outputs as the request wrote its inputs: raw, or by their
// types unless one of them is FP16, which has no field.
func encodeOIP(resp *oip.ModelInferResponse, outs []tensor.Tensor, asRaw bool) {
	for i := range outs {
		asRaw = asRaw || outs[i].Type == tensor.Float16
	}
	for i := range outs {
		o := &outs[i]
		t := &oip.ModelInferResponse_InferOutputTensor{Name: plain(o.Name), Datatype: o.Type.OIP(), Shape: o.Shape}
		resp.Outputs = append(resp.Outputs, t)
		switch {
		case !asRaw:
			t.Contents = contents(o)
		case o.Type == tensor.String:
			resp.RawOutputContents = append(resp.RawOutputContents, packStrings(o.Strings))
		default:
			resp.RawOutputContents = append(resp.RawOutputContents, o.Data)
		}
	}
}

func contents(t *tensor.Tensor) *oip.InferTensorContents {
	c := &oip.InferTensorContents{}
	n := t.Len()
	switch t.Type {
	case tensor.Bool:
		c.BoolContents = collect(n, func(i int) bool { return t.Data[i] != 0 })
	case tensor.Int8, tensor.Int16, tensor.Int32:
		c.IntContents = collect(n, func(i int) int32 { return int32(t.Int(i)) })
	case tensor.Int64:
		c.Int64Contents = collect(n, t.Int)
	case tensor.Uint8, tensor.Uint16, tensor.Uint32:
		c.UintContents = collect(n, func(i int) uint32 { return uint32(t.Int(i)) })
	case tensor.Uint64:
		c.Uint64Contents = collect(n, func(i int) uint64 { return uint64(t.Int(i)) })
	case tensor.Float32:
		c.Fp32Contents = collect(n, func(i int) float32 { return float32(t.Float(i)) })
	case tensor.Float64:
		c.Fp64Contents = collect(n, t.Float)
	case tensor.String:
		c.BytesContents = collect(n, func(i int) []byte { return []byte(t.Strings[i]) })
	}
	return c
}

func collect[T any](n int, at func(i int) T) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = at(i)
	}
	return all
}
