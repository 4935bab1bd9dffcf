package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/platform/store/jobs"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
)

var (
	t0    = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	scope = arn.Scope{Region: "us-east-1", Account: "000000000000"}
)

// onBoth runs f against each database.
func onBoth(t *testing.T, f func(*testing.T, jobs.DB)) {
	t.Helper()
	storetest.OnBoth(t, func(t *testing.T, db *store.DB) { f(t, jobs.New(db)) })
}

func change(t *testing.T, db jobs.DB, f func(context.Context, jobs.Tx) error) {
	t.Helper()
	if err := db.Change(t.Context(), func(tx jobs.Tx) error { return f(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

func newJob(name string, k packaging.Kind, at time.Time) *packaging.Job {
	j := &packaging.Job{
		ID: "j-" + string(k) + "-" + name, Kind: k, Scope: scope, Name: name, State: packaging.New(at, 0),
	}
	if k == packaging.Packaging {
		j.Pack = &packaging.Pack{ModelName: "model-of-" + name}
	} else {
		j.Compile = &packaging.Compile{}
	}
	return j
}

func TestAJobIsKeptUnderItsKindAndName(t *testing.T) {
	onBoth(t, func(t *testing.T, db jobs.DB) {
		a, b := newJob("x", packaging.Compilation, t0), newJob("x", packaging.Packaging, t0)
		change(t, db, func(ctx context.Context, tx jobs.Tx) error {
			return errors.Join(tx.InsertJob(ctx, a), tx.InsertJob(ctx, b))
		})
		again := newJob("x", packaging.Compilation, t0)
		again.ID = "other"
		err := db.Change(t.Context(), func(tx jobs.Tx) error { return tx.InsertJob(t.Context(), again) })
		if !errors.Is(err, fault.Exists) || !strings.Contains(err.Error(), "compilation-job/x") {
			t.Errorf("the same name: %v", err)
		}
		change(t, db, func(ctx context.Context, tx jobs.Tx) error {
			j, err := tx.Job(ctx, packaging.Compilation, scope, "x")
			if err != nil {
				return err
			}
			j.State.Status, j.State.Ended = packaging.Completed, t0.Add(time.Second)
			j.Compile.Result = &packaging.Compiled{URI: "s3://b/k"}
			return tx.SaveJob(ctx, j, t0)
		})
		got, err := db.Job(t.Context(), packaging.Compilation, scope, "x")
		if err != nil || got.State.Status != packaging.Completed || got.Compile.Result.URI != "s3://b/k" ||
			got.Pack != nil {
			t.Errorf("%+v, %v", got, err)
		}
		change(t, db, func(ctx context.Context, tx jobs.Tx) error {
			if n, err := tx.UnfinishedJobs(ctx); err != nil || n != 1 {
				t.Errorf("%d unfinished, %v", n, err)
			}
			return tx.DeleteJob(ctx, got)
		})
		_, err = db.Job(t.Context(), packaging.Compilation, scope, "x")
		if !errors.Is(err, fault.NotFound) || err.Error() != "Could not find compilation job 'x'." {
			t.Error(err)
		}
	})
}

func TestAJobIsClaimedOnceAndItsLeaseCanBeKept(t *testing.T) {
	onBoth(t, func(t *testing.T, db jobs.DB) {
		q, ctx := db.Jobs(), t.Context()
		j := newJob("x", packaging.Compilation, t0)
		change(t, db, func(ctx context.Context, tx jobs.Tx) error { return tx.InsertJob(ctx, j) })
		c, _, err := q.Claim(ctx, t0, t0.Add(time.Minute))
		if err != nil || c.Key != j.ID {
			t.Fatal(c, err)
		}
		again, next, err := q.Claim(ctx, t0, t0.Add(time.Minute))
		if err != nil || again.Key != "" || !next.Equal(c.Until.Truncate(time.Microsecond)) {
			t.Errorf("claimed twice: %+v, next %s, %v", again, next, err)
		}
		if s, err := db.RenewJob(ctx, j.ID, t0.Add(time.Hour)); err != nil || s != packaging.Starting {
			t.Errorf("renewed: %q, %v", s, err)
		}
		if late, _, err := q.Claim(ctx, t0.Add(2*time.Minute), t0.Add(3*time.Minute)); err != nil || late.Key != "" {
			t.Errorf("claimed although the lease was kept: %+v, %v", late, err)
		}
		if err := q.Release(ctx, c, t0.Add(time.Second)); err != nil { // the claim's own lease has moved
			t.Fatal(err)
		}
		if c, _, err = q.Claim(ctx, t0.Add(time.Second), t0.Add(time.Minute)); err != nil || c.Key != j.ID {
			t.Fatal(c, err)
		}
		j.State.Status = packaging.Stopped
		change(t, db, func(ctx context.Context, tx jobs.Tx) error { return tx.SaveJob(ctx, j, t0) })
		if err := q.Release(ctx, c, t0); err != nil {
			t.Fatal(err)
		}
		if c, next, err := q.Claim(ctx, t0.Add(time.Hour), t0.Add(2*time.Hour)); err != nil || c.Key != "" ||
			!next.IsZero() {
			t.Errorf("an ended job is due again: %+v %s %v", c, next, err)
		}
	})
}

func TestJobsAreListedInEveryOrderPageByPage(t *testing.T) {
	onBoth(t, func(t *testing.T, db jobs.DB) {
		for i := range 7 {
			j := newJob(fmt.Sprintf("job-%d", i), packaging.Packaging, t0.Add(time.Duration(i/2)*time.Second))
			if i%3 == 0 {
				j.State.Status = packaging.Failed
			}
			change(t, db, func(ctx context.Context, tx jobs.Tx) error { return tx.InsertJob(ctx, j) })
		}
		change(t, db, func(ctx context.Context, tx jobs.Tx) error {
			return tx.InsertJob(ctx, newJob("job-9", packaging.Compilation, t0))
		})
		list := func(f packaging.Filter) (names []string) {
			t.Helper()
			f.Kind, f.Limit = packaging.Packaging, 3
			for {
				js, more, err := db.ListJobs(t.Context(), scope, f)
				if err != nil {
					t.Fatal(err)
				}
				for _, j := range js {
					names = append(names, strings.TrimPrefix(j.Name, "job-"))
				}
				if !more {
					return names
				}
				f.After = f.Cursor(js[len(js)-1])
			}
		}
		orders := []packaging.SortBy{packaging.ByName, packaging.ByModelName, packaging.ByCreated, packaging.ByModified}
		for _, by := range orders {
			up, down := list(packaging.Filter{SortBy: by}), list(packaging.Filter{SortBy: by, Descending: true})
			if strings.Join(up, "") != "0123456" {
				t.Errorf("by %s: %v", by, up)
			}
			if slices.Reverse(down); !slices.Equal(up, down) {
				t.Errorf("by %s, down: %v", by, down)
			}
		}
		if got := strings.Join(list(packaging.Filter{SortBy: packaging.ByStatus}), ""); got != "0361245" {
			t.Errorf("by status: %s", got)
		}
		for want, f := range map[string]packaging.Filter{
			"036":   {SortBy: packaging.ByName, Status: packaging.Failed},
			"3":     {SortBy: packaging.ByName, NameContains: "b-3"},
			"":      {SortBy: packaging.ByName, NameContains: "B-3"},
			"5":     {SortBy: packaging.ByName, ModelNameContains: "of-job-5"},
			"456":   {SortBy: packaging.ByName, CreatedAfter: t0.Add(time.Second)},
			"01":    {SortBy: packaging.ByName, CreatedBefore: t0.Add(time.Second)},
			"23456": {SortBy: packaging.ByName, ModifiedAfter: t0},
		} {
			if got := strings.Join(list(f), ""); got != want {
				t.Errorf("%+v: %s, want %s", f, got, want)
			}
		}
	})
}

func TestFloorsNeverFallAndSerialsGrow(t *testing.T) {
	onBoth(t, func(t *testing.T, db jobs.DB) {
		var last uint64
		for _, floor := range []uint64{3, 7, 5} {
			change(t, db, func(ctx context.Context, tx jobs.Tx) error {
				n, err := tx.NextSerial(ctx)
				if n <= last {
					t.Errorf("serial %d after %d", n, last)
				}
				last = n
				return errors.Join(err, tx.SetFloor(ctx, scope, "m", floor))
			})
		}
		if f, err := db.Floor(t.Context(), scope, "m"); err != nil || f != 7 {
			t.Errorf("floor %d, %v", f, err)
		}
		if f, err := db.Floor(t.Context(), scope, "other"); err != nil || f != 0 {
			t.Errorf("no floor is %d, %v", f, err)
		}
	})
}

func TestRetiredKeysLoseTheirPrivateHalf(t *testing.T) {
	onBoth(t, func(t *testing.T, db jobs.DB) {
		change(t, db, func(ctx context.Context, tx jobs.Tx) error {
			for n := range 3 {
				k := packaging.SigningKey{
					Number: uint64(n + 1), Root: "r", Created: t0, Certificate: "c",
					PrivateKey: "p",
				}
				r := packaging.SigningRoot{
					ID: fmt.Sprint(n), Created: t0, Trusted: true, Certificate: "c",
					PrivateKey: "p",
				}
				if err := errors.Join(tx.InsertSigningKey(ctx, k), tx.InsertSigningRoot(ctx, r)); err != nil {
					return err
				}
			}
			return errors.Join(tx.RetireSigningKeys(ctx, 2, true), tx.RetireSigningKeys(ctx, 3, false),
				tx.RetireSigningRoots(ctx, "2", true))
		})
		keys, err := db.SigningKeys(t.Context())
		if err != nil || keys[0].PrivateKey+keys[1].PrivateKey != "" || keys[2].PrivateKey != "p" ||
			!keys[0].Revoked || keys[1].Revoked || packaging.MinKey(keys) != 2 {
			t.Errorf("%+v, %v", keys, err)
		}
		roots, err := db.SigningRoots(t.Context())
		if err != nil || roots[0].Trusted || roots[1].PrivateKey != "" ||
			!roots[2].Trusted || roots[2].PrivateKey != "p" {
			t.Errorf("%+v, %v", roots, err)
		}
	})
}

func TestJobsAreFoundByTheirARNForTags(t *testing.T) {
	onBoth(t, func(t *testing.T, db jobs.DB) {
		change(t, db, func(ctx context.Context, tx jobs.Tx) error {
			return errors.Join(
				tx.InsertJob(ctx, newJob("Job", packaging.Compilation, t0)),
				tx.InsertJob(ctx, newJob("two", packaging.Packaging, t0)),
				tx.InsertJob(ctx, newJob("TWO", packaging.Packaging, t0)))
		})
		change(t, db, func(ctx context.Context, tx jobs.Tx) error {
			for given, want := range map[string]string{"Job": "Job", "job": "Job", "none": ""} {
				got, err := tx.ARN(ctx, packaging.Compilation, scope, given)
				if want == "" && !errors.Is(err, fault.NotFound) ||
					want != "" && got != scope.CompilationJob(want) {
					t.Errorf("%s: %q, %v", given, got, err)
				}
			}
			if got, err := tx.ARN(ctx, packaging.Packaging, scope, "two"); got != scope.EdgePackagingJob("two") {
				t.Errorf("the very name: %q, %v", got, err)
			}
			if got, err := tx.ARN(ctx, packaging.Packaging, scope, "Two"); !errors.Is(err, fault.NotFound) {
				t.Errorf("one of two: %q, %v", got, err)
			}
			return nil
		})
	})
}
