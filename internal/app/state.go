package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/slipway-ml/slipway/internal/platform/provider/process"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// openDirectory makes sure that the database is the one that belongs to the data
// directory, before the instances there are taken for strays.
func (a *App) openDirectory(ctx context.Context) error {
	recorded, err := process.Recorded(a.instancesDir())
	if err != nil {
		return fmt.Errorf("look for recorded instances: %w", err)
	}
	ids := make([]string, len(recorded))
	for i, id := range recorded {
		ids[i] = string(id)
	}
	known, err := a.hosting.KnownInstances(ctx, ids)
	if err != nil {
		return err
	}
	a.directory, err = a.db.OpenDirectory(ctx, store.Entry{
		File: filepath.Join(a.cfg.DataDir, "database.json"), Instances: len(ids), Known: known,
		Accept: a.cfg.Database.Accept, Rewound: a.rewound, Reread: a.reread,
		Log: a.log,
	})
	return err
}

// rewound forgets what was made of what the database has lost. The directory is opened
// before the gates are.
func (a *App) rewound(ctx context.Context) { a.gates.Rewound(ctx) }

// reread reads all again that follows the database: it ran backwards, or may have.
func (a *App) reread(ctx context.Context) error {
	a.manager.Reread()
	a.metrics.Rewrite()
	err := errors.Join(a.follower.Reread(ctx), a.alarms.Reread(ctx), a.identity.Reread(ctx))
	a.wakeups.rowsChanged()
	a.wakeups.stages.Notify()
	return err
}

func (a *App) instancesDir() string { return filepath.Join(a.cfg.DataDir, "instances") }
