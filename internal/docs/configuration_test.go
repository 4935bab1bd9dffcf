package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	agentconfig "github.com/slipway-ml/slipway/internal/agent/config"
	"github.com/slipway-ml/slipway/internal/config"
)

// The parts of docs/configuration.md that list keys are what the code says:
// its comments, types and defaults. A key without a comment fails.
func TestTheConfigurationPageListsEveryKey(t *testing.T) {
	for from, entries := range map[string][]entry{
		"internal/config":       serverKeys(t),
		"internal/agent/config": agentKeys(t),
	} {
		var part strings.Builder
		for _, e := range entries {
			if e.doc == "" {
				t.Errorf("%s has no description: begin the comment of its field with the field's name", e.keys[0].name)
			}
			part.WriteString(e.String())
		}
		generated(t, "docs/configuration.md", from, part.String())
	}
}

func TestAKeyWithoutADescriptionIsSeen(t *testing.T) {
	s := source{structs: map[string][]field{"Config": {
		{name: "A", key: "a", kind: "string", doc: "is said"}, {name: "B", key: "b", kind: "string"},
	}}}
	all := s.keys("Config", "", reflect.Value{})
	if len(all) != 2 || all[0].doc != "Said" || all[1].doc != "" {
		t.Errorf("%+v", all)
	}
}

// entry is a setting: the keys that set it, and what it means.
type entry struct {
	keys     []key
	fallback string // its default, "" for none
	doc      string
	section  bool // it only holds the keys that follow
}

// key is a key of a configuration file, and what its value is.
type key struct{ name, kind string }

func (e entry) String() string {
	if e.section {
		return "\n" + wrap("**`"+e.keys[0].name+"`** "+e.doc, "") + "\n\n" // "images are …"
	}
	text := fmt.Sprintf("- `%s` (%s", e.keys[0].name, e.keys[0].kind)
	if e.fallback != "" {
		text += ", default `" + e.fallback + "`"
	}
	text += "). " + e.doc
	for _, k := range e.keys[1:] {
		text += " Also `" + k.name + "`"
		if k.kind != e.keys[0].kind {
			text += " (" + k.kind + ")"
		}
		text += "."
	}
	return wrap(text, "  ") + "\n"
}

// wrap breaks a text into lines; all but the first are indented.
func wrap(text, indent string) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		n := len([]rune(word))
		switch {
		case i == 0:
		case column+1+n > widest-2:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}

// source are the structs that a package declares, and its functions.
type source struct {
	structs map[string][]field
	funcs   map[string]*ast.FuncDecl
}

// field is a field of a struct: its key in a file, its type as it is written,
// and its comment.
type field struct{ name, key, kind, doc string }

func readSource(t *testing.T, dir string) source {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	s := source{map[string][]field{}, map[string]*ast.FuncDecl{}}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				s.funcs[f.Name.Name] = f
			}
			gen, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range gen.Specs {
				if ts, ok := spec.(*ast.TypeSpec); ok {
					if st, ok := ts.Type.(*ast.StructType); ok {
						s.structs[ts.Name.Name] = fieldsOf(st)
					}
				}
			}
		}
	}
	return s
}

var citation = regexp.MustCompile(` \((edge )?spec §[^)]*\)`)

func fieldsOf(st *ast.StructType) (all []field) {
	for _, f := range st.Fields.List {
		for _, n := range f.Names {
			one := field{name: n.Name, kind: typeName(f.Type)}
			if f.Tag != nil {
				tag, _ := strconv.Unquote(f.Tag.Value) // the compiler has read it
				one.key, _, _ = strings.Cut(reflect.StructTag(tag).Get("json"), ",")
			}
			doc := strings.Join(strings.Fields(f.Doc.Text()), " ")
			if rest, ok := strings.CutPrefix(doc, n.Name+" "); ok {
				one.doc = citation.ReplaceAllString(rest, "")
			}
			all = append(all, one)
		}
	}
	return all
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.ArrayType:
		return "[]" + typeName(e.Elt)
	case *ast.MapType:
		return "map[]" + typeName(e.Value)
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// sentence makes the rest of a comment, "is the port", a sentence of its own.
func sentence(doc string) string {
	for _, verb := range []string{"is ", "are "} {
		doc = strings.TrimPrefix(doc, verb)
	}
	if doc == "" {
		return ""
	}
	return strings.ToUpper(doc[:1]) + doc[1:]
}

// serverKeys are the keys of slipway.yaml, in the order of the structs.
func serverKeys(t *testing.T) []entry {
	return readSource(t, "internal/config").keys("Config", "", reflect.ValueOf(config.Default()))
}

// kinds are how types are written in a file.
var kinds = map[string]string{
	"string": "text", "Secret": "text, not logged", "int": "whole number", "int64": "whole number",
	"bool": "true or false", "Duration": "duration such as 30s", "[]string": "list of texts",
	"map[]string": "texts by name",
}

// keys are the keys below prefix that a struct holds; defaults may be invalid.
func (s source) keys(name, prefix string, defaults reflect.Value) (plain []entry) {
	var sections []entry
	for _, f := range s.structs[name] {
		value := reflect.Value{}
		if defaults.IsValid() {
			value = defaults.FieldByName(f.name)
		}
		if kind, ok := kinds[f.kind]; ok {
			e := entry{keys: []key{{prefix + f.key, kind}}, doc: sentence(f.doc)}
			if value.IsValid() && (!value.IsZero() || f.kind == "int" || f.kind == "bool") && f.kind != "[]string" {
				e.fallback = short(fmt.Sprint(value.Interface()))
			}
			plain = append(plain, e)
			continue
		}
		below, inside := prefix+f.key, f.kind
		if of, ok := strings.CutPrefix(inside, "map[]"); ok {
			below, inside, value = below+".NAME", of, reflect.Value{}
		} else if of, ok := strings.CutPrefix(inside, "[]"); ok {
			below, inside, value = below+"[]", of, reflect.Value{}
		}
		sections = append(sections, entry{keys: []key{{name: prefix + f.key}}, doc: f.doc, section: true})
		sections = append(sections, s.keys(inside, below+".", value)...)
	}
	return append(plain, sections...)
}

// short writes a duration as people do: "8m", not "8m0s".
func short(s string) string {
	if _, err := time.ParseDuration(s); err == nil && strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
		if strings.HasSuffix(s, "h0m") {
			s = strings.TrimSuffix(s, "0m")
		}
	}
	return s
}

// agentKeys are the keys of the agent's file, in the order of the structs: those
// of one field together, ours first.
func agentKeys(t *testing.T) (all []entry) {
	s := readSource(t, "internal/agent/config")
	keys := map[string][]key{} // by field, "Cloud.Endpoint"
	ast.Inspect(s.funcs["settings"], func(n ast.Node) bool {
		kv, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		name, err := strconv.Unquote(kv.Key.(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		call := kv.Value.(*ast.CallExpr)
		k := key{name, call.Fun.(*ast.Ident).Name}
		to := target(call.Args[0].(*ast.UnaryExpr).X)
		if strings.HasPrefix(name, "slipway_") {
			keys[to] = append([]key{k}, keys[to]...)
		} else {
			keys[to] = append(keys[to], k)
		}
		return false
	})
	defaults := reflect.ValueOf(agentconfig.Default())
	var walk func(name, prefix string, value reflect.Value)
	walk = func(name, prefix string, value reflect.Value) {
		for _, f := range s.structs[name] {
			if s.structs[f.kind] != nil {
				walk(f.kind, prefix+f.name+".", value.FieldByName(f.name))
			}
			if ks := keys[prefix+f.name]; ks != nil {
				e := entry{doc: sentence(f.doc), fallback: written(value.FieldByName(f.name), ks[0].kind)}
				for _, k := range ks {
					if agentKinds[k.kind] == "" {
						t.Errorf("%s is read by %s: say in agentKinds what that reads", k.name, k.kind)
					}
					e.keys = append(e.keys, key{k.name, agentKinds[k.kind]})
				}
				all = append(all, e)
				delete(keys, prefix+f.name)
			}
		}
	}
	walk("Config", "", defaults)
	for to, ks := range keys {
		t.Errorf("%s sets %s, which is no field", ks[0].name, to)
	}
	return all
}

// target is the field that c.A.B names.
func target(e ast.Expr) string {
	sel := e.(*ast.SelectorExpr)
	if inner, ok := sel.X.(*ast.SelectorExpr); ok {
		return target(inner) + "." + sel.Sel.Name
	}
	return sel.Sel.Name
}

// agentKinds are what the agent's setters read.
var agentKinds = map[string]string{
	"text": "text", "whole": "whole number", "flag": "true or false", "mebibytes": "MiB", "mode": "permissions",
	"users": "list of user ids", "engines": "programs", "seconds": "seconds", "minutes": "minutes",
}

// written is a default as the file would say it.
func written(v reflect.Value, kind string) string {
	switch kind {
	case "seconds":
		return fmt.Sprint(int64(time.Duration(v.Int()) / time.Second))
	case "mebibytes":
		return fmt.Sprint(v.Int() >> 20)
	case "mode":
		return fmt.Sprintf("%#o", v.Interface().(fs.FileMode))
	case "flag", "whole":
		return fmt.Sprint(v.Interface())
	case "text":
		return v.String()
	}
	return ""
}
