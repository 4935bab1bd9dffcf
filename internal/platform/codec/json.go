package codec

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// decodeJSON reads {"instances": [...]}, {"inputs": ...} by name or as one
// array, an Open Inference Protocol body, or a bare array of instances.
func decodeJSON(body []byte, g *tensor.Signature) (Request, error) {
	if err := checkJSON(body, "the body"); err != nil {
		return Request{}, err
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

// decodeLines reads JSON Lines: an instance in each line.
func decodeLines(body []byte, g *tensor.Signature) (Request, error) {
	array := make([]byte, 0, len(body)+2)
	array = append(array, '[')
	n := 0
	for line := range bytes.Lines(body) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if err := checkJSON(line, "line "+strconv.Itoa(n)); err != nil {
			return Request{}, err
		}
		if len(array) > 1 {
			array = append(array, ',')
		}
		array = append(array, line...)
	}
	r, err := instances(&cursor{b: append(array, ']')}, g)
	r.Form = Lines
	return r, err
}

// checkJSON refuses what is not JSON, or has text that is not Unicode: reading it
// would replace it silently.
func checkJSON(b []byte, what string) error {
	switch {
	case !json.Valid(b):
		return fault.New(fault.Invalid, "%s is not valid JSON", what)
	case !utf8.Valid(b):
		return fault.New(fault.Invalid, "%s is not UTF-8, which JSON is", what)
	case halfPair(b):
		return fault.New(fault.Invalid, "%s has half of a surrogate pair (\\ud800 to \\udfff) alone", what)
	}
	return nil
}

// halfPair tells whether valid JSON escapes one half of a surrogate pair alone.
func halfPair(b []byte) bool {
	high := false
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 || i+1 >= len(b) {
			return high
		}
		if high && i > 0 {
			return true
		}
		if b[i+1] != 'u' || len(b) < i+6 {
			if high {
				return true
			}
			b = b[i+2:]
			continue
		}
		u, _ := strconv.ParseUint(string(b[i+2:i+6]), 16, 16) // valid JSON has four digits there
		low := u >= 0xdc00 && u <= 0xdfff
		if low != high {
			return true
		}
		high = u >= 0xd800 && u < 0xdc00
		b = b[i+6:]
	}
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
	if n == 0 {
		return Request{}, fault.New(fault.Invalid, "input %q: expected shape %s, got an empty array",
			g.Inputs[0].Name, g.Inputs[0].String())
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
	var few [8]bool
	seen := few[:]
	if len(lits) > len(seen) {
		seen = make([]bool, len(lits))
	}
	err := c.members(func(key string) error {
		_, i, err := g.Input(key)
		if err != nil {
			return err
		}
		if seen[i] {
			return fault.New(fault.Invalid, "instance %d has the input %q twice", n, key)
		}
		seen[i] = true
		return lits[i].read(c, 1)
	})
	if err != nil {
		return err
	}
	for i, l := range lits {
		if !seen[i] {
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
