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
	for i, m := range d.Models {
		// A device that has a model under several handles is one device that has it.
		again := slices.ContainsFunc(d.Models[:i], func(o LoadedModel) bool { return o.shownAs() == m.shownAs() })
		if m.Shown() && !again {
			r.model(d, m.shownAs(), since)
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

func (r *Report) model(d Device, key [2]string, since time.Time) {
	i, ok := r.models[key]
	if !ok {
		if i = len(r.Models); i == maxDistinct {
			return
		}
		r.models[key], r.Models = i, append(r.Models, ModelStat{Name: key[0], Version: key[1]})
	}
	s := &r.Models[i]
	if !d.Heartbeat.After(since) {
		s.Offline++
		return
	}
	s.Connected++
	active := func(claimed, known time.Time) bool {
		if known.IsZero() && !claimed.IsZero() { // stored before the server looked at its own clock
			known = earlier(claimed, d.Heartbeat)
		}
		return known.After(since)
	}
	has := func(is func(LoadedModel) bool) bool {
		return slices.ContainsFunc(d.Models, func(m LoadedModel) bool { return m.shownAs() == key && is(m) })
	}
	if has(func(m LoadedModel) bool { return active(m.LatestInference, m.Inferred) }) {
		s.Active++
	}
	if has(func(m LoadedModel) bool { return active(m.LatestSample, m.Sampled) }) {
		s.Sampling++
	}
}

// shownAs is the name and the version of a model as the control plane shows them.
func (m LoadedModel) shownAs() [2]string { return [2]string{m.Name, ShownVersion(m.Version)} }

// Sort puts a report into the order of its names and versions.
func (r *Report) Sort() {
	slices.SortFunc(r.Versions, func(a, b VersionCount) int { return cmp.Compare(a.Version, b.Version) })
	slices.SortFunc(r.Models, func(a, b ModelStat) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	r.versions, r.models = nil, nil
}
