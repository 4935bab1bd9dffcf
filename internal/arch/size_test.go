package arch

import (
	"fmt"
	"go/ast"
	"strings"
	"testing"
)

// The limits of docs/STYLE.md, "Packages and files", in lines.
const (
	maxFile     = 500
	maxFunction = 60
)

func TestFilesAndFunctionsStaySmall(t *testing.T) { report(t, large(sources(t))) }

func TestLargeFilesAndFunctionsAreFound(t *testing.T) {
	file := alone(t, "internal/openload/planted.go", "package openload\n"+strings.Repeat("\n", maxFile))
	wantFound(t, large(file), "has 501 lines, more than 500")
	function := alone(t, "internal/openload/planted.go",
		"package openload\n\nfunc planted() {\n"+strings.Repeat("\t_ = 1\n", maxFunction-1)+"}\n")
	wantFound(t, large(function), "planted has 61 lines, more than 60")
	table := alone(t, "internal/openload/planted_test.go",
		"package openload\n\nfunc planted() {\n\t_ = []int{\n"+strings.Repeat("\t\t1,\n", maxFunction)+"\t}\n}\n")
	if found := large(table); len(found) > 0 {
		t.Errorf("a table is data; found %q", found)
	}
}

// large lists the files and functions that are too long. Generated ones may be
// as long as they like, and a table of cases in a test counts as one line: it
// is data.
func large(tr *tree) (found []string) {
	for _, f := range tr.written() {
		if n := strings.Count(f.text, "\n"); n > maxFile {
			found = append(found, fmt.Sprintf("%s has %d lines, more than %d", f.path, n, maxFile))
		}
		for _, d := range f.file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			n := tr.lines(fn) + 1
			if f.test {
				n -= tr.tables(fn.Body)
			}
			if n > maxFunction {
				found = append(found,
					fmt.Sprintf("%s: %s has %d lines, more than %d", tr.at(fn), fn.Name.Name, n, maxFunction))
			}
		}
	}
	return found
}

// lines is by how many lines the end of a node is below its beginning.
func (tr *tree) lines(n ast.Node) int {
	return tr.fset.Position(n.End()).Line - tr.fset.Position(n.Pos()).Line
}

// tables counts the lines that composite literals take beyond their first.
func (tr *tree) tables(body ast.Node) (n int) {
	ast.Inspect(body, func(x ast.Node) bool {
		lit, ok := x.(*ast.CompositeLit)
		if ok {
			n += tr.lines(lit)
		}
		return !ok
	})
	return n
}
