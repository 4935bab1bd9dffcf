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
	for _, v := range c.All() {
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
	if err := c.checkShadows(); err != nil {
		return err
	}
	return c.checkCapture()
}

// NewFleet is a snapshot of a launch's configuration and its models, with nothing
// wanted yet. A model that is missing is refused.
func NewFleet(l Launch) (*Fleet, error) {
	f := &Fleet{ID: l.Fleet, ConfigName: l.Config.Name, ConfigDoc: l.Config.Document, Capture: l.Config.Capture}
	for i, v := range l.Config.All() {
		m, ok := l.Models[v.ModelName]
		if !ok {
			return nil, NoModel(l.Config.Scope.Model(v.ModelName))
		}
		fv := FleetVariant{Variant: v, Container: m.Containers[0].at(l.Versions), Resolved: l.Now}
		if i < len(l.Config.Variants) {
			f.Variants = append(f.Variants, fv)
		} else {
			f.Shadows = append(f.Shadows, fv)
		}
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
	d := &Deployment{ID: l.Deployment, Green: green}
	d.Weights, d.ShadowWeights = initial(green.Variants), initial(green.Shadows)
	var vs []rollout.Variant
	for _, v := range green.Variants {
		vs = append(vs, rollout.Variant{Name: v.Name, New: v.InstanceCount})
	}
	if d.Plan, err = rollout.NewPlan(rollout.Create, nil, vs); err != nil {
		return nil, err
	}
	e.start(d, l.Now)
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
	d := &Deployment{ID: u.Deployment, Green: green}
	d.Weights = u.retained(initial(green.Variants), e.Weights)
	d.ShadowWeights = u.retained(initial(green.Shadows), e.ShadowWeights)
	var vs []rollout.Variant
	for _, w := range d.Weights {
		vs = append(vs, rollout.Variant{Name: w.Variant, Old: e.count(w.Variant), New: w.DesiredCount})
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
	if d.Plan, err = rollout.NewPlan(rollout.Update, policy, vs); err == nil {
		d.Plan, err = d.Plan.With(u.Gates)
	}
	if err != nil {
		return err
	}
	e.LastConfig, e.FailureReason = last, ""
	e.Status = Updating
	e.start(d, u.Now)
	return nil
}

// initial is the weights that a configuration gives its variants.
func initial(vs []FleetVariant) (ws []Weight) {
	for _, v := range vs {
		ws = append(ws, Weight{Variant: v.Name, Current: v.Weight, Desired: v.Weight, DesiredCount: v.InstanceCount})
	}
	return ws
}

// retained returns ws with what the update retains of the variants' old weights.
func (u Update) retained(ws, old []Weight) []Weight {
	retain := func(p Property) bool { return u.RetainAll && !slices.Contains(u.Exclude, p) }
	for i := range ws {
		w := &ws[i]
		if was := weightOf(old, w.Variant); was != nil {
			if retain(DesiredInstanceCount) {
				w.DesiredCount = was.DesiredCount
			}
			if retain(DesiredWeight) {
				w.Current, w.Desired = was.Desired, was.Desired
			}
		}
	}
	return ws
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
	d := &Deployment{ID: id, Weights: slices.Clone(e.Weights), ShadowWeights: slices.Clone(e.ShadowWeights)}
	seen := map[string]bool{}
	for _, desire := range desires {
		w := weightOf(d.Weights, desire.Variant)
		if w == nil {
			w = weightOf(d.ShadowWeights, desire.Variant)
		}
		switch {
		case w == nil:
			return fault.New(fault.Invalid,
				"The variant name(s) %q is/are not present within endpoint configuration %q.", desire.Variant,
				e.ConfigName)
		case seen[desire.Variant]:
			return fault.New(fault.Invalid, "The variant name %q was non-unique within the request.", desire.Variant)
		case desire.Count != nil && *desire.Count < 1:
			return fault.New(fault.Invalid,
				"The DesiredInstanceCount of variant %q must be at least 1: only asynchronous endpoints can be "+
					"scaled to 0.", desire.Variant)
		}
		seen[desire.Variant] = true
		if desire.Weight != nil {
			w.Desired = *desire.Weight
		}
		if desire.Count != nil {
			w.DesiredCount = *desire.Count
		}
	}
	var vs []rollout.Variant
	for i, w := range d.Weights {
		vs = append(vs, rollout.Variant{Name: w.Variant, Old: e.Weights[i].DesiredCount, New: w.DesiredCount})
	}
	var err error
	if d.Plan, err = rollout.NewPlan(rollout.Scale, nil, vs); err != nil {
		return err
	}
	e.Status = Updating
	e.start(d, now)
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
	e.start(&Deployment{ID: id, Plan: plan}, now)
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
func (e *Endpoint) start(d *Deployment, now time.Time) {
	d.Begun = now
	if d.Plan.Kind != rollout.Create {
		d.From = e.ConfigName
	}
	e.Deployment = d
	e.Apply(rollout.Start(d.Plan, now), now)
}

func (e *Endpoint) weight(variant string) *Weight { return weightOf(e.Weights, variant) }

func weightOf(ws []Weight, variant string) *Weight {
	for i := range ws {
		if ws[i].Variant == variant {
			return &ws[i]
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
