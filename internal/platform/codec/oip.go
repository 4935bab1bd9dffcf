package codec

import (
	"encoding/binary"
	"strconv"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// DecodeOIP reads an Open Inference Protocol request whose JSON is the first
// jsonSize bytes of body; the tensors that say binary_data_size follow it.
func DecodeOIP(body []byte, jsonSize int, g *tensor.Signature) (Request, error) {
	if jsonSize < 0 || jsonSize > len(body) {
		return Request{}, fault.New(fault.Invalid,
			"the JSON part is said to have %d bytes; the body has %d", jsonSize, len(body))
	}
	r, err := decodeOIP(body[:jsonSize], body[jsonSize:], g)
	if err != nil {
		return r, err
	}
	return r, g.Check(r.Inputs)
}

// oipTensor is one member of "inputs" before its data is read.
type oipTensor struct {
	name, datatype string
	shape          []int64
	data           []byte // the span of its JSON
	binarySize     int    // -1 if the data is JSON
}

func decodeOIP(head, tail []byte, g *tensor.Signature) (Request, error) {
	r := Request{Form: OIP, Inputs: make([]tensor.Tensor, len(g.Inputs))}
	if err := checkJSON(head, "the body"); err != nil {
		return r, err
	}
	c := &cursor{b: head}
	if c.peek() != '{' {
		return r, errTopLevel
	}
	found := false
	err := c.members(func(key string) error {
		switch key {
		case "id":
			r.ID = clipText(c)
			return nil
		case "parameters":
			return c.parameters(func(key string, value []byte) error {
				r.Binary = r.Binary || key == "binary_data_output" && string(value) == "true"
				return nil
			})
		case "outputs":
			return r.readWants(c, g)
		case "inputs":
			if found {
				return fault.New(fault.Invalid, `"inputs" comes twice`)
			}
			found = true
			return r.readInputs(c, &tail, g)
		}
		c.skip()
		return nil
	})
	if err == nil && !found {
		err = errTopLevel
	}
	if err == nil && len(tail) > 0 {
		err = fault.New(fault.Invalid, "%d bytes follow the binary tensors that the request announced", len(tail))
	}
	return r, err
}

// clipText reads a string of bounded length; anything else reads as "".
func clipText(c *cursor) string {
	if c.peek() != '"' {
		c.skip()
		return ""
	}
	s := c.text()
	return s[:min(len(s), 256)]
}

// parameters calls f for each scalar member of the "parameters" object at c.
func (c *cursor) parameters(f func(key string, value []byte) error) error {
	if c.peek() != '{' {
		return fault.New(fault.Invalid, `"parameters" must be an object`)
	}
	return c.members(func(key string) error { return f(key, c.skip()) })
}

func (r *Request) readWants(c *cursor, g *tensor.Signature) error {
	return c.each(func() error {
		if len(r.Want) >= len(g.Outputs) {
			return fault.New(fault.Invalid,
				"more outputs are asked for than the %d that the model gives", len(g.Outputs))
		}
		w, name := Want{Binary: r.Binary}, ""
		err := c.members(func(key string) error {
			switch key {
			case "name":
				name = clipText(c)
				return nil
			case "parameters":
				return c.parameters(func(key string, value []byte) error {
					if key == "binary_data" {
						w.Binary = string(value) == "true"
					}
					return nil
				})
			}
			c.skip()
			return nil
		})
		if err != nil {
			return err
		}
		w.Output, err = g.Output(name)
		r.Want = append(r.Want, w)
		return err
	})
}

func (r *Request) readInputs(c *cursor, tail *[]byte, g *tensor.Signature) error {
	return c.each(func() error {
		t, err := readOIPTensor(c)
		if err != nil {
			return err
		}
		s, i, err := g.Input(t.name)
		if err != nil {
			return err
		}
		if r.Inputs[i].Type != tensor.Invalid {
			return fault.New(fault.Invalid, "the input %q comes twice", t.name)
		}
		if typ := tensor.FromOIP(t.datatype); typ != s.Type {
			return fault.New(fault.Invalid, "input %q: expected shape %s (datatype %s), got datatype %.20q", s.Name,
				s.String(), s.Type.OIP(), t.datatype)
		}
		r.Inputs[i], err = t.read(s, tail)
		return err
	})
}

func readOIPTensor(c *cursor) (oipTensor, error) {
	t := oipTensor{binarySize: -1}
	err := c.members(func(key string) error {
		switch key {
		case "name":
			t.name = clipText(c)
		case "datatype":
			t.datatype = clipText(c)
		case "shape":
			return t.readShape(c)
		case "data":
			return once(&t.data, c, "data")
		case "parameters":
			return c.parameters(func(key string, value []byte) error {
				if key != "binary_data_size" {
					return nil
				}
				n, ok := parseSize(string(value))
				if !ok {
					return fault.New(fault.Invalid, "binary_data_size must be a whole number of bytes")
				}
				t.binarySize = n
				return nil
			})
		default:
			c.skip()
		}
		return nil
	})
	return t, err
}

func (t *oipTensor) readShape(c *cursor) error {
	if t.shape != nil {
		return fault.New(fault.Invalid, `"shape" comes twice`)
	}
	t.shape = make([]int64, 0, 4)
	return c.each(func() error {
		if len(t.shape) == tensor.MaxRank {
			return fault.New(fault.Invalid, `"shape" has more than %d dimensions`, tensor.MaxRank)
		}
		n, err := strconv.ParseInt(string(c.skip()), 10, 64)
		if err != nil || n < 0 {
			return fault.New(fault.Invalid, `"shape" must hold whole numbers of 0 or more`)
		}
		t.shape = append(t.shape, n)
		return nil
	})
}

// read takes the elements from the JSON, flat or nested, or from the front of
// tail.
func (t *oipTensor) read(s *tensor.Spec, tail *[]byte) (tensor.Tensor, error) {
	if t.shape == nil {
		return tensor.Tensor{}, fault.New(fault.Invalid,
			"input %q lacks its shape: expected shape %s", s.Name, s.String())
	}
	if t.binarySize >= 0 {
		if t.data != nil {
			return tensor.Tensor{}, fault.New(fault.Invalid, "input %q has both data and binary_data_size", s.Name)
		}
		if t.binarySize > len(*tail) {
			return tensor.Tensor{},
				fault.New(fault.Invalid,
					"input %q announces %d bytes of binary data; %d are left", s.Name, t.binarySize, len(*tail))
		}
		raw := (*tail)[:t.binarySize]
		*tail = (*tail)[t.binarySize:]
		return t.readBinary(s, raw)
	}
	if t.data == nil {
		return tensor.Tensor{}, fault.New(fault.Invalid, "input %q lacks its data", s.Name)
	}
	l := newLiteral(s, room(t.data, 1))
	c := &cursor{b: t.data}
	if err := l.read(c, 0); err != nil {
		return tensor.Tensor{}, err
	}
	if l.rank != 1 && !sameShape(l.dims[:max(l.rank, 0)], t.shape) {
		return tensor.Tensor{}, fault.New(fault.Invalid,
			"input %q: the nested data has shape %s, but its shape says %s",
			s.Name, tensor.ShapeString(l.dims[:max(l.rank, 0)]), tensor.ShapeString(t.shape))
	}
	return l.build.Tensor(s.Name, t.shape), nil
}

func sameShape(a, b []int64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func (t *oipTensor) readBinary(s *tensor.Spec, raw []byte) (tensor.Tensor, error) {
	out := tensor.Tensor{Name: s.Name, Type: s.Type, Shape: t.shape}
	if s.Type != tensor.String {
		if len(raw)%s.Type.Size() != 0 {
			return out, fault.New(fault.Invalid,
				"input %q: expected shape %s, got %d bytes, not a whole number of elements",
				s.Name, s.String(), len(raw))
		}
		out.Data = append([]byte(nil), raw...) // aligned, and free of the body's buffer
		normalizeBools(out.Type, out.Data)
		return out, nil
	}
	for len(raw) > 0 {
		if len(raw) < 4 || uint64(binary.LittleEndian.Uint32(raw)) > uint64(len(raw)-4) {
			return out, fault.New(fault.Invalid, "input %q: string %d is cut off", s.Name, len(out.Strings))
		}
		n := binary.LittleEndian.Uint32(raw)
		out.Strings = append(out.Strings, string(raw[4:4+n]))
		raw = raw[4+n:]
	}
	return out, nil
}

// normalizeBools makes every true the same byte: a model may compare or index
// with it.
func normalizeBools(t tensor.Type, data []byte) {
	if t != tensor.Bool {
		return
	}
	for i, b := range data {
		if b != 0 {
			data[i] = 1
		}
	}
}
