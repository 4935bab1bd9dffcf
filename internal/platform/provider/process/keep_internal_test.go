package process

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/platform/child"
)

// holdLogs has a process hold the lock of the logs as a keeper does that signed.
func (p *Provider) holdLogs(t *testing.T) (pid int) {
	t.Helper()
	f, err := os.OpenFile(p.paths.logLock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.Dir, cmd.ExtraFiles = p.paths.root, []*os.File{f}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // the provider did, if the test went well
		_ = cmd.Wait()         // as above
	})
	st, err := child.ReadStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(holder{cmd.Process.Pid, st.Start})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestAServerHasTheLogsBeforeItStartsAKeeper(t *testing.T) {
	for name, own := range map[string]bool{"from an earlier server's keeper": false, "from its own": true} {
		t.Run(name, func(t *testing.T) {
			p := smallLimits(t)
			pid := p.holdLogs(t)
			if own {
				p.keeper.pid = pid
			}
			if !p.takeLogs() {
				t.Error("the logs were left to a keeper while a server runs")
			}
		})
	}
}

func TestAKeeperThatEndsByItselfIsStartedEverMoreRarelyAndToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told bytes.Buffer
		p, err := open(Config{
			Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&told, nil)),
			Keeper: []string{"/bin/sh", "sh", "-c", "echo >>starts; exit 3"},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer p.shut()
		for range 300 { // ten minutes
			p.startKeeper()
			if pid := p.keeper.pid; pid != 0 { // it ends, and is left to the provider to collect
				if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(logsEvery)
		}
		b, err := os.ReadFile(p.paths.root + "/starts")
		if err != nil {
			t.Fatal(err)
		}
		if n := len(b); n < 5 || n > 12 {
			t.Errorf("it was started %d times in ten minutes", n)
		}
		if n := strings.Count(told.String(), "exit_status=3"); n != 1 {
			t.Errorf("told %d times:\n%s", n, told.String())
		}
	})
}
