package modelserver

import (
	"context"

	"github.com/slipway-ml/slipway/internal/modelserver/tensor"
)

// runner decides when a request's inputs meet the model.
type runner interface {
	// run waits for its turn, until ctx ends, and runs the model.
	run(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error)
	// close waits for what the runner started; no run may be in progress.
	close()
}

// gate runs each request by itself, in its own goroutine, a bounded number at
// one time.
type gate struct {
	model Model
	turns chan struct{}
}

func newGate(m Model, concurrency int) *gate {
	return &gate{model: m, turns: make(chan struct{}, concurrency)}
}

func (g *gate) run(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	select {
	case g.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-g.turns }()
	return safely(g.model, in)
}

func (g *gate) close() {}
