package gates

import (
	"context"
	"crypto/rand"
	"math"
	mathrand "math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/answer"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// The bounds of reading answers.
const (
	aSecond  = 250 // answers of a variant that are read in a second, about
	inHand   = 256 // of a variant that are waited for or wait to be read
	allHands = 1024
)

// reading is what answers of one variant are read for: until enough of the old
// fleet's are known for its past, and then to be compared. The key of the labels is
// gone when the deployment is over.
type reading struct {
	fleets  Fleets
	outputs []answer.Selector
	key     []byte
	part    atomic.Uint64 // of the requests that are read, as bits
	offered atomic.Uint32 // since the last look
	taken   atomic.Int32  // in hand
	shed    atomic.Int64  // for want of room, since the last look

	mu     sync.Mutex // guards what follows
	past   *past
	from   time.Time // what was drawn from then on is compared
	looks  []look
	counts map[evidence.Count]float64 // by count without N
	read   int64
}

// newReading begins to read for a gate.
func newReading(f Fleets, g gate.Gate) *reading {
	r := &reading{fleets: f, key: make([]byte, 32), past: &past{}, counts: map[evidence.Count]float64{}}
	_, _ = rand.Read(r.key) // it never fails
	r.part.Store(math.Float64bits(1))
	for _, o := range g.Outputs {
		sel, err := answer.ParseSelector(o.Selector)
		if err != nil {
			continue // it was checked when it was accepted
		}
		r.outputs = append(r.outputs, sel)
	}
	if len(r.outputs) == 0 {
		r.outputs = []answer.Selector{{}}
	}
	return r
}

// reader looks at answers for the service (router.Observer).
type reader struct{ *Service }

// Listen has a router show the service its requests.
func (s *Service) Listen(r *router.Router) { r.Listen("gates", reader{s}) }

// newUnread counts what is not read.
func newUnread() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "slipway_gate_unread_total",
		Help: "Answers that gates did not get to read, by cause: queue (for want of room), or panic (of the reader).",
	}, []string{"cause"})
}

// Observe takes an interest in a part of the requests of deployments whose gates
// read answers. Whether there is room for one is decided before anything is known
// of its answer.
func (r reader) Observe(q *router.Request) (router.Exchange, int) {
	if q.Variant.Reads == "" {
		return nil, 0
	}
	all := r.Counter.watched.Load()
	if all == nil {
		return nil, 0
	}
	w := (*all)[Place{q.Key, q.Variant.Name}]
	if w == nil || q.Draw.Fleet != w.fleets.Old && q.Draw.Fleet != w.fleets.New {
		return nil, 0
	}
	in := w.reading.Load()
	if in == nil {
		return nil, 0
	}
	if in.offered.Add(1); mathrand.Float64() >= math.Float64frombits(in.part.Load()) {
		return nil, 0
	}
	if in.taken.Add(1) > inHand {
		in.taken.Add(-1)
		in.shed.Add(1)
		r.unread.WithLabelValues("queue").Inc()
		return nil, 0
	}
	return &exchange{s: r.Service, reading: in, draw: q.Draw}, answer.MaxFeatures
}

// exchange is a request whose answer is to be read.
type exchange struct {
	s       *Service
	reading *reading
	draw    traffic.Draw

	contentType string
	body        *connlimit.Shared
	size        int
	unknown     bool // what would have been answered
	refused     bool // it is the caller's fault that there is none
}

// End hands the answer over to be read (router.Exchange).
func (x *exchange) End(a *router.Answer) {
	s := &a.Sample
	switch {
	case a.Status >= 400 && a.Status < 500 && (a.Whole || a.Cut) && !s.Abandoned: // however long it is
		x.refused = true
	case !a.Whole || a.Status < 200 || a.Status > 299 || a.Dropped:
		x.unknown = true
	case a.Truncated:
		x.size = answer.MaxFeatures + 1
	case len(a.Body) > 0:
		x.size, x.contentType = len(a.Body), strings.Clone(a.ContentType)
		if x.body = a.Hold(); x.body == nil {
			x.unknown = true
		}
	}
	select {
	case x.s.answers <- x:
	default:
		x.drop()
	}
}

// drop lets go of an answer that is not read.
func (x *exchange) drop() {
	x.reading.shed.Add(1)
	x.s.unread.WithLabelValues("queue").Inc()
	x.release()
}

func (x *exchange) release() {
	if x.body != nil {
		x.body.Release()
	}
	x.reading.taken.Add(-1)
}

// readAnswers reads what was answered, until ctx ends.
func (s *Service) readAnswers(ctx context.Context) {
	for {
		select {
		case x := <-s.answers:
			s.read(x)
		case <-ctx.Done():
			for {
				select {
				case x := <-s.answers:
					x.release()
				default:
					return
				}
			}
		}
	}
}

// readers is how many read at the same time.
func readers() int { return max(1, runtime.GOMAXPROCS(0)/4) }

// read reads an answer. Answers are a model's, and so anybody's: what they do to
// the reader must not reach anything else.
func (s *Service) read(x *exchange) {
	defer x.release()
	defer func() {
		if why := recover(); why != nil {
			s.cfg.Log.Error("an answer could not be read", "fleet", x.draw.Fleet, "panic", why)
			s.unread.WithLabelValues("panic").Inc()
			x.reading.add(x.draw, nil)
		}
	}()
	if x.unknown {
		x.reading.add(x.draw, nil)
		return
	}
	var body []byte
	if x.body != nil {
		body = x.body.Bytes()
	}
	x.reading.add(x.draw, x.reading.features(x.contentType, body, x.size, x.refused))
}

// features are what is counted of an answer, by output.
func (r *reading) features(contentType string, body []byte, size int, refused bool) []answer.Features {
	fs := make([]answer.Features, len(r.outputs))
	for i, sel := range r.outputs {
		if refused {
			fs[i] = answer.Features{Bad: true}
			continue
		}
		fs[i] = answer.ReadFeatures(contentType, body, size, sel, r.key)
	}
	return fs
}

// add counts an answer by the draw of its request; nil: it is not known.
func (r *reading) add(d traffic.Draw, fs []answer.Features) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := d.Fleet == r.fleets.Old
	if r.past != nil {
		if old && fs != nil {
			r.past.add(fs)
		}
		return
	}
	if !(d.Share > 0 && d.Share < 1) || d.Role == traffic.NeitherFleet || d.At.Before(r.from) {
		return
	}
	r.read++
	for i := range r.looks {
		l := &r.looks[i]
		n := evidence.Count{Share: d.Share, Old: old}
		if !old {
			n.Slot = d.Slot
		}
		if n.Cell = l.first + l.profile.Failure(); fs != nil {
			n.Cell = l.cell(&fs[l.output])
		}
		r.counts[n]++
	}
}

// take returns what was counted since the last call; begins says that looks are new:
// from now on answers are compared by them.
func (r *reading) take() (counts map[evidence.Count]float64, begins []look) {
	offered := r.offered.Swap(0)
	r.part.Store(math.Float64bits(min(1, aSecond/float64(max(1, offered)))))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.past != nil {
		if r.looks = r.past.looks(); r.looks != nil {
			r.past, r.from = nil, time.Now().Add(lead)
			return nil, r.looks
		}
	}
	counts, r.counts = r.counts, map[evidence.Count]float64{}
	return counts, nil
}

// setAnswers takes what was read of a variant's answers, and begins to compare them
// once the old fleet's past is known.
func (s *Service) setAnswers(w *watched, v *variantOf, now time.Time) {
	c := v.scale(evidence.Drift)
	in := v.pace.reading.Load()
	if c == nil || in == nil {
		return
	}
	counts, looks := in.take()
	v.unread += in.shed.Swap(0)
	if looks != nil {
		g, _ := gate.Find(w.gates, gate.Drift)
		v.looks, v.known = looks, now
		c.Process = evidence.New(testOf(g, looks))
	}
	for n, times := range counts {
		n.N = times
		c.Count(n)
	}
}
