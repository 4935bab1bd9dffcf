package edge_test

import (
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
)

func model(version string, inference time.Time) edge.LoadedModel {
	return edge.LoadedModel{Name: "m", Version: version, LatestInference: inference, LatestSample: inference}
}

func TestAReportCountsDevicesNotHandles(t *testing.T) {
	since := t0.Add(-time.Hour)
	long := "1.2.3-of-a-version-that-is-longer-than-thirty"
	active := model("1", t0)
	active.Inferred = t0
	var r edge.Report
	// Two handles, of which one works; and two versions that read alike when shown.
	r.Tally(edge.Device{Heartbeat: t0, Models: []edge.LoadedModel{model("1", time.Time{}), active, active}}, since)
	r.Tally(edge.Device{Heartbeat: t0, Models: []edge.LoadedModel{
		model(long, time.Time{}), model(long+"-still", time.Time{}),
	}}, since)
	r.Tally(edge.Device{Models: []edge.LoadedModel{active, active}}, since) // never heard of
	r.Sort()
	if len(r.Models) != 2 {
		t.Fatalf("%+v", r.Models)
	}
	if m := r.Models[0]; m.Connected != 1 || m.Active != 1 || m.Sampling != 1 || m.Offline != 1 {
		t.Errorf("version 1: %+v", m)
	}
	if m := r.Models[1]; m.Connected != 1 || m.Active != 0 {
		t.Errorf("the long version: %+v", m)
	}
}

// A device says in one heartbeat after the other when it last inferred, by its
// clock; whether it is active says the server's.
func TestADeviceIsActiveByTheServersClock(t *testing.T) {
	year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
	hours := func(n int) time.Time { return t0.Add(time.Duration(n) * time.Hour) }
	for name, c := range map[string]struct {
		claims []time.Time // of a heartbeat every two hours
		active bool
	}{
		"its clock is right":                       {[]time.Time{hours(0), hours(2), hours(4)}, true},
		"it said once 2099, and repeats it":        {[]time.Time{year(2099), year(2099), year(2099)}, false},
		"it infers in 2099":                        {[]time.Time{year(2099), year(2100), year(2101)}, true},
		"it infers in 1970, sometime in two hours": {[]time.Time{year(1970), year(1971), year(1972)}, false},
		"its latest was before this heartbeat":     {[]time.Time{hours(0), hours(1), hours(1)}, false},
		"it is new and was active long ago":        {[]time.Time{{}, {}, hours(-40)}, false},
		"it never inferred":                        {[]time.Time{{}, {}, {}}, false},
		"it says nothing for what it said before":  {[]time.Time{hours(0), {}, {}}, false},
	} {
		var d edge.Device
		for i, claim := range c.claims {
			at := hours(2 * i)
			now := []edge.LoadedModel{model("1", claim), model("1", time.Time{})}
			d.Models = edge.Merge(d.Models, now, d.Heartbeat, at)
			d.Heartbeat = at
		}
		var r edge.Report
		r.Tally(d, d.Heartbeat.Add(-time.Hour))
		if got := r.Models[0].Active; (got == 1) != c.active || r.Models[0].Sampling != got {
			t.Errorf("%s: %+v of %+v", name, r.Models[0], d.Models)
		}
	}
	// What an earlier release stored is no later than the heartbeat that said it.
	var r edge.Report
	r.Tally(edge.Device{Heartbeat: hours(0), Models: []edge.LoadedModel{model("1", year(2099))}}, hours(-1))
	r.Tally(edge.Device{Heartbeat: hours(0), Models: []edge.LoadedModel{model("1", hours(-2))}}, hours(-1))
	if r.Models[0].Active != 1 {
		t.Errorf("%+v", r.Models)
	}
	had := []edge.LoadedModel{model("1", year(2099))}
	if m := edge.Merge(had, had, hours(0), hours(2))[0]; !m.Inferred.Equal(hours(0)) {
		t.Errorf("repeated after an upgrade: %+v", m)
	}
}
