package arch

import (
	"cmp"
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// The limit of parameters beside the context; docs/STYLE.md asks for a struct
// sooner.
const maxParameters = 6

// wellWritten are rules of docs/STYLE.md, each with what breaks it in a file.
var wellWritten = map[string]func(*tree, source) []string{
	"every exported name has its sentence":             undocumented,
	"receivers are one or two letters":                 longReceivers,
	"no Get, no I, no Impl":                            needlessWords,
	"names are the field's words":                      riddles,
	"parameters that could be swapped are a struct":    manyParameters,
	"an ignored error has its reason beside it":        silentErrors,
	"TODO names an issue":                              vagueTodos,
	"a logger is passed in":                            globalLoggers,
	"a test that waits in real time says what it does": sleeps,
}

func TestNamesAndCommentsAreAsTheStyleSays(t *testing.T) {
	report(t, unpromising(sources(t)))
	report(t, badlyWritten(sources(t)))
}

func TestWhatTheStyleForbidsIsFound(t *testing.T) {
	for body, want := range map[string]string{
		`func Planted() {}`: "sentence",
		`type Planted int`:  "sentence",
		`const Planted = 1`: "sentence",
		"// Planted is.\ntype Planted int\n\nfunc (Planted) Do() {}": "sentence",
		`func planted(a, b, c, d, e, f, g int) {}`:                   "struct",
		`type t int; func (abc t) planted() {}`:                      "receiver",
		"// GetPlanted is.\nfunc GetPlanted() int { return 0 }":      "no Get",
		`type plantedImpl int`:                                       "no Impl",
		"// IPlanted is.\ntype IPlanted interface{}":                 "no I",
		`import "os"; func f() { _ = os.Remove("x") }`:               "ignored error",
		"// TODO: plant\nvar planted = 1":                            "TODO",
		`import "log/slog"; func f() { slog.Info("planted") }`:       "logger",
	} {
		tr := alone(t, "internal/openload/planted.go", "package openload\n\n"+body+"\n")
		wantFound(t, badlyWritten(tr), want)
	}
	sleep := alone(t, "internal/openload/planted_test.go",
		"package openload\n\nimport \"time\"\n\nfunc planted() { time.Sleep(1) }\n")
	wantFound(t, badlyWritten(sleep), "real time")
	mute := alone(t, "internal/planted/planted.go", "package planted\n")
	wantFound(t, unpromising(mute), "internal/planted has no package comment")
	empty := alone(t, "internal/utils/planted.go", "// Package utils is planted.\npackage utils\n")
	wantFound(t, unpromising(empty), "utils says nothing")
}

func badlyWritten(tr *tree) (found []string) {
	for rule, check := range wellWritten {
		for _, f := range tr.written() {
			for _, what := range check(tr, f) {
				found = append(found, what+": "+rule)
			}
		}
	}
	return found
}

// fixed are the methods whose meaning their interface gives.
var fixed = []string{"Error", "String", "Unwrap", "Read", "ServeHTTP"}

// undocumented lists exported names without a comment. A group may share one.
func undocumented(tr *tree, f source) (found []string) {
	if f.test {
		return nil
	}
	add := func(n ast.Node, name string) { found = append(found, tr.at(n)+": "+name+" has no comment") }
	for _, d := range f.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			method := d.Recv != nil && (!ast.IsExported(receiver(d)) || slices.Contains(fixed, d.Name.Name))
			if d.Name.IsExported() && d.Doc == nil && !method {
				add(d, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
						add(s, s.Name.Name)
					}
				case *ast.ValueSpec:
					for _, name := range s.Names {
						if name.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
							add(s, name.Name)
						}
					}
				}
			}
		}
	}
	return found
}

// receiver returns the name of a method's type.
func receiver(d *ast.FuncDecl) string {
	x := d.Recv.List[0].Type
	for {
		switch t := x.(type) {
		case *ast.StarExpr:
			x = t.X
		case *ast.IndexExpr:
			x = t.X
		case *ast.IndexListExpr:
			x = t.X
		case *ast.Ident:
			return t.Name
		default:
			return ""
		}
	}
}

func longReceivers(tr *tree, f source) (found []string) {
	for _, d := range f.file.Decls {
		if d, ok := d.(*ast.FuncDecl); ok && d.Recv != nil && len(d.Recv.List[0].Names) > 0 {
			if name := d.Recv.List[0].Names[0].Name; len(name) > 2 {
				found = append(found, tr.at(d)+": receiver "+name)
			}
		}
	}
	return found
}

// ofProtocols are the methods whose names a protocol gives.
var ofProtocols = map[string]bool{"GetCaptureDataStatus": true}

func needlessWords(tr *tree, f source) (found []string) {
	ast.Inspect(f.file, func(n ast.Node) bool {
		name := ""
		switch n := n.(type) {
		case *ast.FuncDecl:
			name = n.Name.Name
			if rest, ok := strings.CutPrefix(name, "Get"); ok && ast.IsExported(rest) && !ofProtocols[name] {
				found = append(found, tr.at(n)+": "+name)
			}
		case *ast.TypeSpec:
			_, isInterface := n.Type.(*ast.InterfaceType)
			if name = n.Name.Name; strings.HasSuffix(name, "Impl") ||
				isInterface && name[0] == 'I' && ast.IsExported(name[1:]) {
				found = append(found, tr.at(n)+": "+name)
			}
		}
		return true
	})
	return found
}

// glossary are words that nobody understands without one, and what the field
// says instead. A name may not begin with them.
var glossary = map[string]string{
	"bell": "wakeup", "book": "record", "chapter": "page", "door": "gateway",
	"postman": "notifier", "pour": "flush", "setback": "failure", "shelf": "cache", "spoil": "break",
	"tap": "subscriber", "witness": "observer",
}

// riddles lists names of functions and types that need a glossary.
func riddles(tr *tree, f source) (found []string) {
	ast.Inspect(f.file, func(n ast.Node) bool {
		var name string
		switch n := n.(type) {
		case *ast.FuncDecl:
			name = n.Name.Name
		case *ast.TypeSpec:
			name = n.Name.Name
		default:
			return true
		}
		end := strings.IndexFunc(name[1:], unicode.IsUpper) + 1
		if end == 0 {
			end = len(name)
		}
		word := strings.ToLower(name[:end])
		if better := cmp.Or(glossary[word], glossary[strings.TrimSuffix(word, "s")]); better != "" && !f.test {
			found = append(found, tr.at(n)+": "+name+"; say "+better)
		}
		return true
	})
	return found
}

func manyParameters(tr *tree, f source) (found []string) {
	for _, d := range f.file.Decls {
		if d, ok := d.(*ast.FuncDecl); ok && !f.test {
			n := 0
			for _, p := range d.Type.Params.List {
				if s, ok := p.Type.(*ast.SelectorExpr); ok && s.Sel.Name == "Context" {
					continue
				}
				if _, variadic := p.Type.(*ast.Ellipsis); !variadic {
					n += max(1, len(p.Names))
				}
			}
			if n > maxParameters {
				found = append(found, fmt.Sprintf("%s: %s takes %d", tr.at(d), d.Name.Name, n))
			}
		}
	}
	return found
}

// silentErrors lists the calls whose error is ignored without a word.
func silentErrors(tr *tree, f source) (found []string) {
	commented := tr.commented(f)
	ast.Inspect(f.file, func(n ast.Node) bool {
		a, ok := n.(*ast.AssignStmt)
		if !ok || len(a.Rhs) != 1 || f.test {
			return true
		}
		_, call := a.Rhs[0].(*ast.CallExpr)
		blank := !slices.ContainsFunc(a.Lhs,
			func(x ast.Expr) bool { id, ok := x.(*ast.Ident); return !ok || id.Name != "_" })
		if line := tr.fset.Position(a.Pos()).Line; call && blank && !commented[line] {
			found = append(found, tr.at(a))
		}
		return true
	})
	return found
}

func vagueTodos(tr *tree, f source) (found []string) {
	for _, g := range f.file.Comments {
		for _, c := range g.List {
			for _, word := range []string{"TODO", "FIXME", "XXX", "HACK"} {
				if _, after, ok := strings.Cut(c.Text, word); ok && !strings.Contains(after, "issue ") &&
					!strings.Contains(after, "#") {
					found = append(found, tr.at(c)+": "+c.Text)
				}
			}
		}
	}
	return found
}

func globalLoggers(tr *tree, f source) (found []string) {
	if f.test || f.file.Name.Name == "main" {
		return nil
	}
	global := []string{
		"Debug", "Info", "Warn", "Error", "Log", "LogAttrs", "With", "Default", "SetDefault",
		"DebugContext", "InfoContext", "WarnContext", "ErrorContext", "Print", "Printf", "Println", "Fatal", "Fatalf",
		"Fatalln",
	}
	ast.Inspect(f.file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if at := imported(s.X, f.imports); (at == "log/slog" || at == "log") &&
				slices.Contains(global, s.Sel.Name) {
				found = append(found, tr.at(s)+": "+at+"."+s.Sel.Name)
			}
		}
		return true
	})
	return found
}

// emptyNames are names of packages that could hold anything.
var emptyNames = []string{
	"base", "common", "core", "helper", "helpers", "lib", "manager", "misc", "models", "shared", "types", "util",
	"utils",
}

// sleeps lists the waits of tests that neither poll in a loop nor give a reason,
// in packages whose tests do not run in bubbles of virtual time.
func sleeps(tr *tree, f source) (found []string) {
	inBubbles := slices.ContainsFunc(tr.files,
		func(o source) bool { return o.pkg == f.pkg && o.imports["synctest"] != "" })
	if !f.test || inBubbles {
		return nil
	}
	commented := tr.commented(f)
	var loops []ast.Node
	ast.Inspect(f.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ForStmt:
			loops = append(loops, n)
		case *ast.SelectorExpr:
			inLoop := slices.ContainsFunc(loops,
				func(l ast.Node) bool { return l.Pos() <= n.Pos() && n.End() <= l.End() })
			if imported(n.X, f.imports) == "time" && n.Sel.Name == "Sleep" && !inLoop &&
				!commented[tr.fset.Position(n.Pos()).Line] {
				found = append(found, tr.at(n)+": time.Sleep")
			}
		}
		return true
	})
	return found
}

// commented returns the lines that have a comment, or follow one.
func (tr *tree) commented(f source) map[int]bool {
	lines := map[int]bool{}
	for _, g := range f.file.Comments {
		for _, c := range g.List {
			lines[tr.fset.Position(c.Pos()).Line] = true
			lines[tr.fset.Position(c.End()).Line+1] = true
		}
	}
	return lines
}

// unpromising lists the packages that do not say what they are for, in their
// comment or by their name. The folder of sample models is called as it is.
func unpromising(tr *tree) (found []string) {
	promising := map[string]bool{}
	for _, f := range tr.files {
		promising[f.pkg] = promising[f.pkg] || f.file.Doc != nil && !strings.HasSuffix(f.file.Name.Name, "_test")
	}
	for _, pkg := range tr.packages() {
		if !promising[pkg] {
			found = append(found, pkg+" has no package comment")
		}
		if name := path.Base(pkg); slices.Contains(emptyNames, name) && pkg != "models" {
			found = append(found, pkg+": "+name+" says nothing; call a package by what it gives")
		}
	}
	return found
}

// A type's methods call it by one name.
func TestReceiversOfATypeHaveOneName(t *testing.T) {
	report(t, manyNames(sources(t)))
	two := alone(t, "internal/openload/planted.go",
		"package openload\n\ntype t int\n\nfunc (a t) x() {}\n\nfunc (b *t) y() {}\n\nfunc (t) z() {}\n")
	wantFound(t, manyNames(two), "t is called b here, and a elsewhere")
}

// manyNames lists the types whose methods call them differently.
func manyNames(tr *tree) (found []string) {
	names := map[string]string{}
	for _, f := range tr.written() {
		for _, d := range f.file.Decls {
			d, ok := d.(*ast.FuncDecl)
			if !ok || d.Recv == nil || len(d.Recv.List[0].Names) == 0 || d.Recv.List[0].Names[0].Name == "_" {
				continue
			}
			of, name := f.pkg+" "+f.file.Name.Name+" "+receiver(d), d.Recv.List[0].Names[0].Name
			if other := names[of]; other != "" && other != name {
				found = append(found, tr.at(d)+": "+receiver(d)+" is called "+name+" here, and "+other+" elsewhere")
			}
			names[of] = name
		}
	}
	return found
}
