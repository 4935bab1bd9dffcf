package fleet_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	store "github.com/slipway-ml/slipway/internal/platform/store/edge"
	"github.com/slipway-ml/slipway/internal/service/fleet"
)

const crashEnv = "SLIPWAY_FLEET_TEST_DB"

// TestMain lets the test binary play the server that dies.
func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnv); path != "" {
		if err := live(context.Background(), path); err != nil {
			slog.Error("the server failed", "err", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// crashDevices is how many devices the story is about: several chunks.
const crashDevices = 40

// live takes a plan from wherever it is through its story: two stages, of which
// the first is stopped and started again, and is deleted in the end.
func live(ctx context.Context, path string) error {
	db, err := openSQLite(ctx, path)
	if err != nil {
		return err
	}
	defer db.Close()
	s := fleet.New(fleet.Config{
		Store: db, Packages: &depot{}, Log: slog.New(slog.DiscardHandler), Chunk: 8,
	})
	stop, over := context.WithCancel(ctx)
	written := make(chan struct{})
	go func() { s.Run(stop); close(written) }()
	defer func() { over(); <-written }()
	if err := db.Stages().ForgetLeases(ctx); err != nil {
		return err
	}
	h := story{s, db, ctx}
	for _, step := range []func() error{h.stopAndGoOn, h.deploy, h.remove} {
		if err := errors.Join(step(), h.turns()); err != nil {
			return err
		}
	}
	return nil
}

type story struct {
	s   *fleet.Service
	db  store.DB
	ctx context.Context
}

func (h story) turns() error {
	for {
		at := time.Now().Add(2 * time.Second)
		c, _, err := h.db.Stages().Claim(h.ctx, at, at.Add(time.Minute))
		if err != nil || c.Key == "" {
			return err
		}
		due, err := h.s.Turn(h.ctx, c.Key)
		if err != nil {
			return err
		}
		if err := h.db.Stages().Release(h.ctx, c, due); err != nil {
			return err
		}
	}
}

func (h story) status(stage string) edge.StageStatus {
	p, err := h.s.Plan(h.ctx, scope, "p")
	if err != nil || p.Stage(stage) < 0 {
		return ""
	}
	return p.Stages[p.Stage(stage)].Status
}

func (h story) stopAndGoOn() error {
	if h.status("half") != edge.StageReady {
		return nil
	}
	if err := h.s.StartStage(h.ctx, scope, "p", "half"); err != nil {
		return err
	}
	if err := h.s.StopStage(h.ctx, scope, "p", "half"); err != nil {
		return err
	}
	return h.turns()
}

// deploy starts what is to be started, and lets the devices work.
func (h story) deploy() error {
	for _, stage := range []string{"half", "rest"} {
		if err := h.turns(); err != nil {
			return err
		}
		if st := h.status(stage); st == "" || st == edge.StageDeployed {
			continue
		}
		if err := h.s.StartStage(h.ctx, scope, "p", stage); err != nil {
			return err
		}
		if err := h.turns(); err != nil {
			return err
		}
		for i := range crashDevices {
			ds, _, err := h.s.Deployments(h.ctx, scope, edge.Caller{}, "f", crashName(i))
			if err != nil {
				return err
			}
			for _, d := range ds {
				r := edge.Heartbeat{
					Fleet: "f", Device: crashName(i), Result: &edge.Result{Deployment: d.Name, Status: "SUCCESS"},
				}
				if _, err := h.s.Heartbeat(h.ctx, scope, edge.Caller{}, r); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func crashName(i int) string { return name(i) }

func (h story) remove() error {
	if h.status("half") == "" {
		return nil
	}
	return h.s.DeleteStage(h.ctx, scope, "p", "half")
}

// A server is killed at every step, again and again, and those after it end what
// it began.
func TestAKilledServerLeavesNothingHalfDone(t *testing.T) {
	for _, point := range []string{"fleet.started", "fleet.stepped", "fleet.removing"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "x.db")
			prepareStory(t, path)
			kills := 0
			for ; ; kills++ {
				if kills == 100 {
					t.Fatal("it never gets anywhere")
				}
				// Each server gets a little further than the one before.
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), crashEnv+"="+path, failpoint.Env+"="+point)
				out, err := cmd.CombinedOutput()
				checkStory(t, path)
				if err == nil {
					break
				}
				if e, ok := errors.AsType[*exec.ExitError](err); !ok ||
					e.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("%v: %s", err, out)
				}
			}
			t.Logf("killed %d times", kills)
			db, err := openSQLite(t.Context(), path)
			ok(t, err)
			defer db.Close()
			p, err := db.Plan(t.Context(), scope, "p")
			ok(t, err)
			if len(p.Stages) != 1 || p.Removing || p.Stages[0].Status != edge.StageDeployed ||
				p.Totals != (edge.Counts{Deployed: crashDevices / 2}) {
				t.Errorf("%+v", p)
			}
		})
	}
}

func prepareStory(t *testing.T, path string) {
	t.Helper()
	db, err := openSQLite(t.Context(), path)
	ok(t, err)
	defer db.Close()
	w := newWorld(t, db, fleet.Config{})
	ok(t, w.CreateFleet(t.Context(), edge.Fleet{Scope: scope, Name: "f"}, nil, nil))
	var ds []edge.Device
	for i := range crashDevices {
		ds = append(ds, edge.Device{Name: crashName(i)})
	}
	ok(t, w.Register(t.Context(), scope, "f", ds, nil))
	w.plan("p", percent("half", 50), percent("rest", 100))
}

// checkStory compares the counters of the stages with their rows.
func checkStory(t *testing.T, path string) {
	t.Helper()
	db, err := openSQLite(t.Context(), path)
	ok(t, err)
	defer db.Close()
	p, err := db.Plan(t.Context(), scope, "p")
	ok(t, err)
	checkCounters(t, db, p)
}

// checkCounters compares the counters of the stages of a plan with their rows,
// and looks for devices that belong to two of them.
func checkCounters(t *testing.T, db store.DB, p *edge.Plan) {
	t.Helper()
	owners := map[int64]string{}
	for _, st := range p.Stages {
		var c edge.Counts
		for f, more := (edge.RowFilter{Limit: 1000}), true; more; {
			page, m, err := db.StageDevices(t.Context(), p, st, f)
			ok(t, err)
			for _, d := range page {
				if d.OwnerStage != st.Name {
					continue
				}
				c.Move("", d.Status)
				if o := owners[d.DeviceID]; o != "" {
					t.Errorf("%s belongs to %s and %s", d.Device, o, st.Name)
				}
				owners[d.DeviceID] = st.Name
			}
			if more = m; more {
				f.After = f.Cursor(page[len(page)-1])
			}
		}
		if c != st.Counts {
			t.Errorf("stage %s of %s counts %+v, its rows are %+v", st.Name, p.Name, st.Counts, c)
		}
	}
}
