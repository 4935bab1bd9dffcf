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
}

// Fleet is the part of a variant that runs one endpoint configuration.
type Fleet struct {
	Config    string     `json:"Config"` // EndpointConfigName
	Share     float64    `json:"Share"`  // of the variant's requests; the shares of a variant sum to 1
	Instances []Instance `json:"Instances"`
	// Unhealthy are those that were ready, run, and fail their health checks.
	// They take traffic when no instance of the variant is ready.
	Unhealthy []Instance `json:"Unhealthy,omitempty"`
}

// Instance is one instance that takes traffic.
type Instance struct {
	ID      string `json:"ID"`
	Address string `json:"Address"`
}

// Sample is what happened to one request that reached, or tried to reach, a
// container, or that no instance could take (spec §7.1).
type Sample struct {
	Key             Key
	Variant, Config string
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
}

// Counts are the counters of one fleet: one (variant, configuration) of an
// endpoint.
type Counts struct {
	Variant, Config                                string
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
