package capture

import (
	"encoding/base64"
	"encoding/binary"
	"math/bits"
	"slices"
)

// Every byte that is captured goes through here once, and most of what capture
// costs is spent here (docs/performance.md). So bytes are looked at eight at a
// time, where encoding/json and encoding/base64 take one and three.

// Every byte of a word.
const (
	ones = 0x0101_0101_0101_0101
	tops = 0x80 * ones
)

// appendQuoted appends UTF-8 as a JSON string. encoding/json escapes what HTML
// would need, which makes captured text longer and no safer.
func appendQuoted(b, text []byte) []byte {
	b = slices.Grow(b, len(text)+len(text)/8+2)
	b = append(b, '"')
	for len(text) >= 8 {
		w := binary.LittleEndian.Uint64(text)
		b = binary.LittleEndian.AppendUint64(b, w)
		// The top bit of each byte that is below 0x20, a quote or a backslash; of the
		// bytes above such a one, perhaps of some that are none.
		quote, slash := w^'"'*ones, w^'\\'*ones
		found := ((w - 0x20*ones) | (quote - ones) | (slash - ones)) &^ w & tops
		if found == 0 {
			text = text[8:]
			continue
		}
		n := bits.TrailingZeros64(found) / 8
		b = appendEscaped(b[:len(b)-8+n], text[n])
		text = text[n+1:]
	}
	for _, c := range text {
		if c < 0x20 || c == '"' || c == '\\' {
			b = appendEscaped(b, c)
		} else {
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// appendEscaped appends a byte that does not stand for itself in a JSON string.
func appendEscaped(b []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}

// pairs are the two letters of base 64 for every 12 bits, the first in the low
// byte. Nobody changes them.
var pairs = func() (t [1 << 12]uint16) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range t {
		t[i] = uint16(letters[i>>6]) | uint16(letters[i&63])<<8
	}
	return t
}()

// appendBase64 appends data in base 64, padded (RFC 4648 §4).
func appendBase64(b, data []byte) []byte {
	at, n := len(b), base64.StdEncoding.EncodedLen(len(data))
	if cap(b)-at < n {
		b = append(b, make([]byte, n)...)
	}
	b = b[:at+n]
	out := b[at:]
	for len(data) >= 8 { // of which six become eight letters
		w := binary.BigEndian.Uint64(data)
		binary.LittleEndian.PutUint64(out, uint64(pairs[w>>52])|uint64(pairs[w>>40&0xfff])<<16|
			uint64(pairs[w>>28&0xfff])<<32|uint64(pairs[w>>16&0xfff])<<48)
		data, out = data[6:], out[8:]
	}
	base64.StdEncoding.Encode(out, data)
	return b
}
