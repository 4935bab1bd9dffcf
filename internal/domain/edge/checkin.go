package edge

import (
	"strings"
	"time"
)

// FailurePolicy is what a device does when a deployment fails on it (spec §4.7).
type FailurePolicy string

// The failure policies.
const (
	RollbackOnFailure FailurePolicy = "ROLLBACK_ON_FAILURE" // the default
	DoNothing         FailurePolicy = "DO_NOTHING"
)

// The states that a definition asks for and a result reports.
const (
	Deploy   = "DEPLOY"
	Undeploy = "UNDEPLOY"
)

// Deployment is what a device is asked to do (spec §3.2). Its name is the
// idempotency key: the same name is the same order.
type Deployment struct {
	Name        string
	OnFailure   FailurePolicy
	Definitions []Definition
	Mirror      *Mirror // compare the models first; nil: don't
}

// Definition is the part of a deployment about one model handle.
type Definition struct {
	Handle string
	S3URL  string // of the package; "" to undeploy
	SHA1   string // of the object, lower-case hex
	State  string // Deploy or Undeploy
}

// Package is a signed package that a job has made, as of a moment.
type Package struct {
	Job   string
	S3URL string
	SHA1  string // of the object, lower-case hex
}

// Order is what a stage deploys, frozen when it starts.
type Order struct {
	OnFailure FailurePolicy  `json:"OnFailure"`
	Models    []OrderedModel `json:"Models"`
	Mirror    *Mirror        `json:"Mirror,omitempty"` // compare the models first
}

// OrderedModel is the package that a handle gets.
type OrderedModel struct {
	Handle  string `json:"Handle"`
	Package int64  `json:"Package"` // of the store
	S3URL   string `json:"S3URL"`
	SHA1    string `json:"SHA1"`
}

// Definitions returns what a device is asked to do about each handle. before
// returns, for an order to go back, what the device had; it is nil for an order
// to deploy.
func (o Order) Definitions(before func(handle string) (Package, bool)) []Definition {
	ds := make([]Definition, 0, len(o.Models))
	for _, m := range o.Models {
		d := Definition{Handle: m.Handle, S3URL: m.S3URL, SHA1: m.SHA1, State: Deploy}
		if before != nil {
			if p, ok := before(m.Handle); ok {
				d.S3URL, d.SHA1 = p.S3URL, p.SHA1
			} else {
				d = Definition{Handle: m.Handle, State: Undeploy}
			}
		}
		ds = append(ds, d)
	}
	return ds
}

// Hints say when a device should come again; zero says nothing.
type Hints struct{ Poll, Heartbeat time.Duration }

// Heartbeat is what a device says of itself (spec §3.3).
type Heartbeat struct {
	Fleet, Device string
	AgentVersion  string
	Models        []LoadedModel
	HasModels     bool // Models was sent, though it may be empty
	Metrics       []Metric
	Dropped       int // metrics that made no sense
	Result        *Result
	Comparisons   []DeviceComparison // that go on
}

// DeviceComparison is the comparison that a device makes of what a handle leads to
// and what a deployment brings.
type DeviceComparison struct {
	Deployment, Handle string
	Comparison
}

// Metric is one value that an agent measured.
type Metric struct {
	Dimension, Name string
	Value           float64
	At              time.Time // the device's clock
}

// Result is the outcome of a deployment as the device reports it.
type Result struct {
	Deployment string        `json:"Deployment"`
	Status     string        `json:"Status"` // "" if absent; SUCCESS in any case of letters is a success
	Message    string        `json:"Message"`
	Start      time.Time     `json:"Start"`
	End        time.Time     `json:"End"` // the device's clock
	Models     []ModelResult `json:"Models"`
}

// ModelResult is the outcome for one model handle.
type ModelResult struct {
	Handle          string `json:"Handle"`
	Name            string `json:"Name"`
	Version         string `json:"Version"`
	Desired         string `json:"Desired"`
	State           string `json:"State"`  // Deploy or Undeploy
	Status          string `json:"Status"` // SUCCESS or FAIL
	Reason          string `json:"Reason"`
	RollbackFailure string `json:"RollbackFailure"` // why going back failed
	// Comparison is what was compared before the model took its place, where that
	// was asked for.
	Comparison *Comparison `json:"Comparison,omitempty"`
}

// Outcome is what a result means.
type Outcome uint8

// The outcomes.
const (
	Progress Outcome = iota // not over yet
	Success
	Failure
)

// success and fail are what devices say.
const (
	success = "SUCCESS"
	fail    = "FAIL"
)

// maxMessage bounds the message that is kept for a device, in bytes.
const maxMessage = 1024

// OutcomeOf says what a result means (spec §3.3 rules 4 and 5).
func OutcomeOf(r Result) Outcome {
	if r.Status == "" && len(r.Models) == 0 {
		return Progress
	}
	for _, m := range r.Models {
		if !strings.EqualFold(m.Status, success) && (r.Status == "" || strings.EqualFold(m.Status, fail)) {
			return Failure
		}
	}
	if r.Status != "" && !strings.EqualFold(r.Status, success) {
		return Failure
	}
	return Success
}

// Message tells a result in words (spec §3.3 rule 6).
func Message(r Result, p FailurePolicy) string {
	var parts []string
	if r.Message != "" {
		parts = append(parts, r.Message)
	}
	rolledBack := false
	var broken []string
	for _, m := range r.Models {
		if strings.EqualFold(m.Status, fail) {
			reason := m.Reason
			if reason == "" {
				reason = "failed, no reason given"
			}
			parts = append(parts, m.Handle+": "+reason)
			rolledBack = true
		}
		if m.RollbackFailure != "" {
			broken = append(broken, "rollback failed: "+m.RollbackFailure)
		}
	}
	switch {
	case len(broken) > 0:
		parts = append(parts, broken...)
	case rolledBack && p == RollbackOnFailure:
		parts = append(parts, "rolled back")
	}
	return clip(strings.Join(parts, "; "))
}

// clip cuts a message to what is kept, between two characters.
func clip(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage], "")
}

// Polled is a device that asks, and what it is to be told.
type Polled struct {
	Device  Device
	Fleet   int64 // the id of its fleet
	Devices int   // how many the fleet has
	Active  bool  // a stage of the fleet is being carried out
	Open    bool  // something is wanted of the device
	Offers  []Offer
}

// Offer is a stage's order as one device is given it.
type Offer struct {
	Stage, Plan int64 // of the store
	Attempt     int64
	Deployment  string
	Order       Order
	Live        bool // the stage gives its order to devices
	Status      DeviceStatus
	Undoing     bool
}
