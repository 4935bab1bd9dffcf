package arch

import (
	"slices"
	"strings"
	"testing"
)

// mayImportRouter are those that wire a router or send requests through one.
// Everybody else knows requests by domain/traffic alone, so that a router can
// be another process.
var mayImportRouter = []string{
	"internal/app", "internal/api/runtime", "internal/bench", "internal/sim",
}

func TestOnlyWhoWiresOrServesImportsTheRouter(t *testing.T) {
	const router = "internal/service/router"
	for _, p := range packages(t) {
		pkg := strings.TrimPrefix(p.ImportPath, mod)
		if slices.Contains(p.Imports, mod+router) && !slices.Contains(mayImportRouter, pkg) {
			t.Errorf("%s must not import %s: domain/traffic says what it needs", pkg, router)
		}
	}
}
