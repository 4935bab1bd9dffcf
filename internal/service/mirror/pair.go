package mirror

import (
	"cmp"
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/answer"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/service/router"
)

const (
	maxAnswer = answer.MaxBody // bytes of an answer that are compared; of longer ones nothing is
	waiting   = 64             // pairs that wait to be compared
	maxHeld   = 64 << 20       // bytes of answers to copies that wait for it
)

// Kind is what came of a request that was meant for both fleets.
type Kind string

// The kinds of pairs. If both fleets failed, or the old one's caller left, there is
// none.
const (
	Compared  Kind = "compared"   // both answered: D is how far apart they are
	NewFailed Kind = "new failed" // the old fleet answered, the new one did not, or not with 2xx
	OldFailed Kind = "old failed" // the new fleet answered with 2xx, the old one not
	Shed      Kind = "shed"       // no copy was sent, or the answers were not compared: Cause says why
)

// Pair is one request that both fleets of a deployment were sent.
type Pair struct {
	Key        traffic.Key
	Deployment string
	Variant    string
	Drawn      time.Time // the request, for the old fleet
	Slot       int       // place of the instance of the new fleet
	Epoch      int64     // version of the route that the request was drawn from
	// RequestHash tells different requests apart, under a key of this process.
	RequestHash uint64
	Kind        Kind
	D           float64 // of Compared: 0 if the answers agree, at most 1; of several outputs the largest
	How         answer.How
	Cause       string // of Shed
	// Unread is, of Shed, one pair by why nothing was compared though both answers were
	// there; zero if it was for want of room.
	Unread gate.Unread
	// Answered says, of Shed, that both fleets answered all the same.
	Answered bool
	// Example says where the request and the caller's answer are captured; zero if that
	// is not sure.
	Example gate.Example
}

// unread says which of the causes are no want of room.
func unread(cause string) gate.Unread {
	switch cause {
	case causeNothing:
		return gate.Unread{Blank: 1}
	case causeSize:
		return gate.Unread{Long: 1}
	case causeLoose:
		return gate.Unread{Loose: 1}
	}
	return gate.Unread{}
}

// both are the two answers to one request, as they come.
type both struct {
	m       *Mirror
	outputs []traffic.Output
	judged  bool   // traffic.Mirror's
	from    string // id of the old fleet
	pair    Pair

	mu         sync.Mutex
	over       bool // it is compared, or will not be
	old, green *reply
}

// reply is one answer.
type reply struct {
	slot        int
	contentType string
	at          time.Time // when the request was over, of the old fleet's
	body        []byte
	shared      *connlimit.Shared // whose bytes body is; nil: its own
	failed      bool
	given       bool   // it was given up because the server stops
	cause       string // why it cannot be compared
}

// pair prepares for the answers to q.
func (m *Mirror) pair(q *router.Request) *both {
	mi := q.Variant.Mirror
	return &both{m: m, outputs: mi.Outputs, judged: mi.Judged, from: mi.From, pair: Pair{
		Key: q.Key, Deployment: mi.Deployment, Variant: q.Variant.Name, Epoch: q.Draw.Epoch,
		Drawn: q.Draw.At, Example: example(q),
	}}
}

// example refers to where q is captured, if every request of the fleet is, and by what
// its caller gave it.
func example(q *router.Request) (e gate.Example) {
	if c := q.Fleet.Capture; c != nil && c.Percent >= 100 {
		e.Under = strings.TrimRight(c.Destination, "/") + "/" + q.Key.Name + "/" + q.Variant.Name
		e.Inference = strings.Clone(q.Header("X-Amzn-SageMaker-Inference-Id")) // not the whole head
	}
	return e
}

func (b *both) hash(body []byte) uint64 {
	b.pair.RequestHash = maphash.Bytes(seed, body)
	return b.pair.RequestHash
}

// End takes the answer that the caller got (router.Exchange).
func (b *both) End(a *router.Answer) {
	if a.Sample.Abandoned || a.Sample.Fleet != b.from { // nobody knows what the old fleet would have said
		b.end()
		return
	}
	r := &reply{contentType: strings.Clone(a.ContentType), at: time.Now()}
	switch {
	case !a.Whole || a.Status < 200 || a.Status > 299:
		r.failed = true
	case a.Dropped:
		r.cause = causeBudget
	case a.Truncated:
		r.cause = causeSize
	case len(a.Body) > 0:
		if r.shared = a.Hold(); r.shared == nil {
			r.cause = causeBudget
		} else {
			r.body = r.shared.Bytes()
		}
	}
	b.put(&b.old, r)
}

// shed says that there will be no comparison.
func (b *both) shed(cause string) {
	b.end()
	switch cause {
	case causeRepeated, causeDistinct, causeClosed:
		// What was seen already is not unseen, a part that is drawn by the requests alone
		// stands for all of them, and at the end nobody asks.
		return
	}
	b.tell(Shed, cause)
}

// put keeps one answer, and has the two compared once the other is there.
func (b *both) put(at **reply, r *reply) {
	b.mu.Lock()
	if b.over {
		b.m.release(r)
		b.mu.Unlock()
		return
	}
	*at = r
	ready := b.old != nil && b.green != nil
	b.mu.Unlock()
	switch {
	case !ready:
	case b.green.given || b.m.closed.Load() || b.old.failed && b.green.failed:
		b.finish("", "")
	case b.old.failed:
		b.finish(OldFailed, "")
	case b.green.failed:
		b.finish(NewFailed, "")
	case b.old.cause != "":
		b.finish(Shed, b.old.cause)
	case b.green.cause != "":
		b.finish(Shed, b.green.cause)
	default:
		select {
		case b.m.compare <- b:
		default:
			b.finish(Shed, causeQueue)
		}
	}
}

// finish lets go of the answers and tells of the pair; k "" is none.
func (b *both) finish(k Kind, cause string) {
	b.pair.Slot, b.pair.Answered = b.green.slot, k == Shed
	if b.pair.Example.Under != "" {
		b.pair.Example = b.pair.Example.Captured(b.old.at)
	}
	b.end()
	if k == Shed {
		b.m.counters[mirrorKind].dropped.WithLabelValues(cause).Inc()
	}
	if k != "" {
		b.tell(k, cause)
	}
}

// end lets go of the answers that are there, and of those that come.
func (b *both) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	for _, r := range []*reply{b.old, b.green} {
		if r != nil {
			b.m.release(r)
		}
	}
}

func (b *both) tell(k Kind, cause string) {
	p := b.pair
	p.Kind, p.Cause, p.Unread = k, cause, unread(cause)
	b.m.pairs.WithLabelValues(string(k)).Inc()
	if k == Compared {
		b.m.distance.Observe(p.D)
	}
	if b.m.cfg.Pairs != nil {
		b.m.cfg.Pairs(p)
	}
}

// work compares what waits for it.
func (m *Mirror) work() {
	for {
		select {
		case b := <-m.compare:
			b.finish(b.measure())
		case <-m.done:
			return
		}
	}
}

// measure says how far the answers are apart: of several outputs, those that are
// the farthest. An output that cannot be compared says nothing of the others: it is
// passed over, whatever they say, and the pair is shed only if there is none. Answers
// are a model's, and so anybody's: what they do to the reader must not reach anything
// else.
func (b *both) measure() (k Kind, cause string) {
	defer func() {
		if why := recover(); why != nil {
			b.m.cfg.Log.Error("answers could not be compared", "deployment", b.pair.Deployment, "panic", why)
			k, cause = Shed, causeNothing
		}
	}()
	outputs := b.outputs
	if len(outputs) == 0 {
		outputs = []traffic.Output{{}}
	}
	k = Shed
	for _, o := range outputs {
		sel, err := answer.ParseSelector(o.Selector)
		if err != nil {
			return Shed, causeNothing // it was checked when it was accepted
		}
		old := answer.Read(b.old.contentType, b.old.body, sel)
		green := answer.Read(b.green.contentType, b.green.body, sel)
		d, err := answer.Distance(old, green, answer.Tolerance{Absolute: o.Within})
		switch {
		case err != nil:
			cause = cmp.Or(cause, causeNothing)
			continue
		case d.Loose && b.judged:
			cause = cmp.Or(cause, causeLoose)
			continue
		}
		if k == Shed || d.D > b.pair.D {
			b.pair.D, b.pair.How = d.D, d.How
		}
		k = Compared
	}
	if k == Compared {
		return k, ""
	}
	return k, cause
}
