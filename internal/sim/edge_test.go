package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/store"
	edgestore "github.com/slipway-ml/slipway/internal/platform/store/edge"
	"github.com/slipway-ml/slipway/internal/service/fleet"
)

// What one life of a fleet is made of.
const (
	edgeLives   = 6
	edgeSteps   = 500
	edgeDevices = 30
	edgePlans   = 4
)

// The shipping fleet service and store live through deployment plans in which
// everything goes wrong that a seed says: people who start, stop, delete and
// change their minds, devices that come and go, lost and repeated words, and
// servers that die between any two transactions. SLIPWAY_SIM_SEED lives one
// life alone.
func TestStagesKeepTheirPromises(t *testing.T) {
	template := newDatabase(t)
	from, last := seeds(t, edgeLives)
	if seed, ok := onlySeed(t); ok {
		from, last = seed, seed
	}
	begun, tally := time.Now(), map[string]int{}
	for seed := from; seed <= last && !t.Failed(); seed++ {
		edgeLife(t, template, seed, tally)
	}
	t.Logf("seeds %d to %d in %v: %v", from, last, time.Since(begun).Round(time.Millisecond), tally)
}

var edgeScope = arn.Scope{Region: "us-east-1", Account: "000000000000"}

// errDied is what a server that dies answers.
var errDied = errors.New("the server died")

// edgeWorld is a fleet, its devices, the people who deploy to it, and a server.
type edgeWorld struct {
	t     *testing.T
	ctx   context.Context
	db    edgestore.DB
	rng   *rand.Rand
	calm  bool // nothing goes wrong any more
	tally map[string]int
	trail []string

	s      *fleet.Service
	stop   func()
	dead   bool
	orders int

	devices  []*simDevice
	stopped  map[string]bool // "plan/stage" that a person stopped and nobody started since
	deployed map[string]bool // "plan/stage/device id" that was DEPLOYED
	chained  map[string]bool // "plan/stage" whose next stage was started by the policy
	bake     time.Duration   // of every policy
	watched  time.Time       // since when a server has been up and taken turns
}

// simDevice is a device that does what it is told, badly.
type simDevice struct {
	name    string
	done    map[string]edge.Result // by order: what came of it
	waiting []edge.Result          // to be reported
	silent  bool
	mirrors bool // its agent can compare models
}

func edgeLife(t *testing.T, template []byte, seed uint64, tally map[string]int) {
	path := filepath.Join(place(t), "life.db")
	if err := os.WriteFile(path, template, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		db, err := store.OpenSQLite(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		edges, err := edgestore.New(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		h := &edgeWorld{
			t: t, ctx: t.Context(), db: edges, rng: rand.New(rand.NewPCG(seed, 7)), tally: tally,
			stopped: map[string]bool{}, deployed: map[string]bool{}, chained: map[string]bool{},
			bake: time.Duration(seed%3) * 10 * time.Minute,
		}
		err = h.live()
		h.stop()
		if err = errors.Join(err, db.Close()); err != nil {
			t.Errorf("seed %d: %v\nafter\n  %s\nto see it again: SLIPWAY_SIM_SEED=%d go test ./internal/sim -run "+
				"TestStagesKeepTheirPromises",
				seed, err, strings.Join(h.trail[max(0, len(h.trail)-25):], "\n  "), seed)
		}
	})
	_ = os.Remove(path)
	_ = os.Remove(path + "-wal")
}

// boot starts a server on what the one before left behind.
func (h *edgeWorld) boot() error {
	if h.stop != nil {
		h.stop()
	}
	h.dead, h.watched = false, time.Now()
	h.s = fleet.New(fleet.Config{
		Store: h.db, Packages: packages{}, Log: slog.New(slog.DiscardHandler), Change: h.change,
		Chunk:     1 + h.rng.IntN(9),
		StopGrace: time.Hour,
		NewOrder:  func() string { h.orders++; return fmt.Sprintf("d-%d", h.orders) },
	})
	ctx, cancel := context.WithCancel(h.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { h.s.Run(ctx) })
	h.stop = func() { cancel(); wg.Wait() }
	return h.db.Stages().ForgetLeases(h.ctx)
}

// change is a transaction of a server that may die before or after it.
func (h *edgeWorld) change(ctx context.Context, f func(edgestore.Tx) error) error {
	dies := func() bool { return !h.calm && h.rng.IntN(150) == 0 }
	if h.dead || dies() {
		h.dead = true
		return errDied
	}
	err := h.db.Change(ctx, f)
	if err == nil && dies() {
		h.dead = true
		return errDied // though it was committed
	}
	return err
}

// packages has every package.
type packages struct{}

func (packages) Package(_ context.Context, _ arn.Scope, job string) (edge.Package, error) {
	return edge.Package{Job: job, S3URL: "s3://b/" + job, SHA1: job}, nil
}

func (packages) SHA1Now(_ context.Context, s3url string) (string, error) {
	return strings.TrimPrefix(s3url, "s3://b/"), nil
}

// note remembers what happened, and passes on only errors that nobody expects.
func (h *edgeWorld) note(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	kind := strings.Fields(what)[0]
	switch {
	case err == nil:
		h.tally[kind]++
	case h.dead:
		h.tally["died"]++
		what += ": the server died"
	default:
		k, words := fault.Public(err)
		if k == fault.Internal {
			return fmt.Errorf("%s: %w", what, err)
		}
		h.tally["refused"]++
		what += ": " + words
	}
	h.trail = append(h.trail, time.Now().Format("15:04:05 ")+what)
	return nil
}

// live lives: first badly, then calmly until all has come to an end.
func (h *edgeWorld) live() error {
	err := h.boot()
	h.calm = true
	err = errors.Join(err, h.s.CreateFleet(h.ctx, edge.Fleet{Scope: edgeScope, Name: "f"}, nil, nil))
	for range edgeDevices {
		err = errors.Join(err, h.register())
	}
	h.calm = false
	for i := range edgeSteps {
		if err != nil {
			return err
		}
		if h.dead {
			if err := h.boot(); err != nil {
				return err
			}
		}
		err = h.step()
		if i%5 == 0 || h.dead {
			err = errors.Join(err, h.promises())
		}
	}
	if err != nil {
		return err
	}
	h.calm = true
	if err := h.boot(); err != nil {
		return err
	}
	return h.end()
}

// step lets somebody do something.
func (h *edgeWorld) step() error {
	time.Sleep(time.Duration(h.rng.IntN(int(20 * time.Second))))
	switch n := h.rng.IntN(100); {
	case n < 22:
		return h.person()
	case n < 45:
		return h.turn()
	case n < 46:
		time.Sleep(2 * time.Hour)
		h.watched = time.Now()
		return nil
	case n < 48:
		return h.register()
	case n < 49:
		return h.deregister()
	}
	for range 1 + h.rng.IntN(6) {
		if err := h.checkIn(h.devices[h.rng.IntN(len(h.devices))]); err != nil || h.dead {
			return err
		}
	}
	return nil
}

func (h *edgeWorld) register() error {
	d := &simDevice{
		name: fmt.Sprintf("d%03d", len(h.devices)), done: map[string]edge.Result{}, mirrors: h.rng.IntN(4) > 0,
	}
	if h.rng.IntN(10) == 0 && len(h.devices) > 0 {
		d.name = h.devices[h.rng.IntN(len(h.devices))].name // perhaps one that left
	}
	err := h.s.Register(h.ctx, edgeScope, "f", []edge.Device{{Name: d.name}}, nil)
	for _, o := range h.devices {
		if o.name == d.name {
			return h.note(err, "register %s again", d.name)
		}
	}
	if err == nil || h.dead {
		h.devices = append(h.devices, d)
	}
	return h.note(err, "register %s", d.name)
}

func (h *edgeWorld) deregister() error {
	d := h.devices[h.rng.IntN(len(h.devices))]
	return h.note(h.s.Deregister(h.ctx, edgeScope, "f", []string{d.name}), "deregister %s", d.name)
}

// turn takes a turn that is due, and sometimes all of them.
func (h *edgeWorld) turn() error {
	for range 1 + h.rng.IntN(20) {
		now := time.Now()
		c, _, err := h.db.Stages().Claim(h.ctx, now, now.Add(time.Minute))
		if err != nil || c.Key == "" || h.dead {
			return err
		}
		due, err := h.s.Turn(h.ctx, c.Key)
		if err != nil {
			if err := h.note(err, "turn of %s", c.Key); err != nil {
				return err
			}
			due = now.Add(time.Second)
		}
		if h.dead {
			return nil // its lease is forgotten by the next server
		}
		if err := h.db.Stages().Release(h.ctx, c, due); err != nil {
			return err
		}
		h.tally["turns"]++
	}
	return nil
}
