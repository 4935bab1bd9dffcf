package process_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/provider"
	"github.com/slipway-ml/slipway/internal/platform/provider/process"
	"github.com/slipway-ml/slipway/internal/platform/provider/providertest"
)

// run runs a command that a person would.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// at is a home whose directory is dir.
func (h *home) at(dir string) *home {
	other := *h
	other.cfg.Dir = dir
	h.t.Cleanup(func() {
		for _, pid := range marked(h.t, dir+"/") {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone
		}
	})
	return &other
}

// startedBy starts x under h, with a child in a session of its own, and returns
// its process after the server has gone.
func startedBy(h *home) int {
	p := h.open()
	mustEnsure(h.t, p, "x", spec(h.t, map[string]string{"TESTMODEL_CHILD": "session"}))
	if err := p.Close(); err != nil {
		h.t.Fatal(err)
	}
	for deadline := time.Now().Add(providertest.Patience); len(h.all()) < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatal("it has no child")
		}
	}
	return h.pid("x")
}

// all returns what runs in this directory and in those beside it.
func (h *home) all() []int { return marked(h.t, filepath.Dir(h.cfg.Dir)+"/") }

func TestACopiedDirectoryLeavesTheOriginalsProcessesAlone(t *testing.T) {
	for name, copied := range map[string]func(t *testing.T, h *home) (original, other *home){
		"a copy elsewhere": func(t *testing.T, h *home) (*home, *home) {
			other := h.at(h.cfg.Dir + "-copy")
			run(t, "cp", "-a", h.cfg.Dir, other.cfg.Dir)
			return h, other
		},
		"a copy of hard links": func(t *testing.T, h *home) (*home, *home) {
			other := h.at(h.cfg.Dir + "-copy")
			run(t, "cp", "-al", h.cfg.Dir, other.cfg.Dir)
			return h, other
		},
		"a copy in the place of the original": func(t *testing.T, h *home) (*home, *home) {
			moved := h.at(h.cfg.Dir + "-moved")
			run(t, "mv", h.cfg.Dir, moved.cfg.Dir)
			run(t, "cp", "-a", moved.cfg.Dir, h.cfg.Dir)
			return moved, h
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, process.Config{})
			pid := startedBy(h)
			original, other := copied(t, h)
			p := other.open()
			if got := ids(t, p); got != "x exited=true" {
				t.Errorf("the copy's server finds %q", got)
			}
			mustEnsure(t, p, "x", spec(t, nil))
			if again := other.pid("x"); again == pid {
				t.Error("the copy's server took the original's process for its own")
			}
			if err := p.Remove(t.Context(), "x"); err != nil {
				t.Error(err)
			}
			if left := h.all(); len(left) != 2 || !slices.Contains(left, pid) {
				t.Fatal("the copy's server ended what the original runs")
			}
			if err := p.Close(); err != nil { // hard links share the lock, too
				t.Error(err)
			}
			q := original.open()
			if got := ids(t, q); got != "x exited=false" {
				t.Errorf("the original's server finds %q", got)
			}
			if err := q.Remove(t.Context(), "x"); err != nil {
				t.Error(err)
			}
			if left := h.all(); len(left) != 0 {
				t.Errorf("%v are left", left)
			}
		})
	}
}

// A record of an earlier release does not say in which directory it was written.
func TestAnInstanceIsAdoptedWhereItsDirectoryWasMovedTo(t *testing.T) {
	for name, change := range map[string]func(record string) string{
		"of this release":       func(r string) string { return r },
		"of an earlier release": func(r string) string { return strings.Replace(r, `"dir":`, `"was":`, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, process.Config{})
			pid := startedBy(h)
			file := filepath.Join(h.cfg.Dir, "instances", "x.json")
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(change(string(b))), 0o600); err != nil {
				t.Fatal(err)
			}
			moved := h.at(h.cfg.Dir + "-moved")
			run(t, "mv", h.cfg.Dir, moved.cfg.Dir)
			p := moved.open()
			if got := ids(t, p); got != "x exited=false" || !slices.Contains(h.all(), pid) {
				t.Errorf("found %q", got)
			}
			if err := p.Remove(t.Context(), provider.ID("x")); err != nil || len(h.all()) != 0 {
				t.Errorf("not removed: %v", err)
			}
		})
	}
}
