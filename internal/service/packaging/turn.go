package packaging

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	"github.com/slipway-ml/slipway/internal/platform/store/jobs"
)

// The lease of a job is renewed while it is in work; a look at its status
// comes with that.
const (
	lease       = 30 * time.Second
	statusEvery = 500 * time.Millisecond
)

// Run takes turns until ctx ends and waits for those in hand, which end early:
// the next start takes them again.
func (s *Service) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for range s.cfg.Concurrency {
		r := &loop.Runner{
			Queue: queue{s.cfg.Store.Jobs()}, Log: s.log, Wake: s.due, Poll: time.Second, Lease: lease,
			Retry: time.Second,
			Turn:  func(_ context.Context, key string) (time.Time, error) { return s.turn(ctx, key) },
		}
		wg.Go(func() { r.Run(ctx) })
	}
	wg.Wait()
}

// queue releases also after a turn that outlasted its first lease.
type queue struct{ loop.Queue }

func (q queue) Release(ctx context.Context, c loop.Claim, due time.Time) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return q.Queue.Release(ctx, c, due)
}

// failed is why a job can never succeed, in words for its caller.
type failed struct{ reason string }

func (f *failed) Error() string { return f.reason }

func fail(reason string) error { return &failed{reason} }

var errStopped = errors.New("the job was asked to stop")

// turn takes the job called key to its end, or as far as it comes before ctx
// ends.
func (s *Service) turn(ctx context.Context, key string) (due time.Time, err error) {
	j, due, err := s.step(ctx, key, packaging.Facts{}, nil)
	if err != nil || j == nil || j.State.Status != packaging.InProgress || due.After(time.Now()) {
		return due, err
	}
	failpoint.Hit("packaging.started")
	f, apply, err := s.work(ctx, j)
	if err != nil {
		return clock.Now(), nil // the server stops; the work begins anew after it
	}
	failpoint.Hit("packaging.worked")
	j, due, err = s.step(ctx, key, f, apply)
	if err == nil && j != nil && j.State.Status.Terminal() {
		s.log.InfoContext(ctx, "job ended", "kind", j.Kind, "job", j.Name, "status", j.State.Status, "reason",
			j.State.Reason,
			"elapsed", j.State.Ended.Sub(j.State.Created))
	}
	return due, err
}

// step lets Next decide until it has nothing to say, and records that.
func (s *Service) step(
	ctx context.Context, key string, f packaging.Facts, apply func(*packaging.Job),
) (j *packaging.Job, due time.Time, err error) {
	// What was worked out is written down even while the server stops.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lease/2)
	defer cancel()
	err = s.cfg.Store.Change(ctx, func(tx jobs.Tx) error {
		if j, err = tx.JobByID(ctx, key); err != nil || j == nil {
			return err
		}
		before := j.State
		facts := f
		facts.Now = clock.Now()
		for range 4 { // STARTING, INPROGRESS and an end
			last := j.State
			j.State, due = packaging.Next(j.State, facts)
			if j.State == last {
				break
			}
			if j.State.Troubles > last.Troubles {
				break // once a turn
			}
		}
		if j.State == before {
			return nil
		}
		if j.State.Status == packaging.Completed && apply != nil {
			apply(j)
		}
		return tx.SaveJob(ctx, j, due)
	})
	return j, due, err
}

// work does what the job is about. The error is that the server stops.
func (s *Service) work(
	ctx context.Context, j *packaging.Job,
) (f packaging.Facts, apply func(*packaging.Job), err error) {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if d := j.State.Deadline(); !d.IsZero() {
		var stop context.CancelFunc
		work, stop = context.WithDeadline(work, d)
		defer stop()
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.watch(work, cancel, j.ID)
	}()
	if j.Kind == packaging.Packaging {
		apply, err = s.pack(work, j)
	} else {
		apply, err = s.compile(work, j)
	}
	over := work.Err() // before it is cancelled because it ended
	cancel(nil)
	<-watched
	switch bad, ok := errors.AsType[*failed](err); {
	case err == nil:
		f.Done = true
	case ctx.Err() != nil:
		return f, nil, ctx.Err()
	case ok:
		f.Failure = bad.reason
	case over != nil: // stopped or late: the row and the time say which
	default:
		s.log.WarnContext(ctx, "work on a job failed", "kind", j.Kind, "job", j.Name, "try", j.State.Troubles+1, "err",
			err)
		f.Trouble = packaging.Trouble("it was tried several times. The log of the server says why.")
	}
	return f, apply, nil
}

// watch keeps the lease of a job in work and ends the work when the job was
// asked to stop, or is gone.
func (s *Service) watch(ctx context.Context, cancel context.CancelCauseFunc, id string) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		status, err := s.cfg.Store.RenewJob(ctx, id, time.Now().Add(lease))
		if err == nil && status != packaging.InProgress {
			cancel(errStopped)
			return
		}
	}
}

// scratch makes a directory that is gone when done is called.
func (s *Service) scratch() (dir string, done func(), err error) {
	dir, err = os.MkdirTemp(s.cfg.WorkDir, "job-")
	return dir, func() {
		if err := os.RemoveAll(dir); err != nil {
			s.log.Warn("a work directory was not removed", "dir", dir, "err", err)
		}
	}, err
}
