package objects

import "fmt"

// PartError is the private cause of a refusal that one part of an upload is
// guilty of: ErrPart or ErrPartSmall.
type PartError struct {
	cause error
	Part  Part  // as the caller named it
	Size  int64 // that it has, in bytes, if it is too small
}

func (e *PartError) Error() string { return fmt.Sprintf("part %d: %v", e.Part.Number, e.cause) }

// Unwrap returns what is wrong with the part.
func (e *PartError) Unwrap() error { return e.cause }
