// Package onnxfile finds the model in a model directory and reads from it what
// a server must know before it runs: the names, types and shapes of inputs and
// outputs, with the symbols that the graph gives its open dimensions. It reads
// nothing else of the model and does not judge whether it can run.
package onnxfile

import (
	"errors"
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of onnx.proto.
const (
	modelGraph = 7

	graphInitializer       = 5
	graphInput             = 11
	graphOutput            = 12
	graphSparseInitializer = 15

	tensorName       = 8
	sparseValues     = 1
	valueName        = 1
	valueType        = 2
	typeTensor       = 1
	typeSequence     = 4
	typeMap          = 5
	tensorElem       = 1
	tensorShape      = 2
	shapeDim         = 1
	dimValue         = 1
	dimParam         = 2
	sequenceElem     = 1
	mapKey, mapValue = 1, 2
)

var errNotONNX = errors.New("the file is not an ONNX model")

// Signature reads the inputs and outputs of the serialized model b. It fails
// if b is no model, or if an input or output is of a kind that cannot be
// served; the error says which.
func Signature(b []byte) (tensor.Signature, error) {
	var g tensor.Signature
	var graph []byte
	err := fields(b, func(num protowire.Number, v []byte, _ uint64) error {
		if num == modelGraph {
			graph = v
		}
		return nil
	})
	if err != nil || graph == nil {
		return g, errNotONNX
	}
	var ins, outs [][]byte
	constant := map[string]bool{}
	err = fields(graph, func(num protowire.Number, v []byte, _ uint64) error {
		switch num {
		case graphInput:
			ins = append(ins, v)
		case graphOutput:
			outs = append(outs, v)
		case graphInitializer:
			return addName(constant, v)
		case graphSparseInitializer:
			return fields(v, func(num protowire.Number, v []byte, _ uint64) error {
				if num == sparseValues {
					return addName(constant, v)
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return g, err
	}
	return g, collect(&g, ins, outs, constant)
}

// collect reads the values. Old models list their weights among the inputs;
// those have a value already and are no input of the server.
func collect(g *tensor.Signature, ins, outs [][]byte, constant map[string]bool) error {
	for _, v := range ins {
		s, err := value(v)
		if constant[s.Name] {
			continue
		}
		if err == nil && s.Maps {
			err = errors.New("is a sequence")
		}
		if err != nil {
			return fmt.Errorf("input %q %w; only tensors are served as inputs", s.Name, err)
		}
		g.Inputs = append(g.Inputs, s)
	}
	for _, v := range outs {
		s, err := value(v)
		if err != nil {
			return fmt.Errorf("output %q %w; tensors and lists of maps (ZipMap) are served as outputs", s.Name, err)
		}
		g.Outputs = append(g.Outputs, s)
	}
	switch {
	case len(g.Inputs) == 0:
		return errors.New("the graph takes no inputs")
	case len(g.Outputs) == 0:
		return errors.New("the graph gives no outputs")
	case len(g.Inputs) > 4096 || len(g.Outputs) > 4096:
		return errors.New("the graph has more than 4096 inputs or outputs")
	}
	return nil
}

func addName(to map[string]bool, tensorProto []byte) error {
	return fields(tensorProto, func(num protowire.Number, v []byte, _ uint64) error {
		if num == tensorName {
			to[string(v)] = true
		}
		return nil
	})
}

// value reads a ValueInfoProto.
func value(b []byte) (tensor.Spec, error) {
	var s tensor.Spec
	var typ []byte
	err := fields(b, func(num protowire.Number, v []byte, _ uint64) error {
		switch num {
		case valueName:
			s.Name = string(v)
		case valueType:
			typ = v
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	kind, inner, err := oneof(typ)
	if err != nil {
		return s, err
	}
	switch kind {
	case typeTensor:
		return s, tensorType(&s, inner)
	case typeSequence:
		return s, sequenceType(&s, inner)
	}
	return s, errors.New("is not a tensor")
}

// oneof returns which kind of type a TypeProto is, and its description.
func oneof(typ []byte) (kind protowire.Number, inner []byte, err error) {
	err = fields(typ, func(num protowire.Number, v []byte, _ uint64) error {
		if v != nil && num != 6 { // 6 is a denotation, not a kind
			kind, inner = num, v
		}
		return nil
	})
	return kind, inner, err
}

func tensorType(s *tensor.Spec, b []byte) error {
	code := uint64(0)
	err := fields(b, func(num protowire.Number, v []byte, n uint64) error {
		switch num {
		case tensorElem:
			code = n
		case tensorShape:
			s.Ranked = true
			return shape(s, v)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if code > 1000 {
		code = 0
	}
	if s.Type = tensor.FromCode(int32(code)); s.Type == tensor.Invalid {
		return fmt.Errorf("has element type %s, which is not served", tensor.TypeName(int32(code)))
	}
	return nil
}

func shape(s *tensor.Spec, b []byte) error {
	s.Shape = []tensor.Dim{}
	return fields(b, func(num protowire.Number, v []byte, _ uint64) error {
		if num != shapeDim {
			return nil
		}
		if len(s.Shape) == tensor.MaxRank {
			return fmt.Errorf("has more than %d dimensions", tensor.MaxRank)
		}
		d := tensor.Dim{Size: -1}
		err := fields(v, func(num protowire.Number, v []byte, n uint64) error {
			switch num {
			case dimValue:
				// Some exporters write -1, or 0, for an open dimension.
				if d.Size = int64(n); d.Size <= 0 {
					d.Size = -1
				}
			case dimParam:
				d.Symbol = string(v)
			}
			return nil
		})
		s.Shape = append(s.Shape, d)
		return err
	})
}

// sequenceType accepts a list of maps from class to number, what ZipMap gives.
func sequenceType(s *tensor.Spec, b []byte) error {
	elem, err := only(b, sequenceElem)
	if err != nil {
		return err
	}
	kind, m, err := oneof(elem)
	if err != nil || kind != typeMap {
		return errors.New("is a sequence, but not of maps")
	}
	key, number := uint64(0), tensor.Spec{}
	err = fields(m, func(num protowire.Number, v []byte, n uint64) error {
		switch num {
		case mapKey:
			key = n
		case mapValue:
			kind, t, err := oneof(v)
			if err != nil || kind != typeTensor {
				return errors.New("is a sequence of maps to something else than numbers")
			}
			return tensorType(&number, t)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if k := tensor.FromCode(int32(min(key, 1000))); (k != tensor.Int64 && k != tensor.String) ||
		number.Type != tensor.Float32 {
		return errors.New("is a sequence of maps, but not from INT64 or STRING to FLOAT")
	}
	s.Maps, s.Type, s.Ranked = true, tensor.Float32, true
	s.Shape = []tensor.Dim{{Size: -1}, {Size: -1, Symbol: "classes"}}
	return nil
}

func only(b []byte, want protowire.Number) (got []byte, err error) {
	err = fields(b, func(num protowire.Number, v []byte, _ uint64) error {
		if num == want {
			got = v
		}
		return nil
	})
	return got, err
}

// fields calls f for each field of the message b: v is the content of a
// length-delimited one (not nil), n the value of a varint.
func fields(b []byte, f func(num protowire.Number, v []byte, n uint64) error) error {
	for len(b) > 0 {
		num, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errNotONNX
		}
		b = b[size:]
		var v []byte
		var n uint64
		switch typ {
		case protowire.BytesType:
			v, size = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(b)
		default:
			size = protowire.ConsumeFieldValue(num, typ, b)
		}
		if size < 0 {
			return errNotONNX
		}
		b = b[size:]
		if err := f(num, v, n); err != nil {
			return err
		}
	}
	return nil
}
