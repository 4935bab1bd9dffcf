package serve

import (
	"encoding/binary"
	"math"

	"github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
	"github.com/slipway-ml/slipway/internal/agent/shm"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// maxElements keeps products of dimensions, and their bytes, far from
// overflowing.
const maxElements = 1 << 40

// typeOf returns the type that the Edge Manager protocol calls d.
func typeOf(d edgemanager.DataType) tensor.Type {
	switch d {
	case edgemanager.DataType_UINT8:
		return tensor.Uint8
	case edgemanager.DataType_INT16:
		return tensor.Int16
	case edgemanager.DataType_INT32:
		return tensor.Int32
	case edgemanager.DataType_INT64:
		return tensor.Int64
	case edgemanager.DataType_FLOAT16:
		return tensor.Float16
	case edgemanager.DataType_FLOAT32:
		return tensor.Float32
	case edgemanager.DataType_FLOAT64:
		return tensor.Float64
	}
	return tensor.Invalid
}

// carrierOf returns the type under which the protocol carries t: its own, or
// for the types that the protocol lacks one of the same size. Strings travel as
// bytes, each after its length in four bytes.
func carrierOf(t tensor.Type) edgemanager.DataType {
	switch t {
	case tensor.Int16, tensor.Uint16:
		return edgemanager.DataType_INT16
	case tensor.Int32, tensor.Uint32:
		return edgemanager.DataType_INT32
	case tensor.Int64, tensor.Uint64:
		return edgemanager.DataType_INT64
	case tensor.Float16:
		return edgemanager.DataType_FLOAT16
	case tensor.Float32:
		return edgemanager.DataType_FLOAT32
	case tensor.Float64:
		return edgemanager.DataType_FLOAT64
	}
	return edgemanager.DataType_UINT8
}

// source reads the bytes of tensors, for one caller and one call.
type source struct {
	who   *Caller
	left  int                   // bytes of shared memory that the call may still bring
	alloc func(n uint64) []byte // gives memory for them; nil: new memory
}

// bytes returns the bytes of a tensor, of want bytes if that is not 0. The
// memory is the call's own.
func (s *source) bytes(value []byte, h *edgemanager.SharedMemoryHandle, want uint64) ([]byte, error) {
	if h == nil {
		return value, nil
	}
	if !s.who.Socket {
		return nil, fault.New(fault.Invalid, "shared memory can be used through the Unix socket only")
	}
	w := shm.Window{Segment: h.SegmentId, Offset: h.Offset, Size: h.Size}
	return shm.Read(w, shm.Reader{UID: s.who.UID, GID: s.who.GID}, want, func(n uint64) ([]byte, error) {
		if n > uint64(s.left) {
			return nil,
				fault.New(fault.Limit,
					"the call brings more shared memory than the limit: %d bytes, when %d are left", n, s.left)
		}
		s.left -= int(n)
		if s.alloc != nil {
			return s.alloc(n), nil
		}
		return make([]byte, n), nil
	})
}

// decode reads the inputs of a model with signature g, in the order of its
// graph. Tensors are told apart by name, or by place when they have none; what
// their metadata leaves out the signature gives. A signature without inputs is
// of a model that does not say what it takes: then the metadata must say all.
func (s *source) decode(ts []*edgemanager.Tensor, g *tensor.Signature) ([]tensor.Tensor, error) {
	if len(g.Inputs) == 0 {
		return s.decodeFree(ts)
	}
	in := make([]tensor.Tensor, len(g.Inputs))
	for i, t := range ts {
		spec, at, err := target(t.GetTensorMetadata(), i, g)
		if err != nil {
			return nil, err
		}
		if in[at].Type != tensor.Invalid {
			return nil, fault.New(fault.Invalid, "the input %q comes twice", spec.Name)
		}
		if in[at], err = s.fill(t, spec); err != nil {
			return nil, err
		}
	}
	return in, g.Check(in)
}

// target finds the input that the i-th tensor is for.
func target(m *edgemanager.TensorMetadata, i int, g *tensor.Signature) (*tensor.Spec, int, error) {
	if len(m.GetName()) > 0 {
		return g.Input(string(m.Name[:min(len(m.Name), 1024)]))
	}
	if i >= len(g.Inputs) {
		return nil, 0, fault.New(fault.Invalid,
			"tensor %d has no name, and the model takes %d inputs", i, len(g.Inputs))
	}
	return &g.Inputs[i], i, nil
}

// fill reads one input that must be what spec says.
func (s *source) fill(t *edgemanager.Tensor, spec *tensor.Spec) (tensor.Tensor, error) {
	m := t.GetTensorMetadata()
	out := tensor.Tensor{Name: spec.Name, Type: spec.Type}
	// Zero is both UINT8 and "not said", and so is no dimension: what can mean
	// either is taken for not said, and the model's own word counts.
	shaped := len(m.GetShape()) > 0
	if shaped || m.GetDataType() != 0 {
		if typeOf(m.DataType) != spec.Type && m.DataType != carrierOf(spec.Type) {
			return out, spec.Mismatch(shapeText(m.Shape) + " of " + m.DataType.String())
		}
		if len(m.Shape) > tensor.MaxRank {
			return out, spec.Mismatch(shapeText(m.Shape))
		}
	}
	var err error
	switch {
	case shaped:
		out.Shape = widen(m.Shape)
	case spec.Ranked:
		out.Shape = make([]int64, len(spec.Shape))
		for i, d := range spec.Shape {
			out.Shape[i] = max(d.Size, -1)
		}
	case m == nil:
		return out,
			fault.New(fault.Invalid,
				"input %q: its shape must be sent in tensor_metadata: the model takes %s", spec.Name, spec.String())
	}
	out.Data, err = s.measured(t, spec.Name, spec.Type, out.Shape)
	if err != nil || spec.Type != tensor.String {
		normalize(&out)
		return out, err
	}
	return out, unpackStrings(&out)
}

// measured reads the bytes of a tensor, and finds a dimension of -1 in shape by
// their number.
func (s *source) measured(t *edgemanager.Tensor, name string, typ tensor.Type, shape []int64) ([]byte, error) {
	size := int64(max(typ.Size(), 1))
	open, fixed := -1, make([]int64, 0, len(shape))
	for i, d := range shape {
		switch {
		case d >= 0:
			fixed = append(fixed, d)
		case d < -1 || open >= 0:
			return nil,
				fault.New(fault.Invalid,
					"input %q: the shape %s leaves more than one dimension open; send all of them in tensor_metadata",
					name, tensor.ShapeString(shape))
		default:
			open = i
		}
	}
	known, ok := tensor.Elements(fixed, maxElements/size)
	if !ok {
		return nil, fault.New(fault.Invalid, "input %q: the shape %s is too large", name, tensor.ShapeString(shape))
	}
	want := uint64(known * size)
	if open >= 0 || typ == tensor.String {
		want = 0
	}
	data, err := s.bytes(t.GetByteData(), t.GetSharedMemoryHandle(), want)
	if err != nil || typ == tensor.String {
		return data, err
	}
	got := int64(len(data))
	switch {
	case open >= 0 && (known == 0 || got == 0 || got%(known*size) != 0):
		return nil, fault.New(fault.Invalid,
			"input %q: %d bytes can't be of shape %s: a whole number of %d bytes is expected",
			name, got, tensor.ShapeString(shape), known*size)
	case open >= 0:
		shape[open] = got / (known * size)
	case got != known*size:
		return nil, fault.New(fault.Invalid,
			"input %q: the shape %s of %s takes %d bytes, got %d", name,
			tensor.ShapeString(shape), typ, known*size, got)
	}
	return data, nil
}

// decodeFree reads tensors that only their own metadata describes.
func (s *source) decodeFree(ts []*edgemanager.Tensor) ([]tensor.Tensor, error) {
	in := make([]tensor.Tensor, len(ts))
	for i, t := range ts {
		m := t.GetTensorMetadata()
		if m == nil {
			return nil, fault.New(fault.Invalid, "tensor %d needs its tensor_metadata: nothing else says what it is", i)
		}
		out := &in[i]
		out.Name, out.Type = string(m.Name), typeOf(m.DataType)
		if out.Type == tensor.Invalid {
			return nil, fault.New(fault.Invalid, "input %q: the data type %d is unknown", m.Name, m.DataType)
		}
		if len(m.Shape) > tensor.MaxRank {
			return nil, fault.New(fault.Invalid, "input %q: more than %d dimensions", m.Name, tensor.MaxRank)
		}
		out.Shape = widen(m.Shape)
		var err error
		if out.Data, err = s.measured(t, out.Name, out.Type, out.Shape); err != nil {
			return nil, err
		}
	}
	return in, nil
}

func widen(shape []int32) []int64 {
	out := make([]int64, len(shape))
	for i, d := range shape {
		out[i] = int64(d)
	}
	return out
}

// shapeText prints the shape of a request: it may be of any length.
func shapeText(shape []int32) string {
	if len(shape) > tensor.MaxRank {
		return "more than 16 dimensions"
	}
	return tensor.ShapeString(widen(shape))
}

// normalize makes every true the same byte.
func normalize(t *tensor.Tensor) {
	if t.Type != tensor.Bool {
		return
	}
	for i, b := range t.Data {
		if b != 0 {
			t.Data[i] = 1
		}
	}
}

// unpackStrings turns the bytes of t into strings. A shape of one dimension,
// open or the number of bytes, becomes the number of strings.
func unpackStrings(t *tensor.Tensor) error {
	raw := t.Data
	for len(raw) > 0 {
		if len(raw) < 4 || uint64(binary.LittleEndian.Uint32(raw)) > uint64(len(raw)-4) {
			return fault.New(fault.Invalid, "input %q: string %d is cut off", t.Name, len(t.Strings))
		}
		n := binary.LittleEndian.Uint32(raw)
		t.Strings = append(t.Strings, string(raw[4:4+n]))
		raw = raw[4+n:]
	}
	if len(t.Shape) == 1 && (t.Shape[0] < 0 || t.Shape[0] == int64(len(t.Data))) {
		t.Shape[0] = int64(len(t.Strings))
	}
	// Of more dimensions one may be open.
	known, open := int64(1), -1
	for i, d := range t.Shape {
		if d < 0 {
			open = i
		} else {
			known *= d // measured found the product small
		}
	}
	if open >= 0 && known > 0 {
		t.Shape[open] = int64(len(t.Strings)) / known
	}
	t.Data = nil
	return nil
}

func packStrings(elements []string) []byte {
	size := 0
	for _, s := range elements {
		size += 4 + len(s)
	}
	b := make([]byte, 0, size)
	for _, s := range elements {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b
}

// encode writes the outputs of a model. The bytes are not copied.
func encode(outs []tensor.Tensor) []*edgemanager.Tensor {
	ts := make([]*edgemanager.Tensor, len(outs))
	for i := range outs {
		o := &outs[i]
		m := &edgemanager.TensorMetadata{Name: []byte(o.Name), DataType: carrierOf(o.Type)}
		data := o.Data
		if o.Type == tensor.String {
			data = packStrings(o.Strings)
			m.Shape = []int32{narrow(int64(len(data)))}
		} else {
			m.Shape = make([]int32, len(o.Shape))
			for j, d := range o.Shape {
				m.Shape[j] = narrow(d)
			}
		}
		ts[i] = &edgemanager.Tensor{TensorMetadata: m, Data: &edgemanager.Tensor_ByteData{ByteData: data}}
	}
	return ts
}

func narrow(d int64) int32 { return int32(min(max(d, -1), math.MaxInt32)) }

// metadata tells what a model says of its inputs or outputs. A shape that it
// leaves open is left out.
func metadata(specs []tensor.Spec) []*edgemanager.TensorMetadata {
	ms := make([]*edgemanager.TensorMetadata, len(specs))
	for i := range specs {
		ms[i] = &edgemanager.TensorMetadata{Name: []byte(specs[i].Name), DataType: carrierOf(specs[i].Type)}
		for _, d := range specs[i].Shape {
			ms[i].Shape = append(ms[i].Shape, narrow(d.Size))
		}
	}
	return ms
}
