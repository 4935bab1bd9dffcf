package http1

import (
	"strings"
)

// The bytes that RFC 9110 allows in a token, as bit sets of 0..63 and 64..127.
const (
	tokenLo uint64 = 0x03ff_6cfa_0000_0000
	tokenHi uint64 = 0x57ff_ffff_c7ff_fffe
)

func isToken(b byte) bool {
	if b < 64 {
		return tokenLo>>b&1 == 1
	}
	return b < 128 && tokenHi>>(b-64)&1 == 1
}

func allToken(s string) bool {
	for i := range len(s) {
		if !isToken(s[i]) {
			return false
		}
	}
	return s != ""
}

// cleanValue reports whether v has no control character besides the tab. A
// stray CR or NUL is how one header becomes two for the next parser.
func cleanValue(v string) bool {
	for i := range len(v) {
		if b := v[i]; b < ' ' && b != '\t' || b == 0x7f {
			return false
		}
	}
	return true
}

// foldEqual compares a field name with a name that is in lower case already.
func foldEqual(name, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range len(name) {
		b := name[i]
		if 'A' <= b && b <= 'Z' {
			b |= 0x20
		}
		if b != lower[i] {
			return false
		}
	}
	return true
}

func trimOWS(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// fields is a header section.
type fields []Field

// parse reads the lines of s, each ended by CRLF, without the empty line that
// ends a head. It appends to fs[:0].
func (fs *fields) parse(s string, limit int) error {
	out := (*fs)[:0]
	for s != "" {
		end := strings.IndexByte(s, '\n')
		if end < 1 || s[end-1] != '\r' {
			return refuse(400, "header line without CRLF")
		}
		line := s[:end-1]
		s = s[end+1:]
		colon := strings.IndexByte(line, ':')
		if colon < 1 || !allToken(line[:colon]) { // also refuses folded lines and a space before the colon
			return refuse(400, "malformed header name")
		}
		v := trimOWS(line[colon+1:])
		if !cleanValue(v) {
			return refuse(400, "control character in a header value")
		}
		if len(out) == limit {
			return refuse(431, "too many header fields")
		}
		out = append(out, Field{line[:colon], v})
	}
	*fs = out
	return nil
}

// get answers the value of a field by its lower-case name; several values are
// joined by commas, which is the only case that allocates.
func (fs fields) get(lower string) (string, bool) {
	value, found, joined := "", false, []string(nil)
	for i := range fs {
		f := &fs[i]
		if len(f.Name) != len(lower) || !foldEqual(f.Name, lower) {
			continue
		}
		switch {
		case !found:
			value, found = f.Value, true
		case joined == nil:
			joined = append(joined, value, f.Value)
		default:
			joined = append(joined, f.Value)
		}
	}
	if joined != nil {
		return strings.Join(joined, ","), true
	}
	return value, found
}

// framing is what the header section says about the message's body and what
// happens to the connection afterwards.
type framing struct {
	length     int64 // of the body; -1: not said
	chunked    bool
	close      bool // Connection: close
	keepAlive  bool // Connection: keep-alive
	expect     bool // Expect: 100-continue
	expectElse bool // Expect: anything else
	hosts      int
	host       string
	// err is what keeps the fields from saying where the body ends. It does not
	// matter to a message that has none whatever they say (RFC 9112 §6.3).
	err error
}

// frame reads the fields that decide where a message ends.
func (fs fields) frame() (f framing) {
	f.length = -1
	for i := range fs {
		name, v := fs[i].Name, fs[i].Value
		switch len(name) {
		case len("host"):
			if foldEqual(name, "host") {
				f.hosts++
				f.host = v
			}
		case len("expect"):
			if foldEqual(name, "expect") {
				f.expect = strings.EqualFold(v, "100-continue")
				f.expectElse = f.expectElse || !f.expect
			}
		case len("connection"):
			if foldEqual(name, "connection") {
				f.connection(v)
			}
		case len("content-length"):
			if foldEqual(name, "content-length") {
				n, ok := parseLength(v)
				if !ok || f.length >= 0 {
					f.err = refuse(400, "bad or repeated Content-Length")
				}
				f.length = n
			}
		case len("transfer-encoding"):
			if foldEqual(name, "transfer-encoding") {
				if f.chunked || !strings.EqualFold(v, "chunked") {
					f.err = refuse(501, "unsupported Transfer-Encoding")
				}
				f.chunked = true
			}
		}
	}
	if f.err == nil && f.chunked && f.length >= 0 {
		f.err = refuse(400, "both Content-Length and Transfer-Encoding")
	}
	return f
}

func (f *framing) connection(v string) {
	for v != "" {
		var option string
		option, v, _ = strings.Cut(v, ",")
		switch option = trimOWS(option); {
		case strings.EqualFold(option, "close"):
			f.close = true
		case strings.EqualFold(option, "keep-alive"):
			f.keepAlive = true
		}
	}
}

// parseLength accepts digits only: no sign, no list, no white space, at most
// 18 of them, so that it cannot overflow.
func parseLength(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// requestHead is a parsed request head.
type requestHead struct {
	method, target, path, query string
	minor                       int // of HTTP/1.x
	fields                      fields
	framing
}

// parse reads a whole head, the empty line included.
func (h *requestHead) parse(s string, maxFields int) error {
	end := strings.IndexByte(s, '\n')
	if end < 1 || s[end-1] != '\r' || len(s) < end+3 {
		return refuse(400, "request line without CRLF")
	}
	if err := h.parseLine(s[:end-1]); err != nil {
		return err
	}
	if err := h.fields.parse(s[end+1:len(s)-2], maxFields); err != nil {
		return err
	}
	f := h.fields.frame()
	h.framing = f
	switch {
	case f.err != nil:
		return f.err
	case f.expectElse:
		return refuse(417, "unknown expectation")
	case f.chunked && h.minor == 0:
		return refuse(400, "Transfer-Encoding in HTTP/1.0")
	case f.hosts > 1, f.hosts == 0 && h.minor > 0:
		return refuse(400, "not exactly one Host")
	}
	return nil
}

func (h *requestHead) parseLine(line string) error {
	method, rest, ok := strings.Cut(line, " ")
	if !ok || !allToken(method) {
		return refuse(400, "malformed request line")
	}
	target, version, ok := strings.Cut(rest, " ")
	if !ok || target == "" {
		return refuse(400, "malformed request line")
	}
	switch version {
	case "HTTP/1.1":
		h.minor = 1
	case "HTTP/1.0":
		h.minor = 0
	default:
		return refuse(505, "unsupported HTTP version")
	}
	for i := range len(target) {
		if b := target[i]; b <= ' ' || b >= 0x7f {
			return refuse(400, "request target is not visible ASCII")
		}
	}
	h.method, h.target = method, target
	h.path, h.query, _ = strings.Cut(target, "?")
	return nil
}

// responseHead is a parsed response head.
type responseHead struct {
	status int
	minor  int
	fields fields
	framing
}

// parse reads a whole head, the empty line included. Whether there is a body to
// be framed is not looked at.
func (h *responseHead) parse(s string, maxFields int) error {
	end := strings.IndexByte(s, '\n')
	if end < 1 || s[end-1] != '\r' || len(s) < end+3 {
		return refuse(502, "status line without CRLF")
	}
	line := s[:end-1]
	// "HTTP/1.1 200 OK"; the reason may be missing, with or without its space.
	if len(line) < 12 || line[:7] != "HTTP/1." || line[8] != ' ' || line[7] != '0' && line[7] != '1' ||
		len(line) > 12 && line[12] != ' ' {
		return refuse(502, "malformed status line")
	}
	n, ok := parseLength(line[9:12])
	if !ok || n < 100 {
		return refuse(502, "malformed status code")
	}
	h.minor, h.status = int(line[7]-'0'), int(n)
	if err := h.fields.parse(s[end+1:len(s)-2], maxFields); err != nil {
		return err
	}
	h.framing = h.fields.frame()
	return nil
}
