// Package openload sends requests at a fixed rate, whatever the answers do: an
// open loop, as real users are. A request's latency counts from the moment it
// should have been sent, so that a stall of the server is seen by every request
// that fell into it, not by one. What a request is, the caller decides.
package openload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Class is how a request ended. Every request of a Run ends in exactly one.
type Class int

const (
	// OK means that the call returned no error.
	OK Class = iota
	// Failed means that the call returned an error of its own.
	Failed
	// Cancelled means that the call was under way when the run was ended, and
	// returned an error because of it.
	Cancelled
	// Unsent means that the run ended before the request could be sent.
	Unsent
	classes
)

func (c Class) String() string {
	names := [classes]string{"ok", "failed", "cancelled", "unsent"}
	if c < 0 || c >= classes {
		return fmt.Sprintf("class %d", int(c))
	}
	return names[c]
}

// Config says how much to send, and how fast.
type Config struct {
	// Rate is in requests per second.
	Rate float64
	// Count is how many requests there are in all. If it is 0, Rate and
	// Duration say it.
	Count int
	// Duration is how long to send; ignored if Count is set.
	Duration time.Duration
	// MaxInFlight bounds the requests under way at one time; 0 means 64. A
	// request that finds no place waits, and its latency with it.
	MaxInFlight int
	// Grace is how long after the last intended start the run may last before
	// what is still under way is cancelled; 0 means 30 s.
	Grace time.Duration
	// Stop, if set, ends the sending when it is closed; what is under way may
	// finish. Requests after the last one sent are then not counted.
	Stop <-chan struct{}
	// OnResult, if set, is told of every request that was sent, one at a time.
	// It must be quick: the generator waits for it.
	OnResult func(Result)
}

// Result is one request as the generator saw it.
type Result struct {
	Seq      int // 0..Count-1, in the order of Intended
	Intended time.Time
	Started  time.Time
	Ended    time.Time
	Class    Class
	Err      error // what the call returned
}

// Latency is the time from the intended start to the end.
func (r Result) Latency() time.Duration { return r.Ended.Sub(r.Intended) }

// Report sums up a run.
type Report struct {
	Requests int           // the sum over all classes
	Elapsed  time.Duration // from the first intended start to the last end
	Latency  Histogram     // of OK requests, from the intended start
	Lateness Histogram     // of sent requests: actual minus intended start
	FirstErr error         // of the first request that Failed
	counts   [classes]int
}

// Count is the number of requests that ended in class c.
func (r *Report) Count(c Class) int { return r.counts[c] }

func (r *Report) String() string {
	return fmt.Sprintf("%d requests in %v: %d ok, %d failed, %d cancelled, %d unsent; p50 %v, p99 %v, max %v",
		r.Requests, r.Elapsed.Round(time.Millisecond), r.counts[OK], r.counts[Failed], r.counts[Cancelled],
		r.counts[Unsent],
		r.Latency.Quantile(0.5), r.Latency.Quantile(0.99), r.Latency.Max())
}

// Run calls do Config.Count times at Config.Rate and returns when every call
// has returned. Cancelling ctx ends it early. do is called from many goroutines
// and must heed its context.
func Run(ctx context.Context, cfg Config, do func(ctx context.Context, seq int) error) (*Report, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	last := begin.Add(cfg.offset(cfg.Count - 1))
	ctx, cancel := context.WithDeadline(ctx, last.Add(cfg.Grace))
	defer cancel()

	rec := recorder{cfg: cfg}
	due := make(chan int)
	var wg sync.WaitGroup
	for range min(cfg.MaxInFlight, cfg.Count) {
		wg.Go(func() {
			for seq := range due {
				r := Result{Seq: seq, Intended: begin.Add(cfg.offset(seq)), Started: time.Now()}
				r.Err = do(ctx, seq)
				r.Ended = time.Now()
				r.Class = classify(ctx, r.Err)
				rec.add(r)
			}
		})
	}
	sent, stopped := pace(ctx, cfg, begin, due)
	close(due)
	wg.Wait()

	if stopped {
		cfg.Count = sent
	}
	rec.report.counts[Unsent] = cfg.Count - sent
	rec.report.Requests = cfg.Count
	rec.report.Elapsed = time.Since(begin)
	return &rec.report, nil
}

// pace hands out each request when it is due, and returns how many it did and
// whether it was told to stop.
func pace(ctx context.Context, cfg Config, begin time.Time, due chan<- int) (sent int, stopped bool) {
	for ; sent < cfg.Count; sent++ {
		sleepUntil(ctx.Done(), cfg.Stop, begin.Add(cfg.offset(sent)))
		select {
		case <-cfg.Stop:
			return sent, true
		default:
		}
		if ctx.Err() != nil {
			return sent, false
		}
		select {
		case due <- sent:
		case <-cfg.Stop:
			return sent, true
		case <-ctx.Done():
			return sent, false
		}
	}
	return sent, false
}

func (c Config) complete() (Config, error) {
	if c.Rate <= 0 {
		return c, errors.New("openload: the rate must be above 0")
	}
	if c.Count == 0 {
		c.Count = int(c.Rate * c.Duration.Seconds())
	}
	if c.Count <= 0 {
		return c, errors.New("openload: there is nothing to send: set Count or Duration")
	}
	if c.MaxInFlight <= 0 {
		c.MaxInFlight = 64
	}
	if c.Grace <= 0 {
		c.Grace = 30 * time.Second
	}
	return c, nil
}

// offset is when request seq is due, from the begin of the run.
func (c Config) offset(seq int) time.Duration {
	return time.Duration(float64(seq) / c.Rate * float64(time.Second))
}

func classify(ctx context.Context, err error) Class {
	switch {
	case err == nil:
		return OK
	case ctx.Err() != nil:
		return Cancelled
	default:
		return Failed
	}
}

type recorder struct {
	cfg Config

	mu     sync.Mutex
	report Report
}

func (r *recorder) add(res Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.counts[res.Class]++
	r.report.Lateness.Add(res.Started.Sub(res.Intended))
	switch res.Class {
	case OK:
		r.report.Latency.Add(res.Latency())
	case Failed:
		if r.report.FirstErr == nil {
			r.report.FirstErr = res.Err
		}
	case Cancelled, Unsent, classes: // counted, and no more
	}
	if r.cfg.OnResult != nil {
		r.cfg.OnResult(res)
	}
}
