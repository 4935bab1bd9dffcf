package arch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// kept says who alone may use some packages outside the module, but for tests:
// what they stand for is that part's business.
var kept = map[string][]string{
	"database/sql":             {"internal/platform/store/...", "internal/platform/pgtest"},
	"github.com/jackc/pgx":     {"internal/platform/store", "internal/platform/pgtest"},
	"modernc.org/sqlite":       {"internal/platform/store"},
	"github.com/pressly/goose": {"internal/platform/store"},
	"google.golang.org/grpc":   {"internal/agent/...", "internal/bench", "internal/demo"},
	"github.com/spf13/cobra":   {"internal/cli"},
	"charm.land/lipgloss":      {"internal/cli", "internal/demo"},
	"os/exec": {
		"internal/agent/engine", "internal/bench", "internal/demo", "internal/platform/...",
		"internal/service/packaging",
		"tools/...",
	},
}

func TestWhatIsKeptToAPartIsUsedThereAlone(t *testing.T) { report(t, strayed(sources(t))) }

func TestWhatStraysIsFound(t *testing.T) {
	for at, pkg := range map[string]string{
		"database/sql": "internal/service/control", "github.com/jackc/pgx/v5": "internal/app",
		"google.golang.org/grpc": "internal/wire/rpc", "os/exec": "internal/service/router",
	} {
		tr := alone(t, pkg+"/planted.go", "package planted\n\nimport _ \""+at+"\"\n")
		wantFound(t, strayed(tr), pkg+"/planted.go: "+at)
	}
}

// strayed lists the imports of packages that are kept to others.
func strayed(tr *tree) (found []string) {
	for _, f := range tr.files {
		for _, at := range f.imports {
			for _, prefix := range slices.Sorted(maps.Keys(kept)) {
				ours := slices.ContainsFunc(kept[prefix], func(p string) bool { return matches(p, f.pkg) })
				if (at == prefix || strings.HasPrefix(at, prefix+"/")) && !ours && !f.test {
					found = append(found,
						fmt.Sprintf("%s: %s is for %s alone", f.path, at, strings.Join(kept[prefix], ", ")))
				}
			}
		}
	}
	return found
}
