package shape

import (
	"fmt"
	"time"
)

// Val is what p points to, and the zero value if it was absent.
func Val[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// Text is s for the wire, and absent if it is empty.
func Text[T ~string](s T) *T {
	if s == "" {
		return nil
	}
	return &s
}

// TimeOf is t for the domain; the zero time if it was absent.
func TimeOf(t *Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

// Present is s for the wire, there even if it is empty.
func Present[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// Int is n for the wire.
func Int(n int) *int32 { return new(int32(n)) }

// SecondsOf is n seconds for the domain; 0 if it was absent.
func SecondsOf(n *int32) time.Duration { return time.Duration(Val(n)) * time.Second }

// Stored decodes a document that was accepted once. That it cannot be read is
// not the caller's mistake, so the cause must not pass for one.
func Stored(doc []byte, into Value) error {
	if err := Decode(doc, into); err != nil {
		return fmt.Errorf("decode a stored %s: %v", into.Shape().Name, err)
	}
	return nil
}
