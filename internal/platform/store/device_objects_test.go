package store_test

import (
	"context"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

func TestADeviceIsFoundByTheThingThatItActsAsAndByWhatItHad(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		change(t, db, func(ctx context.Context, tx *store.Tx) error {
			for _, name := range []string{"a", "b"} {
				if err := tx.InsertFleet(ctx, edge.Fleet{Scope: scope, Name: name, Created: t0, Modified: t0}); err != nil {
					return err
				}
			}
			f, err := tx.Fleet(ctx, scope, "a")
			if err != nil {
				return err
			}
			if _, err := tx.InsertDevices(ctx, f, []edge.Device{{Name: "cam-1", Thing: "thing-1", Registered: t0}, {Name: "cam-2", Registered: t0}}); err != nil {
				return err
			}
			id, err := tx.PackageID(ctx, edge.Package{Job: "j", S3URL: "s3://b/old", SHA1: "1"})
			if err != nil {
				return err
			}
			d, err := tx.CheckinDevice(ctx, scope, "a", "cam-1")
			if err != nil {
				return err
			}
			return tx.PutHandles(ctx, d.Device.ID, 1, edge.Order{Models: []edge.OrderedModel{{Handle: "h", Package: id}}})
		})
		elsewhere := arn.Scope{Region: "eu-west-1", Account: scope.Account}
		for _, c := range []struct {
			s            arn.Scope
			fleet, thing string
			found, had   bool
		}{
			{scope, "a", "thing-1", true, true},
			{scope, "a", "cam-2", true, false},
			{scope, "a", "cam-1", false, false},
			{scope, "a", "", false, false},
			{scope, "b", "thing-1", false, false},
			{elsewhere, "a", "thing-1", false, false},
		} {
			id, found, err := db.DeviceOfThing(t.Context(), c.s, c.fleet, c.thing)
			if err != nil || found != c.found {
				t.Errorf("%+v: %v, %v", c, found, err)
			}
			if had, err := db.DeviceHadObject(t.Context(), id, "s3://b/old"); err != nil || had != c.had {
				t.Errorf("%+v: it had the object: %v, %v", c, had, err)
			}
			if had, err := db.DeviceHadObject(t.Context(), id, "s3://b/other"); err != nil || had {
				t.Errorf("%+v: it had another object: %v, %v", c, had, err)
			}
		}
	})
}
