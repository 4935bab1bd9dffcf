package gates

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/id"
)

// Document is what is kept of the evidence on one variant of a deployment, so that
// the next server goes on where it was written. It is stored as JSON. All of it is
// of one moment: what is counted later is in none or in the next.
type Document struct {
	At    time.Time `json:"at"`
	Step  int       `json:"step"` // whose proofs these are, from 0
	Gates []Weighed `json:"gates"`

	Shed      int64         `json:"shed,omitempty"`      // copies that were not compared
	Unread    gate.Unread   `json:"unread,omitzero"`     // pairs in which nothing was
	Missed    int64         `json:"missed,omitempty"`    // requests that were not counted
	Unwatched time.Duration `json:"unwatched,omitempty"` // for how long nobody counted
	// Spoken is what gates had seen when they fired, without how it came about.
	Spoken []gate.Fact `json:"spoken,omitempty"`
}

// Weighed is one gate of it.
type Weighed struct {
	Since time.Time            `json:"since"` // when counting began
	State evidence.State       `json:"state"`
	Proof *evidence.ProofState `json:"proof,omitempty"`
	Sum   float64              `json:"sum,omitempty"` // of distances
	// Before is, of a proof of pairs, how many there were when it began; nil: none.
	Before *Mark `json:"before,omitempty"`
}

// Keep returns what is to be kept of a deployment as of now; false if there is
// nothing, or it is over. It waits for nothing.
func (s *Service) Keep(id hosting.DeploymentID) (k hosting.KeptEvidence, some bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.watched[id]
	if w == nil || !w.running {
		return k, false
	}
	return w.keep(s.life, s.weighed), true
}

// keep returns what is to be kept, as of the last time that w was weighed: what has
// been counted since is in the counters.
func (w *watched) keep(life string, at time.Time) hosting.KeptEvidence {
	w.kept++
	k := hosting.KeptEvidence{Deployment: w.id, Life: life, Number: w.kept, Documents: map[string]string{}}
	for _, v := range w.variants {
		d := Document{
			At: at.Round(0).UTC(), Step: w.step, Shed: v.shed, Unread: v.incomparable, Missed: v.missed,
			Unwatched: v.unwatched,
		}
		for _, c := range v.scales {
			if c.kind == evidence.Drift { // whose labels nobody can read without its key, which is not kept
				continue
			}
			n := Weighed{Since: c.since, State: c.State(), Sum: c.sum}
			if c.proof != nil {
				n.Proof = new(c.proof.State())
				if c.before != (Mark{}) {
					n.Before = new(c.before)
				}
			}
			d.Gates = append(d.Gates, n)
		}
		for _, kind := range slices.Sorted(maps.Keys(v.spoken)) {
			f := v.spoken[kind]
			f.Trail = gate.Trail{}
			d.Spoken = append(d.Spoken, f)
		}
		text, err := json.Marshal(d)
		if err != nil {
			continue // no number in it is infinite: it cannot be
		}
		k.Documents[v.place.Variant] = string(text)
	}
	return k
}

// keepEvery is how often evidence is kept besides: a server that is killed loses so
// much of it at most.
const keepEvery = 5 * time.Second

// keepOn keeps evidence now and then, until ctx ends, and once more then.
func (s *Service) keepOn(ctx context.Context) {
	failed := false
	keep := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, lookTime)
		defer cancel()
		var all []hosting.KeptEvidence
		s.mu.Lock()
		for _, w := range s.watched {
			if w.running {
				all = append(all, w.keep(s.life, s.weighed))
			}
		}
		s.mu.Unlock()
		if len(all) == 0 {
			return
		}
		err := s.cfg.Store.KeepEvidence(ctx, all)
		if err != nil && !failed {
			s.cfg.Log.WarnContext(ctx, "the evidence on deployments was not saved; a server that is killed now loses more "+
				"of it", "err", err)
		}
		failed = err != nil
	}
	clock.Every(ctx, keepEvery, func() { keep(ctx) })
	s.weigh(time.Now())
	keep(context.WithoutCancel(ctx))
}

// earlier returns what was kept of a deployment that is not watched yet, by variant.
func (s *Service) earlier(
	ctx context.Context, id hosting.DeploymentID, e *hosting.Endpoint,
) (map[string]*Document, error) {
	s.mu.Lock()
	known, anew := s.watched[id] != nil, s.anew
	s.mu.Unlock()
	if known || !comparable(e) || anew {
		return nil, nil
	}
	texts, err := s.cfg.Store.Evidence(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read the evidence on a deployment: %w", err)
	}
	all := map[string]*Document{}
	for variant, text := range texts {
		var d Document
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			s.cfg.Log.ErrorContext(ctx, "what was saved of the evidence on a deployment is not understood",
				"deployment", id, "variant", variant, "err", err)
			continue
		}
		all[variant] = &d
	}
	return all, nil
}

// resume has w go on with what was kept of it, and says what is missing.
func (s *Service) resume(
	ctx context.Context, w *watched, e *hosting.Endpoint, before map[string]*Document, now time.Time,
) {
	if fresh(e) && len(before) == 0 {
		return
	}
	log := s.cfg.Log.With("endpoint", e.Name, "deployment", w.id)
	lost := time.Duration(0)
	for _, v := range w.variants {
		d, variant := before[v.place.Variant], v.place.Variant
		if d == nil {
			s.later(func() {
				log.WarnContext(ctx, "the evidence on a deployment begins anew: nothing of it was saved, or of another "+
					"course of things", "variant", variant)
			})
			continue
		}
		away := max(0, now.Sub(d.At))
		lost = max(lost, away)
		for _, kind := range v.goOn(w, d, now, away) {
			s.later(func() {
				if kind == evidence.Drift {
					log.WarnContext(ctx, "the evidence of a gate begins anew: what it compares with is not saved, and is "+
						"learnt again from the old fleet", "variant", variant, "gate", kind)
					return
				}
				log.WarnContext(ctx, "the evidence of a gate begins anew: what was saved is of another one",
					"variant", variant, "gate", kind)
			})
		}
	}
	if lost > 0 {
		s.later(func() {
			log.WarnContext(ctx, "the evidence on a deployment goes on where it was saved: nobody counted since",
				"seconds", lost.Seconds())
		})
	}
}

// goOn has v go on with what was kept of it, after nobody counted for so long, and
// returns the gates of which nothing was.
func (v *variantOf) goOn(w *watched, d *Document, now time.Time, away time.Duration) (anew []evidence.Kind) {
	v.shed, v.incomparable, v.missed, v.unwatched = d.Shed, d.Unread, d.Missed, d.Unwatched+away
	for _, f := range d.Spoken {
		if v.spoken == nil {
			v.spoken = map[gate.Kind]gate.Fact{}
		}
		f.Deployment = string(w.id)
		v.spoken[f.Kind] = f
	}
	for _, c := range v.scales {
		if !v.resume(c, d, w.step, now) {
			anew = append(anew, c.kind)
		}
	}
	return anew
}

// resume has c go on with what was kept, its proof if that is of the step that the
// traffic is at; false if there is nothing of it.
func (v *variantOf) resume(c *scale, d *Document, step int, now time.Time) bool {
	c.before = v.mark(c)
	i := slices.IndexFunc(d.Gates, func(n Weighed) bool { return n.State.Kind == c.kind })
	if i < 0 {
		return false
	}
	n := d.Gates[i]
	p, err := evidence.Restore(*c.Gate(), n.State)
	if err != nil {
		return false
	}
	c.Process, c.since, c.sum = p, n.Since, n.Sum
	// A proof that is not continued begins with what comes from now on.
	c.before = v.mark(c)
	if c.proof != nil && n.Proof != nil && d.Step == step &&
		evidence.RestoreProof(c.proof, *n.Proof, now.Unix()+1) == nil {
		if c.before = (Mark{}); n.Before != nil {
			c.before = *n.Before
		}
	}
	return true
}

// Rewound says that the database ran backwards: what was kept in it is of another
// course of things, and so is what was counted. All evidence begins anew, and is kept
// as that of another service: it is numbered from 1 again.
func (s *Service) Rewound(ctx context.Context) {
	s.mu.Lock()
	s.anew, s.life = true, id.New("g")
	gone := s.watched
	s.watched = map[hosting.DeploymentID]*watched{}
	for _, w := range gone {
		for _, v := range w.variants {
			s.Forget(v.place)
		}
	}
	s.mu.Unlock()
	for of, w := range gone {
		s.cfg.Log.WarnContext(ctx, "the evidence on a deployment begins anew: the database ran backwards",
			"endpoint", w.key.Name, "deployment", of)
	}
}

// fresh reports whether e's deployment has moved no traffic yet.
func fresh(e *hosting.Endpoint) bool {
	return e.Deployment.State.Phase == rollout.Launching && e.Deployment.State.Step == 0
}
