package shape

import "time"

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
