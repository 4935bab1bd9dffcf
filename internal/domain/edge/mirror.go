package edge

import (
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Mirror asks that a new model runs beside the one that serves before it takes
// its place: what applications ask is also given to it, and its answers, which
// nobody gets, are compared. A stage's order has it as it was when the stage
// started.
type Mirror struct {
	// MaxDisagreement is the percentage of compared requests that may be answered
	// differently.
	MaxDisagreement float64 `json:"MaxDisagreement"`
	// Time is how long both run.
	Time time.Duration `json:"Time"`
	// MinPairs is how many requests must have been compared.
	MinPairs int `json:"MinPairs"`
	// Share is the percentage of requests that are given to both; 0: all.
	Share float64 `json:"Share,omitempty"`
	// Outputs are the outputs that count; none: all.
	Outputs []ComparedOutput `json:"Outputs,omitempty"`
}

// ComparedOutput is an output of a model that counts, and how far its numbers may
// be apart. Whole numbers, truth values and texts must be equal.
type ComparedOutput struct {
	Name      string  `json:"Name"`
	Tolerance float64 `json:"Tolerance,omitempty"` // 0: 0.0001, of numbers above 1 so much of the number
}

// UnderstandsMirror is what an agent says that can do this. One that does not say
// so is not given an order that asks for it: it would leave that out.
const UnderstandsMirror = "Mirror"

// TooOld is what becomes of such an order on a device with another agent.
const TooOld = "not deployed: the policy has devices compare the new model with the old one on live requests, and this " +
	"device's agent does not say that it can; update the agent, or take --max-disagreement from the policy"

// SecondsOf is a time that travels as a number of seconds; what makes no sense is 0.
func SecondsOf(s float64) time.Duration {
	if !(s > 0 && s < 1e9) {
		return 0
	}
	return time.Duration(s * float64(time.Second)).Round(time.Microsecond)
}

// The limits of a Mirror.
const (
	MinMirrorTime = time.Second
	MaxMirrorTime = 7 * 24 * time.Hour
	MaxPairs      = 1_000_000
	MaxOutputs    = 16
	// what counts where nobody says otherwise
	DefaultMirrorTime = 10 * time.Minute
	DefaultMinPairs   = 100

	maxOutputName = 256
)

// MirrorPatience is how long a new model may take for a copy. It has the lowest
// priority on the device while it runs beside the old one, so that a copy that is
// late says nothing of the model; many of them leave nothing proven.
const MirrorPatience = 10 * time.Second

// mostLate is the share of copies that may be late in a comparison that shows
// something: those that are missing may be those that matter.
const mostLate = 0.05

// Check refuses what makes no sense.
func (m *Mirror) Check() error {
	switch {
	case !(m.MaxDisagreement >= 0 && m.MaxDisagreement < 100):
		return fault.New(fault.Invalid, "The disagreement that is allowed is a percentage of at least 0 and below 100.")
	case m.Time < MinMirrorTime || m.Time > MaxMirrorTime:
		return fault.New(fault.Invalid, "A new model runs beside the old one for %s to %s, not %s.", MinMirrorTime,
			MaxMirrorTime, m.Time)
	case m.MinPairs < 1 || m.MinPairs > MaxPairs:
		return fault.New(fault.Invalid, "The requests that must be compared are 1 to %d, not %d.", MaxPairs, m.MinPairs)
	case !(m.Share >= 0 && m.Share <= 100):
		return fault.New(fault.Invalid, "The share of requests that both models get is a percentage between 0 and 100.")
	case len(m.Outputs) > MaxOutputs:
		return fault.New(fault.Invalid, "At most %d outputs can be named, not %d.", MaxOutputs, len(m.Outputs))
	}
	for _, o := range m.Outputs {
		if o.Name == "" || len(o.Name) > maxOutputName {
			return fault.New(fault.Invalid, "An output's name has 1 to %d bytes.", maxOutputName)
		}
		if !(o.Tolerance >= 0 && o.Tolerance <= 1e300) {
			return fault.New(fault.Invalid, "The tolerance of output %q is not a number of at least 0.", o.Name)
		}
	}
	return nil
}

// String tells it in words.
func (m *Mirror) String() string {
	t := fmt.Sprintf("a new model runs beside the old one for %s, and takes its place if it answers at most %g %% of "+
		"at least %d requests differently", m.Time, m.MaxDisagreement, m.MinPairs)
	if m.Share > 0 && m.Share < 100 {
		t += fmt.Sprintf("; it gets %g %% of the requests", m.Share)
	}
	for i, o := range m.Outputs {
		t += map[bool]string{true: "; compared: ", false: ", "}[i == 0] + o.Name
		if o.Tolerance > 0 {
			t += fmt.Sprintf(" within %g", o.Tolerance)
		}
	}
	return t
}

// Shows is the largest disagreement, in percent, that MinPairs compared requests
// leave open (at odds of 20:1) if none of them differs.
func (m *Mirror) Shows() float64 {
	_, most := evidence.Range(0, float64(m.MinPairs))
	return 100 * most
}

// Finding is what a comparison has come to.
type Finding string

// The findings.
const (
	Comparing     Finding = "RUNNING"
	Agrees        Finding = "AGREES"
	Disagrees     Finding = "DISAGREES"
	NotProven     Finding = "NOT_PROVEN"
	NothingBefore Finding = "NOTHING_BEFORE" // the handle led to no model
	Unchanged     Finding = "UNCHANGED"      // it led to the same package
)

// Pairs are counts of requests that the old model answered while a new one ran
// beside it.
type Pairs struct {
	Compared  int64 `json:"Compared,omitempty"`  // both answered, and the answers were compared
	Differing int64 `json:"Differing,omitempty"` // of those
	Failed    int64 `json:"Failed,omitempty"`    // the new model failed
	Late      int64 `json:"Late,omitempty"`      // the new model did not answer in MirrorPatience
	OldFailed int64 `json:"OldFailed,omitempty"` // the old model failed; nothing is compared
	Shed      int64 `json:"Shed,omitempty"`      // there was no room for the copy, or the device was busy
	Repeated  int64 `json:"Repeated,omitempty"`  // the same was asked a short time ago
	Apart     int64 `json:"Apart,omitempty"`     // they have no output that could be compared
	// OldTime and NewTime are what the two took for what was compared, together.
	OldTime time.Duration `json:"OldTime,omitempty"`
	NewTime time.Duration `json:"NewTime,omitempty"`
}

// Plus returns the sum of two counts.
func (p Pairs) Plus(o Pairs) Pairs {
	return Pairs{
		Compared: p.Compared + o.Compared, Differing: p.Differing + o.Differing, Failed: p.Failed + o.Failed,
		Late: p.Late + o.Late, OldFailed: p.OldFailed + o.OldFailed, Shed: p.Shed + o.Shed,
		Repeated: p.Repeated + o.Repeated, Apart: p.Apart + o.Apart,
		OldTime: p.OldTime + o.OldTime, NewTime: p.NewTime + o.NewTime,
	}
}

// judged is how many requests count, and bad is how many of them the new model did
// not answer as the old one did.
func (p Pairs) judged() int64 { return p.Compared + p.Failed }
func (p Pairs) bad() int64    { return p.Differing + p.Failed }

// Percent returns the percentage of the requests that count which the new model
// did not answer as the old one did; 0 if none counts.
func (p Pairs) Percent() float64 {
	if p.judged() == 0 {
		return 0
	}
	return 100 * float64(p.bad()) / float64(p.judged())
}

// Comparison is how a new model did beside the old one, under one handle of one
// device.
type Comparison struct {
	Pairs
	Finding  Finding       `json:"Finding"`
	Old      string        `json:"Old,omitempty"`      // the version that serves
	Since    time.Time     `json:"Since,omitzero"`     // by the device's clock
	Ran      time.Duration `json:"Ran,omitempty"`      // how long both have run
	OldBytes int64         `json:"OldBytes,omitempty"` // of memory; 0: not known
	NewBytes int64         `json:"NewBytes,omitempty"`
	// Evidence is the logarithm to the base of ten of the odds that speak against
	// the new model.
	Evidence float64 `json:"Evidence,omitempty"`
}

// against is the evidence that ends a comparison at once: with no more than the
// disagreement that is allowed, one device of a thousand comes to it, however
// often it looks.
const against = 3

// Judge says what a comparison has come to. It ends early only against the new
// model: for it speaks the time that was asked for, and enough requests.
func (m *Mirror) Judge(c Comparison) Finding {
	over, n := c.Ran >= m.Time, c.judged()
	switch {
	case c.Evidence > against:
		return Disagrees
	case !over:
		return Comparing
	case n < int64(m.MinPairs) || c.Compared == 0:
		return NotProven
	case float64(c.Late) > mostLate*float64(n+c.Late):
		return NotProven
	case 100*float64(c.bad()) > m.MaxDisagreement*float64(n):
		return Disagrees
	}
	return Agrees
}

// Holds reports whether the figures of a comparison bear out that the models
// agree, whoever says so.
func (m *Mirror) Holds(c Comparison) bool {
	return c.Finding == Agrees && m.Judge(c) == Agrees
}

// Sentence tells a comparison in words, to follow the name of the handle.
func (m *Mirror) Sentence(c Comparison) string {
	old := "the old model"
	if c.Old != "" {
		old = c.Old
	}
	switch c.Finding {
	case Comparing:
		t := fmt.Sprintf("runs beside %s for %s of %s: %d of %d requests differ; %g %% is allowed",
			old, c.Ran.Round(time.Second), m.Time, c.bad(), c.judged(), m.MaxDisagreement)
		return t + c.costs()
	case Agrees:
		_, most := evidence.Range(float64(c.bad()), float64(c.judged()))
		return fmt.Sprintf("answers %.2g %% of requests differently than %s; %g %% is allowed; %d compared, which show "+
			"that it is at most %.2g %%", c.Percent(), old, m.MaxDisagreement, c.judged(), 100*most) + c.costs()
	case Disagrees:
		t := fmt.Sprintf("answers %.2g %% of requests differently than %s; %g %% is allowed; %d compared",
			c.Percent(), old, m.MaxDisagreement, c.judged())
		if c.Failed > 0 {
			t += fmt.Sprintf(", of which it failed %d", c.Failed)
		}
		if c.Evidence >= 1 {
			t += "; evidence " + evidence.Odds(c.Evidence)
		}
		return t
	case NotProven:
		if c.Late > 0 && c.judged() >= int64(m.MinPairs) {
			return fmt.Sprintf("not proven: %d of %d copies were not answered in %s", c.Late, c.judged()+c.Late,
				MirrorPatience)
		}
		return fmt.Sprintf("not proven: %d requests were compared with %s in %s, and %d are needed", c.Compared, old,
			c.Ran.Round(time.Second), m.MinPairs) + c.left()
	case Unchanged:
		return "not compared: the device has this package already"
	case NothingBefore:
	}
	return "not compared: the device had no model under this name"
}

// left says why requests are missing among those that were compared.
func (c *Comparison) left() string {
	var parts []string
	for _, w := range []struct {
		n    int64
		what string
	}{
		{c.Failed, "that the new model failed"},
		{c.Late, "not answered in " + MirrorPatience.String()},
		{c.OldFailed, "that the old model failed"},
		{c.Shed, "for which there was no room"},
		{c.Repeated, "asked before"},
		{c.Apart, "without an output to compare"},
	} {
		if w.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", w.n, w.what))
		}
	}
	if len(parts) == 0 {
		return "; there were no others"
	}
	return "; besides there were " + strings.Join(parts, ", ")
}

// costs says what the comparison takes, as far as it is known.
func (c *Comparison) costs() string {
	t := ""
	if c.OldBytes > 0 && c.NewBytes > 0 {
		t = fmt.Sprintf("; memory %d MiB and %d MiB", (c.OldBytes+1<<19)>>20, (c.NewBytes+1<<19)>>20)
	}
	if c.Compared > 0 && c.OldTime > 0 && c.NewTime > 0 {
		mean := func(d time.Duration) time.Duration {
			return (d / time.Duration(c.Compared)).Round(10 * time.Microsecond)
		}
		t += fmt.Sprintf("; a request took %s and %s", mean(c.OldTime), mean(c.NewTime))
	}
	return t
}
