package record

import (
	"fmt"
	"math"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// Judged is what a gate came to for one variant, so far or in the end.
type Judged struct {
	Gate    gate.Gate
	Variant string
	Seen    bool // somebody counted: Fact means something
	Fact    gate.Fact
	// Said is what to know of it, as sentences: what was seen, what was proven, and
	// of a deployment that passed what could not have been seen.
	Said []string
}

// Gates returns what the deployment's gates came to, in their order.
func (r Record) Gates() (out []Judged) {
	for _, g := range r.Plan.Policy.Gates {
		for _, v := range r.Plan.Variants {
			j := Judged{Gate: g, Variant: v.Name}
			for _, f := range r.Deployment.Gates {
				if f.Kind == g.Kind && f.Variant == v.Name {
					j.Fact, j.Seen = f, true
				}
			}
			j.Said = r.said(j)
			out = append(out, j)
		}
	}
	return out
}

// said puts together the sentences about a gate.
func (r Record) said(j Judged) (said []string) {
	n := r.Names()
	if !j.Seen {
		said = append(said, "Nothing was compared: it has seen nothing.")
		return append(said, r.skipped(j)...)
	}
	said = append(said, j.Gate.Now(j.Fact, n))
	if j.Fact.Held != "" && j.Fact.Seen.New.Requests > 0 {
		said = append(said, j.Gate.Against(j.Fact, n))
	}
	proven := false
	for _, p := range r.Proven {
		if p.Kind == j.Gate.Kind && p.Variant == j.Variant {
			said, proven = append(said, j.Gate.ProofOf(p, n)), true
		}
	}
	fired := j.Gate.Fired(j.Fact, r.State.Begun)
	if !proven && j.Gate.Proves() {
		said = append(said, j.Gate.Lacking(j.Fact, n))
	}
	said = append(append(said, j.Gate.Unread(j.Fact)...), j.Fact.Differs()...)
	if !fired && j.Gate.Kind != gate.Any {
		if unseen := j.Gate.Unseen(j.Fact, n); unseen != "" {
			said = append(said, unseen)
		}
	}
	return append(said, r.skipped(j)...)
}

// skipped says that somebody promoted a deployment past what it was held for.
func (r Record) skipped(j Judged) []string {
	if r.State.Promoted && j.Gate.Action == gate.Hold {
		return []string{"It was promoted: from then on no proof was waited for."}
	}
	return nil
}

// Chances is how likely updates are rolled back though their new fleets are no
// worse than allowed: the sum of the chances of all that can undo one.
type Chances struct {
	Each     float64 // of one update, at most
	Updates  int64   // how many there were lately
	Expected float64 // how many of those were rolled back for nothing, at most
}

// ChancesOf adds up the chances of a deployment's gates and alarms; those of
// alarms are given.
func ChancesOf(p rollout.Plan, alarms []float64, updates int64) (c Chances) {
	for _, g := range p.Policy.Gates {
		if g.Judges() {
			c.Each += g.Alpha * float64(len(p.Variants))
		}
	}
	for _, alpha := range alarms {
		c.Each += alpha
	}
	c.Each = min(1, c.Each)
	c.Updates, c.Expected = updates, c.Each*float64(updates)
	return c
}

// String says it in a sentence.
func (c Chances) String() string {
	switch {
	case c.Each == 0:
		return "Nothing here rolls back by evidence."
	case c.Updates == 0:
		return fmt.Sprintf("At most %s of updates are rolled back though their new instances are no worse than allowed.",
			oneIn(c.Each))
	}
	return fmt.Sprintf("At most %s of updates are rolled back though their new instances are no worse than allowed: of "+
		"the %d of the last 30 days that would be at most %.2g.", oneIn(c.Each), c.Updates, c.Expected)
}

func oneIn(chance float64) string {
	if n := math.Round(1 / chance); n > 1 {
		return fmt.Sprintf("one in %.0f", n)
	}
	return "all"
}

// Blind returns what makes gates of e's planned deployment doubtful if its
// traffic goes on as it was: so many requests a second of each variant, of which
// that part failed.
func Blind(e *hosting.Endpoint, rate, failing map[string]float64) (out []Finding) {
	d := e.Deployment
	b := blindness{plan: d.Plan, names: d.Names()}
	for i, v := range d.Plan.Variants {
		if v.Old == 0 || v.New == 0 {
			continue
		}
		b.instances(v)
		for _, g := range d.Plan.Policy.Gates {
			b.look(g, i, rate[v.Name], failing[v.Name])
		}
	}
	return b.found
}
