// Package arch holds the tests that keep the sources as the documentation says
// they are: who imports whom (docs/ARCHITECTURE.md), and what docs/STYLE.md
// says that a program can check. A rule comes with a violation, planted in a
// copy of the sources, that it has to find.
package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const mod = "github.com/slipway-ml/slipway/"

// source is a Go file, parsed.
type source struct {
	path      string // from the root, with slashes
	pkg       string // its folder
	text      string
	file      *ast.File
	imports   map[string]string // the paths that it imports, by the names they have in it
	test      bool
	generated bool
}

// tree is all Go files of the module.
type tree struct {
	fset  *token.FileSet
	files []source
}

var parsed = sync.OnceValues(func() (*tree, error) {
	tr := &tree{fset: token.NewFileSet()}
	const root = "../.."
	err := filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if at != root && (strings.HasPrefix(name, ".") ||
				slices.Contains([]string{"testdata", "node_modules", "bin"}, name)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		return tr.add(filepath.ToSlash(strings.TrimPrefix(at, root+"/")), string(text))
	})
	return tr, err
})

func (tr *tree) add(at, text string) error {
	file, err := parser.ParseFile(tr.fset, at, text, parser.ParseComments)
	if err != nil {
		return err
	}
	tr.files = append(tr.files, source{
		path: at, pkg: path.Dir(at), text: text, file: file, imports: importsOf(file),
		test: strings.HasSuffix(at, "_test.go"), generated: ast.IsGenerated(file),
	})
	return nil
}

// sources returns the sources as they are.
func sources(t *testing.T) *tree {
	t.Helper()
	tr, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(tr.files) < 100 {
		t.Fatalf("only %d files were found", len(tr.files))
	}
	return tr
}

// planted returns a copy of the sources with one more file.
func planted(t *testing.T, at, text string) *tree {
	t.Helper()
	tr := sources(t)
	tr = &tree{fset: tr.fset, files: slices.Clone(tr.files)}
	if err := tr.add(at, text); err != nil {
		t.Fatal(err)
	}
	return tr
}

// alone returns sources that are one file, for rules that look at one at a time.
func alone(t *testing.T, at, text string) *tree {
	t.Helper()
	tr := &tree{fset: token.NewFileSet()}
	if err := tr.add(at, text); err != nil {
		t.Fatal(err)
	}
	return tr
}

// wantFound checks that a rule found what was planted, and nothing else.
func wantFound(t *testing.T, found []string, want string) {
	t.Helper()
	if len(found) != 1 || !strings.Contains(found[0], want) {
		t.Errorf("found %q, want one that says %q", found, want)
	}
}

// report fails the test with everything that a rule found.
func report(t *testing.T, found []string) {
	t.Helper()
	for _, f := range found {
		t.Error(f)
	}
}

// at is a position as editors read it.
func (tr *tree) at(n ast.Node) string {
	p := tr.fset.Position(n.Pos())
	return p.Filename + ":" + strconv.Itoa(p.Line)
}

// written returns the files that people write.
func (tr *tree) written() (out []source) {
	for _, f := range tr.files {
		if !f.generated {
			out = append(out, f)
		}
	}
	return out
}

// packages returns the folders that have Go files.
func (tr *tree) packages() []string {
	var out []string
	for _, f := range tr.files {
		out = append(out, f.pkg)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// importsOf returns the paths that a file imports, by the names they have in it.
func importsOf(file *ast.File) map[string]string {
	out := map[string]string{}
	for _, spec := range file.Imports {
		at, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has accepted it
		}
		name := path.Base(at)
		if spec.Name != nil {
			name = spec.Name.Name
		} else if strings.HasPrefix(name, "v") && strings.Trim(name[1:], "0123456789") == "" &&
			strings.Contains(at, "/") {
			name = path.Base(path.Dir(at)) // math/rand/v2
		}
		if name == "_" || name == "." {
			name += at
		}
		out[name] = at
	}
	return out
}
