package hosting_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/outcome"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
)

// serve reports every wanted instance of endpoint "e" ready, forgets the
// others, and takes turns until it is at rest.
func serve(t *testing.T, db *store.DB, now time.Time) {
	t.Helper()
	for range 10 {
		finish(t, db, now)
		e, is, err := db.EndpointView(t.Context(), scope, "e")
		if err != nil {
			t.Fatal(err)
		}
		if e.Deployment == nil {
			return
		}
		for _, i := range is {
			if i.Wanted {
				_, err = db.ReportInstance(t.Context(),
					hosting.InstanceReport{ID: i.ID, Status: hosting.InstanceReady, Address: "a"}, now)
			} else {
				_, err = db.RemoveInstance(t.Context(), i.ID, now)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Fatal("it never came to rest")
}

// scale makes endpoint "e" of n instances, as deployment id.
func scale(t *testing.T, db *store.DB, id hosting.DeploymentID, n int, now time.Time) {
	t.Helper()
	changeE(t, db, func(e *hosting.Endpoint) error {
		return e.Scale(id, []hosting.Desire{{Variant: "a", Count: &n}}, now)
	})
	serve(t, db, now)
}

func ids(rs []record.Record) (out []hosting.DeploymentID) {
	for _, r := range rs {
		out = append(out, r.ID)
	}
	return out
}

func TestADeploymentIsRecordedFromBeginningToEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		e := endpoint(t, "e", 2)
		e.Deployment.By = "arn:aws:iam::000000000000:user/me"
		insert(t, db, e)
		now := t0.Add(time.Minute).Truncate(time.Microsecond)
		serve(t, db, now)
		r, err := db.Deployment(t.Context(), scope, "d-e")
		if err != nil {
			t.Fatal(err)
		}
		if r.Name != "e" || r.EndpointARN() != e.ARN() || r.By != e.Deployment.By || r.Verdict() != record.Succeeded ||
			!r.Ended.Equal(now) || r.To() != "c" {
			t.Errorf("%+v", r)
		}
		var got []string
		for _, tr := range r.Transitions {
			got = append(got,
				fmt.Sprintf("%s %s→%s %d active", tr.At.Sub(e.Created), tr.From, tr.To, tr.State.Variants[0].NewActive))
		}
		want := []string{
			"0s →Launching 0 active", "1m0s Launching→Shifting 2 active", "1m0s Shifting→Succeeded 2 active",
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		_, err = db.Deployment(t.Context(), scope, "d-unknown")
		if !errors.Is(err, fault.NotFound) || err.Error() != `Could not find deployment "d-unknown".` {
			t.Error(err)
		}
		elsewhere := scope
		elsewhere.Region = "eu-west-1"
		if _, err = db.Deployment(t.Context(), elsewhere, "d-e"); !errors.Is(err, fault.NotFound) {
			t.Errorf("in another region: %v", err)
		}
	})
}

func TestTheAlarmsAndTheRequestsOfTheVerdictAreInTheRecord(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		insert(t, db, endpoint(t, "e", 1))
		tripped := []hosting.TrippedAlarm{{Name: "errors", Reason: "too many", Since: t0.Truncate(time.Microsecond)}}
		changeE(t, db, func(e *hosting.Endpoint) error {
			e.Deployment.Exposure, e.Deployment.Tripped = hosting.Exposure{Requests: 7, Based: true}, tripped
			next, _ := rollout.Next(e.Deployment.Plan, e.Deployment.State, rollout.Facts{Now: t0, Failure: "It broke."})
			e.Apply(next, t0)
			return nil
		})
		r, err := db.Deployment(t.Context(), scope, "d-e")
		if err != nil {
			t.Fatal(err)
		}
		last := r.Transitions[len(r.Transitions)-1]
		if d := cmp.Diff(tripped, last.Tripped); d != "" || last.Requests != 7 || last.Reason != "It broke." ||
			r.Verdict() != record.Failed {
			t.Errorf("%+v %s", last, d)
		}
		if first := r.Transitions[0]; first.Tripped != nil || first.Requests != 0 {
			t.Errorf("the beginning knew already: %+v", first)
		}
	})
}

func TestDeploymentsArePagedNewestFirstAlsoOfAnEndpointThatIsGone(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		insert(t, db, endpoint(t, "e", 1))
		serve(t, db, t0)
		for i := range 5 {
			// two of each age
			scale(t, db, hosting.DeploymentID(fmt.Sprint("d-", i)), i%2+2, t0.Add(time.Duration(i/2)*time.Second))
		}
		change(t, db, func(ctx context.Context, tx store.Tx) error {
			e, err := tx.Endpoint(ctx, scope, "e")
			if err != nil {
				return err
			}
			return tx.Write(ctx, outcome.OfDeletion(outcome.StandingOf(e), e))
		})
		var got []hosting.DeploymentID
		page := record.Page{Limit: 2}
		for more := true; more; {
			var rs []record.Record
			var err error
			if rs, more, err = db.Deployments(t.Context(), scope, "E", page); err != nil {
				t.Fatal(err)
			}
			got = append(got, ids(rs)...)
			page.After = rs[len(rs)-1].Cursor()
		}
		if d := cmp.Diff([]hosting.DeploymentID{"d-4", "d-3", "d-2", "d-e", "d-1", "d-0"}, got); d != "" {
			t.Error(d)
		}
		_, _, err := db.Deployments(t.Context(), scope, "never", record.Page{Limit: 2})
		if !errors.Is(err, fault.NotFound) ||
			err.Error() != `Could not find endpoint "arn:aws:sagemaker:us-east-1:000000000000:endpoint/never".` {
			t.Error(err)
		}
	})
}

func TestWhatIsForgottenOfThePast(t *testing.T) {
	const day = 24 * time.Hour
	keep := record.Retention{Age: 10 * day, Least: 2, Most: 4, Gone: 100 * day}
	onBoth(t, func(t *testing.T, db *store.DB) {
		insert(t, db, endpoint(t, "e", 1)) // d-e, at t0
		serve(t, db, t0)
		for i := range 5 {
			scale(t, db, hosting.DeploymentID(fmt.Sprint("d-", i)), i%2+2, t0.Add(time.Duration(i+1)*time.Hour))
		}
		kept := func(now time.Time) []hosting.DeploymentID {
			t.Helper()
			if err := db.PruneRecords(t.Context(), keep, now); err != nil {
				t.Fatal(err)
			}
			rs, _, err := db.Deployments(t.Context(), scope, "e", record.Page{Limit: 100})
			if err != nil && !errors.Is(err, fault.NotFound) {
				t.Fatal(err)
			}
			return ids(rs)
		}
		want := func(when string, now time.Time, ids ...hosting.DeploymentID) {
			t.Helper()
			if d := cmp.Diff(ids, kept(now)); d != "" {
				t.Errorf("%s: %s", when, d)
			}
		}
		want("at most so many, however young", t0.Add(day), "d-4", "d-3", "d-2", "d-1")
		want("at least so many, however old", t0.Add(500*day), "d-4", "d-3")
		if r, err := db.Deployment(t.Context(), scope, "d-4"); err != nil || len(r.Transitions) == 0 {
			t.Errorf("a kept deployment has %d transitions, %v", len(r.Transitions), err)
		}
		change(t, db, func(ctx context.Context, tx store.Tx) error {
			e, err := tx.Endpoint(ctx, scope, "e")
			if err != nil {
				return err
			}
			return tx.Write(ctx, outcome.OfDeletion(outcome.StandingOf(e), e))
		})
		want("the endpoint is gone, not long ago", t0.Add(99*day), "d-4", "d-3")
		want("the name is gone for long", t0.Add(101*day))
	})
}

func TestARunningDeploymentIsNeverForgotten(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		insert(t, db, endpoint(t, "e", 1))
		if err := db.PruneRecords(t.Context(), record.Retention{}, t0.Add(10000*time.Hour)); err != nil {
			t.Fatal(err)
		}
		r, err := db.Deployment(t.Context(), scope, "d-e")
		if err != nil || r.Verdict() != record.InProgress || len(r.Transitions) != 1 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// A thousand names a day that are used once must not add up for a year.
func TestOfNamesThatAreGoneOnlySoManyDeploymentsAreKept(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		insert(t, db, endpoint(t, "e", 1)) // the oldest, which is there still
		serve(t, db, t0)
		const lives = 600 // more than a transaction forgets
		change(t, db, func(ctx context.Context, tx store.Tx) error {
			for i := range lives {
				err := tx.Run(ctx, "a life", `
					insert into deployment
						(id, endpoint_id, kind, phase, reason, begun, ended, doc, region, name, name_key)
					values ($1, $2, 'Create', 'Succeeded', '', $3, $3, '{}', 'us-east-1', $2, $2)`,
					fmt.Sprintf("d-%04d", i), fmt.Sprint("gone-", i),
					t0.Add(time.Duration(i+1)*time.Second).UnixMicro())
				if err != nil {
					return err
				}
				err = tx.Run(ctx, "its event", `
					insert into event (seq, endpoint_id, deployment_id, kind, at, doc)
					values ($1, 'x', $2, 'DeploymentPhase', 1, '{}')`,
					1_000_000+i, fmt.Sprintf("d-%04d", i))
				if err != nil {
					return err
				}
			}
			return nil
		})
		keep := record.DefaultRetention()
		keep.GoneMost = 3
		if err := db.PruneRecords(t.Context(), keep, t0.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		count := func(query string) (n int) {
			t.Helper()
			if err := db.Read().QueryRowContext(t.Context(), query).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := count(`select count(*) from deployment where name_key like 'gone-%' and id >= 'd-0597'`); n != 3 {
			t.Errorf("%d of the last three are kept", n)
		}
		if n := count(`select count(*) from deployment where name_key like 'gone-%'`); n != 3 {
			t.Errorf("%d are kept in all", n)
		}
		if n := count(`select count(*) from event where seq >= 1000000`); n != 3 {
			t.Errorf("%d of their events are kept", n)
		}
		if r, err := db.Deployment(t.Context(), scope, "d-e"); err != nil || r.ID != "d-e" {
			t.Errorf("that of the endpoint: %+v, %v", r, err)
		}
	})
}
