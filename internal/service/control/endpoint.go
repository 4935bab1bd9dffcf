package control

import (
	"context"
	"errors"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/outcome"
	"github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/id"
	"github.com/slipway-ml/slipway/internal/platform/store/edge"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
	"github.com/slipway-ml/slipway/internal/platform/store/jobs"
)

// CreateEndpointInput is what CreateEndpoint asks for.
type CreateEndpointInput struct {
	Scope            arn.Scope
	Name, Config     string
	DeploymentConfig *hosting.DeploymentConfig
	Tags             []hosting.Tag
	By               string // the ARN of who asks
}

// CreateEndpoint accepts a new endpoint: it is Creating when this returns.
func (c *Control) CreateEndpoint(ctx context.Context, in CreateEndpointInput) (string, error) {
	name := in.Scope.Endpoint(in.Name)
	versions := c.versions(ctx, in.Scope, in.Config)
	err := c.Store.Change(ctx, func(tx store.Tx) error {
		switch e, err := tx.Endpoint(ctx, in.Scope, in.Name); {
		case err == nil:
			return hosting.AlreadyExists("endpoint", e.ARN())
		case !errors.Is(err, fault.NotFound):
			return err
		}
		l, err := launch(ctx, tx, in.Scope, in.Config, func() error { return nil })
		if err != nil {
			return err
		}
		l.Versions = versions
		e, err := hosting.Create(hosting.EndpointID(id.New("e")), in.Name, l, in.DeploymentConfig)
		if err != nil {
			return err
		}
		e.Deployment.By = in.By
		// Tags first: the event that tells of the endpoint carries them.
		if err := tx.PutTags(ctx, name, in.Tags); err != nil {
			return err
		}
		return tx.Write(ctx, outcome.OfCreation(e))
	})
	if err != nil {
		return "", err
	}
	c.Notify()
	return name, nil
}

// launch looks up what a change that brings up a fleet is made of; check is
// called between the configuration and its models (spec §2.3, order of checks).
func launch(ctx context.Context, tx store.Tx, s arn.Scope, config string, check func() error) (hosting.Launch, error) {
	l := hosting.Launch{
		Deployment: hosting.DeploymentID(id.New("d")), Fleet: hosting.FleetID(id.New("f")), Now: clock.Now(),
	}
	var err error
	if l.Config, err = tx.EndpointConfig(ctx, s, config); err != nil {
		return l, err
	}
	if err := check(); err != nil {
		return l, err
	}
	l.Models, err = models(ctx, tx, l.Config)
	return l, err
}

// Endpoint returns an endpoint as DescribeEndpoint shows it.
func (c *Control) Endpoint(ctx context.Context, s arn.Scope, name string) (hosting.View, error) {
	e, instances, err := c.Store.EndpointView(ctx, s, name)
	if err != nil {
		return hosting.View{}, err
	}
	v := e.View(instances)
	if e.Fleet != nil && e.Fleet.Capture != nil && c.CaptureStopped != nil {
		v.Capturing = c.CaptureStopped(ctx, e.Fleet.Capture) == ""
	}
	return v, nil
}

// ListEndpoints returns a page of endpoints and whether more follow.
func (c *Control) ListEndpoints(ctx context.Context, s arn.Scope, f hosting.Filter) ([]hosting.Summary, bool, error) {
	return c.Store.ListEndpoints(ctx, s, f)
}

// UpdateEndpointInput is what UpdateEndpoint asks for.
type UpdateEndpointInput struct {
	Scope                  arn.Scope
	Name, Config           string
	RetainAll              bool
	Exclude                []hosting.Property
	DeploymentConfig       *hosting.DeploymentConfig
	RetainDeploymentConfig bool
	By                     string // the ARN of who asks

	versions hosting.Versions // of the data that the new fleet serves
}

// UpdateEndpoint accepts a new configuration for an endpoint that goes on
// serving (spec §2.3, in the order of its checks).
func (c *Control) UpdateEndpoint(ctx context.Context, in UpdateEndpointInput) (string, error) {
	in.versions = c.versions(ctx, in.Scope, in.Config)
	return c.change(ctx, target{in.Scope, in.Name, in.By}, func(tx store.Tx, e *hosting.Endpoint) error {
		return c.update(ctx, tx, e, in)
	})
}

// update accepts an update and makes it e's deployment.
func (c *Control) update(ctx context.Context, tx store.Tx, e *hosting.Endpoint, in UpdateEndpointInput) error {
	if err := e.MayUpdate(); err != nil {
		return err
	}
	l, err := launch(ctx, tx, in.Scope, in.Config, func() error {
		if e.Uses(in.Config) {
			return hosting.CurrentlyInUse(in.Config)
		}
		// As on AWS, an endpoint whose configuration record was deleted
		// can no longer be updated.
		_, err := tx.EndpointConfig(ctx, in.Scope, e.ConfigName)
		return err
	})
	if err != nil {
		return err
	}
	if err := c.alarmsExist(e, in); err != nil {
		return err
	}
	l.Versions = in.versions
	gates, err := c.gates(ctx, tx, l.Config)
	if err != nil {
		return err
	}
	return e.Update(hosting.Update{
		Launch: l, RetainAll: in.RetainAll, Exclude: in.Exclude,
		DeploymentConfig: in.DeploymentConfig, RetainDeploymentConfig: in.RetainDeploymentConfig,
		MinimumRequests: c.guardrails.Load().minimum, Gates: gates,
	})
}

// gates are those that a configuration's tags and the server set.
func (c *Control) gates(ctx context.Context, tx store.Tx, cfg hosting.EndpointConfig) ([]gate.Gate, error) {
	tags, err := tx.Tags(ctx, cfg.ARN())
	if err != nil {
		return nil, err
	}
	return c.gatesBy(tags)
}

// alarmsExist refuses an update that would be judged by alarms that are not
// there: nothing would roll it back.
func (c *Control) alarmsExist(e *hosting.Endpoint, in UpdateEndpointInput) error {
	guard := in.DeploymentConfig
	if guard == nil && in.RetainDeploymentConfig {
		guard = e.LastConfig
	}
	if c.MissingAlarms == nil || guard == nil || guard.Policy == nil {
		return nil
	}
	if missing := c.MissingAlarms(in.Scope, guard.Policy.Alarms); len(missing) > 0 {
		return fault.New(fault.Invalid, "Could not find alarm(s): [%s].", strings.Join(missing, ", "))
	}
	return nil
}

// ScaleEndpointInput is what UpdateEndpointWeightsAndCapacities asks for.
type ScaleEndpointInput struct {
	Scope   arn.Scope
	Name    string
	Desires []hosting.Desire
	By      string // the ARN of who asks
}

// UpdateWeightsAndCapacities accepts new weights and instance counts within
// the fleet in service.
func (c *Control) UpdateWeightsAndCapacities(ctx context.Context, in ScaleEndpointInput) (string, error) {
	return c.change(ctx, target{in.Scope, in.Name, in.By}, func(_ store.Tx, e *hosting.Endpoint) error {
		return e.Scale(hosting.DeploymentID(id.New("d")), in.Desires, clock.Now())
	})
}

// DeleteEndpoint accepts the end of an endpoint; its record vanishes when
// nothing of it runs any more. by is the ARN of who asks.
func (c *Control) DeleteEndpoint(ctx context.Context, s arn.Scope, name, by string) error {
	_, err := c.change(ctx, target{s, name, by}, func(_ store.Tx, e *hosting.Endpoint) error {
		return e.Delete(hosting.DeploymentID(id.New("d")), clock.Now())
	})
	return err
}

// OrderInput is what somebody tells a deployment in progress.
type OrderInput struct {
	Scope arn.Scope
	Name  string // of the endpoint
	Verb  rollout.Verb
	By    string // the ARN of who tells it
}

// Order accepts an order and returns the endpoint's ARN and the deployment that
// it was given to, which is due at once.
func (c *Control) Order(ctx context.Context, in OrderInput) (endpoint string, id hosting.DeploymentID, err error) {
	endpoint, err = c.change(ctx, target{in.Scope, in.Name, in.By}, func(_ store.Tx, e *hosting.Endpoint) error {
		if err := e.Order(in.Verb, in.By, clock.Now()); err != nil {
			return err
		}
		id = e.Deployment.ID
		return nil
	})
	return endpoint, id, err
}

// target is an endpoint that a verb is about, and who asks for it.
type target struct {
	scope    arn.Scope
	name, by string
}

// change runs one verb on an existing endpoint and returns the endpoint's ARN.
// A deployment that it begins is recorded as that of who asked.
func (c *Control) change(ctx context.Context, t target, verb func(store.Tx, *hosting.Endpoint) error) (string, error) {
	var id string
	err := c.Store.ChangeEndpoint(ctx, t.scope, t.name, func(tx store.Tx, e *hosting.Endpoint) error {
		id = e.ARN()
		before := e.Deployment
		if err := verb(tx, e); err != nil {
			return err
		}
		if e.Deployment != before {
			e.Deployment.By = t.by
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	c.Notify()
	return id, nil
}

// AddTags adds or replaces tags and returns the full set.
func (c *Control) AddTags(ctx context.Context, resource string, tags []hosting.Tag) (all []hosting.Tag, err error) {
	err = c.tagged(ctx, resource, func(tx store.Tx, resource string) error {
		if err := tx.PutTags(ctx, resource, tags); err != nil {
			return err
		}
		if all, err = tx.Tags(ctx, resource); err != nil {
			return err
		}
		if _, kind, _, _ := arn.ParseSageMaker(resource); kind == arn.KindEndpointConfig {
			_, err = c.gatesBy(all)
		}
		return err
	})
	return all, err
}

// Tags returns a resource's tags by key.
func (c *Control) Tags(ctx context.Context, resource string) (all []hosting.Tag, err error) {
	err = c.tagged(ctx, resource, func(tx store.Tx, resource string) error {
		all, err = tx.Tags(ctx, resource)
		return err
	})
	return all, err
}

// DeleteTags removes tags; keys that are not there are ignored.
func (c *Control) DeleteTags(ctx context.Context, resource string, keys []string) error {
	return c.tagged(ctx, resource, func(tx store.Tx, resource string) error {
		if len(keys) == 0 {
			return nil
		}
		return tx.DeleteTags(ctx, resource, keys...)
	})
}

// tagged runs verb on the resource's own ARN, in one transaction.
func (c *Control) tagged(ctx context.Context, resource string, verb func(tx store.Tx, resource string) error) error {
	return c.Store.Change(ctx, func(tx store.Tx) error {
		own, err := resolve(ctx, tx, resource)
		if err != nil {
			return err
		}
		return verb(tx, own)
	})
}

// resolve returns a resource's own ARN and refuses one that is not there: an
// endpoint is found without regard to case, as everywhere.
func resolve(ctx context.Context, tx store.Tx, resource string) (string, error) {
	s, kind, name, err := arn.ParseSageMaker(resource)
	if err != nil {
		return "", err
	}
	switch kind {
	case arn.KindModel:
		m, err := tx.Model(ctx, s, name)
		return m.ARN(), err
	case arn.KindEndpointConfig:
		c, err := tx.EndpointConfig(ctx, s, name)
		return c.ARN(), err
	case arn.KindEndpoint:
		e, err := tx.Endpoint(ctx, s, name)
		if err != nil {
			return "", err
		}
		return e.ARN(), nil
	case arn.KindDeviceFleet, arn.KindEdgeDeployment:
		return edge.In(tx.Tx).ARN(ctx, s, kind, name)
	}
	if k, ok := packaging.Resource(kind); ok {
		return jobs.In(tx.Tx).ARN(ctx, k, s, name)
	}
	return "", fault.New(fault.Unsupported, "Tags of a %s are not supported.", kind)
}
