package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// pureImports are the packages outside the module that the domain may use: they
// compute, and need neither a clock, luck, a file, a network nor a log.
var pureImports = strings.Fields(`
	bytes cmp crypto/hmac crypto/sha256 encoding/base64 encoding/binary encoding/hex encoding/json errors fmt hash io iter
	maps math math/big math/bits net/netip net/url path regexp slices sort strconv strings time unicode unicode/utf8 unsafe
	github.com/DataDog/sketches-go/ddsketch/mapping`)

// impure are the names in those packages that do more than compute.
var impure = map[string][]string{
	"time": {
		"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Sleep", "Local",
		"LoadLocation",
	},
	"fmt": {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
}

func TestTheDomainOnlyDecides(t *testing.T) { report(t, deeds(sources(t))) }

func TestDeedsInTheDomainAreFound(t *testing.T) {
	for body, want := range map[string]string{
		`import "time"; var x = time.Now()`:                                         "time.Now",
		`import "time"; func f() { <-time.After(1) }`:                               "time.After",
		`import "time"; func f(t time.Time) time.Duration { return time.Since(t) }`: "time.Since",
		`import "time"; func f() { time.NewTimer(1) }`:                              "time.NewTimer",
		`import "time"; var f = time.Now`:                                           "time.Now",
		`import clock "time"; var x = clock.Now()`:                                  "time.Now",
		`import . "time"; var x = Now()`:                                            `import of "time" under no name`,
		`import "math/rand/v2"; var x = rand.Int()`:                                 "math/rand/v2",
		`import "crypto/rand"; var x = rand.Reader`:                                 "crypto/rand",
		`import "os"; var x = os.Args`:                                              `"os"`,
		`import "net/http"; var x http.Client`:                                      `"net/http"`,
		`import "log/slog"; func f() { slog.Info("x") }`:                            "log/slog",
		`import "fmt"; func f() { fmt.Println("x") }`:                               "fmt.Println",
		`import "database/sql"; var x sql.DB`:                                       "database/sql",
		`import "sync"; var x sync.Mutex`:                                           `"sync"`,
		`import "context"; var x context.Context`:                                   `"context"`,
		`import "github.com/google/uuid"; var x = uuid.NewString()`:                 "github.com/google/uuid",
		`func f() { go f() }`:                                                       "goroutine",
		`var x chan int`:                                                            "channel",
	} {
		wantFound(t, deeds(alone(t, "internal/domain/fault/planted.go", "package fault\n\n"+body+"\n")), want)
	}
	for _, body := range []string{
		`import "time"; func f(time struct{ Now int }) int { return time.Now }`, // a variable of that name
		`import "time"; func f(t time.Time) bool { return t.After(t) }`,
	} {
		if found := deeds(alone(t, "internal/domain/fault/planted.go", "package fault\n\n"+body+
			"\n")); len(found) > 0 {
			t.Errorf("%s: found %q", body, found)
		}
	}
	inTest := alone(t, "internal/domain/fault/planted_test.go",
		"package fault\n\nimport \"time\"\n\nvar now = time.Now()\n")
	if found := deeds(inTest); len(found) > 0 {
		t.Errorf("in a test: found %q", found)
	}
}

// deeds lists where the domain does something, instead of deciding.
func deeds(tr *tree) (found []string) {
	for _, f := range tr.files {
		if f.test || !matches("internal/domain/...", f.pkg) {
			continue
		}
		add := func(n ast.Node, format string, args ...any) {
			found = append(found, tr.at(n)+": the domain decides: no "+fmt.Sprintf(format, args...))
		}
		imports := f.imports
		for name, at := range imports {
			switch {
			case strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_"):
				add(f.file.Name, "import of %q under no name", at)
			case !strings.HasPrefix(at, mod) && !slices.Contains(pureImports, at):
				add(f.file.Name, "import of %q", at)
			}
		}
		ast.Inspect(f.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				add(n, "goroutine")
			case *ast.ChanType:
				add(n, "channel")
			case *ast.SelectorExpr:
				if at := imported(n.X, imports); slices.Contains(impure[at], n.Sel.Name) {
					add(n, "%s.%s", at, n.Sel.Name)
				}
			}
			return n != nil
		})
	}
	return found
}

// imported returns the path of the package that an expression names, "" if it
// names none: a variable of the same name hides a package.
func imported(x ast.Expr, imports map[string]string) string {
	id, ok := x.(*ast.Ident)
	if !ok || id.Obj != nil && id.Obj.Pos() != token.NoPos {
		return ""
	}
	return imports[id.Name]
}
