// Package shapetest checks generated structs against their shapes.
package shapetest

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/wire/shape"
)

// LineUp fails if a struct, given by pointer, has other fields than its Shape
// has members, in number, order, name or kind, or if a struct with every member
// set does not survive being written and read.
func LineUp(t *testing.T, structs []shape.Value) {
	t.Helper()
	for _, v := range structs {
		lineUp(t, v.Shape(), reflect.TypeOf(v).Elem())
		full := reflect.ValueOf(v).Elem()
		fill(full)
		once := shape.Append(nil, v)
		again := reflect.New(full.Type())
		if err := shape.Decode(once, again.Interface().(shape.Value)); err != nil {
			t.Errorf("%s: %v in %s", v.Shape().Name, err, once)
		}
		if twice := shape.Append(nil, again.Interface().(shape.Value)); !bytes.Equal(once, twice) {
			t.Errorf("%s was read back as something else:\n%s\n%s", v.Shape().Name, once, twice)
		}
	}
}

var goKinds = map[shape.Kind]reflect.Kind{
	shape.Structure: reflect.Struct, shape.List: reflect.Slice, shape.Map: reflect.Map, shape.String: reflect.String,
	shape.Integer: reflect.Int32, shape.Long: reflect.Int64, shape.Float: reflect.Float32,
	shape.Double:  reflect.Float64,
	shape.Boolean: reflect.Bool, shape.Timestamp: reflect.Struct, shape.Blob: reflect.Slice, shape.Free: reflect.Slice,
}

func lineUp(t *testing.T, s *shape.Shape, typ reflect.Type) {
	t.Helper()
	if typ.NumField() != len(s.Members) {
		t.Errorf("%s has %d fields for %d members", s.Name, typ.NumField(), len(s.Members))
		return
	}
	for i, m := range s.Members {
		f := typ.Field(i)
		if f.Name != m.Name && !bytes.EqualFold([]byte(f.Name), []byte(m.Name)) {
			t.Errorf("%s: field %s stands for member %s", s.Name, f.Name, m.Name)
		}
		if got := kindOf(f.Type); got != goKinds[m.Shape.Kind] {
			t.Errorf("%s.%s is a %s in Go", s.Name, m.Name, got)
		}
	}
}

func kindOf(t reflect.Type) reflect.Kind {
	if t.Kind() == reflect.Pointer {
		return t.Elem().Kind()
	}
	return t.Kind()
}

// fill sets everything below v to something.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[shape.Time]() {
			v.Set(reflect.ValueOf(shape.Time{Time: time.UnixMilli(1529870369986).UTC()}))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[shape.Document]() {
			v.SetBytes([]byte(`[{"a":1}]`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.Map:
		key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(elem)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, elem)
	case reflect.String:
		v.SetString("é\"\\\n<")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(-7)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Uint8:
		v.SetUint(255)
	}
}
