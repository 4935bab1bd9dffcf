package cborrpc

import (
	"encoding/binary"
	"math"
	"reflect"
	"strings"

	"github.com/slipway-ml/slipway/internal/wire/shape"
)

// The major types of CBOR, in the top three bits of an item's first byte.
const (
	majorUint byte = iota << 5
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple
)

// Items that are one byte, or begin with one that says all about them.
const (
	itemFalse     = majorSimple | 20
	itemTrue      = majorSimple | 21
	itemNull      = majorSimple | 22
	itemUndefined = majorSimple | 23
	itemHalf      = majorSimple | 25
	itemSingle    = majorSimple | 26
	itemDouble    = majorSimple | 27
	itemBreak     = majorSimple | 31
	itemEpoch     = majorTag | 1 // seconds since 1970 follow
)

// Append appends v, a generated struct, to b as CBOR: absent members left out,
// required lists and maps always there, maps in the order of their keys.
func Append(b []byte, v shape.Value) []byte {
	return appendValue(b, v.Shape(), reflect.Indirect(reflect.ValueOf(v)))
}

func appendValue(b []byte, s *shape.Shape, v reflect.Value) []byte {
	switch s.Kind {
	case shape.Structure:
		return appendStructure(b, s, v)
	case shape.List:
		b = appendHead(b, majorArray, uint64(v.Len()))
		for i := range v.Len() {
			b = appendValue(b, s.Elem, v.Index(i))
		}
		return b
	case shape.Map:
		b = appendHead(b, majorMap, uint64(v.Len()))
		for _, k := range shape.SortedKeys(v) {
			b = appendValue(appendText(b, k.String()), s.Elem, v.MapIndex(k))
		}
		return b
	case shape.String:
		return appendText(b, v.String())
	case shape.Integer, shape.Long:
		return appendInt(b, v.Int())
	case shape.Float:
		return binary.BigEndian.AppendUint32(append(b, itemSingle), math.Float32bits(float32(v.Float())))
	case shape.Double:
		return appendDouble(b, v.Float())
	case shape.Boolean:
		if v.Bool() {
			return append(b, itemTrue)
		}
		return append(b, itemFalse)
	case shape.Timestamp:
		t, _ := reflect.TypeAssert[shape.Time](v)
		return appendTime(b, t)
	case shape.Blob:
		return append(appendHead(b, majorBytes, uint64(v.Len())), v.Bytes()...)
	}
	panic("cborrpc: no such kind")
}

func appendStructure(b []byte, s *shape.Shape, v reflect.Value) []byte {
	n := uint64(0)
	for i := range s.Members {
		if s.Members[i].Sent(v.Field(i)) {
			n++
		}
	}
	b = appendHead(b, majorMap, n)
	for i := range s.Members {
		if m, f := &s.Members[i], v.Field(i); m.Sent(f) {
			b = appendValue(appendText(b, m.Name), m.Shape, reflect.Indirect(f))
		}
	}
	return b
}

// appendTime writes whole seconds as an integer, others as a double, down to
// the millisecond.
func appendTime(b []byte, t shape.Time) []byte {
	b = append(b, itemEpoch)
	if ms := t.UnixMilli(); ms%1000 != 0 {
		return appendDouble(b, float64(ms)/1000)
	}
	return appendInt(b, t.Unix())
}

func appendDouble(b []byte, f float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, itemDouble), math.Float64bits(f))
}

func appendInt(b []byte, n int64) []byte {
	if n < 0 {
		return appendHead(b, majorNegative, uint64(-1-n))
	}
	return appendHead(b, majorUint, uint64(n))
}

// appendText writes a string; what is not UTF-8 in it becomes U+FFFD.
func appendText(b []byte, s string) []byte {
	s = strings.ToValidUTF8(s, "\uFFFD")
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

// appendHead writes the shortest head of an item with that argument.
func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}
