// Package hosting is what SageMaker hosting is about: models, endpoint
// configurations, variants, endpoints and the fleets behind them, and the
// rules for what may be asked of them (spec §2 and §3). It is pure. How a
// fleet replaces another is the job of package rollout.
package hosting

import (
	"encoding/json"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// IDs of things that have no name in the API. They are chosen before the
// thing exists and never used again.
type (
	EndpointID   string // tells an endpoint from a later one of the same name
	FleetID      string // one configuration's instances behind one endpoint
	InstanceID   string // one running copy of a variant's container
	DeploymentID string // one change of one endpoint
)

// A Tag is a key and a value attached to a resource.
type Tag struct{ Key, Value string }

// Model names the container that serves and the data that it loads.
type Model struct {
	Scope      arn.Scope   `json:"Scope"`
	Name       string      `json:"Name"`
	Created    time.Time   `json:"Created"`
	Containers []Container `json:"Containers"`
	// Document is CreateModel's request as accepted, JSON in the API's own
	// member names; DescribeModel echoes it.
	Document json.RawMessage `json:"Document"`
}

// ARN returns the model's resource name.
func (m Model) ARN() string { return m.Scope.Model(m.Name) }

// Container is one container of a model.
type Container struct {
	Name        string            `json:"Name"` // as messages call it: "primary" or its host name
	Image       string            `json:"Image"`
	ModelData   *ModelData        `json:"ModelData"` // nil: the image brings its own
	Environment map[string]string `json:"Environment"`
}

// DataLayout says how model data lies in the object store (spec §2.1).
type DataLayout string

// The layouts of model data.
const (
	Archive DataLayout = "Archive" // a gzipped tar, unpacked before the container starts
	Prefix  DataLayout = "Prefix"  // every object under a prefix, as files
	Object  DataLayout = "Object"  // one object, as one file
)

// ModelData is where a container's model lies.
type ModelData struct {
	URI    string     `json:"URI"` // s3://bucket/key
	Layout DataLayout `json:"Layout"`
	// Version names the content, and is fixed for a fleet when that is created;
	// "" means whatever is there.
	Version string `json:"Version,omitempty"`
	// Digest is that of the bytes, known once they were fetched for a fleet: the same
	// bytes in another version of the object are as good.
	Digest string `json:"Digest,omitempty"`
}

// Variant is one production variant of an endpoint configuration.
type Variant struct {
	Name            string           `json:"Name"`
	ModelName       string           `json:"ModelName"`
	InstanceType    string           `json:"InstanceType"`
	InstanceCount   int              `json:"InstanceCount"` // InitialInstanceCount
	Weight          float64          `json:"Weight"`
	Routing         traffic.Strategy `json:"Routing"`
	DownloadTimeout time.Duration    `json:"DownloadTimeout"` // 0: the server's default
	StartupTimeout  time.Duration    `json:"StartupTimeout"`  // 0: the server's default
}

// EndpointConfig is an immutable description of what an endpoint runs.
type EndpointConfig struct {
	Scope    arn.Scope `json:"Scope"`
	Name     string    `json:"Name"`
	Created  time.Time `json:"Created"`
	Variants []Variant `json:"Variants"`
	Shadows  []Variant `json:"Shadows,omitempty"` // ShadowProductionVariants
	// Capture is what its endpoints keep of their requests; nil: nothing.
	Capture *traffic.Capture `json:"Capture,omitempty"`
	// Document is CreateEndpointConfig's request as accepted with its
	// defaults filled in; DescribeEndpointConfig echoes it.
	Document json.RawMessage `json:"Document"`
}

// ARN returns the configuration's resource name.
func (c EndpointConfig) ARN() string { return c.Scope.EndpointConfig(c.Name) }

// Status is an endpoint's status (spec §3.1).
type Status string

// The endpoint statuses of the API.
const (
	Creating             Status = "Creating"
	InService            Status = "InService"
	Updating             Status = "Updating"
	SystemUpdating       Status = "SystemUpdating"
	RollingBack          Status = "RollingBack"
	UpdateRollbackFailed Status = "UpdateRollbackFailed"
	OutOfService         Status = "OutOfService"
	Failed               Status = "Failed"
	Deleting             Status = "Deleting"
)

// Busy reports whether something is being done to the endpoint, so that
// another change has to wait (spec §3.3).
func (s Status) Busy() bool {
	switch s {
	case Creating, Updating, SystemUpdating, RollingBack, Deleting:
		return true
	case InService, UpdateRollbackFailed, OutOfService, Failed:
	}
	return false
}

// Serves reports whether InvokeEndpoint finds the endpoint in this status.
func (s Status) Serves() bool {
	switch s {
	case InService, Updating, SystemUpdating, RollingBack, UpdateRollbackFailed, OutOfService:
		return true
	case Creating, Failed, Deleting:
	}
	return false
}

// FleetVariant is a variant as a fleet runs it: a snapshot of the variant and
// of its model taken when the change was accepted, so that records deleted
// later do not matter.
type FleetVariant struct {
	Variant
	Container Container `json:"Container"`
	Resolved  time.Time `json:"Resolved"` // when the image was resolved, for DeployedImages
	Wanted    int       `json:"Wanted"`   // instances that shall exist
	Active    int       `json:"Active"`   // instances that shall take traffic
	// Replaced is the version of the same model data that the fleet before it
	// serves, if that is another.
	Replaced string `json:"Replaced,omitempty"`
}

// Fleet is the instances that run one endpoint configuration.
type Fleet struct {
	ID         FleetID         `json:"ID"`
	ConfigName string          `json:"ConfigName"`
	ConfigDoc  json.RawMessage `json:"ConfigDoc"` // the configuration's Document, for what Describe echoes
	Variants   []FleetVariant  `json:"Variants"`
	Shadows    []FleetVariant  `json:"Shadows,omitempty"` // they get copies of what the fleet's variants answer
	// Capture is the configuration's.
	Capture *traffic.Capture `json:"Capture,omitempty"`
}

// ref returns what routes know the fleet by.
func (f *Fleet) ref() traffic.FleetRef {
	return traffic.FleetRef{ID: string(f.ID), Config: f.ConfigName}
}

// Variant returns the fleet's production variant of that name, or nil.
func (f *Fleet) Variant(name string) *FleetVariant {
	if f == nil {
		return nil
	}
	return named(f.Variants, name)
}

func named(vs []FleetVariant, name string) *FleetVariant {
	for i := range vs {
		if vs[i].Name == name {
			return &vs[i]
		}
	}
	return nil
}

// Weight is a variant's share of the traffic, relative to the others'.
type Weight struct {
	Variant string  `json:"Variant"`
	Current float64 `json:"Current"`
	Desired float64 `json:"Desired"`
	// DesiredCount is the variant's DesiredInstanceCount.
	DesiredCount int `json:"DesiredCount"`
}

// DeploymentConfig is the guardrails of an update: the document as sent, and
// what it means.
type DeploymentConfig struct {
	Document json.RawMessage `json:"Document"`
	Policy   *rollout.Policy `json:"Policy"`
}

// Deployment is one change of an endpoint in progress.
type Deployment struct {
	ID    DeploymentID  `json:"ID"`
	Plan  rollout.Plan  `json:"Plan"`
	State rollout.State `json:"State"`
	Begun time.Time     `json:"Begun"`
	// By is the ARN of whoever asked for it, "" if that is not known.
	By string `json:"By,omitempty"`
	// From is the configuration in service when it began; "" for a creation.
	From string `json:"From,omitempty"`
	// Green is the fleet that an update or a creation brings up; nil for a
	// change within the fleet in service.
	Green *Fleet `json:"Green"`
	// Weights is what the endpoint's weights become when it succeeds.
	Weights []Weight `json:"Weights"`
	// ShadowWeights is what the weights of its shadows become.
	ShadowWeights []Weight `json:"ShadowWeights,omitempty"`
	// Exposure is what the new fleet has answered so far.
	Exposure Exposure `json:"Exposure"`
	// Tripped are the alarms that decided against it.
	Tripped []TrippedAlarm `json:"Tripped"`
	// Orders is what people told it, oldest first; State knows what became of
	// them.
	Orders []rollout.Order `json:"Orders,omitempty"`
	// Gates are what its gates had seen when it last changed, of each variant, and
	// Proven which of them were proven when a step's bake ended, oldest first.
	Gates  []gate.Fact   `json:"Gates,omitempty"`
	Proven []gate.Proven `json:"Proven,omitempty"`
}

// To is the configuration that the deployment leads to.
func (d *Deployment) To() string {
	if d.Green != nil {
		return d.Green.ConfigName
	}
	return d.From
}

// TrippedAlarm is an alarm that was in ALARM, or gone, when a deployment was
// judged.
type TrippedAlarm struct {
	Name   string    `json:"Name"`
	Reason string    `json:"Reason"` // the alarm's own words, with the values that tripped it
	Since  time.Time `json:"Since"`
	// Deleted says that it was deleted: that an alarm no longer guards a
	// deployment counts like an alarm, but it was never in ALARM.
	Deleted bool `json:"Deleted,omitempty"`
	// Gate says that it is no alarm but what gates had against the deployment, which
	// Reason says.
	Gate bool `json:"Gate,omitempty"`
	// Taken is when a router took back the new fleet's traffic because of it, ahead of
	// the turn that decided; zero: none did.
	Taken time.Time `json:"Taken,omitzero"`
	// OfEvidence says that it watches nothing but evidence, which is of one
	// deployment, and Shown until when that is known to be bad: what ended before
	// another deployment began is nothing to that one.
	OfEvidence bool      `json:"-"`
	Shown      time.Time `json:"-"`
}

// Endpoint is a named place that serves, with everything that decides about
// it. Its instances are rows of their own.
type Endpoint struct {
	ID            EndpointID `json:"ID"`
	Scope         arn.Scope  `json:"Scope"`
	Name          string     `json:"Name"`
	Status        Status     `json:"Status"`
	FailureReason string     `json:"FailureReason"`
	ConfigName    string     `json:"ConfigName"` // in service; while creating, the requested one
	Created       time.Time  `json:"Created"`
	Modified      time.Time  `json:"Modified"`
	Fleet         *Fleet     `json:"Fleet"` // in service; nil until it first was
	// what is left of the newer fleet in UpdateRollbackFailed, else nil
	Remnant    *Fleet            `json:"Remnant"`
	Weights    []Weight          `json:"Weights"`
	LastConfig *DeploymentConfig `json:"LastConfig"`
	Deployment *Deployment       `json:"Deployment"` // nil when nothing is being done
	// ShadowWeights are those of the shadow variants in service.
	ShadowWeights []Weight `json:"ShadowWeights,omitempty"`
}

// ARN returns the endpoint's resource name.
func (e *Endpoint) ARN() string { return e.Scope.Endpoint(e.Name) }

// InstanceStatus is what an instance is doing.
type InstanceStatus string

// The life of an instance: Starting → Ready ⇄ Unhealthy → Draining → gone. A
// Failed one will not be started again in this deployment.
const (
	InstanceStarting  InstanceStatus = "Starting"
	InstanceReady     InstanceStatus = "Ready"
	InstanceUnhealthy InstanceStatus = "Unhealthy"
	InstanceFailed    InstanceStatus = "Failed"
)

// ProviderName names what runs an instance. It is chosen when the instance is
// first wanted, and stays.
type ProviderName string

// Processes is the provider that runs instances as processes of this machine.
const Processes ProviderName = "process"

// Instance is one copy of a variant's container.
type Instance struct {
	ID       InstanceID
	Endpoint EndpointID
	Fleet    FleetID
	Variant  string
	Ordinal  int  // order of creation within the fleet's variant
	Wanted   bool // false: drain and remove it
	Provider ProviderName
	Status   InstanceStatus
	Address  string // where it answers; "" if it does not run, or is not known to be there
	Detail   string // why it is unhealthy or failed, for people
	Attempts int    // starts that ended badly since it was last healthy
	Created  time.Time
}

// InstanceSpec is what an instance runs, fixed when it is first wanted.
type InstanceSpec struct {
	Endpoint string       `json:"Endpoint"` // the endpoint's name, for people and texts
	Config   string       `json:"Config"`
	Variant  FleetVariant `json:"Variant"`
}

// InstanceRow is an instance together with what it runs. Version grows with
// every change of any instance.
type InstanceRow struct {
	Instance
	Spec    InstanceSpec
	Version int64
}

// InstanceReport is what was learnt of an instance.
type InstanceReport struct {
	ID       InstanceID
	Status   InstanceStatus
	Address  string
	Detail   string
	Attempts int
	Digest   string // of the model data that it serves, in the version of its fleet; "": not known
}
