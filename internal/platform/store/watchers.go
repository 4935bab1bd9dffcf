package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// WakeWatchers makes the unfinished updates of a region that are judged by an
// alarm due now. It may wake others that merely mention the name.
func (tx *Tx) WakeWatchers(ctx context.Context, region, name string, now time.Time) error {
	quoted, err := json.Marshal(name)
	if err != nil {
		return fmt.Errorf("encode alarm name: %w", err)
	}
	return tx.Wake(ctx, "deployment", now, "ended is null and "+tx.Dialect.Contains("doc", "?")+
		" and endpoint_id in (select id from endpoint where region = ?)",
		string(quoted), region)
}
