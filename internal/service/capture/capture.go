// Package capture keeps what requests and answers of endpoints said
// (DataCaptureConfig, spec §5): one line of JSON for each request that was drawn,
// in files that go into a bucket. It promises that no request waits for it or
// fails by it, that everything it holds is bounded and what does not fit is
// dropped and counted, and that no object holds half a line. Deciding which
// configuration is accepted is not its job (package hosting), nor is serving
// objects (package objects).
//
// A record waits in memory, bounded for each variant, until the writer has
// appended its line to a file of the spool, the variant's own. A file that is 60
// seconds old, has 5 MiB, or whose hour, fleet or server ends is closed; it is put
// into the bucket and removed. What a crash leaves in the spool is put into the
// bucket at the next start, but for a last line that is not whole.
package capture

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/objects"
)

// Limits that are the service's own.
const (
	maxAge     = time.Minute // of a file that is written
	maxFile    = 5 << 20     // bytes after which a file is closed
	maxWaiting = 4096        // records of one variant that wait for the writer
	maxHeld    = 32 << 20    // bytes that they keep
	// maxInline is how large both bodies of a request may be together for its line to
	// be written on the request's own goroutine: as little as that is done sooner than
	// the bodies are kept for somebody else. Bytes.
	maxInline = 16 << 10
	// gather is how long the writer lets records come together: a wake-up for each
	// would cost the requests more than the lines do.
	gather = 10 * time.Millisecond
	// retry is how long a destination or a spool that failed is left alone.
	retry = 10 * time.Second
	// putTimeout is how long one file may take.
	putTimeout = time.Minute
	// lifetime is how long a file waits for a bucket that is not there.
	lifetime = 24 * time.Hour
	// stopTimeout is how long a server that stops tries to get rid of its files; the
	// next start goes on with what is left.
	stopTimeout = 10 * time.Second
	tellEvery   = time.Minute // how often the log hears that a variant's requests are dropped
)

// Objects is where files go.
type Objects interface {
	HeadBucket(ctx context.Context, name string) (objects.Bucket, error)
	Put(ctx context.Context, bucket, key string, body io.Reader, p objects.Put) (objects.Info, error)
	// Adopt is Put for a file on the same file system, which is not there any more
	// afterwards; one on another is a syscall.EXDEV.
	Adopt(ctx context.Context, bucket, key string, f objects.File, p objects.Put) (objects.Info, error)
}

// Config is what a Service is made of.
type Config struct {
	Dir     string // of the spool; made if there is none
	Objects Objects
	// Route returns where an endpoint's requests go now: a variant that no longer
	// captures has its last file closed.
	Route func(traffic.Key) (traffic.Route, bool)

	SpoolBytes  int64 // beyond which nothing is captured until seven tenths of it are free again
	StopAt      int   // per cent of the disk in use at which nothing is captured any more; 100: never
	ResumeBelow int   // per cent of the disk in use below which it goes on
	// DiskUsed returns how much of the spool's disk is in use, in per cent. Nil: the
	// file system is asked.
	DiskUsed func(dir string) (float64, error)

	Registerer prometheus.Registerer // where the counters are shown; nil: nowhere
	Log        *slog.Logger          // nil: discard
}

// Record is one request as it is to be captured. The service keeps its slices
// until it calls Release.
type Record struct {
	Key     traffic.Key
	Variant string
	Capture *traffic.Capture
	At      time.Time // when it was over; zero: now

	Attributes, Inference string // "": the caller sent none
	Input, Output         Side
	Release               func() // nil: nobody waits for it
}

// Side is one direction of a request.
type Side struct {
	Taken       bool // false: it is not part of the line
	ContentType string
	Data        []byte
	Truncated   bool // there was more
}

func (r *Record) size() int { return len(r.Input.Data) + len(r.Output.Data) }

func (r *Record) release() {
	if r.Release != nil {
		r.Release()
	}
}

// item is a record that waits for the writer: the record itself, or its line.
type item struct {
	at   time.Time
	size int   // bytes that it keeps
	line *line // nil: it is still to be written
	rec  *Record
}

// Service captures. Its methods may be called at the same time.
type Service struct {
	Config
	lines     sync.Pool // *line that nobody uses
	exchanges sync.Pool // *exchange, likewise
	spool     *spool
	up        *uploader
	stopped   atomic.Pointer[string] // why nothing is captured at all; nil: it is
	counts    counters

	wake chan struct{} // a stream has records
	mu   sync.Mutex    // guards what follows, and the queues of the streams
	// streams are by their place; dirty are those that have records.
	streams map[place]*stream
	dirty   []*stream
	ended   bool // nobody will write any more
}

// place is where lines of one variant go.
type place struct {
	key                  traffic.Key
	variant, destination string
}

// stream is what waits for, and is written to, one place.
type stream struct {
	place
	capture *traffic.Capture

	// Guarded by Service.mu.
	waiting []item
	held    int // records that wait or are being written
	bytes   int // that they keep
	dropped int // since the log was told
	told    time.Time
	stamp   stamp

	// The writer's own.
	spare []item
	text  []byte
	file  *file // that is written; nil: none
	lines int   // in text
}

// New returns a service that captures once it runs.
func New(c Config) (*Service, error) {
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	if c.DiskUsed == nil {
		c.DiskUsed = diskUsed
	}
	s := &Service{Config: c, counts: newCounters(), wake: make(chan struct{}, 1), streams: map[place]*stream{}}
	s.spool = &spool{dir: c.Dir, open: openFile}
	s.up = newUploader(s)
	return s, s.counts.register(c.Registerer, s)
}

// Take captures a request, or drops and counts it.
func (s *Service) Take(r Record) { s.take(&r) }

// take is Take; it keeps nothing of a small request.
func (s *Service) take(r *Record) {
	if s.stopped.Load() != nil {
		s.drop(r, causeStopped)
		return
	}
	it := item{at: r.At}
	if r.size() <= maxInline {
		it.line = s.lineOf(r)
		it.size = cap(it.line.text)
	} else {
		it.rec, it.size = new(*r), r.size()
	}
	switch first, cause := s.queue(r, it); {
	case cause != "":
		s.recycle(it.line)
		s.drop(r, cause)
		return
	case first:
		select {
		case s.wake <- struct{}{}:
		default: // the writer is woken already
		}
	}
	if it.line != nil {
		r.release()
	}
}

// queue has a record wait for the writer, or says why it cannot; first says that
// nothing else waits. A record without a time gets it here, so that those that
// wait are in the order of their times.
func (s *Service) queue(r *Record, it item) (first bool, cause string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false, causeStopped
	}
	at := place{r.Key, r.Variant, r.Capture.Destination}
	st := s.streams[at]
	if st == nil {
		st = &stream{place: at}
		s.streams[at] = st
	}
	if st.held >= maxWaiting || st.held > 0 && st.bytes+it.size > maxHeld {
		st.dropped++
		return false, causeFull
	}
	if it.at.IsZero() {
		it.at = time.Now()
	}
	if it.line != nil {
		st.stamp.set(it.line, it.at)
	} else {
		it.rec.At = it.at
	}
	st.capture = r.Capture
	st.held++
	st.bytes += it.size
	if len(st.waiting) == 0 {
		s.dirty = append(s.dirty, st)
	}
	st.waiting = append(st.waiting, it)
	return len(s.dirty) == 1 && len(st.waiting) == 1, ""
}

func (s *Service) drop(r *Record, cause string) {
	s.counts.dropped(cause, 1)
	r.release()
}

// Stopped returns why requests with this configuration are not captured now, ""
// if they are.
func (s *Service) Stopped(ctx context.Context, c *traffic.Capture) string {
	if why := s.stopped.Load(); why != nil {
		return *why
	}
	bucket, _ := split(c.Destination)
	return s.up.check(ctx, bucket)
}
