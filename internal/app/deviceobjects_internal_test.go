package app

import (
	"context"
	"errors"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/door"
)

// plant is a store of one fleet with one device.
type plant struct{}

func (plant) FleetObjects(_ context.Context, _ arn.Scope, fleet string) (map[string]bool, error) {
	return map[string]bool{"s3://b/packages/" + fleet: true}, nil
}

func (plant) Fleet(_ context.Context, _ arn.Scope, name string) (edge.Fleet, error) {
	return edge.Fleet{Name: name, Output: edge.OutputConfig{S3Location: "s3://b/captured/" + name}}, nil
}

func (plant) DeviceOfThing(_ context.Context, s arn.Scope, fleet, thing string) (int64, bool, error) {
	return 7, s.Region == "us-west-2" && fleet == "plant" && thing == "cam-1", nil
}

func (plant) DeviceHadObject(_ context.Context, id int64, url string) (bool, error) {
	return id == 7 && url == "s3://b/packages/old", nil
}

func TestADeviceHasTheObjectsOfItsFleetWhileItIsRegistered(t *testing.T) {
	o := &deviceObjects{store: plant{}}
	registered := access.Device{Thing: "cam-1", Alias: "SageMakerEdge-plant"}
	for name, c := range map[string]struct {
		device            access.Device
		region, verb, key string
		allowed           bool
	}{
		"a package of its fleet":       {registered, "us-west-2", door.ObjectGet, "packages/plant", true},
		"a package that it had":        {registered, "us-west-2", door.ObjectGet, "packages/old", true},
		"where its fleet collects":     {registered, "us-west-2", door.ObjectPut, "captured/plant/x", true},
		"the bucket":                   {registered, "us-west-2", door.ObjectLocation, "", true},
		"a package of another fleet":   {registered, "us-west-2", door.ObjectGet, "packages/other", false},
		"what is captured":             {registered, "us-west-2", door.ObjectGet, "captured/plant/x", false},
		"where another collects":       {registered, "us-west-2", door.ObjectPut, "captured/plant-2/x", false},
		"a package, to write":          {registered, "us-west-2", door.ObjectPut, "packages/plant", false},
		"in another region":            {registered, "eu-west-1", door.ObjectGet, "packages/plant", false},
		"deregistered, to read":        {access.Device{Thing: "gone", Alias: registered.Alias}, "us-west-2", door.ObjectGet, "packages/plant", false},
		"deregistered, to write":       {access.Device{Thing: "gone", Alias: registered.Alias}, "us-west-2", door.ObjectPut, "captured/plant/x", false},
		"through the alias of another": {access.Device{Thing: "cam-1", Alias: "SageMakerEdge-other"}, "us-west-2", door.ObjectGet, "packages/other", false},
		"through an alias of none":     {access.Device{Thing: "cam-1", Alias: "mine"}, "us-west-2", door.ObjectGet, "packages/plant", false},
		"as nothing":                   {access.Device{Alias: registered.Alias}, "us-west-2", door.ObjectGet, "packages/plant", false},
	} {
		err := o.judge(t.Context(), access.Caller{Region: c.region, Device: &c.device}, c.verb, "b", c.key)
		if (err == nil) != c.allowed || err != nil && !errors.Is(err, fault.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
