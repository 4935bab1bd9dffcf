package capture

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"time"
	"unicode/utf8"

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

// timeFormat has one length for all years that there will be.
const timeFormat = "2006-01-02T15:04:05Z"

// line is a line that is written, in memory that is used again.
type line struct {
	text []byte
	time int // where in it the time stands
}

// keptLine is how long a line may be for its memory to be used again; bytes.
const keptLine = 64 << 10

// lineOf writes a record's line.
func (s *Service) lineOf(r *Record) *line {
	l, ok := s.lines.Get().(*line)
	if !ok {
		l = &line{}
	}
	if n := r.size()/3*4 + 1<<10; cap(l.text) < n {
		l.text = make([]byte, 0, n)
	}
	l.text, l.time = appendLine(l.text[:0], r)
	return l
}

// recycle gives back a line's memory; nil is none.
func (s *Service) recycle(l *line) {
	if l != nil && cap(l.text) <= keptLine {
		s.lines.Put(l)
	}
}

// stamp is the text of a time, kept for as long as that is the same.
type stamp struct {
	second int64
	text   []byte
}

// set writes the time into a line in place of the one that it has.
func (s *stamp) set(l *line, t time.Time) {
	if n := t.Unix(); n != s.second || s.text == nil {
		s.second, s.text = n, t.UTC().AppendFormat(s.text[:0], timeFormat)
	}
	copy(l.text[l.time:], s.text)
}

// appendLine appends a record's line (spec §5.2), and says where in it the time
// stands.
func appendLine(b []byte, r *Record) (text []byte, at int) {
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
	b = appendID(b)
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
	at = len(b)
	b = r.At.UTC().AppendFormat(b, timeFormat)
	b = append(b, '"')
	if r.Input.Taken && r.Input.Truncated || r.Output.Taken && r.Output.Truncated {
		b = append(b, `,"truncated":true`...)
	}
	return append(b, lineEnd...), at
}

// appendID appends a random UUID. It tells lines apart and is no secret, so that
// it need not cost a system call.
func appendID(b []byte) []byte {
	const hex = "0123456789abcdef"
	var id [16]byte
	binary.LittleEndian.PutUint64(id[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // version 4 (RFC 9562 §5.4)
	for i, c := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b = append(b, '-')
		}
		b = append(b, hex[c>>4], hex[c&15])
	}
	return b
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
		b = appendBase64(b, data)
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
