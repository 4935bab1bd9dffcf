package app

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/artifact"
	"github.com/slipway-ml/slipway/internal/platform/objects"
)

// source lets the model cache read the server's own object store.
type source struct{ objects *objects.Store }

func (s source) Stat(ctx context.Context, bucket, key string) (artifact.Info, error) {
	i, err := s.objects.Stat(ctx, bucket, key)
	return artifact.Info{Key: key, Size: i.Size, ETag: i.ETag}, err
}

func (s source) Get(ctx context.Context, bucket, key string) (io.ReadCloser, artifact.Info, error) {
	r, i, err := s.objects.Get(ctx, bucket, key)
	return r, artifact.Info{Key: key, Size: i.Size, ETag: i.ETag}, err
}

func (s source) List(ctx context.Context, bucket, prefix string) iter.Seq2[artifact.Info, error] {
	return func(yield func(artifact.Info, error) bool) {
		for after := ""; ; {
			page, err := s.objects.List(ctx, bucket, objects.List{Prefix: prefix, After: after})
			if err != nil {
				yield(artifact.Info{}, err)
				return
			}
			for _, o := range page.Objects {
				if !yield(artifact.Info{Key: o.Key, Size: o.Size, ETag: o.ETag}, nil) {
					return
				}
			}
			if after = page.Next; after == "" {
				return
			}
		}
	}
}

// fetch brings model data to this host.
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
