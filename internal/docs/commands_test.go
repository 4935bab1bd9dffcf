package docs

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/slipway-ml/slipway/internal/cli"
)

// Every `slipway …` that a page mentions is a command, with flags that it has,
// every `make …` a target, and every `go test -run …` finds a test. Those in
// blocks of code are run besides, in internal/e2e.
func TestEveryCommandThatIsMentionedExists(t *testing.T) {
	slipway := cli.New()
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages(t) {
		if strings.HasPrefix(p.path, "docs/adr/") {
			continue // they tell of their day
		}
		for _, l := range p.lines {
			if l.code {
				continue
			}
			for _, span := range spans.FindAllString(l.text, -1) {
				command := strings.Trim(span, "`")
				fault := unknown(slipway, command)
				m := makeLine.FindStringSubmatch(command)
				if m != nil && !bytes.Contains(makefile, []byte("\n"+m[1]+":")) {
					fault = "target " + m[1]
				}
				if m := testLine.FindStringSubmatch(command); m != nil && !hasTest(t, m[2], m[1]) {
					fault = "test " + m[1]
				}
				if fault != "" {
					t.Errorf("%s:%d: %s: there is no %s", p.path, l.number, span, fault)
				}
			}
		}
	}
}

var (
	makeLine = regexp.MustCompile(`^make ([a-z-]+)`)
	testLine = regexp.MustCompile(`go test .*-run (\w+).* (\./\S+)$`)
)

// hasTest reports whether a package has a test whose name contains a text.
func hasTest(t *testing.T, pkg, text string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	test := regexp.MustCompile(`(?m)^func (Test|Fuzz|Benchmark)\w*` + text)
	return slices.ContainsFunc(files, func(path string) bool {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return test.Match(source)
	})
}

func TestACommandThatDoesNotExistIsSeen(t *testing.T) {
	for text, want := range map[string]string{
		"slipway wait ENDPOINT":                "",
		"bin/slipway device enroll --ttl 5m":   "",
		"slipway device enroll|list|revoke":    "",
		"slipway-agent enroll":                 "",
		"slipway sing":                         "command sing",
		"slipway edge policy PLAN --auto-last": "flag --auto-last",
	} {
		if got := unknown(cli.New(), text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

var commandLine = regexp.MustCompile(`^(?:bin/)?slipway ((?:[a-z][a-z-]*\b ?)*)`)

// unknown returns what of a command line does not exist, "" if all does.
func unknown(c *cobra.Command, text string) string {
	m := commandLine.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	for _, word := range strings.Fields(m[1]) {
		if !c.HasSubCommands() {
			break // an argument
		}
		sub, _, err := c.Find([]string{word})
		if err != nil || sub == c {
			if word == "help" {
				break
			}
			return "command " + word
		}
		c = sub
	}
	for word := range strings.FieldsSeq(text) {
		if name, ok := strings.CutPrefix(strings.TrimRight(word, "],"), "--"); ok && c.Flags().Lookup(name) == nil {
			return "flag --" + name
		}
	}
	return ""
}
