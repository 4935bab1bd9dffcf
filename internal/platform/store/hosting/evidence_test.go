package hosting_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
)

// What is kept of a deployment is the newest, whoever writes it last, and goes with
// the deployment.
func TestEvidenceIsKeptAsLongAsItsDeployment(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		e := endpoint(t, "e", 2)
		insert(t, db, e)
		id := e.Deployment.ID
		want := map[string]string{}
		keep := func(of hosting.DeploymentID, life string, n int64, docs map[string]string) {
			t.Helper()
			k := hosting.KeptEvidence{Deployment: of, Life: life, Number: n, Documents: docs}
			if err := db.KeepEvidence(t.Context(), []hosting.KeptEvidence{k}); err != nil {
				t.Fatal(err)
			}
			got, err := db.Evidence(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("after %s/%d (-want +got):\n%s", life, n, diff)
			}
		}
		keep("d-gone", "g-1", 1, map[string]string{"a": "nobody's"})
		want = map[string]string{"a": "1", "b": "2"}
		keep(id, "g-1", 7, want)
		keep(id, "g-1", 6, map[string]string{"a": "older"})
		want["a"] = "newer"
		keep(id, "g-1", 8, map[string]string{"a": "newer"})
		want["a"] = "another life's"
		keep(id, "g-2", 1, map[string]string{"a": "another life's"})
		change(t, db, func(ctx context.Context, tx store.Tx) error { // with what else is written
			return tx.KeepEvidence(ctx, hosting.KeptEvidence{
				Deployment: id, Life: "g-2", Number: 2, Documents: map[string]string{"b": "3"},
			})
		})
		want["b"] = "3"
		keep(id, "g-2", 2, map[string]string{"b": "the same again"})
		serve(t, db, t0.Add(time.Minute))
		want = map[string]string{}
		keep(id, "g-2", 3, map[string]string{"a": "late"})
	})
}
