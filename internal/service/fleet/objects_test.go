package fleet_test

import (
	"context"
	"errors"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	store "github.com/slipway-ml/slipway/internal/platform/store/edge"
	"github.com/slipway-ml/slipway/internal/service/fleet"
)

func TestADeviceHasTheObjectsOfItsFleetWhileItIsRegistered(t *testing.T) {
	onBoth(t, func(t *testing.T, db store.DB) {
		west := arn.Scope{Region: "us-west-2", Account: scope.Account}
		w := newWorld(t, db, fleet.Config{})
		for _, name := range []string{"plant", "other"} {
			deployTo(t, w, west, name)
		}
		ok(t, db.Change(t.Context(), func(tx store.Tx) error {
			return remember(t.Context(), tx, west, "s3://b/packages/old")
		}))
		registered := edge.Caller{Thing: "cam-1", Alias: "SageMakerEdge-plant"}
		gone := edge.Caller{Thing: "gone", Alias: registered.Alias}
		other := edge.Caller{Thing: "cam-1", Alias: "SageMakerEdge-other"}
		mine := edge.Caller{Thing: "cam-1", Alias: "mine"}
		half := edge.Caller{Thing: "cam-1", Alias: "SageMakerEdge-"}
		nothing := edge.Caller{Alias: registered.Alias}
		for name, c := range map[string]struct {
			device  edge.Caller
			region  string
			access  edge.ObjectAccess
			key     string
			allowed bool
		}{
			"a package of its fleet":       {registered, "us-west-2", edge.ReadObject, "packages/plant", true},
			"a package that it had":        {registered, "us-west-2", edge.ReadObject, "packages/old", true},
			"where its fleet collects":     {registered, "us-west-2", edge.WriteObject, "captured/plant/x", true},
			"the bucket":                   {registered, "us-west-2", edge.LocateBucket, "", true},
			"a package of another fleet":   {registered, "us-west-2", edge.ReadObject, "packages/other", false},
			"what is captured":             {registered, "us-west-2", edge.ReadObject, "captured/plant/x", false},
			"where another collects":       {registered, "us-west-2", edge.WriteObject, "captured/plant-2/x", false},
			"a package, to write":          {registered, "us-west-2", edge.WriteObject, "packages/plant", false},
			"in another region":            {registered, "eu-west-1", edge.ReadObject, "packages/plant", false},
			"deregistered, to read":        {gone, "us-west-2", edge.ReadObject, "packages/plant", false},
			"deregistered, to write":       {gone, "us-west-2", edge.WriteObject, "captured/plant/x", false},
			"through the alias of another": {other, "us-west-2", edge.ReadObject, "packages/other", false},
			"through an alias of none":     {mine, "us-west-2", edge.ReadObject, "packages/plant", false},
			"through half an alias":        {half, "us-west-2", edge.ReadObject, "packages/plant", false},
			"as nothing":                   {nothing, "us-west-2", edge.ReadObject, "packages/plant", false},
		} {
			s := arn.Scope{Region: c.region, Account: scope.Account}
			r := edge.ObjectRequest{Access: c.access, Bucket: "b", Key: c.key}
			err := w.AuthorizeObject(t.Context(), s, c.device, r)
			if (err == nil) != c.allowed || err != nil && !errors.Is(err, fault.Denied) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// deployTo makes a fleet of one device, which has its own thing, and starts a
// stage that deploys s3://b/packages/<fleet> to it.
func deployTo(t *testing.T, w *world, s arn.Scope, name string) {
	t.Helper()
	ctx := t.Context()
	device := map[string]string{"plant": "cam-1", "other": "cam-2"}[name]
	output := edge.OutputConfig{S3Location: "s3://b/captured/" + name}
	ok(t, w.CreateFleet(ctx, edge.Fleet{Scope: s, Name: name, Output: output}, nil, nil))
	ok(t, w.Register(ctx, s, name, []edge.Device{{Name: device}}, nil))
	_, err := w.CreatePlan(ctx, edge.Plan{
		Scope: s, Name: name, Fleet: name, Stages: []edge.Stage{percent("s", 100)},
		Models: []edge.ModelConfig{{Handle: "m", Job: "packages/" + name}},
	}, nil)
	ok(t, err)
	ok(t, w.StartStage(ctx, s, name, "s"))
}

// remember notes that the device of the fleet "plant" has a package which no
// stage of the fleet deploys any more.
func remember(ctx context.Context, tx store.Tx, s arn.Scope, url string) error {
	id, err := tx.PackageID(ctx, edge.Package{Job: "j", S3URL: url, SHA1: "1"})
	if err != nil {
		return err
	}
	d, err := tx.CheckinDevice(ctx, s, "plant", "cam-1")
	if err != nil {
		return err
	}
	return tx.PutHandles(ctx, d.Device.ID, 1000, edge.Order{Models: []edge.OrderedModel{{Handle: "h", Package: id}}})
}
