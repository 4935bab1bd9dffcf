package edge

import (
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
)

// Trial is a comparison that goes on, with the evidence that it has come to.
type Trial struct {
	Mirror *Mirror
	Comparison
	differs, fails *evidence.Process
	stride         time.Duration // of Ran: when the open stride began
}

// TrialState is what is kept of a Trial over a restart.
type TrialState struct {
	Comparison Comparison      `json:"Comparison"`
	Differs    *evidence.State `json:"Differs,omitempty"`
	Fails      *evidence.State `json:"Fails,omitempty"`
}

// failures is the share of requests that a new model may fail before that alone
// ends a comparison early: what takes memory or the processor away for a moment
// befalls a device, too.
const failures = 0.05

// least is the smallest disagreement that evidence can be weighed against.
const least = 0.001

// NewTrial begins a comparison, or continues the one that was kept. Evidence that
// cannot be read begins anew; the counts stay.
func NewTrial(m *Mirror, kept *TrialState) *Trial {
	allowed := max(m.MaxDisagreement/100, least)
	differs, fails := evidence.Pairs(allowed), evidence.MirrorFailures(max(allowed, failures))
	differs.Cap = 0 // no instance of many has a bad minute: answers are as they are
	t := &Trial{Mirror: m, Comparison: Comparison{Finding: Comparing}}
	t.differs, t.fails = evidence.New(differs), evidence.New(fails)
	if kept == nil {
		return t
	}
	t.Comparison = kept.Comparison
	t.stride = t.Ran
	again := func(g evidence.Gate, s *evidence.State, p **evidence.Process) {
		if s == nil {
			return
		}
		if old, err := evidence.Restore(g, *s); err == nil {
			*p = old
		}
	}
	again(differs, kept.Differs, &t.differs)
	again(fails, kept.Fails, &t.fails)
	return t
}

// Add counts what came in a while that lasted ran, and judges anew.
func (t *Trial) Add(p Pairs, ran time.Duration) Finding {
	t.Pairs = t.Plus(p)
	t.Ran += ran
	for range p.Compared - p.Differing {
		t.differs.Pair(0, 0)
		t.fails.Pair(0, 0)
	}
	for range p.Differing {
		t.differs.Pair(0, 1)
		t.fails.Pair(0, 0)
	}
	for range p.Failed {
		t.fails.Pair(0, 1)
	}
	t.Evidence = max(0, t.differs.Value(), t.fails.Value())
	if t.Ran-t.stride >= evidence.Stride*time.Second {
		t.stride = t.Ran
		t.differs.Close()
		t.fails.Close()
	}
	t.Finding = t.Mirror.Judge(t.Comparison)
	return t.Finding
}

// State returns what has to be kept.
func (t *Trial) State() *TrialState {
	differs, fails := t.differs.State(), t.fails.State()
	return &TrialState{Comparison: t.Comparison, Differs: &differs, Fails: &fails}
}

// Mirrored is what the devices of a stage whose order asked for a comparison have
// told of it.
type Mirrored struct {
	Agreed    int   `json:"Agreed,omitempty"`   // devices that took the new models after comparing them
	Fresh     int   `json:"Fresh,omitempty"`    // that had nothing to compare with
	Refused   int   `json:"Refused,omitempty"`  // on which the models disagree
	Unproven  int   `json:"Unproven,omitempty"` // that compared too little
	Compared  int64 `json:"Compared,omitempty"` // requests, on all of them
	Differing int64 `json:"Differing,omitempty"`
	Failed    int64 `json:"Failed,omitempty"`
}

// Plus returns the sum of two.
func (m Mirrored) Plus(o Mirrored) Mirrored {
	return Mirrored{
		m.Agreed + o.Agreed, m.Fresh + o.Fresh, m.Refused + o.Refused, m.Unproven + o.Unproven,
		m.Compared + o.Compared, m.Differing + o.Differing, m.Failed + o.Failed,
	}
}

// Of returns what the result of a device adds, given the row's status since. One
// that was deployed without the figures that were asked for adds to no group of
// devices: its stage does not pass.
func (m *Mirror) Of(r Result, now DeviceStatus) (out Mirrored) {
	agreed, fresh, bad := 0, 0, 0
	for _, mr := range r.Models {
		c := mr.Comparison
		if c == nil {
			bad++
			continue
		}
		out.Compared += sane(c.Compared)
		out.Differing += sane(c.Differing)
		out.Failed += sane(c.Failed)
		switch {
		case c.Finding == NothingBefore || c.Finding == Unchanged:
			fresh++
		case m.Holds(*c):
			agreed++
		case c.Finding == Disagrees:
			out.Refused = 1
		case c.Finding == NotProven:
			out.Unproven = 1
		default:
			bad++
		}
	}
	switch {
	case now != DeviceDeployed:
		return out
	case bad > 0 || out.Refused+out.Unproven > 0:
		out.Refused, out.Unproven = 0, 0
	case agreed > 0:
		out.Agreed = 1
	case fresh > 0:
		out.Fresh = 1
	}
	return out
}

// sane is a count that a device may say: sums of them stay numbers.
func sane(n int64) int64 { return max(0, min(n, 1e9)) }

// Percent returns the percentage of the requests that were compared, on all
// devices, which the new models did not answer as the old ones did.
func (m Mirrored) Percent() float64 { return m.pairs().Percent() }

func (m Mirrored) pairs() Pairs {
	return Pairs{Compared: m.Compared, Differing: m.Differing, Failed: m.Failed}
}

// String tells it in words.
func (m Mirrored) String() string {
	if m == (Mirrored{}) {
		return "no device has compared the models yet"
	}
	return fmt.Sprintf("%.2g %% of %d requests were answered differently; the models agree on %d devices and disagree on "+
		"%d; too little was compared on %d; %d had nothing to compare with", m.Percent(), m.pairs().judged(), m.Agreed,
		m.Refused, m.Unproven, m.Fresh)
}
