package process_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/slipway-ml/slipway/internal/platform/provider/process"
)

// TestAFullDiskStartsNothing lets the disk fill up before each of the files
// that a start writes.
func TestAFullDiskStartsNothing(t *testing.T) {
	// Pages left: none for the intent, none for the pid, enough, also for what the
	// model says meanwhile.
	for _, free := range []int{0, 1, 8} {
		t.Run(fmt.Sprintf("%d pages left", free), func(t *testing.T) {
			h := newHome(t, process.Config{})
			page := os.Getpagesize()
			if err := os.MkdirAll(h.cfg.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mount("tmpfs", h.cfg.Dir, "tmpfs", 0, fmt.Sprintf("size=%d", 16*page)); err != nil {
				t.Skip("mounting a small disk needs root:", err)
			}
			t.Cleanup(func() {
				if err := syscall.Unmount(h.cfg.Dir, syscall.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			p := h.open()
			fill := filepath.Join(h.cfg.Dir, "fill")
			if err := os.WriteFile(fill, make([]byte, (16-free)*page), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := p.Ensure(t.Context(), "x", spec(t, nil))
			if free < 2 != errors.Is(err, syscall.ENOSPC) {
				t.Errorf("Ensure: %v", err)
			}
			if free < 2 {
				if n := len(marked(t, h.cfg.Dir+"/")); n != 0 || ids(t, p) != "" {
					t.Errorf("%d processes, listed %q", n, ids(t, p))
				}
			}
			if err := os.Remove(fill); err != nil {
				t.Fatal(err)
			}
			h.usable(p, false)
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
