// Package connlimit bounds the connections of a server, so that those who have
// shown nothing cannot keep others out. It promises that a new connection finds
// a place as long as another waits for its client and has had its turn: of those,
// the one that has waited longest is closed, those first that have proven nothing,
// and none that is being answered. One address gets a part of the places until its
// connections have proven who is there.
//
// A turn is the time that a newcomer is left alone in (see Turn): it is drawn, so
// that whoever floods an address cannot close what honest clients behind it have
// begun, and can only take away places in proportion to how often he comes. With n
// places for the strangers of an address, turns of m on average and c newcomers a
// second from there, one of them gets a place at a try with probability
// min(1, n/(m·c)), and keeps it until its turn is over. What proves who is there is
// not its job.
package connlimit

import (
	"cmp"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
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
	// Turn is the longest time that a connection which has proven nothing is left alone
	// in: others of its address, and of those with as many like it, are turned away
	// meanwhile. Without that, a crowd that comes at once would close each other's
	// connections half-way, for ever. Each draws its own between a hundredth and a tenth
	// of Turn, ten times that once it was Greeted, small ones as likely as ten times
	// larger ones: most of a crowd make room soon, and some of those that are slow are
	// given time. Its average is 0.39 of the upper bound. Default: 10 s.
	Turn time.Duration
	// Handshake says that clients hear nothing before a handshake of TLS: there is no
	// telling those of a crowded address that there are too many.
	Handshake bool
	// Heads pays for the heads of requests that are longer than 4 KiB, while they come
	// and are answered. Default: nobody.
	Heads *Budget
	// Turned is told of each connection that is turned away, or told that there are
	// too many, with the reason; default: nobody is.
	Turned func(Reason)
	// Log hears of those now and then; default: it does not.
	Log *slog.Logger
	// Listener is what the log calls the server.
	Listener string
}

// Reason is why a connection is turned away.
type Reason uint8

// Reasons.
const (
	ManyConnections Reason = iota // as many as there may be, none of which waits
	ManyStrangers                 // as many of its address as may have proven nothing
	ManyOfKey                     // as many as may have proven the same, none of which waits
	NoMemory                      // the budget for the heads of requests is used up
	reasons
)

func (r Reason) String() string { return [...]string{"connections", "address", "key", "memory"}[r] }

// Reasons returns all reasons.
func Reasons() []Reason { return []Reason{ManyConnections, ManyStrangers, ManyOfKey, NoMemory} }

// Limiter gives connections their places. Its methods may be called at the same
// time.
type Limiter struct {
	cfg    Config
	spare  int                   // places beyond Max, for those who ask how the server is
	told   [reasons]atomic.Int64 // when the log last heard of each reason, in Unix seconds
	untold [reasons]atomic.Int64 // how many were turned away since

	mu        sync.Mutex // guards what follows
	places    []*Place
	spares    int // places given beyond Max
	unproven  int // places of those who have proven nothing
	addresses map[netip.Addr]*address
	keys      map[string]*holder
	waiting   queue // of all
}

// address is where connections come from.
type address struct {
	ip       netip.Addr
	places   int
	unproven int   // of these
	waiting  queue // of these
}

// holder is who has proven to hold a key.
type holder struct {
	key     string
	places  int
	waiting queue // of these
}

// New returns a Limiter without connections.
func New(cfg Config) *Limiter {
	cfg.PerAddress = cmp.Or(cfg.PerAddress, max(1, cfg.Max/4))
	cfg.PerKey = cmp.Or(cfg.PerKey, max(1, cfg.Max/4*3))
	cfg.Turn = cmp.Or(cfg.Turn, 10*time.Second)
	return &Limiter{
		cfg: cfg, spare: min(64, max(1, cfg.Max/4)),
		addresses: map[netip.Addr]*address{}, keys: map[string]*holder{},
	}
}

// Place is that of one connection. Its methods may be called at the same time.
type Place struct {
	l       *Limiter
	close   func() error
	remote  net.Addr
	from    *address
	by      *holder // nil: nobody has proven anything, or no key
	index   int     // in l.places
	since   int64   // when it was given, in nanoseconds
	turn    int64   // how long it is left alone in; set under l.mu
	spare   bool
	crowded bool // with its address full, too

	// state is 0 while a request is being answered that was verified, when the
	// connection began to wait for its client, in nanoseconds, minus that if it waits
	// for the body of a request, and emptied at the end.
	state  atomic.Int64
	proven atomic.Bool
	had    atomic.Bool // its turn: it has made a request that proved nothing
	timer  *time.Timer // of ProveWithin; set under l.mu
}

const emptied = math.MinInt64

// Enter gives a connection from remote a place, in which it waits for its client.
// Whoever must make room is closed. Nil: there is none, and the connection is to
// be closed; close is for later.
func (l *Limiter) Enter(remote net.Addr, closer func() error) *Place {
	p := &Place{l: l, close: closer, remote: remote, since: time.Now().UnixNano()}
	p.turn = int64(float64(l.cfg.Turn) / 100 * math.Pow(10, rand.Float64()))
	p.state.Store(p.since)
	l.mu.Lock()
	a := l.address(remote)
	var out [2]*Place
	if a.unproven >= l.cfg.PerAddress {
		out[0] = l.empty(&a.waiting, search{
			of: func(p *Place) bool { return p.from == a && !p.proven.Load() }, by: a, now: p.since, patient: true,
		})
	}
	crowded := a.unproven >= l.cfg.PerAddress
	// Of a crowd, nobody costs somebody else the place only to be turned away.
	if len(l.places) >= l.cfg.Max && !crowded {
		out[1] = l.empty(&l.waiting, search{of: anyPlace, by: a, now: p.since, strangersFirst: true, patient: true})
	}
	// Those whose address is full, too, are only told that the server is busy; where
	// hearing that takes a handshake, not even that.
	p.spare, p.crowded = len(l.places)-l.spares >= l.cfg.Max || crowded, crowded
	fits := !p.spare || l.spares < l.spare && !(crowded && l.cfg.Handshake)
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
		l.TurnedAway(remote, why(crowded))
		return nil
	}
	return p
}

func why(crowded bool) Reason {
	if crowded {
		return ManyStrangers
	}
	return ManyConnections
}

// TurnedAway counts a connection from remote that is not served, and tells the log
// now and then.
func (l *Limiter) TurnedAway(remote net.Addr, why Reason) {
	if l.cfg.Turned != nil {
		l.cfg.Turned(why)
	}
	if l.cfg.Log == nil {
		return
	}
	n, now := l.untold[why].Add(1), time.Now().Unix()
	if last := l.told[why].Load(); now-last >= 10 && l.told[why].CompareAndSwap(last, now) {
		l.untold[why].Add(-n)
		l.cfg.Log.Warn("connections are turned away", "listener", l.cfg.Listener, "reason", why.String(),
			"turned_away", n, "connections", l.Len(), "address", remote.String())
	}
}

func (l *Limiter) add(p *Place, a *address) {
	p.from, p.index = a, len(l.places)
	l.places = append(l.places, p)
	l.addresses[a.ip] = a // its last place may just have been emptied
	a.places++
	a.unproven++
	l.unproven++
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
		l.unproven--
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

// Wait says that the connection waits for a request since now. False: it was
// closed.
func (p *Place) Wait(now time.Time) bool {
	p.hadTurn()
	return p.become(now.UnixNano())
}

// WaitForBody says that it waits for the body of a request.
func (p *Place) WaitForBody(now time.Time) bool {
	p.hadTurn()
	return p.become(-now.UnixNano())
}

func (p *Place) hadTurn() {
	if !p.proven.Load() && !p.had.Load() {
		p.had.Store(true)
	}
}

// greet says that a handshake has begun, with a whole first message: who has proven
// nothing yet gets ten times the time to end it.
func (p *Place) greet() {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	if least := int64(p.l.cfg.Turn) / 10; p.turn < least {
		p.turn = max(least, 10*p.turn)
	}
}

// Answer says that a request is being answered: nobody closes the connection
// meanwhile if it has proven anything. A stranger who does not take the answer
// would otherwise keep the place.
func (p *Place) Answer() bool {
	if !p.proven.Load() {
		return p.state.Load() != emptied
	}
	return p.become(0)
}

// Hold says that somebody else is about to take care of the connection, until Leave:
// nobody closes it meanwhile, whether it has proven anything or not.
func (p *Place) Hold() bool { return p.become(0) }

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
	if !ok {
		p.l.TurnedAway(p.remote, ManyOfKey)
	}
	return ok
}

func (p *Place) prove(key string) (out *Place, ok bool) {
	l := p.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.proven.Load() || p.state.Load() == emptied {
		return nil, true // one that was closed says so at the next read or write
	}
	h := l.keys[key]
	if h == nil {
		h = &holder{key: key}
	}
	if h.places >= l.cfg.PerKey {
		if out = l.empty(&h.waiting, search{of: func(o *Place) bool { return o.by == h }}); out == nil {
			return nil, false
		}
	}
	// Still under mu, without which nobody empties a place: from here on it is being
	// answered.
	p.become(0)
	l.keys[key] = h
	h.places++
	p.by = h
	p.proven.Store(true)
	p.from.unproven--
	l.unproven--
	return out, true
}

// Proven reports whether Prove was called.
func (p *Place) Proven() bool { return p.proven.Load() }

// Spare reports whether the place is beyond those that there are: all others are
// being answered. Its client may hear how the server is, and nothing else.
func (p *Place) Spare() bool { return p.spare }

// TurnedAway counts a request on a spare place that is not answered.
func (p *Place) TurnedAway() { p.l.TurnedAway(p.remote, why(p.crowded)) }

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
	p := l.empty(&l.waiting, search{of: anyPlace, strangersFirst: true})
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
