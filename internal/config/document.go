package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	"github.com/slipway-ml/slipway/internal/domain/spelling"
)

// Fault is something that is wrong with a configuration file.
type Fault struct {
	File string // "" if it came from no file
	Line int    // 0 if the file does not say it
	Key  string // its path, such as limits.modelTimeout; "" if it is no key's
	Text string
}

func (f *Fault) Error() string {
	text := f.Text
	if f.Key != "" {
		text = f.Key + ": " + text
	}
	switch {
	case f.Line > 0 && f.File != "":
		return fmt.Sprintf("%s:%d: %s", f.File, f.Line, text)
	case f.Line > 0:
		return fmt.Sprintf("line %d: %s", f.Line, text)
	case f.File != "":
		return f.File + ": " + text
	}
	return text
}

// document is a file on its way into a Config.
type document struct {
	root   *yamlv3.Node
	faults []*Fault
}

// decode puts what a file says over c, and reports everything that is wrong
// with it. What cannot be read is left out first, so that the rest is checked.
func decode(file string, text []byte, c *Config) error {
	d := &document{root: &yamlv3.Node{}}
	if err := yamlv3.Unmarshal(text, d.root); err != nil {
		d.faults = []*Fault{syntax(err)}
		return d.err(file)
	}
	if len(d.root.Content) > 0 { // else it is empty
		d.root = d.root.Content[0]
		d.check(d.root, reflect.TypeFor[Config](), "")
	}
	if len(d.faults) > 0 {
		pruned, err := yamlv3.Marshal(d.root)
		if err != nil {
			return err
		}
		text = pruned
	}
	if err := yaml.UnmarshalStrict(text, c); err != nil {
		d.fault(0, "", plain(err, reflect.TypeFor[Config]()))
	} else if joined, ok := c.Validate().(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			d.refused(err)
		}
	}
	return d.err(file)
}

// refused takes a fault that Validate found, which begins with its key. What
// was reported already is not found again.
func (d *document) refused(err error) {
	key, text, _ := strings.Cut(err.Error(), ": ")
	if !slices.ContainsFunc(d.faults, func(f *Fault) bool { return below(key, f.Key) || below(f.Key, key) }) {
		d.fault(lineOf(d.root, key), key, text)
	}
}

// below reports whether key is path or a key below it.
func below(key, path string) bool {
	rest, ok := strings.CutPrefix(key, path)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// lineOf is where a key is given: that of the nearest key above it if it is
// not, and 0 if none is.
func lineOf(n *yamlv3.Node, path string) int {
	switch n.Kind {
	case yamlv3.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := n.Content[i]; below(path, key.Value) {
				return max(key.Line, lineOf(n.Content[i+1], strings.TrimPrefix(path[len(key.Value):], ".")))
			}
		}
	case yamlv3.SequenceNode:
		for i, element := range n.Content {
			if at := fmt.Sprintf("[%d]", i); below(path, at) {
				return max(element.Line, lineOf(element, strings.TrimPrefix(path[len(at):], ".")))
			}
		}
	case yamlv3.DocumentNode, yamlv3.ScalarNode, yamlv3.AliasNode: // no key is in them
	}
	return 0
}

// err joins the faults, by their lines.
func (d *document) err(file string) error {
	slices.SortStableFunc(d.faults, func(a, b *Fault) int { return a.Line - b.Line })
	var all []error
	for _, f := range d.faults {
		f.File = file
		all = append(all, f)
	}
	return errors.Join(all...)
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntax says where a file is no YAML.
func syntax(err error) *Fault {
	f := &Fault{Text: err.Error()}
	if m := yamlLine.FindStringSubmatch(f.Text); m != nil {
		f.Line, _ = strconv.Atoi(m[1]) // 0 without one
		f.Text = strings.TrimPrefix(f.Text, m[0])
	}
	return f
}

func (d *document) fault(line int, key, text string) {
	d.faults = append(d.faults, &Fault{Line: line, Key: key, Text: text})
}

// check compares a node with what its key takes, reports what it is not, and
// takes that out of the document. It returns false if nothing of n is left.
func (d *document) check(n *yamlv3.Node, t reflect.Type, path string) bool {
	switch {
	case isLeaf(t) || n.Kind == yamlv3.AliasNode || isNull(n):
		return d.checkLeaf(n, t, path)
	case t.Kind() == reflect.Slice && n.Kind == yamlv3.SequenceNode:
		for i := 0; i < len(n.Content); i++ {
			// An element that is wrong stays, so that the others keep their numbers.
			d.check(n.Content[i], t.Elem(), fmt.Sprintf("%s[%d]", path, i))
		}
		return true
	case t.Kind() == reflect.Slice || n.Kind != yamlv3.MappingNode:
		return d.checkLeaf(n, t, path)
	}
	known := keysOf(t)
	seen := map[string]int{}
	n.Content = slices.Clone(n.Content)
	for i := 0; i+1 < len(n.Content); {
		key, value := n.Content[i], n.Content[i+1]
		at := join(path, key.Value)
		fine := true
		switch elem, ok := t, t.Kind() == reflect.Map; {
		case key.Tag == "!!merge":
		case seen[key.Value] > 0:
			d.fault(key.Line, at, fmt.Sprintf("is given twice; the first is in line %d", seen[key.Value]))
			fine = false
		case ok:
			fine = d.check(value, elem.Elem(), at)
		default:
			var field reflect.Type
			if field, fine = fieldOf(t, key.Value); fine {
				fine = d.check(value, field, at)
			} else {
				d.fault(key.Line, at, "is no key of "+nameOf(path)+"; "+nearest(key.Value, path, known))
			}
		}
		seen[key.Value] = key.Line
		if fine {
			i += 2
		} else {
			n.Content = slices.Delete(n.Content, i, i+2)
		}
	}
	return true
}

// checkLeaf decodes a node by itself.
func (d *document) checkLeaf(n *yamlv3.Node, t reflect.Type, path string) bool {
	if n.Kind == yamlv3.AliasNode {
		return true // checked where it is anchored, and by the decoder
	}
	text, err := yamlv3.Marshal(n)
	if err == nil {
		err = yaml.UnmarshalStrict(text, reflect.New(t).Interface())
	}
	if err != nil {
		d.fault(n.Line, path, plain(err, t))
	}
	return err == nil
}

// plain is a decoder's error in words of people.
func plain(err error, t reflect.Type) string {
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return "must be " + wanted(t)
	}
	return strings.TrimPrefix(err.Error(), "error unmarshaling JSON: while decoding JSON: ")
}

// wanted says what a key takes.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list, each element " + wanted(t.Elem())
	case reflect.Struct, reflect.Map:
		return "a mapping of keys to values"
	default:
		return "a text; quote it if it looks like something else"
	}
}

// isLeaf reports whether values of the type have no keys below them.
func isLeaf(t reflect.Type) bool {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return true
	}
	switch t.Kind() {
	case reflect.Struct:
		return false
	case reflect.Map, reflect.Slice, reflect.Pointer:
		return isLeaf(t.Elem())
	default:
		return true
	}
}

func isNull(n *yamlv3.Node) bool { return n.Kind == yamlv3.ScalarNode && n.Tag == "!!null" }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func nameOf(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

// keysOf returns the keys of a struct, in order.
func keysOf(t reflect.Type) (keys []string) {
	if t.Kind() != reflect.Struct {
		return nil
	}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		keys = append(keys, name)
	}
	return keys
}

// fieldOf returns the type of a struct's key, which may be in another case.
func fieldOf(t reflect.Type, key string) (reflect.Type, bool) {
	for i, name := range keysOf(t) {
		if strings.EqualFold(name, key) {
			return t.Field(i).Type, true
		}
	}
	return nil, false
}

// nearest suggests a key in the place of one that is not known: one that is
// spelled alike here, one of this name elsewhere, or any that can be here.
func nearest(key, path string, known []string) string {
	if best := spelling.Nearest(key, known); best != "" {
		return "did you mean " + join(path, best) + "?"
	}
	if elsewhere := find(reflect.TypeFor[Config](), "", key); elsewhere != "" {
		return "did you mean " + elsewhere + "?"
	}
	return "there are " + strings.Join(known, ", ")
}

// find returns the path of a key of that name below t.
func find(t reflect.Type, path, key string) string {
	for i, k := range keysOf(t) {
		at, below := join(path, k), t.Field(i).Type
		if strings.EqualFold(k, key) {
			return at
		}
		if found := find(below, at, key); found != "" {
			return found
		}
	}
	return ""
}
