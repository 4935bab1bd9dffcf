package app

import (
	"context"
	"path/filepath"

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/store/jobs"
	"github.com/slipway-ml/slipway/internal/service/packaging"
)

// buildPackaging joins compilation and packaging jobs to the store.
func (a *App) buildPackaging(context.Context) (err error) {
	a.packaging, err = packaging.New(packaging.Config{
		Store: jobs.New(a.db), Objects: a.objects, Log: a.log, WorkDir: filepath.Join(a.cfg.DataDir, "packaging"),
		Fetch: a.models.Fetch, Optimizer: a.optimizer, ArtifactInUse: a.edge.ActiveObject,
	})
	return err
}

// optimizer is the program that the built-in image runs.
func (a *App) optimizer() ([]string, error) {
	argv, ok := a.live.Load().Argv(config.ONNXImage)
	if !ok {
		return nil, fault.New(fault.NotFound, "the image %s is not configured", config.ONNXImage)
	}
	return argv[:1], nil
}

// packages tells the fleet what packaging jobs have made.
type packages struct{ *packaging.Service }

func (p packages) Package(ctx context.Context, s arn.Scope, job string) (edge.Package, error) {
	a, err := p.Service.Package(ctx, s, job)
	return edge.Package{Job: a.Job, S3URL: a.S3URL, SHA1: a.SHA1}, err
}
