package device_test

import (
	"bytes"
	"errors"
	"io"
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
