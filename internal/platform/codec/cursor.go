package codec

import (
	"bytes"
	"encoding/json"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// cursor walks JSON that json.Valid has approved of: it need not look for
// syntax errors, and never runs past the end.
type cursor struct {
	b []byte
	i int
}

func (c *cursor) space() {
	for c.i < len(c.b) && (c.b[c.i] == ' ' || c.b[c.i] == '\n' || c.b[c.i] == '\t' || c.b[c.i] == '\r') {
		c.i++
	}
}

// peek returns the first byte of the next value or the next punctuation.
func (c *cursor) peek() byte {
	c.space()
	if c.i >= len(c.b) {
		return 0
	}
	return c.b[c.i]
}

// next enters an array or object (at its opening bracket) or passes a comma; it
// returns false, past the closing bracket, when there is no further element.
func (c *cursor) next(closing byte) bool {
	switch c.peek() {
	case '[', '{', ',':
		c.i++
		if c.peek() == closing {
			c.i++
			return false
		}
		return c.i < len(c.b)
	}
	c.i++
	return false
}

// each calls f for every element of the array that starts here.
func (c *cursor) each(f func() error) error {
	if c.peek() != '[' {
		return errNotArray
	}
	for c.next(']') {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// members calls f for every member of the object that starts here, with the
// cursor at the member's value. It is called again for a key that comes again: which
// of them may do so is f's to say, and none that carries a tensor may.
func (c *cursor) members(f func(key string) error) error {
	if c.peek() != '{' {
		return errNotObject
	}
	for c.next('}') {
		key := c.text()
		c.peek() // the colon
		c.i++
		if err := f(key); err != nil {
			return err
		}
	}
	return nil
}

var (
	errNotArray  = fault.New(fault.Invalid, "expected an array")
	errNotObject = fault.New(fault.Invalid, "expected an object")
)

// text reads the string that starts here.
func (c *cursor) text() string {
	raw := c.skip()
	if bytes.IndexByte(raw, '\\') < 0 {
		if len(raw) < 2 {
			return ""
		}
		return string(raw[1 : len(raw)-1])
	}
	var s string
	_ = json.Unmarshal(raw, &s) // it was validated as a whole
	return s
}

// skip passes the value that starts here and returns its bytes.
func (c *cursor) skip() []byte {
	start, depth := 0, 0
	c.space()
	start = c.i
	for c.i < len(c.b) {
		switch c.b[c.i] {
		case '"':
			c.i++
			for c.i < len(c.b) && c.b[c.i] != '"' {
				if c.b[c.i] == '\\' {
					c.i++
				}
				c.i++
			}
			c.i = min(c.i+1, len(c.b))
		case '[', '{':
			depth++
			c.i++
			continue
		case ']', '}':
			depth--
			c.i++
		case ',', ':', ' ', '\n', '\t', '\r':
			c.i++
			continue
		default:
			c.scalar()
		}
		if depth <= 0 {
			break
		}
	}
	return c.b[start:c.i]
}

// scalar passes a number, true, false or null and returns its bytes.
func (c *cursor) scalar() []byte {
	start := c.i
	for c.i < len(c.b) {
		switch c.b[c.i] {
		case ',', ']', '}', ':', ' ', '\n', '\t', '\r', '[', '{', '"':
			return c.b[start:c.i]
		}
		c.i++
	}
	return c.b[start:c.i]
}
