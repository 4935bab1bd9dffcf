package process_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/child"
	"github.com/slipway-ml/slipway/internal/platform/provider"
	"github.com/slipway-ml/slipway/internal/platform/provider/process"
	"github.com/slipway-ml/slipway/internal/platform/provider/providertest"
)

// keepLogs makes this test binary a keeper.
const keepLogs = "keep-logs"

// chatter is the limit of a log in the tests of keepers.
const chatter = 1 << 20

func keeper() []string { return []string{os.Args[0], os.Args[0], keepLogs} }

func beKeeper(dir, bytes string) int {
	n, err := strconv.ParseInt(bytes, 10, 64)
	if err == nil {
		ctx, cancel := contextWithPatience()
		defer cancel()
		err = process.KeepLogs(ctx, dir, n)
	}
	if err != nil {
		return 1
	}
	return 0
}

func chatty() provider.Spec {
	return provider.Spec{Image: "yes", Command: []string{"yes", strings.Repeat("chatter ", 64)}}
}

// keepers returns the processes that bound the logs of the directory, or wait to.
func (h *home) keepers() (list []int) {
	h.t.Helper()
	all, err := child.PIDs()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, pid := range all {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		st, gone := child.ReadStat(pid)
		if err == nil && gone == nil && !st.Dead() && strings.Contains(string(line), keepLogs+"\x00"+h.cfg.Dir+"\x00") {
			list = append(list, pid)
		}
	}
	return list
}

// until waits for something that another process does.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(providertest.Patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to pass: %s", what)
		}
	}
}

// most returns the bytes of x's logs that were on the disk at most while x wrote
// flood bytes more.
func (h *home) most(pid int, flood int64) (most, total int64) {
	h.t.Helper()
	begun := written(h.t, pid)
	until(h.t, "the flood was written", func() bool {
		files, err := filepath.Glob(h.cfg.Dir + "/logs/x.log*")
		if err != nil {
			h.t.Fatal(err)
		}
		var size int64
		for _, f := range files {
			if st, err := os.Stat(f); err == nil {
				size += st.Size()
			}
		}
		most, total = max(most, size), written(h.t, pid)-begun
		return total >= flood
	})
	h.t.Logf("it wrote %d MiB, of which at most %d were on the disk at one time", total>>20, most>>20)
	return most, total
}

// A model outlives its server, and goes on talking.
func TestTheLogOfAChattyInstanceIsBoundedWhileNoServerRuns(t *testing.T) {
	h := newHome(t, process.Config{LogBytes: chatter, Keeper: keeper()})
	h.dieAt("process.recorded", "ensure-chatty=x")
	pid := h.pid("x")
	if most, total := h.most(pid, 1<<30); most > total/4 {
		t.Errorf("%d MiB of %d were on the disk at one time", most>>20, total>>20)
	}
	before := h.keepers()
	if len(before) != 1 {
		t.Fatalf("keepers: %v", before)
	}

	p := h.open() // another server has another keeper: it may have another limit
	until(t, "the next server's keeper took the place of the first one's", func() bool {
		now := h.keepers()
		return len(now) == 1 && now[0] != before[0]
	})
	if most, total := h.most(pid, 1<<30); most > total/4 {
		t.Errorf("after a restart, %d MiB of %d were on the disk at one time", most>>20, total>>20)
	}
	killed := h.keepers()
	for _, pid := range killed {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "a keeper that was killed was replaced", func() bool {
		now := h.keepers()
		return len(now) == 1 && now[0] != killed[0]
	})
	if err := p.Remove(t.Context(), "x"); err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	until(t, "without instances and server no keeper is left", func() bool { return len(h.keepers()) == 0 })
}

func TestAKeeperGoesWithTheLastInstance(t *testing.T) {
	h := newHome(t, process.Config{LogBytes: chatter, Keeper: keeper()})
	h.dieAt("process.recorded", "ensure-chatty=x")
	until(t, "the keeper signed", func() bool {
		b, err := os.ReadFile(h.cfg.Dir + "/logs.lock")
		return err == nil && strings.Contains(string(b), `"pid"`)
	})
	if n := len(h.keepers()); n != 1 {
		t.Fatalf("%d keepers run", n)
	}
	if err := syscall.Kill(h.pid("x"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the keeper ended", func() bool { return len(h.keepers()) == 0 })
}

// logSize returns the bytes of an instance's logs on the disk.
func logSize(t testing.TB, dir, id string) (size int64) {
	t.Helper()
	files, err := filepath.Glob(dir + "/logs/" + id + ".log*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if st, err := os.Stat(f); err == nil {
			size += st.Size()
		}
	}
	return size
}

// A keeper that cannot write down who it is has to make room all the same.
func TestAKeeperBoundsLogsOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("mounting a small disk needs root:", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	for _, sub := range []string{"instances", "logs"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/instances/x.json", []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(dir+"/logs/x.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := syscall.Flock(int(log.Fd()), syscall.LOCK_EX); err != nil { // as an instance does
		t.Fatal(err)
	}
	if n, err := log.Write(make([]byte, 1<<20)); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%d bytes did not fill the disk: %v", n, err)
	}
	argv := keeper()
	cmd := exec.Command(argv[0], append(argv[2:], dir, strconv.Itoa(64<<10))...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the log was bounded", func() bool { return logSize(t, dir, "x") <= 64<<10 })
	until(t, "the keeper signed when there was room", func() bool {
		b, err := os.ReadFile(dir + "/logs.lock")
		return err == nil && strings.Contains(string(b), fmt.Sprintf(`"pid":%d,`, cmd.Process.Pid))
	})
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the keeper: %v", err)
	}
}

func TestTheLogsOfACopyOfHardLinksAreBounded(t *testing.T) {
	h := newHome(t, process.Config{LogBytes: chatter, Keeper: keeper()})
	h.dieAt("process.recorded", "ensure=x")
	until(t, "the original's keeper signed", func() bool {
		b, err := os.ReadFile(h.cfg.Dir + "/logs.lock")
		return err == nil && strings.Contains(string(b), `"pid"`)
	})
	before := h.keepers()
	other := h.at(h.cfg.Dir + "-copy")
	run(t, "cp", "-al", h.cfg.Dir, other.cfg.Dir)
	p := other.open()
	mustEnsure(t, p, "y", chatty())
	pid := other.pid("y")
	var most int64
	begun := written(t, pid)
	until(t, "the copy's instance wrote much", func() bool {
		most = max(most, logSize(t, other.cfg.Dir, "y"))
		return most > 1<<28 || written(t, pid)-begun > 1<<30
	})
	if most > 1<<28 {
		t.Errorf("%d MiB were on the disk at one time", most>>20)
	}
	if now := h.keepers(); len(before) != 1 || len(now) != 1 || now[0] != before[0] {
		t.Errorf("the original's keepers: %v, then %v", before, now)
	}
	if err := p.Remove(t.Context(), "y"); err != nil {
		t.Error(err)
	}
}
