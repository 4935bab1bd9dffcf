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

// command resolves an image for the process provider.
func (a *App) command(image string) ([]string, error) {
	if argv, ok := a.cfg.Argv(image); ok {
		return argv, nil
	}
	return nil, fault.New(fault.Invalid, "Requested image %s not found.", image)
}

func (a *App) imageKnown(image string) error {
	_, err := a.command(image)
	return err
}
