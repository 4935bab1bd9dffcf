package gates_test

import (
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/store"
	hostingstore "github.com/slipway-ml/slipway/internal/platform/store/hosting"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
)

// What is gathered after the database ran backwards is saved at once, whatever it
// has of the time before.
func TestWhatIsCountedAfterADatabaseRanBackwardsIsSaved(t *testing.T) {
	storetest.OnBoth(t, func(t *testing.T, db *store.DB) {
		y := &yard{t: t, x: rand.New(rand.NewPCG(7, 7)), tripped: map[hosting.DeploymentID]string{}}
		stop := y.start()
		defer stop()
		kept := hostingstore.New(db)
		err := db.Change(t.Context(), func(tx *store.Tx) error {
			return tx.Run(t.Context(), "begin a deployment", `insert into deployment
				(id, endpoint_id, kind, phase, reason, begun, doc) values ('d-1', 'e', 'Update', 'Baking', '', 0, '{}')`)
		})
		if err != nil {
			t.Fatal(err)
		}
		saved := func() map[string]string {
			t.Helper()
			k, some := y.s.Keep("d-1")
			if !some {
				t.Fatal("there is nothing to keep")
			}
			if err := kept.KeepEvidence(t.Context(), []hosting.KeptEvidence{k}); err != nil {
				t.Fatal(err)
			}
			got, err := kept.Evidence(t.Context(), "d-1")
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got, k.Documents) {
				t.Errorf("number %d of %s is not what is kept: %v", k.Number, k.Life, got)
			}
			return got
		}
		y.deploy("d-1", nil)
		y.bake(0.5)
		for range 3 {
			saved()
		}
		y.s.Rewound(t.Context())
		y.e.Deployment.State.Begun = time.Now()
		y.turn()
		saved()
	})
}
