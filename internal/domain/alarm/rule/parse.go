package rule

import (
	"slices"
	"strconv"
	"strings"
)

// Parse reads a rule. Errors are fault.Invalid.
func Parse(src string) (*Rule, error) {
	switch {
	case strings.TrimSpace(src) == "":
		return nil, refuse("AlarmRule must not be empty.")
	case len(src) > MaxLength:
		return nil, refuse("AlarmRule is longer than %d characters.", MaxLength)
	}
	p := parser{src: src, seen: map[string]bool{}}
	root, err := p.either()
	if err != nil {
		return nil, err
	}
	if p.skip(); p.at < len(p.src) {
		return nil, p.unexpected()
	}
	return &Rule{root: root, children: p.children}, nil
}

type parser struct {
	src      string
	at       int
	depth    int
	tests    int
	children []string
	seen     map[string]bool
}

func (p *parser) skip() {
	for p.at < len(p.src) && strings.IndexByte(" \t\r\n", p.src[p.at]) >= 0 {
		p.at++
	}
}

func (p *parser) unexpected() error {
	if p.at >= len(p.src) {
		return refuse("AlarmRule ends unexpectedly.")
	}
	rest := p.src[p.at:]
	return refuse("Unexpected %q at character %d of AlarmRule.", strings.ToValidUTF8(rest[:min(len(rest), 16)], "?"),
		p.at+1)
}

// word takes the upper-case word that comes next, if it is one of these.
func (p *parser) word(words ...string) string {
	p.skip()
	n := 0
	for p.at+n < len(p.src) && (p.src[p.at+n] >= 'A' && p.src[p.at+n] <= 'Z' || p.src[p.at+n] == '_') {
		n++
	}
	w := p.src[p.at : p.at+n]
	if !slices.Contains(words, w) {
		return ""
	}
	p.at += n
	return w
}

func (p *parser) symbol(c byte) bool {
	p.skip()
	if p.at < len(p.src) && p.src[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) either() (node, error) {
	ns, err := p.joined("OR", p.all)
	if err != nil || len(ns) > 1 {
		return either(ns), err
	}
	return ns[0], nil
}

func (p *parser) all() (node, error) {
	ns, err := p.joined("AND", p.one)
	if err != nil || len(ns) > 1 {
		return all(ns), err
	}
	return ns[0], nil
}

// joined reads one operand, and another after each word.
func (p *parser) joined(word string, operand func() (node, error)) (ns []node, err error) {
	for {
		n, err := operand()
		if err != nil {
			return nil, err
		}
		if ns = append(ns, n); p.word(word) == "" {
			return ns, nil
		}
	}
}

func (p *parser) one() (node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, refuse("AlarmRule is nested more than %d deep.", maxDepth)
	}
	defer func() { p.depth-- }()
	if p.symbol('(') {
		inner, err := p.either()
		if err == nil && !p.symbol(')') {
			err = p.unexpected()
		}
		return inner, err
	}
	if p.tests++; p.tests > maxTests {
		return nil, refuse("AlarmRule has more than %d parts.", maxTests)
	}
	switch w := p.word("NOT", "TRUE", "FALSE", "ALARM", "OK", "INSUFFICIENT_DATA", "AT_LEAST"); w {
	case "NOT":
		of, err := p.one()
		return not{of}, err
	case "TRUE", "FALSE":
		return constant(w == "TRUE"), nil
	case "ALARM", "OK", "INSUFFICIENT_DATA":
		alarms, err := p.alarms()
		if err == nil && len(alarms) != 1 {
			err = refuse("%s in AlarmRule takes one alarm, not %d.", w, len(alarms))
		}
		return test{state: w, alarms: alarms, atLeast: 1}, err
	case "AT_LEAST":
		return p.atLeast()
	}
	return nil, p.unexpected()
}

// atLeast reads (2, ALARM, (a, b, c)).
func (p *parser) atLeast() (node, error) {
	if !p.symbol('(') {
		return nil, p.unexpected()
	}
	p.skip()
	begin := p.at
	for p.at < len(p.src) && p.src[p.at] >= '0' && p.src[p.at] <= '9' {
		p.at++
	}
	number, err := strconv.Atoi(p.src[begin:p.at])
	if err != nil {
		p.at = begin
		return nil, p.unexpected()
	}
	share := p.symbol('%')
	if !p.symbol(',') {
		return nil, p.unexpected()
	}
	n := test{not: p.word("NOT") != ""}
	if n.state = p.word("ALARM", "OK", "INSUFFICIENT_DATA"); n.state == "" || !p.symbol(',') {
		return nil, p.unexpected()
	}
	if n.alarms, err = p.alarms(); err != nil {
		return nil, err
	}
	if !p.symbol(')') {
		return nil, p.unexpected()
	}
	n.atLeast = number
	if share {
		if number > 100 {
			return nil, refuse("AT_LEAST in AlarmRule asks for %d%% of its alarms.", number)
		}
		n.atLeast = (number*len(n.alarms) + 99) / 100
	}
	if n.atLeast < 1 || n.atLeast > len(n.alarms) {
		return nil, refuse("AT_LEAST in AlarmRule asks for %d of %d alarms.", n.atLeast, len(n.alarms))
	}
	return n, nil
}

// alarms reads names between parentheses and commas.
func (p *parser) alarms() ([]string, error) {
	if !p.symbol('(') {
		return nil, p.unexpected()
	}
	var names []string
	for {
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		if slices.Contains(names, name) {
			return nil, refuse("AlarmRule names the alarm %q twice in one list.", name)
		}
		names = append(names, name)
		if !p.seen[name] {
			p.seen[name] = true
			p.children = append(p.children, name)
		}
		if len(p.children) > MaxChildren {
			return nil, refuse("AlarmRule mentions more than %d alarms.", MaxChildren)
		}
		if p.symbol(')') {
			return names, nil
		}
		if !p.symbol(',') {
			return nil, p.unexpected()
		}
	}
}

// name reads one alarm's name or ARN. In quotes, a backslash keeps the next
// character from ending it; bare names end at white space, comma or parenthesis.
func (p *parser) name() (string, error) {
	var b strings.Builder
	if p.symbol('"') {
		for p.at < len(p.src) && p.src[p.at] != '"' {
			if p.src[p.at] == '\\' && p.at+1 < len(p.src) {
				p.at++
			}
			b.WriteByte(p.src[p.at])
			p.at++
		}
		if !p.symbol('"') {
			return "", p.unexpected()
		}
	} else {
		n := strings.IndexAny(p.src[p.at:], " \t\r\n,()\"")
		if n < 0 {
			n = len(p.src) - p.at
		}
		b.WriteString(p.src[p.at : p.at+n])
		p.at += n
	}
	if b.Len() == 0 {
		return "", p.unexpected()
	}
	return b.String(), nil
}
