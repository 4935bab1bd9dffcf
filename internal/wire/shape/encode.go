package shape

import (
	"encoding/base64"
	"math"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Append appends v, a generated struct, to b as JSON: absent members and those
// that travel elsewhere left out, required lists and maps always there, times as epoch seconds, floats with a
// decimal point as the API prints them, or as the words "NaN", "Infinity" and
// "-Infinity". Maps are in the order of their keys.
func Append(b []byte, v Value) []byte {
	return appendValue(b, v.Shape(), reflect.Indirect(reflect.ValueOf(v)))
}

func appendValue(b []byte, s *Shape, v reflect.Value) []byte {
	switch s.Kind {
	case Structure:
		return appendStructure(b, s, v)
	case List:
		b = append(b, '[')
		for i := range v.Len() {
			b = appendValue(comma(b, '['), s.Elem, v.Index(i))
		}
		return append(b, ']')
	case Map:
		b = append(b, '{')
		for _, k := range SortedKeys(v) {
			b = append(appendString(comma(b, '{'), k.String()), ':')
			b = appendValue(b, s.Elem, v.MapIndex(k))
		}
		return append(b, '}')
	case String:
		return appendString(b, v.String())
	case Integer, Long:
		return strconv.AppendInt(b, v.Int(), 10)
	case Float, Double:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return append(AppendFloat(append(b, '"'), f, 64), '"')
		}
		return AppendFloat(b, v.Float(), v.Type().Bits())
	case Boolean:
		return strconv.AppendBool(b, v.Bool())
	case Timestamp:
		t, _ := reflect.TypeAssert[Time](v)
		return appendTime(b, t.Time)
	case Blob:
		b = base64.StdEncoding.AppendEncode(append(b, '"'), v.Bytes())
		return append(b, '"')
	case Free:
		return append(b, v.Bytes()...)
	}
	panic("shape: no such kind")
}

func appendStructure(b []byte, s *Shape, v reflect.Value) []byte {
	b = append(b, '{')
	for i := range s.Members {
		m, f := &s.Members[i], v.Field(i)
		if !m.Sent(f) || m.Location != "" {
			continue
		}
		b = append(appendString(comma(b, '{'), m.Name), ':')
		b = appendValue(b, m.Shape, reflect.Indirect(f))
	}
	return append(b, '}')
}

// Sent reports whether an answer has the member, f being its field: absent
// ones are left out, but required lists and maps are always there.
func (m *Member) Sent(f reflect.Value) bool {
	return !f.IsNil() || m.Required && f.Kind() != reflect.Pointer
}

// comma separates from what stands before, unless that is the opening byte.
func comma(b []byte, open byte) []byte {
	if b[len(b)-1] == open {
		return b
	}
	return append(b, ',')
}

// SortedKeys returns the keys of a map of strings, in order.
func SortedKeys(m reflect.Value) []reflect.Value {
	keys := m.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
	return keys
}

// AppendFloat appends f as the API prints it: 1 as 1.0, and the words NaN,
// Infinity and -Infinity.
func AppendFloat(b []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "NaN"...)
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	}
	if abs := math.Abs(f); abs >= 1e21 || abs != 0 && abs < 1e-6 {
		return strconv.AppendFloat(b, f, 'e', -1, bits)
	}
	from := len(b)
	b = strconv.AppendFloat(b, f, 'f', -1, bits)
	if !slices.Contains(b[from:], '.') {
		b = append(b, ".0"...)
	}
	return b
}

const hexDigits = "0123456789abcdef"

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r) // what is not UTF-8 becomes U+FFFD
			i += size
			continue
		}
		i++
	}
	return append(b, '"')
}
