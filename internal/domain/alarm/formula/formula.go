// Package formula reads and computes CloudWatch's metric math: the minimum of
// spec §7.4 and a few functions more. It promises that any text is either
// refused with a sentence that says where, or computed in time proportional to
// its length times the number of periods. Where the values come from is not its
// job.
//
// A series has one value per period, and NaN where there is none. A missing
// value makes the result of every operator on it missing; so do results that
// are no finite number, such as those of a division by zero. SUM, AVG, MIN, MAX
// and STDDEV (of the population) pass over missing values, FILL replaces them.
//
// From weak to strong: OR, AND, comparisons, + and -, * and /, the sign, and
// ^, which groups to the right.
package formula

import (
	"slices"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Kind is what an expression results in.
type Kind uint8

// The kinds of value.
const (
	Scalar Kind = iota // one number
	Series             // one number per period
	List               // several series
)

func (k Kind) String() string {
	return [...]string{"a scalar", "a time series", "a list of time series"}[k]
}

// The bounds of an expression; its length is the API's.
const (
	MaxLength = 2048
	maxNodes  = 1024
	maxDepth  = 64
)

// Expr is a parsed expression. It is not changed by computing it.
type Expr struct {
	root *node
	size int
	ids  []string
	all  bool
}

// IDs returns the identifiers that the expression refers to, sorted, each once.
func (e *Expr) IDs() []string { return slices.Clone(e.ids) }

// UsesMetrics reports whether METRICS() appears: then the expression depends on
// every metric of the request.
func (e *Expr) UsesMetrics() bool { return e.all }

// Size returns the number of parts of the expression: computing it takes so
// many passes over the values, for each of its metrics if it uses METRICS().
func (e *Expr) Size() int { return e.size }

// Kind returns what the expression results in, given what its identifiers
// stand for. Errors are fault.Invalid: an unknown identifier, or a function of
// something that it does not take.
func (e *Expr) Kind(of func(id string) (Kind, bool)) (Kind, error) { return kindOf(e.root, of) }

// Scope is what an expression is computed in.
type Scope struct {
	Period  float64                       // seconds
	Count   int                           // values in every series
	Lookup  func(id string) (Value, bool) // what an identifier stands for
	Metrics []Named                       // for METRICS(), in the order of the request
}

// Named is a series with the identifier that it was asked for under.
type Named struct {
	ID     string
	Values []float64
}

// Value is the result of an expression. Its slices may be shared: they are not
// to be changed.
type Value struct {
	Kind   Kind
	Scalar float64
	Series []float64
	List   [][]float64
}

// Eval computes the expression. Errors are fault.Invalid, and only those that
// Kind would have found.
func (e *Expr) Eval(s Scope) (Value, error) { return s.eval(e.root) }

func refuse(format string, args ...any) error { return fault.New(fault.Invalid, format, args...) }
