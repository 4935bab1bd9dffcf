package instance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// supervisor looks after one instance from the row that wants it to the end of
// it.
type supervisor struct {
	m        *Manager
	provider provider.Provider   // that the row names
	row      hosting.InstanceRow // this and what follows is touched by run only
	status   provider.Status     // as run last saw it
	proven   bool                // it was ready at some time
	told     string              // the last reason that was logged
	doubt    string              // why it could not be started again; "" if it could

	wish    *wish
	phase   atomic.Int32 // notUp, passingChecks, failingChecks
	starts  atomic.Int64 // how often the instance was started
	changed chan struct{}

	reporting chan struct{}          // holds one value while somebody reports
	last      hosting.InstanceReport // what was reported last; touched by whoever reports

	mu     sync.Mutex
	seen   provider.Status // as the provider last listed it
	seenOf int64           // the start that it is of
}

func newSupervisor(ctx context.Context, m *Manager, p provider.Provider, row hosting.InstanceRow) *supervisor {
	return &supervisor{
		m: m, provider: p, row: row, wish: newWish(ctx),
		proven:  row.Status == hosting.InstanceReady || row.Status == hosting.InstanceUnhealthy,
		changed: make(chan struct{}, 1), reporting: make(chan struct{}, 1),
		last: hosting.InstanceReport{
			ID: row.ID, Status: row.Status, Address: row.Address, Detail: row.Detail, Attempts: row.Attempts,
		},
	}
}

func (s *supervisor) place() place { return place{s.row.Provider, s.row.ID} } // both never change

// observe takes what the provider lists of the instance, and of which start it
// is at the latest. It wakes run if that is news.
func (s *supervisor) observe(st provider.Status, start int64) {
	s.mu.Lock()
	news := s.seen != st || s.seenOf != start
	s.seen, s.seenOf = st, start
	s.mu.Unlock()
	if news {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
}

// refresh brings status up to date. What was listed of an earlier start is
// forgotten. An address stays until there is another: an instance that lost its
// own fails its health checks.
func (s *supervisor) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen.ID == "" || s.seenOf != s.starts.Load() {
		return
	}
	address := s.status.Address
	if s.status = s.seen; s.status.Address == "" && !s.status.Exited {
		s.status.Address = address
	}
}

// run keeps the instance up until it is unwanted, then drains and removes it.
// It returns early only when ctx ends, leaving the instance as it is.
func (s *supervisor) run(ctx context.Context) {
	for ctx.Err() == nil {
		asIs, wanted := s.wish.now()
		switch {
		case wanted:
			s.attempt(asIs)
		case s.remove(ctx, asIs):
			return
		}
	}
}

// attempt is one life of the instance: start, become ready, stay ready until it
// is not, and the wait before the next start. It ends when ctx does.
func (s *supervisor) attempt(ctx context.Context) {
	err := s.start(ctx)
	for err == nil { // again at each new address
		if err = s.awaitAddress(ctx); err == nil {
			err = s.becomeReady(ctx)
		}
		if err == nil {
			err = s.stayReady(ctx)
		}
	}
	if ctx.Err() != nil {
		return
	}
	s.phase.Store(notUp)
	s.row.Attempts++
	r := hosting.InstanceReport{Status: s.downStatus(), Detail: s.reason(ctx, err)}
	if s.row.Attempts >= s.m.Tuning.StartAttempts || isPermanent(err) {
		r.Status = hosting.InstanceFailed
	}
	level := slog.LevelWarn
	if r.Detail == s.told {
		level = slog.LevelDebug // one record for one reason: it may be tried for days
	}
	s.told = r.Detail
	s.m.Log.Log(ctx, level, "instance is down", "endpoint", s.row.Spec.Endpoint, "instance", s.row.ID,
		"attempts", s.row.Attempts, "status", r.Status, "err", err)
	_ = s.report(ctx, r) // it fails when ctx has ended, which the caller sees
	// What is left of it must not hold its memory while we wait.
	if err := s.provider.Remove(ctx, provider.ID(s.row.ID)); err != nil {
		s.m.warn(ctx, "remove a broken instance", err)
	}
	_ = s.sleep(ctx, s.backoff()) // as above
}

// downStatus is what an instance is that takes no requests for now.
func (s *supervisor) downStatus() hosting.InstanceStatus {
	if s.proven {
		return hosting.InstanceUnhealthy
	}
	return hosting.InstanceStarting
}

func (s *supervisor) backoff() time.Duration {
	d := s.m.Tuning.BackoffMin
	for range s.row.Attempts - 1 {
		if d *= 2; d >= s.m.Tuning.BackoffMax {
			return s.m.Tuning.BackoffMax
		}
	}
	return d
}

// start has the provider bring up the instance, with its model data. One that
// runs already, because an earlier server started it, stays as it is.
func (s *supervisor) start(ctx context.Context) error {
	if st, ok := s.m.adopt(s.place()); ok {
		s.m.Log.InfoContext(ctx, "instance adopted", "endpoint", s.row.Spec.Endpoint, "instance", s.row.ID)
		s.status, s.row.Address = st, ""
		s.adopted(ctx)
		return nil
	}
	if s.row.Address != "" {
		// It ended while no server looked. Whatever listens at its address now, in a
		// copied data directory perhaps the original's instance, gets no requests.
		r := hosting.InstanceReport{Status: s.downStatus(), Detail: "It did not run when the server was started."}
		if err := s.report(ctx, r); err != nil {
			return err
		}
		s.row.Address = ""
	}
	if err := s.m.slots.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.m.slots.Release(1)
	spec, err := s.spec()
	if err != nil {
		return err
	}
	s.doubt = ""
	if err := s.pin(ctx, s.proven); err != nil {
		return s.noModelData(err)
	}
	spec.ModelData = s.row.Spec.Variant.Container.ModelData
	failpoint.Hit("instance.before-ensure")
	s.status, err = s.ensure(ctx, spec)
	s.starts.Add(1) // not before: what was seen until now may be the end of its predecessor
	failpoint.Hit("instance.after-ensure")
	if e, ok := errors.AsType[*provider.ModelDataError](err); ok {
		return s.noModelData(e)
	}
	if err != nil {
		return s.notStarted(public(err), errors.Is(err, fault.Invalid), err)
	}
	return nil
}

// spec is what the row wants to run.
func (s *supervisor) spec() (provider.Spec, error) {
	v := s.row.Spec.Variant
	command, err := s.m.Command(v.Container)
	if err != nil {
		return provider.Spec{}, &startError{
			text:      fmt.Sprintf("The image %s cannot run here. %s", v.Container.Image, public(err)),
			permanent: true, cause: err,
		}
	}
	return provider.Spec{
		Image: v.Container.Image, Command: command, Env: v.Container.Environment, ModelData: v.Container.ModelData,
		InstanceType: v.InstanceType, Endpoint: s.row.Spec.Endpoint, Variant: v.Name,
		DownloadTimeout: s.downloadTimeout(), StopGrace: s.m.Tuning.StopGrace,
	}, nil
}

// remove drains the instance, stops it and forgets it. False means that it has
// to be done again, or that it is wanted after all; unwanted ends when it is.
func (s *supervisor) remove(ctx, unwanted context.Context) bool {
	failpoint.Hit("instance.before-drain")
	drain, cancel := context.WithTimeout(unwanted, s.m.Tuning.DrainLimit)
	err := s.m.Drain(drain, s.row.ID)
	overdue := drain.Err() != nil
	cancel()
	switch {
	case unwanted.Err() != nil:
		return false
	case err != nil && !overdue:
		// The routes could not be read, or name it still: stopping it now
		// would break requests.
		s.m.warn(ctx, "drain an instance", err)
		_ = s.sleep(unwanted, 200*time.Millisecond) // run looks at what has ended
		return false
	case err != nil:
		s.m.Log.WarnContext(ctx, "instance is stopped with requests in flight: draining took too long",
			"instance", s.row.ID, "limit", s.m.Tuning.DrainLimit)
	}
	failpoint.Hit("instance.before-remove")
	s.phase.Store(notUp)
	if err := s.provider.Remove(ctx, provider.ID(s.row.ID)); err != nil {
		s.m.warn(ctx, "remove an instance", err)
		_ = s.sleep(ctx, time.Second) // run looks at ctx
		return false
	}
	failpoint.Hit("instance.after-remove")
	wanted, err := s.m.Store.RemoveInstance(ctx, s.row.ID, clock.Now())
	if err != nil {
		s.m.warn(ctx, "forget an instance", err)
		_ = s.sleep(ctx, time.Second) // run looks at ctx
		return false
	}
	if wanted {
		s.wish.set(true)
		return false
	}
	s.m.Changed()
	return true
}

// sleep waits until there is news of the instance, ctx ends, or d is over.
func (s *supervisor) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-s.changed:
	case <-t.C:
	}
	return ctx.Err()
}
