// Package edge decides everything about devices that can be decided without
// doing it: what a fleet and a device are, which devices a stage of a
// deployment plan selects, what a device's result means, and what a stage does
// next. Time is a fact that callers bring. Where rows are kept, and speaking to
// devices, is not its job.
package edge

import (
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Fleet is a device fleet (spec §2.1): a name, where its devices put what they
// sample, and the role that they assume.
type Fleet struct {
	ID          int64        `json:"-"` // of the store
	Scope       arn.Scope    `json:"Scope"`
	Name        string       `json:"Name"`
	RoleARN     string       `json:"RoleARN"` // "" if none
	Description string       `json:"Description"`
	Output      OutputConfig `json:"Output"`
	Alias       bool         `json:"Alias"` // whether IotRoleAlias is reported
	Created     time.Time    `json:"Created"`
	Modified    time.Time    `json:"Modified"`
	Devices     int          `json:"-"` // how many are registered
	Deleting    bool         `json:"-"` // it is being deleted: only that may go on
}

// OutputConfig is where outputs go (spec §6.2). Of a fleet only S3Location and
// KMSKeyID mean anything.
type OutputConfig struct {
	S3Location   string `json:"S3Location,omitempty"`
	KMSKeyID     string `json:"KMSKeyID,omitempty"`
	PresetType   string `json:"PresetType,omitempty"`
	PresetConfig string `json:"PresetConfig,omitempty"` // JSON, as the caller wrote it
}

// MaxRegister is how many devices one call may register (spec §11 Q17).
const MaxRegister = 1000

// Check refuses a fleet with an alias that has no role to stand for.
func (f Fleet) Check() error {
	if f.Alias && f.RoleARN == "" {
		return fault.New(fault.Invalid, "EnableIotRoleAlias needs a RoleArn: device fleet %s has none.", f.Name)
	}
	return nil
}

// Same reports whether a registration repeats this one (spec §11 Q16).
func (d Device) Same(o Device) bool {
	return d.Name == o.Name && d.Description == o.Description && d.Thing == o.Thing
}

// ARN returns the fleet's ARN.
func (f Fleet) ARN() string { return f.Scope.DeviceFleet(f.Name) }

// AliasName returns the name of the role alias of a fleet (spec §1.4).
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
type Caller struct {
	Thing string
	Alias string // the role alias through which a device got its credentials
	// Mirrors says that its agent can compare models on live requests.
	Mirrors bool
}

// LoadedModel is a model that a device has loaded, as it said in a heartbeat.
type LoadedModel struct {
	Name            string    `json:"n"`
	Version         string    `json:"v"`
	LatestSample    time.Time `json:"s,omitzero"` // the device's clock
	LatestInference time.Time `json:"i,omitzero"` // the device's clock

	// When that was by the server's clock, as far as it can know: a device's may
	// say anything.
	Sampled  time.Time `json:"ss,omitzero"`
	Inferred time.Time `json:"is,omitzero"`
}

// What the control plane shows of a version: EdgeVersion has at most 30
// characters (spec §1.5).
const maxShownVersion = 30

// ShownVersion is a version as the control plane shows it (spec §3.3).
func ShownVersion(v string) string { return v[:min(len(v), maxShownVersion)] }

// Shown reports whether the control plane shows the model: its name is one that
// the API can say (spec §3.3 rule 2).
func (m LoadedModel) Shown() bool { return entityName(m.Name) && m.Version != "" }

// Equal reports whether two models are the same in all that is known of them.
func (m LoadedModel) Equal(o LoadedModel) bool {
	return m.Name == o.Name && m.Version == o.Version && m.LatestSample.Equal(o.LatestSample) &&
		m.LatestInference.Equal(o.LatestInference) && m.Sampled.Equal(o.Sampled) && m.Inferred.Equal(o.Inferred)
}

// entityName reports whether s is an EntityName (spec §1.5).
func entityName(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-':
		default:
			return false
		}
	}
	return true
}

// Merge returns the models of a report that came at a moment, the one before it
// at last, keeping times that it lacks and that the earlier report had for the
// same name and version (spec §3.3 rule 1).
func Merge(had, now []LoadedModel, last, at time.Time) []LoadedModel {
	out := make([]LoadedModel, 0, len(now))
	for _, m := range now {
		h := latest(had, m)
		if m.LatestSample.IsZero() {
			m.LatestSample = h.LatestSample
		}
		if m.LatestInference.IsZero() {
			m.LatestInference = h.LatestInference
		}
		out = append(out, m)
	}
	for i := range out {
		// Under several handles it is one model: what was said of any counts for all.
		m, h, said := &out[i], latest(had, out[i]), latest(out, out[i])
		m.Sampled = happened(said.LatestSample, h.LatestSample, h.Sampled, last, at)
		m.Inferred = happened(said.LatestInference, h.LatestInference, h.Inferred, last, at)
	}
	return out
}

// latest returns the latest times among models with the name and version of m.
func latest(ms []LoadedModel, m LoadedModel) LoadedModel {
	var l LoadedModel
	for _, o := range ms {
		if o.Name == m.Name && o.Version == m.Version {
			l.LatestSample, l.LatestInference = later(l.LatestSample, o.LatestSample),
				later(l.LatestInference, o.LatestInference)
			l.Sampled, l.Inferred = later(l.Sampled, o.Sampled), later(l.Inferred, o.Inferred)
		}
	}
	return l
}

// happened returns when something was, by the server's clock, whose time on the
// device's clock was claimed. If that is another than was claimed before, it was
// between the two reports; if not, it is as long ago as it was known to be.
func happened(claimed, before, known, last, at time.Time) time.Time {
	switch {
	case claimed.IsZero():
		return claimed
	case !claimed.Equal(before):
		return later(earlier(claimed, at), last)
	case known.IsZero(): // the earlier report was stored before this was looked at
		return earlier(claimed, last)
	}
	return known
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
