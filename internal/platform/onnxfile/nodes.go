package onnxfile

import (
	"encoding/binary"
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// Yet more field numbers of onnx.proto.
const (
	nodeInput  = 1
	nodeOutput = 2
	nodeOpType = 4
	nodeDomain = 7

	attributeName   = 1
	attributeFloat  = 2
	attributeInt    = 3
	attributeString = 4
	attributeInts   = 8

	tensorDims      = 1
	tensorDataType  = 2
	tensorInt32Data = 5
	tensorInt64Data = 7
	tensorRawData   = 9
)

// node is one operator of a graph.
type node struct {
	op, domain string
	in, out    []string
	ints       map[string][]int64 // attributes that are whole numbers
	tensors    map[string]array   // attributes that are tensors
	texts      map[string]string
	graphs     bool // an attribute is a graph
}

// int returns an attribute that is one whole number.
func (n *node) int(name string, absent int64) int64 {
	if v := n.ints[name]; len(v) == 1 {
		return v[0]
	}
	return absent
}

func parseNode(b []byte) (n node, err error) {
	n.ints, n.tensors, n.texts = map[string][]int64{}, map[string]array{}, map[string]string{}
	err = fields(b, func(num protowire.Number, v []byte, _ uint64) error {
		switch num {
		case nodeInput:
			n.in = append(n.in, string(v))
		case nodeOutput:
			n.out = append(n.out, string(v))
		case nodeOpType:
			n.op = string(v)
		case nodeDomain:
			n.domain = string(v)
		case nodeAttribute:
			return n.attribute(v)
		}
		return nil
	})
	if n.domain == "ai.onnx" {
		n.domain = ""
	}
	return n, err
}

func (n *node) attribute(b []byte) error {
	var name string
	var ints []int64
	err := fields(b, func(num protowire.Number, v []byte, _ uint64) error {
		if num == attributeName {
			name = string(v)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = fields(b, func(num protowire.Number, v []byte, u uint64) (err error) {
		switch num {
		case attributeInt:
			ints = append(ints, int64(u))
		case attributeInts:
			ints, err = appendVarints(ints, v, u)
		case attributeString:
			n.texts[name] = string(v)
		case attributeTensor:
			n.tensors[name], _, err = parseTensor(v)
		case attributeGraph, attributeGraphs:
			n.graphs = true
		}
		return err
	})
	if ints != nil {
		n.ints[name] = ints
	}
	return err
}

// appendVarints adds the numbers of a repeated field, packed (v) or not.
func appendVarints(to []int64, v []byte, u uint64) ([]int64, error) {
	if v == nil {
		return append(to, int64(u)), nil
	}
	for len(v) > 0 {
		u, size := protowire.ConsumeVarint(v)
		if size < 0 {
			return to, errNotONNX
		}
		to, v = append(to, int64(u)), v[size:]
	}
	return to, nil
}

// maxInts bounds the constants whose numbers are read: shapes and axes.
const maxInts = 64

// parseTensor reads the shape of a constant and, of a short list of whole
// numbers, the numbers.
func parseTensor(b []byte) (c array, name string, err error) {
	var dims, ints []int64
	var raw []byte
	var kind uint64
	err = fields(b, func(num protowire.Number, v []byte, u uint64) (err error) {
		switch num {
		case tensorDims:
			dims, err = appendVarints(dims, v, u)
		case tensorDataType:
			kind = u
		case tensorName:
			name = string(v)
		case tensorRawData:
			raw = v
		case tensorInt32Data, tensorInt64Data:
			if len(v) <= 10*maxInts && len(ints) <= maxInts {
				ints, err = appendVarints(ints, v, u)
			}
		}
		return err
	})
	if err != nil {
		return c, name, err
	}
	if len(dims) > maxInts {
		return c, name, errors.New("a constant has too many dimensions")
	}
	c = constant(dims...)
	if kind != 6 && kind != 7 || len(dims) > 1 { // whole numbers: INT32, INT64
		return c, name, nil
	}
	size := map[uint64]int{6: 4, 7: 8}[kind]
	for ; len(raw) >= size && len(raw) <= maxInts*size && len(ints) < maxInts; raw = raw[size:] {
		if size == 4 {
			ints = append(ints, int64(int32(binary.LittleEndian.Uint32(raw))))
		} else {
			ints = append(ints, int64(binary.LittleEndian.Uint64(raw)))
		}
	}
	if n := c.elements(); int64(len(ints)) == n {
		c.ints = make([]extent, 0, n)
		for _, i := range ints {
			c.ints = append(c.ints, extent{size: i})
		}
	}
	return c, name, nil
}
