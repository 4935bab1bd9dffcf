package codec

import (
	"encoding/json"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// decodeJSON reads {"instances": [...]}, {"inputs": ...} by name or as one
// array, an Open Inference Protocol body, or a bare array of instances.
func decodeJSON(body []byte, g *tensor.Signature) (Request, error) {
	if !json.Valid(body) {
		return Request{}, fault.New(fault.Invalid, "the body is not valid JSON")
	}
	c := &cursor{b: body}
	if c.peek() == '[' {
		return instances(c, g)
	}
	if c.peek() != '{' {
		return Request{}, errTopLevel
	}
	var rows, inputs []byte
	err := c.members(func(key string) error {
		switch key {
		case "instances":
			return once(&rows, c, key)
		case "inputs":
			return once(&inputs, c, key)
		}
		c.skip()
		return nil
	})
	switch {
	case err != nil:
		return Request{}, err
	case rows != nil && inputs != nil:
		return Request{}, fault.New(fault.Invalid, `the body has both "instances" and "inputs"; send one of them`)
	case rows != nil:
		return instances(&cursor{b: rows}, g)
	case inputs == nil:
		return Request{}, errTopLevel
	}
	if isOIP(inputs) {
		return decodeOIP(body, nil, g)
	}
	return columns(&cursor{b: inputs}, g)
}

var errTopLevel = fault.New(fault.Invalid,
	`the body must be {"instances": [...]}, {"inputs": {...}} or an Open Inference Protocol request`)

func once(span *[]byte, c *cursor, key string) error {
	if *span != nil {
		return fault.New(fault.Invalid, "%q comes twice", key)
	}
	*span = c.skip()
	return nil
}

// isOIP tells {"inputs": [{"name": ..., ...}]} from a plain array.
func isOIP(inputs []byte) bool {
	c := &cursor{b: inputs}
	return c.peek() == '[' && c.next(']') && c.peek() == '{'
}

// room guesses how many elements a span of JSON holds, to allocate once.
func room(span []byte, inputs int) int { return len(span)/(3*inputs) + 8 }

// instances reads one value, or one object of values by name, for each row.
func instances(c *cursor, g *tensor.Signature) (Request, error) {
	if c.peek() != '[' {
		return Request{}, fault.New(fault.Invalid, `"instances" must be an array with one element for each row`)
	}
	lits := make([]*literal, len(g.Inputs))
	for i := range lits {
		lits[i] = newLiteral(&g.Inputs[i], room(c.b, len(lits)))
	}
	n := int64(0)
	err := c.each(func() error {
		defer func() { n++ }()
		if c.peek() == '{' {
			return instance(c, g, lits, n)
		}
		if len(lits) != 1 {
			return fault.New(fault.Invalid, "instance %d must be an object with the %d inputs by name", n, len(lits))
		}
		return lits[0].read(c, 1)
	})
	if err != nil {
		return Request{}, err
	}
	r := Request{Form: Instances, Inputs: make([]tensor.Tensor, len(lits))}
	for i, l := range lits {
		if err := l.closed(0, n); err != nil {
			return r, err
		}
		r.Inputs[i] = l.tensor()
	}
	return r, nil
}

// instance reads row n, which names its inputs.
func instance(c *cursor, g *tensor.Signature, lits []*literal, n int64) error {
	var before [8]int
	lens := before[:0]
	for _, l := range lits {
		lens = append(lens, l.build.Len())
	}
	err := c.members(func(key string) error {
		_, i, err := g.Input(key)
		if err != nil {
			return err
		}
		if lits[i].build.Len() != lens[i] {
			return fault.New(fault.Invalid, "instance %d has the input %q twice", n, key)
		}
		return lits[i].read(c, 1)
	})
	if err != nil {
		return err
	}
	for i, l := range lits {
		if l.build.Len() == lens[i] {
			return fault.New(fault.Invalid,
				"instance %d lacks the input %q: expected shape %s", n, l.spec.Name, l.spec.String())
		}
	}
	return nil
}

// columns reads whole inputs by name, or the single input as an array.
func columns(c *cursor, g *tensor.Signature) (Request, error) {
	r := Request{Form: Columns, Inputs: make([]tensor.Tensor, len(g.Inputs))}
	if c.peek() != '{' {
		s, err := g.Only("an array")
		if err != nil {
			return r, err
		}
		l := newLiteral(s, room(c.b, 1))
		if err := l.read(c, 0); err != nil {
			return r, err
		}
		r.Inputs[0] = l.tensor()
		return r, nil
	}
	err := c.members(func(key string) error {
		s, i, err := g.Input(key)
		if err != nil {
			return err
		}
		if r.Inputs[i].Type != tensor.Invalid {
			return fault.New(fault.Invalid, "the input %q comes twice", key)
		}
		l := newLiteral(s, room(c.b, len(g.Inputs)))
		if err := l.read(c, 0); err != nil {
			return err
		}
		r.Inputs[i] = l.tensor()
		return nil
	})
	return r, err
}
