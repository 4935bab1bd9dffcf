package awsquery

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/slipway-ml/slipway/internal/wire/shape"
)

// decode reads the parameters into v, a pointer to a generated struct. Unknown
// names are skipped, and the last of two parameters of one name wins. Lists are
// in the order of their indices, whether or not any is missing. Any error is a
// *shape.DecodeError. It cannot be nested deeper than the shape is, and makes
// nothing that no parameter asked for.
func (ps params) decode(v shape.Value) error {
	return structure(v.Shape(), reflect.ValueOf(v).Elem(), node{all: ps})
}

func failed(format string, args ...any) error {
	return &shape.DecodeError{Text: fmt.Sprintf(format, args...)}
}

// A node is a place in the tree that the names of parameters spell: those
// below it, and the value at it, if there is one.
type node struct {
	name  string  // the last part of its path
	at    int     // the bytes of its path, and of the dot behind it
	value *string // nil if there is none
	all   params  // all that begin with its path: one at least, but for the root
}

// path is the whole name of the node, which is not the root.
func (n node) path() string { return clip(n.all[0].name[:n.at-1]) }

// children yields what is one part below a node. A name that occurs twice, with
// another between that sorts among what is below it, is yielded twice.
func (n node) children(yield func(node) bool) {
	for rest := n.below(); len(rest) > 0; {
		part, _, _ := strings.Cut(rest[0].name[n.at:], ".")
		c := node{name: part, at: n.at + len(part) + 1}
		size := 0
		for ; size < len(rest) && inside(rest[size].name, rest[0].name[:n.at+len(part)]); size++ {
			if len(rest[size].name) < c.at {
				c.value = &rest[size].value
			}
		}
		c.all, rest = rest[:size], rest[size:]
		if !yield(c) {
			return
		}
	}
}

// below leaves out the parameters that are the node's own value.
func (n node) below() params {
	i := 0
	for i < len(n.all) && len(n.all[i].name) < n.at {
		i++
	}
	return n.all[i:]
}

// inside reports whether a name is path or below it.
func inside(name, path string) bool {
	return strings.HasPrefix(name, path) && (len(name) == len(path) || name[len(path)] == '.')
}

func value(s *shape.Shape, v reflect.Value, n node) error {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	switch s.Kind {
	case shape.Structure:
		return structure(s, v, n)
	case shape.List:
		return list(s, v, n)
	case shape.Map:
		return mapping(s, v, n)
	}
	if n.value == nil {
		return failed("The parameter %s has no members.", n.path())
	}
	if !utf8.ValidString(*n.value) {
		return failed("The parameter %s is not valid UTF-8.", n.path())
	}
	if !shape.SetText(s, v, *n.value) {
		return failed("%q at %s can not be converted to %s", clip(*n.value), n.path(), s.Kind.Named())
	}
	return nil
}

func structure(s *shape.Shape, v reflect.Value, n node) error {
	for c := range n.children {
		for i := range s.Members {
			if m := &s.Members[i]; m.Name == c.name {
				if err := value(m.Shape, v.Field(i), c); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// list reads Name.member.1, Name.1 as flattened lists have it, and Name= as
// the empty list.
func list(s *shape.Shape, v reflect.Value, n node) error {
	items, err := elements(n, "member")
	if err != nil {
		return err
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		if err := value(s.Elem, v.Index(i), item.node); err != nil {
			return err
		}
	}
	return nil
}

// mapping reads Name.entry.1.key and Name.entry.1.value.
func mapping(s *shape.Shape, v reflect.Value, n node) error {
	entries, err := elements(n, "entry")
	if err != nil {
		return err
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range entries {
		key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		seen := 0
		for c := range e.node.children {
			switch c.name {
			case "key":
				err, seen = value(s.Key, key, c), seen|1
			case "value":
				err, seen = value(s.Elem, elem, c), seen|2
			}
			if err != nil {
				return err
			}
		}
		if seen != 3 {
			return failed("The parameter %s needs a key and a value.", e.node.path())
		}
		v.SetMapIndex(key, elem)
	}
	return nil
}

// An item is an element of a list or an entry of a map.
type item struct {
	index int
	node  node
}

const needsIndex = "The parameter %s is a list: its elements need an index."

// elements returns what is below a list or map, in the order of the indices.
func elements(n node, wrapper string) ([]item, error) {
	bare := func(n node) bool { return n.value != nil && *n.value != "" }
	if bare(n) {
		return nil, failed(needsIndex, n.path())
	}
	var items []item
	add := func(c node) error {
		i, err := strconv.ParseUint(c.name, 10, 31)
		if err != nil || i == 0 {
			return failed("The parameter %s has no index that is a whole number above 0.", c.path())
		}
		items = append(items, item{int(i), c})
		return nil
	}
	for c := range n.children {
		if c.name != wrapper {
			if err := add(c); err != nil {
				return nil, err
			}
			continue
		}
		if bare(c) {
			return nil, failed(needsIndex, c.path())
		}
		for e := range c.children {
			if err := add(e); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(items, func(a, b item) int { return a.index - b.index })
	for i := range items[min(1, len(items)):] {
		if items[i].index == items[i+1].index {
			return nil, failed("The parameter %s occurs twice.", items[i].node.path())
		}
	}
	return items, nil
}
