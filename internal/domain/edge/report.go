package edge

import (
	"cmp"
	"slices"
	"time"
)

// maxDistinct bounds the versions, and the versions of models, that a report
// tells apart: what devices say of themselves may be anything.
const maxDistinct = 1000

// Report is what GetDeviceFleetReport tells (spec §2.11).
type Report struct {
	Registered, Connected int
	Versions              []VersionCount
	Models                []ModelStat

	versions map[string]int    // the place in Versions
	models   map[[2]string]int // the place in Models, by name and version
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

// Tally adds one device to a report. Whoever was heard of after since is
// connected.
func (r *Report) Tally(d Device, since time.Time) {
	if r.versions == nil {
		r.versions, r.models = map[string]int{}, map[[2]string]int{}
	}
	r.Registered++
	connected := d.Heartbeat.After(since)
	if connected {
		r.Connected++
	}
	if d.AgentVersion != "" {
		r.version(ShownVersion(d.AgentVersion))
	}
	for _, m := range d.Models {
		if m.Shown() {
			r.model(m, connected, since)
		}
	}
}

func (r *Report) version(v string) {
	i, ok := r.versions[v]
	if !ok {
		if i = len(r.Versions); i == maxDistinct {
			return
		}
		r.versions[v], r.Versions = i, append(r.Versions, VersionCount{Version: v})
	}
	r.Versions[i].Devices++
}

func (r *Report) model(m LoadedModel, connected bool, since time.Time) {
	key := [2]string{m.Name, m.Version}
	i, ok := r.models[key]
	if !ok {
		if i = len(r.Models); i == maxDistinct {
			return
		}
		r.models[key], r.Models = i, append(r.Models, ModelStat{Name: m.Name, Version: m.Version})
	}
	s := &r.Models[i]
	if !connected {
		s.Offline++
		return
	}
	s.Connected++
	if m.LatestInference.After(since) {
		s.Active++
	}
	if m.LatestSample.After(since) {
		s.Sampling++
	}
}

// Sort puts a report into the order of its names and versions.
func (r *Report) Sort() {
	slices.SortFunc(r.Versions, func(a, b VersionCount) int { return cmp.Compare(a.Version, b.Version) })
	slices.SortFunc(r.Models, func(a, b ModelStat) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	r.versions, r.models = nil, nil
}
