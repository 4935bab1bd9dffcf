package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// root is the repository.
const root = "../.."

// page is a Markdown file.
type page struct {
	path  string // from root
	lines []line
}

// line is a line of a page, and whether it stands in a block of code.
type line struct {
	number int
	text   string
	code   bool
}

// pages reads all Markdown files that are in version control, or will be.
func pages(t *testing.T) []page {
	t.Helper()
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate", "*.md")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	var found []page
	for path := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		found = append(found, read(t, path))
	}
	if len(found) < 10 {
		t.Fatalf("only %d pages were found", len(found))
	}
	return found
}

// read reads a page.
func read(t *testing.T, path string) page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	p, code := page{path: path}, false
	for i, l := range strings.Split(string(text), "\n") {
		fence := strings.HasPrefix(strings.TrimSpace(l), "```")
		p.lines = append(p.lines, line{i + 1, l, code || fence})
		code = code != fence
	}
	return p
}

// widest is how many columns a line may take; a tab counts as four.
const widest = 120

func TestNoLineOfAPageIsTooWide(t *testing.T) {
	for _, p := range pages(t) {
		for _, l := range p.lines {
			if n := utf8.RuneCountInString(strings.ReplaceAll(l.text, "\t", "    ")); n > widest {
				t.Errorf("%s:%d: %d columns, more than %d", p.path, l.number, n, widest)
			}
		}
	}
}

var (
	links = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	spans = regexp.MustCompile("`[^`]+`")
)

// Every relative link leads to a file, and to a heading in it.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	for _, p := range pages(t) {
		for _, fault := range p.broken(t) {
			t.Error(fault)
		}
	}
}

func TestABrokenLinkIsSeen(t *testing.T) {
	text := "[a](README.md) [b](nowhere.md) [c](README.md#use-it) [d](README.md#never) " +
		"[e](https://example.com/x) `[f](g)`"
	faults := page{"page", []line{{1, text, false}, {2, "[h](i)", true}}}.broken(t)
	if len(faults) != 2 || !strings.Contains(faults[0], "nowhere.md") || !strings.Contains(faults[1], "#never") {
		t.Errorf("%q", faults)
	}
}

// broken tells of the links of a page that lead nowhere.
func (p page) broken(t *testing.T) (faults []string) {
	t.Helper()
	for _, l := range p.lines {
		if l.code {
			continue
		}
		for _, m := range links.FindAllStringSubmatch(spans.ReplaceAllString(l.text, "``"), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			to := p.path
			if file != "" {
				to = filepath.Join(filepath.Dir(p.path), file)
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				faults = append(faults, fmt.Sprintf("%s:%d: %s: there is no %s", p.path, l.number, m[1], to))
			} else if anchor != "" && !read(t, to).anchors()[anchor] {
				faults = append(faults, fmt.Sprintf("%s:%d: %s: %s has no such heading", p.path, l.number, m[1], to))
			}
		}
	}
	return faults
}

// anchors are the names that GitHub gives the page's headings.
func (p page) anchors() map[string]bool {
	found := map[string]bool{}
	for _, l := range p.lines {
		if title := strings.TrimLeft(l.text, "#"); !l.code && title != l.text {
			found[slug(strings.TrimSpace(title))] = true
		}
	}
	return found
}

// slug is a heading as the anchor of a link: in small letters, hyphens for
// spaces, and no punctuation.
func slug(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}
