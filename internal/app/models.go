package app

import (
	"context"
	"errors"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// fetch brings model data to this host, for instances that are processes.
func (a *App) fetch(ctx context.Context, d hosting.ModelData) (string, error) {
	m, err := a.models.Fetch(ctx, d)
	return m.Dir, err
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
	argv, ok := a.cfg.Argv(c.Image)
	if !ok {
		return nil, fault.New(fault.Invalid, "Requested image %s not found.", c.Image)
	}
	return argv, c.CheckEnvironment(a.cfg.Variables(c.Image))
}

func (a *App) checkContainer(c hosting.Container) error {
	_, err := a.command(c)
	return err
}
