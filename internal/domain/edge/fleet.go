// Package edge decides everything about devices that can be decided without
// doing it: what a fleet and a device are, which devices a stage of a
// deployment plan selects, what a device's result means, and what a stage does
// next. Time is a fact that callers bring. Where rows are kept, and speaking to
// devices, is not its job.
package edge

import (
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
)

// Fleet is a device fleet (spec §2.1): a name, where its devices put what they
// sample, and the role that they assume.
type Fleet struct {
	Scope       arn.Scope
	Name        string
	RoleARN     string // "" if none
	Description string
	Output      OutputConfig
	Alias       bool // whether IotRoleAlias is reported
	Created     time.Time
	Modified    time.Time
}

// OutputConfig is where outputs go (spec §6.2). Of a fleet only S3Location and
// KMSKeyID mean anything.
type OutputConfig struct {
	S3Location   string `json:",omitempty"`
	KMSKeyID     string `json:",omitempty"`
	PresetType   string `json:",omitempty"`
	PresetConfig string `json:",omitempty"` // JSON, as the caller wrote it
}

// ARN returns the fleet's ARN.
func (f Fleet) ARN() string { return f.Scope.DeviceFleet(f.Name) }

// AliasName returns the name of the role alias of a fleet.
func AliasName(fleet string) string { return "SageMakerEdge-" + fleet }

// RoleAliasARN returns the ARN of the fleet's role alias, or "" if it has none.
func (f Fleet) RoleAliasARN() string {
	if !f.Alias {
		return ""
	}
	return f.Scope.RoleAlias(AliasName(f.Name))
}

// Device is a member of a fleet and what it last said of itself.
type Device struct {
	ID          int64 // of the store; ids grow with time of registration
	Scope       arn.Scope
	Fleet       string
	Name        string
	Description string
	Thing       string    // IotThingName; "" if none
	Registered  time.Time // last registration or de-registration

	Heartbeat    time.Time // the server's clock; zero before the first
	AgentVersion string    // as sent, up to 64 characters
	Models       []LoadedModel
}

// ARN returns the device's ARN.
func (d Device) ARN() string { return d.Scope.Device(d.Fleet, d.Name) }

// Acts reports whether a caller with the credentials of a thing may act for the
// device (spec §5.1). A caller without a thing is an operator.
func (d Device) Acts(c Caller) bool {
	return c.Thing == "" || c.Thing == d.Thing || d.Thing == "" && c.Thing == d.Name
}

// Caller is who calls the data plane: a device by the thing that its
// credentials are bound to, or an operator, whose Thing is empty.
type Caller struct{ Thing string }

// LoadedModel is a model that a device has loaded, as it said in a heartbeat.
type LoadedModel struct {
	Name            string    `json:"n"`
	Version         string    `json:"v"`
	LatestSample    time.Time `json:"s,omitzero"`
	LatestInference time.Time `json:"i,omitzero"`
}

// Merge returns the models of a new report, keeping times that it lacks and
// that an earlier report had for the same name and version (spec §3.3 rule 1).
func Merge(had, now []LoadedModel) []LoadedModel {
	out := make([]LoadedModel, 0, len(now))
	for _, m := range now {
		for _, h := range had {
			if h.Name != m.Name || h.Version != m.Version {
				continue
			}
			if m.LatestSample.IsZero() {
				m.LatestSample = h.LatestSample
			}
			if m.LatestInference.IsZero() {
				m.LatestInference = h.LatestInference
			}
			break
		}
		out = append(out, m)
	}
	return out
}

// Report is what GetDeviceFleetReport tells (spec §2.11).
type Report struct {
	Registered, Connected int
	Versions              []VersionCount
	Models                []ModelStat
}

// VersionCount is how many devices run a version of the agent.
type VersionCount struct {
	Version string
	Devices int
}

// ModelStat counts the devices that have a version of a model.
type ModelStat struct {
	Name, Version                        string
	Offline, Connected, Active, Sampling int
}

// Tally adds one device to a report. Whoever was heard of since `since` is
// connected.
func (r *Report) Tally(d Device, since time.Time) {
	r.Registered++
	connected := d.Heartbeat.After(since)
	if connected {
		r.Connected++
	}
	if d.AgentVersion != "" {
		r.version(d.AgentVersion).Devices++
	}
	for _, m := range d.Models {
		s := r.model(m.Name, m.Version)
		switch {
		case !connected:
			s.Offline++
			continue
		default:
			s.Connected++
		}
		if m.LatestInference.After(since) {
			s.Active++
		}
		if m.LatestSample.After(since) {
			s.Sampling++
		}
	}
}

func (r *Report) version(v string) *VersionCount {
	for i := range r.Versions {
		if r.Versions[i].Version == v {
			return &r.Versions[i]
		}
	}
	r.Versions = append(r.Versions, VersionCount{Version: v})
	return &r.Versions[len(r.Versions)-1]
}

func (r *Report) model(name, version string) *ModelStat {
	for i := range r.Models {
		if r.Models[i].Name == name && r.Models[i].Version == version {
			return &r.Models[i]
		}
	}
	r.Models = append(r.Models, ModelStat{Name: name, Version: version})
	return &r.Models[len(r.Models)-1]
}
