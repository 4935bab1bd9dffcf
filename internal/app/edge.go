package app

import (
	"context"
	"fmt"
	"slices"
	"time"

	fleetapi "github.com/slipway-ml/slipway/internal/api/sagemaker/fleet"
	"github.com/slipway-ml/slipway/internal/api/sagemaker/jobs"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	identitystore "github.com/slipway-ml/slipway/internal/platform/store/identity"
	"github.com/slipway-ml/slipway/internal/service/fleet"
	"github.com/slipway-ml/slipway/internal/service/identity"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
)

// buildEdge joins the services of the edge to the store and to each other.
func (a *App) buildEdge(ctx context.Context) (err error) {
	a.identity, err = identity.New(ctx, identity.Config{
		Store: identitystore.New(a.db), Fleets: a.edge, Account: a.cfg.Account, Log: a.log,
		SigningRoots: a.signingRoots,
		Endpoint:     a.devicesEndpoint, URL: a.url,
	})
	if err != nil {
		return fmt.Errorf("open the identities of devices: %w", err)
	}
	d := a.cfg.Devices
	a.fleet = fleet.New(fleet.Config{
		Store: a.edge, Packages: packages{a.packaging}, Log: a.log, Wake: a.wakeups.stages,
		EnsureAlias: a.identity.EnsureAlias,
		Window:      time.Duration(d.Connected), StopGrace: time.Duration(d.StopGrace),
		RegisteredTTL: time.Duration(d.RegistrationTTL),
		IdlePoll:      time.Duration(d.PollIdle), ActivePoll: time.Duration(d.PollActive),
		HeartbeatEvery: time.Duration(d.Heartbeat), KeepNonempty: d.RefuseNonemptyFleetDelete,
	})
	a.stages = &loop.Runner{
		Queue: a.edge.Stages(), Turn: a.fleet.Turn, Log: a.log, Wake: a.wakeups.stages,
		Poll: time.Second, Lease: 30 * time.Second, Retry: time.Second,
	}
	return nil
}

// deviceObject decides whether a device may have the object that it asks for.
func (a *App) deviceObject(ctx context.Context, c access.Caller, r edge.ObjectRequest) error {
	if c.Device == nil {
		return nil
	}
	return a.fleet.AuthorizeObject(ctx, c.Scope(), edge.Caller{Thing: c.Device.Thing, Alias: c.Device.Alias}, r)
}

// signingRoots is what devices trust packages by. It is the same in every
// region.
func (a *App) signingRoots(ctx context.Context) (map[string]string, error) {
	pem, err := a.packaging.RootsPEM(ctx)
	return map[string]string{a.cfg.Region: string(pem)}, err
}

// edgeOps are the operations of the edge that are spoken as SageMaker's.
func (a *App) edgeOps() []rpc.Op {
	return slices.Concat(fleetapi.Ops(a.fleet), jobs.Ops(a.packaging))
}
