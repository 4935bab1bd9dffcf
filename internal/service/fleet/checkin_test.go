package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	store "github.com/slipway-ml/slipway/internal/platform/store/edge"
	"github.com/slipway-ml/slipway/internal/service/fleet"
)

func TestAHeartbeatIsKept(t *testing.T) {
	onWorlds(t, func(w *world) {
		ctx := t.Context()
		makeFleet(t, w.Service, "f", 2)
		sampled := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		w.beat(edge.Heartbeat{
			Device: "d000", AgentVersion: "1.20220822.836f3023", HasModels: true,
			Models: []edge.LoadedModel{
				{Name: "defects", Version: "1.0", LatestSample: sampled}, {Name: "x", Version: "2"},
			},
		})
		d, err := w.Device(ctx, scope, "f", "d000")
		ok(t, err)
		if time.Since(d.Heartbeat) > time.Minute || d.AgentVersion != "1.20220822.836f3023" || len(d.Models) != 2 ||
			!d.Models[0].LatestSample.Equal(sampled) {
			t.Errorf("%+v", d)
		}
		w.beat(edge.Heartbeat{Device: "d000", AgentVersion: "2"}) // says nothing of models
		if d, err = w.Device(ctx, scope, "f", "d000"); err != nil || len(d.Models) != 2 || d.AgentVersion != "2" {
			t.Errorf("%+v %v", d, err)
		}
		w.beat(edge.Heartbeat{Device: "d000", AgentVersion: "2", HasModels: true, Models: []edge.LoadedModel{
			{Name: "defects", Version: "1.0"},
		}})
		if d, err = w.Device(ctx, scope, "f", "d000"); err != nil || len(d.Models) != 1 ||
			!d.Models[0].LatestSample.Equal(sampled) {
			t.Errorf("a time was forgotten: %+v %v", d, err)
		}
		for _, f := range []edge.DeviceFilter{
			{Model: "defects"}, {Fleet: "f", HeartbeatAfter: time.Now().Add(-time.Hour)},
		} {
			if ds, _, err := w.ListDevices(ctx, scope, f); err != nil || len(ds) != 1 || ds[0].Name != "d000" {
				t.Errorf("%+v: %+v %v", f, ds, err)
			}
		}
		if ds, _, err := w.ListDevices(ctx, scope, edge.DeviceFilter{Model: "defect"}); err != nil || len(ds) != 0 {
			t.Error(ds, err)
		}
		_, r, _, err := w.Report(ctx, scope, "f")
		ok(t, err)
		if r.Registered != 2 || r.Connected != 1 || len(r.Versions) != 1 ||
			r.Versions[0] != (edge.VersionCount{Version: "2", Devices: 1}) ||
			r.Models[0] != (edge.ModelStat{Name: "defects", Version: "1.0", Connected: 1}) {
			t.Errorf("%+v", r)
		}
		w.beat(edge.Heartbeat{Device: "d000", AgentVersion: "2", HasModels: true})
		if d, err = w.Device(ctx, scope, "f", "d000"); err != nil || len(d.Models) != 0 {
			t.Errorf("an empty list clears: %+v %v", d, err)
		}
		w.beat(edge.Heartbeat{Device: "d001", AgentVersion: "a\x00b\xff", HasModels: true, Models: []edge.LoadedModel{
			{Name: "\x00\xfe", Version: "\x00"},
		}})
		for device, want := range map[string]string{
			"x": "No device with name x", "under_score": "No device with name under_score",
		} {
			_, err := w.Heartbeat(ctx, scope, edge.Caller{}, edge.Heartbeat{Fleet: "f", Device: device})
			refused(t, err, fault.NotFound, want)
		}
		_, err = w.Heartbeat(ctx, scope, edge.Caller{}, edge.Heartbeat{Fleet: "x", Device: "d000"})
		refused(t, err, fault.NotFound, "No device fleet with name x")
	})
}

func TestADeviceActsOnlyForItself(t *testing.T) {
	onWorlds(t, func(w *world) {
		ctx := t.Context()
		makeFleet(t, w.Service, "f", 1)
		ok(t, w.Register(ctx, scope, "f", []edge.Device{{Name: "cam", Thing: "thing-cam"}}, nil))
		for device, thing := range map[string]string{"cam": "thing-cam", "d000": "d000"} {
			for caller, may := range map[string]bool{"": true, thing: true, "other": false} {
				c := edge.Caller{Thing: caller}
				_, _, err1 := w.Registration(ctx, scope, c, "f", device)
				_, _, err2 := w.Deployments(ctx, scope, c, "f", device)
				_, err3 := w.Heartbeat(ctx, scope, c, edge.Heartbeat{Fleet: "f", Device: device, AgentVersion: "v"})
				for _, err := range []error{err1, err2, err3} {
					if may && err != nil || !may && !errors.Is(err, fault.Denied) {
						t.Errorf("%q for %s: %v", caller, device, err)
					}
				}
			}
		}
		if active, ttl, err := w.Registration(ctx, scope, edge.Caller{}, "f", "cam"); !active || ttl != time.Hour ||
			err != nil {
			t.Error(active, ttl, err)
		}
		for _, x := range [][2]string{{"f", "x"}, {"x", "cam"}} {
			if active, ttl, err := w.Registration(ctx, scope, edge.Caller{Thing: "x"}, x[0], x[1]); active ||
				ttl != time.Minute || err != nil {
				t.Error(x, active, ttl, err)
			}
		}
	})
}

func TestDevicesAreToldWhenToComeAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, db store.DB) {
		w := newWorld(t, db, fleet.Config{PollRate: 1})
		makeFleet(t, w.Service, "f", 20)
		look := func() edge.Hints {
			_, h, err := w.Deployments(t.Context(), scope, edge.Caller{}, "f", "d000")
			ok(t, err)
			b, err := w.Heartbeat(t.Context(), scope, edge.Caller{}, edge.Heartbeat{Fleet: "f", Device: "d000"})
			if ok(t, err); b != h {
				t.Errorf("a poll is told %v, a heartbeat %v", h, b)
			}
			return h
		}
		if h := look(); h != (edge.Hints{Poll: time.Minute, Heartbeat: time.Minute}) {
			t.Error(h)
		}
		w.plan("p", percent("s", 1))
		w.start("p", "s")
		if h := look(); h != (edge.Hints{Poll: 20 * time.Second, Heartbeat: time.Minute}) {
			t.Error("20 devices that may come once a second together:", h)
		}
	})
}

// refuseBad makes the database refuse what devices called bad say of themselves.
func refuseBad(t *testing.T, db store.DB) {
	t.Helper()
	statements := []string{ // of SQLite
		`create trigger bad before update on device when new.name like 'bad%' begin select raise(abort, 'bad'); end`,
	}
	if db.Dialect.ForUpdate != "" { // PostgreSQL locks rows
		statements = []string{
			`create function bad() returns trigger language plpgsql as 'begin raise exception ''bad''; end'`,
			`create trigger bad before update on device for each row when (new.name like 'bad%')
				execute function bad()`,
		}
	}
	ok(t, db.Change(t.Context(), func(tx store.Tx) error {
		for _, statement := range statements {
			if err := tx.Run(t.Context(), "refuse bad devices", statement); err != nil {
				return err
			}
		}
		return nil
	}))
}

func TestOneBadHeartbeatFailsNoOther(t *testing.T) {
	onBoth(t, func(t *testing.T, db store.DB) {
		w := newWorld(t, db, fleet.Config{})
		makeFleet(t, w.Service, "f", 100)
		ok(t, w.Register(t.Context(), scope, "f", []edge.Device{{Name: "bad-1"}, {Name: "bad-2"}}, nil))
		refuseBad(t, db)
		var wg sync.WaitGroup
		for i := range 102 {
			wg.Go(func() {
				name, bad := fmt.Sprintf("d%03d", i), i >= 100
				if bad {
					name = fmt.Sprint("bad-", i-99)
				}
				_, err := w.Heartbeat(t.Context(), scope, edge.Caller{}, edge.Heartbeat{Fleet: "f", Device: name})
				if (err != nil) != bad {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		wg.Wait()
	})
}

func TestAFullQueueRefusesAndAStoppedServerAnswers(t *testing.T) {
	db, err := openSQLite(t.Context(), t.TempDir()+"/x.db")
	ok(t, err)
	t.Cleanup(func() { _ = db.Close() })
	s := fleet.New(fleet.Config{Store: db, Queue: 1})
	ok(t, s.CreateFleet(t.Context(), edge.Fleet{Scope: scope, Name: "f"}, nil, nil))
	ok(t, s.Register(t.Context(), scope, "f", []edge.Device{{Name: "d"}}, nil))
	beat := func(ctx context.Context) error {
		_, err := s.Heartbeat(ctx, scope, edge.Caller{}, edge.Heartbeat{Fleet: "f", Device: "d"})
		return err
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := beat(gone); !errors.Is(err, context.Canceled) { // it waits in the queue
		t.Error(err)
	}
	refused(t, beat(t.Context()), fault.Unavailable, "Too many devices")
	s.Run(gone) // writes what waits and stops
	if d, err := s.Device(t.Context(), scope, "f", "d"); err != nil || d.Heartbeat.IsZero() {
		t.Errorf("what waited was not written: %+v %v", d, err)
	}
	refused(t, beat(t.Context()), fault.Unavailable, "is stopping")
}

func TestADeviceThatWasToldTwiceCountsOnce(t *testing.T) {
	onWorlds(t, func(w *world) {
		makeFleet(t, w.Service, "f", 1)
		w.plan("p", percent("s", 100))
		w.start("p", "s")
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for _, o := range w.poll("d000") {
					w.report("d000", o.Name, "SUCCESS")
				}
			})
		}
		wg.Wait()
		w.settle()
		w.want("p", "s", edge.StageDeployed, edge.Counts{Deployed: 1})
	})
}
