package edge_test

import (
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/store"
	edgestore "github.com/slipway-ml/slipway/internal/platform/store/edge"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
)

var (
	t0    = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	scope = arn.Scope{Region: "us-east-1", Account: "000000000000"}
)

// onBoth runs f against each database.
func onBoth(t *testing.T, f func(*testing.T, edgestore.DB)) {
	t.Helper()
	storetest.OnBoth(t, func(t *testing.T, db *store.DB) {
		edge, err := edgestore.New(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		f(t, edge)
	})
}

func TestADeviceIsFoundByTheThingThatItActsAsAndByWhatItHad(t *testing.T) {
	onBoth(t, func(t *testing.T, db edgestore.DB) {
		ctx := t.Context()
		err := db.Change(ctx, func(tx edgestore.Tx) error {
			for _, name := range []string{"a", "b"} {
				if err := tx.InsertFleet(
					ctx, edge.Fleet{Scope: scope, Name: name, Created: t0, Modified: t0},
				); err != nil {
					return err
				}
			}
			f, err := tx.Fleet(ctx, scope, "a")
			if err != nil {
				return err
			}
			cams := []edge.Device{{Name: "cam-1", Thing: "thing-1", Registered: t0}, {Name: "cam-2", Registered: t0}}
			if _, err := tx.InsertDevices(ctx, f, cams); err != nil {
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
			return tx.PutHandles(
				ctx, d.Device.ID, 1, edge.Order{Models: []edge.OrderedModel{{Handle: "h", Package: id}}},
			)
		})
		if err != nil {
			t.Fatal(err)
		}
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
			id, found, err := db.DeviceOfThing(ctx, c.s, c.fleet, c.thing)
			if err != nil || found != c.found {
				t.Errorf("%+v: %v, %v", c, found, err)
			}
			if had, err := db.DeviceHadObject(ctx, id, "s3://b/old"); err != nil || had != c.had {
				t.Errorf("%+v: it had the object: %v, %v", c, had, err)
			}
			if had, err := db.DeviceHadObject(ctx, id, "s3://b/other"); err != nil || had {
				t.Errorf("%+v: it had another object: %v, %v", c, had, err)
			}
		}
	})
}
