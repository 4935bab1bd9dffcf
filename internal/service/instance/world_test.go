package instance_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// world is a provider whose instances are HTTP servers in this process, with a
// lever for each thing that can go wrong.
type world struct {
	mu      sync.Mutex
	servers map[provider.ID]*server
	changes chan struct{}
	starts  map[provider.ID]int

	refuse atomic.Pointer[error] // Ensure fails with it
	late   atomic.Bool           // instances have no address until told
	fetch  atomic.Pointer[func(context.Context, hosting.ModelData) error]
	stall  atomic.Bool // instances never get healthy
	die    atomic.Bool // instances exit as soon as they start

	lists    atomic.Int64                      // how often all were asked for
	removing atomic.Pointer[func(provider.ID)] // called by Remove
}

type server struct {
	srv     *http.Server
	spec    provider.Spec
	address string
	waiting string // why the address is not shown
	healthy atomic.Bool
	denied  atomic.Int64 // health checks that were answered with 503
	exited  bool
}

func newWorld(t *testing.T) *world {
	w := &world{servers: map[provider.ID]*server{}, starts: map[provider.ID]int{}, changes: make(chan struct{}, 1)}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, s := range w.servers {
			_ = s.srv.Close()
		}
	})
	return w
}

func (w *world) Ensure(ctx context.Context, id provider.ID, spec provider.Spec) (provider.Status, error) {
	if err := w.refuse.Load(); err != nil {
		return provider.Status{}, *err
	}
	if fetch := w.fetch.Load(); fetch != nil && spec.ModelData != nil {
		if err := (*fetch)(ctx, *spec.ModelData); err != nil {
			return provider.Status{}, &provider.ModelDataError{Err: err}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.servers[id]; s != nil && !s.exited {
		return s.status(id), nil
	}
	s := &server{spec: spec}
	if w.late.Load() {
		s.waiting = "Its image is being pulled."
	}
	s.healthy.Store(!w.stall.Load())
	s.srv = &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if !s.healthy.Load() {
			s.denied.Add(1)
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})}
	w.servers[id] = s
	w.starts[id]++
	if err := s.listen(); err != nil {
		return provider.Status{}, err
	}
	if w.die.Load() {
		w.exitLocked(id)
	}
	return s.status(id), nil
}

// listen gives the instance an address besides those that it had.
func (s *server) listen() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	go func() { _ = s.srv.Serve(l) }() // ends with the server's Close
	return nil
}

func (s *server) status(id provider.ID) provider.Status {
	switch {
	case s.exited:
		return provider.Status{ID: id, Exited: true, Detail: "exit status 3"}
	case s.waiting != "":
		return provider.Status{ID: id, Waiting: s.waiting}
	}
	return provider.Status{ID: id, Address: s.address}
}

func (w *world) exitLocked(id provider.ID) {
	w.servers[id].exited = true
	_ = w.servers[id].srv.Close()
	w.changed()
}

func (w *world) changed() {
	select {
	case w.changes <- struct{}{}:
	default:
	}
}

// alter does something to a server, as its surroundings might.
func (w *world) alter(id hosting.InstanceID, f func(*server)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.servers[provider.ID(id)])
	w.changed()
}

func (w *world) kill(id provider.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.exitLocked(id)
}

func (w *world) Remove(_ context.Context, id provider.ID) error {
	if f := w.removing.Load(); f != nil {
		(*f)(id)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.servers[id]; s != nil {
		_ = s.srv.Close()
		delete(w.servers, id)
	}
	return nil
}

func (w *world) List(context.Context) (out []provider.Status, err error) {
	defer w.lists.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, s := range w.servers {
		out = append(out, s.status(id))
	}
	return out, nil
}

func (w *world) Changes() <-chan struct{} { return w.changes }

func (w *world) Logs(context.Context, provider.ID, int) ([]byte, error) {
	return []byte("cannot open model.onnx\n"), nil
}

func (w *world) ids() (ids []provider.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.servers {
		ids = append(ids, id)
	}
	return ids
}
