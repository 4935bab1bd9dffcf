package capture

import (
	"encoding/base64"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// The encodings of a body (spec §5.6): text as it is, or base 64.
const (
	encodingCSV    = "CSV"
	encodingJSON   = "JSON"
	encodingBase64 = "BASE64"
)

// What every line begins and ends with.
const (
	lineBegin = `{"captureData":{`
	lineEnd   = `},"eventVersion":"0"}` + "\n"
)

// appendLine appends a record's line (spec §5.2).
func appendLine(b []byte, r *Record) []byte {
	b = append(b, lineBegin...)
	if r.Input.Taken {
		b = appendSide(b, "endpointInput", "INPUT", &r.Input, r.Capture)
	}
	if r.Output.Taken {
		if r.Input.Taken {
			b = append(b, ',')
		}
		b = appendSide(b, "endpointOutput", "OUTPUT", &r.Output, r.Capture)
	}
	b = append(b, `},"eventMetadata":{"eventId":"`...)
	b = append(b, uuid.NewString()...)
	b = append(b, '"')
	if r.Attributes != "" {
		b = append(b, `,"customAttributes":[`...)
		b = append(appendText(b, r.Attributes), ']')
	}
	if r.Inference != "" {
		b = append(b, `,"inferenceId":`...)
		b = appendText(b, r.Inference)
	}
	b = append(b, `,"inferenceTime":"`...)
	b = r.At.UTC().AppendFormat(b, time.RFC3339)
	b = append(b, '"')
	if r.Input.Taken && r.Input.Truncated || r.Output.Taken && r.Output.Truncated {
		b = append(b, `,"truncated":true`...)
	}
	return append(b, lineEnd...)
}

func appendSide(b []byte, name, mode string, s *Side, c *traffic.Capture) []byte {
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, `":{"observedContentType":`...)
	b = appendText(b, s.ContentType)
	b = append(b, `,"mode":"`...)
	b = append(b, mode...)
	b = append(b, `","data":`...)
	encoding, data := encodingOf(s, c)
	if encoding == encodingBase64 {
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, data)
		b = append(b, '"')
	} else {
		b = appendQuoted(b, data)
	}
	b = append(b, `,"encoding":"`...)
	b = append(b, encoding...)
	return append(b, `"}`...)
}

// encodingOf decides how a body is written: as text if its content type is one
// that the configuration names, and it is text.
func encodingOf(s *Side, c *traffic.Capture) (string, []byte) {
	media, _, _ := strings.Cut(s.ContentType, ";")
	media = strings.TrimSpace(media)
	encoding := encodingBase64
	switch {
	case listed(c.CSV, media):
		encoding = encodingCSV
	case listed(c.JSON, media):
		encoding = encodingJSON
	default:
		return encodingBase64, s.Data
	}
	data := s.Data
	if s.Truncated { // perhaps in the middle of a letter
		data = wholeRunes(data)
	}
	if !utf8.Valid(data) {
		return encodingBase64, s.Data
	}
	return encoding, data
}

func listed(types []string, media string) bool {
	for _, t := range types {
		if strings.EqualFold(t, media) {
			return true
		}
	}
	return false
}

// wholeRunes leaves out the beginning of a rune at the end.
func wholeRunes(data []byte) []byte {
	for i := len(data) - 1; i >= 0 && i >= len(data)-utf8.UTFMax; i-- {
		if utf8.RuneStart(data[i]) {
			if !utf8.FullRune(data[i:]) {
				return data[:i]
			}
			break
		}
	}
	return data
}

// appendText appends a header's value as a JSON string; what is no UTF-8 in it is
// shown as such.
func appendText(b []byte, s string) []byte {
	return appendQuoted(b, []byte(strings.ToValidUTF8(s, "\uFFFD")))
}

// appendQuoted appends UTF-8 as a JSON string. encoding/json escapes what HTML
// would need, which makes captured text longer and no safer.
func appendQuoted(b, text []byte) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i, c := range text {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, text[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	b = append(b, text[from:]...)
	return append(b, '"')
}
