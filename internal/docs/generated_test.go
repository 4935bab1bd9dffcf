package docs

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated parts of the pages")

// generated fails unless the part of a page that is made from somewhere reads
// as it should; with -update it writes the part.
func generated(t *testing.T, page, from, part string) {
	t.Helper()
	path := filepath.Join(root, page)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin := fmt.Sprintf("<!-- `go generate ./internal/docs` writes this from %s. -->\n\n", from)
	const end = "\n<!-- As far as here. -->\n"
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for what is made from %s", page, from)
	}
	want := before + begin + part + end + after
	if want == string(text) {
		return
	}
	if !*update {
		t.Errorf("%s is out of date: run go generate ./internal/docs", page)
	} else if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// served is how the packages of the APIs say which operations they serve.
var served = regexp.MustCompile(`\bBind\("(\w+)"|(?m)^\t"(\w+)": +\(\*call\)\.`)

// The compatibility page lists the operations of every API, as the packages
// bind them.
func TestTheCompatibilityPageListsEveryOperation(t *testing.T) {
	var part strings.Builder
	for _, api := range []struct {
		title   string
		folders []string
	}{
		{"SageMaker", []string{"sagemaker", "sagemaker/fleet", "sagemaker/jobs"}},
		{"CloudWatch", []string{"cloudwatch"}},
		{"S3", []string{"s3"}},
		{"IoT", []string{"iot"}},
		{"SageMaker Edge, for devices", []string{"edge"}},
		{"STS", []string{"sts"}},
		{"Slipway's own", []string{"slipway"}},
	} {
		names := map[string]bool{}
		for _, folder := range api.folders {
			files, err := filepath.Glob(filepath.Join(root, "internal/api", folder, "*.go"))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				source, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range served.FindAllStringSubmatch(string(source), -1) {
					names["`"+m[1]+m[2]+"`"] = true
				}
			}
		}
		if len(names) == 0 {
			t.Errorf("no operations of %s were found", api.title)
		}
		list := strings.Join(slices.Sorted(maps.Keys(names)), ", ")
		part.WriteString(wrap(fmt.Sprintf("- %s (%d): %s", api.title, len(names), list), "  ") + "\n")
	}
	generated(t, "docs/compatibility.md", "internal/api", part.String())
}
