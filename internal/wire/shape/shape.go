// Package shape describes the structures that AWS clients send and receive,
// and turns JSON into them, them into JSON, and bad ones into the sentence that
// the API would answer (docs: behaviour specification §1.2, §1.5).
//
// The structures of each service live in a package below this one, generated
// from a table of facts in facts/. Every generated Go struct comes with a Shape
// whose members stand in the order of the struct's fields; the engines here
// (Decode, Validate, Append) walk the two side by side, so that a further
// protocol is one more small engine and no more generated code.
//
// Not its job: HTTP, and what a request means.
package shape

import (
	"strconv"
	"time"
)

//go:generate go run ./gen

// Kind says how the values of a Shape look.
type Kind uint8

// The kinds of value that the facts know.
const (
	Structure Kind = iota
	List
	Map
	String
	Integer // 32 bits
	Long    // 64 bits
	Float   // 32 bits
	Double  // 64 bits
	Boolean
	Timestamp
	Blob
	Free // any value: its receiver reads it, element by element as Elem if it likes
)

// A Shape describes one kind of value and its constraints.
type Shape struct {
	Name    string
	Kind    Kind
	Members []Member // of a Structure, in the order of the Go struct's fields
	Union   bool     // of a Structure: exactly one member is set
	Key     *Shape   // of a Map
	Elem    *Shape   // of a List, or of a Map's values

	// Min and Max bound a number's value, the length of a string in Unicode
	// code points, of a blob in bytes, of a list or map in elements.
	Min, Max Bound
	Pattern  *Pattern // a string must match it from end to end
	Enum     []string // a string must be one of these
}

// A Bound is a limit that may be absent.
type Bound struct {
	Set bool
	N   float64
}

// A Member is one member of a structure.
type Member struct {
	Name     string
	Shape    *Shape
	Required bool

	// Location is where a REST protocol carries the member: "uri", "header",
	// "querystring", "payload", or "" for the JSON body. Wire is its name there.
	// Decode and Append leave alone what is not in the body.
	Location, Wire string
}

// A Value is a generated struct: it knows its Shape.
type Value interface {
	Shape() *Shape
}

// None is the output of an operation that answers with an empty body.
type None struct{}

// Shape returns nil: there is nothing to write.
func (None) Shape() *Shape { return nil }

// An Operation is one call that a service offers.
type Operation struct {
	Name   string
	Method string
	URI    string
	Status int      // of a success
	Input  *Shape   // nil when it takes nothing
	Output *Shape   // nil when the answer's body is empty
	Errors []string // the codes that the service's model declares for it
}

// A Service is the table of a service's operations.
type Service struct {
	Name         string
	TargetPrefix string // before the dot in X-Amz-Target
	JSONVersion  string // "1.0", "1.1", or "" if it does not speak AWS JSON
	SigningName  string // in the credential scope
	Version      string // that Query requests name, or "" if it speaks no Query
	XMLNamespace string // of the answers to them

	// TypeNamespace stands before the names of its errors, with a "#" between,
	// in the protocols that followed Query; "" where there was none to follow.
	TypeNamespace string

	// ErrorMember is what its errors call their sentence in JSON: "message", or
	// "" for the usual "Message".
	ErrorMember string

	Operations []Operation
}

// Operation returns the operation of that name, or nil.
func (s *Service) Operation(name string) *Operation {
	for i := range s.Operations {
		if s.Operations[i].Name == name {
			return &s.Operations[i]
		}
	}
	return nil
}

// A Time travels as seconds since 1970 with millisecond precision.
type Time struct{ time.Time }

// At returns t for the wire, and nil (absent) for the zero time.
func At(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	return &Time{t}
}

// MarshalJSON writes epoch seconds, for programs that use encoding/json.
func (t Time) MarshalJSON() ([]byte, error) { return appendTime(nil, t.Time), nil }

// UnmarshalJSON reads epoch seconds, for programs that use encoding/json.
func (t *Time) UnmarshalJSON(b []byte) error {
	at, ok := parseTime(string(b))
	if !ok {
		return decodeError("%s can not be converted to a Timestamp", b)
	}
	t.Time = at
	return nil
}

// appendTime writes seconds, down to the millisecond.
func appendTime(b []byte, t time.Time) []byte {
	return strconv.AppendFloat(b, float64(t.UnixMilli())/1000, 'f', -1, 64)
}

// parseTime reads integral and fractional seconds.
func parseTime(s string) (time.Time, bool) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return time.Time{}, false
	}
	return Seconds(f)
}

// Seconds returns the time so long after 1970, to the microsecond. It refuses
// what lies outside the years 1 to 9999, where arithmetic on times would
// overflow, and what is not a number.
func Seconds(f float64) (time.Time, bool) {
	if !(f >= firstSecond && f < lastSecond) {
		return time.Time{}, false
	}
	sec := int64(f)
	micros := int64((f-float64(sec))*1e6 + 0.5)
	if f < 0 {
		micros = int64((f-float64(sec))*1e6 - 0.5)
	}
	return time.Unix(sec, micros*1000).UTC(), true
}

// The years 1 to 9999, in seconds since 1970.
const (
	firstSecond = -62135596800
	lastSecond  = 253402300800
)
