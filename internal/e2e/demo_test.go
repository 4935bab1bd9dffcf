package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The demo checks itself; this runs it as a newcomer does.
func TestTheDemoHoldsItsOwnChecks(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), program(t, "slipway"), "demo", "--plain")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir()}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it cleans up behind itself
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "all checks held") {
		t.Errorf("%v\n%s", err, out)
	}
}
