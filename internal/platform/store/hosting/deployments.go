package hosting

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// Deploying is the queue of deployments that are due for a turn. Its keys are
// their ids.
func (db *DB) Deploying() *store.Queue { return db.Queue("deployment", "id") }

// InProgress returns the ids of the deployments that are not over.
func (db *DB) InProgress(ctx context.Context) ([]hosting.DeploymentID, error) {
	rows, err := db.Read().QueryContext(ctx, `select id from deployment where ended is null order by id`)
	return store.Collect(rows, err, "list deployments in progress",
		func(scan store.Scan) (id hosting.DeploymentID, err error) {
			err = scan(&id)
			return id, err
		})
}

// WakeWatchers makes the unfinished updates of a region that an alarm stands
// guard over due now. It may wake others that merely mention the name.
func WakeWatchers(ctx context.Context, tx *store.Tx, region, alarm string, now time.Time) error {
	quoted, err := json.Marshal(alarm)
	if err != nil {
		return fmt.Errorf("encode alarm name: %w", err)
	}
	return tx.Wake(ctx, "deployment", now,
		"ended is null and "+tx.Dialect.Contains("doc", "?")+
			" and endpoint_id in (select id from endpoint where region = ?)", string(quoted), region)
}
