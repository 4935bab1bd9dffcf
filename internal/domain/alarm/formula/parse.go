package formula

import (
	"slices"
	"strconv"
	"strings"
)

// node is a part of an expression. What it is, op says: a number, a name, an
// operator, a function or a list.
type node struct {
	op   string // "number", "id", "word", "string", "list", "call", or the operator
	name string // of an identifier, a word, a function; a string's text
	num  float64
	args []*node
}

// Parse reads an expression. Errors are fault.Invalid.
func Parse(src string) (*Expr, error) {
	if len(src) > MaxLength {
		return nil, refuse("The expression is longer than %d characters.", MaxLength)
	}
	p := parser{src: src}
	p.advance()
	root, err := p.binary(0)
	if err != nil {
		return nil, err
	}
	if p.tok != "" || p.kind == tokenBad {
		return nil, p.unexpected()
	}
	e := &Expr{root: root, size: p.nodes}
	e.collect(root)
	slices.Sort(e.ids)
	e.ids = slices.Compact(e.ids)
	return e, nil
}

func (e *Expr) collect(n *node) {
	switch {
	case n.op == "id":
		e.ids = append(e.ids, n.name)
	case n.op == "call" && n.name == "METRICS":
		e.all = true
	}
	for _, a := range n.args {
		e.collect(a)
	}
}

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenNumber
	tokenID   // starts with a lower-case letter
	tokenWord // starts with an upper-case letter
	tokenString
	tokenSymbol
	tokenBad
)

type parser struct {
	src   string
	at    int // where the next token begins
	begin int // where this one does
	tok   string
	kind  tokenKind
	nodes int
	depth int
}

// symbols are tried in this order: longer before shorter.
var symbols = [...]string{
	"&&", "||", "<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "^", "(", ")", "[",
	"]", ",",
}

func (p *parser) advance() {
	for p.at < len(p.src) && strings.IndexByte(" \t\r\n", p.src[p.at]) >= 0 {
		p.at++
	}
	p.begin = p.at
	rest := p.src[p.at:]
	if rest == "" {
		p.tok, p.kind = "", tokenEnd
		return
	}
	switch c := rest[0]; {
	case isDigit(c) || c == '.':
		p.accept(tokenNumber, numberLength(rest))
	case c >= 'a' && c <= 'z':
		p.accept(tokenID, wordLength(rest))
	case c >= 'A' && c <= 'Z':
		p.accept(tokenWord, wordLength(rest))
	case c == '"' || c == '\'':
		if n := strings.IndexByte(rest[1:], c); n >= 0 {
			p.accept(tokenString, n+2)
			return
		}
		p.accept(tokenBad, len(rest))
	default:
		for _, s := range symbols {
			if strings.HasPrefix(rest, s) {
				p.accept(tokenSymbol, len(s))
				return
			}
		}
		p.accept(tokenBad, 1)
	}
}

func (p *parser) accept(k tokenKind, n int) {
	p.kind, p.tok = k, p.src[p.at:p.at+n]
	p.at += n
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func wordLength(s string) int {
	n := 0
	for n < len(s) && (s[n] >= 'a' && s[n] <= 'z' || s[n] >= 'A' && s[n] <= 'Z' || isDigit(s[n]) || s[n] == '_') {
		n++
	}
	return n
}

func numberLength(s string) int {
	n := 0
	for n < len(s) && (isDigit(s[n]) || s[n] == '.') {
		n++
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		m := n + 1
		if m < len(s) && (s[m] == '+' || s[m] == '-') {
			m++
		}
		if m < len(s) && isDigit(s[m]) {
			for n = m; n < len(s) && isDigit(s[n]); n++ {
			}
		}
	}
	return n
}

func (p *parser) unexpected() error {
	if p.kind == tokenEnd {
		return refuse("The expression ends unexpectedly.")
	}
	return refuse("Unexpected %q at character %d of the expression.",
		strings.ToValidUTF8(p.tok[:min(len(p.tok), 32)], "?"), p.begin+1)
}

func (p *parser) node(n node) (*node, error) {
	p.nodes++
	if p.nodes > maxNodes {
		return nil, refuse("The expression has more than %d parts.", maxNodes)
	}
	return &n, nil
}

// levels are the binary operators from weak to strong; ^ is not among them.
var levels = [...][]string{
	{"OR", "||"},
	{"AND", "&&"},
	{"<", ">", "<=", ">=", "==", "!="},
	{"+", "-"},
	{"*", "/"},
}

// binary reads operators of a level and stronger ones.
func (p *parser) binary(level int) (*node, error) {
	if level == len(levels) {
		return p.sign()
	}
	left, err := p.binary(level + 1)
	for err == nil && (p.kind == tokenSymbol || p.kind == tokenWord) && slices.Contains(levels[level], p.tok) {
		op := p.tok
		p.advance()
		var right *node
		if right, err = p.binary(level + 1); err == nil {
			left, err = p.node(node{op: canonical(op), args: []*node{left, right}})
		}
	}
	return left, err
}

func canonical(op string) string {
	switch op {
	case "||":
		return "OR"
	case "&&":
		return "AND"
	}
	return op
}

// sign reads -a, and a ^ b.
func (p *parser) sign() (*node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, refuse("The expression is nested more than %d deep.", maxDepth)
	}
	defer func() { p.depth-- }()
	if p.kind == tokenSymbol && (p.tok == "-" || p.tok == "+") {
		op := p.tok
		p.advance()
		of, err := p.sign()
		if err != nil || op == "+" {
			return of, err
		}
		return p.node(node{op: "negate", args: []*node{of}})
	}
	base, err := p.primary()
	if err != nil || p.kind != tokenSymbol || p.tok != "^" {
		return base, err
	}
	p.advance()
	exponent, err := p.sign()
	if err != nil {
		return nil, err
	}
	return p.node(node{op: "^", args: []*node{base, exponent}})
}

func (p *parser) primary() (*node, error) {
	tok, kind := p.tok, p.kind
	switch {
	case kind == tokenNumber:
		v, err := strconv.ParseFloat(tok, 64)
		if err != nil {
			return nil, p.unexpected()
		}
		p.advance()
		return p.node(node{op: "number", num: v})
	case kind == tokenID:
		p.advance()
		return p.node(node{op: "id", name: tok})
	case kind == tokenString:
		p.advance()
		return p.node(node{op: "string", name: tok[1 : len(tok)-1]})
	case kind == tokenWord && tok != "AND" && tok != "OR":
		p.advance()
		return p.call(tok)
	case kind == tokenSymbol && tok == "(":
		p.advance()
		inner, err := p.binary(0)
		if err != nil {
			return nil, err
		}
		return inner, p.expect(")")
	case kind == tokenSymbol && tok == "[":
		p.advance()
		args, err := p.list("]")
		if err != nil {
			return nil, err
		}
		return p.node(node{op: "list", args: args})
	}
	return nil, p.unexpected()
}

// call reads what follows an upper-case word: a function's arguments, or
// nothing if it is a word such as REPEAT.
func (p *parser) call(name string) (*node, error) {
	if p.kind != tokenSymbol || p.tok != "(" {
		return p.node(node{op: "word", name: name})
	}
	p.advance()
	args, err := p.list(")")
	if err != nil {
		return nil, err
	}
	if _, ok := functions[name]; !ok {
		return nil, refuse("The function %s is not supported in expressions.", name[:min(len(name), 64)])
	}
	return p.node(node{op: "call", name: name, args: args})
}

// list reads expressions between commas up to a closing symbol.
func (p *parser) list(closing string) ([]*node, error) {
	var args []*node
	if p.kind == tokenSymbol && p.tok == closing {
		p.advance()
		return args, nil
	}
	for {
		a, err := p.binary(0)
		if err != nil {
			return nil, err
		}
		args = append(args, a)
		if p.kind == tokenSymbol && p.tok == "," {
			p.advance()
			continue
		}
		return args, p.expect(closing)
	}
}

func (p *parser) expect(symbol string) error {
	if p.kind != tokenSymbol || p.tok != symbol {
		return p.unexpected()
	}
	p.advance()
	return nil
}
