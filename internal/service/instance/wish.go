package instance

import (
	"context"
	"sync"
)

// wish is whether an instance is wanted. In a database that ran backwards one is
// wanted again whose end had been asked for.
type wish struct {
	life context.Context // of every asIs

	mu     sync.Mutex
	wanted bool
	asIs   context.Context // ends when wanted changes
	change context.CancelFunc
}

func newWish(life context.Context) *wish {
	w := &wish{life: life, wanted: true}
	w.asIs, w.change = context.WithCancel(life)
	return w
}

// set makes the instance wanted, or not.
func (w *wish) set(wanted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wanted == wanted {
		return
	}
	w.change()
	w.wanted = wanted
	w.asIs, w.change = context.WithCancel(w.life)
}

// now says whether the instance is wanted, in a context for as long as that stays
// so.
func (w *wish) now() (asIs context.Context, wanted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asIs, w.wanted
}

// end releases what the wish holds.
func (w *wish) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.change()
}
