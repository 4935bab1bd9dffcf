package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

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
			change(t, db, func(ctx context.Context, tx *store.Tx) error {
				return tx.WakeWatchers(ctx, region, name, t0.Add(time.Hour))
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
