package hosting

import (
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// Names are what the fleets of d are called in sentences about its gates.
func (d *Deployment) Names() gate.Names { return gate.Names{New: d.To(), Old: d.From} }

// GateFacts returns what gates have seen of the endpoint's deployment, as
// rollout.Next asks for it. What is of another deployment, or of no gate of this
// one, is left out.
func (e *Endpoint) GateFacts(seen []gate.Fact) (facts []rollout.GateFact) {
	d := e.Deployment
	for _, f := range d.own(seen) {
		g, _ := gate.Find(d.Plan.Policy.Gates, f.Kind)
		facts = append(facts, rollout.GateFact{
			Fact: f, Against: g.Against(f, d.Names()), Lacking: g.Lacking(f, d.Names()),
		})
	}
	return facts
}

// own are those facts that are about d and one of its gates.
func (d *Deployment) own(seen []gate.Fact) (own []gate.Fact) {
	if d == nil {
		return nil
	}
	for _, f := range seen {
		if _, ok := gate.Find(d.Plan.Policy.Gates, f.Kind); ok && f.Deployment == string(d.ID) {
			own = append(own, f)
		}
	}
	return own
}

// Note keeps with the deployment what its gates have seen: what they saw of a
// variant last stays until they saw more. Of a step whose bake is over it keeps
// which of them were proven; was is the state before.
func (d *Deployment) Note(seen []gate.Fact, was rollout.State, now time.Time) {
	for _, f := range d.own(seen) {
		d.Gates = slices.Clone(d.Gates)
		same := func(g gate.Fact) bool { return g.Kind == f.Kind && g.Variant == f.Variant }
		i := slices.IndexFunc(d.Gates, same)
		if i < 0 {
			d.Gates = append(d.Gates, f)
		} else {
			d.Gates[i] = f
		}
		g, _ := gate.Find(d.Plan.Policy.Gates, f.Kind)
		over := was.Phase == rollout.Baking && d.State.Phase != rollout.Baking && d.State.Turned.IsZero()
		if over && g.Shows(f, was.Begun, was.Step) {
			d.Proven = append(slices.Clip(d.Proven), gate.Proven{
				Kind: f.Kind, Variant: f.Variant, Step: was.Step, At: now, Proof: f.Proof,
				Requests: f.Seen.New.Requests,
			})
		}
	}
}

// KeptEvidence is what is kept of the evidence on a deployment, so that the next
// server goes on with it.
type KeptEvidence struct {
	Deployment DeploymentID
	// Life is the server's: of two of the same, that with the higher Number is newer.
	Life      string
	Number    int64
	Documents map[string]string // as JSON, by variant
}
