package sim

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// audit checks the promises to users on the rows as they are stored.
type audit struct {
	slots  map[hosting.EndpointID]*slot
	owners map[hosting.DeploymentID]*slot
	ends   map[hosting.DeploymentID]rollout.Phase
	tally  map[string]int // what happened, to see that it did
	routed int64          // the newest version of a route
	latest map[hosting.EndpointID]traffic.Route
	checks int
	err    error // the first broken promise
}

func newAudit() audit {
	return audit{
		slots: map[hosting.EndpointID]*slot{}, owners: map[hosting.DeploymentID]*slot{},
		ends: map[hosting.DeploymentID]rollout.Phase{}, tally: map[string]int{},
		latest: map[hosting.EndpointID]traffic.Route{},
	}
}

// broken keeps the first broken promise.
func (w *audit) broken(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// slot is a name that an endpoint may have, and what is known of the one that
// has it.
type slot struct {
	name   string
	id     hosting.EndpointID
	stored *hosting.Endpoint // as last read; nil: there is none
	is     []hosting.Instance
	route  traffic.Route
	base   *hosting.Endpoint  // before the deployment in progress
	shares map[string]float64 // of the new fleet, when the verdict fell
	hurt   bool               // an instance died: capacity may be missing
}

// noteCrash notes that an instance of an endpoint crashed.
func (w *audit) noteCrash(id hosting.EndpointID) {
	if s := w.slots[id]; s != nil && s.id == id {
		s.hurt = true
	}
}

// check reads what a turn of a deployment left, by a server that made a call
// and met its fate.
func (w *world) check(key string, c *call, how fate) {
	s := w.owners[hosting.DeploymentID(key)]
	if s == nil {
		w.broken("a turn of deployment %s, which nobody asked for", key)
		return
	}
	prev := s.stored
	w.checkEndpoint(s.id)
	if w.err == nil && how != torn && prev != nil && prev.Deployment != nil && s.stored != nil {
		if c.fired {
			w.err = heeded(prev, s.stored)
		}
		w.err = errors.Join(w.err, watched(prev, s.stored, c.saw), judgedByItsOwn(prev, s.stored, c.from.facts))
	}
	if w.err != nil {
		w.err = fmt.Errorf("%s: %w", describe(prev, s), w.err)
	}
}

// observe takes note of an endpoint as it was just written, and of its route.
func (w *audit) observe(s *slot, e *hosting.Endpoint, is []hosting.Instance, route traffic.Route) {
	w.checks++
	prev, had, rows := s.stored, s.route, s.is
	w.follows(s, prev, e)
	s.stored, s.is, s.route = e, is, route
	if e.Deployment == nil && whole(e, is) {
		s.hurt = false
	}
	accepted := prev != nil && prev.Deployment == nil && e.Deployment != nil && e.Status.Serves()
	if err := errors.Join(
		statusFits(e, is),
		routeFits(s),
		rowsFit(e, is),
		s.keepsCapacity(),
		s.rejects(prev != nil && prev.Deployment != nil && prev.Deployment.State.Turned.IsZero()),
		s.keepsRouted(accepted, had),
		s.undoesTrafficFirst(rows, had),
		viewFits(e, is),
		holdsStill(prev, e),
	); err != nil {
		w.broken("%s: %w", describe(prev, s), err)
	}
}

// checkEndpoint reads an endpoint's rows and compares them with what they were.
func (w *world) checkEndpoint(id hosting.EndpointID) {
	s := w.slots[id]
	if w.err != nil || s == nil || s.id != id {
		return
	}
	route := w.readRoutes(s)
	e, is, err := w.db.EndpointView(w.ctx, scope, s.name)
	if errors.Is(err, fault.NotFound) {
		if s.stored == nil {
			return // a late turn found nothing to do
		}
		s.route = route
		for _, a := range w.running {
			if a.endpoint == s.id {
				w.broken("%s is gone, but %s runs", s.name, a.name)
			}
		}
		w.vanished(s)
		return
	}
	if w.must(err); err != nil {
		return
	}
	w.observe(s, e, is, route)
	fleet := e.Watched().Fleet.ID
	if d := e.Deployment; d != nil && d.Exposure.Requests > w.answers[s.name+"/"+fleet] {
		w.broken("%s: %d requests are recorded of %d", s.name, d.Exposure.Requests, w.answers[s.name+"/"+fleet])
	}
}

// readRoutes follows the routes as a router does and returns that of s.
func (w *world) readRoutes(s *slot) traffic.Route {
	routes, err := w.db.RoutesSince(w.ctx, w.routed)
	w.must(err)
	for _, r := range routes {
		if r.Version <= w.routed {
			w.broken("route versions run backwards: %d after %d", r.Version, w.routed)
		}
		w.routed = r.Version
		w.latest[hosting.EndpointID(r.Endpoint)] = r
	}
	return w.latest[s.id]
}

// vanished: only a deletion removes an endpoint, when nothing of it runs.
func (w *audit) vanished(s *slot) {
	e := s.stored
	if e == nil || e.Deployment == nil || e.Deployment.Plan.Kind != rollout.Delete || !s.route.Gone {
		w.broken("%s is gone, was %s, gone for routers: %v", s.name, draw(e), s.route.Gone)
		return
	}
	w.tally["Delete Succeeded"]++
	w.ends[e.Deployment.ID] = rollout.Succeeded
	*s = slot{name: s.name, id: s.id}
}

// follows: a deployment goes its way to an end, and each end leaves what it
// says.
func (w *audit) follows(s *slot, prev, e *hosting.Endpoint) {
	var was, is *hosting.Deployment
	if prev != nil {
		was = prev.Deployment
	}
	is = e.Deployment
	switch {
	case was == nil && is != nil:
		s.base, s.shares = prev, nil
		w.owners[is.ID] = s
	case was != nil && is != nil && was.ID != is.ID:
		w.broken("%s replaced a deployment that had not ended", is.ID)
	case was != nil && is == nil:
		w.ended(s, prev, e)
	}
	if is != nil && !is.State.Turned.IsZero() && s.shares == nil {
		s.shares = map[string]float64{}
		if was != nil {
			for i, v := range was.Plan.Variants {
				s.shares[v.Name] = was.State.Variants[i].NewShare
			}
		}
	}
}

func (w *audit) ended(s *slot, prev, e *hosting.Endpoint) {
	d := prev.Deployment
	end := rollout.Succeeded
	switch {
	case e.Status == hosting.UpdateRollbackFailed && d.Plan.Policy.Strategy == rollout.Rolling &&
		d.State.Phase == rollout.Restoring:
		end = rollout.RollbackFailed
	case e.Status == hosting.Failed:
		end = rollout.Failed
	case e.FailureReason != "" && e.FailureReason != reasonOf(s.base) || !d.State.Turned.IsZero():
		end = rollout.RolledBack
	}
	w.ends[d.ID] = end
	w.tally[string(d.Plan.Kind)+" "+string(end)]++
	if !d.State.Turned.IsZero() && end == rollout.Succeeded ||
		d.State.Phase == rollout.Committed && end != rollout.Succeeded {
		w.broken("from %s it ended %s", d.State.Phase, end)
	}
	switch end {
	case rollout.RolledBack:
		w.restored(s, e)
	case rollout.Succeeded:
		if d.Green != nil && (e.Fleet.ID != d.Green.ID || e.ConfigName != d.Green.ConfigName) || e.Remnant != nil {
			w.broken("succeeded with fleet %s of %s, remnant %v", e.Fleet.ID, e.ConfigName, e.Remnant)
		}
		for i, wt := range d.Weights {
			if got := e.Weights[i]; got.Current != wt.Desired || got.Desired != wt.Desired ||
				got.DesiredCount != wt.DesiredCount {
				w.broken("succeeded with weight %+v, want %+v", got, wt)
			}
		}
	case rollout.RollbackFailed, rollout.Failed:
		if e.FailureReason == "" {
			w.broken("%s without a reason", end)
		}
	case rollout.Launching, rollout.Shifting, rollout.Baking, rollout.Retiring, rollout.Committed,
		rollout.Returning, rollout.Restoring, rollout.Withdrawing:
	}
}

// restored: a rollback leaves exactly the old counts and weights, and says why.
func (w *audit) restored(s *slot, e *hosting.Endpoint) {
	b := s.base
	switch {
	case e.FailureReason == "":
		w.broken("rolled back without a reason")
	case e.ConfigName != b.ConfigName || e.Fleet.ID != b.Fleet.ID:
		w.broken("rolled back to %s of %s, not %s of %s", e.Fleet.ID, e.ConfigName, b.Fleet.ID, b.ConfigName)
	case !reflect.DeepEqual(e.Weights, b.Weights):
		w.broken("rolled back to weights %+v, not %+v", e.Weights, b.Weights)
	case (e.Remnant == nil) != (b.Remnant == nil) ||
		e.Status != b.Status && (b.Status == hosting.UpdateRollbackFailed || e.Status == hosting.UpdateRollbackFailed):
		w.broken("rolled back to %s, was %s", e.Status, b.Status)
	}
	for _, wt := range b.Weights {
		if v := e.Fleet.Variant(wt.Variant); v.Wanted != wt.DesiredCount || v.Active != wt.DesiredCount {
			w.broken("rolled back to %d of %d instances of %s, want %d", v.Active, v.Wanted,
				wt.Variant, wt.DesiredCount)
		}
	}
}

func reasonOf(e *hosting.Endpoint) string {
	if e == nil {
		return ""
	}
	return e.FailureReason
}

// heeded: no step forward was taken on facts in which a watched alarm fired.
func heeded(prev, e *hosting.Endpoint) error {
	s, d := prev.Deployment.State, e.Deployment
	watched := s.Phase.Undoable() && (s.Phase != rollout.Launching || s.Step > 0)
	if watched && (d == nil || d.State.Phase != s.Phase) && (d == nil || d.State.Turned.IsZero()) {
		return errors.New("went on in spite of an alarm")
	}
	return nil
}

// watched: a bake ends forward only after all of its wait was observed by the
// server that ends it.
func watched(prev, e *hosting.Endpoint, saw time.Duration) error {
	s, d := prev.Deployment.State, e.Deployment
	if s.Phase != rollout.Baking || d == nil || d.State.Phase == rollout.Baking || !d.State.Turned.IsZero() {
		return nil
	}
	if wait := atLeast(d.Plan, s.Step); !s.Promoted && saw < wait {
		return fmt.Errorf("a bake of %v ended after %v that were observed", wait, saw)
	}
	return nil
}

// holdsStill: a deployment that is paused goes nowhere but back, and every
// order that was given is followed once.
func holdsStill(prev, e *hosting.Endpoint) error {
	if prev == nil || prev.Deployment == nil || e.Deployment == nil || prev.Deployment.ID != e.Deployment.ID {
		return nil
	}
	was, is := prev.Deployment.State, e.Deployment.State
	if len(is.Followed) > len(e.Deployment.Orders) || len(is.Followed) < len(was.Followed) {
		return fmt.Errorf("followed %d of %d orders, %d before", len(is.Followed), len(e.Deployment.Orders),
			len(was.Followed))
	}
	if _, paused := was.Paused(); paused && is.Turned.IsZero() &&
		(is.Phase != was.Phase || is.Step != was.Step || !slices.Equal(is.Variants, was.Variants)) {
		return fmt.Errorf("paused in %s, but went on to %s", was.Phase, is.Phase)
	}
	return nil
}

// statusFits: spec §3.2.
func statusFits(e *hosting.Endpoint, is []hosting.Instance) error {
	if d := e.Deployment; d != nil {
		if want := rollout.Status(d.Plan, d.State); string(e.Status) != want || d.State.Phase.Terminal() {
			return fmt.Errorf("status %s in %s, want %s", e.Status, d.State.Phase, want)
		}
		if (e.FailureReason == "") != (d.State.Reason == "") && d.Plan.Kind == rollout.Update {
			return fmt.Errorf("reason %q in %s of a deployment with reason %q", e.FailureReason,
				d.State.Phase, d.State.Reason)
		}
		return nil
	}
	switch e.Status {
	case hosting.InService, hosting.OutOfService:
		up := false
		for _, i := range is {
			up = up || i.Wanted && i.Status == hosting.InstanceReady
		}
		if up != (e.Status == hosting.InService) {
			return fmt.Errorf("%s, though an instance is ready: %v", e.Status, up)
		}
	case hosting.UpdateRollbackFailed, hosting.Failed:
	case hosting.Creating, hosting.Updating, hosting.SystemUpdating, hosting.RollingBack, hosting.Deleting:
		return fmt.Errorf("%s though nothing is being done", e.Status)
	}
	return nil
}

// routeFits: the stored route is that of the stored rows, its shares sum to
// one, and it names only instances that are ready and wanted; of an old fleet that
// holds its share with none ready, those that run and fail their health checks.
func routeFits(s *slot) error {
	want := s.stored.Route(s.is)
	want.Version = s.route.Version
	if !reflect.DeepEqual(want, s.route) {
		return fmt.Errorf("the stored route is stale: %+v, want %+v", s.route, want)
	}
	if s.route.Gone == s.stored.Status.Serves() {
		return fmt.Errorf("%s, but gone for routers: %v", s.stored.Status, s.route.Gone)
	}
	good, ready, failing := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, i := range s.is {
		ok := i.Wanted && i.Status == hosting.InstanceReady
		good[string(i.ID)], ready[string(i.Fleet)+"/"+i.Variant] = ok, ready[string(i.Fleet)+"/"+i.Variant] || ok
		failing[string(i.ID)] = i.Wanted && i.Status == hosting.InstanceUnhealthy
	}
	all := s.route.Variants
	if g := s.route.Guard; g != nil {
		all = slices.Concat(all, g.Variants)
	}
	for _, v := range all {
		sum := 0.0
		for _, f := range v.Fleets {
			sum += f.Share
			held := f.Role == traffic.OldFleet && len(v.Fleets) > 1 && !ready[f.ID+"/"+v.Name]
			for _, i := range f.Instances {
				if !good[i.ID] && !(held && failing[i.ID]) {
					return fmt.Errorf("%s is routed to %s, which is not ready or not wanted", v.Name, i.ID)
				}
			}
		}
		if math.Abs(sum-1) > 1e-9 {
			return fmt.Errorf("the shares of %s sum to %v: %+v", v.Name, sum, v.Fleets)
		}
	}
	return nil
}

// rowsFit: as many instances are wanted as the fleets want, and no others.
func rowsFit(e *hosting.Endpoint, is []hosting.Instance) error {
	want := map[string]int{}
	add := func(f *hosting.Fleet) {
		if f == nil || e.Status == hosting.Failed || e.Status == hosting.Deleting {
			return
		}
		for _, v := range f.Variants {
			want[string(f.ID)+"/"+v.Name] = v.Wanted
		}
	}
	add(e.Fleet)
	add(e.Remnant)
	if e.Deployment != nil {
		add(e.Deployment.Green)
	}
	for _, i := range is {
		if i.Wanted {
			want[string(i.Fleet)+"/"+i.Variant]--
		}
	}
	for what, n := range want {
		if n != 0 {
			return fmt.Errorf("%d more instances of %s are wanted than there are rows", n, what)
		}
	}
	if e.Deployment == nil && (e.Status == hosting.InService || e.Status == hosting.OutOfService) {
		if e.Remnant != nil {
			return fmt.Errorf("%s with a remnant of %s", e.Status, e.Remnant.ConfigName)
		}
		for _, wt := range e.Weights {
			if v := e.Fleet.Variant(wt.Variant); v == nil || v.Wanted != wt.DesiredCount ||
				v.Active != wt.DesiredCount {
				return fmt.Errorf("at rest with %+v, want %d instances", v, wt.DesiredCount)
			}
		}
	}
	return nil
}

// whole reports whether every wanted instance is ready.
func whole(e *hosting.Endpoint, is []hosting.Instance) bool {
	for _, i := range is {
		if i.Wanted && i.Status != hosting.InstanceReady {
			return false
		}
	}
	return e.Status == hosting.InService
}

// viewFits: spec §3.4, in so far as it does not depend on the phase.
func viewFits(e *hosting.Endpoint, is []hosting.Instance) error {
	v := e.View(is)
	d := e.Deployment
	pending := d != nil && rollout.Pending(d.Plan, d.State)
	if pending != (v.Pending != nil) {
		return fmt.Errorf("pending is shown: %v, want %v", v.Pending != nil, pending)
	}
	if pending && v.Pending.ConfigName != d.Green.ConfigName {
		return fmt.Errorf("pending is %s, want %s", v.Pending.ConfigName, d.Green.ConfigName)
	}
	for _, vv := range v.Variants {
		if vv.CurrentCount < 0 || len(vv.Statuses) > 5 {
			return fmt.Errorf("shown: %+v", vv)
		}
	}
	return nil
}
