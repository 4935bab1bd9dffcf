package sigv4

import (
	"bytes"
	"slices"
	"strings"
)

// scratch is the memory that one verification needs, kept for the next.
type scratch struct {
	buf   []byte   // the canonical request, then the string to sign
	query []byte   // the query's names and values, re-encoded
	pairs []pair   // in query
	hash  [64]byte // hex, of the body
}

// pair is one query parameter: query[name:eq] is its name, query[eq:end] its value.
type pair struct{ name, eq, end int }

func (sc *scratch) nameOf(p pair) []byte  { return sc.query[p.name:p.eq] }
func (sc *scratch) valueOf(p pair) []byte { return sc.query[p.eq:p.end] }

// normaliseQuery decodes each name and value as a server does ('+' is a space)
// and encodes them again as the signature wants them, so that what was signed
// is what the handler will read.
func (sc *scratch) normaliseQuery(raw string) *Error {
	sc.query, sc.pairs = sc.query[:0], sc.pairs[:0]
	for raw != "" {
		var part string
		if part, raw, _ = strings.Cut(raw, "&"); part == "" {
			continue
		}
		if len(sc.pairs) == maxQueryPairs {
			return fail(reasonMalformedQuery, "The query string has too many parameters.")
		}
		name, value, _ := strings.Cut(part, "=")
		p := pair{name: len(sc.query)}
		sc.query = appendRecoded(sc.query, name)
		p.eq = len(sc.query)
		sc.query = appendRecoded(sc.query, value)
		p.end = len(sc.query)
		sc.pairs = append(sc.pairs, p)
	}
	return nil
}

func (sc *scratch) has(name string) bool {
	for _, p := range sc.pairs {
		if string(sc.nameOf(p)) == name {
			return true
		}
	}
	return false
}

// value returns a parameter decoded, and how many of that name there are.
func (sc *scratch) value(name string) (v string, n int) {
	for _, p := range sc.pairs {
		if string(sc.nameOf(p)) == name {
			if n++; n == 1 {
				v = unescape(sc.valueOf(p))
			}
		}
	}
	return v, n
}

// canonicalRequest writes the canonical request to buf, with that length of the
// body where it is signed. An empty hash stands for sc.hash.
func (sc *scratch) canonicalRequest(r Request, a *auth, hash, length string) {
	b := append(sc.buf[:0], r.Method()...)
	b = append(b, '\n')
	b = appendPath(b, r.Path(), a.service == serviceS3)
	b = append(b, '\n')
	b = sc.appendQuery(b)
	b = append(b, '\n')
	for rest := a.signedHeaders; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, ";")
		value := length
		if name != contentLength {
			value, _ = r.Header(name) // one that is absent was signed empty, or the signature is another
		}
		b = append(append(b, name...), ':')
		b = appendTrimmed(b, value)
		b = append(b, '\n')
	}
	b = append(append(append(b, '\n'), a.signedHeaders...), '\n')
	if hash == "" {
		b = append(b, sc.hash[:]...)
	} else {
		b = append(b, hash...)
	}
	sc.buf = b
}

// stringToSign replaces buf by the string to sign over the canonical request's
// digest.
func (sc *scratch) stringToSign(a *auth, sum [32]byte) {
	b := append(append(sc.buf[:0], algorithm...), '\n')
	b = append(append(b, a.date...), '\n')
	b = append(append(b, a.scope...), '\n')
	n := len(b)
	b = append(b, make([]byte, 64)...)
	hexInto(b[n:], sum[:])
	sc.buf = b
}

func (sc *scratch) appendQuery(b []byte) []byte {
	if len(sc.pairs) == 0 {
		return b
	}
	slices.SortStableFunc(sc.pairs, func(p, q pair) int {
		if c := bytes.Compare(sc.nameOf(p), sc.nameOf(q)); c != 0 {
			return c
		}
		return bytes.Compare(sc.valueOf(p), sc.valueOf(q))
	})
	n := len(b)
	for _, p := range sc.pairs {
		if string(sc.nameOf(p)) == "X-Amz-Signature" {
			continue
		}
		if len(b) > n {
			b = append(b, '&')
		}
		b = append(append(append(b, sc.nameOf(p)...), '='), sc.valueOf(p)...)
	}
	return b
}

// appendPath writes the canonical URI. S3 encodes a path once: decoded and
// encoded again it is the same however a client spelled it, but for an encoded
// slash, which stays one. Every other service encodes what was sent a second
// time.
func appendPath(b []byte, path string, once bool) []byte {
	if path == "" {
		return append(b, '/')
	}
	for i := 0; i < len(path); i++ {
		c := path[i]
		if once && c == '%' {
			if d, ok := unhex(path[i:]); ok {
				i += 2
				if c = d; c == '/' {
					b = appendEscaped(b, c)
					continue
				}
			}
		}
		if unreserved[c] || c == '/' {
			b = append(b, c)
		} else {
			b = appendEscaped(b, c)
		}
	}
	return b
}

// appendRecoded decodes a part of a query and encodes it as RFC 3986 wants it.
// A stray '%' stands for itself.
func appendRecoded(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '%':
			if d, ok := unhex(s[i:]); ok {
				c = d
				i += 2
			}
		case c == '+':
			c = ' '
		}
		if unreserved[c] {
			b = append(b, c)
		} else {
			b = appendEscaped(b, c)
		}
	}
	return b
}

// appendTrimmed writes a header value without outer spaces, and with one space
// for each run of them.
func appendTrimmed(b []byte, s string) []byte {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	for {
		i := strings.IndexByte(s, ' ')
		if i < 0 {
			return append(b, s...)
		}
		b = append(b, s[:i+1]...)
		for s = s[i:]; s != "" && s[0] == ' '; {
			s = s[1:]
		}
	}
}

const upperHex, lowerHex = "0123456789ABCDEF", "0123456789abcdef"

func appendEscaped(b []byte, c byte) []byte {
	return append(b, '%', upperHex[c>>4], upperHex[c&15])
}

// hexInto writes src as lower-case hex; dst is twice as long.
func hexInto(dst, src []byte) {
	for i, c := range src {
		dst[2*i], dst[2*i+1] = lowerHex[c>>4], lowerHex[c&15]
	}
}

// unhex decodes the %XX that s begins with.
func unhex(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	hi, lo := fromHex(s[1]), fromHex(s[2])
	return hi<<4 | lo&15, hi < 16 && lo < 16
}

func fromHex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// unreserved is RFC 3986's set of characters that are never encoded.
var unreserved = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") {
		t[c] = true
	}
	return t
}()
