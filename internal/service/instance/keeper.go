package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// stableAfter is how long an instance must have been healthy for its bad
// starts to be forgotten.
const stableAfter = 30 * time.Second

// keeper looks after one instance from the row that wants it to the end of it.
type keeper struct {
	m   *Manager
	row hosting.InstanceRow // touched by run only

	starts atomic.Int64 // how often the process was started

	mu       sync.Mutex
	unwanted bool
	exit     *provider.Status
	exitOf   int64         // the start that exit ended
	poke     chan struct{} // unwanted or exit changed
}

func newKeeper(m *Manager, row hosting.InstanceRow) *keeper {
	k := &keeper{m: m, row: row, poke: make(chan struct{}, 1)}
	k.unwanted = !row.Wanted
	return k
}

func (k *keeper) unwant() {
	k.mu.Lock()
	k.unwanted = true
	k.mu.Unlock()
	k.nudge()
}

// exitSeen notes that the provider saw the process of a start exit.
func (k *keeper) exitSeen(s provider.Status, start int64) {
	k.mu.Lock()
	k.exit, k.exitOf = &s, start
	k.mu.Unlock()
	k.nudge()
}

func (k *keeper) nudge() {
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

func (k *keeper) isUnwanted() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.unwanted
}

// takeExit returns how the process ended, or nil while it runs. The exit of an
// earlier start is forgotten.
func (k *keeper) takeExit() *provider.Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.exit
	k.exit = nil
	if k.exitOf != k.starts.Load() {
		return nil
	}
	return s
}

// errUnwanted ends whatever a keeper is doing because the instance is to go.
var errUnwanted = errors.New("instance is no longer wanted")

// run keeps the instance up until it is unwanted, then drains and removes it.
// It returns early only when ctx ends, leaving the instance as it is.
func (k *keeper) run(ctx context.Context) {
	for ctx.Err() == nil {
		if k.isUnwanted() {
			if k.remove(ctx) {
				return
			}
		} else {
			k.cycle(ctx)
		}
	}
}

// cycle is one life of the process: start, become healthy, stay healthy until
// it does not, and the wait before the next start.
func (k *keeper) cycle(ctx context.Context) {
	everReady := k.row.Status == hosting.InstanceReady || k.row.Status == hosting.InstanceUnhealthy
	address, err := k.start(ctx)
	if err == nil {
		err = k.becomeReady(ctx, address)
	}
	if err == nil {
		everReady = true
		err = k.stayReady(ctx, address)
	}
	if errors.Is(err, errUnwanted) || ctx.Err() != nil {
		return
	}
	k.row.Attempts++
	r := hosting.InstanceReport{ID: k.row.ID, Status: hosting.InstanceUnhealthy, Attempts: k.row.Attempts, Detail: k.reason(ctx, err)}
	if !everReady {
		r.Status = hosting.InstanceStarting
	}
	if k.row.Attempts >= k.m.Tuning.StartAttempts || isPermanent(err) {
		r.Status = hosting.InstanceFailed
	}
	k.m.Log.WarnContext(ctx, "instance is down", "endpoint", k.row.Spec.Endpoint, "instance", k.row.ID, "attempts", r.Attempts, "status", r.Status, "err", err)
	k.report(ctx, r)
	// What is left of it must not hold its memory while we wait.
	if err := k.m.Provider.Remove(ctx, provider.ID(k.row.ID)); err != nil {
		k.m.complain(ctx, "remove a broken instance", err)
	}
	k.sleep(ctx, k.backoff())
}

func (k *keeper) backoff() time.Duration {
	d := k.m.Tuning.BackoffMin
	for range k.row.Attempts - 1 {
		if d *= 2; d >= k.m.Tuning.BackoffMax {
			return k.m.Tuning.BackoffMax
		}
	}
	return d
}

// start brings the model to this host and the process up. An instance that
// runs already, because an earlier server started it, stays as it is.
func (k *keeper) start(ctx context.Context) (address string, err error) {
	if s, ok := k.m.adopt(k.row.ID); ok {
		k.m.Log.InfoContext(ctx, "instance adopted", "endpoint", k.row.Spec.Endpoint, "instance", k.row.ID)
		return s.Address, nil
	}
	if err := k.m.slots.Acquire(ctx, 1); err != nil {
		return "", err
	}
	defer k.m.slots.Release(1)
	if k.isUnwanted() {
		return "", errUnwanted
	}
	v := k.row.Spec.Variant
	spec := provider.Spec{
		Image: v.Container.Image, Env: v.Container.Environment, Endpoint: k.row.Spec.Endpoint,
		Variant: v.Name, StopGrace: k.m.Tuning.StopGrace,
	}
	if spec.Command, err = k.m.Command(v.Container.Image); err != nil {
		return "", &startError{text: fmt.Sprintf("The image %s cannot run here. %s", v.Container.Image, public(err)), permanent: true, cause: err}
	}
	if d := v.Container.ModelData; d != nil {
		if spec.ModelDir, err = k.fetch(ctx, *d); err != nil {
			return "", err
		}
	}
	failpoint.Hit("instance.before-ensure")
	k.starts.Add(1)
	s, err := k.m.Provider.Ensure(ctx, provider.ID(k.row.ID), spec)
	failpoint.Hit("instance.after-ensure")
	if err != nil {
		return "", &startError{text: fmt.Sprintf("The %s container for production variant %s could not be started: %s", v.Container.Name, v.Name, public(err)), permanent: errors.Is(err, fault.Invalid), cause: err}
	}
	return s.Address, nil
}

func (k *keeper) fetch(ctx context.Context, d hosting.ModelData) (string, error) {
	limit := k.row.Spec.Variant.DownloadTimeout
	if limit == 0 {
		limit = k.m.Tuning.DownloadTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dir, err := k.m.Fetch(ctx, d)
	if err == nil {
		return dir, nil
	}
	c := k.row.Spec.Variant.Container.Name
	text := fmt.Sprintf("Failed to download model data for container %q from URL: %q. Please ensure that there is an object located at the URL and that the role passed to CreateModel has permissions to download the object.", c, d.URI)
	permanent := errors.Is(err, fault.NotFound)
	if errors.Is(err, fault.Invalid) {
		permanent = true
		text = fmt.Sprintf("The model data for container %q from URL %q cannot be used: %s", c, d.URI, public(err))
	}
	return "", &startError{text: text, permanent: permanent, cause: err}
}

// becomeReady waits for the first passed health check and reports it.
func (k *keeper) becomeReady(ctx context.Context, address string) error {
	limit := k.row.Spec.Variant.StartupTimeout
	if limit == 0 {
		limit = k.m.Tuning.StartupTimeout
	}
	deadline := time.Now().Add(limit)
	for pause := 2 * time.Millisecond; ; pause = min(pause*3/2, 250*time.Millisecond) {
		if s := k.takeExit(); s != nil {
			return k.notHealthy(fmt.Errorf("the process ended: %s", s.Detail))
		}
		err := k.ping(ctx, address)
		if err == nil {
			err = k.listens(ctx)
		}
		if err == nil {
			break
		}
		if !time.Now().Before(deadline) {
			e := k.notHealthy(fmt.Errorf("no health check passed within %s: %w", limit, err))
			e.permanent = true
			return e
		}
		if err := k.sleep(ctx, pause); err != nil {
			return err
		}
	}
	k.row.Status = hosting.InstanceReady
	return k.report(ctx, hosting.InstanceReport{ID: k.row.ID, Status: hosting.InstanceReady, Address: address, Attempts: k.row.Attempts})
}

// listens makes sure that it was the instance that answered.
func (k *keeper) listens(ctx context.Context) error {
	l, ok := k.m.Provider.(provider.Listener)
	if !ok {
		return nil
	}
	itself, err := l.Listens(ctx, provider.ID(k.row.ID))
	if err == nil && !itself {
		err = errors.New("somebody else answers at its address")
	}
	return err
}

// notHealthy is the failure of never having passed a health check (spec §3.6).
func (k *keeper) notHealthy(cause error) *startError {
	v := k.row.Spec.Variant
	return &startError{cause: cause, logs: true, text: fmt.Sprintf(
		"The %s container for production variant %s did not pass the ping health check. Please check CloudWatch logs for this endpoint.", v.Container.Name, v.Name)}
}

// stayReady returns when the instance crashed or failed too many health
// checks in a row. One failed check takes it out of the routes.
func (k *keeper) stayReady(ctx context.Context, address string) error {
	healthy, failed, since := true, 0, time.Now()
	for {
		pause := k.m.Tuning.PingInterval
		if !healthy {
			pause = min(pause, time.Second)
		}
		if err := k.sleep(ctx, pause); err != nil {
			return err
		}
		if s := k.takeExit(); s != nil {
			return k.notHealthy(fmt.Errorf("the process ended: %s", s.Detail))
		}
		err := k.check(ctx, address)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch {
		case err == nil && healthy:
			if k.row.Attempts > 0 && time.Since(since) >= stableAfter {
				k.row.Attempts = 0
			}
			continue
		case err == nil:
			healthy, failed, since = true, 0, time.Now()
			if err := k.report(ctx, hosting.InstanceReport{ID: k.row.ID, Status: hosting.InstanceReady, Address: address, Attempts: k.row.Attempts}); err != nil {
				return err
			}
			continue
		}
		if failed++; failed >= k.m.Tuning.UnhealthyAfter {
			return k.notHealthy(fmt.Errorf("%d health checks in a row failed: %w", failed, err))
		}
		if healthy {
			healthy = false
			k.m.Log.WarnContext(ctx, "instance failed a health check and gets no requests until it passes one", "endpoint", k.row.Spec.Endpoint, "instance", k.row.ID, "err", err)
			if err := k.report(ctx, hosting.InstanceReport{ID: k.row.ID, Status: hosting.InstanceUnhealthy, Attempts: k.row.Attempts, Detail: err.Error()}); err != nil {
				return err
			}
		}
	}
}

// check is a health check of an instance that was healthy. One that was not
// answered in time is repeated at once before it counts: on a host that stalls,
// every instance is slow at the same moment, and taking all of them out would
// refuse requests that would only have been late.
func (k *keeper) check(ctx context.Context, address string) error {
	err := k.ping(ctx, address)
	if err != nil && os.IsTimeout(err) && ctx.Err() == nil {
		return k.ping(ctx, address)
	}
	return err
}

// ping is one health check: GET /ping answers 200 (spec §6.6).
func (k *keeper) ping(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/ping", nil)
	if err != nil {
		return err
	}
	res, err := k.m.pings.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // any body is fine
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("/ping answered %d", res.StatusCode)
	}
	return nil
}

// report records what happened, as often as it takes.
func (k *keeper) report(ctx context.Context, r hosting.InstanceReport) error {
	for {
		wanted, err := k.m.Store.ReportInstance(ctx, r, clock.Now())
		if err == nil {
			failpoint.Hit("instance.reported")
			k.m.Changed()
			if !wanted {
				k.unwant()
				return errUnwanted
			}
			return nil
		}
		k.m.complain(ctx, "report an instance", err)
		if err := k.sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// remove drains the instance, stops it and forgets it. False means that it has
// to be done again.
func (k *keeper) remove(ctx context.Context) bool {
	failpoint.Hit("instance.before-drain")
	drain, cancel := context.WithTimeout(ctx, k.m.Tuning.DrainLimit)
	err := k.m.Drain(drain, k.row.ID)
	overdue := drain.Err() != nil
	cancel()
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil && !overdue:
		// The routes could not be read, or name it still: stopping it now
		// would break requests.
		k.m.complain(ctx, "drain an instance", err)
		_ = k.sleep(ctx, 200*time.Millisecond) // ctx is looked at by the caller
		return false
	case err != nil:
		k.m.Log.WarnContext(ctx, "instance is stopped with requests in flight: draining took too long", "instance", k.row.ID, "limit", k.m.Tuning.DrainLimit)
	}
	failpoint.Hit("instance.before-remove")
	if err := k.m.Provider.Remove(ctx, provider.ID(k.row.ID)); err != nil {
		k.m.complain(ctx, "remove an instance", err)
		_ = k.sleep(ctx, time.Second) // ctx is looked at by the caller
		return false
	}
	failpoint.Hit("instance.after-remove")
	if err := k.m.Store.RemoveInstance(ctx, k.row.ID, clock.Now()); err != nil {
		k.m.complain(ctx, "forget an instance", err)
		_ = k.sleep(ctx, time.Second) // ctx is looked at by the caller
		return false
	}
	k.m.Changed()
	return true
}

// sleep waits, unless the instance becomes unwanted or its exit is seen.
func (k *keeper) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-k.poke:
	case <-t.C:
	}
	if k.isUnwanted() && ctx.Err() == nil {
		return errUnwanted
	}
	return ctx.Err()
}

// startError is a failure to become healthy, with the text that
// FailureReason shows.
type startError struct {
	text      string
	logs      bool // the instance's last lines say more
	permanent bool // repeating will not mend it
	cause     error
}

func (e *startError) Error() string { return e.text + ": " + e.cause.Error() }
func (e *startError) Unwrap() error { return e.cause }

func isPermanent(err error) bool {
	e, ok := errors.AsType[*startError](err)
	return ok && e.permanent
}

// maxReason is how much of a FailureReason the API takes (spec §2.3).
const maxReason = 1024

// reason is what people read: the API's sentence and the instance's own last
// lines.
func (k *keeper) reason(ctx context.Context, err error) string {
	e, ok := errors.AsType[*startError](err)
	if !ok {
		return "Request to service failed. If failure persists after retry, contact customer support."
	}
	text := e.text
	if lr, ok := k.m.Provider.(provider.LogReader); ok && e.logs {
		text += " " + strings.ToUpper(e.cause.Error()[:1]) + e.cause.Error()[1:] + "."
		if tail, err := lr.Logs(ctx, provider.ID(k.row.ID), 512); err == nil && len(tail) > 0 {
			text += " Last lines of its log: " + strings.ToValidUTF8(strings.TrimSpace(string(tail)), "?")
		}
	}
	return clip(text, maxReason)
}

// clip shortens s to at most n bytes without cutting a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-3], "") + "..."
}

func public(err error) string {
	if k, text := fault.Public(err); k != fault.Internal {
		return text
	}
	return "the server's log says why."
}
