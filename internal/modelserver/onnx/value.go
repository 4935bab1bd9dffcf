//go:build cgo

package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unsafe"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	ort "github.com/yalue/onnxruntime_go"
)

// servableInput refuses what the binding cannot express: it makes scalars from
// Go numbers only.
func servableInput(s *tensor.Spec) error {
	if s.Ranked && len(s.Shape) == 0 && (s.Type == tensor.Float16 || s.Type == tensor.String) {
		return fmt.Errorf("input %q is a scalar of %s, which is not served; give it the shape [1]", s.Name, s.Type)
	}
	return nil
}

// plan says how an output gets its memory.
type plan struct {
	kind planKind
	typ  tensor.Type
	dims []source
}

type planKind uint8

const (
	byRuntime planKind = iota // the library allocates; the binding copies
	asScalar                  // the binding cannot read scalars that it did not make
	byShape                   // nor half-precision tensors
)

// source is a dimension: a size, or that of a dimension of an input.
type source struct {
	size       int64
	input, dim int
}

func planFor(s *tensor.Spec, inputs []tensor.Spec) (plan, error) {
	p := plan{typ: s.Type}
	switch {
	case s.Maps:
		return p, nil
	case s.Ranked && len(s.Shape) == 0:
		p.kind = asScalar
		if s.Type == tensor.Float16 || s.Type == tensor.String {
			return p, fmt.Errorf(
				"output %q is a scalar of %s, which is not served; give it the shape [1]", s.Name, s.Type)
		}
		return p, nil
	case s.Type != tensor.Float16:
		return p, nil
	}
	p.kind = byShape
	for i, d := range s.Shape {
		src, ok := findSource(d, i, inputs)
		if !ok {
			return p,
				fmt.Errorf(
					"output %q is %s and its shape does not follow from the inputs; add a Cast to FLOAT to the model",
					s.Name, s.String(),
				)
		}
		p.dims = append(p.dims, src)
	}
	if !s.Ranked {
		return p, fmt.Errorf("output %q is FLOAT16 of unknown shape; add a Cast to FLOAT to the model", s.Name)
	}
	return p, nil
}

func findSource(d tensor.Dim, at int, inputs []tensor.Spec) (source, bool) {
	if d.Size >= 0 {
		return source{size: d.Size}, true
	}
	for i := range inputs {
		for j, in := range inputs[i].Shape {
			if in.Size < 0 && in.Symbol == d.Symbol && (d.Symbol != "" || at == 0 && j == 0) {
				return source{size: -1, input: i, dim: j}, true
			}
		}
	}
	return source{}, false
}

// allocate returns the value to compute into, or nil to leave it to the library.
func (p *plan) allocate(in []tensor.Tensor) (ort.Value, error) {
	switch p.kind {
	case asScalar:
		return scalar(p.typ, make([]byte, 8))
	case byShape:
		shape, n := make(ort.Shape, len(p.dims)), int64(p.typ.Size())
		for i, d := range p.dims {
			if shape[i] = d.size; d.size < 0 {
				shape[i] = in[d.input].Shape[d.dim]
			}
			if shape[i] > 0 && n > math.MaxInt32/shape[i] {
				return nil, errors.New("the output would exceed 2 GiB")
			}
			n *= shape[i]
		}
		return ort.NewCustomDataTensor(shape, make([]byte, n), ort.TensorElementDataType(p.typ.Code()))
	case byRuntime:
	}
	return nil, nil
}

// toValue wraps the elements without copying them; t must stay alive and
// unchanged until the value is destroyed.
func toValue(t *tensor.Tensor) (ort.Value, error) {
	switch {
	case t.Type == tensor.String:
		v, err := ort.NewStringTensor(ort.Shape(t.Shape))
		if err != nil {
			return nil, err
		}
		if err := v.SetContents(t.Strings); err != nil {
			_ = v.Destroy() // the first error counts
			return nil, err
		}
		return v, nil
	case len(t.Shape) == 0:
		return scalar(t.Type, t.Data)
	}
	return ort.NewCustomDataTensor(ort.Shape(t.Shape), t.Data, ort.TensorElementDataType(t.Type.Code()))
}

func scalar(typ tensor.Type, data []byte) (ort.Value, error) {
	le := binary.LittleEndian
	switch typ {
	case tensor.Bool:
		return ort.NewScalar(data[0] != 0)
	case tensor.Int8:
		return ort.NewScalar(int8(data[0]))
	case tensor.Uint8:
		return ort.NewScalar(data[0])
	case tensor.Int16:
		return ort.NewScalar(int16(le.Uint16(data)))
	case tensor.Uint16:
		return ort.NewScalar(le.Uint16(data))
	case tensor.Int32:
		return ort.NewScalar(int32(le.Uint32(data)))
	case tensor.Uint32:
		return ort.NewScalar(le.Uint32(data))
	case tensor.Int64:
		return ort.NewScalar(int64(le.Uint64(data)))
	case tensor.Uint64:
		return ort.NewScalar(le.Uint64(data))
	case tensor.Float32:
		return ort.NewScalar(math.Float32frombits(le.Uint32(data)))
	case tensor.Float64:
		return ort.NewScalar(math.Float64frombits(le.Uint64(data)))
	}
	return nil, fmt.Errorf("a scalar of %s is not served", typ)
}

// fromValue returns the elements of an output. They are Go memory and outlive
// the value.
func fromValue(v ort.Value) (tensor.Tensor, error) {
	switch v := v.(type) {
	case *ort.Tensor[float32]:
		return plain(tensor.Float32, v.GetShape(), v.GetData()), nil
	case *ort.Tensor[int64]:
		return plain(tensor.Int64, v.GetShape(), v.GetData()), nil
	case *ort.Tensor[float64]:
		return plain(tensor.Float64, v.GetShape(), v.GetData()), nil
	case *ort.Tensor[int32]:
		return plain(tensor.Int32, v.GetShape(), v.GetData()), nil
	case *ort.Tensor[uint8]:
		return plain(tensor.Uint8, v.GetShape(), v.GetData()), nil
	case *ort.Tensor[int8]:
		return plain(tensor.Int8, v.GetShape(), v.GetData()), nil
	case *ort.Tensor[uint16]:
		return plain(tensor.Uint16, v.GetShape(), v.GetData()), nil
	case *ort.Tensor[int16]:
		return plain(tensor.Int16, v.GetShape(), v.GetData()), nil
	case *ort.Tensor[uint32]:
		return plain(tensor.Uint32, v.GetShape(), v.GetData()), nil
	case *ort.Tensor[uint64]:
		return plain(tensor.Uint64, v.GetShape(), v.GetData()), nil
	case *ort.Tensor[bool]:
		return plain(tensor.Bool, v.GetShape(), v.GetData()), nil
	case *ort.StringTensor:
		s, err := v.GetContents()
		return tensor.Tensor{Type: tensor.String, Shape: v.GetShape(), Strings: s}, err
	case *ort.CustomDataTensor:
		return tensor.Tensor{Type: tensor.FromCode(int32(v.DataType())), Shape: v.GetShape(), Data: v.GetData()}, nil
	case *ort.Sequence:
		return fromMaps(v)
	}
	return fromScalar(v)
}

func plain[T ort.TensorData](typ tensor.Type, shape ort.Shape, d []T) tensor.Tensor {
	t := tensor.Tensor{Type: typ, Shape: shape}
	if len(d) > 0 {
		t.Data = unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(d))), len(d)*typ.Size())
	}
	return t
}

func fromScalar(v ort.Value) (tensor.Tensor, error) {
	switch v := v.(type) {
	case *ort.Scalar[float32]:
		return plain(tensor.Float32, nil, []float32{v.GetData()}), nil
	case *ort.Scalar[float64]:
		return plain(tensor.Float64, nil, []float64{v.GetData()}), nil
	case *ort.Scalar[int64]:
		return plain(tensor.Int64, nil, []int64{v.GetData()}), nil
	case *ort.Scalar[int32]:
		return plain(tensor.Int32, nil, []int32{v.GetData()}), nil
	case *ort.Scalar[int16]:
		return plain(tensor.Int16, nil, []int16{v.GetData()}), nil
	case *ort.Scalar[int8]:
		return plain(tensor.Int8, nil, []int8{v.GetData()}), nil
	case *ort.Scalar[uint64]:
		return plain(tensor.Uint64, nil, []uint64{v.GetData()}), nil
	case *ort.Scalar[uint32]:
		return plain(tensor.Uint32, nil, []uint32{v.GetData()}), nil
	case *ort.Scalar[uint16]:
		return plain(tensor.Uint16, nil, []uint16{v.GetData()}), nil
	case *ort.Scalar[uint8]:
		return plain(tensor.Uint8, nil, []uint8{v.GetData()}), nil
	case *ort.Scalar[bool]:
		return plain(tensor.Bool, nil, []bool{v.GetData()}), nil
	}
	return tensor.Tensor{}, fmt.Errorf("a value of kind %T is not served", v)
}

// fromMaps turns a list of maps from class to number into a table whose
// columns are the classes. Every map has the same classes: ZipMap takes them
// from its attributes.
func fromMaps(s *ort.Sequence) (tensor.Tensor, error) {
	rows, err := s.GetValues()
	if err != nil {
		return tensor.Tensor{}, err
	}
	t := tensor.Tensor{Type: tensor.Float32, Shape: []int64{int64(len(rows)), 0}}
	for i, r := range rows {
		m, ok := r.(*ort.Map)
		if !ok {
			return t, fmt.Errorf("a sequence of %s is not served", r.GetONNXType())
		}
		keys, values, err := m.GetKeysAndValues()
		if err != nil {
			return t, err
		}
		names, err := keyNames(keys)
		if err != nil {
			return t, err
		}
		numbers, err := fromValue(values)
		if err != nil {
			return t, err
		}
		if i == 0 {
			t.Keys = names
			t.Shape[1] = int64(len(names))
		}
		if numbers.Type != tensor.Float32 || len(names) != len(t.Keys) || numbers.Len() != len(names) {
			return t, errors.New("the maps of the sequence differ in their classes")
		}
		t.Data = append(t.Data, numbers.Data...)
	}
	return t, nil
}

func keyNames(keys ort.Value) ([]string, error) {
	switch k := keys.(type) {
	case *ort.StringTensor:
		return k.GetContents()
	case *ort.Tensor[int64]:
		names := make([]string, 0, len(k.GetData()))
		for _, n := range k.GetData() {
			names = append(names, strconv.FormatInt(n, 10))
		}
		return names, nil
	}
	return nil, errors.New("the maps have keys of a kind that is not served")
}
