package codec

import (
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// literal reads nested JSON arrays into the elements and the shape of an input.
type literal struct {
	spec  *tensor.Spec
	build *tensor.Builder
	dims  [tensor.MaxRank]int64 // -1 while unknown
	rank  int                   // -1 while unknown
}

func newLiteral(s *tensor.Spec, room int) *literal {
	l := &literal{spec: s, build: tensor.NewBuilder(s.Type, room), rank: -1}
	for i := range l.dims {
		l.dims[i] = -1
	}
	return l
}

// read adds the value at c, which lies inside depth arrays.
func (l *literal) read(c *cursor, depth int) error {
	if c.peek() != '[' {
		return l.element(c, depth)
	}
	if depth == tensor.MaxRank || l.rank >= 0 && depth >= l.rank {
		return l.ragged()
	}
	n := int64(0)
	for c.next(']') {
		if err := l.read(c, depth+1); err != nil {
			return err
		}
		n++
	}
	return l.closed(depth, n)
}

// closed notes that an array at depth held n elements.
func (l *literal) closed(depth int, n int64) error {
	if n == 0 && l.rank < 0 {
		l.rank = depth + 1 // what its elements would be, the graph has to say
	}
	if l.dims[depth] < 0 {
		l.dims[depth] = n
	} else if l.dims[depth] != n {
		return l.ragged()
	}
	return nil
}

func (l *literal) ragged() error {
	return fault.New(fault.Invalid,
		"input %q: expected shape %s, got nested arrays of unequal lengths or depths", l.spec.Name, l.spec.String())
}

func (l *literal) element(c *cursor, depth int) error {
	if l.rank < 0 {
		l.rank = depth
	} else if l.rank != depth {
		return l.ragged()
	}
	switch c.peek() {
	case '"':
		return l.text(c)
	case '{':
		return l.refuse([]byte("{"), l.kind())
	}
	text := c.scalar()
	if !l.admits(text) {
		return l.refuse(text, l.kind())
	}
	if err := l.build.AppendText(text); err != nil {
		return l.refuse(text, err)
	}
	return nil
}

// admits tells whether the input may hold this number, true, false or null.
func (l *literal) admits(text []byte) bool {
	switch {
	case l.build.Type() == tensor.String || text[0] == 'n':
		return false
	case text[0] == 't' || text[0] == 'f':
		return l.build.Type() == tensor.Bool
	}
	return true
}

func (l *literal) kind() error {
	switch l.build.Type() {
	case tensor.Bool:
		return tensor.ErrNotABool
	case tensor.String:
		return tensor.ErrNotText
	}
	return tensor.ErrNotANumber
}

// text takes a string: an element of a String input, or one of the three
// fractions that JSON has no number for.
func (l *literal) text(c *cursor) error {
	s := c.text()
	if l.build.Type() == tensor.String {
		return l.build.AppendString(s)
	}
	if l.build.Type().Float() {
		switch s {
		case "NaN", "Infinity", "-Infinity":
			return l.build.AppendText([]byte(s))
		}
	}
	return l.refuse([]byte(s), l.kind())
}

func (l *literal) refuse(text []byte, why error) error {
	return fault.New(fault.Invalid, "input %q: expected shape %s, but element %d, %q, %s",
		l.spec.Name, l.spec.String(), l.build.Len(), text[:min(len(text), 40)], why.Error())
}

// tensor returns what was read. A trailing dimension of 1 that the graph has
// and the caller left out is added: people write a column as [1, 2, 3].
func (l *literal) tensor() tensor.Tensor {
	shape := make([]int64, max(l.rank, 0), tensor.MaxRank)
	copy(shape, l.dims[:])
	if s := l.spec; len(shape) > 0 && shape[len(shape)-1] == 0 && s.Ranked {
		for _, d := range s.Shape[min(len(shape), len(s.Shape)):] {
			shape = append(shape, max(d.Size, 0))
		}
	} else if s.Ranked && len(s.Shape) == len(shape)+1 && s.Shape[len(shape)].Size == 1 && len(shape) > 0 {
		shape = append(shape, 1)
	}
	return l.build.Tensor(l.spec.Name, shape)
}
