package hosting

import (
	"context"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// Evidence returns what was kept last of the evidence on a deployment, by variant.
func (r reader) Evidence(ctx context.Context, id hosting.DeploymentID) (map[string]string, error) {
	rows, err := r.q.QueryContext(ctx, `select variant, doc from evidence where deployment_id = $1`, id)
	kept, err := store.Collect(rows, err, "read evidence", func(scan store.Scan) (k [2]string, err error) {
		return k, scan(&k[0], &k[1])
	})
	all := map[string]string{}
	for _, k := range kept {
		all[k[0]] = k[1]
	}
	return all, err
}

// KeepEvidence keeps evidence on deployments, in a transaction of its own.
func (db *DB) KeepEvidence(ctx context.Context, all []hosting.KeptEvidence) error {
	return db.Change(ctx, func(tx Tx) error {
		for _, k := range all {
			if err := tx.KeepEvidence(ctx, k); err != nil {
				return err
			}
		}
		return nil
	})
}

// KeepEvidence keeps the evidence on a deployment that is not over, unless what is
// there is newer.
func (tx Tx) KeepEvidence(ctx context.Context, k hosting.KeptEvidence) error {
	for variant, doc := range k.Documents {
		err := tx.Run(ctx, "keep evidence", `
			insert into evidence (deployment_id, variant, life, number, doc)
			select cast($1 as text), cast($2 as text), cast($3 as text), cast($4 as bigint), cast($5 as text)
			where exists (select 1 from deployment where id = $1 and ended is null)
			on conflict (deployment_id, variant) do update
				set life = excluded.life, number = excluded.number, doc = excluded.doc
				where evidence.life <> excluded.life or evidence.number < excluded.number`,
			k.Deployment, variant, k.Life, k.Number, doc)
		if err != nil {
			return err
		}
	}
	return nil
}

// forgetEvidence forgets what was kept on deployments that are over.
func (tx Tx) forgetEvidence(ctx context.Context) error {
	return tx.Run(ctx, "forget evidence", `
		delete from evidence where not exists (
			select 1 from deployment d where d.id = evidence.deployment_id and d.ended is null)`)
}
