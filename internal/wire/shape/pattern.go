package shape

import (
	"regexp"
	"strings"
	"sync"
)

// A Pattern is a regular expression as the facts have it. It is compiled when
// first used, once.
type Pattern struct {
	Text string

	once    sync.Once
	re, not *regexp.Regexp
}

// rewrites hold the patterns that Go's linear-time engine cannot take as they
// are: it has no look-around, no repeat above 1000, not every POSIX
// class as \p{…} and no \u escapes. A string matches if it matches re and does not match not.
var rewrites = map[string]struct{ re, not string }{
	`(?!\s*$).+`: {`.+`, `\s*`},
	`arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]{9,16}:[0-9]{12}:model-package/[\S]{1,2048}`: {
		re: `arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]{9,16}:[0-9]{12}:model-package/\S{1,1000}\S{0,1000}\S{0,48}`,
	},
	// The look-behind says that the name does not end in a hyphen.
	`(arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:[a-z\-]*\/)?([a-zA-Z0-9]([a-zA-Z0-9-]){0,62})(?<!-)(\/[0-9]{1,` +
		`9})?`: {
		re: `(arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:[a-z\-]*\/)?[a-zA-Z0-9]([a-zA-Z0-9-]{0,` +
			`61}[a-zA-Z0-9])?(\/[0-9]{1,9})?`,
	},
	`^(?!.*\..*\.)[a-zA-Z0-9][a-zA-Z0-9-_\.]*$`: {`[a-zA-Z0-9][a-zA-Z0-9-_\.]*`, `.*\..*\..*`},
	`^(?!s3:|https:)[a-zA-Z0-9!_.*'()/-]+$`:     {`[a-zA-Z0-9!_.*'()/-]+`, `(s3:|https:).*`},
	`\A\S[\p{Print}]*\z`:                        {re: `\S[\x20-\x7e]*`},
	`\p{Print}+`:                                {re: `[\x20-\x7e]+`},
	`[\p{Graph}\x20]*`:                          {re: `[\x20-\x7e]*`},
	// The pairs of surrogates stand for everything above the first plane.
	`[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*`: {
		re: `[\x20-\x{D7FF}\x{E000}-\x{FFFD}\x{10000}-\x{10FFFF}\r\n\t]*`,
	},
	`[\u0009\u000A\u000D\u0020-\u007E\u0085\u00A0-\uD7FF\uE000-\uFFFD\u10000-\u10FFFF]+`: {
		re: `[\t\n\r\x20-\x7E\x{85}\x{A0}-\x{D7FF}\x{E000}-\x{FFFD}\x{10000}-\x{10FFFF}]+`,
	},
}

// compile returns what a string must match, and what it must not (or nil).
func compile(text string) (re, not *regexp.Regexp, err error) {
	rw, ok := rewrites[text]
	if !ok {
		rw.re = text
	}
	// \A and \z: the whole string, even where the pattern has no anchors.
	if re, err = regexp.Compile(`\A(?:` + rw.re + `)\z`); err != nil || rw.not == "" {
		return re, nil, err
	}
	not, err = regexp.Compile(`\A(?:` + rw.not + `)\z`)
	return re, not, err
}

// Match reports whether the whole of s matches. It panics on a pattern that
// does not compile; a test tries every pattern of the facts.
func (p *Pattern) Match(s string) bool {
	p.once.Do(func() {
		var err error
		if p.re, p.not, err = compile(p.Text); err != nil {
			panic("shape: " + err.Error())
		}
	})
	return p.re.MatchString(s) && (p.not == nil || !p.not.MatchString(s))
}

// anchored is the pattern as error messages print it: anchored in front.
func (p *Pattern) anchored() string {
	if strings.HasPrefix(p.Text, "^") {
		return p.Text
	}
	return "^" + p.Text
}
