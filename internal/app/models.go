package app

import (
	"cmp"
	"context"
	"errors"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/artifact"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// fetch brings model data to this host, for instances that are processes.
func (a *App) fetch(ctx context.Context, d hosting.ModelData) (string, error) {
	m, err := a.models.Fetch(ctx, d)
	return m.Dir, err
}

// modelVersion returns the version of model data that a fleet shall serve which
// nobody told when it was created, as earlier releases did not: what its instance
// runs on or is kept here, if that has served it, else what is there now.
func (a *App) modelVersion(
	ctx context.Context, id hosting.InstanceID, d hosting.ModelData, served bool,
) (string, error) {
	if served {
		dir := a.process.ModelDir(provider.ID(id))
		if kept := cmp.Or(a.models.KeptAt(d, dir), a.models.Kept(d)); kept != "" {
			return kept, nil
		}
	}
	return a.models.Version(ctx, d)
}

// modelsInUse says what has to stay in the cache. Which directories are read is
// asked last: what is served by then is read or in the records.
func (a *App) modelsInUse(ctx context.Context) (use artifact.InUse, err error) {
	use.Named, use.Served, err = a.hosting.ModelDataNamed(ctx)
	use.Dirs = append(a.process.ModelDirs(), a.packaging.Dirs()...)
	return use, err
}

// modelDataExists looks for what a model names, as AWS does at CreateModel.
func (a *App) modelDataExists(ctx context.Context, d hosting.ModelData) error {
	err := a.models.Check(ctx, d)
	if errors.Is(err, fault.NotFound) {
		_, text := fault.Public(err)
		return fault.New(fault.Invalid, "%s", text).Because(err)
	}
	return err
}

// command resolves a container for the process provider: the program of its
// image, if that lets models set what this one sets. Both are looked at again
// before each start, for a configuration changes and records stay.
func (a *App) command(c hosting.Container) ([]string, error) {
	cfg := a.live.Load()
	argv, ok := cfg.Argv(c.Image)
	if !ok {
		return nil, fault.New(fault.Invalid, "Requested image %s not found.", c.Image)
	}
	return argv, c.WithoutContract().CheckEnvironment(cfg.Variables(c.Image))
}

func (a *App) checkContainer(c hosting.Container) error {
	if _, err := a.command(c); err != nil {
		return err
	}
	return c.CheckEnvironment(a.live.Load().Variables(c.Image))
}
