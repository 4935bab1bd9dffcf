package rule_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/alarm/rule"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// states of the alarms in the tests below; all others are not there.
var states = map[string]string{
	"bad": "ALARM", "worse": "ALARM", "fine": "OK", "new": "INSUFFICIENT_DATA",
	"with space": "ALARM", `with "quotes"`: "ALARM", "(strange, name)": "ALARM",
	"arn:aws:cloudwatch:us-east-1:000000000000:alarm:bad": "ALARM",
}

var verdicts = map[string]bool{
	"TRUE":                     true,
	"FALSE":                    false,
	"NOT FALSE":                true,
	"NOT NOT FALSE":            false,
	"ALARM(bad)":               true,
	`ALARM("bad")`:             true,
	` ALARM ( "bad" ) `:        true,
	"ALARM(fine)":              false,
	"OK(fine)":                 true,
	"INSUFFICIENT_DATA(new)":   true,
	"ALARM(gone)":              false,
	"OK(gone)":                 false,
	"NOT ALARM(gone)":          true,
	`ALARM("with space")`:      true,
	`ALARM("with \"quotes\"")`: true,
	`ALARM("(strange, name)")`: true,
	"ALARM(arn:aws:cloudwatch:us-east-1:000000000000:alarm:bad)": true,
	"ALARM(bad) AND ALARM(fine)":                                 false,
	"ALARM(bad) OR ALARM(fine)":                                  true,
	"ALARM(bad) AND NOT ALARM(fine)":                             true,
	"TRUE OR TRUE AND FALSE":                                     true,
	"(TRUE OR TRUE) AND FALSE":                                   false,
	"FALSE AND FALSE OR TRUE":                                    true,
	"NOT TRUE OR TRUE":                                           true,
	"NOT (TRUE OR TRUE)":                                         false,
	"TRUE AND TRUE AND FALSE":                                    false,
	"FALSE OR FALSE OR TRUE":                                     true,
	"ALARM(bad)\nAND\tOK(fine)":                                  true,
	"AT_LEAST(2, ALARM, (bad, worse, fine))":                     true,
	"AT_LEAST(3, ALARM, (bad, worse, fine))":                     false,
	"AT_LEAST(1, OK, (bad, worse, fine))":                        true,
	"AT_LEAST(1, NOT ALARM, (bad, worse, fine))":                 true,
	"AT_LEAST(2, NOT ALARM, (bad, worse, fine))":                 false,
	"AT_LEAST(2, NOT ALARM, (bad, fine, gone))":                  false, // of what is gone, nothing is true
	"AT_LEAST(50%, ALARM, (bad, worse, fine))":                   true,
	"AT_LEAST(67%, ALARM, (bad, worse, fine))":                   false,
	"AT_LEAST(100%,ALARM,(bad,worse))":                           true,
	`NOT AT_LEAST(1, ALARM, ("fine", "new"))`:                    true,
	"AT_LEAST(1, ALARM, (bad)) AND (OK(fine))":                   true,
}

func holds(r *rule.Rule) bool { return r.Holds(func(alarm string) string { return states[alarm] }) }

func TestRulesAreDecided(t *testing.T) {
	for src, want := range verdicts {
		r, err := rule.Parse(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got := holds(r); got != want {
			t.Errorf("%s is %v", src, got)
		}
	}
}

func TestRulesThatMakeNoSenseAreRefused(t *testing.T) {
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("ALARM(a%d)", i)
	}
	for src, why := range map[string]string{
		"":                           "must not be empty",
		"  \n":                       "must not be empty",
		"ALARM":                      "ends unexpectedly",
		"ALARM(":                     "ends unexpectedly",
		"ALARM()":                    `Unexpected ")"`,
		`ALARM("a`:                   "ends unexpectedly",
		`ALARM("")`:                  "Unexpected",
		"ALARM(a":                    "ends unexpectedly",
		"ALARM(a b)":                 `Unexpected "b)"`,
		"ALARM(a, b)":                "takes one alarm, not 2",
		"BAD(a)":                     `Unexpected "BAD(a)"`,
		"ALARM(a) ALARM(b)":          `Unexpected "ALARM(b)" at character 10`,
		"ALARM(a) AND":               "ends unexpectedly",
		"AND ALARM(a)":               "Unexpected",
		"ALARM(a) and ALARM(b)":      "Unexpected",
		"NOT":                        "ends unexpectedly",
		"(TRUE":                      "ends unexpectedly",
		"TRUE)":                      `Unexpected ")"`,
		"AT_LEAST":                   "ends unexpectedly",
		"AT_LEAST(x, ALARM, (a))":    "Unexpected",
		"AT_LEAST(0, ALARM, (a))":    "asks for 0 of 1",
		"AT_LEAST(2, ALARM, (a))":    "asks for 2 of 1",
		"AT_LEAST(101%, ALARM, (a))": "asks for 101%",
		"AT_LEAST(1, BAD, (a))":      "Unexpected",
		"AT_LEAST(1, ALARM, a)":      "Unexpected",
		"AT_LEAST(1, ALARM, (a)":     "ends unexpectedly",
		"AT_LEAST(1, ALARM, (a, a))": "twice",
		"AT_LEAST(99999999999999999999, OK, (a))": "Unexpected",
		strings.Repeat("(", 65) + "TRUE":          "nested more than 64 deep",
		strings.Repeat("NOT ", 65) + "TRUE":       "nested more than 64 deep",
		strings.Join(many, " OR "):                "more than 100 alarms",
		"TRUE" + strings.Repeat(" OR TRUE", 600):  "more than 500 parts",
		strings.Repeat(" ", 10240) + "TRUE":       "longer than 10240",
	} {
		_, err := rule.Parse(src)
		if _, public := fault.Public(err); !errors.Is(err, fault.Invalid) || !strings.Contains(public, why) {
			t.Errorf("%.40q: %v, want it to say %q", src, err, why)
		}
	}
}

func TestARuleKnowsItsChildren(t *testing.T) {
	r, err := rule.Parse(`ALARM(b) OR NOT (OK("a") AND AT_LEAST(1, OK, (b, c)))`)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Children(); !slices.Equal(got, []string{"b", "a", "c"}) {
		t.Errorf("children %v", got)
	}
}

func TestACycleIsFound(t *testing.T) {
	graph := map[string][]string{
		"a": {"metric", "b"}, "b": {"c", "metric"}, "c": {"a"},
		"d": {"a"}, "self": {"self"}, "tree": {"b2", "b3"}, "b2": {"leaf"}, "b3": {"leaf"},
	}
	for name, want := range map[string][]string{
		"a":      {"a", "b", "c", "a"},
		"self":   {"self", "self"},
		"d":      nil, // it leads into a cycle, but is not on it
		"tree":   nil,
		"metric": nil,
	} {
		if got := rule.Cycle(name, func(n string) []string { return graph[n] }); !slices.Equal(got, want) {
			t.Errorf("from %s: %v, want %v", name, got, want)
		}
	}
}

// Every rule is decided, and its negation the other way.
func FuzzRules(f *testing.F) {
	for src := range verdicts {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		r, err := rule.Parse(src)
		if err != nil {
			if _, public := fault.Public(err); !errors.Is(err, fault.Invalid) || public == "" {
				t.Errorf("refused with %v", err)
			}
			return
		}
		if len(r.Children()) > rule.MaxChildren {
			t.Errorf("%d children", len(r.Children()))
		}
		opposite, err := rule.Parse("NOT (" + src + ")")
		if err != nil {
			return // one deeper or longer than allowed
		}
		if holds(r) == holds(opposite) {
			t.Errorf("%q and its opposite are both %v", src, holds(r))
		}
	})
}
