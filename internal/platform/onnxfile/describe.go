package onnxfile

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"google.golang.org/protobuf/encoding/protowire"
)

// More field numbers of onnx.proto.
const (
	modelIRVersion = 1
	modelOpset     = 8
	modelFunctions = 25

	opsetDomain  = 1
	opsetVersion = 2

	graphNode     = 1
	functionNode  = 7
	nodeAttribute = 5

	attributeTensor  = 5
	attributeGraph   = 6
	attributeTensors = 10
	attributeGraphs  = 11
	attributeSparse  = 22
	attributeSparses = 23

	sparseIndices      = 2
	tensorExternal     = 13
	tensorDataLocation = 14
	entryKey           = 1
	entryValue         = 2
)

// Description is what can be said of a model without running it.
type Description struct {
	Signature    tensor.Signature
	IRVersion    int64
	Opset        int64 // of ONNX's own operators
	Initializers int
	External     []External // data that lies in other files
}

// External is a reference to data in another file. Location is relative to the
// model's directory, as the model has it: whoever opens it must not trust it.
type External struct {
	Location       string
	Offset, Length int64 // Length 0: to the end
}

// maxDepth bounds graphs inside graphs, maxExternal the references kept.
const (
	maxDepth    = 64
	maxExternal = 100_000
)

// DescribeFile describes the model file at path.
func DescribeFile(path string) (d Description, err error) {
	err = mapped(path, func(b []byte) (err error) { d, err = Describe(b); return err })
	return d, err
}

// Describe reads what Description has from the serialized model b. Strings in
// the result are copies. It fails as Signature does.
func Describe(b []byte) (d Description, err error) {
	if d.Signature, err = Signature(b); err != nil {
		return d, err
	}
	err = d.read(b)
	switch {
	case err != nil:
	case d.IRVersion == 0:
		err = errors.New("the model has no ir_version")
	case d.Opset == 0:
		err = errors.New("the model imports no operator set")
	}
	return d, err
}

func (d *Description) read(b []byte) error {
	return fields(b, func(num protowire.Number, v []byte, n uint64) error {
		switch num {
		case modelIRVersion:
			d.IRVersion = int64(min(n, math.MaxInt64))
		case modelOpset:
			return d.opset(v)
		case modelGraph:
			return d.graph(v, 0)
		case modelFunctions:
			return d.nodes(v, functionNode, 0)
		}
		return nil
	})
}

func (d *Description) opset(b []byte) error {
	domain, version := "", uint64(0)
	err := fields(b, func(num protowire.Number, v []byte, n uint64) error {
		switch num {
		case opsetDomain:
			domain = string(v)
		case opsetVersion:
			version = n
		}
		return nil
	})
	if domain == "" || domain == "ai.onnx" {
		d.Opset = int64(min(version, math.MaxInt64))
	}
	return err
}

var errDeep = errors.New("graphs are nested too deeply")

func (d *Description) graph(b []byte, depth int) error {
	if depth > maxDepth {
		return errDeep
	}
	return fields(b, func(num protowire.Number, v []byte, _ uint64) error {
		switch num {
		case graphInitializer:
			d.Initializers++
			return d.tensor(v)
		case graphSparseInitializer:
			d.Initializers++
			return d.sparse(v)
		case graphNode:
			return d.attributes(v, depth)
		}
		return nil
	})
}

// nodes reads the nodes of a function, which are under another number.
func (d *Description) nodes(b []byte, number protowire.Number, depth int) error {
	return fields(b, func(num protowire.Number, v []byte, _ uint64) error {
		if num == number {
			return d.attributes(v, depth)
		}
		return nil
	})
}

func (d *Description) attributes(node []byte, depth int) error {
	return fields(node, func(num protowire.Number, v []byte, _ uint64) error {
		if num != nodeAttribute {
			return nil
		}
		return fields(v, func(num protowire.Number, v []byte, _ uint64) error {
			switch num {
			case attributeTensor, attributeTensors:
				if v != nil {
					return d.tensor(v)
				}
			case attributeGraph, attributeGraphs:
				return d.graph(v, depth+1)
			case attributeSparse, attributeSparses:
				return d.sparse(v)
			}
			return nil
		})
	})
}

func (d *Description) sparse(b []byte) error {
	return fields(b, func(num protowire.Number, v []byte, _ uint64) error {
		if num == sparseValues || num == sparseIndices {
			return d.tensor(v)
		}
		return nil
	})
}

func (d *Description) tensor(b []byte) error {
	var e External
	external := false
	err := fields(b, func(num protowire.Number, v []byte, n uint64) error {
		switch num {
		case tensorDataLocation:
			external = n == 1
		case tensorExternal:
			return e.entry(v)
		}
		return nil
	})
	if err != nil || !external {
		return err
	}
	if e.Location == "" {
		return errors.New("a tensor's data is said to be in another file, which is not named")
	}
	if len(d.External) == maxExternal {
		return fmt.Errorf("more than %d tensors have their data in other files", maxExternal)
	}
	d.External = append(d.External, e)
	return nil
}

func (e *External) entry(b []byte) error {
	key, value := "", ""
	err := fields(b, func(num protowire.Number, v []byte, _ uint64) error {
		switch num {
		case entryKey:
			key = string(v)
		case entryValue:
			value = string(v)
		}
		return nil
	})
	if err != nil {
		return err
	}
	number := func(to *int64) error {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("the %s of data in another file is not a number of bytes", key)
		}
		*to = n
		return nil
	}
	switch key {
	case "location":
		e.Location = value
	case "offset":
		return number(&e.Offset)
	case "length":
		return number(&e.Length)
	}
	return nil
}
