package app

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/loop"
	identitystore "github.com/slipway-ml/slipway/internal/platform/store/identity"
	"github.com/slipway-ml/slipway/internal/service/fleet"
	"github.com/slipway-ml/slipway/internal/service/identity"
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

// signingRoots is what devices trust packages by. It is the same in every
// region.
func (a *App) signingRoots(ctx context.Context) (map[string]string, error) {
	pem, err := a.packaging.RootsPEM(ctx)
	return map[string]string{a.cfg.Region: string(pem)}, err
}
