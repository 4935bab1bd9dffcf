// Package connlimit bounds the connections of a server, so that those who have
// shown nothing cannot keep others out. It promises that a new connection finds
// a place as long as another waits for its client: of those, the one that has
// waited longest is closed, those first that have proven nothing, and none
// that is being answered. One address gets a part of the places until its
// connections have proven who is there. What proves that is not its job.
package connlimit

import (
	"cmp"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config are the bounds of a Limiter.
type Config struct {
	Max int // connections at a time
	// PerAddress bounds those of one address (of IPv6, one network of 64 bits) that
	// have proven nothing; default: a quarter of Max.
	PerAddress int
	// PerKey bounds those that have proven the same; default: three quarters of Max.
	PerKey int
	// ProveWithin is how long a connection may wait that has proven nothing; default:
	// that is not bounded here.
	ProveWithin time.Duration
}

// Limiter gives connections their places. Its methods may be called at the same
// time.
type Limiter struct {
	cfg   Config
	spare int // places beyond Max, for those who ask how the server is

	mu        sync.Mutex // guards what follows
	places    []*Place
	spares    int // places given beyond Max
	addresses map[netip.Addr]*address
	keys      map[string]*holder
	waiting   []candidate // of all, those that have waited longest
}

// address is where connections come from.
type address struct {
	ip       netip.Addr
	places   int
	unproven int         // of these
	waiting  []candidate // of these, those that have waited longest
}

// holder is who has proven to hold a key.
type holder struct {
	key     string
	places  int
	waiting []candidate // of these, those that have waited longest
}

// candidate is a place as it was when somebody looked for one to empty.
type candidate struct {
	*Place
	state int64
}

// lookFor is how many candidates one look at all places finds: each spares a
// look later.
const lookFor = 64

// New returns a Limiter without connections.
func New(cfg Config) *Limiter {
	cfg.PerAddress = cmp.Or(cfg.PerAddress, max(1, cfg.Max/4))
	cfg.PerKey = cmp.Or(cfg.PerKey, max(1, cfg.Max/4*3))
	return &Limiter{
		cfg: cfg, spare: min(64, max(1, cfg.Max/4)),
		addresses: map[netip.Addr]*address{}, keys: map[string]*holder{},
	}
}

// Place is that of one connection. Its methods may be called at the same time.
type Place struct {
	l     *Limiter
	close func() error
	from  *address
	by    *holder // nil: nobody has proven anything, or no key
	index int     // in l.places
	spare bool

	// state is 0 while a request is being answered that was verified, when the
	// connection began to wait for its client, in nanoseconds, minus that if it waits
	// for the body of a request, and emptied at the end.
	state  atomic.Int64
	proven atomic.Bool
	timer  *time.Timer // of ProveWithin; set under l.mu
}

const emptied = math.MinInt64

// Enter gives a connection from remote a place, in which it waits for its client.
// Whoever must make room is closed. Nil: there is none, and the connection is to
// be closed; close is for later.
func (l *Limiter) Enter(remote net.Addr, closer func() error) *Place {
	p := &Place{l: l, close: closer}
	p.state.Store(time.Now().UnixNano())
	l.mu.Lock()
	a := l.address(remote)
	var out [2]*Place
	if a.unproven >= l.cfg.PerAddress {
		out[0] = l.empty(&a.waiting, func(p *Place) bool { return p.from == a && !p.proven.Load() })
	}
	if len(l.places) >= l.cfg.Max {
		out[1] = l.empty(&l.waiting, anyPlace)
	}
	// Those whose address is full, too, are only told that the server is busy.
	p.spare = len(l.places)-l.spares >= l.cfg.Max || a.unproven >= l.cfg.PerAddress
	fits := !p.spare || l.spares < l.spare
	if fits {
		l.add(p, a)
		if d := l.cfg.ProveWithin; d > 0 {
			p.timer = time.AfterFunc(d, p.expire)
		}
	} else if a.places == 0 {
		delete(l.addresses, a.ip)
	}
	l.mu.Unlock()
	for _, o := range out {
		if o != nil {
			_ = o.close() // nothing more is expected of it
		}
	}
	if !fits {
		return nil
	}
	return p
}

func (l *Limiter) add(p *Place, a *address) {
	p.from, p.index = a, len(l.places)
	l.places = append(l.places, p)
	l.addresses[a.ip] = a // its last place may just have been emptied
	a.places++
	a.unproven++
	if p.spare {
		l.spares++
	}
}

// remove forgets p, which was emptied. mu is held.
func (l *Limiter) remove(p *Place) {
	last := len(l.places) - 1
	l.places[p.index] = l.places[last]
	l.places[p.index].index = p.index
	l.places[last] = nil
	l.places = l.places[:last]
	if p.spare {
		l.spares--
	}
	if !p.proven.Load() {
		p.from.unproven--
	}
	if h := p.by; h != nil {
		if h.places--; h.places == 0 {
			delete(l.keys, h.key)
		}
	}
	if p.from.places--; p.from.places == 0 {
		delete(l.addresses, p.from.ip)
	}
}

// address returns the entry of who is at remote. mu is held.
func (l *Limiter) address(remote net.Addr) *address {
	ip := Network(remote)
	a := l.addresses[ip]
	if a == nil {
		a = &address{ip: ip}
		l.addresses[ip] = a
	}
	return a
}

// Network returns the address of a client as far as it cannot choose it.
func Network(remote net.Addr) netip.Addr {
	t, ok := remote.(*net.TCPAddr)
	if !ok {
		return netip.Addr{} // all that is not TCP is one client
	}
	return network(t.AddrPort().Addr())
}

// networkOf is Network for the host:port of a client.
func networkOf(remote string) netip.Addr {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return network(a.Addr())
}

func network(ip netip.Addr) netip.Addr {
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}

func anyPlace(*Place) bool { return true }

// empty takes its place from the connection of some that has waited longest, and
// returns it to be closed; nil if none waits. q keeps whom else of these it found.
// mu is held.
func (l *Limiter) empty(q *[]candidate, of func(*Place) bool) *Place {
	for looked := false; ; looked = true {
		for len(*q) > 0 {
			c := (*q)[0]
			*q = (*q)[1:]
			// One that has moved on is nobody to close; one that waits since then has
			// still waited longer than those that came later.
			if c.Place.state.CompareAndSwap(c.state, emptied) {
				l.remove(c.Place)
				return c.Place
			}
		}
		if looked {
			return nil
		}
		*q = l.longest(of)
	}
}

// longest finds those that have waited longest: between requests and in a head,
// those that have proven nothing first; only where there is none, the one that is
// longest in a body.
func (l *Limiter) longest(of func(*Place) bool) []candidate {
	var found []candidate
	body := candidate{}
	for _, p := range l.places {
		if !of(p) {
			continue
		}
		switch s := p.state.Load(); {
		case s > 0:
			found = append(found, candidate{p, s})
		case s < 0 && s != emptied && (body.Place == nil || s > body.state):
			body = candidate{p, s}
		}
	}
	if len(found) == 0 && body.Place != nil {
		return []candidate{body}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		if p := a.proven.Load(); p != b.proven.Load() {
			if p {
				return 1
			}
			return -1
		}
		return cmp.Compare(a.state, b.state)
	})
	return slices.Clone(found[:min(len(found), lookFor)])
}

// Wait says that the connection waits for a request since now. False: it was
// closed.
func (p *Place) Wait(now time.Time) bool { return p.become(now.UnixNano()) }

// WaitForBody says that it waits for the body of a request.
func (p *Place) WaitForBody(now time.Time) bool { return p.become(-now.UnixNano()) }

// Answer says that a request is being answered: nobody closes the connection
// meanwhile if it has proven anything. A stranger who does not take the answer
// would otherwise keep the place.
func (p *Place) Answer() bool {
	if !p.proven.Load() {
		return p.state.Load() != emptied
	}
	return p.become(0)
}

func (p *Place) become(state int64) bool {
	for {
		was := p.state.Load()
		if was == emptied {
			return false
		}
		if p.state.CompareAndSwap(was, state) {
			return true
		}
	}
}

// Prove says that whoever is at the other end has shown to hold the key, with the
// request that is being answered now; the first key counts. False: they have too
// many connections already, all of them being answered, and this one stays a
// stranger's.
func (p *Place) Prove(key string) bool {
	if p.proven.Load() {
		return true
	}
	out, ok := p.prove(key)
	if out != nil {
		_ = out.close() // nothing more is expected of it
	}
	p.Answer() // one that was closed says so at the next read or write
	return ok
}

func (p *Place) prove(key string) (out *Place, ok bool) {
	l := p.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.proven.Load() || p.state.Load() == emptied {
		return nil, true
	}
	h := l.keys[key]
	if h == nil {
		h = &holder{key: key}
	}
	if h.places >= l.cfg.PerKey {
		if out = l.empty(&h.waiting, func(o *Place) bool { return o.by == h }); out == nil {
			return nil, false
		}
	}
	l.keys[key] = h
	h.places++
	p.by = h
	p.proven.Store(true)
	p.from.unproven--
	return out, true
}

// Proven reports whether Prove was called.
func (p *Place) Proven() bool { return p.proven.Load() }

// Spare reports whether the place is beyond those that there are: all others are
// being answered. Its client may hear how the server is, and nothing else.
func (p *Place) Spare() bool { return p.spare }

// Leave gives the place back.
func (p *Place) Leave() {
	if p.timer != nil {
		p.timer.Stop()
	}
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	if p.state.Swap(emptied) != emptied {
		p.l.remove(p)
	}
}

// expire closes a connection that has proven nothing in time.
func (p *Place) expire() {
	p.l.mu.Lock() // Enter may not have set the timer yet
	defer p.l.mu.Unlock()
	if !p.proven.Load() && p.state.Load() != emptied {
		_ = p.close() // its server notices, and leaves
	}
}

// Relieve closes the connection that has waited longest, for who finds that the
// host has no room for another. False: none waits.
func (l *Limiter) Relieve() bool {
	l.mu.Lock()
	p := l.empty(&l.waiting, anyPlace)
	l.mu.Unlock()
	if p != nil {
		_ = p.close() // nothing more is expected of it
	}
	return p != nil
}

// Len returns how many connections there are.
func (l *Limiter) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.places)
}
