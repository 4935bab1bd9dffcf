package process_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/provider"
	"github.com/slipway-ml/slipway/internal/platform/provider/process"
	"github.com/slipway-ml/slipway/internal/platform/provider/providertest"
)

// written is how many bytes a process has written, by the kernel's account.
func written(t testing.TB, pid int) (n int64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		t.Skipf("the kernel does not count what a process writes: %v", err)
	}
	_, rest, _ := strings.Cut(string(b), "wchar: ")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A model that writes as fast as it can fills no disk: its log is bounded while
// it is written, and not some seconds later.
func TestTheLogOfAChattyInstanceIsBoundedWhileItIsWritten(t *testing.T) {
	const limit, flood = 1 << 20, 1 << 30
	h := newHome(t, process.Config{LogBytes: limit})
	p := h.open()
	s := provider.Spec{Image: "yes", Command: []string{"yes", strings.Repeat("chatter ", 64)}}
	mustEnsure(t, p, "x", s)
	pid, most := h.pid("x"), int64(0)
	deadline := time.Now().Add(providertest.Patience)
	for written(t, pid) < flood && time.Now().Before(deadline) {
		files, err := filepath.Glob(h.cfg.Dir + "/logs/x.log*")
		if err != nil {
			t.Fatal(err)
		}
		var size int64
		for _, f := range files {
			if st, err := os.Stat(f); err == nil {
				size += st.Size()
			}
		}
		most = max(most, size)
		time.Sleep(time.Millisecond)
	}
	total := written(t, pid)
	t.Logf("it wrote %d MiB, of which at most %d were on the disk at one time", total>>20, most>>20)
	if most > total/4 {
		t.Errorf("%d MiB of %d were on the disk at one time", most>>20, total>>20)
	}
	for { // it may just have been emptied
		out, err := p.Logs(t.Context(), "x", 1<<10)
		if err == nil && strings.Contains(string(out), "chatter") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("its last lines: %q, %v", out, err)
		}
	}
	if err := p.Remove(t.Context(), "x"); err != nil {
		t.Error(err)
	}
}
