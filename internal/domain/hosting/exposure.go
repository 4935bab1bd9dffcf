package hosting

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// Exposure counts the requests that a deployment's new fleet has answered: the
// sum of what each router counted of them, where a router that starts again is
// another one. A router's count only grows, so that of what it reported the
// largest is the truth: a report may come late, twice, or after a later one.
type Exposure struct {
	Requests int64 `json:"Requests"`
	Based    bool  `json:"Based"` // somebody counts: Requests means something
	// AtLeast says that Requests is a lower bound: a router was not there any
	// more, and may have ended with what it had not reported yet.
	AtLeast bool      `json:"AtLeast"`
	Routers []Counted `json:"Routers,omitempty"`
	// Forgotten is the latest start among the routers that made room for
	// others. An unknown router that did not start after it may be one of them,
	// and is not counted again.
	Forgotten time.Time `json:"Forgotten,omitzero"`
}

// Counted is the largest count that a router reported.
type Counted struct {
	Router   string    `json:"Router"`
	Began    time.Time `json:"Began"`
	Requests int64     `json:"Requests"` // also those before the deployment
}

// maxCounted is how many routers an Exposure remembers. Beyond that, those that
// have left and started the earliest make room; what they counted stays.
const maxCounted = 32

// Add returns the exposure after the routers of this moment reported what they
// have counted; begun is when the deployment was accepted. Nothing was sent to
// the new fleet when somebody first looked, so what was counted by then is not
// of this deployment: the same configuration may have served before.
func (x Exposure) Add(reports []traffic.Reading, begun time.Time) Exposure {
	first := !x.Based
	x.Based, x.Routers = true, slices.Clone(x.Routers)
	for _, r := range reports {
		x.add(r, first, begun)
	}
	there := func(c Counted) bool {
		return slices.ContainsFunc(reports, func(r traffic.Reading) bool { return r.Router == c.Router })
	}
	for _, c := range x.Routers {
		x.AtLeast = x.AtLeast || !there(c)
	}
	if len(x.Routers) > maxCounted {
		x.forget(there)
	}
	return x
}

// add counts one report.
func (x *Exposure) add(r traffic.Reading, first bool, begun time.Time) {
	i := slices.IndexFunc(x.Routers, func(c Counted) bool { return c.Router == r.Router })
	switch {
	case i >= 0:
		known := &x.Routers[i]
		if more := r.Requests - known.Requests; more > 0 {
			known.Requests = r.Requests
			if !first {
				x.Requests += more
			}
		}
		return
	case first:
	case !x.Forgotten.IsZero() && !r.Began.After(x.Forgotten): // it may have been counted
		x.AtLeast = true
		return
	case !r.Began.After(begun): // how much of it is of this deployment, nobody knows
		x.AtLeast = true
	default:
		x.Requests += r.Requests
	}
	x.Routers = append(x.Routers, Counted(r))
}

// forget makes room: first of the routers that are not there any more, those
// that started the earliest.
func (x *Exposure) forget(there func(Counted) bool) {
	slices.SortStableFunc(x.Routers, func(a, b Counted) int {
		switch {
		case there(a) && !there(b):
			return -1
		case there(b) && !there(a):
			return 1
		}
		return b.Began.Compare(a.Began)
	})
	for _, c := range x.Routers[maxCounted:] {
		if c.Began.After(x.Forgotten) {
			x.Forgotten = c.Began
		}
	}
	x.Routers = x.Routers[:maxCounted:maxCounted]
}

// UnmarshalJSON reads also what was stored when an exposure knew one counter:
// its name, and what it said.
func (x *Exposure) UnmarshalJSON(data []byte) error {
	type plain Exposure
	var old struct {
		plain
		Raw     int64
		Counter string
	}
	if err := json.Unmarshal(data, &old); err != nil {
		return err
	}
	*x = Exposure(old.plain)
	if old.Based && len(x.Routers) == 0 {
		x.Routers = []Counted{{Router: old.Counter, Requests: old.Raw}}
	}
	return nil
}
