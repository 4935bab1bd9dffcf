package process_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/provider"
	"github.com/slipway-ml/slipway/internal/platform/provider/process"
	"github.com/slipway-ml/slipway/internal/platform/provider/providertest"
)

// Processes have an address at once and keep it. Others do not: the contract
// must hold for a provider that makes its instances' addresses late and moves
// them.
func TestTheContractHoldsWhereAddressesComeLateAndChange(t *testing.T) {
	providertest.Run(t, func(t *testing.T) providertest.Harness {
		h := harness(t, process.Config{})
		a := &addresses{
			t: t, changes: make(chan struct{}, 1),
			late: map[provider.ID]bool{}, moved: map[provider.ID]string{}, real: map[provider.ID]string{},
		}
		open := h.Open
		h.Open = func() provider.Provider {
			p := &moving{Provider: open().(*process.Provider), addresses: a, closed: make(chan struct{})}
			p.forwarding.Go(p.forward)
			t.Cleanup(func() { _ = p.Close() }) // the test closes it, or nobody does
			return p
		}
		h.Move = a.move
		return h
	})
}

// moving is a provider of processes with addresses of a test's choice.
type moving struct {
	*process.Provider
	*addresses
	forwarding sync.WaitGroup
	closing    sync.Once
	closed     chan struct{}
}

// addresses is what outlives one moving provider.
type addresses struct {
	t       *testing.T
	changes chan struct{}

	mu    sync.Mutex
	late  map[provider.ID]bool   // ensured a moment ago
	moved map[provider.ID]string // the address that is shown
	real  map[provider.ID]string // the address that it has
}

func (m *moving) Ensure(ctx context.Context, id provider.ID, s provider.Spec) (provider.Status, error) {
	before, err := m.Provider.List(ctx)
	if err != nil {
		return provider.Status{}, err
	}
	runs := false
	for _, st := range before {
		runs = runs || st.ID == id && !st.Exited && st.Address != ""
	}
	if !runs {
		m.mu.Lock()
		m.late[id] = true
		delete(m.moved, id)
		m.mu.Unlock()
	}
	st, err := m.Provider.Ensure(ctx, id, s)
	if !runs && err == nil {
		time.AfterFunc(20*time.Millisecond, func() {
			m.mu.Lock()
			delete(m.late, id)
			m.mu.Unlock()
			m.change()
		})
	}
	return m.seen(st), err
}

func (m *moving) List(ctx context.Context) ([]provider.Status, error) {
	list, err := m.Provider.List(ctx)
	for i := range list {
		list[i] = m.seen(list[i])
	}
	return list, err
}

func (m *moving) Changes() <-chan struct{} { return m.changes }

func (m *moving) Close() error {
	m.closing.Do(func() { close(m.closed) })
	m.forwarding.Wait()
	return m.Provider.Close()
}

// forward announces what processes announce, too.
func (m *moving) forward() {
	for {
		select {
		case <-m.Provider.Changes():
			m.change()
		case <-m.closed:
			return
		}
	}
}

func (a *addresses) change() {
	select {
	case a.changes <- struct{}{}:
	default:
	}
}

// seen is a status as this provider shows it.
func (a *addresses) seen(st provider.Status) provider.Status {
	if st.Address == "" {
		return st
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.real[st.ID] = st.Address
	switch {
	case a.late[st.ID]:
		st.Address, st.Waiting = "", "Its image is being pulled."
	case a.moved[st.ID] != "":
		st.Address = a.moved[st.ID]
	}
	return st
}

// move puts a relay before the instance and shows that one's address.
func (a *addresses) move(id provider.ID) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		a.t.Fatal(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	address := a.real[id]
	var relays sync.WaitGroup
	relays.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return // closed
			}
			to, err := net.Dial("tcp", address)
			if err != nil {
				_ = from.Close() // the instance is gone
				continue
			}
			for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
				relays.Go(func() {
					_, _ = io.Copy(pair[0], pair[1]) // until either side ends
					_ = pair[0].Close()              // as above
				})
			}
		}
	})
	a.t.Cleanup(func() { _ = l.Close() }) // nothing was written
	a.moved[id] = l.Addr().String()
	a.change()
}
