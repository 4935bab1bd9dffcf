package instance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// stableAfter is how long an instance must have been healthy for its bad
// starts to be forgotten.
const stableAfter = 30 * time.Second

// awaitAddress waits until the program of the instance was started and is known
// where it listens: the provider may have to find a place for it, pull its image
// and fetch its model data. Meanwhile the row says what it waits for.
func (s *supervisor) awaitAddress(ctx context.Context) error {
	limit := s.downloadTimeout()
	deadline, told := time.Now().Add(limit), ""
	for {
		s.refresh()
		switch st := s.status; {
		case st.Exited:
			return s.exited()
		case st.Address != "":
			return nil
		case !time.Now().Before(deadline):
			text := fmt.Sprintf("it was not started within %s. %s", limit, st.Waiting)
			return s.notStarted(text, false, errors.New("it has no address"))
		case st.Waiting != told && s.row.Status != hosting.InstanceFailed: // a failure's reason stays
			told = st.Waiting
			if err := s.report(ctx, hosting.InstanceReport{Status: s.downStatus(), Detail: told}); err != nil {
				return err
			}
		}
		if err := s.sleep(ctx, time.Until(deadline)); err != nil {
			return err
		}
	}
}

func (s *supervisor) downloadTimeout() time.Duration {
	return cmp.Or(s.row.Spec.Variant.DownloadTimeout, s.m.Tuning.DownloadTimeout)
}

// becomeReady waits for the first passed health check and reports it.
func (s *supervisor) becomeReady(ctx context.Context) error {
	limit := cmp.Or(s.row.Spec.Variant.StartupTimeout, s.m.Tuning.StartupTimeout)
	deadline := time.Now().Add(limit)
	for pause := 2 * time.Millisecond; ; pause = min(pause*3/2, 250*time.Millisecond) {
		s.refresh()
		if s.status.Exited {
			return s.exited()
		}
		err := s.ping(ctx)
		if err == nil {
			err = s.listens(ctx)
		}
		if err == nil {
			break
		}
		if !time.Now().Before(deadline) {
			e := s.notHealthy(fmt.Errorf("no health check passed within %s: %w", limit, err))
			e.permanent = true
			return e
		}
		if err := s.sleep(ctx, pause); err != nil {
			return err
		}
	}
	s.proven = true
	s.phase.Store(passingChecks)
	return s.report(ctx, s.ready(s.status.Address))
}

// listens makes sure that it was the instance that answered.
func (s *supervisor) listens(ctx context.Context) error {
	l, ok := s.provider.(provider.Listener)
	if !ok {
		return nil
	}
	itself, err := l.Listens(ctx, provider.ID(s.row.ID))
	if err == nil && !itself {
		err = errors.New("somebody else answers at its address")
	}
	return err
}

// stayReady returns the failure when the instance crashed or failed too many
// health checks in a row, and nil when it moved: then it has to become ready at
// its new address. One failed check, and a move, take it out of the routes.
func (s *supervisor) stayReady(ctx context.Context) error {
	address, healthy, failed, since := s.status.Address, true, 0, time.Now()
	for {
		pause := s.m.Tuning.PingInterval
		if !healthy {
			pause = min(pause, time.Second)
		}
		if err := s.sleep(ctx, pause); err != nil {
			return err
		}
		s.refresh()
		switch {
		case s.status.Exited:
			return s.exited()
		case s.status.Address != address:
			return s.outOfRoutes(ctx, "", errors.New("its address became "+s.status.Address))
		}
		err := s.check(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch {
		case err == nil && healthy:
			if s.row.Attempts > 0 && time.Since(since) >= stableAfter {
				s.row.Attempts = 0
			}
			continue
		case err == nil:
			healthy, failed, since = true, 0, time.Now()
			s.phase.Store(passingChecks)
			if err := s.report(ctx, s.ready(address)); err != nil {
				return err
			}
			continue
		}
		if failed++; failed >= s.m.Tuning.UnhealthyAfter && s.m.mayReplace(s, failed, err) {
			return s.notHealthy(fmt.Errorf("%d health checks in a row failed: %w", failed, err))
		}
		if healthy {
			healthy = false
			if err := s.outOfRoutes(ctx, address, err); err != nil {
				return err
			}
		}
	}
}

// outOfRoutes reports that an instance was ready and is not for now. At the
// address, if there is one, it still gets requests when no other is ready.
func (s *supervisor) outOfRoutes(ctx context.Context, address string, why error) error {
	s.m.Log.WarnContext(ctx, "instance gets no requests until it passes a health check, unless no other does",
		"endpoint", s.row.Spec.Endpoint, "instance", s.row.ID, "err", why)
	s.phase.Store(failingChecks)
	return s.report(ctx, hosting.InstanceReport{
		Status: hosting.InstanceUnhealthy, Address: address, Detail: why.Error(),
	})
}

// What an instance's supervisor is at, for those of the others.
const (
	notUp         int32 = iota // starting, or being replaced
	passingChecks              // ready
	failingChecks              // it was ready, and runs
)

// keepLast is how many times more failed checks an instance is allowed, if it
// answers them at all, while none of its variant passes: until then it may serve
// what its checks deny, and replacing it would leave nobody to.
const keepLast = 10

// mayReplace decides whether s, which failed so many health checks in a row, the
// last of them with err, is to be replaced. Of several that are kept because no
// other passes its checks, one is replaced at a time.
func (m *Manager) mayReplace(s *supervisor, failed int, err error) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	var passing, starting bool
	for _, o := range m.supervisors {
		if o == s || o.row.Endpoint != s.row.Endpoint || o.row.Fleet != s.row.Fleet ||
			o.row.Spec.Variant.Name != s.row.Spec.Variant.Name {
			continue
		}
		if _, wanted := o.wish.now(); !wanted {
			continue
		}
		passing = passing || o.phase.Load() == passingChecks
		starting = starting || o.phase.Load() == notUp
	}
	_, answers := errors.AsType[*badPing](err)
	limit := m.Tuning.UnhealthyAfter * keepLast
	if answers && !passing && (failed < limit || starting && failed < limit*keepLast) {
		return false
	}
	s.phase.Store(notUp)
	return true
}

// badPing is a health check that was answered, but not with 200.
type badPing struct{ status int }

func (e *badPing) Error() string { return fmt.Sprintf("/ping answered %d", e.status) }

// check is a health check of an instance that was healthy. One that was not
// answered in time is repeated at once before it counts: on a host that stalls,
// every instance is slow at the same moment, and taking all of them out would
// refuse requests that would only have been late.
func (s *supervisor) check(ctx context.Context) error {
	err := s.ping(ctx)
	if err != nil && os.IsTimeout(err) && ctx.Err() == nil {
		return s.ping(ctx)
	}
	return err
}

// ping is one health check: GET /ping answers 200 (spec §6.6).
func (s *supervisor) ping(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.status.Address+"/ping", nil)
	if err != nil {
		return err
	}
	res, err := s.m.pings.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // any body is fine
	if res.StatusCode != http.StatusOK {
		return &badPing{res.StatusCode}
	}
	return nil
}
