package shape

import (
	"encoding/base64"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// SetText stores text in v, a field or an element of a scalar shape, if it is a
// value of the shape in the way that URLs, headers and forms write one. It
// reports whether it is.
func SetText(s *Shape, v reflect.Value, text string) bool {
	switch s.Kind {
	case String:
		v.SetString(text)
	case Integer, Long:
		i, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return false
		}
		v.SetInt(i)
	case Float, Double:
		f, ok := float(text, v.Type().Bits())
		if !ok {
			return false
		}
		v.SetFloat(f)
	case Boolean:
		if text != "true" && text != "false" {
			return false
		}
		v.SetBool(text == "true")
	case Timestamp:
		at, ok := instant(text)
		if !ok {
			if f, isFloat := float(text, 64); isFloat {
				at, ok = Seconds(f)
			}
		}
		if !ok {
			return false
		}
		v.Set(reflect.ValueOf(Time{at}))
	case Blob:
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return false
		}
		v.SetBytes(b)
	default:
		return false
	}
	return true
}

// float reads decimal numbers and the three words for what is none.
func float(text string, bits int) (float64, bool) {
	if f, ok := notANumber(text); ok {
		return f, true
	}
	if strings.Trim(text, "0123456789+-.eE") != "" { // no hexadecimal, no underscores, no other words
		return 0, false
	}
	f, err := strconv.ParseFloat(text, bits)
	return f, err == nil
}

// notANumber reads the words for the doubles that JSON has no number for.
func notANumber(word string) (float64, bool) {
	switch word {
	case "NaN":
		return math.NaN(), true
	case "Infinity":
		return math.Inf(1), true
	case "-Infinity":
		return math.Inf(-1), true
	}
	return 0, false
}

// instant reads the forms of ISO 8601 that clients write, in UTC unless they
// say otherwise, and the form that HTTP headers have.
func instant(text string) (time.Time, bool) {
	if len(text) > 64 {
		return time.Time{}, false
	}
	for _, layout := range []string{
		time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "20060102T150405Z07:00",
		time.DateOnly, "Mon, 02 Jan 2006 15:04:05 GMT",
	} {
		if at, err := time.Parse(layout, text); err == nil {
			at = at.UTC().Truncate(time.Microsecond)
			return at, at.Year() >= 1 && at.Year() <= 9999
		}
	}
	return time.Time{}, false
}
