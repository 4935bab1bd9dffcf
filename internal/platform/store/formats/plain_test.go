package formats

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// plain turns a value into what JSON can show of all its exported fields, those
// that are not stored in documents included. A field that is stored goes by its
// stored name, so that renaming it in Go changes nothing. Zero fields are left
// out, so that a new field changes nothing either. Long texts, such as keys, are
// shown by their digest.
func plain(v any) any { return plainValue(reflect.ValueOf(v)) }

func plainValue(v reflect.Value) any {
	if !v.IsValid() {
		return nil
	}
	switch x := v.Interface().(type) {
	case time.Time:
		return x.UTC().Format(time.RFC3339Nano)
	case json.RawMessage:
		return x
	case []byte:
		if utf8.Valid(x) {
			return short(string(x))
		}
		return fmt.Sprintf("%d bytes, SHA-256 %x", len(x), sha256.Sum256(x))
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return plainValue(v.Elem())
	case reflect.Struct:
		out := map[string]any{}
		plainFields(v, out)
		return out
	case reflect.Slice, reflect.Array:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = plainValue(v.Index(i))
		}
		return out
	case reflect.Map:
		out := map[string]any{}
		for _, k := range v.MapKeys() {
			out[fmt.Sprint(k)] = plainValue(v.MapIndex(k))
		}
		return out
	case reflect.String:
		return short(v.String())
	case reflect.Func, reflect.Chan:
		return nil
	default:
		return v.Interface()
	}
}

func plainFields(v reflect.Value, out map[string]any) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		field := v.Field(i)
		if !f.IsExported() || field.IsZero() {
			continue
		}
		if f.Anonymous && f.Tag.Get("json") == "" {
			for field.Kind() == reflect.Pointer {
				field = field.Elem()
			}
			plainFields(field, out)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			name = f.Name
		}
		out[name] = plainValue(field)
	}
}

func short(s string) string {
	if len(s) <= 400 {
		return s
	}
	return fmt.Sprintf("%d bytes, SHA-256 %x", len(s), sha256.Sum256([]byte(s)))
}
