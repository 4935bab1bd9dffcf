package docs

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/slipway-ml/slipway/internal/cli"
)

// Every `slipway …` that a page mentions is a command, with flags that it has.
// Those in blocks of code are run besides, in internal/e2e.
func TestEveryCommandThatIsMentionedExists(t *testing.T) {
	slipway := cli.New()
	for _, p := range pages(t) {
		if strings.HasPrefix(p.path, "docs/adr/") {
			continue // they tell of their day
		}
		for _, l := range p.lines {
			if l.code {
				continue
			}
			for _, span := range spans.FindAllString(l.text, -1) {
				if fault := unknown(slipway, strings.Trim(span, "`")); fault != "" {
					t.Errorf("%s:%d: %s: there is no %s", p.path, l.number, span, fault)
				}
			}
		}
	}
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
