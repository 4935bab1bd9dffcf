package tensor

import (
	"math"
	"strconv"
)

// MaxRank is the largest number of dimensions that is accepted.
const MaxRank = 16

// Tensor is one named array. Its elements lie in row-major order, in Data
// (little-endian, Type.Size bytes each) or, for String, in Strings.
type Tensor struct {
	Name    string
	Type    Type
	Shape   []int64
	Data    []byte
	Strings []string
	// Keys are the labels along the last dimension, when a model gave a list
	// of maps (what tree classifiers do with their probabilities); else nil.
	Keys []string
}

// Len returns the number of elements that the tensor holds.
func (t *Tensor) Len() int {
	if t.Type == String {
		return len(t.Strings)
	}
	return len(t.Data) / t.Type.Size()
}

// maxHollow bounds the sizes of tensors without elements.
const maxHollow = 1 << 16

// Hollow tells whether the tensor has no elements and yet large dimensions,
// which would take time and room to write as arrays of nothing.
func (t *Tensor) Hollow() bool {
	if t.Len() > 0 {
		return false
	}
	n := int64(1)
	for _, d := range t.Shape {
		if d > 1 {
			if n > maxHollow/d {
				return true
			}
			n *= d
		}
	}
	return false
}

// Rows returns the first dimension and the number of elements in each row; ok
// is false when the tensor has no dimension to take rows from.
func (t *Tensor) Rows() (rows, width int, ok bool) {
	if len(t.Shape) == 0 {
		return 0, 0, false
	}
	rows = int(t.Shape[0])
	if rows == 0 {
		return 0, 0, true
	}
	return rows, t.Len() / rows, true
}

// Elements returns the product of the dimensions. ok is false when one is
// negative, there are more than MaxRank, or the product exceeds limit (or would
// without a dimension of 0).
func Elements(shape []int64, limit int64) (n int64, ok bool) {
	if len(shape) > MaxRank {
		return 0, false
	}
	zero := false
	n = 1
	for _, d := range shape {
		switch {
		case d < 0:
			return 0, false
		case d == 0:
			zero = true
		case n > limit/d:
			return 0, false
		default:
			n *= d
		}
	}
	if zero {
		return 0, true
	}
	return n, true
}

// ShapeString prints a shape as people write it: [2, 64].
func ShapeString(shape []int64) string {
	b := []byte{'['}
	for i, d := range shape {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = strconv.AppendInt(b, d, 10)
	}
	return string(append(b, ']'))
}

// HalfToFloat widens an IEEE 754 half-precision number, exactly.
func HalfToFloat(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10)&0x1f, uint32(h)&0x3ff
	switch {
	case exp == 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	case exp == 0 && frac == 0:
		return math.Float32frombits(sign)
	case exp == 0: // subnormal: a multiple of 2^-24
		f := float32(frac) / (1 << 24)
		return math.Float32frombits(sign | math.Float32bits(f))
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// FloatToHalf narrows to half precision, rounding to the nearest, ties to even;
// what is too large becomes an infinity.
func FloatToHalf(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits >> 16 & 0x8000)
	exp, frac := int32(bits>>23&0xff), bits&0x7fffff
	switch {
	case exp == 0xff && frac != 0:
		return sign | 0x7e00
	case exp >= 143: // 2^16 and above, infinities included
		return sign | 0x7c00
	case exp >= 113: // normal in half precision; a carry runs into the exponent rightly
		return sign | uint16(roundShift(uint32(exp-112)<<23|frac, 13))
	case exp >= 102: // subnormal in half precision
		return sign | uint16(roundShift(frac|0x800000, uint32(126-exp)))
	}
	return sign
}

func roundShift(v, by uint32) uint32 {
	half, rest := uint32(1)<<(by-1), v&(1<<by-1)
	q := v >> by
	if rest > half || rest == half && q&1 == 1 {
		q++
	}
	return q
}
