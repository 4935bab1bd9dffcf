package outcome_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/outcome"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

var (
	t0    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	later = t0.Add(time.Minute)
	scope = arn.Scope{Region: "us-east-1", Account: "000000000000"}
)

// records is what a store would hold of one endpoint.
type records struct {
	t  *testing.T
	e  *hosting.Endpoint
	is []hosting.Instance
	n  int // of the next instance
}

// write makes the instances agree with an outcome, and returns it.
func (r *records) write(o outcome.Outcome) outcome.Outcome {
	for n := range r.is {
		i := &r.is[n]
		if slices.Contains(o.Retire, i.ID) {
			i.Wanted = false
		}
		if o.Report != nil && o.Report.ID == i.ID {
			i.Status, i.Address = o.Report.Status, o.Report.Address
		}
	}
	r.is = slices.DeleteFunc(r.is, func(i hosting.Instance) bool { return i.ID == o.Remove })
	for _, m := range o.Add {
		r.is = append(r.is, hosting.Instance{
			ID: hosting.InstanceID(fmt.Sprint("i-", r.n)), Endpoint: r.e.ID, Fleet: m.Fleet,
			Variant: m.Spec.Variant.Name,
			Ordinal: m.Ordinal, Wanted: true, Status: hosting.InstanceStarting, Created: r.e.Modified,
		})
		r.n++
	}
	return o
}

// launch is configuration c of n instances.
func launch(c string, n int) hosting.Launch {
	return hosting.Launch{
		Deployment: hosting.DeploymentID("d-" + c), Fleet: hosting.FleetID("f-" + c), Now: t0,
		Config: hosting.EndpointConfig{
			Scope: scope, Name: c,
			Variants: []hosting.Variant{{Name: "a", ModelName: "m", InstanceCount: n, Weight: 1}},
		},
		Models: map[string]hosting.Model{"m": {Containers: []hosting.Container{{Name: "primary", Image: "i"}}}},
	}
}

func created(t *testing.T) *records {
	t.Helper()
	e, err := hosting.Create("e-1", "e", launch("c1", 2), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &records{t: t, e: e}
}

// change changes the endpoint at a time, and returns what follows.
func (r *records) change(f func(e *hosting.Endpoint) error) outcome.Outcome {
	r.t.Helper()
	was := outcome.StandingOf(r.e)
	if err := f(r.e); err != nil {
		r.t.Fatal(err)
	}
	return r.write(outcome.OfChange(was, r.e, r.is))
}

// turn takes one step of the deployment.
func (r *records) turn(firing ...hosting.TrippedAlarm) outcome.Outcome {
	r.t.Helper()
	return r.change(func(e *hosting.Endpoint) error {
		next, _ := rollout.Next(e.Deployment.Plan, e.Deployment.State, e.Facts(r.is, firing, later))
		if next.Reason != "" {
			e.Deployment.Tripped = firing
		}
		e.Apply(next, later)
		return nil
	})
}

// ready reports every wanted instance ready, and returns what followed last.
func (r *records) ready() (o outcome.Outcome) {
	for _, i := range slices.Clone(r.is) {
		if i.Wanted && i.Status == hosting.InstanceStarting {
			o = r.report(i.ID, hosting.InstanceReady)
		}
	}
	return o
}

func (r *records) report(id hosting.InstanceID, s hosting.InstanceStatus) outcome.Outcome {
	rep := hosting.InstanceReport{ID: id, Status: s, Address: "a"}
	return r.write(outcome.OfReport(r.e, r.is, rep, later))
}

// inService is an endpoint of two ready instances, i-0 and i-1.
func inService(t *testing.T) *records {
	t.Helper()
	r := created(t)
	r.write(outcome.OfCreation(r.e))
	for r.ready(); r.e.Deployment != nil; {
		r.turn()
	}
	return r
}

// updating is one that c2 is being brought up for, as i-2 and i-3, all at once
// with a bake under an alarm.
func updating(t *testing.T) *records {
	t.Helper()
	r := inService(t)
	r.update()
	return r
}

func (r *records) update() outcome.Outcome {
	r.t.Helper()
	return r.change(func(e *hosting.Endpoint) error {
		p := &rollout.Policy{Strategy: rollout.AllAtOnce, TerminationWait: time.Hour, Alarms: []string{"errors"}}
		return e.Update(hosting.Update{
			Launch: launch("c2", 2), DeploymentConfig: &hosting.DeploymentConfig{Policy: p, Document: []byte(`{}`)},
		})
	})
}

// baking is one whose requests go to c2 by now.
func baking(t *testing.T) *records {
	t.Helper()
	r := updating(t)
	r.ready()
	r.turn()
	r.turn()
	return r
}

// says puts an outcome into words, in the order of its fields.
func says(o outcome.Outcome) (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch {
	case o.Created:
		say("new endpoint %s", o.Endpoint.Status)
	case o.Gone:
		say("no endpoint")
	case o.Endpoint != nil:
		say("endpoint %s", o.Endpoint.Status)
	}
	if d := o.Deployment; d != nil {
		say("deployment %s %s", d.ID, d.State.Phase)
	}
	if o.Wake != "" {
		say("wake the deployment of %s", o.Wake)
	}
	for _, m := range o.Add {
		say("add %s %d", m.Fleet, m.Ordinal)
	}
	for _, id := range o.Retire {
		say("retire %s", id)
	}
	if o.Report != nil {
		say("%s is %s", o.Report.ID, o.Report.Status)
	}
	if o.Remove != "" {
		say("%s is gone", o.Remove)
	}
	out = append(out, routed(o)...)
	for _, l := range o.History {
		switch w := l.What.(type) {
		case record.Transition:
			say("history of %s: %s→%s %v", l.Deployment, w.From, w.To, w.Tripped)
		case record.StatusChange:
			say("%s", strings.TrimSpace(fmt.Sprintf("history of %q: %s→%s %s", l.Deployment, w.From, w.To, w.Reason)))
		case record.FleetTrouble:
			say("old fleet of %s: %s", l.Deployment, w.Message())
		}
	}
	for _, k := range o.Events {
		say("tell %s of %s", k, o.View.Status)
	}
	return out
}

func routed(o outcome.Outcome) (out []string) {
	switch {
	case o.Route == nil:
		return nil
	case o.Route.Gone:
		return []string{"route gone"}
	}
	for _, v := range o.Route.Variants {
		for _, f := range v.Fleets {
			out = append(out, fmt.Sprintf("route %s %.0f%% on %d", f.Config, f.Share*100, len(f.Instances)))
		}
	}
	return out
}

func TestWhatFollowsFromAChange(t *testing.T) {
	const state, deployment = "tell SageMaker Endpoint State Change of ", "tell SageMaker Endpoint Deployment " +
		"State Change of "
	for name, c := range map[string]struct {
		does func(t *testing.T) outcome.Outcome
		want []string
	}{
		"a new endpoint wants its instances, and has no route yet": {
			func(t *testing.T) outcome.Outcome { r := created(t); return r.write(outcome.OfCreation(r.e)) },
			[]string{
				"new endpoint Creating", "deployment d-c1 Launching", "add f-c1 0", "add f-c1 1", "route gone",
				"history of d-c1: →Launching []", `history of "d-c1": →Creating`, state + "Creating",
				deployment + "Creating",
			},
		},
		"a report wakes the deployment that may wait for it": {
			func(t *testing.T) outcome.Outcome {
				r := created(t)
				r.write(outcome.OfCreation(r.e))
				return r.ready()
			},
			[]string{"wake the deployment of e-1", "i-1 is Ready", "route gone"},
		},
		"an accepted update adds instances, and moves no requests": {
			func(t *testing.T) outcome.Outcome { return inService(t).update() },
			[]string{
				"endpoint Updating", "deployment d-c2 Launching", "add f-c2 0", "add f-c2 1", "route c1 100% on 2",
				"history of d-c2: →Launching []", `history of "d-c2": InService→Updating`, state + "Updating",
				deployment + "Updating",
			},
		},
		"phase and requests move together": {
			func(t *testing.T) outcome.Outcome { r := updating(t); r.ready(); return r.turn() },
			[]string{
				"endpoint Updating", "deployment d-c2 Shifting", "route c2 100% on 2",
				"history of d-c2: Launching→Shifting []", deployment + "Updating",
			},
		},
		"a change within a phase is no news": {
			func(t *testing.T) outcome.Outcome {
				return baking(t).change(func(e *hosting.Endpoint) error { return e.Order(rollout.Pause, "eve", later) })
			},
			[]string{"endpoint Updating", "deployment d-c2 Baking", "route c2 100% on 2"},
		},
		"an alarm takes the requests back, and the history says which": {
			func(t *testing.T) outcome.Outcome { return baking(t).turn(hosting.TrippedAlarm{Name: "errors"}) },
			[]string{
				"endpoint Updating", "deployment d-c2 Returning", "route c1 100% on 2",
				fmt.Sprintf("history of d-c2: Baking→Returning %v", []hosting.TrippedAlarm{{Name: "errors"}}),
				deployment + "Updating",
			},
		},
		"a deployment that ends is filed: the endpoint is free, the history still its": {
			func(t *testing.T) outcome.Outcome {
				r := created(t)
				r.write(outcome.OfCreation(r.e))
				r.ready()
				r.turn()
				o := r.turn()
				if r.e.Deployment != nil {
					t.Error("the endpoint still has its deployment")
				}
				return o
			},
			[]string{
				"endpoint InService", "deployment d-c1 Succeeded", "route c1 100% on 2",
				"history of d-c1: Shifting→Succeeded []", `history of "d-c1": Creating→InService`, state + "InService",
			},
		},
		"fewer wanted instances leave the route at once": {
			func(t *testing.T) outcome.Outcome {
				r, one := inService(t), 1
				r.change(func(e *hosting.Endpoint) error {
					return e.Scale("d-s", []hosting.Desire{{Variant: "a", Count: &one}}, later)
				})
				return r.turn()
			},
			[]string{
				"endpoint Updating", "deployment d-s Committed", "retire i-1", "route c1 100% on 1",
				"history of d-s: Launching→Committed []", deployment + "Updating",
			},
		},
		"an instance that fails leaves the route, the endpoint serves on": {
			func(t *testing.T) outcome.Outcome { return inService(t).report("i-0", hosting.InstanceUnhealthy) },
			[]string{"i-0 is Unhealthy", "route c1 100% on 1"},
		},
		"the last one takes the endpoint out of service": {
			func(t *testing.T) outcome.Outcome {
				r := inService(t)
				r.report("i-0", hosting.InstanceUnhealthy)
				return r.report("i-1", hosting.InstanceUnhealthy)
			},
			[]string{
				"endpoint OutOfService", "i-1 is Unhealthy", "route c1 100% on 0",
				`history of "": InService→OutOfService No instance passes its health checks: ` +
					`requests go to all that run, 2.`, state + "OutOfService",
			},
		},
		"an old fleet that gets into trouble during an update is told of": {
			func(t *testing.T) outcome.Outcome {
				r := updating(t)
				r.report("i-0", hosting.InstanceUnhealthy)
				return r.report("i-1", hosting.InstanceUnhealthy)
			},
			[]string{
				"wake the deployment of e-1", "i-1 is Unhealthy", "route c1 100% on 0",
				"old fleet of d-c2: 0 of 2 instances of variant a that serve the configuration before are ready. " +
					"None passes its health checks: their requests go to all that run, 2.", deployment + "Updating",
			},
		},
		"trouble that goes on is told of once": {
			func(t *testing.T) outcome.Outcome {
				r := updating(t)
				r.report("i-0", hosting.InstanceUnhealthy)
				r.report("i-1", hosting.InstanceUnhealthy)
				return r.report("i-1", hosting.InstanceUnhealthy)
			},
			[]string{"wake the deployment of e-1", "i-1 is Unhealthy", "route c1 100% on 0"},
		},
		"an old fleet that has recovered is told of": {
			func(t *testing.T) outcome.Outcome {
				r := updating(t)
				r.report("i-0", hosting.InstanceUnhealthy)
				return r.report("i-0", hosting.InstanceReady)
			},
			[]string{
				"wake the deployment of e-1", "i-0 is Ready", "route c1 100% on 2",
				"old fleet of d-c2: The previous fleet serves as it should again.", deployment + "Updating",
			},
		},
		"a bake that starts over is told of": {
			func(t *testing.T) outcome.Outcome {
				r := updating(t)
				for r.ready(); r.e.Deployment.State.Phase != rollout.Baking; {
					r.turn()
				}
				o := r.change(func(e *hosting.Endpoint) error {
					s := &e.Deployment.State
					s.Restarted = later.Add(time.Second)
					s.Gaps = append(s.Gaps, rollout.Gap{Missed: "the server was away"})
					return nil
				})
				said := o.View.Pending.Variants[0].Statuses[0].Message
				if !strings.HasSuffix(said, " It started over at 03:05:06, because the server was away.") {
					t.Errorf("subscribers are told %q", said)
				}
				return o
			},
			[]string{"endpoint Updating", "deployment d-c2 Baking", "route c2 100% on 2", deployment + "Updating"},
		},
		"an instance that is gone wakes the deployment that waits for it": {
			func(t *testing.T) outcome.Outcome {
				r := updating(t)
				return r.write(outcome.OfRemoval(r.e, r.is, "i-2", later))
			},
			[]string{"wake the deployment of e-1", "i-2 is gone", "route c1 100% on 2"},
		},
		"an instance outlives its endpoint": {
			func(*testing.T) outcome.Outcome {
				return outcome.OfReport(nil, nil, hosting.InstanceReport{ID: "i-9", Status: hosting.InstanceFailed},
					later)
			},
			[]string{"i-9 is Failed"},
		},
		"a deleted endpoint wants nothing and serves nobody": {
			func(t *testing.T) outcome.Outcome {
				return inService(t).change(func(e *hosting.Endpoint) error { return e.Delete("d-x", later) })
			},
			[]string{
				"endpoint Deleting", "deployment d-x Committed", "retire i-0", "retire i-1", "route gone",
				"history of d-x: →Committed []", `history of "d-x": InService→Deleting`, state + "Deleting",
			},
		},
		"when its last instance is gone, only its history and a route that says so remain": {
			func(t *testing.T) outcome.Outcome {
				r := inService(t)
				r.change(func(e *hosting.Endpoint) error { return e.Delete("d-x", later) })
				was := outcome.StandingOf(r.e)
				next, _ := rollout.Next(r.e.Deployment.Plan, r.e.Deployment.State, r.e.Facts(nil, nil, later))
				r.e.Apply(next, later)
				return outcome.OfDeletion(was, r.e)
			},
			[]string{
				"no endpoint", "deployment d-x Succeeded", "route gone",
				"history of d-x: Committed→Succeeded []", `history of "d-x": Deleting→Deleted`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, says(c.does(t))); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
