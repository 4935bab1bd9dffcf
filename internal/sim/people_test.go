package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/outcome"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
)

var scope = arn.Scope{Region: "us-east-1", Account: "000000000000"}

// people ask for deployments, send requests and set alarms off.
type people struct {
	d        dice
	quota    int // deployments still to be asked for
	accepted int
	refused  int
	named    int
	alarms   map[string]bool              // those in ALARM
	fired    map[string]time.Time         // when they were last
	answers  map[string]int64             // requests that were answered, by endpoint and configuration
	heard    map[string][]traffic.Reading // what routers ever reported of them
}

// visit looks at an endpoint and asks for something that suits it.
func (w *world) visit(s *slot) {
	defer func() {
		if w.err == nil && (w.quota > 0 || s.stored != nil) {
			wait := w.d.upTo(2 * time.Minute)
			if w.quota <= 0 {
				wait = w.d.between(10*time.Second, time.Minute)
			}
			w.after(wait, func() { w.visit(s) })
		}
	}()
	if s.stored == nil {
		if w.quota > 0 {
			w.create(s)
		}
		return
	}
	w.alert(s)
	if s.stored.Status.Busy() && !w.d.one(50) { // who asks all the same is refused
		w.steer(s)
		return
	}
	var asked string
	again := false // deleting twice is one deletion
	err := w.db.ChangeEndpoint(w.ctx, scope, s.name, func(_ store.Tx, e *hosting.Endpoint) (err error) {
		busy := e.Status.Busy()
		if asked, err = w.ask(e, now()); err != nil {
			return err
		}
		if again = asked == "delete" && s.stored.Status == hosting.Deleting; busy && !again {
			w.broken("%s was accepted while %s", asked, e.Status)
		}
		return nil
	})
	if f, ok := errors.AsType[*fault.Error](err); ok && (f.Kind == fault.InUse || f.Kind == fault.Invalid) {
		w.refused++
		return
	}
	if w.must(err); !again {
		w.began(s, asked)
	}
}

// steer may tell the deployment in progress something, now and a few times on.
func (w *world) steer(s *slot) {
	if w.calm || !w.d.one(6) {
		return
	}
	verb := w.verb()
	err := w.db.ChangeEndpoint(w.ctx, scope, s.name, func(_ store.Tx, e *hosting.Endpoint) error {
		return e.Order(verb, "eve", now())
	})
	if f, ok := errors.AsType[*fault.Error](err); ok &&
		(f.Kind == fault.InUse || f.Kind == fault.Invalid || f.Kind == fault.NotFound) {
		return
	}
	w.must(err)
	w.note("%s: %s", s.name, verb)
	w.tally[string(verb)]++
	w.checkEndpoint(s.id)
	w.notifyAll()
	w.after(w.d.upTo(30*time.Second), func() {
		if s.stored != nil {
			w.steer(s)
		}
	})
}

func (w *people) verb() rollout.Verb {
	return []rollout.Verb{
		rollout.Pause, rollout.Resume, rollout.Pause, rollout.Resume, rollout.Promote, rollout.Abort,
	}[w.d.IntN(6)]
}

func (w *world) began(s *slot, asked string) {
	w.quota--
	w.accepted++
	w.note("%s: %s", s.name, asked)
	w.checkEndpoint(s.id)
	w.notifyAll()
	w.soon()
}

// ask changes e as somebody might want it.
func (w *people) ask(e *hosting.Endpoint, now time.Time) (string, error) {
	d := w.d
	id := hosting.DeploymentID(w.name("d"))
	switch {
	case w.quota <= 0 || e.Status == hosting.Failed && !d.one(5) || d.one(12):
		return "delete", e.Delete(id, now)
	case d.one(5):
		var ds []hosting.Desire
		for _, wt := range e.Weights {
			n, weight := 1+d.IntN(5), float64(d.IntN(5))
			ds = append(ds, hosting.Desire{Variant: wt.Variant, Count: &n, Weight: &weight})
		}
		return "scale", e.Scale(id, ds, now)
	}
	if err := e.MayUpdate(); err != nil {
		return "", err
	}
	u := hosting.Update{Launch: w.launch(id, w.shape(e.Weights), now), RetainAll: d.one(3)}
	switch d.IntN(6) {
	case 0:
	case 1:
		u.RetainDeploymentConfig = true
	default:
		u.DeploymentConfig = &hosting.DeploymentConfig{Policy: w.policy(e.Name), Document: []byte(`{}`)}
	}
	if d.one(4) {
		u.Exclude = []hosting.Property{
			[]hosting.Property{hosting.DesiredInstanceCount, hosting.DesiredWeight}[d.IntN(2)],
		}
	}
	u.Gates = w.gates()
	what := "update"
	if u.DeploymentConfig != nil {
		what = "update " + string(u.DeploymentConfig.Policy.Strategy)
	}
	return what, e.Update(u)
}

// create brings an endpoint up where there is none.
func (w *world) create(s *slot) {
	s.id = hosting.EndpointID(w.name("e"))
	e, err := hosting.Create(s.id, s.name, w.launch(hosting.DeploymentID(w.name("d")), w.shape(nil), now()), nil)
	w.must(err)
	w.must(w.db.Change(w.ctx, func(tx store.Tx) error { return tx.Write(w.ctx, outcome.OfCreation(e)) }))
	w.slots[s.id] = s
	w.began(s, "create")
}

// shape is the variants of a new configuration: often those of the old one.
func (w *people) shape(old []hosting.Weight) (vs []hosting.Variant) {
	d := w.d
	n := 1 + max(0, d.IntN(8)-5)
	if len(old) > 0 && !d.one(8) {
		n = len(old)
	}
	for i := range n {
		vs = append(vs, hosting.Variant{
			Name: fmt.Sprint("v", i), ModelName: "m", InstanceCount: 1 + d.IntN(3), Weight: float64(d.IntN(3)),
		})
		if d.one(10) {
			vs[i].InstanceCount += d.IntN(7)
		}
	}
	return vs
}

func (w *people) launch(id hosting.DeploymentID, vs []hosting.Variant, now time.Time) hosting.Launch {
	return hosting.Launch{
		Deployment: id, Fleet: hosting.FleetID(w.name("f")), Now: now,
		Config: hosting.EndpointConfig{Scope: scope, Name: w.name("c"), Variants: vs},
		Models: map[string]hosting.Model{"m": {Containers: []hosting.Container{{Name: "primary", Image: "i"}}}},
	}
}

func (w *people) name(kind string) string {
	w.named++
	return fmt.Sprintf("%s-%d", kind, w.named)
}

func (w *people) policy(endpoint string) *rollout.Policy {
	d := w.d
	size := func() rollout.Size {
		if d.one(3) {
			return rollout.Size{Type: rollout.InstanceCount, Value: 1 + d.IntN(2)}
		}
		return rollout.Size{Type: rollout.CapacityPercent, Value: 10 + d.IntN(41)}
	}
	p := &rollout.Policy{
		Strategy: []rollout.Strategy{
			rollout.AllAtOnce, rollout.Canary, rollout.Linear, rollout.Rolling, rollout.Rolling,
		}[d.IntN(5)],
		CanarySize: size(), LinearStepSize: size(), MaximumBatchSize: size(),
		WaitInterval:            time.Duration(d.IntN(4)) * 4 * time.Second,
		TerminationWait:         time.Duration(d.IntN(3)) * 6 * time.Second,
		MaximumExecutionTimeout: time.Duration(120+d.IntN(180)) * time.Second,
	}
	if d.one(2) {
		p.RollbackMaximumBatchSize = size()
	}
	if !d.one(3) {
		p.Alarms = []string{endpoint}
	}
	if d.one(8) {
		p.MinimumRequests = 1 + d.IntN(20)
	}
	return p
}

// alert may set the endpoint's alarm off for a while, or have it flap.
func (w *world) alert(s *slot) {
	if w.calm || !w.d.one(8) {
		return
	}
	for range 1 + w.d.IntN(3) {
		w.after(w.d.upTo(2*time.Minute), func() {
			if w.alarms[s.name] || w.calm {
				return
			}
			w.note("alarm %s fires", s.name)
			w.alarms[s.name], w.fired[s.name] = true, time.Now()
			w.notified[w.d.IntN(len(w.servers))] = true
			w.after(w.d.upTo(time.Minute), func() {
				w.note("alarm %s is quiet", s.name)
				w.alarms[s.name], w.fired[s.name] = false, time.Now()
			})
		})
	}
}
