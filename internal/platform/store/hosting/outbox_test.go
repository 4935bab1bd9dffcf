package hosting_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/notice"
	"github.com/slipway-ml/slipway/internal/domain/outcome"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
)

func claimEvent(t *testing.T, o *store.Outbox, now time.Time) (loop.Claim, time.Time) {
	t.Helper()
	c, next, err := o.Claim(t.Context(), now, now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return c, next
}

// said is what an event says, for a test to read.
func said(t *testing.T, n notice.Notice) string {
	t.Helper()
	var e struct {
		Kind   string `json:"detail-type"`
		ID     string `json:"id"`
		Detail struct {
			EndpointName, EndpointStatus string
			PendingDeploymentSummary     *struct {
				ProductionVariants []struct{ VariantStatus []struct{ Status string } }
			}
			Tags map[string]string
		}
	}
	if err := json.Unmarshal(n.Body, &e); err != nil {
		t.Fatal(err)
	}
	if e.Kind != string(n.Kind) || len(e.ID) != 36 {
		t.Errorf("a %s says %s %s", n.Kind, e.Kind, e.ID)
	}
	out := e.Detail.EndpointName + " " + e.Detail.EndpointStatus
	if n.Kind == notice.DeploymentChange && e.Detail.PendingDeploymentSummary != nil {
		out += " " + e.Detail.PendingDeploymentSummary.ProductionVariants[0].VariantStatus[0].Status
	}
	if team := e.Detail.Tags["team"]; team != "" {
		out += " of " + team
	}
	return out
}

// drain delivers everything that is due, in the order in which it may be.
func drain(t *testing.T, o *store.Outbox, now time.Time) (out []string) {
	t.Helper()
	for {
		c, _ := claimEvent(t, o, now)
		if c.Key == "" {
			return out
		}
		n, ok, err := o.Notice(t.Context(), c.Key)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		out = append(out, said(t, n))
		if err := o.Delivered(t.Context(), c.Key); err != nil {
			t.Fatal(err)
		}
		if err := o.Release(t.Context(), c, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEveryTransitionIsToldToThoseWhoWantIt(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		db = store.New(db.DB, notice.Subscriber{Name: "all"}, notice.Subscriber{
			Name: "states", Kinds: []notice.Kind{notice.StateChange},
		})
		e := endpoint(t, "e", 1)
		change(t, db, func(ctx context.Context, tx store.Tx) error {
			if err := tx.PutTags(ctx, e.ARN(), []hosting.Tag{{Key: "team", Value: "ships"}}); err != nil {
				return err
			}
			return tx.Write(ctx, outcome.OfCreation(e))
		})
		serve(t, db, t0)
		scale(t, db, "d-2", 2, t0)
		changeE(t, db, func(e *hosting.Endpoint) error { return e.Delete("d-3", t0) })
		want := []string{
			"e CREATING of ships", "e CREATING Creating of ships", "e CREATING ActivatingTraffic of ships",
			"e IN_SERVICE of ships",
			"e UPDATING of ships", "e UPDATING of ships", "e UPDATING of ships", "e IN_SERVICE of ships",
			"e DELETING of ships",
		}
		if d := cmp.Diff(want, drain(t, db.Outbox("all"), t0)); d != "" {
			t.Error(d)
		}
		want = []string{
			"e CREATING of ships", "e IN_SERVICE of ships", "e UPDATING of ships", "e IN_SERVICE of ships",
			"e DELETING of ships",
		}
		if d := cmp.Diff(want, drain(t, db.Outbox("states"), t0)); d != "" {
			t.Error(d)
		}
	})
}

func TestAStoreThatTellsNobodyWritesNoEvents(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		insert(t, db, endpoint(t, "e", 1))
		if n, err := db.ForgetOutboxes(t.Context()); err != nil || n != 0 {
			t.Errorf("%d events, %v", n, err)
		}
	})
}

// Whatever fails, events of one endpoint are handed out in their order, and
// those of another one are not kept waiting.
func TestAFailedEventKeepsBackOnlyThoseAfterIt(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		db = store.New(db.DB, notice.Subscriber{Name: "w", Kinds: []notice.Kind{notice.StateChange}})
		insert(t, db, endpoint(t, "e", 1))
		serve(t, db, t0)
		insert(t, db, endpoint(t, "other", 1))
		o := db.Outbox("w")
		first, _ := claimEvent(t, o, t0)
		other, _ := claimEvent(t, o, t0)
		if c, _ := claimEvent(t, o, t0); c.Key != "" {
			t.Fatal("an event was handed out before the one that precedes it was delivered")
		}
		if n, _, err := o.Notice(t.Context(), other.Key); err != nil || said(t, n) != "other CREATING" {
			t.Errorf("%s, %v", n.Body, err)
		}
		later := t0.Add(time.Hour).Truncate(time.Microsecond)
		if err := o.Failed(t.Context(), first.Key, 3, later); err != nil {
			t.Fatal(err)
		}
		for _, c := range []loop.Claim{first, other} {
			if err := o.Release(t.Context(), c, time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := o.Delivered(t.Context(), other.Key); err != nil {
			t.Fatal(err)
		}
		if c, next := claimEvent(t, o, t0.Add(time.Minute)); c.Key != "" || !next.Equal(later) {
			t.Errorf("claimed %q, next at %v", c.Key, next)
		}
		if n, ok, err := o.Notice(t.Context(), first.Key); err != nil || !ok || n.Attempts != 3 ||
			n.Endpoint != "us-east-1/e" {
			t.Errorf("%+v %t %v", n, ok, err)
		}
		if d := cmp.Diff([]string{"e CREATING", "e IN_SERVICE"}, drain(t, o, later)); d != "" {
			t.Error(d)
		}
		if _, ok, err := o.Notice(t.Context(), first.Key); ok || err != nil {
			t.Errorf("a delivered event is still there: %v", err)
		}
	})
}

func TestALaterEndpointOfTheSameNameIsToldOfAfterwards(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		db = store.New(db.DB, notice.Subscriber{Name: "w", Kinds: []notice.Kind{notice.StateChange}})
		first := endpoint(t, "e", 1)
		insert(t, db, first)
		change(t, db, func(ctx context.Context, tx store.Tx) error {
			return tx.Write(ctx, outcome.OfDeletion(outcome.StandingOf(first), first))
		})
		second := endpoint(t, "E", 1)
		insert(t, db, second)
		o := db.Outbox("w")
		c, _ := claimEvent(t, o, t0)
		if c, _ := claimEvent(t, o, t0); c.Key != "" {
			t.Error("the later endpoint's event was handed out while the first one's is being delivered")
		}
		if n, _, err := o.Notice(t.Context(), c.Key); err != nil || said(t, n) != "e CREATING" {
			t.Errorf("%s, %v", n.Body, err)
		}
	})
}

func TestALapsedLeaseOnAnEventIsTakenOver(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		db = store.New(db.DB, notice.Subscriber{Name: "w"})
		insert(t, db, endpoint(t, "e", 1))
		o := db.Outbox("w")
		dead, _ := claimEvent(t, o, t0)
		if c, next := claimEvent(t, o, t0.Add(time.Second)); c.Key != "" ||
			next.Before(dead.Until.Truncate(time.Microsecond)) {
			t.Fatalf("claimed %q under a lease; next %v", c.Key, next)
		}
		heir, _ := claimEvent(t, o, t0.Add(2*time.Minute))
		if heir.Key != dead.Key {
			t.Fatalf("claimed %q", heir.Key)
		}
		if err := o.Release(t.Context(), dead, time.Time{}); err != nil {
			t.Fatal(err)
		}
		if c, _ := claimEvent(t, o, t0.Add(2*time.Minute+time.Second)); c.Key != "" {
			t.Error("a late release freed the heir's lease")
		}
	})
}

func TestAnOutboxIsBounded(t *testing.T) {
	onBoth(t, func(t *testing.T, db *store.DB) {
		db = store.New(db.DB, notice.Subscriber{Name: "w", Kinds: []notice.Kind{notice.StateChange}},
			notice.Subscriber{Name: "x"})
		for i := range 5 {
			e := endpoint(t, fmt.Sprint("e", i), 1)
			e.Modified = t0.Add(time.Duration(i) * time.Minute)
			insert(t, db, e)
		}
		o := db.Outbox("w")
		if n, err := o.Trim(t.Context(), t0.Add(time.Minute), 10); err != nil || n != 1 {
			t.Errorf("%d were too old, %v", n, err)
		}
		if n, err := o.Trim(t.Context(), t0, 3); err != nil || n != 1 {
			t.Errorf("%d were too many, %v", n, err)
		}
		if d := cmp.Diff([]string{"e2 CREATING", "e3 CREATING", "e4 CREATING"},
			drain(t, o, t0.Add(time.Hour))); d != "" {
			t.Error(d)
		}
		db = store.New(db.DB, notice.Subscriber{Name: "w"})
		if n, err := db.ForgetOutboxes(t.Context()); err != nil || n != 10 {
			t.Errorf("%d were of a subscriber that is gone, %v", n, err)
		}
	})
}

// statuses writes n changes of the status of e; change i gives i as its reason,
// the first, the creation, none.
func statuses(t *testing.T, db *store.DB, e *hosting.Endpoint, n int) {
	for i := range n {
		err := db.Change(t.Context(), func(tx store.Tx) error {
			if i == 0 {
				return tx.Write(t.Context(), outcome.OfCreation(e))
			}
			was := outcome.StandingOf(e)
			e.Status, e.FailureReason = []hosting.Status{hosting.Updating, hosting.RollingBack}[i%2], strconv.Itoa(i)
			is, err := tx.Instances(t.Context(), e.ID)
			if err != nil {
				return err
			}
			return tx.Write(t.Context(), outcome.OfChange(was, e, is))
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// receivers notes what several deliverers of one queue hand over.
type receivers struct {
	*store.Outbox
	mu     sync.Mutex
	taken  map[string][]string // reasons
	n      int
	inHand map[string]bool
}

// deliver makes one attempt, which may fail, at whatever is due.
func (r *receivers) deliver(ctx context.Context, fails bool) error {
	c, _, err := r.Claim(ctx, t0.Add(time.Hour), t0.Add(2*time.Hour))
	if err != nil || c.Key == "" {
		return err
	}
	n, ok, err := r.Notice(ctx, c.Key)
	if err != nil || !ok {
		return fmt.Errorf("a claimed event is gone: %w", err)
	}
	var event struct {
		Detail struct{ FailureReason string }
	}
	if err := json.Unmarshal(n.Body, &event); err != nil {
		return err
	}
	r.mu.Lock()
	if r.inHand[n.Endpoint] {
		err = fmt.Errorf("two events of %s are being delivered at a time", n.Endpoint)
	}
	r.inHand[n.Endpoint] = true
	r.mu.Unlock()
	runtime.Gosched() // let the others have a try at it
	r.mu.Lock()
	if !fails {
		r.taken[n.Endpoint] = append(r.taken[n.Endpoint], event.Detail.FailureReason)
		r.n++
	}
	r.inHand[n.Endpoint] = false
	r.mu.Unlock()
	if fails {
		return errors.Join(err, r.Failed(ctx, c.Key, n.Attempts+1, t0), r.Release(ctx, c, time.Time{}))
	}
	return errors.Join(err, r.Delivered(ctx, c.Key), r.Release(ctx, c, time.Time{}))
}

func (r *receivers) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

// Several servers share a queue: whoever delivers, and however often it fails,
// nobody sees an endpoint's events out of order, or two at a time.
func TestManyDeliverersKeepTheOrderOfEveryEndpoint(t *testing.T) {
	const endpoints, events, deliverers = 4, 6, 5
	onBoth(t, func(t *testing.T, db *store.DB) {
		db = store.New(db.DB, notice.Subscriber{Name: "w", Kinds: []notice.Kind{notice.StateChange}})
		r := &receivers{Outbox: db.Outbox("w"), taken: map[string][]string{}, inHand: map[string]bool{}}
		var wg sync.WaitGroup
		for i := range endpoints {
			e := endpoint(t, fmt.Sprint("e", i), 1)
			wg.Go(func() { statuses(t, db, e, events) }) // while others deliver already
		}
		for i := range deliverers {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(i)))
				for r.count() < endpoints*events && !t.Failed() {
					if err := r.deliver(t.Context(), random.IntN(3) == 0); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		for i := range endpoints {
			if d := cmp.Diff([]string{"", "1", "2", "3", "4", "5"}, r.taken[fmt.Sprint("us-east-1/e", i)]); d != "" {
				t.Errorf("endpoint %d: %s", i, d)
			}
		}
	})
}
