package tensor

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"unsafe"
)

// Builder collects the elements of one tensor from their text.
type Builder struct {
	typ     Type
	data    []byte
	strings []string
}

// NewBuilder returns a Builder for elements of type t that has room for about
// n of them.
func NewBuilder(t Type, n int) *Builder {
	b := &Builder{typ: t}
	if t == String {
		b.strings = make([]string, 0, n)
	} else {
		b.data = make([]byte, 0, n*t.Size())
	}
	return b
}

// Type returns the element type.
func (b *Builder) Type() Type { return b.typ }

// Len returns the number of elements so far.
func (b *Builder) Len() int {
	if b.typ == String {
		return len(b.strings)
	}
	return len(b.data) / b.typ.Size()
}

// Tensor returns the elements under a name and a shape.
func (b *Builder) Tensor(name string, shape []int64) Tensor {
	return Tensor{Name: name, Type: b.typ, Shape: shape, Data: b.data, Strings: b.strings}
}

// What a text can be refused for; the caller says where it stood.
var (
	ErrNotANumber = errors.New("is not a number")
	ErrNotWhole   = errors.New("is not a whole number")
	ErrRange      = errors.New("is out of range")
	ErrNotABool   = errors.New("is not true, false, 0 or 1")
	ErrNotText    = errors.New("is not a string")
)

// AppendString adds a string element.
func (b *Builder) AppendString(s string) error {
	if b.typ != String {
		return ErrNotANumber
	}
	b.strings = append(b.strings, s)
	return nil
}

// AppendText adds the element that text denotes: a number, a truth value or,
// for String, the text itself. Fractions may be NaN or infinite.
func (b *Builder) AppendText(text []byte) error {
	switch b.typ {
	case String:
		b.strings = append(b.strings, string(text))
		return nil
	case Bool:
		return b.appendBool(text)
	case Float16, Float32, Float64:
		return b.appendFloatText(text)
	}
	return b.appendIntText(text)
}

func (b *Builder) appendBool(text []byte) error {
	switch string(text) {
	case "true", "True", "TRUE", "1":
		b.data = append(b.data, 1)
	case "false", "False", "FALSE", "0":
		b.data = append(b.data, 0)
	default:
		return ErrNotABool
	}
	return nil
}

func (b *Builder) appendFloatText(text []byte) error {
	// Pixels, counts and codes are short whole numbers: no need to parse those
	// as fractions.
	if n, ok := shortInt(text); ok && b.typ != Float16 {
		b.AppendFloat(float64(n))
		return nil
	}
	bits := 64
	if b.typ != Float64 {
		bits = 32
	}
	f, err := strconv.ParseFloat(view(text), bits)
	if errors.Is(err, strconv.ErrRange) {
		return ErrRange
	}
	if err != nil {
		return ErrNotANumber
	}
	if b.typ == Float16 && !math.IsInf(f, 0) && math.IsInf(float64(HalfToFloat(FloatToHalf(float32(f)))), 0) {
		return ErrRange
	}
	b.AppendFloat(f)
	return nil
}

func shortInt(text []byte) (int32, bool) {
	if len(text) == 0 || len(text) > 6 {
		return 0, false
	}
	n := int32(0)
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int32(c-'0')
	}
	return n, true
}

// AppendFloat adds f to a tensor of fractions, rounding it to the type.
func (b *Builder) AppendFloat(f float64) {
	switch b.typ {
	case Float16:
		b.data = binary.LittleEndian.AppendUint16(b.data, FloatToHalf(float32(f)))
	case Float32:
		b.data = binary.LittleEndian.AppendUint32(b.data, math.Float32bits(float32(f)))
	default:
		b.data = binary.LittleEndian.AppendUint64(b.data, math.Float64bits(f))
	}
}

// intRange has the least and the greatest value of the signed types and of the
// unsigned ones below 64 bits.
var intRange = [...]struct{ least, most int64 }{
	Int8: {math.MinInt8, math.MaxInt8}, Int16: {math.MinInt16, math.MaxInt16},
	Int32: {math.MinInt32, math.MaxInt32}, Int64: {math.MinInt64, math.MaxInt64},
	Uint8: {0, math.MaxUint8}, Uint16: {0, math.MaxUint16}, Uint32: {0, math.MaxUint32},
}

func (b *Builder) appendIntText(text []byte) error {
	if b.typ == Uint64 {
		u, err := strconv.ParseUint(view(text), 10, 64)
		if err == nil {
			b.data = binary.LittleEndian.AppendUint64(b.data, u)
			return nil
		}
		if errors.Is(err, strconv.ErrRange) {
			return ErrRange
		}
	}
	i, err := strconv.ParseInt(view(text), 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return ErrRange
	}
	if err == nil {
		return b.AppendInt(i)
	}
	// "3.0" and "3e2" are whole numbers too, as far as a float64 is exact.
	f, err := strconv.ParseFloat(view(text), 64)
	switch {
	case err != nil || math.IsNaN(f):
		return ErrNotANumber
	case f != math.Trunc(f):
		return ErrNotWhole
	case math.Abs(f) > 1<<53:
		return ErrRange
	}
	return b.AppendInt(int64(f))
}

// AppendInt adds i to a tensor of whole numbers; ErrRange if it does not fit.
func (b *Builder) AppendInt(i int64) error {
	if b.typ == Uint64 {
		if i < 0 {
			return ErrRange
		}
	} else if r := intRange[b.typ]; i < r.least || i > r.most {
		return ErrRange
	}
	switch b.typ.Size() {
	case 1:
		b.data = append(b.data, byte(i))
	case 2:
		b.data = binary.LittleEndian.AppendUint16(b.data, uint16(i))
	case 4:
		b.data = binary.LittleEndian.AppendUint32(b.data, uint32(i))
	default:
		b.data = binary.LittleEndian.AppendUint64(b.data, uint64(i))
	}
	return nil
}

// view reads bytes as a string without copying: strconv keeps its argument
// only in errors, which are dropped here.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
