package process_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/provider"
	"github.com/slipway-ml/slipway/internal/platform/provider/process"
)

// TestAServerKilledAtRandomMomentsLosesAndDoublesNothing kills servers in the
// middle of whatever they do, between the named steps too.
func TestAServerKilledAtRandomMomentsLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	h := newHome(t, process.Config{})
	rng := rand.New(rand.NewPCG(1, 2))
	for range 12 {
		var steps []string
		for range 40 {
			verb := []string{"ensure", "ensure", "ensure-short-lived", "remove"}[rng.IntN(4)]
			steps = append(steps, fmt.Sprintf("%s=m-%d", verb, rng.IntN(6)))
		}
		cmd := exec.Command(os.Args[0], steps...)
		cmd.Env = append(os.Environ(), serverEnv+"="+h.cfg.Dir, "TESTMODEL="+spec(t, nil).Command[0])
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+rng.IntN(60)) * time.Millisecond) // any moment will do
		_ = cmd.Process.Signal(syscall.SIGKILL)                       // it may have finished
		_ = cmd.Wait()                                                // how it ended does not matter

		p := h.open()
		all, err := p.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		listed := 0
		for _, st := range all {
			// An adopted one may be ending: what a signal began goes on.
			if n := h.copies(st.ID); n > 1 || st.Exited && n != 0 {
				t.Errorf("%d copies of %+v", n, st)
			}
			listed += h.copies(st.ID)
		}
		if n := len(marked(t, h.cfg.Dir+"/")); n > listed {
			t.Errorf("%d processes exist, only %d are listed", n, listed)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestVerbsFromAllSidesKeepOneCopyEach(t *testing.T) {
	t.Parallel()
	h := newHome(t, process.Config{})
	p := h.open()
	var wg sync.WaitGroup
	for g := range uint64(6) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(g, 1))
			for range 25 {
				id := provider.ID(fmt.Sprintf("m-%d", rng.IntN(3)))
				switch rng.IntN(4) {
				case 0:
					if err := p.Remove(t.Context(), id); err != nil {
						t.Error(err)
					}
				case 1:
					for _, pid := range marked(t, h.cfg.Dir+"/instances/"+string(id)+".json") {
						_ = syscall.Kill(pid, syscall.SIGKILL) // a crash
					}
				default:
					if _, err := p.Ensure(t.Context(), id, spec(t, nil)); err != nil {
						t.Error(err)
					}
					if n := h.copies(id); n > 1 {
						t.Errorf("%d copies of %s", n, id)
					}
				}
			}
		})
	}
	wg.Wait()
	for i := range 3 {
		if err := p.Remove(t.Context(), provider.ID(fmt.Sprintf("m-%d", i))); err != nil {
			t.Error(err)
		}
	}
	if n := len(marked(t, h.cfg.Dir+"/")); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

func TestCloseGivesEveryDescriptorBackAndLeavesInstancesRunning(t *testing.T) {
	h := newHome(t, process.Config{})
	mustEnsure(t, h.open(), "warm-up", spec(t, nil)) // opens what Go's runtime keeps
	before := descriptors(t)
	other := newHome(t, process.Config{})
	p := other.open()
	for i := range 5 {
		mustEnsure(t, p, provider.ID(fmt.Sprintf("m-%d", i)), spec(t, nil))
	}
	if n := descriptors(t) - before; n != 5+5 {
		t.Errorf("5 instances take %d descriptors, want one each, two locks, two of the watcher, one of the logs", n)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors before, %d after", before, n)
	}
	if n := len(marked(t, other.cfg.Dir+"/")); n != 5 {
		t.Errorf("%d instances run after Close", n)
	}
	if _, err := p.Ensure(t.Context(), "late", spec(t, nil)); err == nil {
		t.Error("a closed provider started something")
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// BenchmarkEnsureToPing is a process instance from the verb to its first answer.
func BenchmarkEnsureToPing(b *testing.B) {
	h := newHome(b, process.Config{})
	h.cfg.Log = nil
	p := h.open()
	s := spec(b, nil)
	var ensure time.Duration
	n := 0
	for b.Loop() {
		id := provider.ID(fmt.Sprintf("m-%d", n))
		n++
		begin := time.Now()
		st := mustEnsure(b, p, id, s)
		ensure += time.Since(begin)
		untilReady(b, st.Address)
		b.StopTimer()
		if err := p.Remove(b.Context(), id); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(ensure.Microseconds())/float64(n)/1000, "ensure-ms/op")
}
