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
	beforeUpdate phase = iota
	duringUpdate
	afterUpdate
	phases
)

// The marks that divide the phases.
const (
	updateBegan = iota
	updateEnded
	marks
)

// traffic sends the test set at a steady rate and keeps the account.
type traffic struct {
	clients *clients
	images  [][]float32
	labels  []int

	halt     chan struct{}
	finished chan struct{}
	report   *openload.Report
	err      error

	sent atomic.Int64
	at   [marks]atomic.Pointer[time.Time]

	mu      sync.Mutex
	answers map[int]answer // by request, until its result is counted
	phases  [phases]tally
	models  map[string]*scores
	recent  []time.Duration // p-values of the last ticks are drawn from these
	drawn   []time.Duration // p99 of each past tick
	seen    [2]int          // answers of v1 and v2 at the last glance
}

type answer struct {
	digit   int
	version string
}

// tally is what became of the requests of one phase.
type tally struct {
	ok, failed int
	by         map[string]int
	latency    openload.Histogram
}

// scores are a version's answers: the last one per image, -1 for none.
type scores struct {
	right, total int
	read         []int
}

func newTraffic(c *clients, images [][]float32, labels []int) *traffic {
	t := &traffic{
		clients: c, images: images, labels: labels,
		halt: make(chan struct{}), finished: make(chan struct{}),
		answers: map[int]answer{}, models: map[string]*scores{},
	}
	for i := range t.phases {
		t.phases[i].by = map[string]int{}
	}
	return t
}

func (t *traffic) start(ctx context.Context) {
	cfg := openload.Config{Rate: rate, Duration: limit, MaxInFlight: inFlight, Grace: 10 * time.Second, Stop: t.halt, OnResult: t.count}
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
	digit, version, err := t.clients.classify(ctx, t.images[seq%len(t.images)])
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answers[seq] = answer{digit, version}
	return nil
}

// count puts a finished request in its phase.
func (t *traffic) count(r openload.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.phases[t.phaseOf(r)]
	if r.Class != openload.OK {
		p.failed++
		return
	}
	a := t.answers[r.Seq]
	delete(t.answers, r.Seq)
	p.ok++
	p.by[a.version]++
	p.latency.Add(r.Latency())
	t.recent = append(t.recent, r.Latency())
	t.score(a, r.Seq%len(t.images))
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

// phaseOf goes by what the request could see: it is before the update if it
// ended before that began, and after it if it was sent once that was over.
func (t *traffic) phaseOf(r openload.Result) phase {
	began, ended := t.at[updateBegan].Load(), t.at[updateEnded].Load()
	switch {
	case began == nil || r.Ended.Before(*began):
		return beforeUpdate
	case ended != nil && r.Started.After(*ended):
		return afterUpdate
	}
	return duringUpdate
}

type sum struct{ sent, ok, failed int }

func (t *traffic) sum() sum {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := sum{sent: int(t.sent.Load())}
	for i := range t.phases {
		s.ok += t.phases[i].ok
		s.failed += t.phases[i].failed
	}
	return s
}

// only reports whether all answers of a phase, and at least one, came from
// version.
func (t *traffic) only(p phase, version string) bool {
	return t.phases[p].ok > 0 && t.phases[p].by[version] == t.phases[p].ok
}

// both reports whether both versions, and no other, answered in the update.
func (t *traffic) both() bool {
	by := t.phases[duringUpdate].by
	return by["v1"] > 0 && by["v2"] > 0 && by["v1"]+by["v2"] == t.phases[duringUpdate].ok
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
