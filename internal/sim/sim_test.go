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
		for w := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint("worker ", w), func(t *testing.T) {
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
		y := newYard(t.Context(), db, seed, size, log)
		err = y.run()
		rollouts, digest = y.accepted, y.digest.Sum64()
		if err := errors.Join(y.shutDown(), db.Close()); err != nil {
			t.Error(err)
		}
		if err != nil {
			t.Errorf("seed %d: %v\nafter\n  %s\nto see it again: "+
				"SLIPWAY_SIM_ROLLOUTS=%d SLIPWAY_SIM_SEED=%d go test ./internal/sim -run %s -v",
				seed, err, strings.Join(y.trail[max(0, len(y.trail)-12):], "\n  "), perFive*size, seed,
				"TestTheShippingCodeKeepsItsPromises")
		}
		if log.Enabled(t.Context(), slog.LevelInfo) {
			t.Log(y.summary())
		}
	})
	_ = os.Remove(path)
	_ = os.Remove(path + "-wal")
	return rollouts, digest
}

func newYard(ctx context.Context, db *base.DB, seed uint64, size int, log *slog.Logger) *yard {
	y := &yard{
		db: store.New(db), log: log, ctx: ctx, calls: make(chan *call, 8), rings: map[int]bool{}, digest: fnv.New64a(),
		leases: map[string]time.Time{},
		herd:   herd{animals: map[hosting.InstanceID]*animal{}, breeds: map[hosting.FleetID]*breed{}},
		people: people{
			d: roll(seed), quota: size, alarms: map[string]bool{}, fired: map[string]time.Time{},
			answers: map[string]int64{}, heard: map[string][]traffic.Reading{},
		},
		audit: newAudit(),
	}
	y.servers = make([]*server, 1+y.d.IntN(2))
	for r := range y.servers {
		y.after(0, func() { y.boot(r) })
	}
	for i := range endpoints {
		y.after(y.d.upTo(time.Minute), func() { y.visit(&spot{name: fmt.Sprint("endpoint-", i)}) })
	}
	return y
}

// run goes on until every deployment was asked for and has ended.
func (y *yard) run() error {
	over := func() bool { return y.quota <= 0 && len(y.animals) == 0 && y.allGone() }
	limit := time.Now().Add(30 * 24 * time.Hour)
	err := y.live(func() bool {
		if time.Now().After(limit) {
			y.broken("it never ends")
		}
		if y.quota <= 0 && !y.calm {
			y.calm = true
			y.recover()
		}
		return over()
	})
	if err != nil {
		return err
	}
	return y.nothingIsLeft()
}

func (y *yard) allGone() bool {
	for _, s := range y.spots {
		if s.stored != nil {
			return false
		}
	}
	return true
}

// shutDown stops the servers.
func (y *yard) shutDown() error {
	for _, s := range y.servers {
		if s == nil {
			continue
		}
		s.cancel()
	}
	for {
		synctest.Wait()
		y.collect()
		if len(y.waiting) == 0 {
			break
		}
		for _, c := range y.waiting {
			c.answer <- lost
		}
		y.waiting = nil
	}
	for _, s := range y.servers {
		if s != nil {
			<-s.gone
		}
	}
	return nil
}

// nothingIsLeft: when all endpoints are deleted, no row of them is left but the
// record.
func (y *yard) nothingIsLeft() error {
	rows, err := y.db.InstancesSince(y.ctx, 0)
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		return fmt.Errorf("%d instances are left", len(rows))
	}
	for d := range y.owners {
		if _, ok := y.ends[d]; !ok {
			return fmt.Errorf("deployment %s never ended", d)
		}
	}
	return nil
}

func (y *yard) summary() string {
	return fmt.Sprintf("%d deployments, %d refused, %d reports, %d checks: %v", y.accepted,
		y.refused, y.reports, y.checks, y.tally)
}
