package cborrpc

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"sync"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"github.com/slipway-ml/slipway/internal/wire/shape"
)

const (
	maxDepth    = 32      // of nested maps, arrays and tags, known or not
	maxElements = 500_000 // of all lists and maps: one takes 1 byte there and 16 here
)

// syntax decides what is CBOR at all, and of how deep it is nested.
var syntax = sync.OnceValue(func() cbor.DecMode {
	m, err := cbor.DecOptions{
		MaxNestedLevels: maxDepth, MaxArrayElements: maxElements, MaxMapPairs: maxElements,
	}.DecMode()
	if err != nil {
		panic("cborrpc: " + err.Error())
	}
	return m
})

// Decode reads one CBOR map into v, a pointer to a generated struct. Names are
// compared by case, unknown members are skipped, null and undefined mean absent,
// and a member that comes twice is an error. Tags that it does not know are
// looked through. Any error is a *shape.DecodeError. What it reads is bounded
// in depth and in the memory it takes per byte.
func Decode(data []byte, v shape.Value) error {
	if err := syntax().Wellformed(data); err != nil {
		return failed("The request body is not valid CBOR, or nested deeper than %d levels.", maxDepth)
	}
	d := decoder{data: data}
	if d.tags(); d.major() != majorMap {
		return failed("The request body must be a CBOR map.")
	}
	return d.structure(v.Shape(), reflect.ValueOf(v).Elem())
}

func failed(format string, args ...any) error {
	return &shape.DecodeError{Text: fmt.Sprintf(format, args...)}
}

// A decoder walks data that is well-formed, so that there is always an item
// where one must be, and as many bytes as its head says.
type decoder struct {
	data     []byte
	pos      int
	objects  int
	elements int
}

func (d *decoder) major() byte { return d.data[d.pos] & 0xe0 }

// head reads an item's head: its argument, or that its length is not given.
func (d *decoder) head() (arg uint64, indefinite bool) {
	info := d.data[d.pos] & 0x1f
	d.pos++
	rest := d.data[d.pos:]
	switch {
	case info < 24:
		return uint64(info), false
	case info == 24:
		d.pos++
		return uint64(rest[0]), false
	case info == 25:
		d.pos += 2
		return uint64(binary.BigEndian.Uint16(rest)), false
	case info == 26:
		d.pos += 4
		return uint64(binary.BigEndian.Uint32(rest)), false
	case info == 27:
		d.pos += 8
		return binary.BigEndian.Uint64(rest), false
	}
	return 0, true
}

// tags reads past the tags before an item. What is wanted says whether a
// number is a time.
func (d *decoder) tags() {
	for d.major() == majorTag {
		d.head()
	}
}

// each walks the n items of an array, the pairs of a map, or the chunks of a
// string, from its head.
func (d *decoder) each(item func() error) error {
	n, indefinite := d.head()
	for ; indefinite || n > 0; n-- {
		if indefinite && d.data[d.pos] == itemBreak {
			d.pos++
			return nil
		}
		if err := item(); err != nil {
			return err
		}
	}
	return nil
}

// skip reads past an item that nobody wants.
func (d *decoder) skip() {
	d.tags()
	one := func() error { d.skip(); return nil }
	switch d.major() {
	case majorBytes, majorText:
		d.string()
	case majorArray:
		_ = d.each(one) // skipping cannot fail
	case majorMap:
		_ = d.each(func() error { d.skip(); return one() }) // as above
	default:
		d.head()
	}
}

// string reads a text or byte string, whole or in chunks.
func (d *decoder) string() []byte {
	if d.data[d.pos]&0x1f != 31 {
		n, _ := d.head()
		d.pos += int(n)
		return d.data[d.pos-int(n) : d.pos]
	}
	var all []byte
	_ = d.each(func() error { all = append(all, d.string()...); return nil }) // chunks cannot fail
	return all
}

// absent reads past a null.
func (d *decoder) absent() bool {
	if b := d.data[d.pos]; b != itemNull && b != itemUndefined {
		return false
	}
	d.pos++
	return true
}

// value decodes the next item into v, a field, an element or a map's value.
func (d *decoder) value(s *shape.Shape, v reflect.Value) error {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	d.tags()
	switch major := d.major(); {
	case s.Kind == shape.Structure && major == majorMap:
		return d.structure(s, v)
	case s.Kind == shape.Map && major == majorMap:
		return d.mapping(s, v)
	case s.Kind == shape.List && major == majorArray:
		return d.list(s, v)
	}
	return d.scalar(s, v)
}

func (d *decoder) structure(s *shape.Shape, v reflect.Value) error {
	var seen shape.Seen
	return d.object(func(name []byte) error {
		for i := range s.Members {
			if s.Members[i].Name != string(name) {
				continue
			}
			if err := seen.Once(i, name); err != nil {
				return err
			}
			if d.absent() {
				v.Field(i).SetZero()
				return nil
			}
			return d.value(s.Members[i].Shape, v.Field(i))
		}
		d.skip()
		return nil
	})
}

func (d *decoder) mapping(s *shape.Shape, v reflect.Value) error {
	v.Set(reflect.MakeMap(v.Type()))
	return d.object(func(name []byte) error {
		if err := d.element(); err != nil {
			return err
		}
		if !utf8.Valid(name) {
			return errUTF8
		}
		key := reflect.New(v.Type().Key()).Elem()
		key.SetString(string(name))
		elem := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(s.Elem, elem); err != nil {
			return err
		}
		v.SetMapIndex(key, elem)
		return nil
	})
}

// object walks a map from its head; member must consume the value.
func (d *decoder) object(member func(name []byte) error) error {
	if d.objects++; d.objects > shape.MaxObjects {
		return failed("The request body has more than %d objects.", shape.MaxObjects)
	}
	return d.each(func() error {
		if d.tags(); d.major() != majorText {
			return failed("The name of a member must be a text string.")
		}
		return member(d.string())
	})
}

func (d *decoder) list(s *shape.Shape, v reflect.Value) error {
	v.Set(reflect.MakeSlice(v.Type(), 0, 0)) // present, even if empty
	return d.each(func() error {
		if err := d.element(); err != nil {
			return err
		}
		n := v.Len()
		v.Grow(1)
		v.SetLen(n + 1)
		return d.value(s.Elem, v.Index(n))
	})
}

// element counts an element of a list or map, which must not be null.
func (d *decoder) element() error {
	if d.elements++; d.elements > maxElements {
		return failed("The request body has more than %d list elements.", maxElements)
	}
	if d.absent() {
		return failed("Null value found where not expected")
	}
	return nil
}

var errUTF8 = failed("The request body is not valid UTF-8.")

// scalar decodes everything that is neither a list nor a map.
func (d *decoder) scalar(s *shape.Shape, v reflect.Value) error {
	switch first := d.data[d.pos]; first & 0xe0 {
	case majorText:
		if text := d.string(); !utf8.Valid(text) {
			return errUTF8
		} else if s.Kind == shape.String {
			v.SetString(string(text))
			return nil
		}
		return shape.Mismatch("STRING_VALUE", s.Kind)
	case majorBytes:
		if s.Kind != shape.Blob {
			return shape.Mismatch("BLOB_VALUE", s.Kind)
		}
		v.SetBytes(append([]byte{}, d.string()...))
		return nil
	case majorUint, majorNegative:
		return d.integer(s, v)
	case majorArray:
		return failed("Start of list found where not expected")
	case majorMap:
		return failed("Start of structure or map found where not expected.")
	default:
		return d.simple(s, v)
	}
}

// integer decodes a whole number, which may stand for one that need not be.
func (d *decoder) integer(s *shape.Shape, v reflect.Value) error {
	negative := d.major() == majorNegative
	n, _ := d.head()
	switch s.Kind {
	case shape.Integer, shape.Long:
		i := int64(n)
		if negative {
			i = -1 - i
		}
		if n > math.MaxInt64 || v.OverflowInt(i) {
			return shape.Mismatch("NUMBER_VALUE", s.Kind)
		}
		v.SetInt(i)
		return nil
	}
	f := float64(n)
	if negative {
		f = -1 - f
	}
	return setFloat(s, v, f, "NUMBER_VALUE")
}

// simple decodes true, false and the floats.
func (d *decoder) simple(s *shape.Shape, v reflect.Value) error {
	first := d.data[d.pos]
	arg, _ := d.head()
	switch first {
	case itemTrue, itemFalse:
		if s.Kind == shape.Boolean {
			v.SetBool(first == itemTrue)
			return nil
		}
		return shape.Mismatch(map[byte]string{itemTrue: "TRUE_VALUE", itemFalse: "FALSE_VALUE"}[first], s.Kind)
	case itemHalf:
		return setFloat(s, v, half(uint16(arg)), "DECIMAL_VALUE")
	case itemSingle:
		return setFloat(s, v, float64(math.Float32frombits(uint32(arg))), "DECIMAL_VALUE")
	case itemDouble:
		return setFloat(s, v, math.Float64frombits(arg), "DECIMAL_VALUE")
	case itemNull, itemUndefined: // in a tag
		return shape.Mismatch("NULL_VALUE", s.Kind)
	}
	return shape.Mismatch("SIMPLE_VALUE", s.Kind)
}

func setFloat(s *shape.Shape, v reflect.Value, f float64, found string) error {
	switch s.Kind {
	case shape.Float, shape.Double:
		if !v.OverflowFloat(f) { // infinity fits
			v.SetFloat(f)
			return nil
		}
	case shape.Timestamp:
		if at, ok := shape.Seconds(f); ok {
			v.Set(reflect.ValueOf(shape.Time{Time: at}))
			return nil
		}
	}
	return shape.Mismatch(found, s.Kind)
}

// half reads a float of 16 bits: a sign, five of exponent, ten of fraction.
func half(b uint16) float64 {
	fraction, exponent := float64(b&0x3ff), int(b>>10&0x1f)
	var f float64
	switch exponent {
	case 0:
		f = math.Ldexp(fraction, -24)
	case 31:
		f = math.Inf(1)
		if fraction != 0 {
			f = math.NaN()
		}
	default:
		f = math.Ldexp(fraction+1024, exponent-25)
	}
	if b&0x8000 != 0 {
		f = -f
	}
	return f
}
