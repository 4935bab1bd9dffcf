// Package outcome works out what follows when an endpoint or one of its
// instances changed: all that has to be written with it, in one transaction, so
// that a crash finds traffic, instances and history in agreement. What an
// endpoint shall become is decided by packages hosting and rollout before; to
// write it is the store's job.
package outcome

import (
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/notice"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// Outcome is what has to be written, all or nothing.
type Outcome struct {
	// Endpoint is as it has become; nil: its record stays as it is.
	Endpoint *hosting.Endpoint
	Created  bool // it has no record yet
	Gone     bool // its record and its tags are to be removed

	// Deployment is as it has become; nil: its record stays as it is. One that
	// has not ended is due for a turn at once.
	Deployment *hosting.Deployment
	// Wake names an endpoint whose unfinished deployment is due at At, because
	// something happened that it may wait for; "": none.
	Wake hosting.EndpointID

	Add     []hosting.Missing       // instances to record; they have no id yet
	Retire  []hosting.InstanceID    // instances that are no longer wanted
	Report  *hosting.InstanceReport // what was learnt of an instance
	Remove  hosting.InstanceID      // an instance that is gone; "": none
	Route   *traffic.Route          // where requests go now; nil: no endpoint is left
	History []record.Line           // lines to add, in order
	Events  []notice.Kind           // that subscribers are told of, in order
	View    hosting.View            // what the events tell of
	At      time.Time               // when it happened
}

// Standing is what the records say of an endpoint. That of an endpoint without
// a record is zero.
type Standing struct {
	Status     hosting.Status
	Deployment hosting.DeploymentID
	Phase      rollout.Phase // of the deployment
	Restarted  time.Time     // when its present bake started over, because nobody had watched
}

// StandingOf returns how e stands. It is asked for after e was read and before
// e is changed.
func StandingOf(e *hosting.Endpoint) Standing {
	s := Standing{Status: e.Status}
	if d := e.Deployment; d != nil {
		s.Deployment, s.Phase, s.Restarted = d.ID, d.State.Phase, d.State.Restarted
	}
	return s
}

// OfCreation returns what follows when e came to be.
func OfCreation(e *hosting.Endpoint) Outcome {
	o := OfChange(Standing{}, e, nil)
	o.Created = true
	return o
}

// OfChange returns what follows when e, which stood as said and has these
// instances, was changed: by somebody who asked for something, or by a turn of
// its deployment. A deployment that has ended is filed: e is free again.
func OfChange(was Standing, e *hosting.Endpoint, instances []hosting.Instance) Outcome {
	o := Outcome{Endpoint: e, Deployment: e.Deployment, At: e.Modified}
	o.Add, o.Retire = e.Reconcile(instances)
	instances = reconciled(e, instances, o.Add, o.Retire)
	moved := o.phaseChanged(was, e) || restarted(was, e)
	if d := e.Deployment; d != nil && d.ID != was.Deployment && e.OldServes(instances) < 2 {
		o.addLine(e, record.PreviousFleet, record.FleetTrouble{Text: e.OldTrouble(instances)}) // from the start
	}
	if e.Ended() {
		e.Deployment = nil // its own record is what remains
	}
	o.statusAndRoute(was, e, instances)
	if moved && notice.Doing(e.View(instances)) {
		o.Events = append(o.Events, notice.DeploymentChange)
	}
	o.view(e, instances)
	return o
}

// OfDeletion returns what follows when the last of e, which stood as said, is
// gone. Its route stays, so that routers learn of it.
func OfDeletion(was Standing, e *hosting.Endpoint) Outcome {
	o := Outcome{Endpoint: e, Gone: true, Deployment: e.Deployment, At: e.Modified}
	o.phaseChanged(was, e)
	o.addLine(e, record.EndpointStatus, record.StatusChange{From: was.Status, To: "Deleted"})
	o.Route = &traffic.Route{Endpoint: string(e.ID), Scope: e.Scope, Name: e.Name, Gone: true}
	return o
}

// OfReport returns what follows when something was learnt of an instance of e,
// which has these instances. A nil e is gone: only its instances are being
// cleared away.
func OfReport(e *hosting.Endpoint, instances []hosting.Instance, r hosting.InstanceReport, now time.Time) Outcome {
	o := Outcome{Report: &r, At: now}
	served, instances := oldServes(e, instances), slices.Clone(instances)
	for n := range instances {
		if i := &instances[n]; i.ID == r.ID {
			i.Status, i.Address, i.Detail, i.Attempts = r.Status, r.Address, r.Detail, r.Attempts
			if e != nil && e.PinDigest(i.Fleet, i.Variant, r.Digest) {
				o.Endpoint = e
			}
		}
	}
	return o.withEndpoint(e, instances, served)
}

// OfRemoval returns what follows when an instance of e, which has these, is
// gone; see OfReport.
func OfRemoval(e *hosting.Endpoint, instances []hosting.Instance, id hosting.InstanceID, now time.Time) Outcome {
	o := Outcome{Remove: id, At: now}
	served, instances := oldServes(e, instances), slices.Clone(instances)
	return o.withEndpoint(e, slices.DeleteFunc(instances, func(i hosting.Instance) bool { return i.ID == id }), served)
}

// oldServes is how well the old fleet of e serves; e may be nil.
func oldServes(e *hosting.Endpoint, instances []hosting.Instance) int {
	if e == nil {
		return 0
	}
	return e.OldServes(instances)
}

// withEndpoint adds what an instance of e that changed means to e, whose old fleet
// served as well as said.
func (o Outcome) withEndpoint(e *hosting.Endpoint, instances []hosting.Instance, served int) Outcome {
	if e == nil {
		return o
	}
	was := StandingOf(e)
	if e.Deployment != nil {
		o.Wake = e.ID
	}
	o.statusAndRoute(was, e, instances)
	if e.Status != was.Status {
		o.Endpoint = e
	}
	if e.OldServes(instances) != served {
		o.addLine(e, record.PreviousFleet, record.FleetTrouble{Text: e.OldTrouble(instances)})
		o.Events = append(o.Events, notice.DeploymentChange)
	}
	o.view(e, instances)
	return o
}

// restarted reports whether the bake of e's deployment has just started over.
func restarted(was Standing, e *hosting.Endpoint) bool {
	d := e.Deployment
	return d != nil && d.ID == was.Deployment && !d.State.Restarted.IsZero() && !d.State.Restarted.Equal(was.Restarted)
}

// phaseChanged reports whether e's deployment is in another phase than it was,
// and adds that to the history.
func (o *Outcome) phaseChanged(was Standing, e *hosting.Endpoint) bool {
	d := e.Deployment
	if d == nil {
		return false
	}
	t := record.Transition{
		To: d.State.Phase, Reason: d.State.Reason, State: d.State, Requests: d.Exposure.Requests,
	}
	if d.ID == was.Deployment {
		t.From = was.Phase
	}
	if t.From == t.To {
		return false
	}
	if d.State.Since.Equal(d.State.Turned) { // this is the step at which the verdict fell
		t.Tripped = d.Tripped
	}
	o.addLine(e, record.DeploymentPhase, t)
	return true
}

// statusAndRoute works out e's status and where its requests go.
func (o *Outcome) statusAndRoute(was Standing, e *hosting.Endpoint, instances []hosting.Instance) {
	e.UpdateStatus(instances, o.At)
	route := e.Route(instances)
	if e.Status != was.Status {
		change := record.StatusChange{From: was.Status, To: e.Status, Reason: e.Reason(instances)}
		o.addLine(e, record.EndpointStatus, change)
		o.Events = append(o.Events, notice.StateChange)
	}
	o.Route = &route
}

// addLine appends to the history of e, and of the deployment in hand or the one
// that has just been filed.
func (o *Outcome) addLine(e *hosting.Endpoint, kind record.Kind, what any) {
	l := record.Line{Endpoint: e.ID, At: o.At, Kind: kind, What: what}
	switch {
	case e.Deployment != nil:
		l.Deployment = e.Deployment.ID
	case o.Deployment != nil:
		l.Deployment = o.Deployment.ID
	}
	o.History = append(o.History, l)
}

// view is what the events tell of, if there are any.
func (o *Outcome) view(e *hosting.Endpoint, instances []hosting.Instance) {
	if len(o.Events) > 0 {
		o.View = e.View(instances)
	}
}

// reconciled returns the instances of e as they are after some were added and
// others retired.
func reconciled(
	e *hosting.Endpoint, instances []hosting.Instance, add []hosting.Missing, retire []hosting.InstanceID,
) []hosting.Instance {
	out := slices.Clone(instances)
	for n := range out {
		if slices.Contains(retire, out[n].ID) {
			out[n].Wanted = false
		}
	}
	for _, m := range add {
		out = append(out, hosting.Instance{
			Endpoint: e.ID, Fleet: m.Fleet, Variant: m.Spec.Variant.Name, Ordinal: m.Ordinal,
			Wanted: true, Provider: m.Provider, Status: hosting.InstanceStarting, Created: e.Modified,
		})
	}
	return out
}
