package shape

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"unicode/utf8"
)

const (
	maxDepth = 64 // of nested lists and objects, known or not

	// MaxObjects bounds the structures and maps that a decoder makes of one
	// document: "{}" takes 3 bytes there and 200 here.
	MaxObjects = 50_000
)

// A DecodeError says that a document is not JSON, or not of the wanted types.
// Its text is public: protocols answer it as a SerializationException.
type DecodeError struct{ Text string }

func (e *DecodeError) Error() string { return e.Text }

// Mismatch is the error of a value that is not of the wanted kind. Found is in
// the API's words, such as STRING_VALUE.
func Mismatch(found string, wanted Kind) error {
	return decodeError("%s can not be converted to %s", found, wanted.Named())
}

// Named is the kind with its article, as the API names it in its errors.
func (k Kind) Named() string { return targets[k] }

func decodeError(format string, args ...any) error {
	return &DecodeError{fmt.Sprintf(format, args...)}
}

// Decode reads one JSON object into v, a pointer to a generated struct. Names
// are compared by case, unknown members and those that travel elsewhere are
// skipped and null means absent. A member that comes twice is an error: whichever of
// the two were dropped, it may be the guard that the caller relies on.
// Any error is a *DecodeError.
// What it reads is bounded in depth and in the memory it takes per byte.
func Decode(data []byte, v Value) error {
	if !utf8.Valid(data) {
		return decodeError("The request body is not valid UTF-8.")
	}
	d := decoder{data: data}
	if d.peek() != '{' {
		return d.unexpected("The request body must be a JSON object.")
	}
	if err := d.structure(v.Shape(), reflect.ValueOf(v).Elem()); err != nil {
		return err
	}
	if d.peek(); d.pos < len(data) {
		return d.malformed()
	}
	return nil
}

var errNullElement = decodeError("Null value found where not expected")

type decoder struct {
	data    []byte
	pos     int
	depth   int
	objects int
}

func (d *decoder) malformed() error {
	return decodeError("The request body is not valid JSON (byte %d).", min(d.pos, len(d.data)))
}

// unexpected blames the syntax if there is no value at all here.
func (d *decoder) unexpected(text string) error {
	if d.pos >= len(d.data) || d.skip() != nil {
		return d.malformed()
	}
	return decodeError("%s", text)
}

// peek moves to the next byte that is not white space and returns it, or 0.
func (d *decoder) peek() byte {
	for ; d.pos < len(d.data); d.pos++ {
		switch c := d.data[d.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

func (d *decoder) eat(c byte) bool {
	if d.peek() != c {
		return false
	}
	d.pos++
	return true
}

func (d *decoder) null() bool { return d.word("null") }

func (d *decoder) word(w string) bool {
	if d.peek(); len(d.data)-d.pos >= len(w) && string(d.data[d.pos:d.pos+len(w)]) == w {
		d.pos += len(w)
		return true
	}
	return false
}

// value decodes what comes next into v, a field, an element or a map's value.
func (d *decoder) value(s *Shape, v reflect.Value) error {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch s.Kind {
	case Structure:
		return d.structure(s, v)
	case List:
		return d.list(s, v)
	case Map:
		return d.mapping(s, v)
	case Free:
		return d.document(v)
	default:
		return d.scalar(s, v)
	}
}

func (d *decoder) structure(s *Shape, v reflect.Value) error {
	if d.peek() != '{' {
		return d.unexpected("Expected structure or null")
	}
	var seen Seen
	return d.object(func(name []byte) error {
		for i := range s.Members {
			if s.Members[i].Name != string(name) || s.Members[i].Location != "" {
				continue
			}
			if err := seen.Once(i, name); err != nil {
				return err
			}
			if d.null() {
				v.Field(i).SetZero()
				return nil
			}
			return d.value(s.Members[i].Shape, v.Field(i))
		}
		return d.skip()
	})
}

// Seen are the members of one structure that were read.
type Seen [4]uint64

// Once notes member i, called name. That it was noted before is a *DecodeError.
func (s *Seen) Once(i int, name []byte) error {
	word, bit := &s[i/64], uint64(1)<<(i%64)
	if *word&bit != 0 {
		return errTwice(name)
	}
	*word |= bit
	return nil
}

func errTwice(name []byte) error { return decodeError("The member %.100q comes twice.", name) }

func (d *decoder) mapping(s *Shape, v reflect.Value) error {
	if d.peek() != '{' {
		return d.unexpected("Expected map or null")
	}
	v.Set(reflect.MakeMap(v.Type()))
	return d.object(func(name []byte) error {
		key := reflect.New(v.Type().Key()).Elem()
		key.SetString(string(name))
		if d.null() {
			return errNullElement
		}
		if v.MapIndex(key).IsValid() {
			return errTwice(name)
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(s.Elem, elem); err != nil {
			return err
		}
		v.SetMapIndex(key, elem)
		return nil
	})
}

func (d *decoder) list(s *Shape, v reflect.Value) error {
	if d.peek() != '[' {
		return d.unexpected("Expected list or null")
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0)) // present, even if empty
	return d.array(func() error {
		if d.null() {
			return errNullElement
		}
		n := v.Len()
		v.Grow(1)
		v.SetLen(n + 1)
		return d.value(s.Elem, v.Index(n))
	})
}

// object walks an object that peek has seen; member must consume the value.
func (d *decoder) object(member func(name []byte) error) error {
	if d.objects++; d.objects > MaxObjects {
		return decodeError("The request body has more than %d objects.", MaxObjects)
	}
	return d.nested('}', func() error {
		if d.peek() != '"' {
			return d.malformed()
		}
		name, err := d.str()
		if err != nil {
			return err
		}
		if !d.eat(':') {
			return d.malformed()
		}
		return member(name)
	})
}

func (d *decoder) array(elem func() error) error { return d.nested(']', elem) }

// nested walks the comma-separated items up to end, from the opening byte.
func (d *decoder) nested(end byte, item func() error) error {
	d.pos++
	if d.depth++; d.depth > maxDepth {
		return decodeError("The request body is nested deeper than %d levels.", maxDepth)
	}
	if d.eat(end) {
		d.depth--
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		if d.eat(end) {
			d.depth--
			return nil
		}
		if !d.eat(',') {
			return d.malformed()
		}
	}
}

// skip reads past a value that nobody wants.
func (d *decoder) skip() error {
	switch c := d.peek(); {
	case c == '{':
		return d.object(func([]byte) error { return d.skip() })
	case c == '[':
		return d.array(d.skip)
	case c == '"':
		_, err := d.str()
		return err
	case c == '-' || c >= '0' && c <= '9':
		_, _, err := d.number()
		return err
	case d.word("true"), d.word("false"), d.word("null"):
		return nil
	default:
		return d.malformed()
	}
}

var targets = [...]string{
	Structure: "a Structure", List: "a List", Map: "a Map",
	String: "a String", Integer: "an Integer", Long: "a Long", Float: "a Float", Double: "a Double",
	Boolean: "a Boolean", Timestamp: "a Timestamp", Blob: "a Blob", Free: "a Document",
}

// scalar decodes everything that is neither a list nor an object.
func (d *decoder) scalar(s *Shape, v reflect.Value) error {
	mismatch := func(found string) error {
		return Mismatch(found, s.Kind)
	}
	switch c := d.peek(); {
	case c == '"':
		str, err := d.str()
		if err != nil {
			return err
		}
		if setString(s.Kind, v, str) {
			return nil
		}
		return mismatch("STRING_VALUE")
	case c == '-' || c >= '0' && c <= '9':
		num, integral, err := d.number()
		if err != nil {
			return err
		}
		if setNumber(s.Kind, v, num, integral) {
			return nil
		}
		if integral {
			return mismatch("NUMBER_VALUE")
		}
		return mismatch("DECIMAL_VALUE")
	case c == '[':
		return d.unexpected("Start of list found where not expected")
	case c == '{':
		return d.unexpected("Start of structure or map found where not expected.")
	}
	for _, w := range [...]struct{ word, found string }{
		{"true", "TRUE_VALUE"}, {"false", "FALSE_VALUE"}, {"null", "NULL_VALUE"},
	} {
		if !d.word(w.word) {
			continue
		}
		if s.Kind != Boolean || w.word == "null" {
			return mismatch(w.found)
		}
		v.SetBool(w.word == "true")
		return nil
	}
	return d.malformed()
}

// setString stores what JSON writes as a string, and reports whether the kind
// is written so.
func setString(k Kind, v reflect.Value, str []byte) bool {
	switch k {
	case String:
		v.SetString(string(str))
	case Blob:
		blob, err := base64.StdEncoding.AppendDecode([]byte{}, str)
		if err != nil {
			return false
		}
		v.SetBytes(blob)
	case Timestamp:
		at, ok := instant(string(str))
		if !ok {
			return false
		}
		v.Set(reflect.ValueOf(Time{at}))
	case Double:
		f, ok := notANumber(string(str))
		if !ok {
			return false
		}
		v.SetFloat(f)
	default:
		return false
	}
	return true
}

// setNumber stores num if it fits, and reports whether it did.
func setNumber(k Kind, v reflect.Value, num string, integral bool) bool {
	switch k {
	case Integer, Long:
		n, err := strconv.ParseInt(num, 10, v.Type().Bits())
		if err != nil || !integral {
			return false
		}
		v.SetInt(n)
	case Float, Double:
		f, err := strconv.ParseFloat(num, v.Type().Bits())
		if err != nil {
			return false
		}
		v.SetFloat(f)
	case Timestamp:
		at, ok := parseTime(num)
		if !ok {
			return false
		}
		v.Set(reflect.ValueOf(Time{at}))
	default:
		return false
	}
	return true
}

// str reads a string. The bytes are valid until the next call.
func (d *decoder) str() ([]byte, error) {
	start := d.pos
	escaped := false
	for d.pos++; d.pos < len(d.data); d.pos++ {
		switch c := d.data[d.pos]; {
		case c == '\\':
			escaped = true
			d.pos++
		case c < ' ':
			return nil, d.malformed()
		case c == '"':
			d.pos++
			if !escaped {
				return d.data[start+1 : d.pos-1], nil
			}
			var s string
			if err := json.Unmarshal(d.data[start:d.pos], &s); err != nil {
				return nil, d.malformed()
			}
			return []byte(s), nil
		}
	}
	return nil, d.malformed()
}

// number reads a number in JSON's grammar and says whether it is written
// without a fraction and an exponent.
func (d *decoder) number() (num string, integral bool, err error) {
	start := d.pos
	digits := func() bool {
		from := d.pos
		for d.pos < len(d.data) && d.data[d.pos] >= '0' && d.data[d.pos] <= '9' {
			d.pos++
		}
		return d.pos > from
	}
	at := func(set string) bool {
		for i := range len(set) {
			if d.pos < len(d.data) && d.data[d.pos] == set[i] {
				d.pos++
				return true
			}
		}
		return false
	}
	at("-")
	integral = true
	if !at("0") && !digits() {
		return "", false, d.malformed()
	}
	if at(".") {
		integral = false
		if !digits() {
			return "", false, d.malformed()
		}
	}
	if at("eE") {
		integral = false
		at("+-")
		if !digits() {
			return "", false, d.malformed()
		}
	}
	return string(d.data[start:d.pos]), integral, nil
}
