package child

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Loopback is the address that children listen on.
const Loopback = "127.0.0.1"

// FreePort returns a port of the kernel's choice that nobody listens on now.
// Nothing holds it for the child, for most programs could not bind it then:
// Listens tells whether the child got it.
func FreePort() (int, error) { return tryPort(0) }

// tryPort returns the port if it can be bound, or any if it is 0.
func tryPort(port int) (int, error) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port = l.Addr().(*net.TCPAddr).Port
	_ = l.Close() // it never accepted anything
	return port, nil
}

// Ports hands out ports, each to one child at a time. A range outside the
// kernel's own ephemeral one avoids that an outgoing connection takes a port
// before the child does.
type Ports struct {
	first, last int // 0: the kernel chooses

	mu    sync.Mutex
	taken map[int]bool
	next  int // of the range
}

// NewPorts returns Ports between first and last, or of the kernel's choice if
// both are 0.
func NewPorts(first, last int) (*Ports, error) {
	if first < 0 || last > 65535 || last < first {
		return nil, fmt.Errorf("ports %d to %d are not a range", first, last)
	}
	p := &Ports{first: first, last: last, taken: map[int]bool{}}
	if first > 0 {
		p.next = first + rand.IntN(last-first+1) // not the same place in every server of a host
	}
	return p, nil
}

// Reserve returns a port that nobody listens on now and that was given to nobody
// else; it is the caller's until Release.
func (p *Ports) Reserve() (int, error) {
	for range max(100, p.last-p.first+1) {
		want, ok := p.candidate()
		if !ok {
			continue
		}
		port, err := tryPort(want)
		if err != nil && want == 0 {
			return 0, err
		}
		if err == nil && p.Hold(port) {
			return port, nil
		}
	}
	return 0, fault.New(fault.Unavailable, "no free port was found for the instance")
}

// candidate returns the next port of the range, 0 if the kernel is to choose;
// ok is false if a child has it.
func (p *Ports) candidate() (port int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first == 0 {
		return 0, true
	}
	if p.next++; p.next > p.last {
		p.next = p.first
	}
	return p.next, !p.taken[p.next]
}

// Hold notes that a child has the port; false if another one had it already.
func (p *Ports) Hold(port int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	had := p.taken[port]
	p.taken[port] = true
	return !had
}

// Release gives a port back.
func (p *Ports) Release(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.taken, port)
}
