package traffic_test

import (
	"encoding/json"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// A route is compared with the stored one as text: the same route must be the
// same text, also after an upgrade.
func TestARouteIsStoredAsItAlwaysWas(t *testing.T) {
	const stored = `{"Endpoint":"e-1","Scope":{"Region":"eu-west-3","Account":"123456789012"},"Name":"shop","Version":0,` +
		`"Gone":false,"Variants":[{"Name":"a","Weight":1.5,"Routing":"LEAST_OUTSTANDING_REQUESTS","Container":"primary",` +
		`"Fleets":[{"Config":"c","Share":0.25,"Instances":[{"ID":"i-1","Address":"127.0.0.1:20000"}]}]}]}`
	var r traffic.Route
	if err := json.Unmarshal([]byte(stored), &r); err != nil {
		t.Fatal(err)
	}
	if r.Key() != (traffic.Key{Region: "eu-west-3", Name: "shop"}) || r.Variants[0].Fleets[0].Instances[0].ID != "i-1" {
		t.Errorf("read %+v", r)
	}
	again, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if string(again) != stored {
		t.Errorf("written as %s", again)
	}
}

// A route of before fleets had ids there means all fleets of the configuration.
func TestAFleetIsMeantByItsIdWhereThereIsOne(t *testing.T) {
	ref := func(id, config string) traffic.FleetRef { return traffic.FleetRef{ID: id, Config: config} }
	for name, tt := range map[string]struct {
		a, b traffic.FleetRef
		want bool
	}{
		"the same fleet":                     {ref("f-1", "c"), ref("f-1", "c"), true},
		"two fleets of one configuration":    {ref("f-1", "c"), ref("f-2", "c"), false},
		"one that was counted without an id": {ref("f-1", "c"), ref("", "c"), true},
		"another configuration":              {ref("f-1", "c"), ref("", "d"), false},
	} {
		if tt.a.Is(tt.b) != tt.want || tt.b.Is(tt.a) != tt.want {
			t.Errorf("%s: want %v", name, tt.want)
		}
	}
}
