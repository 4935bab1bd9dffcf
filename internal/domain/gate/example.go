package gate

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Example refers to a captured request whose two answers differ. It has nothing of
// the request or of an answer: to read those takes the right to read the objects of the
// captured data. It is stored as JSON with the deployment.
type Example struct {
	// Under is the S3 URI below which the file with its line is: that of an hour.
	Under string `json:"under"`
	// At is when the request was over, and Inference the id that its caller gave it; ""
	// for none. Both are in the line.
	At        time.Time `json:"at"`
	Inference string    `json:"inference,omitempty"`
	Distance  float64   `json:"distance"` // of the answers, above 0, at most 1
}

// MaxExamples is how many are kept.
const MaxExamples = 3

// Captured returns e, whose Under is that of a variant, of a request that was over
// then.
func (e Example) Captured(at time.Time) Example {
	e.At = at.UTC().Truncate(time.Second)
	e.Under += e.At.Format("/2006/01/02/15/")
	return e
}

// WithExample returns examples with one more, those that differ the most first, and of
// those that differ as much the earliest; at most MaxExamples.
func WithExample(all []Example, e Example) []Example {
	if e.Under == "" || !(e.Distance > 0) {
		return all
	}
	all = append(slices.Clone(all), e)
	slices.SortStableFunc(all, func(a, b Example) int { return cmp.Compare(b.Distance, a.Distance) })
	return all[:min(len(all), MaxExamples)]
}

// Differs says where captured requests are whose answers differ the most, as
// sentences.
func (f Fact) Differs() (said []string) {
	for _, e := range f.Examples {
		id := ""
		if e.Inference != "" {
			id = fmt.Sprintf(", inference id %q", e.Inference)
		}
		said = append(said, fmt.Sprintf("Captured below %s: a request that was over at %s%s, whose answers differ "+
			"(%s of 1).", e.Under, e.At.Format(time.RFC3339), id, number(round2(e.Distance))))
	}
	return said
}
