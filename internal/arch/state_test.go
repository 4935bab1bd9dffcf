package arch

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

// sharedState is what packages share on purpose, though it changes, and why.
var sharedState = map[string]string{
	"internal/platform/pgtest.databases": "databases of one test process have different names",
	"internal/platform/pgtest.held":      "the cluster lives as long as the process that has the other end of its pipe",
}

// Nothing happens before main, and no package has a state of its own: what a
// part needs is handed to it (docs/STYLE.md, "Packages and files").
func TestPackagesHaveNoStateOfTheirOwn(t *testing.T) { report(t, stateful(sources(t))) }

func TestStateOfPackagesIsFound(t *testing.T) {
	for body, want := range map[string]string{
		`func init() {}`:                                                          "init",
		`var x int; func f() { x = 1 }`:                                           "x is assigned",
		`var x int; func f() { x++ }`:                                             "x is assigned",
		`var x = map[string]int{}; func f() { x["a"] = 1 }`:                       "x is assigned",
		`var x = map[string]int{}; func f() { delete(x, "a") }`:                   "x is assigned",
		`var x struct{ y []int }; func f() { x.y[0] = 1 }`:                        "x is assigned",
		`var x int; func f() *int { return &x }`:                                  "address of x",
		`import "sync"; var x sync.Mutex`:                                         "x is of a type that changes",
		`import "sync/atomic"; var x atomic.Int64`:                                "x is of a type that changes",
		`import "sync"; var x = &sync.Pool{}`:                                     "x is of a type that changes",
		`var x = make(chan int)`:                                                  "x is of a type that changes",
		`import "` + mod + `internal/agent/disk"; func f() { disk.ErrCut = nil }`: "disk.ErrCut is assigned",
	} {
		tr := alone(t, "internal/openload/planted.go", "package openload\n\n"+body+"\n")
		if err := tr.add("internal/agent/disk/planted.go", "package disk\n\nvar ErrCut error\n"); err != nil {
			t.Fatal(err)
		}
		wantFound(t, stateful(tr), want)
	}
	fine := `import "errors"; var x = errors.New("x"); func f(x int) int { x = 1; y := &x; return *y }`
	if found := stateful(alone(t, "internal/openload/planted.go", "package openload\n\n"+fine+
		"\n")); len(found) > 0 {
		t.Errorf("a local variable of the same name: found %q", found)
	}
}

// stateful lists init functions and the variables of packages that change.
func stateful(tr *tree) (found []string) {
	variables := map[string]map[string]*ast.ValueSpec{} // by package and name
	for _, f := range tr.written() {
		if f.test {
			continue
		}
		for _, d := range f.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.Name == "init" && d.Recv == nil {
					found = append(found, tr.at(d)+": init runs before main")
				}
			case *ast.GenDecl:
				if d.Tok != token.VAR {
					continue
				}
				for _, s := range d.Specs {
					v := s.(*ast.ValueSpec)
					for _, name := range v.Names {
						if name.Name == "_" {
							continue
						}
						if variables[f.pkg] == nil {
							variables[f.pkg] = map[string]*ast.ValueSpec{}
						}
						variables[f.pkg][name.Name] = v
						if changing(v, f.imports) && sharedState[f.pkg+"."+name.Name] == "" {
							found = append(found, tr.at(v)+": "+name.Name+" is of a type that changes")
						}
					}
				}
			}
		}
	}
	for _, f := range tr.written() {
		w := writes{tr: tr, f: f, variables: variables}
		ast.Inspect(f.file, w.look)
		found = append(found, w.found...)
	}
	return found
}

// changing reports whether a variable's type is made to change.
func changing(v *ast.ValueSpec, imports map[string]string) (yes bool) {
	look := func(x ast.Expr) {
		if u, ok := x.(*ast.UnaryExpr); ok {
			x = u.X
		}
		switch e := x.(type) {
		case *ast.CompositeLit:
			x = e.Type
		case *ast.CallExpr:
			if id, ok := e.Fun.(*ast.Ident); ok && id.Name == "make" {
				_, yes = e.Args[0].(*ast.ChanType)
			}
			return
		}
		if i, ok := x.(*ast.IndexExpr); ok {
			x = i.X
		}
		if s, ok := x.(*ast.StarExpr); ok {
			x = s.X
		}
		if s, ok := x.(*ast.SelectorExpr); ok {
			at := imported(s.X, imports)
			yes = yes || at == "sync" || at == "sync/atomic"
		}
		if _, ok := x.(*ast.ChanType); ok {
			yes = true
		}
	}
	look(v.Type)
	for _, x := range v.Values {
		look(x)
	}
	return yes
}

// writes finds what a file does to variables of packages.
type writes struct {
	tr        *tree
	f         source
	variables map[string]map[string]*ast.ValueSpec
	found     []string
}

func (w *writes) look(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.AssignStmt:
		for _, x := range n.Lhs {
			if n.Tok != token.DEFINE {
				w.note(x, "%s is assigned")
			}
		}
	case *ast.IncDecStmt:
		w.note(n.X, "%s is assigned")
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			w.note(n.X, "the address of %s is taken")
		}
	case *ast.CallExpr:
		if id, ok := n.Fun.(*ast.Ident); ok && (id.Name == "delete" || id.Name == "clear") && len(n.Args) > 0 {
			w.note(n.Args[0], "%s is assigned")
		}
	}
	return true
}

// note notes what is done to the variable that an expression reaches into.
func (w *writes) note(x ast.Expr, what string) {
	for {
		switch e := x.(type) {
		case *ast.ParenExpr:
			x = e.X
		case *ast.StarExpr:
			x = e.X
		case *ast.IndexExpr:
			x = e.X
		case *ast.SelectorExpr:
			if at, ours := strings.CutPrefix(imported(e.X, w.f.imports), mod); ours {
				if w.shared(at, e.Sel.Name) {
					w.add(x, what, at+"."+e.Sel.Name)
				}
				return
			}
			x = e.X
		case *ast.Ident:
			v := w.variables[w.f.pkg][e.Name]
			if v != nil && (e.Obj == nil || e.Obj.Decl == v) && w.shared(w.f.pkg, e.Name) {
				w.add(x, what, e.Name)
			}
			return
		default:
			return
		}
	}
}

// shared reports whether a package has such a variable, and no excuse for it.
func (w *writes) shared(pkg, name string) bool {
	return w.variables[pkg][name] != nil && sharedState[pkg+"."+name] == ""
}

func (w *writes) add(n ast.Node, what, name string) {
	w.found = append(w.found, w.tr.at(n)+": "+strings.Replace(what, "%s", name, 1))
}
