package hosting_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	base "github.com/slipway-ml/slipway/internal/platform/store"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/outcome"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
)

var (
	t0    = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	scope = arn.Scope{Region: "us-east-1", Account: "000000000000"}
)

// onBoth runs f against each database.
func onBoth(t *testing.T, f func(*testing.T, *store.DB)) {
	t.Helper()
	storetest.OnBoth(t, func(t *testing.T, db *base.DB) { f(t, store.New(db)) })
}

func change(t *testing.T, db *store.DB, f func(context.Context, store.Tx) error) {
	t.Helper()
	if err := db.Change(t.Context(), func(tx store.Tx) error { return f(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// endpoint returns a new endpoint of n instances that is not stored yet.
func endpoint(t *testing.T, name string, n int) *hosting.Endpoint {
	t.Helper()
	l := hosting.Launch{
		Deployment: hosting.DeploymentID("d-" + name), Fleet: hosting.FleetID("f-" + name),
		Now: t0.Truncate(time.Microsecond),
		Config: hosting.EndpointConfig{
			Scope: scope, Name: "c",
			Variants: []hosting.Variant{{Name: "a", ModelName: "m", InstanceCount: n, Weight: 1}},
		},
		Models: map[string]hosting.Model{"m": {Containers: []hosting.Container{{Name: "primary", Image: "i"}}}},
	}
	e, err := hosting.Create(hosting.EndpointID("e-"+name), name, l, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func insert(t *testing.T, db *store.DB, es ...*hosting.Endpoint) {
	t.Helper()
	for _, e := range es {
		change(t, db, func(ctx context.Context, tx store.Tx) error { return tx.Write(ctx, outcome.OfCreation(e)) })
	}
}

func TestRecordsSurviveTheRoundTrip(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		m := hosting.Model{
			Scope: scope, Name: "m", Created: t0, Document: []byte(`{"ModelName":"m"}`),
			Containers: []hosting.Container{{Name: "primary", Image: "i", Environment: map[string]string{"é": "ü"}}},
		}
		c := hosting.EndpointConfig{
			Scope: scope, Name: "c", Created: t0, Document: []byte(`{}`),
			Variants: []hosting.Variant{{Name: "a", Weight: 0.25, StartupTimeout: time.Minute}},
		}
		e := endpoint(t, "MixedCase", 2)
		change(t, db, func(ctx context.Context, tx store.Tx) error {
			return errors.Join(tx.InsertModel(ctx, m), tx.InsertEndpointConfig(ctx, c),
				tx.Write(ctx, outcome.OfCreation(e)))
		})
		gotM, err := db.Model(t.Context(), scope, "m")
		if d := cmp.Diff(m, gotM); d != "" || err != nil {
			t.Error(err, d)
		}
		gotC, err := db.EndpointConfig(t.Context(), scope, "c")
		if d := cmp.Diff(c, gotC); d != "" || err != nil {
			t.Error(err, d)
		}
		gotE, is, err := db.EndpointView(t.Context(), scope, "mixedcase")
		if err != nil || gotE.Name != "MixedCase" || gotE.Deployment == nil || len(is) != 2 || !is[0].Wanted ||
			is[0].Status != hosting.InstanceStarting {
			t.Errorf("EndpointView = %+v, %+v, %v", gotE, is, err)
		}
	})
}

func TestANameIsTakenOnceInARegion(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		m := hosting.Model{Scope: scope, Name: "m"}
		insertModel := func(m hosting.Model) error {
			return db.Change(t.Context(), func(tx store.Tx) error { return tx.InsertModel(t.Context(), m) })
		}
		if err := insertModel(m); err != nil {
			t.Fatal(err)
		}
		if err := insertModel(m); !errors.Is(err, fault.Exists) ||
			err.Error() != `Cannot create already existing model "arn:aws:sagemaker:us-east-1:000000000000:model/m".` {
			t.Errorf("the second: %v", err)
		}
		m.Scope.Region = "eu-west-1"
		if err := insertModel(m); err != nil {
			t.Errorf("in another region: %v", err)
		}
		insert(t, db, endpoint(t, "Same", 1))
		twin := endpoint(t, "sAME", 1)
		twin.ID = "e-other"
		err := db.Change(t.Context(), func(tx store.Tx) error {
			return tx.Write(t.Context(), outcome.OfCreation(twin))
		})
		if !errors.Is(err, fault.Exists) {
			t.Errorf("an endpoint that differs by case: %v", err)
		}
	})
}

func TestWhatIsMissingIsSaidInTheWordsOfTheAPI(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		const in = `"arn:aws:sagemaker:us-east-1:000000000000:`
		_, errM := db.Model(t.Context(), scope, "x")
		_, errC := db.EndpointConfig(t.Context(), scope, "x")
		_, _, errE := db.EndpointView(t.Context(), scope, "x")
		errD := db.Change(t.Context(), func(tx store.Tx) error { return tx.DeleteModel(t.Context(), scope, "x") })
		for want, err := range map[string]error{
			"Could not find model " + in + `model/x".`:                            errM,
			"Could not find endpoint configuration " + in + `endpoint-config/x".`: errC,
			"Could not find endpoint " + in + `endpoint/x".`:                      errE,
		} {
			if !errors.Is(err, fault.NotFound) || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		}
		if !errors.Is(errD, fault.NotFound) {
			t.Errorf("DeleteModel = %v", errD)
		}
	})
}

func TestListingPagesThroughEveryOrderWithoutLossOrRepeat(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		const n = 25
		for i := range n {
			e := endpoint(t, fmt.Sprintf("e%02d", i), 1)
			e.Created = t0.Add(time.Duration(i/5) * time.Second) // five of each age: ties
			if i%2 == 0 {
				e.Status = hosting.InService
			}
			insert(t, db, e)
		}
		for _, by := range []hosting.SortBy{"", hosting.ByName, hosting.ByStatus, hosting.ByCreationTime} {
			for _, asc := range []bool{false, true} {
				f := hosting.Filter{SortBy: by, Ascending: asc, Limit: 4}
				seen := map[string]bool{}
				for more := true; more; {
					var page []hosting.Summary
					var err error
					if page, more, err = db.ListEndpoints(t.Context(), scope, f); err != nil {
						t.Fatal(err)
					}
					for _, s := range page {
						if seen[s.Name] {
							t.Fatalf("%s %t: %s came twice", by, asc, s.Name)
						}
						seen[s.Name] = true
					}
					f.After = f.Cursor(page[len(page)-1])
				}
				if len(seen) != n {
					t.Errorf("%s %t: %d of %d", by, asc, len(seen), n)
				}
			}
		}
	})
}

func TestListingFilters(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		for i, name := range []string{"Alpha-1", "alpha-2", "beta_x"} {
			e := endpoint(t, name, 1)
			e.Created = t0.Add(time.Duration(i) * time.Second)
			insert(t, db, e)
		}
		for want, f := range map[string]hosting.Filter{
			"[alpha-2 Alpha-1]":        {NameContains: "ALPHA"},
			"[beta_x]":                 {NameContains: "a_"},
			"[beta_x alpha-2]":         {CreatedFrom: t0.Add(time.Second)},
			"[Alpha-1]":                {CreatedBefore: t0.Add(time.Second)},
			"[]":                       {Status: hosting.InService},
			"[beta_x alpha-2 Alpha-1]": {Status: hosting.Creating},
		} {
			page, _, err := db.ListEndpoints(t.Context(), scope, f)
			names := []string{}
			for _, s := range page {
				names = append(names, s.Name)
			}
			if got := fmt.Sprint(names); err != nil || got != want {
				t.Errorf("%+v: %s, %v; want %s", f, got, err, want)
			}
		}
	})
}

func TestAReportMovesTheRouteAndWakesTheDeployment(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		e := endpoint(t, "e", 1)
		insert(t, db, e)
		c, _, err := db.Deploying().Claim(t.Context(), t0, t0.Add(time.Minute))
		if err != nil || c.Key != "d-e" {
			t.Fatalf("Claim = %+v, %v", c, err)
		}
		rows, err := db.InstancesSince(t.Context(), 0)
		if err != nil || len(rows) != 1 || rows[0].Spec.Variant.Container.Image != "i" {
			t.Fatalf("InstancesSince = %+v, %v", rows, err)
		}
		if rows[0].Provider != hosting.Processes {
			t.Errorf("the row names provider %q", rows[0].Provider)
		}
		now := t0.Add(time.Second)
		wanted, err := db.ReportInstance(t.Context(),
			hosting.InstanceReport{ID: rows[0].ID, Status: hosting.InstanceReady, Address: "127.0.0.1:1"}, now)
		if err != nil || !wanted {
			t.Fatalf("ReportInstance = %t, %v", wanted, err)
		}
		// The turn had begun before the report: its release must not put off
		// what the report made due.
		if err := db.Deploying().Release(t.Context(), c, t0.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if c, _, err = db.Deploying().Claim(t.Context(), now, now.Add(time.Minute)); err != nil || c.Key != "d-e" {
			t.Fatalf("after the report: Claim = %+v, %v", c, err)
		}
		finish(t, db, now)
		routes, err := db.RoutesSince(t.Context(), 0)
		if err != nil || len(routes) != 1 || routes[0].Gone ||
			routes[0].Variants[0].Fleets[0].Instances[0].Address != "127.0.0.1:1" {
			t.Fatalf("RoutesSince = %+v, %v", routes, err)
		}
		if more, err := db.RoutesSince(t.Context(), routes[0].Version); err != nil || len(more) != 0 {
			t.Errorf("nothing changed, but %+v, %v", more, err)
		}
		if _, err := db.ReportInstance(t.Context(),
			hosting.InstanceReport{ID: rows[0].ID, Status: hosting.InstanceUnhealthy}, now); err != nil {
			t.Fatal(err)
		}
		got, _, err := db.EndpointView(t.Context(), scope, "e")
		if err != nil || got.Status != hosting.OutOfService {
			t.Errorf("without a healthy instance the status is %s, %v", got.Status, err)
		}
	})
}

// changeE changes endpoint "e".
func changeE(t *testing.T, db *store.DB, f func(*hosting.Endpoint) error) {
	t.Helper()
	err := db.ChangeEndpoint(t.Context(), scope, "e", func(_ store.Tx, e *hosting.Endpoint) error { return f(e) })
	if err != nil {
		t.Fatal(err)
	}
}

// finish takes the turns of endpoint "e" until nothing moves.
func finish(t *testing.T, db *store.DB, now time.Time) {
	t.Helper()
	for moved := true; moved; {
		change(t, db, func(ctx context.Context, tx store.Tx) error {
			e, err := tx.Endpoint(ctx, scope, "e")
			if err != nil {
				return err
			}
			moved = e.Deployment != nil
			if !moved {
				return nil
			}
			is, err := tx.Instances(ctx, e.ID)
			if err != nil {
				return err
			}
			next, due := rollout.Next(e.Deployment.Plan, e.Deployment.State, e.Facts(is, nil, now))
			if moved = due.Equal(now); !moved {
				return nil
			}
			was := outcome.StandingOf(e)
			e.Apply(next, now)
			return tx.Write(ctx, outcome.OfChange(was, e, is))
		})
	}
}

func TestConcurrentReportsLoseNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		insert(t, db, endpoint(t, "e", 12))
		rows, err := db.InstancesSince(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for _, r := range rows {
			wg.Go(func() {
				if _, err := db.ReportInstance(t.Context(),
					hosting.InstanceReport{ID: r.ID, Status: hosting.InstanceReady, Address: "a"}, t0); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		finish(t, db, t0)
		routes, err := db.RoutesSince(t.Context(), 0)
		if err != nil || len(routes[0].Variants[0].Fleets[0].Instances) != 12 {
			t.Errorf("routes %+v, %v", routes, err)
		}
	})
}

func TestTagsAreSetReplacedAndRemoved(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		const res = "arn:aws:sagemaker:us-east-1:000000000000:model/M"
		change(t, db, func(ctx context.Context, tx store.Tx) error {
			return errors.Join(
				tx.PutTags(ctx, res, []hosting.Tag{{Key: "a", Value: "1"}, {Key: "b", Value: "2"}}),
				tx.PutTags(ctx, res, []hosting.Tag{{Key: "a", Value: "3"}}),
				tx.DeleteTags(ctx, res, "b", "unknown"))
		})
		got, err := db.Tags(t.Context(), res)
		if d := cmp.Diff([]hosting.Tag{{Key: "a", Value: "3"}}, got); d != "" || err != nil {
			t.Error(err, d)
		}
	})
}

func TestOnlyTheDeploymentsThatAnAlarmJudgesAreWoken(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		for _, name := range []string{"judged", "other"} {
			e := endpoint(t, name, 1)
			e.Deployment.Plan.Policy.Alarms = []string{"errors <" + name + ">"}
			e.Deployment.Plan.Kind = rollout.Update
			insert(t, db, e)
		}
		due := func() map[string]bool {
			t.Helper()
			got := map[string]bool{}
			for {
				c, _, err := db.Deploying().Claim(t.Context(), t0.Add(2*time.Hour), t0.Add(3*time.Hour))
				if err != nil {
					t.Fatal(err)
				}
				if c.Key == "" {
					break
				}
				got[c.Key] = true
				if err := db.Deploying().Release(t.Context(), c, t0.Add(24*time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			return got
		}
		if got := due(); len(got) != 2 {
			t.Fatal(got)
		}
		wake := func(region, name string) {
			t.Helper()
			change(t, db, func(ctx context.Context, tx store.Tx) error {
				return store.WakeWatchers(ctx, tx.Tx, region, name, t0.Add(time.Hour))
			})
		}
		wake("eu-west-1", "errors <judged>")
		wake(scope.Region, "errors")
		if got := due(); len(got) != 0 {
			t.Errorf("woken: %v", got)
		}
		wake(scope.Region, "errors <judged>")
		if d := cmp.Diff(map[string]bool{"d-judged": true}, due()); d != "" {
			t.Error(d)
		}
	})
}
