// Package gate is what a gate is told and what it saw: a gate compares the new
// fleet of a deployment with the old one, on the same seconds of the same
// traffic, and says how strongly the data speak against the new one. Gates are
// set by tags of the new EndpointConfig, and by the server's configuration in
// the same words. The package reads the words, and says in sentences what was
// seen.
//
// Counting requests and weighing them is the job of package evidence, and what
// follows from it for a deployment that of package rollout.
package gate

import (
	"math"
	"slices"
	"time"
)

// Kind is what a gate looks at.
type Kind string

// Kinds are stored, and are words of tags: never rename.
const (
	Errors       Kind = "errors"        // requests that the model fails
	ServerErrors Kind = "server-errors" // those that are answered with 500 or above
	ClientErrors Kind = "client-errors" // those that are answered with 400 to 499
	Retries      Kind = "retries"       // requests that needed a second instance
	Abandoned    Kind = "abandoned"     // callers that left before the answer
	InstanceLoss Kind = "instance-loss" // instances that end or restart while they serve
	Latency      Kind = "latency"       // how long answers take
	FirstChunk   Kind = "first-chunk"   // how long streamed answers take to begin
	Drift        Kind = "drift"         // what is answered, by its frequencies
	Disagreement Kind = "disagreement"  // what is answered to the same request; needs copies
	Accuracy     Kind = "accuracy"      // which fleet was right, by labels that come later
	Any          Kind = "any"           // all of a deployment's gates together

	// MirrorFailure is no word: copies that fail are part of what Disagreement is
	// told, and weighed by themselves.
	MirrorFailure Kind = "mirror-failure"
)

// Kinds returns all that a tag can name, in the order in which gates are listed.
func Kinds() []Kind {
	return []Kind{
		Errors, ServerErrors, ClientErrors, Retries, Abandoned, InstanceLoss, Latency, FirstChunk, Drift, Disagreement,
		Accuracy, Any,
	}
}

// Rate reports whether k compares how often something bad happens, by a ratio
// and a number of points.
func (k Kind) Rate() bool {
	switch k {
	case Errors, ServerErrors, ClientErrors, Retries, Abandoned, InstanceLoss:
		return true
	case Latency, FirstChunk, Drift, Disagreement, Accuracy, Any, MirrorFailure:
	}
	return false
}

// Times reports whether k compares how long something takes.
func (k Kind) Times() bool { return k == Latency || k == FirstChunk }

// Paired reports whether k compares two answers to the same request. It can do
// so before the new fleet gets any traffic; all other kinds compare requests
// that were drawn for one fleet or the other, and see nothing while there is no
// draw.
func (k Kind) Paired() bool { return k == Disagreement || k == Accuracy || k == MirrorFailure }

// Action is what a gate may do.
type Action string

// Actions are stored, and are words of tags: never rename.
const (
	Report   Action = "report"   // nothing: it is shown, and alarms can be set on it
	Rollback Action = "rollback" // undo the deployment when it fires
	Hold     Action = "hold"     // and have each step's bake go on until it is proven
	Early    Action = "early"    // and let a step's bake end as soon as it is proven
)

// Origin says who gave a word.
type Origin string

// Origins are stored: never rename.
const (
	FromTag    Origin = "tag"     // of the EndpointConfig
	FromServer Origin = "server"  // guardrails.gates of the server's configuration
	BuiltIn    Origin = "default" // nobody
)

// Gate is one gate with all that it was told, nothing left open. It is stored
// as JSON with the plan of a deployment.
type Gate struct {
	Kind   Kind   `json:"kind"`
	Action Action `json:"action"`
	// Alpha is the chance, 0 to 1, at which the gate may fire in a deployment
	// whose new fleet is no worse than allowed.
	Alpha float64 `json:"alpha"`
	// Patience is how long one instance alone has to be in trouble before the
	// gate can fire; 0 counts as the default.
	Patience time.Duration `json:"patience,omitempty"`

	// Of rates: allowed is Ratio times the old fleet's, plus Plus (0 to 1). Proven
	// is how much more than the old fleet's the rate may be for the new fleet to be
	// proven (0 to 1): no ratio, since bursts that befall both fleets alike are less
	// than a multiple of each other.
	Ratio  float64 `json:"ratio,omitempty"`
	Plus   float64 `json:"plus,omitempty"`
	Proven float64 `json:"proven,omitempty"`

	// Of times: allowed is Factor times the old fleet's. For Warmup after each
	// shift, and of an instance after it joined, neither fleet is counted.
	Factor float64       `json:"factor,omitempty"`
	Warmup time.Duration `json:"warmup,omitempty"`

	// Of answers: Tolerance is by how much frequencies may differ (drift), which
	// part of the answers may (disagreement), or how much accuracy may be lost
	// (accuracy), or which part of the copies may fail, each 0 to 1. No Outputs stand for the whole answer.
	Tolerance    float64  `json:"tolerance,omitempty"`
	Outputs      []Output `json:"outputs,omitempty"`
	PublicLabels bool     `json:"publicLabels,omitempty"` // labels may be shown as they are
	// Failures is which part of the copies may fail where the old fleet answers,
	// 0 to 1.
	Failures float64 `json:"failures,omitempty"`
	Mirror   *Mirror `json:"mirror,omitempty"` // nil: no request is copied

	// Wait is how long a step bakes at the least before Early may end it.
	Wait time.Duration `json:"wait,omitempty"`

	// From says who gave each word; those that nobody gave are not in it.
	From map[string]Origin `json:"from,omitempty"`
}

// Output is a part of an answer, and how it is compared.
type Output struct {
	// Selector names the part, and perhaps how it is compared, in the words of
	// package answer: json:predictions.0.label, csv:0, npy:name, raw:FP32,
	// json:id@label; or it is bytes, for the answer as it is.
	Selector string `json:"selector"`
	// Within is by how much two numbers differ that count as different answers;
	// less counts in part: min(1, |a−b|/Within). 0: they have to be equal.
	Within float64 `json:"within,omitempty"`
}

// Mirror says which requests of the old fleet are sent to the new one as well.
// Whoever asks for it has said that the model has no effects beside its answer.
type Mirror struct {
	Share float64 `json:"share"` // of the old fleet's requests, above 0, at most 1
	// First is how long a deployment begins with copies alone, before its new
	// fleet gets any traffic. 0: it does not.
	First time.Duration `json:"first,omitempty"`
}

// Judges reports whether g can undo a deployment.
func (g Gate) Judges() bool { return g.Action != Report && g.Action != "" }

// Proves reports whether it matters to the bakes of a deployment that g is
// proven.
func (g Gate) Proves() bool { return g.Action == Hold || g.Action == Early }

// Threshold is the evidence, as the power of ten of the odds, beyond which g
// fires and beyond which it is proven: 3 stands for one in a thousand.
func (g Gate) Threshold() float64 {
	const digits = 1e9 // 0.0001 is 4, not a little less
	return -math.Round(math.Log10(g.Alpha)*digits) / digits
}

// FirstOf is the longest time that one of some gates wants a deployment to begin
// with copies alone; 0: none does.
func FirstOf(gates []Gate) (first time.Duration) {
	for _, g := range gates {
		if g.Mirror != nil {
			first = max(first, g.Mirror.First)
		}
	}
	return first
}

// MirrorOf is what one of some gates wants to be mirrored; nil: nothing.
func MirrorOf(gates []Gate) *Mirror {
	for _, g := range gates {
		if g.Mirror != nil {
			return g.Mirror
		}
	}
	return nil
}

// Find returns the gate of a kind.
func Find(gates []Gate, k Kind) (Gate, bool) {
	i := slices.IndexFunc(gates, func(g Gate) bool { return g.Kind == k })
	if i < 0 {
		return Gate{}, false
	}
	return gates[i], true
}

// AnyJudges reports whether one of some gates can undo a deployment.
func AnyJudges(gates []Gate) bool { return slices.ContainsFunc(gates, Gate.Judges) }
