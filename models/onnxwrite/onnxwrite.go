// Package onnxwrite writes ONNX models: as much of the format as the sample
// models and the tests need. It does not check that a graph makes sense; the
// runtime that loads it does.
package onnxwrite

import (
	"encoding/binary"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// The element types that are written, numbered as in TensorProto.DataType.
const (
	Float   = 1
	Uint8   = 2
	Int32   = 6
	Int64   = 7
	String  = 8
	Bool    = 9
	Float16 = 10
	Double  = 11
)

// Opset is the version of the operator set that graphs are written for.
const Opset = 13

// Graph is one model.
type Graph struct {
	Name    string
	Doc     string
	Nodes   []Node
	Inputs  []Value
	Outputs []Value
	Weights []Tensor
	// ML adds the operators of ai.onnx.ml (trees, ZipMap).
	ML bool
}

// Value is an input or output. A dimension is an int (a size) or a string (the
// symbol of an open one). A value with Map set is a list of maps from INT64 to
// FLOAT instead.
type Value struct {
	Name string
	Type int32
	Dims []any
	Map  bool
}

// Node applies an operator.
type Node struct {
	Op      string
	Domain  string
	Inputs  []string
	Outputs []string
	Attrs   []Attr
}

// Attr is an attribute: its value is an int64, a float32, a []int64, a
// []float32 or a []string.
type Attr struct {
	Name  string
	Value any
}

// Elsewhere says where the FLOAT data of a constant lie outside the model.
type Elsewhere struct {
	File           string
	Offset, Length int64
}

// Tensor is a constant: its data are []float32 or []int64, or Elsewhere.
type Tensor struct {
	Name string
	Dims []int64
	Data any
}

// Marshal returns the serialized model. The same graph gives the same bytes.
func (g *Graph) Marshal() []byte {
	var m msg
	m.varint(1, 8) // ir_version: the first that has everything opset 13 needs
	m.str(2, "slipway")
	m.str(6, g.Doc)
	m.sub(7, g.graph())
	m.sub(8, opset("", Opset))
	if g.ML {
		m.sub(8, opset("ai.onnx.ml", 2))
	}
	return m
}

func opset(domain string, version uint64) msg {
	var m msg
	m.str(1, domain)
	m.varint(2, version)
	return m
}

func (g *Graph) graph() msg {
	var m msg
	for i := range g.Nodes {
		m.sub(1, g.Nodes[i].node())
	}
	m.str(2, g.Name)
	for i := range g.Weights {
		m.sub(5, g.Weights[i].tensor())
	}
	for i := range g.Inputs {
		m.sub(11, g.Inputs[i].value())
	}
	for i := range g.Outputs {
		m.sub(12, g.Outputs[i].value())
	}
	return m
}

func (n *Node) node() msg {
	var m msg
	for _, s := range n.Inputs {
		m.always(1, s)
	}
	for _, s := range n.Outputs {
		m.always(2, s)
	}
	m.str(3, n.Op+"_"+n.Outputs[0])
	m.str(4, n.Op)
	for _, a := range n.Attrs {
		m.sub(5, a.attr())
	}
	m.str(7, n.Domain)
	return m
}

func (a *Attr) attr() msg {
	var m msg
	m.str(1, a.Name)
	kind := uint64(0)
	switch v := a.Value.(type) {
	case float32:
		m = protowire.AppendTag(m, 2, protowire.Fixed32Type)
		m = protowire.AppendFixed32(m, math.Float32bits(v))
		kind = 1
	case int64:
		m.varint(3, uint64(v))
		kind = 2
	case string:
		m.str(4, v)
		kind = 3
	case []float32:
		for _, f := range v {
			m = protowire.AppendTag(m, 7, protowire.Fixed32Type)
			m = protowire.AppendFixed32(m, math.Float32bits(f))
		}
		kind = 6
	case []int64:
		for _, i := range v {
			m.varint(8, uint64(i))
		}
		kind = 7
	case []string:
		for _, s := range v {
			m.always(9, s)
		}
		kind = 8
	}
	m.varint(20, kind)
	return m
}

func (t *Tensor) tensor() msg {
	var m msg
	for _, d := range t.Dims {
		m.varint(1, uint64(d))
	}
	var raw []byte
	switch d := t.Data.(type) {
	case []float32:
		m.varint(2, Float)
		for _, f := range d {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(f))
		}
	case []int64:
		m.varint(2, Int64)
		for _, i := range d {
			raw = binary.LittleEndian.AppendUint64(raw, uint64(i))
		}
	}
	m.str(8, t.Name)
	if e, ok := t.Data.(Elsewhere); ok {
		m.varint(2, Float)
		for _, pair := range [][2]string{
			{"location", e.File},
			{"offset", strconv.FormatInt(e.Offset, 10)},
			{"length", strconv.FormatInt(e.Length, 10)},
		} {
			var entry msg
			entry.str(1, pair[0])
			entry.str(2, pair[1])
			m.sub(13, entry)
		}
		m.varint(14, 1)
		return m
	}
	m.sub(9, raw)
	return m
}

func (v *Value) value() msg {
	var m, typ msg
	if v.Map {
		var number, mapType, elem, seq msg
		number.sub(1, tensorType(Float, nil))
		mapType.varint(1, Int64)
		mapType.sub(2, number)
		elem.sub(5, mapType)
		seq.sub(1, elem)
		typ.sub(4, seq)
	} else {
		typ.sub(1, tensorType(v.Type, v.Dims))
	}
	m.str(1, v.Name)
	m.sub(2, typ)
	return m
}

func tensorType(elem int32, dims []any) msg {
	var m, shape msg
	m.varint(1, uint64(elem))
	for _, d := range dims {
		var dim msg
		switch d := d.(type) {
		case int:
			dim.varint(1, uint64(d))
		case string:
			dim.str(2, d)
		}
		shape.sub(1, dim)
	}
	if dims != nil {
		m.sub(2, shape)
	}
	return m
}

// msg is a protocol buffer message under construction.
type msg []byte

func (m *msg) varint(num protowire.Number, v uint64) {
	*m = protowire.AppendVarint(protowire.AppendTag(*m, num, protowire.VarintType), v)
}

func (m *msg) sub(num protowire.Number, b []byte) {
	*m = protowire.AppendBytes(protowire.AppendTag(*m, num, protowire.BytesType), b)
}

// str adds a string unless it is empty, which is what absence means.
func (m *msg) str(num protowire.Number, s string) {
	if s != "" {
		m.always(num, s)
	}
}

func (m *msg) always(num protowire.Number, s string) {
	*m = protowire.AppendString(protowire.AppendTag(*m, num, protowire.BytesType), s)
}
