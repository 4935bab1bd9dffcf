package app

import (
	"context"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// fetch brings model data to this host.
func (a *App) fetch(_ context.Context, d hosting.ModelData) (string, error) {
	return "", fault.New(fault.Unsupported, "Model data at %s cannot be fetched: the object store is not there yet.", d.URI)
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
