package awsquery

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"reflect"
	"strconv"

	"github.com/slipway-ml/slipway/internal/wire/shape"
)

// isoMillis is how timestamps are written.
const isoMillis = "2006-01-02T15:04:05.000Z"

// appendResult appends v, a generated struct, to b as an XML element: absent
// members left out, required lists and maps always there, lists as member
// elements, maps as entries in the order of their keys.
func appendResult(b []byte, name string, v shape.Value) []byte {
	return element(b, name, v.Shape(), reflect.Indirect(reflect.ValueOf(v)))
}

func element(b []byte, name string, s *shape.Shape, v reflect.Value) []byte {
	b = append(append(append(b, '<'), name...), '>')
	start := len(b)
	if b = content(b, s, v); len(b) == start {
		return append(b[:start-1], "/>"...)
	}
	return append(append(append(b, "</"...), name...), '>')
}

func content(b []byte, s *shape.Shape, v reflect.Value) []byte {
	switch s.Kind {
	case shape.Structure:
		for i := range s.Members {
			if m, f := &s.Members[i], v.Field(i); m.Sent(f) {
				b = element(b, m.Name, m.Shape, reflect.Indirect(f))
			}
		}
		return b
	case shape.List:
		for i := range v.Len() {
			b = element(b, "member", s.Elem, v.Index(i))
		}
		return b
	case shape.Map:
		for _, k := range shape.SortedKeys(v) {
			b = element(append(b, "<entry>"...), "key", s.Key, k)
			b = append(element(b, "value", s.Elem, v.MapIndex(k)), "</entry>"...)
		}
		return b
	case shape.String:
		return text(b, v.String())
	case shape.Integer, shape.Long:
		return strconv.AppendInt(b, v.Int(), 10)
	case shape.Float, shape.Double:
		return shape.AppendFloat(b, v.Float(), v.Type().Bits())
	case shape.Boolean:
		return strconv.AppendBool(b, v.Bool())
	case shape.Timestamp:
		t, _ := reflect.TypeAssert[shape.Time](v)
		return t.UTC().AppendFormat(b, isoMillis)
	case shape.Blob:
		return base64.StdEncoding.AppendEncode(b, v.Bytes())
	}
	panic("awsquery: no such kind")
}

// text escapes a string; what XML cannot hold becomes U+FFFD.
func text(b []byte, s string) []byte {
	w := bytes.NewBuffer(b)
	_ = xml.EscapeText(w, []byte(s)) // a buffer takes everything
	return w.Bytes()
}
