package failpoint_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/slipway-ml/slipway/internal/platform/failpoint"
)

const childEnv = "FAILPOINT_TEST_CHILD"

// TestMain lets the test binary play the program that dies.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	for i := range 3 {
		fmt.Print(i)
		failpoint.Hit("test.step")
		failpoint.Hit("test.other")
	}
}

func TestAnArmedFailPointKillsAtTheNamedStep(t *testing.T) {
	for name, c := range map[string]struct {
		arm, out string
		killed   bool
	}{
		"nothing armed, nothing happens": {"", "012", false},
		"the first hit kills":            {"test.step", "0", true},
		"the n-th hit kills":             {"test.step:2", "01", true},
		"a hit that never comes":         {"test.step:9", "012", false},
		"a malformed count means once":   {"test.other:x", "0", true},
		"another name":                   {"test", "012", false},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"=1", failpoint.Env+"="+c.arm)
			out, err := cmd.Output()
			exit, _ := errors.AsType[*exec.ExitError](err)
			killed := exit != nil && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
			if string(out) != c.out || killed != c.killed {
				t.Errorf("printed %q, killed %v (%v)", out, killed, err)
			}
		})
	}
}

func BenchmarkHitUnarmed(b *testing.B) {
	for b.Loop() {
		failpoint.Hit("test.step")
	}
}
