package codec

import (
	"strconv"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// maxTensors bounds a list of tensors that no signature bounds.
const maxTensors = 1024

// AppendOIPHead appends the JSON of an Open Inference Protocol request that
// asks for all outputs. If binary is true the tensors are to follow it, in
// order, as AppendOIPData writes them, and the answer's are to be binary too.
func AppendOIPHead(dst []byte, in []tensor.Tensor, binary bool) []byte {
	dst = append(dst, `{"inputs":`...)
	dst = appendList(dst, in, binary)
	if binary {
		dst = append(dst, `,"parameters":{"binary_data_output":true}`...)
	}
	return append(dst, '}')
}

// AppendOIPData appends the elements of t as the binary tensor data extension
// has them: as they lie in memory, or strings each after its length.
func AppendOIPData(dst []byte, t *tensor.Tensor) []byte { return appendBinary(dst, t) }

// AppendOIPTensors appends a JSON array of tensors, name, datatype, shape and
// data each.
func AppendOIPTensors(dst []byte, list []tensor.Tensor) []byte { return appendList(dst, list, false) }

func appendList(dst []byte, list []tensor.Tensor, binary bool) []byte {
	dst = append(dst, '[')
	for i := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		t := &list[i]
		dst = appendTensorHead(dst, t)
		if binary {
			dst = strconv.AppendInt(append(dst, `],"parameters":{"binary_data_size":`...), int64(binarySize(t)), 10)
			dst = append(dst, "}}"...)
			continue
		}
		dst = append(dst, `],"data":`...)
		dst = append(appendFlat(dst, t), '}')
	}
	return append(dst, ']')
}

// appendTensorHead appends what comes before a tensor's data, up to and without
// the bracket that ends its shape.
func appendTensorHead(dst []byte, t *tensor.Tensor) []byte {
	dst = appendString(append(dst, `{"name":`...), t.Name)
	dst = append(append(append(dst, `,"datatype":"`...), t.Type.OIP()...), `","shape":[`...)
	for i, d := range t.Shape {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, d, 10)
	}
	return dst
}

func binarySize(t *tensor.Tensor) int {
	if t.Type != tensor.String {
		return len(t.Data)
	}
	n := 0
	for _, s := range t.Strings {
		n += 4 + len(s)
	}
	return n
}

// DecodeOIPAnswer reads an Open Inference Protocol response whose JSON is the
// first jsonSize bytes of body. The tensors share memory with body.
func DecodeOIPAnswer(body []byte, jsonSize int) ([]tensor.Tensor, error) {
	if jsonSize < 0 || jsonSize > len(body) {
		return nil, fault.New(fault.Invalid,
			"the JSON part is said to have %d bytes; the answer has %d", jsonSize, len(body))
	}
	head, tail := body[:jsonSize], body[jsonSize:]
	if err := checkJSON(head, "the answer"); err != nil {
		return nil, err
	}
	var outs []tensor.Tensor
	found := false
	c := &cursor{b: head}
	err := c.members(func(key string) error {
		if key != "outputs" {
			c.skip()
			return nil
		}
		if found {
			return fault.New(fault.Invalid, `"outputs" comes twice`)
		}
		found = true
		var err error
		outs, err = readTensors(c, &tail)
		return err
	})
	if err == nil && !found {
		err = fault.New(fault.Invalid, `the answer has no "outputs"`)
	}
	return outs, err
}

// DecodeOIPTensors reads a JSON array of tensors as AppendOIPTensors writes it.
func DecodeOIPTensors(list []byte) ([]tensor.Tensor, error) {
	if err := checkJSON(list, "the list of tensors"); err != nil {
		return nil, err
	}
	return readTensors(&cursor{b: list}, new([]byte))
}

func readTensors(c *cursor, tail *[]byte) ([]tensor.Tensor, error) {
	var list []tensor.Tensor
	err := c.each(func() error {
		if len(list) == maxTensors {
			return fault.New(fault.Invalid, "there are more than %d tensors", maxTensors)
		}
		t, err := readOIPTensor(c)
		if err != nil {
			return err
		}
		out, err := t.freely(tail)
		if err != nil {
			return err
		}
		list = append(list, out)
		return nil
	})
	return list, err
}

// freely reads a tensor that no specification describes.
func (t *oipTensor) freely(tail *[]byte) (tensor.Tensor, error) {
	s := &tensor.Spec{Name: t.name, Type: tensor.FromOIP(t.datatype)}
	if s.Type == tensor.Invalid {
		return tensor.Tensor{}, fault.New(fault.Invalid, "tensor %q has the unknown datatype %.20q", t.name, t.datatype)
	}
	n, ok := tensor.Elements(t.shape, 1<<40)
	if !ok || t.shape == nil {
		return tensor.Tensor{}, fault.New(fault.Invalid, "tensor %q has no shape that can be", t.name)
	}
	out := tensor.Tensor{Name: t.name, Type: s.Type, Shape: t.shape}
	var err error
	switch {
	case t.binarySize >= 0 && t.binarySize <= len(*tail) && s.Type.Size() > 0 && t.binarySize%s.Type.Size() == 0 &&
		t.data == nil:
		out.Data, *tail = (*tail)[:t.binarySize:t.binarySize], (*tail)[t.binarySize:]
		normalizeBools(out.Type, out.Data)
	default:
		out, err = t.read(s, tail)
	}
	if err != nil {
		return out, err
	}
	if len(out.Data) == 0 {
		out.Data = nil
	}
	if int64(out.Len()) != n {
		return out, fault.New(fault.Invalid,
			"tensor %q: its shape %s does not agree with its %d elements", t.name,
			tensor.ShapeString(t.shape), out.Len())
	}
	return out, nil
}
