package hosting_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

func capturing(percent int) *traffic.Capture {
	return &traffic.Capture{Destination: "s3://b/p", Percent: percent, Input: true}
}

func TestRequestsAreCapturedIntoBucketsAlone(t *testing.T) {
	c := hosting.EndpointConfig{Capture: capturing(1)}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	c.Capture.Destination = "https://example.com/p"
	if err := c.Check(); !errors.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
	c.Capture.Destination = "s3://b/" + strings.Repeat("\u5199", 300) // 300 characters, 900 bytes
	if err := c.Check(); !errors.Is(err, fault.Invalid) {
		t.Errorf("keys under it would be too long, and got %v", err)
	}
}

// Spec §5.1: a capture is the configuration's, and nothing of it is retained.
func TestEachFleetIsCapturedAsItsConfigurationSays(t *testing.T) {
	first := launch("c1", v("a", 1, 1))
	first.Config.Capture = capturing(20)
	e, err := hosting.Create("e", "e", first, nil)
	if err != nil {
		t.Fatal(err)
	}
	is := settle(t, e, nil)
	captures := func() map[string]*traffic.Capture {
		got := map[string]*traffic.Capture{}
		for _, f := range e.Route(is).Variants[0].Fleets {
			got[f.Config] = f.Capture
		}
		return got
	}
	want := func(when string, want map[string]*traffic.Capture) {
		t.Helper()
		if diff := cmp.Diff(want, captures()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	want("in service", map[string]*traffic.Capture{"c1": capturing(20)})

	for _, next := range []struct {
		config string
		asked  *traffic.Capture
		routed *traffic.Capture // what the router has to know
	}{
		{"none", nil, nil},
		{"all", capturing(100), capturing(100)},
		{"nothing-of-it", capturing(0), nil},
		{"half", capturing(50), capturing(50)},
	} {
		before := captures()
		l := launch(next.config, v("a", 1, 1))
		l.Config.Capture = next.asked
		err := e.Update(hosting.Update{
			Launch: l, RetainAll: true, Exclude: []hosting.Property{hosting.DataCaptureConfig},
		})
		if err != nil {
			t.Fatal(err)
		}
		want("while "+next.config+" comes up", before)
		is = settle(t, e, is)
		want("with "+next.config, map[string]*traffic.Capture{next.config: next.routed})
	}
}
