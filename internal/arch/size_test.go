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
	file := planted(t, "internal/openload/planted.go", "package openload\n"+strings.Repeat("\n", maxFile))
	wantFound(t, large, file, "has 501 lines, more than 500")
	function := planted(t, "internal/openload/planted.go",
		"package openload\n\nfunc planted() {\n"+strings.Repeat("\t_ = 1\n", maxFunction-1)+"}\n")
	wantFound(t, large, function, "planted has 61 lines, more than 60")
}

// large lists the files and functions that are too long. Generated ones may be
// as long as they like.
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
			if n := tr.fset.Position(fn.End()).Line - tr.fset.Position(fn.Pos()).Line + 1; n > maxFunction {
				found = append(found,
					fmt.Sprintf("%s: %s has %d lines, more than %d", tr.at(fn), fn.Name.Name, n, maxFunction))
			}
		}
	}
	return found
}
