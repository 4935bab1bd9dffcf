package app

import (
	"context"
	"slices"
	"time"

	fleetapi "github.com/slipway-ml/slipway/internal/api/sagemaker/fleet"
	"github.com/slipway-ml/slipway/internal/api/sagemaker/jobs"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/service/fleet"
	"github.com/slipway-ml/slipway/internal/wire/awsjson"
)

// buildEdge joins the services of the edge to the store and to each other.
func (a *App) buildEdge(context.Context) error {
	a.fleet = fleet.New(fleet.Config{
		Read: a.db, Packages: packages{a.packaging}, Log: a.log, Window: time.Duration(a.cfg.Devices.Connected),
		Change: func(ctx context.Context, f func(fleet.Tx) error) error {
			return a.db.Change(ctx, func(tx *store.Tx) error { return f(tx) })
		},
	})
	return nil
}

// edgeOps are the operations of the edge that are spoken as SageMaker's.
func (a *App) edgeOps() []awsjson.Op {
	return slices.Concat(fleetapi.Ops(a.fleet), jobs.Ops(a.packaging))
}
