package codec

import "github.com/slipway-ml/slipway/internal/domain/tensor"

// Reader walks a JSON document of any shape, value by value. Whoever is called
// with a value has to pass it: by Each, Members, Text, Scalar or Skip.
type Reader struct{ c cursor }

// ReadJSON returns a Reader at the document's value, or a fault.Invalid if body
// is not JSON in UTF-8. It keeps body.
func ReadJSON(body []byte) (*Reader, error) {
	if err := checkJSON(body, "the document"); err != nil {
		return nil, err
	}
	return &Reader{c: cursor{b: body}}, nil
}

// Peek returns the first byte of the value: '{', '[', '"', or that of a number,
// true, false or null.
func (r *Reader) Peek() byte { return r.c.peek() }

// Each calls f at every element of the array that starts here.
func (r *Reader) Each(f func() error) error { return r.c.each(f) }

// Members calls f at the value of every member of the object that starts here. A
// name that comes twice is passed twice.
func (r *Reader) Members(f func(name string) error) error { return r.c.members(f) }

// Text returns the string that starts here.
func (r *Reader) Text() string { return r.c.text() }

// Scalar returns the bytes of the number, true, false or null that starts here.
func (r *Reader) Scalar() []byte {
	r.c.space()
	return r.c.scalar()
}

// Skip passes the value that starts here, whatever it is, and returns its bytes.
func (r *Reader) Skip() []byte { return r.c.skip() }

// DecodeArray reads one array, as numpy.save writes it, of whatever type and
// shape it says it has. Its memory is its own.
func DecodeArray(body []byte) (tensor.Tensor, error) {
	a, err := parseNPY(body)
	if err != nil {
		return tensor.Tensor{}, err
	}
	if len(a.descr) < 3 {
		return tensor.Tensor{}, badNPY("its element type is unknown")
	}
	s := tensor.Spec{Name: "array", Type: tensor.String}
	if kind := a.descr[1]; kind != 'U' && kind != 'S' {
		size, ok := parseSize(a.descr[2:])
		if s.Type = npyType(kind, size); !ok || s.Type == tensor.Invalid {
			return tensor.Tensor{}, badNPY("its element type is unknown")
		}
	}
	return a.tensor(&s)
}
