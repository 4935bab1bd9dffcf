// Package traffic is what is known of requests on their way: where an
// endpoint's requests go, what became of one of them, and how many a fleet has
// had. The router serves and counts by these types, metrics and deployments
// read them. It is pure: choosing an instance for a request is the router's
// job, deciding where traffic goes that of packages hosting and rollout.
package traffic

import (
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
)

// Key names an endpoint. Names are compared with their case.
type Key struct{ Region, Name string }

// Strategy is how an instance of a variant is chosen (spec §5.3).
type Strategy string

// The routing strategies of the API.
const (
	Random                   Strategy = "RANDOM"
	LeastOutstandingRequests Strategy = "LEAST_OUTSTANDING_REQUESTS"
)

// Route says where one endpoint's requests go. It is stored as JSON under
// these names, and nobody changes one that was handed to a router.
type Route struct {
	Endpoint string    `json:"Endpoint"` // the endpoint's id, which tells it from a later one of the same name
	Scope    arn.Scope `json:"Scope"`
	Name     string    `json:"Name"`
	Version  int64     `json:"Version"` // grows with every change of any route
	Gone     bool      `json:"Gone"`    // the endpoint no longer serves
	Variants []Variant `json:"Variants"`
	Guard    *Guard    `json:"Guard,omitempty"` // nil: nothing is to be taken back
}

// Guard says where an endpoint's requests go as soon as an alarm fires that a
// deployment is judged by: a router that hears of it needs to ask nobody. What
// the deployment makes of the alarm follows.
type Guard struct {
	Deployment string    `json:"Deployment"`
	Alarms     []string  `json:"Alarms"`
	Variants   []Variant `json:"Variants"` // as the rollback has them at once
	// Begun is when the deployment began, by a clock that may have been set back since:
	// what was evidence before is of another one.
	Begun time.Time `json:"Begun,omitzero"`
}

// Key returns the name under which the route is found.
func (r Route) Key() Key { return Key{Region: r.Scope.Region, Name: r.Name} }

// Variant is a share of an endpoint's requests. One of weight zero gets none
// but may be named by the caller; all zero is an equal split.
type Variant struct {
	Name      string   `json:"Name"`
	Weight    float64  `json:"Weight"`
	Routing   Strategy `json:"Routing"`   // "": Random
	Container string   `json:"Container"` // host name of the container in messages: "primary"
	Fleets    []Fleet  `json:"Fleets"`
	Shadows   []Shadow `json:"Shadows,omitempty"` // that get copies of its requests
	Mirror    *Mirror  `json:"Mirror,omitempty"`  // nil: the new fleet gets no copies
	// Reads is the deployment whose gates read some of the answers; "": none does.
	Reads string `json:"Reads,omitempty"`
}

// Role is what a fleet is to the deployment that divides its variant's requests
// between two fleets.
type Role string

// The roles are stored: never rename. A fleet that is neither is what an earlier
// update left over, or the only one while no deployment runs.
const (
	NeitherFleet Role = ""
	OldFleet     Role = "Old" // the one in service, to which a rollback returns
	NewFleet     Role = "New" // the one that the deployment brings up
)

// Fleet is the part of a variant that runs one endpoint configuration.
type Fleet struct {
	// ID tells it from another fleet of the same configuration; "" in a route that
	// was stored before fleets had ids there.
	ID        string     `json:"ID,omitempty"`
	Config    string     `json:"Config"`         // EndpointConfigName
	Role      Role       `json:"Role,omitempty"` // in the deployment that runs
	Share     float64    `json:"Share"`          // of the variant's requests; the shares of a variant sum to 1
	Instances []Instance `json:"Instances"`
	// Unhealthy are those that were ready, run, and fail their health checks.
	// They take traffic when no instance of the variant is ready.
	Unhealthy []Instance `json:"Unhealthy,omitempty"`
	Capture   *Capture   `json:"Capture,omitempty"` // nil: nothing is captured of its requests
}

// Ref returns what the fleet is known by.
func (f Fleet) Ref() FleetRef { return FleetRef{ID: f.ID, Config: f.Config} }

// FleetRef says which fleet of an endpoint is meant: that of the id, or all of
// the configuration where the id is not known.
type FleetRef struct{ ID, Config string }

// Is reports whether what was counted for other was counted for r: routes that
// were stored before fleets had ids there name the configuration alone.
func (r FleetRef) Is(other FleetRef) bool {
	if r.ID == "" || other.ID == "" {
		return r.Config == other.Config
	}
	return r.ID == other.ID
}

// Instance is one instance that takes traffic.
type Instance struct {
	ID      string `json:"ID"`
	Address string `json:"Address"`
	// Slot is the instance's place in its fleet's variant, 0 to Slots-1: one that
	// replaces another has the place of that one as far as it is known. Beyond Slots
	// instances, some share one.
	Slot int `json:"Slot,omitempty"`
}

// Slots is how many places of a fleet are told apart.
const Slots = 32

// Capture says what is kept of the requests that a fleet answers (the API's
// DataCaptureConfig).
type Capture struct {
	Destination string `json:"Destination"` // where it goes: s3://bucket/prefix, as it was sent
	Percent     int    `json:"Percent"`     // of the requests, 0 to 100
	Input       bool   `json:"Input"`       // the request's body
	Output      bool   `json:"Output"`      // the answer's
	// CSV and JSON are the content types that are kept as text, without parameters.
	CSV  []string `json:"CSV,omitempty"`
	JSON []string `json:"JSON,omitempty"`
}

// Shadow is a shadow variant: instances that get copies of a production
// variant's requests and whose answers nobody waits for.
type Shadow struct {
	Name      string   `json:"Name"`
	Ratio     float64  `json:"Ratio"`   // of the production variant's requests that are copied, 0 to 1
	Routing   Strategy `json:"Routing"` // "": Random
	Container string   `json:"Container"`
	Fleets    []Fleet  `json:"Fleets"`
}

// Mirror says that the new fleet gets copies of requests that the old one
// answers, while a deployment runs, and that the answers are compared.
type Mirror struct {
	Deployment string  `json:"Deployment"`
	From       string  `json:"From"`  // id of the old fleet
	Ratio      float64 `json:"Ratio"` // of the requests drawn for the old fleet that are copied, 0 to 1
	// To is the new fleet with the instances that get copies; its Share means nothing.
	To Fleet `json:"To"`
	// Outputs are the parts of an answer that are compared; none: all of it.
	Outputs []Output `json:"Outputs,omitempty"`
	// Judged says that what comes of it may undo the deployment: answers of which no
	// more is known than whether they are equal, byte by byte, do not count then.
	Judged bool `json:"Judged,omitempty"`
}

// Output is a part of an answer, and how it is compared.
type Output struct {
	Selector string  `json:"Selector"`         // as platform/answer reads it
	Within   float64 `json:"Within,omitempty"` // how far two numbers may differ; 0: not at all
}

// Sample is what happened to one request that reached, or tried to reach, a
// container, or that no instance could take (spec §7.1).
type Sample struct {
	Key             Key
	Variant, Config string
	Fleet           string    // id of the fleet that it is counted for; "": the route has none
	At              time.Time // when the request arrived
	Status4XX       bool      // the container answered 4xx
	Status5XX       bool      // it answered 5xx, not at all, or in no time
	ModelError      bool      // no whole 2xx response came
	Unserved        bool      // no instance could take it: it says nothing of latencies
	ModelLatency    time.Duration
	OverheadLatency time.Duration
	Instances       int // that took traffic of the variant when one was chosen
	Streaming       bool
	FirstChunk      time.Duration // of a streaming response; 0 if none came
	MidStreamError  bool

	Draw      Draw // zero: no instance was chosen for it
	Retried   bool // the instance that was chosen first did not take it, another was asked
	Abandoned bool // the caller left before the whole answer was there
}

// Draw is how the fleet was chosen that a request went to first, which nothing
// that happens to the request later changes: it is what makes a comparison of
// two fleets an experiment, with a coin whose bias is known.
type Draw struct {
	Variant  string
	Fleet    string // id; "": the route has none
	Role     Role
	Instance string // id
	Slot     int
	// Share is the probability at the draw that it is the new fleet, given that it is
	// the new or the old one: 1 or 0 if only one of them had instances.
	Share float64
	Epoch int64     // the version of the route that was drawn from
	At    time.Time // of the draw; zero: there was none
}

// Counts are the counters of one fleet: one (variant, fleet) of an endpoint.
type Counts struct {
	Variant, Config                                string
	Fleet                                          string // id; "": the route has none
	InFlight                                       int64
	Invocations, Status4XX, Status5XX, ModelErrors uint64
}

// Reading is how many requests of a fleet one router has counted. A router
// counts from zero, and under another name, each time it starts.
type Reading struct {
	Router   string
	Began    time.Time // when the router started
	Requests int64
}
