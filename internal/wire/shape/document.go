package shape

import (
	"errors"
	"reflect"
)

// A Document is a part of a document that its receiver reads by itself, one
// JSON value as it was sent. nil is an absent one.
type Document []byte

// IsList reports whether the document is a list.
func (d Document) IsList() bool { return len(d) > 0 && d[0] == '[' }

// Elements yields the elements of a document that is a list, each a document
// of its own that shares its memory. What is no list has none.
func (d Document) Elements(yield func(Document) bool) {
	if !d.IsList() {
		return
	}
	in := decoder{data: d}
	_ = in.array(func() error { // it was read once and found to be well-formed
		e, err := in.raw()
		if err == nil && !yield(e) {
			err = errEnough
		}
		return err
	})
}

var errEnough = errors.New("enough")

// raw returns the value that comes next as it is written.
func (d *decoder) raw() (Document, error) {
	d.peek()
	from := d.pos
	if err := d.skip(); err != nil {
		return nil, err
	}
	return Document(d.data[from:d.pos:d.pos]), nil
}

// document keeps a copy of the value that comes next.
func (d *decoder) document(v reflect.Value) error {
	raw, err := d.raw()
	if err == nil {
		v.SetBytes(append([]byte{}, raw...))
	}
	return err
}
