package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// Pipeline takes events and brings them to their destination while Run runs.
type Pipeline struct {
	cfg   Config
	cloud Cloud
	log   *slog.Logger
	disk  *disk // nil if everything goes to the cloud

	full chan struct{} // holds a value when a batch waits
	some chan struct{} // holds a value when the first event waits

	mu     sync.Mutex
	buffer []*Request // circular
	first  int        // of those that wait
	count  int
	bytes  int64 // waiting or being flushed
	status map[string]Status
	order  []string // the ids whose outcome is known, oldest first from ended on
	ended  int

	captured, refused, failed, uploaded atomic.Int64
}

// New returns a pipeline that takes events at once and flushes them while Run
// runs. cloud may be nil if nothing is uploaded.
func New(c Config, cloud Cloud, log *slog.Logger) (*Pipeline, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if cloud == nil && (c.Destination == ToCloud || c.Upload) {
		return nil, errors.New("captures are to be uploaded and there is no cloud")
	}
	p := &Pipeline{
		cfg: c, cloud: cloud, log: log, full: make(chan struct{}, 1), some: make(chan struct{}, 1),
		buffer: make([]*Request, c.BufferSize), status: map[string]Status{},
	}
	if c.Destination == ToDisk {
		d, err := openDisk(&p.cfg)
		if err != nil {
			return nil, err
		}
		p.disk = d
	}
	return p, nil
}

// Capture takes r into the buffer; see the package comment for its errors.
func (p *Pipeline) Capture(_ context.Context, r Request) error {
	if err := check(&r); err != nil {
		return err
	}
	if r.Time.After(time.Now()) {
		return ErrFuture
	}
	if p.cfg.Destination == ToCloud && !p.cloud.Online() {
		return ErrOffline
	}
	size := r.size()
	p.mu.Lock()
	if _, known := p.status[r.ID]; known {
		p.mu.Unlock()
		return ErrDuplicate
	}
	if p.count == len(p.buffer) || p.bytes+size > p.cfg.BufferBytes {
		p.mu.Unlock()
		p.refused.Add(1)
		return ErrFull
	}
	p.buffer[(p.first+p.count)%len(p.buffer)] = &r
	p.count++
	p.bytes += size
	p.status[r.ID] = InProgress
	n := p.count
	p.mu.Unlock()
	if n == 1 {
		signal(p.some)
	}
	if n >= p.cfg.BatchSize {
		signal(p.full)
	}
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // a value waits already
	}
}

// maxParts bounds how many tensors one event has.
const maxParts = 256

// check refuses what could not be written down.
func check(r *Request) error {
	if !idShape.MatchString(r.ID) {
		return fault.New(fault.Invalid, "the capture id must be 1 to 128 letters, digits and : _ . -, not %.140q", r.ID)
	}
	if !segment.MatchString(r.ModelName) {
		return fault.New(fault.Invalid, "the model name %.140q is not a name", r.ModelName)
	}
	if y := r.Time.UTC().Year(); y < 1 || y > 9999 {
		return fault.New(fault.Invalid, "the time of the inference is not in the years 1 to 9999")
	}
	if n := len(r.Inputs) + len(r.Outputs) + len(r.AuxInputs) + len(r.AuxOutputs); n > maxParts {
		return fault.New(fault.Invalid, "an event may have %d tensors and auxiliary data, not %d", maxParts, n)
	}
	for _, list := range [][]tensor.Tensor{r.Inputs, r.Outputs} {
		for i := range list {
			t := &list[i]
			if t.Type == tensor.Invalid || t.Type > tensor.String {
				return fault.New(fault.Invalid, "tensor %.80q has no type", t.Name)
			}
			n, ok := tensor.Elements(t.Shape, 1<<40)
			if !ok || n != int64(t.Len()) || t.Type != tensor.String && len(t.Data) != t.Len()*t.Type.Size() {
				return fault.New(fault.Invalid,
					"tensor %.80q: its shape %s does not agree with its data", t.Name, tensor.ShapeString(t.Shape))
			}
		}
	}
	for _, list := range [][]Auxiliary{r.AuxInputs, r.AuxOutputs} {
		for i := range list {
			switch list[i].Encoding {
			case CSV, JSON, None, Base64:
			default:
				return fault.New(fault.Invalid,
					"the auxiliary data %.80q has the unknown encoding %.20q", list[i].Name, string(list[i].Encoding))
			}
		}
	}
	return nil
}

// size is what r holds in memory, about.
func (r *Request) size() int64 {
	n := 512
	for _, list := range [][]tensor.Tensor{r.Inputs, r.Outputs} {
		for i := range list {
			n += 128 + len(list[i].Data) + len(list[i].Name)
			for _, s := range list[i].Strings {
				n += 16 + len(s)
			}
		}
	}
	for _, list := range [][]Auxiliary{r.AuxInputs, r.AuxOutputs} {
		for i := range list {
			n += 64 + len(list[i].Data) + len(list[i].Name)
		}
	}
	return int64(n)
}

// Status tells how far the event of a capture id has come.
func (p *Pipeline) Status(id string) Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.status[id]; ok {
		return s
	}
	return NotFound
}

// Stats returns the counts.
func (p *Pipeline) Stats() Stats {
	s := Stats{
		Captured: p.captured.Load(), Refused: p.refused.Load(), Failed: p.failed.Load(), Uploaded: p.uploaded.Load(),
	}
	if p.disk != nil {
		s.Deleted, s.DiskBytes = p.disk.deleted.Load(), p.disk.used.Load()
	}
	return s
}

// Run flushes batches, and uploads what is on the disk if that is configured,
// until ctx ends; then it flushes what waits, within ten seconds, and returns.
func (p *Pipeline) Run(ctx context.Context) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(lastFlush):
			cancel()
		case <-work.Done():
		}
	})()
	var wg sync.WaitGroup
	if p.cfg.Upload && p.disk != nil {
		wg.Go(func() { p.uploads(ctx, work) })
	}
	p.flushes(ctx, work)
	wg.Wait()
	if p.disk != nil {
		p.disk.close()
	}
}

// lastFlush bounds what happens after the end is asked for.
const lastFlush = 10 * time.Second

func (p *Pipeline) flushes(ctx, work context.Context) {
	due := time.NewTimer(p.cfg.PushPeriod) // runs while something waits
	due.Stop()
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			for p.flush(work) {
			}
			return
		case <-p.some:
			due.Reset(p.cfg.PushPeriod)
			continue
		case <-p.full:
		case <-due.C:
		}
		for p.flush(work) && p.waiting() >= p.cfg.BatchSize {
		}
		if p.waiting() > 0 {
			due.Reset(p.cfg.PushPeriod)
		}
	}
}

func (p *Pipeline) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// nextBatch removes a batch from the buffer.
func (p *Pipeline) nextBatch() []*Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	batch := make([]*Request, min(p.count, p.cfg.BatchSize))
	for i := range batch {
		batch[i], p.buffer[p.first] = p.buffer[p.first], nil
		p.first = (p.first + 1) % len(p.buffer)
	}
	p.count -= len(batch)
	return batch
}

// flush writes a batch, one manifest for each model and hour in it; false if
// nothing waited.
func (p *Pipeline) flush(ctx context.Context) bool {
	batch := p.nextBatch()
	if len(batch) == 0 {
		return false
	}
	groups := map[string][]*Request{}
	for _, r := range batch {
		f := p.cfg.folder(r.ModelName, r.Time)
		groups[f] = append(groups[f], r)
	}
	for folder, list := range groups {
		err := p.write(ctx, folder, list)
		if err != nil {
			p.log.Warn("captured events were lost", "events", len(list), "model", list[0].ModelName, "err", err)
		}
		p.done(list, err)
	}
	return true
}

func (p *Pipeline) write(ctx context.Context, folder string, list []*Request) error {
	w := &writer{cfg: &p.cfg}
	if p.disk != nil {
		w.refer = func(name string) string { return p.disk.reference(folder, name) }
		w.taken = func(name string) bool { return p.disk.exists(folder, name) }
	} else {
		w.refer = func(name string) string { return "s3://" + p.cfg.Bucket + "/" + folder + "/" + name }
	}
	for _, r := range list {
		if err := w.add(r); err != nil {
			return err
		}
	}
	if p.disk != nil {
		return p.disk.write(folder, w)
	}
	return p.put(ctx, folder, w)
}

// done publishes the outcome of events and forgets the oldest outcomes.
func (p *Pipeline) done(list []*Request, err error) {
	outcome, counter := Success, &p.captured
	if err != nil {
		outcome, counter = Failure, &p.failed
	}
	counter.Add(int64(len(list)))
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range list {
		p.status[r.ID] = outcome
		p.bytes -= r.size()
		if len(p.order) < p.cfg.Statuses {
			p.order = append(p.order, r.ID)
			continue
		}
		delete(p.status, p.order[p.ended])
		p.order[p.ended] = r.ID
		p.ended = (p.ended + 1) % len(p.order)
	}
}

// String returns the status's name in spec §7.1.
func (s Status) String() string {
	switch s {
	case Failure:
		return "FAILURE"
	case Success:
		return "SUCCESS"
	case InProgress:
		return "IN_PROGRESS"
	case NotFound:
		return "NOT_FOUND"
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}
