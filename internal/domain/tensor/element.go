package tensor

import (
	"encoding/binary"
	"math"
	"strconv"
)

// AppendElement appends element i as text in plain CSV form. Fractions have
// the fewest digits that read back as the same value of their type.
func (t *Tensor) AppendElement(dst []byte, i int) []byte {
	switch t.Type {
	case String:
		return append(dst, t.Strings[i]...)
	case Bool:
		return strconv.AppendBool(dst, t.Data[i] != 0)
	case Float16, Float32:
		return strconv.AppendFloat(dst, t.Float(i), 'g', -1, 32)
	case Float64:
		return strconv.AppendFloat(dst, t.Float(i), 'g', -1, 64)
	case Uint64:
		return strconv.AppendUint(dst, binary.LittleEndian.Uint64(t.Data[8*i:]), 10)
	}
	return strconv.AppendInt(dst, t.Int(i), 10)
}

// Float returns element i of a tensor of fractions.
func (t *Tensor) Float(i int) float64 {
	switch t.Type {
	case Float16:
		return float64(HalfToFloat(binary.LittleEndian.Uint16(t.Data[2*i:])))
	case Float32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:])))
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(t.Data[8*i:]))
}

// Int returns element i of a tensor of whole numbers or truth values. A Uint64
// above the largest int64 wraps; AppendElement prints it rightly.
func (t *Tensor) Int(i int) int64 {
	d := t.Data
	switch t.Type {
	case Bool, Uint8:
		return int64(d[i])
	case Int8:
		return int64(int8(d[i]))
	case Int16:
		return int64(int16(binary.LittleEndian.Uint16(d[2*i:])))
	case Uint16:
		return int64(binary.LittleEndian.Uint16(d[2*i:]))
	case Int32:
		return int64(int32(binary.LittleEndian.Uint32(d[4*i:])))
	case Uint32:
		return int64(binary.LittleEndian.Uint32(d[4*i:]))
	}
	return int64(binary.LittleEndian.Uint64(d[8*i:]))
}
