package arch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestImportsAreThoseOfTheHouse(t *testing.T) { report(t, forbidden(sources(t))) }

// A rule about a package that is gone is a mistake, and so is one that allows
// what nobody does.
func TestRulesAreAboutWhatThereIs(t *testing.T) { report(t, stale(sources(t), rules)) }

func TestForbiddenImportsAreFound(t *testing.T) {
	for from, to := range map[string]string{
		"internal/service/notify": "internal/platform/store",
		"internal/agent/depot":    "internal/service/notify",
		"internal/domain/arn":     "internal/domain/hosting", // sideways
		"internal/platform/loop":  "internal/service/control",
		"internal/service/fleet":  "internal/platform/store/jobs", // another aggregate's
		"internal/wire/rpc":       "internal/service/control",
		"internal/wire/page":      "internal/wire/sigv4",
		"internal/api/sts":        "internal/platform/store",
		"internal/api/edge":       "internal/api/sagemaker",
		"internal/agent/disk":     "internal/wire/sigv4",
		"internal/agent":          "internal/platform/store",
		"internal/modelserver":    "internal/platform/store",
		"internal/simdevices":     "internal/service/fleet",
		"internal/config":         "internal/service/router",
		"internal/cli":            "internal/service/router",
		"cmd/slipway":             "internal/app",
		"models":                  "internal/openload",
		"internal/e2e":            "internal/app",
	} {
		tr := planted(t, from+"/planted.go", "package planted\n\nimport _ \""+mod+to+"\"\n")
		wantFound(t, added(t, tr), from+" must not import "+to)
	}
	test := planted(t, "internal/domain/edge/planted_test.go", "package planted\n\nimport _ \""+mod+
		"internal/platform/store\"\n")
	wantFound(t, added(t, test), "tests of internal/domain/edge must not import internal/platform/store")
	unknown := planted(t, "internal/newroom/planted.go", "package newroom\n")
	wantFound(t, added(t, unknown), "internal/newroom has no rule")
}

func TestStaleRulesAreFound(t *testing.T) {
	for want, r := range map[string]rule{
		"no package is internal/apptest":                          {"internal/apptest", nil},
		"no package is internal/apptest/...":                      {"internal/apptest/...", nil},
		"internal/config may import internal/nowhere, which":      {"internal/config", in("internal/nowhere")},
		"internal/config may import internal/wire/sigv4, and doe": {"internal/config", in("internal/wire/sigv4")},
	} {
		wantFound(t, stale(sources(t), []rule{r}), want)
	}
}

// added is what is forbidden in a planted tree and was not there before.
func added(t *testing.T, tr *tree) []string {
	t.Helper()
	before := forbidden(sources(t))
	return slices.DeleteFunc(forbidden(tr), func(f string) bool { return slices.Contains(before, f) })
}

// matches reports whether a pattern names a package.
func matches(pattern, pkg string) bool {
	tree, all := strings.CutSuffix(pattern, "/...")
	return pkg == tree || all && strings.HasPrefix(pkg, tree+"/")
}

// forbidden lists the imports that no rule allows, and packages without a rule.
func forbidden(tr *tree) (found []string) {
	for pkg, imports := range tr.graph(false) {
		allowed, known := []string(nil), false
		for _, r := range rules {
			if matches(r.who, pkg) {
				allowed, known = append(allowed, r.may...), true
			}
		}
		if !known {
			found = append(found, "package "+pkg+" has no rule")
		}
		for _, to := range imports {
			if !slices.ContainsFunc(allowed, func(p string) bool { return matches(p, to) }) {
				found = append(found, fmt.Sprintf("%s must not import %s", pkg, to))
			}
		}
	}
	for pkg, imports := range tr.graph(true) {
		for _, to := range imports {
			if matches("internal/domain/...", pkg) && !matches("internal/domain/...", to) {
				found = append(found, fmt.Sprintf("tests of %s must not import %s", pkg, to))
			}
		}
	}
	slices.Sort(found)
	return found
}

// stale lists the rules that are about nothing.
func stale(tr *tree, rules []rule) (found []string) {
	graph, packages := tr.graph(false), tr.packages()
	for _, r := range rules {
		if !slices.ContainsFunc(packages, func(p string) bool { return matches(r.who, p) }) {
			found = append(found, "no package is "+r.who)
			continue
		}
		for _, allowed := range r.may {
			if !slices.ContainsFunc(packages, func(p string) bool { return matches(allowed, p) }) {
				found = append(found, fmt.Sprintf("%s may import %s, which is no package", r.who, allowed))
				continue
			}
			used := false
			for pkg, imports := range graph {
				used = used || matches(r.who, pkg) &&
					slices.ContainsFunc(imports, func(p string) bool { return matches(allowed, p) })
			}
			if !used {
				found = append(found, fmt.Sprintf("%s may import %s, and does not", r.who, allowed))
			}
		}
	}
	return found
}

// graph returns what each package imports of the module, by its tests or by the
// rest of it. What `go run` alone builds counts as well.
func (tr *tree) graph(tests bool) map[string][]string {
	sets := map[string]map[string]bool{}
	for _, f := range tr.files {
		if sets[f.pkg] == nil {
			sets[f.pkg] = map[string]bool{}
		}
		if f.test != tests {
			continue
		}
		for _, at := range f.imports {
			if to, ours := strings.CutPrefix(at, mod); ours && to != f.pkg {
				sets[f.pkg][to] = true
			}
		}
	}
	graph := map[string][]string{}
	for pkg, set := range sets {
		graph[pkg] = slices.Sorted(maps.Keys(set))
	}
	return graph
}
