package interrupt_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/slipway-ml/slipway/internal/platform/interrupt"
)

const asked = "INTERRUPT_TEST"

// The test binary is a program that waits to be interrupted, or that fails then.
func TestMain(m *testing.M) {
	how := os.Getenv(asked)
	if how == "" {
		os.Exit(m.Run())
	}
	ctx := interrupt.Context(syscall.SIGINT, syscall.SIGTERM)
	fmt.Println("listening")
	<-ctx.Done()
	err := fmt.Errorf("waited: %w", ctx.Err())
	switch how {
	case "fails":
		err = errors.New("something else")
	case "cause":
		err = context.Cause(ctx)
	case "stubborn":
		fmt.Println("again")
		select {}
	}
	code, _ := interrupt.Code(ctx, err)
	os.Exit(code)
}

func TestTheExitCodeNamesTheSignal(t *testing.T) {
	for name, c := range map[string]struct {
		how  string
		sigs []syscall.Signal
		want string
	}{
		"interrupted":   {"waits", []syscall.Signal{syscall.SIGINT}, "exit status 130"},
		"terminated":    {"waits", []syscall.Signal{syscall.SIGTERM}, "exit status 143"},
		"by the cause":  {"cause", []syscall.Signal{syscall.SIGINT}, "exit status 130"},
		"another fault": {"fails", []syscall.Signal{syscall.SIGINT}, "exit status 1"},
		"a second signal is the last": {
			"stubborn", []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}, "signal: terminated",
		},
	} {
		t.Run(name, func(t *testing.T) {
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), exe)
			cmd.Env = append(os.Environ(), asked+"="+c.how)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for _, sig := range c.sigs {
				if _, err := fmt.Fscanln(out, new(string)); err != nil {
					t.Fatal(err)
				}
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
			}
			_ = cmd.Wait() // its state says how it ended
			if got := cmd.ProcessState.String(); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
