// Package control carries out the control plane's verbs: each is one
// transaction that loads what the verb is about, lets package hosting decide,
// and records the outcome. Moving traffic and running instances is not its
// job; it leaves a deployment due and says so.
package control

import (
	"context"
	"sync/atomic"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
)

// Config is what Control is made of.
type Config struct {
	Store *store.DB
	// Notify says that a deployment may have fallen due. It must not block.
	Notify func()
	// ModelDataExists reports whether the object store holds what a model
	// names; nil skips the check. It is asked at CreateModel, as AWS does.
	ModelDataExists func(ctx context.Context, d hosting.ModelData) error
	// ModelVersion returns which version of model data is there now; nil leaves it
	// to the first instance of a fleet.
	ModelVersion func(ctx context.Context, d hosting.ModelData) (string, error)
	// CaptureStopped returns why requests are not captured now as c asks for, "" if
	// they are; nil: nobody captures. It is asked at DescribeEndpoint.
	CaptureStopped func(ctx context.Context, c *traffic.Capture) string
	// MinimumRequests is how many requests a new fleet has to answer before a
	// bake may end; 0 asks for none.
	MinimumRequests int
	// Gates are the words of the gates that judge deployments whose configuration
	// does not say otherwise, by kind.
	Gates map[string]string
	// Unweighed says why nobody works out what a gate was told to do, "" if somebody
	// does: what a configuration asks for in vain is refused, not left undone. nil:
	// all of it is worked out.
	Unweighed func(gate.Gate) string
	// Seen returns what gates have seen of a deployment by now; nil: nothing is
	// known but what is stored.
	Seen func(id hosting.DeploymentID) []gate.Fact
	// Chances returns how likely each of the named alarms rolls back an update for
	// nothing, of those on evidence; nil: nothing is known of alarms.
	Chances func(s arn.Scope, names []string) []float64
	// MissingAlarms returns those of the named alarms that do not exist; nil
	// skips the check. It is asked at UpdateEndpoint (spec §4.5).
	MissingAlarms func(s arn.Scope, names []string) []string
	// CheckContainer refuses a container that cannot run here: its image is
	// unknown, or does not let models set what this one sets. nil skips the check.
	CheckContainer func(c hosting.Container) error
	// Allowance is how long instances may take, as far as their variant does
	// not say; plans are made with it.
	Allowance Allowance
	// Suspect returns what is suspicious about an update that e has accepted,
	// beyond what the plan itself shows; nil: nothing. Nothing was stored.
	Suspect func(ctx context.Context, e *hosting.Endpoint) ([]record.Finding, error)
}

// Control carries out verbs.
type Control struct {
	Config
	guardrails atomic.Pointer[guardrails]
}

// guardrails are what deployments have to hold beyond what a request asks.
type guardrails struct {
	minimum int
	gates   map[string]string
}

// New returns a Control.
func New(c Config) *Control {
	ctl := &Control{Config: c}
	ctl.SetGuardrails(c.MinimumRequests, c.Gates)
	return ctl
}

// SetGuardrails takes over other MinimumRequests and Gates, for updates from now on.
func (c *Control) SetGuardrails(minimum int, gates map[string]string) {
	c.guardrails.Store(&guardrails{minimum, gates})
}

// CreateModel records a model after checking what can be checked cheaply: that
// its image can run here and its data is there (spec §2.1).
func (c *Control) CreateModel(ctx context.Context, m hosting.Model, tags []hosting.Tag) (string, error) {
	for _, ct := range m.Containers {
		if c.CheckContainer != nil {
			if err := c.CheckContainer(ct); err != nil {
				return "", err
			}
		}
		if c.ModelDataExists != nil && ct.ModelData != nil {
			if err := c.ModelDataExists(ctx, *ct.ModelData); err != nil {
				return "", err
			}
		}
	}
	m.Created = clock.Now()
	return m.ARN(), c.Store.Change(ctx, func(tx store.Tx) error {
		if err := tx.InsertModel(ctx, m); err != nil {
			return err
		}
		return tx.PutTags(ctx, m.ARN(), tags)
	})
}

// Model returns a model's record.
func (c *Control) Model(ctx context.Context, s arn.Scope, name string) (hosting.Model, error) {
	return c.Store.Model(ctx, s, name)
}

// ListModels returns a page of models and whether more follow.
func (c *Control) ListModels(ctx context.Context, s arn.Scope, f hosting.Filter) ([]hosting.Summary, bool, error) {
	return c.Store.ListModels(ctx, s, f)
}

// DeleteModel removes the record only; endpoints that run it go on.
func (c *Control) DeleteModel(ctx context.Context, s arn.Scope, name string) error {
	return c.Store.Change(ctx, func(tx store.Tx) error {
		if err := tx.DeleteModel(ctx, s, name); err != nil {
			return err
		}
		return tx.DeleteTags(ctx, s.Model(name))
	})
}

// CreateEndpointConfig records a configuration whose models exist.
func (c *Control) CreateEndpointConfig(ctx context.Context, cfg hosting.EndpointConfig, tags []hosting.Tag) (string,
	error,
) {
	cfg.Created = clock.Now()
	return cfg.ARN(), c.Store.Change(ctx, func(tx store.Tx) error {
		if _, err := models(ctx, tx, cfg); err != nil {
			return err
		}
		if err := cfg.Check(); err != nil {
			return err
		}
		if _, err := c.gatesBy(tags); err != nil {
			return err
		}
		if err := tx.InsertEndpointConfig(ctx, cfg); err != nil {
			return err
		}
		return tx.PutTags(ctx, cfg.ARN(), tags)
	})
}

// EndpointConfig returns a configuration's record.
func (c *Control) EndpointConfig(ctx context.Context, s arn.Scope, name string) (hosting.EndpointConfig, error) {
	return c.Store.EndpointConfig(ctx, s, name)
}

// ListEndpointConfigs returns a page of configurations and whether more follow.
func (c *Control) ListEndpointConfigs(ctx context.Context, s arn.Scope, f hosting.Filter) ([]hosting.Summary, bool,
	error,
) {
	return c.Store.ListEndpointConfigs(ctx, s, f)
}

// DeleteEndpointConfig removes the record; an endpoint that uses it goes on
// with its snapshot (spec §2.2).
func (c *Control) DeleteEndpointConfig(ctx context.Context, s arn.Scope, name string) error {
	return c.Store.Change(ctx, func(tx store.Tx) error {
		if err := tx.DeleteEndpointConfig(ctx, s, name); err != nil {
			return err
		}
		return tx.DeleteTags(ctx, s.EndpointConfig(name))
	})
}

// models looks up every model that a configuration names.
func models(ctx context.Context, tx store.Tx, cfg hosting.EndpointConfig) (map[string]hosting.Model, error) {
	ms := make(map[string]hosting.Model, len(cfg.Variants)+len(cfg.Shadows))
	for _, v := range cfg.All() {
		m, err := tx.Model(ctx, cfg.Scope, v.ModelName)
		if err != nil {
			return nil, err
		}
		ms[v.ModelName] = m
	}
	return ms, nil
}

// versions looks up which versions of its models' data a fleet of a configuration
// would serve. It comes before the transaction, which nothing slow may hold up.
// What can't be told now, the fleet's first instance settles.
func (c *Control) versions(ctx context.Context, s arn.Scope, config string) hosting.Versions {
	found := hosting.Versions{}
	if c.ModelVersion == nil {
		return found
	}
	cfg, err := c.Store.EndpointConfig(ctx, s, config)
	if err != nil {
		return found // the transaction says so
	}
	for _, v := range cfg.All() {
		m, err := c.Store.Model(ctx, s, v.ModelName)
		if err != nil {
			continue // as above
		}
		for _, ct := range m.Containers {
			if d := ct.ModelData; d != nil && found[*d] == "" {
				found[*d], _ = c.ModelVersion(ctx, *d) // see above
			}
		}
	}
	return found
}
