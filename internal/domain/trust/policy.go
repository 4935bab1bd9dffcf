package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// AssumeRole is the one action that policies are evaluated for.
const AssumeRole = "iot:AssumeRoleWithCertificate"

// MaxDocument bounds a policy document, in characters that are not white space.
const MaxDocument = 2048

// ErrMalformed is in the cause of a refusal of a policy document.
var ErrMalformed = errors.New("malformed policy document")

// Document is a policy that was read.
type Document struct{ statements []statement }

type statement struct {
	deny, conditional  bool
	actions, resources []string // patterns
}

// ParsePolicy reads a policy document. What it does not understand it refuses:
// to leave out a part of a policy could allow what it forbids. Names are read
// as they are written, and none may come twice.
func ParsePolicy(text string) (d Document, err error) {
	if n := solid(text); n > MaxDocument {
		return d, malformed("it has %d characters without white space, more than %d", n, MaxDocument)
	}
	top, err := object([]byte(text))
	if err != nil {
		return d, malformed("it is not a JSON object whose names are unique")
	}
	statements := top["Statement"]
	for key := range top {
		if !slices.Contains([]string{"Version", "Id", "Statement"}, key) {
			return d, malformed("it has the unknown element %q", key)
		}
	}
	if v, ok := top["Version"]; ok {
		if s, err := text1(v); err != nil || s != "2012-10-17" && s != "2008-10-17" {
			return d, malformed("its Version is neither 2012-10-17 nor 2008-10-17")
		}
	}
	if statements == nil {
		return d, malformed("it has no Statement")
	}
	all := []json.RawMessage{statements}
	if statements[0] == '[' {
		if err := json.Unmarshal(statements, &all); err != nil {
			return d, malformed("its Statement is neither an object nor a list of them")
		}
	}
	for i, raw := range all {
		s, err := parseStatement(raw)
		if err != nil {
			return d, malformed("statement %d: %s", i+1, err)
		}
		d.statements = append(d.statements, s)
	}
	return d, nil
}

func malformed(format string, args ...any) error {
	return fault.New(fault.Invalid, "Policy document is malformed: %s.",
		fmt.Sprintf(format, args...)).Because(ErrMalformed)
}

func parseStatement(raw json.RawMessage) (s statement, err error) {
	fields, err := object(raw)
	if err != nil {
		return s, errors.New("it is not an object whose names are unique")
	}
	for key, v := range fields {
		switch key {
		case "Sid":
			if _, err := text1(v); err != nil {
				return s, errors.New("its Sid is no string")
			}
		case "Effect":
			effect, err := text1(v)
			if err != nil || effect != "Allow" && effect != "Deny" {
				return s, errors.New("its Effect is neither Allow nor Deny")
			}
			s.deny = effect == "Deny"
		case "Action":
			s.actions, err = texts(v)
		case "Resource":
			s.resources, err = texts(v)
		case "Condition":
			_, err = object(v)
			s.conditional = true
		default:
			return s, fmt.Errorf("it has the unknown element %q", key)
		}
		if err != nil {
			return s, fmt.Errorf("its %s cannot be read", key)
		}
	}
	for _, key := range []string{"Effect", "Action", "Resource"} {
		if fields[key] == nil {
			return s, fmt.Errorf("it has no %s", key)
		}
	}
	return s, nil
}

// object reads a JSON object, with every name as it is written; encoding/json
// alone would take effect for Effect, and the last of two.
func object(raw []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not an object")
	}
	out := map[string]json.RawMessage{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, _ := t.(string) // the decoder takes nothing else here
		if _, twice := out[key]; twice {
			return nil, errors.New("a name comes twice")
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, err
		}
		out[key] = v
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the object")
	}
	return out, nil
}

// text1 reads a string; null is none.
func text1(raw json.RawMessage) (string, error) {
	if raw[0] != '"' {
		return "", errors.New("not a string")
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err
}

// texts reads a string or a list of at least one.
func texts(raw json.RawMessage) ([]string, error) {
	if raw[0] != '[' {
		s, err := text1(raw)
		return []string{s}, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 {
		return nil, errors.New("not a list of strings")
	}
	var out []string
	for _, r := range list {
		s, err := text1(r)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// solid counts the characters that are not white space.
func solid(s string) (n int) {
	for _, c := range s {
		if !unicode.IsSpace(c) {
			n++
		}
	}
	return n
}

// Allowed reports whether the documents together allow action on resource: at
// least one allows it, and none denies it.
func Allowed(all []Document, action, resource string) bool {
	allowed := false
	for _, d := range all {
		for _, s := range d.statements {
			switch {
			case s.deny && s.denies(action, resource):
				return false
			case !s.deny && s.allows(action, resource):
				allowed = true
			}
		}
	}
	return allowed
}

// allows is cautious: conditions and variables, which are not evaluated here,
// are taken for not met.
func (s statement) allows(action, resource string) bool {
	resources := slices.DeleteFunc(slices.Clone(s.resources), hasVariable)
	return !s.conditional && matchesAny(s.actions, action, true) && matchesAny(resources, resource, false)
}

// denies is cautious the other way: conditions are taken for met, and variables
// for whatever it is that matches.
func (s statement) denies(action, resource string) bool {
	resources := slices.Clone(s.resources)
	for i, r := range resources {
		if at := strings.Index(r, "${"); at >= 0 {
			resources[i] = r[:at] + "*"
		}
	}
	return matchesAny(s.actions, action, true) && matchesAny(resources, resource, false)
}

func hasVariable(pattern string) bool { return strings.Contains(pattern, "${") }

func matchesAny(patterns []string, s string, fold bool) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if fold {
			return match(strings.ToLower(p), strings.ToLower(s))
		}
		return match(p, s)
	})
}

// match reports whether s matches a pattern in which * is any text and ? any
// character, in time bounded by the product of their lengths.
func match(pattern, s string) bool {
	p, at := 0, 0
	star, from := -1, 0
	for at < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, at
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[at]):
			p++
			at++
		case star >= 0: // let the last star take one more
			from++
			p, at = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
