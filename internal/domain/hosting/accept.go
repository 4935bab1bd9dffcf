package hosting

import (
	"slices"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// The sentences that clients match on (spec §2.0.2): double quotes, the full
// ARN, a final period.

// NoEndpoint is the fault of naming an endpoint that does not exist.
func NoEndpoint(arn string) error {
	return fault.New(fault.NotFound, "Could not find endpoint %q.", arn)
}

// NoEndpointConfig is the fault of naming a configuration that does not exist.
func NoEndpointConfig(arn string) error {
	return fault.New(fault.NotFound, "Could not find endpoint configuration %q.", arn)
}

// NoModel is the fault of naming a model that does not exist.
func NoModel(arn string) error {
	return fault.New(fault.NotFound, "Could not find model %q.", arn)
}

// AlreadyExists is the fault of creating what is there; kind is "endpoint",
// "endpoint configuration" or "model".
func AlreadyExists(kind, arn string) error {
	return fault.New(fault.Exists, "Cannot create already existing %s %q.", kind, arn)
}

func busy(arn string) error {
	return fault.New(fault.InUse, "Cannot update in-progress endpoint %q.", arn)
}

// Check refuses a configuration that breaks a rule across its fields
// (spec §2.2).
func (c EndpointConfig) Check() error {
	var seen, twice []string
	for _, v := range c.Variants {
		if slices.Contains(seen, v.Name) && !slices.Contains(twice, v.Name) {
			twice = append(twice, v.Name)
		}
		seen = append(seen, v.Name)
	}
	if len(twice) > 0 {
		return fault.New(fault.Invalid, "Variant names must be unique. Found duplicates: [%s].",
			strings.Join(twice, ", "))
	}
	for _, v := range c.Variants {
		if v.InstanceType == "" || v.InstanceCount < 1 {
			return fault.New(fault.Invalid,
				"ProductionVariant %q must specify either InstanceType and InitialInstanceCount, or ServerlessConfig.",
				v.Name)
		}
	}
	return nil
}

// NewFleet is a snapshot of a launch's configuration and its models, with nothing
// wanted yet. A model that is missing is refused.
func NewFleet(l Launch) (*Fleet, error) {
	f := &Fleet{ID: l.Fleet, ConfigName: l.Config.Name, ConfigDoc: l.Config.Document}
	for _, v := range l.Config.Variants {
		m, ok := l.Models[v.ModelName]
		if !ok {
			return nil, NoModel(l.Config.Scope.Model(v.ModelName))
		}
		f.Variants = append(f.Variants,
			FleetVariant{Variant: v, Container: m.Containers[0].at(l.Versions), Resolved: l.Now})
	}
	return f, nil
}

// Launch is what is new in a change that brings up a fleet: names chosen
// beforehand and everything looked up.
type Launch struct {
	Deployment DeploymentID
	Fleet      FleetID
	Config     EndpointConfig
	Models     map[string]Model
	Versions   Versions // of their data, as far as they are known
	Now        time.Time
}

// Create returns a new endpoint that is coming up (spec §2.3). The deployment
// configuration is only kept for later.
func Create(id EndpointID, name string, l Launch, keep *DeploymentConfig) (*Endpoint, error) {
	green, err := NewFleet(l)
	if err != nil {
		return nil, err
	}
	e := &Endpoint{
		ID: id, Scope: l.Config.Scope, Name: name, Status: Creating, ConfigName: l.Config.Name,
		Created: l.Now, Modified: l.Now, LastConfig: keep,
	}
	var weights []Weight
	var vs []rollout.Variant
	for _, v := range green.Variants {
		weights = append(weights,
			Weight{Variant: v.Name, Current: v.Weight, Desired: v.Weight, DesiredCount: v.InstanceCount})
		vs = append(vs, rollout.Variant{Name: v.Name, New: v.InstanceCount})
	}
	plan, err := rollout.NewPlan(rollout.Create, nil, vs)
	if err != nil {
		return nil, err
	}
	e.start(l.Deployment, plan, green, weights, l.Now)
	return e, nil
}

// MayUpdate refuses an update in the wrong state or to the configuration in
// use, before anything else is looked up (spec §2.3, in its order).
func (e *Endpoint) MayUpdate() error {
	switch {
	case e.Status == Failed:
		return fault.New(fault.InUse, "Cannot update failed endpoint %q.", e.ARN())
	case e.Status.Busy():
		return busy(e.ARN())
	}
	return nil
}

// Uses reports whether config is the one in service, so that an update to it
// is refused. An endpoint whose rollback failed serves a mix, and may return.
func (e *Endpoint) Uses(config string) bool {
	return e.ConfigName == config && e.Status != UpdateRollbackFailed
}

// CurrentlyInUse is the fault of updating to the configuration in service.
func CurrentlyInUse(config string) error {
	return fault.New(fault.Invalid, "Cannot update endpoint with the currently in use endpoint configuration %q.",
		config)
}

// Property is a variant property that an update may leave out of what it
// retains.
type Property string

// The variant properties of the API.
const (
	DesiredInstanceCount Property = "DesiredInstanceCount"
	DesiredWeight        Property = "DesiredWeight"
	DataCaptureConfig    Property = "DataCaptureConfig" // no effect, as on AWS
)

// Update is what UpdateEndpoint asks for.
type Update struct {
	Launch
	RetainAll              bool
	Exclude                []Property
	DeploymentConfig       *DeploymentConfig
	RetainDeploymentConfig bool
	// MinimumRequests is how many requests the new fleet has to answer before
	// a bake may end; it is the server's own, and counts where there is a
	// deployment configuration.
	MinimumRequests int
	// Gates compare the new fleet with the old one: those that the new
	// configuration's tags and the server set.
	Gates []gate.Gate
}

// Update accepts a new configuration: the fleet in service stays as it is, the
// new one is wanted, and the deployment is due (spec §2.3).
func (e *Endpoint) Update(u Update) error {
	if u.DeploymentConfig != nil && u.RetainDeploymentConfig {
		return fault.New(fault.Invalid, "DeploymentConfig and RetainDeploymentConfig cannot both be specified.")
	}
	last := u.DeploymentConfig
	if u.RetainDeploymentConfig {
		last = e.LastConfig
	}
	green, err := NewFleet(u.Launch)
	if err != nil {
		return err
	}
	green.replaces(e.Fleet)
	retain := func(p Property) bool { return u.RetainAll && !slices.Contains(u.Exclude, p) }
	var weights []Weight
	var vs []rollout.Variant
	for i := range green.Variants {
		v := &green.Variants[i]
		w := Weight{Variant: v.Name, Current: v.Weight, Desired: v.Weight, DesiredCount: v.InstanceCount}
		if old := e.weight(v.Name); old != nil {
			if retain(DesiredInstanceCount) {
				w.DesiredCount = old.DesiredCount
			}
			if retain(DesiredWeight) {
				w.Current, w.Desired = old.Desired, old.Desired
			}
		}
		weights = append(weights, w)
		vs = append(vs, rollout.Variant{Name: v.Name, Old: e.count(v.Name), New: w.DesiredCount})
	}
	for _, w := range e.Weights {
		if green.Variant(w.Variant) == nil {
			vs = append(vs, rollout.Variant{Name: w.Variant, Old: w.DesiredCount})
		}
	}
	var policy *rollout.Policy
	if last != nil && last.Policy != nil {
		policy = new(*last.Policy)
		policy.MinimumRequests = u.MinimumRequests
	}
	plan, err := rollout.NewPlan(rollout.Update, policy, vs)
	if err == nil {
		plan, err = plan.With(u.Gates)
	}
	if err != nil {
		return err
	}
	e.LastConfig, e.FailureReason = last, ""
	e.Status = Updating
	e.start(u.Deployment, plan, green, weights, u.Now)
	return nil
}

// Desire is one item of UpdateEndpointWeightsAndCapacities.
type Desire struct {
	Variant string
	Weight  *float64
	Count   *int
}

// Scale accepts new weights and capacities within the fleet in service
// (spec §2.3).
func (e *Endpoint) Scale(id DeploymentID, desires []Desire, now time.Time) error {
	switch {
	case e.Status == Failed:
		return fault.New(fault.InUse, "Cannot update failed endpoint %q.", e.ARN())
	case e.Status.Busy() || e.Status == UpdateRollbackFailed:
		return busy(e.ARN())
	}
	weights := slices.Clone(e.Weights)
	seen := map[string]bool{}
	for _, d := range desires {
		i := slices.IndexFunc(weights, func(w Weight) bool { return w.Variant == d.Variant })
		switch {
		case i < 0:
			return fault.New(fault.Invalid,
				"The variant name(s) %q is/are not present within endpoint configuration %q.", d.Variant, e.ConfigName)
		case seen[d.Variant]:
			return fault.New(fault.Invalid, "The variant name %q was non-unique within the request.", d.Variant)
		case d.Count != nil && *d.Count < 1:
			return fault.New(fault.Invalid,
				"The DesiredInstanceCount of variant %q must be at least 1: only asynchronous endpoints can be "+
					"scaled to 0.", d.Variant)
		}
		seen[d.Variant] = true
		if d.Weight != nil {
			weights[i].Desired = *d.Weight
		}
		if d.Count != nil {
			weights[i].DesiredCount = *d.Count
		}
	}
	var vs []rollout.Variant
	for i, w := range weights {
		vs = append(vs, rollout.Variant{Name: w.Variant, Old: e.Weights[i].DesiredCount, New: w.DesiredCount})
	}
	plan, err := rollout.NewPlan(rollout.Scale, nil, vs)
	if err != nil {
		return err
	}
	e.Status = Updating
	e.start(id, plan, nil, weights, now)
	return nil
}

// everything stands for all variants of all fleets in the plan of a deletion:
// an endpoint that failed may have instances of several, or of none.
const everything = "*"

// Delete accepts the end of the endpoint (spec §2.3). Deleting twice is one
// deletion.
func (e *Endpoint) Delete(id DeploymentID, now time.Time) error {
	if e.Status == Deleting {
		return nil
	}
	if e.Status.Busy() {
		return busy(e.ARN())
	}
	plan, err := rollout.NewPlan(rollout.Delete, nil, []rollout.Variant{{Name: everything}})
	if err != nil {
		return err
	}
	e.Status = Deleting
	e.start(id, plan, nil, nil, now)
	return nil
}

// Order accepts what somebody tells the deployment in progress; by is who, for
// people. What it does is decided when the deployment's turn comes, at once.
func (e *Endpoint) Order(v rollout.Verb, by string, now time.Time) error {
	d := e.Deployment
	if d == nil {
		return fault.New(fault.InUse, "Endpoint %q has no deployment in progress.", e.ARN())
	}
	if err := d.Plan.Obeys(d.State, v, d.Orders...); err != nil {
		return err
	}
	d.Orders = append(slices.Clip(d.Orders), rollout.Order{Verb: v, By: by, At: now})
	e.Modified = now
	return nil
}

// start records a deployment and what its first state wants.
func (e *Endpoint) start(id DeploymentID, plan rollout.Plan, green *Fleet, weights []Weight, now time.Time) {
	e.Deployment = &Deployment{ID: id, Plan: plan, Begun: now, Green: green, Weights: weights}
	if plan.Kind != rollout.Create {
		e.Deployment.From = e.ConfigName
	}
	e.Apply(rollout.Start(plan, now), now)
}

func (e *Endpoint) weight(variant string) *Weight {
	for i := range e.Weights {
		if e.Weights[i].Variant == variant {
			return &e.Weights[i]
		}
	}
	return nil
}

// count is how many instances of a variant are in service by intent.
func (e *Endpoint) count(variant string) int {
	if w := e.weight(variant); w != nil {
		return w.DesiredCount
	}
	return 0
}
