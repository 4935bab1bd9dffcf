package device_test

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// cutShort breaks every transfer off after n bytes.
func cutShort(n int) func(string, int64, []byte) (io.Reader, string, error) {
	return func(_ string, _ int64, body []byte) (io.Reader, string, error) {
		k := min(n, len(body))
		return io.MultiReader(bytes.NewReader(body[:k]), broken{}), "1", nil
	}
}

// broken is a connection that was reset.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// refuseAfterRestart lets the new model of b load once, and never after the
// first restart.
func refuseAfterRestart(w *wares, _ *box) func(*engine) {
	boots := 0
	return func(e *engine) {
		boots++
		if boots > 1 {
			e.refuse = func(content []byte) error {
				if bytes.Equal(content, w.b2.content) {
					return errors.New("illegal instruction")
				}
				return nil
			}
		}
	}
}

// picky is a server that refuses results that name models.
type picky struct{ *cloud }

func (p picky) Heartbeat(ctx context.Context, h edge.Heartbeat) (edge.Hints, error) {
	if h.Result != nil && len(h.Result.Models) > 0 {
		return edge.Hints{}, fault.New(fault.Invalid, "1 validation error detected")
	}
	return p.cloud.Heartbeat(ctx, h)
}
