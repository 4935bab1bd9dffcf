package demo

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/openload"
)

// inFlight bounds the requests under way at one time.
const inFlight = 64

// phase is where in the demo a request was due.
type phase int

const (
	servingV1 phase = iota
	updatingV2
	servingV2
	updatingV3
	afterRollback
	copyingV4
	afterCopies
	driftingV4
	afterDrift
	phases
)

// The marks that divide the phases, in order.
const (
	v2Began = iota
	v2Ended
	v3Began
	v3Ended
	v4Began
	v4Ended
	driftBegan
	driftEnded
	marks
)

// traffic sends the test set at a steady rate and keeps the account.
type traffic struct {
	clients *clients
	images  [][]float32
	labels  []int

	halt     chan struct{}
	finished chan struct{}
	began    time.Time
	report   *openload.Report
	err      error

	sent atomic.Int64
	at   [marks]atomic.Pointer[time.Time]

	mu        sync.Mutex
	answers   map[int]answer // by request, until its result is counted
	phases    [phases]tally
	models    map[string]*scores
	firstLost error
	broken    exposure        // to the broken version
	recent    []time.Duration // p-values of the last ticks are drawn from these
	drawn     []time.Duration // p99 of each past tick
	seen      []seen          // who answered, at the last ticks
}

// answer is what a model made of a request: a digit, or a failure of its own.
type answer struct {
	digit   int
	version string
	failure string // the model's own words, "" for none
}

// tally is what became of the requests of one phase. Every one of them was
// answered, refused by the broken model itself, or lost.
type tally struct {
	ok, broken, lost int
	by               map[string]int // who answered or refused
	latency          openload.Histogram
}

// scores are a version's answers: the last one per image, -1 for none.
type scores struct {
	right, total int
	read         []int
}

// exposure is what the broken version got to see of the traffic.
type exposure struct {
	requests int       // that it answered or refused
	firstBad time.Time // when its first refusal arrived
	lastSent time.Time // when the last request that it got was sent
	image    int       // one that it refused
	words    string    // and what it said
}

func newTraffic(c *clients, images [][]float32, labels []int) *traffic {
	t := &traffic{
		clients: c, images: images, labels: labels,
		halt: make(chan struct{}), finished: make(chan struct{}), began: time.Now(),
		answers: map[int]answer{}, models: map[string]*scores{},
	}
	for i := range t.phases {
		t.phases[i].by = map[string]int{}
	}
	return t
}

func (t *traffic) start(ctx context.Context) {
	cfg := openload.Config{
		Rate: rate, Duration: limit, MaxInFlight: inFlight, Grace: 10 * time.Second, Stop: t.halt, OnResult: t.count,
	}
	go func() {
		defer close(t.finished)
		t.report, t.err = openload.Run(ctx, cfg, t.send)
	}()
}

// finish lets what is under way end and waits for it.
func (t *traffic) finish() error {
	close(t.halt)
	<-t.finished
	return t.err
}

func (t *traffic) mark(m int) {
	now := time.Now()
	t.at[m].Store(&now)
}

func (t *traffic) send(ctx context.Context, seq int) error {
	t.sent.Add(1)
	a, err := t.clients.classify(ctx, t.images[seq%len(t.images)])
	if err == nil || a.failure != "" {
		t.mu.Lock()
		t.answers[seq] = a
		t.mu.Unlock()
	}
	return err
}

// count puts a finished request in its phase. A failure of the model's own is
// excused only while the broken version may answer: every other model has
// answered the whole test set, so who failed is known then.
func (t *traffic) count(r openload.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	where := t.phaseOf(r)
	p := &t.phases[where]
	a := t.answers[r.Seq]
	delete(t.answers, r.Seq)
	switch {
	case r.Class == openload.OK:
		p.ok++
		p.latency.Add(r.Latency())
		t.recent = append(t.recent, r.Latency())
		t.score(a, r.Seq%len(t.images))
	case a.failure != "" && where == updatingV3:
		p.broken++
		a.version = broken
		if t.broken.firstBad.IsZero() || r.Ended.Before(t.broken.firstBad) {
			t.broken.firstBad, t.broken.image, t.broken.words = r.Ended, r.Seq%len(t.images), a.failure
		}
	default:
		p.lost++
		if t.firstLost == nil {
			t.firstLost = r.Err
		}
		return
	}
	p.by[a.version]++
	if a.version == broken {
		t.broken.requests++
		if r.Started.After(t.broken.lastSent) {
			t.broken.lastSent = r.Started
		}
	}
}

func (t *traffic) score(a answer, image int) {
	s := t.models[a.version]
	if s == nil {
		s = &scores{read: make([]int, len(t.images))}
		for i := range s.read {
			s.read[i] = -1
		}
		t.models[a.version] = s
	}
	s.total++
	s.read[image] = a.digit
	if a.digit == t.labels[image] {
		s.right++
	}
}

// phaseOf goes by what the request could see: it is before an update if it
// ended before that began, and after it if it was sent once that was over.
func (t *traffic) phaseOf(r openload.Result) phase {
	for p := servingV1; p < phases-1; p += 2 {
		began, ended := t.at[p].Load(), t.at[p+1].Load()
		if began == nil || r.Ended.Before(*began) {
			return p
		}
		if ended == nil || !r.Started.After(*ended) {
			return p + 1
		}
	}
	return phases - 1
}

type sum struct{ sent, ok, broken, lost int }

func (t *traffic) sum() sum {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := sum{sent: int(t.sent.Load())}
	for i := range t.phases {
		s.ok += t.phases[i].ok
		s.broken += t.phases[i].broken
		s.lost += t.phases[i].lost
	}
	return s
}

// shares are the requests that each version answered or refused, in the order
// of versions.
type shares [4]int

func (s shares) total() (all int) {
	for _, n := range s {
		all += n
	}
	return all
}

func (s shares) since(before shares) shares {
	for i := range s {
		s[i] -= before[i]
	}
	return s
}

// over turns counts into requests a second.
func (s shares) over(d time.Duration) shares {
	for i := range s {
		s[i] = int(float64(s[i])/max(d, time.Millisecond).Seconds() + 0.5)
	}
	return s
}

// shares returns who took the requests so far.
func (t *traffic) shares() (s shares) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.phases {
		for v, name := range versions() {
			s[v] += t.phases[i].by[name]
		}
	}
	return s
}

// exposed returns what the broken version has seen so far.
func (t *traffic) exposed() exposure {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.broken
}

// only reports whether all requests of a phase, and at least one of each, were
// answered or refused by the given versions.
func (t *traffic) only(p phase, versions ...string) bool {
	all := 0
	for _, v := range versions {
		n := t.phases[p].by[v]
		if n == 0 {
			return false
		}
		all += n
	}
	return all == t.phases[p].ok+t.phases[p].broken
}

// accuracy is the share of right answers of a version.
func (t *traffic) accuracy(version string) float64 {
	s := t.models[version]
	if s == nil || s.total == 0 {
		return 0
	}
	return float64(s.right) / float64(s.total)
}

// improved finds an image that v1 read wrong and v2 reads right.
func (t *traffic) improved() (image []float32, v1, v2 int, ok bool) {
	one, two := t.models["v1"], t.models["v2"]
	if one == nil || two == nil {
		return nil, 0, 0, false
	}
	for i, label := range t.labels {
		if one.read[i] >= 0 && one.read[i] != label && two.read[i] == label {
			return t.images[i], one.read[i], two.read[i], true
		}
	}
	return nil, 0, 0, false
}
