package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Lines end at column 120, where a tab is 4 (docs/STYLE.md).
const (
	maxLine = 120
	tab     = 4
	// maxAround is how much may stand around a text that is longer than a line.
	maxAround = 30
)

func TestLinesAreNotLong(t *testing.T) {
	report(t, long(sources(t)))
	report(t, longElsewhere(t, "../.."))
}

func TestLongLinesAreFound(t *testing.T) {
	words := strings.Repeat("word ", 30)
	for text, want := range map[string]string{
		"// " + words: "157 columns", // with the indentation
		"\t\tf(" + strings.Repeat("argument, ", 12) + ")": "columns",
	} {
		text := "package openload\n\nfunc planted(f func(...int), argument int) {\n\t" + text + "\n}\n"
		wantFound(t, long(alone(t, "internal/openload/planted.go", text)), want)
	}
	one := alone(t, "internal/openload/planted.go", "package openload\n\nvar planted = \""+words+"\"\n")
	script := alone(t, "internal/openload/planted_test.go", "package openload\n\nvar planted = `\n"+words+"\n`\n")
	for what, tr := range map[string]*tree{"one text": one, "a script in a test": script} {
		if found := long(tr); len(found) > 0 {
			t.Errorf("%s: found %q", what, found)
		}
	}
}

// long lists the lines of Go files that are too long. A sentence is not cut,
// so that it can be searched for; and what tests have in raw strings is theirs.
func long(tr *tree) (found []string) {
	for _, f := range tr.written() {
		n := 0
		for line := range strings.Lines(f.text) {
			n++
			if w := width(line); w > maxLine && !tr.excused(f, n, line) {
				found = append(found, fmt.Sprintf("%s:%d: %d columns, more than %d", f.path, n, w, maxLine))
			}
		}
	}
	return found
}

// excused reports whether a long line is one text, or within one of a test.
func (tr *tree) excused(f source, n int, line string) (ok bool) {
	ast.Inspect(f.file, func(x ast.Node) bool {
		if x == nil || ok {
			return false
		}
		first, last := tr.fset.Position(x.Pos()).Line, tr.fset.Position(x.End()).Line
		if lit, is := x.(*ast.BasicLit); is && lit.Kind == token.STRING && first <= n && n <= last {
			if first < last {
				ok = f.test
			} else {
				ok = width(strings.TrimSpace(line))-width(lit.Value) <= maxAround
			}
		}
		return first <= n && n <= last
	})
	return ok
}

func width(line string) int {
	line = strings.TrimRight(line, "\r\n")
	return len([]rune(line)) + (tab-1)*strings.Count(line, "\t")
}

// longElsewhere lists the long lines of scripts and SQL. Pages are read by the
// tests in internal/docs.
func longElsewhere(t *testing.T, root string) (found []string) {
	t.Helper()
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
		if !slices.Contains([]string{".sh", ".sql", ".yml", ".yaml", ".py", ".mjs"}, filepath.Ext(name)) &&
			name != "Makefile" {
			return nil
		}
		text, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			n++
			if w := width(line); w > maxLine {
				found = append(found, fmt.Sprintf("%s:%d: %d columns, more than %d", at, n, w, maxLine))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
