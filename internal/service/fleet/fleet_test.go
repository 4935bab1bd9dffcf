package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	platform "github.com/slipway-ml/slipway/internal/platform/store"
	store "github.com/slipway-ml/slipway/internal/platform/store/edge"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
	"github.com/slipway-ml/slipway/internal/service/fleet"
)

var scope = arn.Scope{Region: "us-east-1", Account: "000000000000"}

// onBoth runs f against each database.
func onBoth(t *testing.T, f func(*testing.T, store.DB)) {
	t.Helper()
	storetest.OnBoth(t, func(t *testing.T, db *platform.DB) { f(t, records(t, db)) })
}

func records(t testing.TB, db *platform.DB) store.DB {
	t.Helper()
	out, err := store.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// openSQLite opens the store in a file.
func openSQLite(ctx context.Context, path string) (store.DB, error) {
	db, err := platform.OpenSQLite(ctx, path)
	if err != nil {
		return store.DB{}, err
	}
	return store.New(ctx, db)
}

func service(t *testing.T, db store.DB) *fleet.Service {
	return fleet.New(fleet.Config{Store: db, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, err error, kind fault.Kind, part string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), part) {
		t.Errorf("got %v, want a fault %v with %q", err, kind, part)
	}
}

// makeFleet creates a fleet with n devices called d000, d001, …
func makeFleet(t *testing.T, s *fleet.Service, name string, n int) {
	t.Helper()
	ok(t, s.CreateFleet(
		t.Context(), edge.Fleet{Scope: scope, Name: name, Output: edge.OutputConfig{S3Location: "s3://b/p"}}, nil, nil,
	))
	for from := 0; from < n; from += edge.MaxRegister {
		var ds []edge.Device
		for i := from; i < min(n, from+edge.MaxRegister); i++ {
			ds = append(ds, edge.Device{Name: fmt.Sprintf("d%03d", i)})
		}
		ok(t, s.Register(t.Context(), scope, name, ds, nil))
	}
}

func TestAFleetIsCreatedDescribedChangedAndDeleted(t *testing.T) {
	onBoth(t, func(t *testing.T, db store.DB) {
		s, ctx := service(t, db), t.Context()
		role := "arn:aws:iam::000000000000:role/SageMakerX"
		f := edge.Fleet{Scope: scope, Name: "f", RoleARN: role, Output: edge.OutputConfig{S3Location: "s3://b/p"}}
		ok(t, s.CreateFleet(ctx, f, nil, []hosting.Tag{{Key: "k", Value: ""}}))
		refused(t, s.CreateFleet(ctx, f, nil, nil), fault.InUse, "already exists")
		refused(
			t, s.CreateFleet(ctx, edge.Fleet{Scope: scope, Name: "g"}, new(true), nil), fault.Invalid,
			"needs a RoleArn",
		)
		got, err := s.Fleet(ctx, scope, "f")
		ok(t, err)
		if got.RoleAliasARN() != "arn:aws:iot:us-east-1:000000000000:rolealias/SageMakerEdge-f" ||
			got.Created.IsZero() || !got.Created.Equal(got.Modified) {
			t.Errorf("%+v", got)
		}
		ok(t, s.UpdateFleet(ctx, scope, "f", edge.FleetUpdate{
			Output: edge.OutputConfig{S3Location: "s3://b/q"}, Alias: new(false), Description: new("words"),
		}))
		got, err = s.Fleet(ctx, scope, "f")
		ok(t, err)
		if got.RoleAliasARN() != "" || got.RoleARN != role || got.Description != "words" ||
			got.Output.S3Location != "s3://b/q" || !got.Modified.After(got.Created) {
			t.Errorf("%+v", got)
		}
		ok(t, s.DeleteFleet(ctx, scope, "f"))
		refused(t, s.DeleteFleet(ctx, scope, "f"), fault.NotFound, "DeviceFleet with name f")
		_, err = s.Fleet(ctx, scope, "f")
		refused(t, err, fault.NotFound, "No devicefleet with name f")
		refused(t, s.UpdateFleet(ctx, scope, "f", edge.FleetUpdate{}), fault.NotFound, "No devicefleet with name f")
		if tags, err := db.Tags(ctx, f.ARN()); len(tags) != 0 || err != nil {
			t.Error("tags are left:", tags, err)
		}
	})
}

func TestRegisteringDevicesIsAllOrNothingAndMayBeRepeated(t *testing.T) {
	onBoth(t, func(t *testing.T, db store.DB) {
		s, ctx := service(t, db), t.Context()
		refused(
			t, s.Register(ctx, scope, "f", []edge.Device{{Name: "a"}}, nil), fault.NotFound,
			"No device fleet with name f",
		)
		makeFleet(t, s, "f", 0)
		a := edge.Device{Name: "a", Thing: "thing-a"}
		ok(t, s.Register(ctx, scope, "f", []edge.Device{a}, []hosting.Tag{{Key: "accelerator", Value: ""}}))
		ok(t, s.Register(ctx, scope, "f", []edge.Device{a, {Name: "b"}}, nil))
		refused(
			t, s.Register(ctx, scope, "f", []edge.Device{{Name: "c"}, {Name: "a"}}, nil), fault.Invalid,
			"other attributes",
		)
		refused(
			t, s.Register(ctx, scope, "f", []edge.Device{{Name: "c"}, {Name: "c"}}, nil), fault.Invalid, "given twice",
		)
		refused(t, s.Register(ctx, scope, "f", make([]edge.Device, 1001), nil), fault.Limit, "1000")
		ds, more, err := s.ListDevices(ctx, scope, edge.DeviceFilter{})
		ok(t, err)
		if len(ds) != 2 || more || ds[0].Name != "a" || ds[0].Thing != "thing-a" ||
			ds[1].ARN() != "arn:aws:sagemaker:us-east-1:000000000000:device-fleet/f/device/b" {
			t.Errorf("%+v", ds)
		}
		if tags, err := db.Tags(ctx, ds[0].ARN()); len(tags) != 1 || err != nil {
			t.Error(tags, err)
		}
		ok(t, s.UpdateDevices(ctx, scope, "f", []edge.DeviceUpdate{{Name: "a", Description: new("left")}}))
		d, err := s.Device(ctx, scope, "f", "a")
		if ok(t, err); d.Description != "left" || d.Thing != "thing-a" {
			t.Errorf("%+v", d)
		}
		refused(
			t, s.UpdateDevices(ctx, scope, "f", []edge.DeviceUpdate{{Name: "x"}}), fault.NotFound,
			"No device with name x",
		)
		refused(t, s.Deregister(ctx, scope, "f", []string{"a", "x"}), fault.NotFound, "Device with name x")
		refused(t, s.Deregister(ctx, scope, "x", []string{"a"}), fault.NotFound, "No device fleet with name x")
		ok(t, s.Deregister(ctx, scope, "f", []string{"a", "a"}))
		_, err = s.Device(ctx, scope, "f", "a")
		refused(t, err, fault.NotFound, "No device with name a")
		_, err = s.Device(ctx, scope, "x", "a")
		refused(t, err, fault.NotFound, "No device fleet with name x")
		if f, err := s.Fleet(ctx, scope, "f"); f.Devices != 1 || err != nil {
			t.Errorf("the fleet counts %d devices (%v)", f.Devices, err)
		}
	})
}

func TestAFleetGoesWithAllItsDevices(t *testing.T) {
	onBoth(t, func(t *testing.T, db store.DB) {
		s := service(t, db)
		makeFleet(t, s, "f", 1234)
		ok(t, s.DeleteFleet(t.Context(), scope, "f"))
		if ds, _, err := s.ListDevices(t.Context(), scope, edge.DeviceFilter{}); len(ds) != 0 || err != nil {
			t.Error(len(ds), err)
		}
	})
}

func TestListsAreFilteredAndPaged(t *testing.T) {
	onBoth(t, func(t *testing.T, db store.DB) {
		s, ctx := service(t, db), t.Context()
		for _, n := range []string{"b-2", "a-1", "B-3"} {
			makeFleet(t, s, n, 3)
		}
		for _, by := range []edge.SortBy{"", edge.ByPlainName, edge.ByCreationTime, edge.ByModifiedTime} {
			f, seen := edge.FleetFilter{SortBy: by, Ascending: true, Limit: 1}, ""
			for more := true; more; {
				var page []edge.Fleet
				var err error
				page, more, err = s.ListFleets(ctx, scope, f)
				ok(t, err)
				seen += page[0].Name + " "
				f.After = f.Cursor(page[0])
			}
			if by != edge.ByPlainName && seen != "b-2 a-1 B-3 " || len(seen) != 12 {
				t.Errorf("%s: %s", by, seen)
			}
		}
		if fs, _, err := s.ListFleets(ctx, scope, edge.FleetFilter{NameContains: "b-"}); len(fs) != 1 || err != nil {
			t.Error(fs, err)
		}
		last, _, err := s.ListFleets(ctx, scope, edge.FleetFilter{Limit: 1})
		ok(t, err)
		if fs, _, err := s.ListFleets(
			ctx, scope, edge.FleetFilter{Times: edge.Times{CreatedBefore: last[0].Created}},
		); len(fs) != 2 ||
			err != nil {
			t.Error("before is strict:", fs, err)
		}
		f, n := edge.DeviceFilter{Limit: 2}, 0
		for more := true; more; {
			var page []edge.Device
			page, more, err = s.ListDevices(ctx, scope, f)
			ok(t, err)
			n += len(page)
			f.After = f.Cursor(page[len(page)-1])
		}
		if n != 9 {
			t.Errorf("%d devices of 9 were listed", n)
		}
		if ds, _, err := s.ListDevices(ctx, scope, edge.DeviceFilter{Fleet: "x"}); len(ds) != 0 || err != nil {
			t.Error("an unknown fleet:", ds, err)
		}
		if ds, _, err := s.ListDevices(ctx, scope, edge.DeviceFilter{HeartbeatAfter: time.Unix(0, 0)}); len(ds) != 0 ||
			err != nil {
			t.Error("devices never heard of:", ds, err)
		}
	})
}

func TestAFleetWithDevicesIsKeptIfTheServerIsToldSo(t *testing.T) {
	onBoth(t, func(t *testing.T, db store.DB) {
		s := service(t, db)
		s.KeepNonempty = true
		ctx := t.Context()
		ok(t, s.CreateFleet(ctx, edge.Fleet{Scope: scope, Name: "kept"}, nil, nil))
		ok(t, s.Register(ctx, scope, "kept", []edge.Device{{Scope: scope, Fleet: "kept", Name: "d"}}, nil))
		refused(t, s.DeleteFleet(ctx, scope, "kept"), fault.InUse, "has 1 registered devices")
		ok(t, s.Deregister(ctx, scope, "kept", []string{"d"}))
		ok(t, s.DeleteFleet(ctx, scope, "kept"))
	})
}
