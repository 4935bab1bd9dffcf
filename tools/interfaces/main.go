// Command interfaces lists the interfaces of a module that fewer than two types
// implement, those of tests and of the packages that are imported included: nothing
// is abstracted by them, and the type itself would say more (docs/STYLE.md, "Interfaces").
//
// usage: interfaces <module folder>
package main

import (
	"errors"
	"fmt"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	lonely, err := find(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "interfaces:", err)
		os.Exit(2)
	}
	for _, l := range lonely {
		fmt.Println(l)
	}
	if len(lonely) > 0 {
		os.Exit(1)
	}
}

// declared is where a type is declared, which is the same for the package as
// its tests see it and as others do, and what its methods are.
type declared struct {
	name, at  string
	methods   map[string]string // signatures by name
	implement bool              // it is no interface
}

// find returns a line for each interface that is implemented less than twice.
func find(dir string) ([]string, error) {
	loaded, err := packages.Load(&packages.Config{
		Dir: dir, Tests: true,
		Mode: packages.NeedName | packages.NeedTypes | packages.NeedSyntax | packages.NeedTypesInfo |
			packages.NeedImports | packages.NeedExportFile | packages.NeedModule,
	}, "./...")
	if err != nil {
		return nil, err
	}
	all := map[string]declared{}
	for _, p := range loaded {
		if len(p.Errors) > 0 {
			return nil, errors.Join(p.Errors[0])
		}
		for _, d := range append(declarations(p), imported(p)...) {
			all[d.at] = d
		}
	}
	var lonely []string
	for _, i := range all {
		if i.implement || len(i.methods) == 0 || strings.Contains(i.at, "_test.go:") ||
			strings.Contains(i.at, "_gen.go:") {
			continue
		}
		n := 0
		for _, t := range all {
			if t.implement && implements(t, i) {
				n++
			}
		}
		if n < 2 {
			lonely = append(lonely, fmt.Sprintf("%s: %s has %d implementation(s)", i.at, i.name, n))
		}
	}
	slices.Sort(lonely)
	return lonely, nil
}

// declarations returns the types that a package declares, within functions too.
func declarations(p *packages.Package) (out []declared) {
	for _, o := range p.TypesInfo.Defs {
		name, ok := o.(*types.TypeName)
		if !ok || name.IsAlias() {
			continue
		}
		named, ok := name.Type().(*types.Named)
		if !ok || named.TypeParams().Len() > 0 {
			continue
		}
		d := declared{name: name.Name(), at: position(p, name), implement: !types.IsInterface(named)}
		if d.implement {
			d.methods = methods(types.NewPointer(named))
		} else {
			d.methods = methods(named)
		}
		out = append(out, d)
	}
	return out
}

// imported returns the types that the packages which p imports from elsewhere
// offer, such as *os.File.
func imported(p *packages.Package) (out []declared) {
	for _, from := range p.Types.Imports() {
		if p.Module != nil && (from.Path() == p.Module.Path || strings.HasPrefix(from.Path(), p.Module.Path+"/")) {
			continue
		}
		for _, name := range from.Scope().Names() {
			o, ok := from.Scope().Lookup(name).(*types.TypeName)
			if !ok || !o.Exported() || o.IsAlias() || types.IsInterface(o.Type()) {
				continue
			}
			if named, ok := o.Type().(*types.Named); ok && named.TypeParams().Len() == 0 {
				all := methods(types.NewPointer(named))
				out = append(out, declared{name: name, at: from.Path() + "." + name, implement: true, methods: all})
			}
		}
	}
	return out
}

func position(p *packages.Package, o types.Object) string {
	at := p.Fset.Position(o.Pos())
	if p.Module != nil {
		if rel, err := filepath.Rel(p.Module.Dir, at.Filename); err == nil {
			at.Filename = rel
		}
	}
	return fmt.Sprintf("%s:%d", at.Filename, at.Line)
}

// methods returns the signatures of a type's methods, as text: the types of a
// package and those of the same package with its tests are different values.
func methods(t types.Type) map[string]string {
	out := map[string]string{}
	for m := range types.NewMethodSet(t).Methods() {
		s := m.Obj().Type().(*types.Signature)
		text := fmt.Sprint(s.Variadic())
		for v := range s.Params().Variables() {
			text += ", " + v.Type().String()
		}
		text += ") ("
		for v := range s.Results().Variables() {
			text += ", " + v.Type().String()
		}
		out[m.Obj().Name()] = text
	}
	return out
}

func implements(t, i declared) bool {
	for name, signature := range i.methods {
		if t.methods[name] != signature {
			return false
		}
	}
	return true
}
