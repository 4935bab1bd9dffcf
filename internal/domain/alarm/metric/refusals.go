package metric

import (
	"errors"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// The private causes of a refusal that the API has names of its own for.
var (
	ErrMissing     = errors.New("a required parameter is missing")    // MissingRequiredParameterException
	ErrCombination = errors.New("parameters that exclude each other") // InvalidParameterCombinationException
	ErrValue       = errors.New("a value that is not one")            // InvalidParameterValueException
)

// maxRefusals is how many sentences one answer may have.
const maxRefusals = 20

// Refusals gathers what is wrong with a request into one refusal, a sentence a
// line, as CloudWatch answers it.
type Refusals struct {
	first error
	lines []string
}

// Add takes a fault of the request; nil adds nothing. An answer has one code:
// what has another than the first is left for the next attempt.
func (r *Refusals) Add(err error) {
	if err == nil || len(r.lines) == maxRefusals {
		return
	}
	if r.first == nil {
		r.first = err
	}
	for _, code := range []error{ErrMissing, ErrCombination} {
		if errors.Is(err, code) != errors.Is(r.first, code) {
			return
		}
	}
	if _, sentence := fault.Public(err); !slices.Contains(r.lines, sentence) {
		r.lines = append(r.lines, sentence)
	}
}

// Err is the refusal, and nil if nothing is wrong.
func (r *Refusals) Err() error {
	if len(r.lines) < 2 {
		return r.first
	}
	kind, _ := fault.Public(r.first)
	return fault.New(kind, "%s", strings.Join(r.lines, "\n")).Because(r.first)
}

func missing(parameter string) error {
	return fault.New(fault.Invalid, "The parameter %s is required.", parameter).Because(ErrMissing)
}

// exclusive refuses two members of an entry that exclude each other.
func exclusive(path, a, b string) error {
	return fault.New(
		fault.Invalid, "The parameters %s%s and %s%s are mutually exclusive and you have specified both.",
		path, a, path, b,
	).Because(ErrCombination)
}
