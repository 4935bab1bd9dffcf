package shape

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestEveryPatternOfTheFactsCompilesOrIsRewritten(t *testing.T) {
	names, _ := filepath.Glob("facts/*.json") // the pattern is well-formed
	if len(names) == 0 {
		t.Fatal("no facts")
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var facts struct {
			Shapes map[string]struct{ Pattern string }
		}
		if err := json.Unmarshal(b, &facts); err != nil {
			t.Fatal(err)
		}
		for shape, f := range facts.Shapes {
			if _, _, err := compile(f.Pattern); err != nil {
				t.Errorf("%s %s: %v", name, shape, err)
			}
		}
	}
}

// A rewrite that Go could have taken as it is would be one more thing to trust.
func TestOnlyPatternsThatGoCannotTakeAreRewritten(t *testing.T) {
	for text, rw := range rewrites {
		if _, err := regexp.Compile(`\A(?:` + text + `)\z`); err == nil && rw.not == "" {
			t.Errorf("%s needs no rewrite", text)
		}
	}
}

// Patterns of the facts that are more than a plain expression.
const (
	alarm   = `(?!\s*$).+`
	pkg     = `arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]{9,16}:[0-9]{12}:model-package/[\S]{1,2048}`
	arnName = `(arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:[a-z\-]*\/)?([a-zA-Z0-9]([a-zA-Z0-9-]){0,` +
		`62})(?<!-)(\/[0-9]{1,9})?`
	file    = `^(?!.*\..*\.)[a-zA-Z0-9][a-zA-Z0-9-_\.]*$`
	ext     = `^(?!s3:|https:)[a-zA-Z0-9!_.*'()/-]+$`
	session = `^(NEW_SESSION)$|^[a-zA-Z0-9](-*[a-zA-Z0-9])*$`
	sts     = `[\u0009\u000A\u000D\u0020-\u007E\u0085\u00A0-\uD7FF\uE000-\uFFFD\u10000-\u10FFFF]+`
	expr    = `[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*`
	prefix  = "arn:aws:sagemaker:us-east-1:123456789012:"
)

var matches = map[string]struct {
	pattern, s string
	want       bool
}{
	"a name":                                {`[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`, "a-b", true},
	"a name with more behind it":            {`[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`, "a-b!", false},
	"a name with a line break behind it":    {`[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`, "a\n", false},
	"an anchored alternative":               {session, "NEW_SESSION", true},
	"neither anchored alternative":          {session, "NEW_SESSIONx!", false},
	"an alarm name":                         {alarm, " high p99", true},
	"a blank alarm name":                    {alarm, "  ", false},
	"an empty alarm name":                   {alarm, "", false},
	"a model package of 1 character":        {pkg, prefix + "model-package/a", true},
	"a model package of 2048":               {pkg, prefix + "model-package/" + strings.Repeat("a", 2048), true},
	"a model package of 2049":               {pkg, prefix + "model-package/" + strings.Repeat("a", 2049), false},
	"a model package of none":               {pkg, prefix + "model-package/", false},
	"a plain name":                          {arnName, "a-b", true},
	"a name of 63":                          {arnName, strings.Repeat("a", 63), true},
	"a name of 64":                          {arnName, strings.Repeat("a", 64), false},
	"a name that ends in a hyphen":          {arnName, "a-", false},
	"a versioned name after a hyphen":       {arnName, "a-/1", false},
	"a versioned ARN":                       {arnName, prefix + "model-package/a/12", true},
	"a file name with one dot":              {file, "data.csv", true},
	"a file name with two dots":             {file, "data.csv.gz", false},
	"a path extension":                      {ext, "a/b", true},
	"a path extension beginning like s3":    {ext, "s3/b", true},
	"a path extension that is a URL":        {ext, "s3://b", false},
	"printable ASCII after a non-space":     {`\A\S[\p{Print}]*\z`, "a b", true},
	"a leading space":                       {`\A\S[\p{Print}]*\z`, " b", false},
	"a character beyond ASCII in the front": {`\A\S[\p{Print}]*\z`, "éa", true},
	"a character beyond ASCII":              {`\p{ASCII}*`, "é", false},
	"control characters are ASCII":          {`\p{ASCII}*`, "\x00", true},
	"printing characters":                   {`\p{Print}+`, "a b~", true},
	"a control character does not print":    {`\p{Print}+`, "a\tb", false},
	"graphs and spaces":                     {`[\p{Graph}\x20]*`, "a b", true},
	"a tab is no graph":                     {`[\p{Graph}\x20]*`, "a\tb", false},
	"any plane":                             {sts, "a\U0001F600", true},
	"a control character":                   {sts, "\x01", false},
	"any plane, written with surrogates":    {expr, "a\U0001F600\n", true},
	"a bell":                                {expr, "\a", false},
}

func TestPatternsMatchTheWholeString(t *testing.T) {
	for name, tt := range matches {
		t.Run(name, func(t *testing.T) {
			p := Pattern{Text: tt.pattern}
			if got := p.Match(tt.s); got != tt.want {
				t.Errorf("%q matches %q: %v", tt.pattern, tt.s, got)
			}
		})
	}
}
