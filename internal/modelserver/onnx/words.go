//go:build cgo

package onnx

import (
	"regexp"
	"strings"
)

// What the library's messages begin with that says less than what follows.
var (
	loading = regexp.MustCompile(`^(?:Load model from .*? failed: ?|Exception during (?:initialization|loading): ?)`)
	running = regexp.MustCompile(
		`^Non-zero status code returned while running (\S+) node\. Name:'(.*?)' Status Message: ?`)
	node     = regexp.MustCompile(`^Node ?\((.*?)\) Op \((.*?)\) (?:\[\w+\] )?`)
	invalid  = regexp.MustCompile(`^This is an invalid model\. In Node, \("(.*?)", (\w+), .*? , Error `)
	location = regexp.MustCompile(`^(?:/?[\w.+-]+/)*[\w.+-]+\.(?:cc|cpp|h|hpp|cu):\d+ `)
	function = regexp.MustCompile(`^[\w:<>~,*& ]*::[\w<>~:]+\(`)
	enforced = regexp.MustCompile(`^\S.*? was false\. `)
)

// plainly makes the library's message one line that leads with the sentence
// that matters: which operator it is about comes last, and where in the
// library's source it was found is left out.
func plainly(s string) string {
	s = strings.ToValidUTF8(strings.Join(strings.Fields(s), " "), "?")
	s = loading.ReplaceAllString(s, "")
	about := ""
	for _, p := range []struct {
		what     *regexp.Regexp
		op, name int
	}{{running, 1, 2}, {invalid, 2, 1}, {node, 2, 1}} {
		if m := p.what.FindStringSubmatch(s); m != nil {
			s, about = s[len(m[0]):], " (operator "+m[p.op]+", node "+m[p.name]+")"
		}
	}
	s = unplaced(s)
	if rest := enforced.ReplaceAllString(s, ""); rest != "" {
		s = rest
	}
	if s == "" {
		s = "it gives no reason"
	}
	if len(s) > 600 {
		s = strings.ToValidUTF8(s[:600], "") + "…"
	}
	if len(about) > 200 {
		about = ""
	}
	return s + about
}

// unplaced cuts a place in the library's source, and the function's signature,
// off the beginning of s.
func unplaced(s string) string {
	at := location.FindString(s)
	if at == "" {
		return s
	}
	rest := s[len(at):]
	name := function.FindString(rest)
	if name == "" { // the function's bare name
		if _, after, ok := strings.Cut(rest, " "); ok {
			return after
		}
		return rest
	}
	end := closing(rest, len(name)-1)
	for end > 0 && end < len(rest) && rest[end] != ' ' { // another pair follows: operator()(…)
		next := strings.IndexByte(rest[end:], '(')
		if next < 0 {
			break
		}
		end = closing(rest, end+next)
	}
	if end < 0 {
		return rest
	}
	rest = strings.TrimPrefix(strings.TrimLeft(rest[end:], ">"), " const")
	if strings.HasPrefix(rest, " [with ") {
		if end := closing(rest, 1); end > 0 {
			rest = rest[end:]
		}
	}
	return strings.TrimSpace(rest)
}

// closing returns the place behind the bracket that closes the one at open, -1
// if none does.
func closing(s string, open int) int {
	depth := 0
	for i := open; i < len(s); i++ {
		switch s[i] {
		case '(', '[':
			depth++
		case ')', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}
