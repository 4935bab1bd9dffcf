// Package metric keeps samples: who they belong to, what is known about many
// of them at once, and how they are kept in bounded memory. It promises that
// merging loses nothing that a statistic needs, whatever the order, and that
// percentiles are within Accuracy of a value that was really there. Judging
// the values is the job of package alarm; guarding a Series against
// concurrent use and writing it to disk are its owner's.
package metric

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Dimension is one name and value that tell metrics of the same name apart.
type Dimension struct {
	Name  string `json:"Name"`
	Value string `json:"Value"`
}

// ID says which metric a sample belongs to. The order of the dimensions means
// nothing; every set of dimensions is a metric of its own (spec §7.2).
type ID struct {
	Namespace  string      `json:"Namespace"`
	Name       string      `json:"Name"`
	Dimensions []Dimension `json:"Dimensions"`
}

// Zero reports whether nothing of id is given.
func (id ID) Zero() bool { return id.Namespace == "" && id.Name == "" && len(id.Dimensions) == 0 }

// Key is an ID in canonical form: two IDs of the same metric have equal keys.
type Key string

// Key returns the canonical form of id.
func (id ID) Key() Key {
	dims := id.Dimensions
	if !slices.IsSortedFunc(dims, byName) {
		dims = slices.Clone(dims)
		slices.SortStableFunc(dims, byName)
	}
	var b strings.Builder
	part := func(s string) {
		// Lengths keep parts apart whatever characters they contain.
		b.WriteString(strconv.Itoa(len(s)))
		b.WriteByte(':')
		b.WriteString(s)
	}
	part(id.Namespace)
	part(id.Name)
	for _, d := range dims {
		part(d.Name)
		part(d.Value)
	}
	return Key(b.String())
}

func byName(a, b Dimension) int { return strings.Compare(a.Name, b.Name) }

// The limits of the API on a metric's identity, in bytes or numbers.
const (
	maxName           = 255
	maxDimensions     = 30
	maxDimensionValue = 1024
)

// CheckText refuses what a database cannot keep.
func CheckText(texts ...string) error {
	for _, t := range texts {
		if !utf8.ValidString(t) || strings.ContainsRune(t, 0) {
			return fault.New(fault.Invalid, "A name or value is not valid UTF-8 text.")
		}
	}
	return nil
}

// Validate reports everything that the API refuses about id, a sentence a line.
// path is where the request has MetricName and Dimensions, such as
// "MetricData.member.2.". Errors are fault.Invalid, and ErrMissing when
// something is absent.
func (id ID) Validate(path string) error {
	var r Refusals
	if r.Add(checkName("Namespace", id.Namespace, maxName)); strings.HasPrefix(id.Namespace, ":") {
		r.Add(fault.New(fault.Invalid, "The value %q for parameter Namespace is invalid.", clip(id.Namespace)))
	}
	r.Add(checkName(path+"MetricName", id.Name, maxName))
	if len(id.Dimensions) > maxDimensions {
		r.Add(fault.New(
			fault.Invalid, "The collection %sDimensions must not have a size greater than %d.", path, maxDimensions,
		))
		return r.Err()
	}
	seen := make(map[string]bool, len(id.Dimensions))
	for i, d := range id.Dimensions {
		if d.fine() && !seen[d.Name] {
			seen[d.Name] = true
			continue
		}
		at := member(path, i)
		r.Add(checkName(at+"Name", d.Name, maxName))
		r.Add(checkName(at+"Value", d.Value, maxDimensionValue))
		if strings.HasPrefix(d.Name, ":") {
			r.Add(fault.New(fault.Invalid, "The value %q for parameter %sName is invalid.", clip(d.Name), at))
		}
		if seen[d.Name] {
			r.Add(fault.New(fault.Invalid, "The dimension %q is given more than once.", clip(d.Name)))
		}
	}
	return r.Err()
}

func (d Dimension) fine() bool {
	return checkName("", d.Name, maxName) == nil && d.Name[0] != ':' &&
		checkName("", d.Value, maxDimensionValue) == nil
}

// member is the path of a dimension.
func member(path string, i int) string { return fmt.Sprintf("%sDimensions.member.%d.", path, i+1) }

func checkName(parameter, value string, most int) error {
	switch {
	case value == "":
		return missing(parameter)
	case len(value) > most:
		return fault.New(fault.Invalid, "The parameter %s must be shorter than %d characters.", parameter, most+1)
	case hasControl(value):
		return fault.New(fault.Invalid, "The value %q for parameter %s is invalid.", clip(value), parameter)
	}
	return nil
}

// CheckASCII refuses names and values that CloudWatch does not take into a new
// metric. Slipway once took them: those that are stored still are read.
func (id ID) CheckASCII(path string) error {
	var r Refusals
	check := func(parameter, value string) {
		if strings.ContainsFunc(value, func(c rune) bool { return c >= utf8.RuneSelf }) {
			r.Add(fault.New(fault.Invalid, "The value for parameter %s contains non-ASCII characters.", parameter))
		}
	}
	check("Namespace", id.Namespace)
	check(path+"MetricName", id.Name)
	for i, d := range id.Dimensions {
		check(member(path, i)+"Name", d.Name)
		check(member(path, i)+"Value", d.Value)
	}
	return r.Err()
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// clip keeps a refused value from filling the answer.
func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "..."
	}
	return s
}

// Unit is what a value counts, in the API's words; "" stands for any unit in a
// question and for None in a sample.
type Unit string

// UnitNone is the unit of a sample that was put without one.
const UnitNone Unit = "None"

// Known reports whether u is one of the API's units.
func (u Unit) Known() bool {
	base, perSecond := strings.CutSuffix(string(u), "/Second")
	switch base {
	case "Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes",
		"Bits", "Kilobits", "Megabits", "Gigabits", "Terabits", "Count":
		return true
	case "Seconds", "Microseconds", "Milliseconds", "Percent", "None":
		return !perSecond
	}
	return false
}
