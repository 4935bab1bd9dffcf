// Package evidence weighs, while two fleets share a variant's traffic, how
// strongly the outcomes of requests speak against the new one, or show that it
// is within its margin.
//
// The router draws the fleet of each request with a probability that it knows,
// so every deployment is a randomised experiment: whatever befalls a request,
// which fleet it befell is a coin whose bias is known. A Gate says what is
// compared and what is allowed; its Process bets on that coin, with wealth that
// can only be expected to shrink while the new fleet is no worse than allowed.
// That wealth exceeds 1/α with a chance of at most α, however often one looks
// and whenever the deployment ends (Ville 1939). Value is its logarithm to the
// base of ten: 2 is 100 to 1 against the new fleet. A Proof bets the other way.
//
// What one instance adds in a few seconds is capped, what it or the old fleet takes
// is not. That is still a game that can only be lost: capping lowers wealth, and
// each expert's stake is fixed before the requests that it bets on are drawn. Not
// betting any more once every instance has reached the cap would be one, too, and
// was not done: which requests came first is by when they ended, which depends on
// the fleet, and counts would no longer add up in any order. Experts of very
// different stakes make it needless.
//
// The package is pure: it has no clock, no luck and no store. Collecting the
// counts, telling the time, keeping the State and drawing conclusions are its
// callers' jobs. They also see to what validity rests on:
//
//   - the share of a Count is the probability with which the fleet was drawn,
//     of the first pick that was claimed, whatever became of the request later;
//   - cuts are those in force at the pick, from the old fleet's earlier requests;
//   - a count that is missing is missing without regard to fleet and outcome: by
//     the age of a report, or whole seconds of both fleets;
//   - a pair of answers is counted at most once for each distinct request in ten
//     minutes, or one hot input decides.
package evidence

import (
	"math"
	"strconv"
)

// Kind is what a gate compares.
type Kind string

// The gates. What a request's outcome is, is in the comment.
const (
	Errors        Kind = "errors"         // the model failed (ModelError)
	ServerErrors  Kind = "server-errors"  // the caller got a status of 500 or above
	ClientErrors  Kind = "client-errors"  // the caller got a status of 400 to 499
	Retries       Kind = "retries"        // a second instance was needed
	Abandoned     Kind = "abandoned"      // the caller left before the answer
	Latency       Kind = "latency"        // how long the answer took
	FirstChunk    Kind = "first-chunk"    // how long the first part of a stream took
	Drift         Kind = "drift"          // what was answered, by distribution
	Disagreement  Kind = "disagreement"   // how far the answers to one request lie apart
	MirrorFailure Kind = "mirror-failure" // a copy failed whose original was answered
	Accuracy      Kind = "accuracy"       // which fleet was right, by labels that came later
	InstanceLoss  Kind = "instance-loss"  // an instance-second in which one was lost
	Any           Kind = "any"            // the mean of the wealths of several gates
)

// metrics are what gates are called in the namespace Slipway/Evidence.
var metrics = map[Kind]string{
	Errors: "ErrorRate", ServerErrors: "ServerError", ClientErrors: "ClientError", Retries: "Retry",
	Abandoned: "Abandoned", Latency: "Latency", FirstChunk: "FirstChunk", Drift: "OutputDrift",
	Disagreement: "Disagreement", MirrorFailure: "MirrorFailure", Accuracy: "Accuracy",
	InstanceLoss: "InstanceLoss", Any: "Any",
}

// Metric returns the name of the metric that has a gate's values, such as
// ErrorRateEvidence; "" if there is no such gate.
func (k Kind) Metric() string { return k.metric("Evidence") }

// ProofMetric returns the name of the metric that has the values of a gate's
// proof, such as ErrorRateProof; "" if there is no such gate.
func (k Kind) ProofMetric() string { return k.metric("Proof") }

func (k Kind) metric(suffix string) string {
	if name := metrics[k]; name != "" {
		return name + suffix
	}
	return ""
}

// The limits of a published value, in decades.
const (
	Least = -3.0
	Most  = 300.0
)

// Stride is the time, in seconds, after which the wealth of a process is dealt
// anew, and in which one instance can add no more than the gate's Cap.
const Stride = 10

// MaxSlots is how many instances of the new fleet are told apart. Those beyond
// share slots, which lowers what they can add.
const MaxSlots = 32

// decades turns a natural logarithm of wealth into a value to publish.
func decades(nats float64) float64 {
	switch {
	case math.IsNaN(nats):
		return Least // cannot be; a NaN would silence every alarm
	case math.Abs(nats) < 1e-12:
		return 0 // the sum of the experts' parts is not exactly 1
	}
	return max(Least, min(Most, nats/math.Ln10))
}

// AnyOf returns the value of the mean of the wealths of several processes: one
// alarm for all of them, which costs at most log10 of their number. Which
// processes these are is fixed when the deployment begins. 0 if there are none.
func AnyOf(processes ...*Process) float64 {
	if len(processes) == 0 {
		return 0
	}
	logs := make([]float64, 0, len(processes))
	for _, p := range processes {
		logs = append(logs, p.wealthNow())
	}
	return decades(logSum(logs) - math.Log(float64(len(logs))))
}

// logSum returns the logarithm of the sum of e to each of the logs.
func logSum(logs []float64) float64 {
	most := math.Inf(-1)
	for _, l := range logs {
		most = max(most, l)
	}
	if math.IsInf(most, 0) {
		return most
	}
	sum := 0.0
	for _, l := range logs {
		if l > most-40 { // the rest is less than a part in 10^17
			sum += math.Exp(l - most)
		}
	}
	return most + math.Log(sum)
}

// Odds returns a value in the words of a record: "1:118", to two digits;
// "more than 1:1,000,000" above that, "1:1" when nothing speaks against the
// new fleet. It is never the probability that the new fleet is bad.
func Odds(value float64) string {
	switch {
	case value > 6:
		return "more than 1:1,000,000"
	case !(value > 0):
		return "1:1"
	}
	n := math.Pow(10, value)
	if n < 10 {
		return "1:" + strconv.FormatFloat(n, 'g', 2, 64)
	}
	unit := math.Pow(10, math.Floor(math.Log10(n))-1)
	return "1:" + thousands(int64(math.Round(n/unit)*unit+0.5))
}

// thousands writes a number with a comma before each three digits.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
