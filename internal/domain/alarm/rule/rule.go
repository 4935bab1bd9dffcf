// Package rule reads and decides the rules of composite alarms (spec §7.4). It
// promises that any text is either refused with a sentence that says where, or
// decided in time proportional to its length. In which state an alarm is, is
// not its job.
//
//	rule    = rule "OR" rule | rule "AND" rule | "NOT" rule | "(" rule ")" | "TRUE" | "FALSE" | test
//	test    = state "(" alarm ")" | "AT_LEAST" "(" count "," ["NOT"] state "," "(" alarm { "," alarm } ")" ")"
//	state   = "ALARM" | "OK" | "INSUFFICIENT_DATA"
//	alarm   = name or ARN, in double quotes or bare
//	count   = number | percentage "%"
//
// NOT binds stronger than AND, and AND stronger than OR.
package rule

import (
	"slices"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// The bounds of a rule; the length and the number of alarms are the API's.
const (
	MaxLength   = 10240
	MaxChildren = 100
	maxTests    = 500
	maxDepth    = 64
)

// Rule is a parsed rule. It is not changed by deciding it.
type Rule struct {
	root     node
	children []string
}

// Children returns the alarms that the rule mentions, as it writes them (names
// or ARNs), in that order, each once.
func (r *Rule) Children() []string { return slices.Clone(r.children) }

// Holds decides the rule. State tells the state of an alarm as the rule writes
// it, in the API's words; "" stands for an alarm that is not there, of which
// nothing is true.
func (r *Rule) Holds(state func(alarm string) string) bool { return r.root.holds(state) }

// node is a part of a rule.
type node interface {
	holds(state func(string) string) bool
}

type (
	constant bool
	not      struct{ of node }
	all      []node
	either   []node
	// test is true if at least so many of the alarms are in the state, or are
	// not.
	test struct {
		state   string
		not     bool
		alarms  []string
		atLeast int
	}
)

func (c constant) holds(func(string) string) bool { return bool(c) }

func (n not) holds(state func(string) string) bool { return !n.of.holds(state) }

func (n all) holds(state func(string) string) bool {
	for _, of := range n {
		if !of.holds(state) {
			return false
		}
	}
	return true
}

func (n either) holds(state func(string) string) bool {
	for _, of := range n {
		if of.holds(state) {
			return true
		}
	}
	return false
}

func (n test) holds(state func(string) string) bool {
	matching := 0
	for _, a := range n.alarms {
		if s := state(a); s != "" && (s == n.state) != n.not {
			matching++
		}
	}
	return matching >= n.atLeast
}

// Cycle returns the way by which the alarm depends on itself, its own name at
// both ends, or nil. Children tells what an alarm depends on, nothing for a
// metric alarm; names are the same wherever they appear.
func Cycle(alarm string, children func(alarm string) []string) []string {
	type step struct {
		name string
		rest []string // children still to be looked at
	}
	seen := map[string]bool{}
	way := []step{{alarm, children(alarm)}}
	for len(way) > 0 {
		top := &way[len(way)-1]
		if len(top.rest) == 0 {
			way = way[:len(way)-1]
			continue
		}
		next := top.rest[0]
		top.rest = top.rest[1:]
		if next == alarm {
			var names []string
			for _, s := range way {
				names = append(names, s.name)
			}
			return append(names, alarm)
		}
		if !seen[next] {
			seen[next] = true
			way = append(way, step{next, children(next)})
		}
	}
	return nil
}

func refuse(format string, args ...any) error { return fault.New(fault.Invalid, format, args...) }
