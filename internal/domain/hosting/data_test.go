package hosting_test

import (
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

func TestAFleetHasTheVersionThatWasThereAndSaysWhatItReplaces(t *testing.T) {
	data := hosting.ModelData{URI: "s3://b/k", Layout: hosting.Archive}
	with := func(config, version string) hosting.Launch {
		l := launch(config, v("a", 1, 1))
		l.Models["m"].Containers[0].ModelData = &data
		l.Versions = hosting.Versions{data: version}
		return l
	}
	e, err := hosting.Create("e", "e", with("one", "1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	is := settle(t, e, nil)
	if got := e.Fleet.Variants[0]; got.Container.ModelData.Version != "1" || got.Replaced != "" || data.Version != "" {
		t.Errorf("the first fleet has %+v of %+v", got.Container.ModelData, data)
	}
	if err := e.Update(hosting.Update{Launch: with("two", "2")}); err != nil {
		t.Fatal(err)
	}
	if got := e.Deployment.Green.Variants[0]; got.Container.ModelData.Version != "2" || got.Replaced != "1" {
		t.Errorf("the second fleet has %+v", got)
	}
	if all := e.ModelData(); len(all) != 2 || all[0].Version != "1" || all[1].Version != "2" {
		t.Errorf("it serves %v", all)
	}
	settle(t, e, is)
	if err := e.Update(hosting.Update{Launch: with("three", "2")}); err != nil {
		t.Fatal(err)
	}
	if got := e.Deployment.Green.Variants[0]; got.Replaced != "" {
		t.Errorf("the same bytes again replace %q", got.Replaced)
	}
}

func TestTheFirstWhoPinsAVersionPinsItForAll(t *testing.T) {
	l := launch("one", v("a", 1, 1))
	l.Models["m"].Containers[0].ModelData = &hosting.ModelData{URI: "s3://b/k", Layout: hosting.Archive}
	e, err := hosting.Create("e", "e", l, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ fleet, variant, version, want string }{
		{"f-one", "a", "1", "1"}, {"f-one", "a", "2", "1"}, {"f-other", "a", "2", "2"}, {"f-one", "b", "2", "2"},
	} {
		if got := e.PinModelData(hosting.FleetID(c.fleet), c.variant, c.version); got != c.want {
			t.Errorf("%+v got %q", c, got)
		}
	}
}
