package capture

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What is encoded eight bytes at a time is what the standard library makes of it,
// wherever in a word a byte stands and whatever stood in the memory before.
func TestEncodedTextIsWhatTheStandardLibrarySays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		before := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(rt, "before")
		data := rapid.SliceOfN(rapid.Byte(), 0, 70).Draw(rt, "data")
		room := append(make([]byte, 0, rapid.IntRange(0, 200).Draw(rt, "room")), before...)
		want := string(before) + base64.StdEncoding.EncodeToString(data)
		if got := string(appendBase64(room, data)); got != want {
			rt.Fatalf("base 64 of %q behind %q is %q", data, before, got)
		}

		letters := rapid.SampledFrom([]string{
			"a", "\"", "\\", "\x00", "\x1f", " ", "!", "#", "[", "]", "\x7f", "é", "\u2028", "𝄞",
		})
		text := strings.Join(rapid.SliceOfN(letters, 0, 40).Draw(rt, "text"), "")
		got := string(appendQuoted(before, []byte(text))[len(before):])
		var back string
		if err := json.Unmarshal([]byte(got), &back); err != nil || back != text {
			rt.Fatalf("%q is written as %s: %v", text, got, err)
		}
		if n := strings.Count(got, "\\u"); n != strings.Count(text, "\x00")+strings.Count(text, "\x1f") {
			rt.Fatalf("%q is written as %s", text, got)
		}
	})
}

// Of the bytes that a line has, most are written here.
func BenchmarkEncode(b *testing.B) {
	text := []byte(strings.Repeat(`{"instances": [[5.1, 3.5, 1.4, 0.2]]}`, 2700))
	for name, f := range map[string]func(out []byte) []byte{
		"base 64":              func(out []byte) []byte { return appendBase64(out, text) },
		"base 64, the library": func(out []byte) []byte { return base64.StdEncoding.AppendEncode(out, text) },
		"text":                 func(out []byte) []byte { return appendQuoted(out, text) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			var out []byte
			for b.Loop() {
				out = f(out[:0])
			}
		})
	}
}
