package sim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	base "github.com/slipway-ml/slipway/internal/platform/store"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
)

// What one life is made of.
const (
	endpoints = 40  // names that share a database
	perLife   = 800 // deployments
	perFive   = 5   // deployments that the decisions alone live through for each one here
)

// The shipping engine, deployer and store live through deployments in which
// everything goes wrong that a seed says. SLIPWAY_SIM_SEED lives one life
// alone and shows it; SLIPWAY_SIM_ROLLOUTS is how many deployments the decisions
// live through, and five times as many as the shipping code does.
func TestTheShippingCodeKeepsItsPromises(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	template := newDatabase(t)
	n := wanted(t, 500) / perFive
	size := min(n, perLife)
	if seed, ok := onlySeed(t); ok {
		life(t, template, seed, size, slog.New(slog.NewTextHandler(t.Output(), nil)))
		return
	}
	from, last := seeds(t, n/size)
	var next, rollouts atomic.Uint64
	next.Store(from - 1)
	begun := time.Now()
	t.Run("lives", func(t *testing.T) {
		for worker := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint("worker ", worker), func(t *testing.T) {
				t.Parallel()
				for seed := next.Add(1); seed <= last && !t.Failed(); seed = next.Add(1) {
					accepted, _ := life(t, template, seed, size, slog.New(slog.DiscardHandler))
					rollouts.Add(uint64(accepted))
				}
			})
		}
	})
	told(t, from, last, rollouts.Load(), time.Since(begun))
}

// A failing seed is worth something only if it fails again.
func TestASeedAlwaysLivesTheSameLife(t *testing.T) {
	template := newDatabase(t)
	for seed := range uint64(2) {
		_, first := life(t, template, seed, 15, slog.New(slog.DiscardHandler))
		if _, again := life(t, template, seed, 15, slog.New(slog.DiscardHandler)); first != again {
			t.Errorf("seed %d lived another life the second time", seed)
		}
	}
}

// onlySeed is the one seed that somebody wants to see again.
func onlySeed(t *testing.T) (uint64, bool) {
	text := os.Getenv("SLIPWAY_SIM_SEED")
	if text == "" {
		return 0, false
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return seed, true
}

// seeds returns the first and the last of n seeds. SLIPWAY_SIM_FROM is the
// first, so that not every run lives the same lives.
func seeds(t *testing.T, n int) (from, last uint64) {
	from = 1
	if text := os.Getenv("SLIPWAY_SIM_FROM"); text != "" {
		var err error
		if from, err = strconv.ParseUint(text, 10, 63); err != nil || from == 0 {
			t.Fatalf("SLIPWAY_SIM_FROM is %q: %v", text, err)
		}
	}
	return from, from + uint64(max(1, n)) - 1
}

// told prints what was lived through.
func told(t *testing.T, from, last, deployments uint64, took time.Duration) {
	t.Logf("seeds %d to %d: %d deployments in %v, %.0f a second", from, last, deployments,
		took.Round(time.Millisecond), float64(deployments)/took.Seconds())
}

// wanted is how many deployments to live through.
func wanted(t *testing.T, n int) int {
	text := os.Getenv("SLIPWAY_SIM_ROLLOUTS")
	if text == "" {
		return n
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// newDatabase returns an empty database, up to date, to copy.
func newDatabase(t *testing.T) []byte {
	path := filepath.Join(t.TempDir(), "empty.db")
	db, err := base.OpenSQLite(t.Context(), path)
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// place is a directory in memory, if there is one: what a database survives is
// not in question here.
func place(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "slipway-sim-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// life lives through what a seed says and returns how many deployments there
// were, and a digest of all that happened.
func life(t *testing.T, template []byte, seed uint64, size int, log *slog.Logger) (rollouts int, digest uint64) {
	path := filepath.Join(place(t), "life.db")
	if err := os.WriteFile(path, template, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		db, err := base.OpenSQLite(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t.Context(), db, seed, size, log)
		err = w.run()
		rollouts, digest = w.accepted, w.digest.Sum64()
		if err := errors.Join(w.shutDown(), db.Close()); err != nil {
			t.Error(err)
		}
		if err != nil {
			t.Errorf("seed %d: %v\nafter\n  %s\nto see it again: "+
				"SLIPWAY_SIM_ROLLOUTS=%d SLIPWAY_SIM_SEED=%d go test ./internal/sim -run %s -v",
				seed, err, strings.Join(w.trail[max(0, len(w.trail)-12):], "\n  "), perFive*size, seed,
				"TestTheShippingCodeKeepsItsPromises")
		}
		if log.Enabled(t.Context(), slog.LevelInfo) {
			t.Log(w.summary())
		}
	})
	_ = os.Remove(path)
	_ = os.Remove(path + "-wal")
	return rollouts, digest
}

func newWorld(ctx context.Context, db *base.DB, seed uint64, size int, log *slog.Logger) *world {
	w := &world{
		db: store.New(db), log: log, ctx: ctx, calls: make(chan *call, 8), notified: map[int]bool{},
		digest:    fnv.New64a(),
		leases:    map[string]time.Time{},
		instances: instances{running: map[hosting.InstanceID]*instance{}, traits: map[hosting.FleetID]*traits{}},
		people: people{
			d: roll(seed), quota: size, alarms: map[string]bool{}, fired: map[string]time.Time{},
			answers: map[string]int64{}, heard: map[string][]traffic.Reading{},
		},
		audit: newAudit(),
	}
	w.servers = make([]*server, 1+w.d.IntN(2))
	for r := range w.servers {
		w.after(0, func() { w.boot(r) })
	}
	for i := range endpoints {
		w.after(w.d.upTo(time.Minute), func() { w.visit(&slot{name: fmt.Sprint("endpoint-", i)}) })
	}
	return w
}

// run goes on until every deployment was asked for and has ended.
func (w *world) run() error {
	over := func() bool { return w.quota <= 0 && len(w.running) == 0 && w.allGone() }
	limit := time.Now().Add(30 * 24 * time.Hour)
	err := w.live(func() bool {
		if time.Now().After(limit) {
			w.broken("it never ends")
		}
		if w.quota <= 0 && !w.calm {
			w.calm = true
			w.recover()
		}
		return over()
	})
	if err != nil {
		return err
	}
	return w.nothingIsLeft()
}

func (w *world) allGone() bool {
	for _, s := range w.slots {
		if s.stored != nil {
			return false
		}
	}
	return true
}

// shutDown stops the servers.
func (w *world) shutDown() error {
	for _, s := range w.servers {
		if s == nil {
			continue
		}
		s.cancel()
	}
	for {
		synctest.Wait()
		w.collect()
		if len(w.waiting) == 0 {
			break
		}
		for _, c := range w.waiting {
			c.answer <- lost
		}
		w.waiting = nil
	}
	for _, s := range w.servers {
		if s != nil {
			<-s.gone
		}
	}
	return nil
}

// nothingIsLeft: when all endpoints are deleted, no row of them is left but the
// record.
func (w *world) nothingIsLeft() error {
	rows, err := w.db.InstancesSince(w.ctx, 0)
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		return fmt.Errorf("%d instances are left", len(rows))
	}
	for d := range w.owners {
		if _, ok := w.ends[d]; !ok {
			return fmt.Errorf("deployment %s never ended", d)
		}
	}
	return nil
}

func (w *world) summary() string {
	return fmt.Sprintf("%d deployments, %d refused, %d reports, %d checks: %v", w.accepted,
		w.refused, w.reports, w.checks, w.tally)
}
