package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every path and every Go name that the architecture's page and the decisions
// mention is there. (The other pages mention media types and URLs more often.)
func TestWhatTheArchitectureMentionsExists(t *testing.T) {
	tree := readTree(t)
	for _, p := range pages(t) {
		if p.path != "docs/ARCHITECTURE.md" && !strings.HasPrefix(p.path, "docs/adr/") {
			continue
		}
		for _, fault := range tree.missing(p) {
			t.Error(fault)
		}
	}
}

// The test above sees what is not there.
func TestWhatIsMissingIsSeen(t *testing.T) {
	tree := readTree(t)
	text := "see `internal/nowhere`, `service/nowhere`, `rollout.Never`, `Endpoint.Never`, and " +
		"`cmd/slipway/main.go`, `rollout.Next`, `os.Stat`"
	p := page{path: "page", lines: []line{{1, text, false}, {2, "  nowhere/  deployer/   what `happens/here`", true}}}
	faults := tree.missing(p)
	want := []string{"internal/nowhere", "service/nowhere", "rollout.Never", "Endpoint.Never", "nowhere/"}
	if len(faults) != len(want) {
		t.Fatalf("%q", faults)
	}
	for i, f := range faults {
		if !strings.HasSuffix(f, want[i]+" is not there") {
			t.Errorf("%q does not tell of %s", f, want[i])
		}
	}
}

// tree is what a page may mention.
type tree struct {
	paths   map[string]bool            // of files and folders, and every end of one: "service/router"
	names   map[string]map[string]bool // package to its exported names
	members map[string]map[string]bool // type to its methods and fields
	library map[string]bool            // packages of the standard library, by path and by last element
}

// readTree reads the files in version control, and the Go files among them.
func readTree(t *testing.T) tree {
	t.Helper()
	library, err := exec.Command("go", "list", "std").Output()
	if err != nil {
		t.Fatal(err)
	}
	tr := tree{
		paths: map[string]bool{"bin": true, "bin/lib": true}, // what `make build` makes
		names: map[string]map[string]bool{}, members: map[string]map[string]bool{},
		library: map[string]bool{},
	}
	for pkg := range strings.FieldsSeq(string(library)) {
		tr.library[pkg], tr.library[path.Base(pkg)] = true, true
	}
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for file := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		for p := file; p != "."; p = path.Dir(p) {
			for end := p; ; {
				tr.paths[end] = true
				_, rest, deeper := strings.Cut(end, "/")
				if !deeper {
					break
				}
				end = rest
			}
		}
		if strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go") {
			tr.declarations(t, file)
		}
	}
	return tr
}

// declarations adds what a Go file declares.
func (tr tree) declarations(t *testing.T, file string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Log(err) // removed, but not yet from version control, or for the compiler to say
		return
	}
	pkg := f.Name.Name
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				add(tr.names, pkg, d.Name.Name)
				continue
			}
			if on := receiver(d.Recv.List[0].Type); on != "" {
				add(tr.members, on, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.ValueSpec:
					for _, n := range s.Names {
						add(tr.names, pkg, n.Name)
					}
				case *ast.TypeSpec:
					add(tr.names, pkg, s.Name.Name)
					tr.fields(s)
				}
			}
		}
	}
}

// fields adds the fields of a struct, or the methods of an interface.
func (tr tree) fields(s *ast.TypeSpec) {
	var list []*ast.Field
	switch of := s.Type.(type) {
	case *ast.StructType:
		list = of.Fields.List
	case *ast.InterfaceType:
		list = of.Methods.List
	}
	for _, f := range list {
		for _, n := range f.Names {
			add(tr.members, s.Name.Name, n.Name)
		}
	}
}

func add(to map[string]map[string]bool, key, name string) {
	if to[key] == nil {
		to[key] = map[string]bool{}
	}
	to[key][name] = true
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

var (
	pathLike = regexp.MustCompile(`^[a-z][\w.-]*(/[\w.-]+)+/?$`)
	nameLike = regexp.MustCompile(`^([a-z][a-z0-9]*|[A-Z]\w*)\.([A-Z]\w*)(\.([A-Z]\w*))?$`)
	folders  = regexp.MustCompile(`^\s*((\(?[a-z][\w.-]*/\)?\s?)+)`) // at the start of a line of a drawing
)

// missing tells of the paths and names on a page that are not in the tree: of
// the spans of code in its text, and of the folders in its drawings.
func (tr tree) missing(p page) (faults []string) {
	check := func(l line, what string) {
		if !tr.has(strings.TrimSuffix(what, "/")) {
			faults = append(faults, p.path+":"+strings.TrimSpace(l.text)+": "+what+" is not there")
		}
	}
	for _, l := range p.lines {
		if l.code {
			for _, name := range strings.Fields(strings.Trim(folders.FindString(l.text), " ")) {
				check(l, strings.Trim(name, "()"))
			}
			continue
		}
		for _, span := range spans.FindAllString(l.text, -1) {
			what := strings.Trim(span, "`")
			if call, _, ok := strings.Cut(what, "("); ok {
				what = call
			}
			if pathLike.MatchString(what) || nameLike.MatchString(what) {
				check(l, what)
			}
		}
	}
	return faults
}

// has reports whether there is a path or a Go name. What lies in the standard
// library is not ours to check.
func (tr tree) has(what string) bool {
	m := nameLike.FindStringSubmatch(what)
	switch {
	case m == nil:
		return tr.paths[what] || tr.library[what]
	case m[1][0] >= 'A' && m[1][0] <= 'Z':
		return tr.members[m[1]][m[2]] && (m[4] == "" || tr.has(m[2]+"."+m[4]))
	case tr.names[m[1]] == nil:
		return tr.library[m[1]]
	}
	return tr.names[m[1]][m[2]] && (m[4] == "" || tr.members[m[2]][m[4]])
}
