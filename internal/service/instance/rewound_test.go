package instance_test

import (
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/provider"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
)

// The rows become those of an earlier state: one instance is not wanted there,
// another is not known.
func TestRowsWhoseVersionsRanBackwardsAreFollowedAnew(t *testing.T) {
	p := newPlant(t)
	p.create(3)
	_, is := p.until("in service", inService)
	err := p.db.Change(t.Context(), func(tx store.Tx) error {
		for _, s := range []string{
			`update counter set n = 1 where name = 'instance'`,
			`update instance set version = 1 where id = '` + string(is[0].ID) + `'`,
			`update instance set version = 2, wanted = 0 where id = '` + string(is[1].ID) + `'`,
			`delete from instance where id = '` + string(is[2].ID) + `'`,
		} {
			if err := tx.Run(t.Context(), "go back", s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p.manager.Reread()
	p.until("as the rows are", func(*hosting.Endpoint, []hosting.Instance) bool {
		ids := p.world.ids()
		return len(ids) == 1 && ids[0] == provider.ID(is[0].ID)
	})
	p.wantStarts(is[0].ID, 1)
}
