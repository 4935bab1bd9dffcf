// Package mirror sends copies of requests: to shadow variants and, while a
// deployment asks for it, to its new fleet, whose answers are then compared with
// those that callers got. It promises that nobody notices: a copy is sent beside
// the request, never again if it fails, and not at all where there is no room; how
// many are left out is counted. Which requests there are, which instances may get
// copies, and what is done with a comparison, is not its job.
package mirror

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/http1"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// Header tells a container that a request is a copy, of what kind: a model that
// has effects beside its answer can leave them out.
const Header = "X-Slipway-Copy"

// kind is a kind of copies, as the header and metrics name it.
type kind string

const (
	shadowKind kind = "shadow" // for shadow variants
	mirrorKind kind = "mirror" // for the new fleet of a deployment
)

// perInstance is how many copies may be in flight to each instance that gets them.
const perInstance = 4

// Config is what a Mirror is made of.
type Config struct {
	Router *router.Router
	// Timeout bounds a copy, StreamTimeout one of a request for a stream.
	Timeout, StreamTimeout time.Duration
	// Pairs is told of each request that was sent to both fleets of a deployment. It
	// must not block. nil: what came of them is counted alone.
	Pairs      func(Pair)
	Registerer prometheus.Registerer // nil: nowhere
	Log        *slog.Logger          // nil: discard
}

// Mirror sends copies. Its methods may be called at the same time.
type Mirror struct {
	cfg      Config
	counters map[kind]counters
	pairs    *prometheus.CounterVec
	distance prometheus.Histogram // of the answers to a pair
	seen     seen
	closed   atomic.Bool
	compare  chan *both
	done     chan struct{} // closed when nothing is compared any more
	held     atomic.Int64  // bytes of answers to copies that are kept to be compared

	copies  sync.WaitGroup // in flight
	workers sync.WaitGroup // that compare

	mu       sync.Mutex // guards inFlight, and that none is added once it is closed
	inFlight map[flight]int
}

// flight is who gets copies, of which endpoint.
type flight struct {
	key traffic.Key
	to  router.Receiver
}

// New returns a Mirror that compares in goroutines of its own, until it is closed.
func New(cfg Config) (*Mirror, error) {
	m := &Mirror{
		cfg:      cfg,
		counters: map[kind]counters{shadowKind: newCounters(shadowKind), mirrorKind: newCounters(mirrorKind)},
		pairs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_mirror_pairs_total",
			Help: "Requests meant for both fleets of a deployment, by what came of it.",
		}, []string{"result"}),
		distance: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "slipway_mirror_distance",
			Help:    "How far the answers of two fleets to one request are apart, 0 to 1.",
			Buckets: []float64{0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.99, 1},
		}),
		inFlight: map[flight]int{}, compare: make(chan *both, waiting), done: make(chan struct{}),
		seen: seen{limit: maxSeen},
	}
	m.cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	m.cfg.Timeout = cmp.Or(cfg.Timeout, time.Minute)
	m.cfg.StreamTimeout = cmp.Or(cfg.StreamTimeout, 8*time.Minute)
	if cfg.Registerer != nil {
		if err := m.register(cfg.Registerer); err != nil {
			return nil, err
		}
	}
	for range max(1, runtime.GOMAXPROCS(0)/4) {
		m.workers.Go(m.work)
	}
	return m, nil
}

// Close gives up the copies in flight and waits for them, and for what is being
// compared. It is called once.
func (m *Mirror) Close() {
	m.mu.Lock()
	m.closed.Store(true)
	m.mu.Unlock()
	m.copies.Wait()
	close(m.done)
	m.workers.Wait()
	for {
		select {
		case b := <-m.compare:
			b.finish("", "")
		default:
			return
		}
	}
}

// Gone tells the copies in flight that nobody waits for them any more
// (http1.Watcher).
func (m *Mirror) Gone() bool { return m.closed.Load() }

// Listen has the router show the Mirror its requests.
func (m *Mirror) Listen() {
	m.cfg.Router.Listen(string(shadowKind), shadows{m})
	m.cfg.Router.Listen(string(mirrorKind), fleets{m})
}

// shadows observes for shadow variants.
type shadows struct{ m *Mirror }

// Observe sends copies to the shadows of the fleet that answers.
func (s shadows) Observe(q *router.Request) (router.Exchange, int) {
	for i := range q.Variant.Shadows {
		sh := &q.Variant.Shadows[i]
		for j := range sh.Fleets {
			f := &sh.Fleets[j]
			if !f.Ref().Is(q.Fleet.Ref()) || rand.Float64() >= sh.Ratio {
				continue
			}
			s.m.send(q, shadowKind, f, router.Receiver{Variant: q.Variant.Name, Shadow: sh.Name, Fleet: f.ID}, nil)
		}
	}
	return nil, 0
}

// fleets observes for the new fleets of deployments.
type fleets struct{ m *Mirror }

// Observe sends a copy to the new fleet of what the old one answers, and has both
// answers compared. Streams are not mirrored.
func (f fleets) Observe(q *router.Request) (router.Exchange, int) {
	mi := q.Variant.Mirror
	if mi == nil || q.Streaming || q.Fleet.ID != mi.From || rand.Float64() >= mi.Ratio {
		return nil, 0
	}
	b := f.m.pair(q)
	if !f.m.send(q, mirrorKind, &mi.To, router.Receiver{Variant: q.Variant.Name, Fleet: mi.To.ID}, b) {
		return nil, 0
	}
	return b, maxAnswer
}

// send sends a copy of q, on a goroutine of its own, and reports whether it did.
func (m *Mirror) send(q *router.Request, k kind, f *traffic.Fleet, to router.Receiver, b *both) bool {
	fl := flight{q.Key, to}
	if cause := m.takeOff(fl, perInstance*len(f.Instances)); cause != "" {
		m.drop(k, cause, b)
		return false
	}
	body := q.Hold()
	if body == nil {
		m.land(fl)
		m.drop(k, causeBudget, b)
		return false
	}
	// The fields' memory is the request's, and used again when that is over.
	fields := make([]http1.Field, 0, len(q.Fields)+1)
	for _, h := range q.Fields {
		fields = append(fields, http1.Field{Name: h.Name, Value: strings.Clone(h.Value)})
	}
	c := &router.Call{Key: q.Key, Streaming: q.Streaming, Arrived: time.Now(), Body: sharer{body}}
	timeout := m.cfg.Timeout
	if q.Streaming {
		timeout = m.cfg.StreamTimeout
	}
	c.Request = http1.Outgoing{
		Method: "POST", Path: "/invocations", Fields: append(fields, http1.Field{Name: Header, Value: string(k)}),
		Length: true, Before: c.Arrived.Add(timeout), Client: m,
	}
	go func() {
		defer m.land(fl)
		defer body.Release()
		c.Request.Body = body.Bytes()
		if b != nil {
			if cause := m.seen.again(b.pair.Deployment, b.hash(c.Request.Body), time.Now()); cause != "" {
				m.drop(k, cause, b)
				return
			}
		}
		m.run(c, k, to, b)
	}()
	return true
}

// sharer shares the body of a copy, which is the request's, with those who look on
// at the copy.
type sharer struct{ body *connlimit.Shared }

// Share implements router.Sharer.
func (s sharer) Share() *connlimit.Shared { return s.body.Hold() }

// takeOff counts a copy in; the cause says why it may not be sent.
func (m *Mirror) takeOff(fl flight, limit int) (cause string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch n := m.inFlight[fl]; {
	case m.closed.Load():
		return causeClosed
	case limit == 0:
		return causeInstance
	case n >= limit:
		return causeQueue
	default:
		m.inFlight[fl] = n + 1
	}
	m.copies.Add(1)
	return ""
}

// land counts a copy out.
func (m *Mirror) land(fl flight) {
	m.mu.Lock()
	if m.inFlight[fl]--; m.inFlight[fl] == 0 {
		delete(m.inFlight, fl)
	}
	m.mu.Unlock()
	m.copies.Done()
}

// run sends a copy, reads what comes, and keeps it if it is to be compared.
func (m *Mirror) run(c *router.Call, k kind, to router.Receiver, b *both) {
	err := m.cfg.Router.DoCopy(c, to)
	if c.Variant == "" { // no instance was chosen
		m.drop(k, causeInstance, b)
		return
	}
	m.counters[k].sent.Inc()
	r := &reply{slot: c.Slot}
	for err == nil {
		var part []byte
		if part, err = c.Next(); b != nil {
			m.keep(r, part)
		}
	}
	if b != nil {
		contentType, _ := c.Response.Header("content-type")
		r.contentType = strings.Clone(contentType) // its memory is the connection's
		r.failed = !errors.Is(err, io.EOF) || c.Response.Status < 200 || c.Response.Status > 299
		r.given = m.closed.Load()
	}
	c.Finish()
	m.counters[k].seconds.Add(time.Since(c.Arrived).Seconds())
	if b != nil {
		b.put(&b.green, r)
	}
}

// keep adds to an answer, unless there is no room for it.
func (m *Mirror) keep(r *reply, part []byte) {
	switch n := int64(len(part)); {
	case r.cause != "" || n == 0:
		return
	case len(r.body)+len(part) > maxAnswer:
		r.cause = causeSize
	case m.held.Add(n) > maxHeld:
		m.held.Add(-n)
		r.cause = causeBudget
	default:
		r.body = append(r.body, part...)
		return
	}
	m.release(r)
}

// release lets go of an answer's memory.
func (m *Mirror) release(r *reply) {
	if r.shared != nil {
		r.shared.Release()
	} else {
		m.held.Add(-int64(len(r.body)))
	}
	r.shared, r.body = nil, nil
}
