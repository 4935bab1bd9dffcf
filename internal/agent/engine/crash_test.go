package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/agent/engine"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/child"
)

func TestNoPredictionFailsWhenTheWorkerIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	e := open(t, config(t))
	w := load(t, e, digits(t, "v2"))
	inputs, _ := images()
	var good, failed atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for client := range 4 {
		wg.Go(func() {
			for i := client; ctx.Err() == nil; i++ {
				if _, err := w.Predict(t.Context(), inputs[i%len(inputs)]); err != nil {
					failed.Add(1)
					t.Error(err)
					return
				}
				good.Add(1)
			}
		})
	}
	const kills = 8
	for n := range kills {
		before := good.Load()
		eventually(t, "predictions go on", func() bool { return good.Load() > before+200 || failed.Load() > 0 })
		pid := w.PID()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("kill %d: %v", n, err)
		}
		eventually(t, "another worker", func() bool { now := w.PID(); return now != 0 && now != pid })
	}
	cancel()
	wg.Wait()
	s := e.Stats()
	t.Logf("%d predictions, %d failed, %d restarts", good.Load(), failed.Load(), s.Restarts)
	if s.Restarts != kills || s.OOMKills != 0 {
		t.Errorf("counted %+v after %d kills", s, kills)
	}
}

func TestASwapUnderLoadLosesNoCall(t *testing.T) {
	t.Parallel()
	e := open(t, config(t))
	inputs, _ := images()
	var cur atomic.Pointer[engine.Worker]
	cur.Store(load(t, e, digits(t, "v1")))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			w := cur.Load()
			_, err := w.Predict(t.Context(), inputs[i%len(inputs)])
			if errors.Is(err, model.ErrUnavailable) && cur.Load() != w {
				continue // flipped before the call began: what the table of handles does
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range 6 {
		next := load(t, e, digits(t, []string{"v2", "v1"}[i%2]))
		if err := cur.Swap(next).Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	cancel()
	wg.Wait()
	if s := e.Stats(); s.Workers != 1 || s.Restarts != 0 {
		t.Errorf("counted %+v", s)
	}
}

func TestWorkersDieWithTheAgent(t *testing.T) {
	c := config(t)
	if os.Getenv("ENGINE_TEST_AGENT") != "" {
		c.RunDir = os.Getenv("ENGINE_TEST_AGENT")
		load(t, open(t, c), digits(t, "v1"))
		syscall.Kill(os.Getpid(), syscall.SIGKILL) // as a crash would
		select {}
	}
	agent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWorkersDieWithTheAgent$")
	agent.Env = append(os.Environ(), "ENGINE_TEST_AGENT="+c.RunDir, "TMPDIR="+t.TempDir())
	if out, err := agent.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the agent: %v\n%s", err, out)
	}
	mark := []byte("SLIPWAY_AGENT_RUN_DIR=" + c.RunDir)
	eventually(t, "no worker is left", func() bool { return len(marked(t, string(mark))) == 0 })
	open(t, c) // the lock went with it
}

// marked returns the processes with a variable in their environment.
func marked(t *testing.T, variable string) (list []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if b, err := os.ReadFile(name); err == nil && strings.Contains("\x00"+string(b), "\x00"+variable) {
			list = append(list, name)
		}
	}
	return list
}

// script is an engine made of a shell script.
func script(t *testing.T, c *engine.Config, body string) model.Package {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	c.Command = map[string]engine.Command{"opaque": {Args: []string{sh, "-c", body, "sh", "{port}", "{model_dir}"}}}
	one := []tensor.Spec{{Name: "x", Type: tensor.Float32, Ranked: true, Shape: []tensor.Dim{{Size: 1}}}}
	return model.Package{
		Dir: t.TempDir(), ModelName: "m", Runtime: "opaque", Signature: tensor.Signature{Inputs: one, Outputs: one},
	}
}

func TestAWorkerThatIsNeverReadyIsEndedWithItsChildren(t *testing.T) {
	c := bare(t)
	p := script(t, &c, "echo 'thinking it over' >&2; sleep 1000 & sleep 1000")
	c.StartTimeout = 100 * time.Millisecond
	e := open(t, c)
	_, err := e.Load(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), "was not ready within 100ms") {
		t.Errorf("got %v", err)
	}
	if left := marked(t, "SLIPWAY_AGENT_RUN_DIR="+c.RunDir); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestClosingTheEngineGivesUpWhatIsLoading(t *testing.T) {
	c := bare(t)
	p := script(t, &c, "sleep 1000")
	e, err := engine.New(c)
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() {
		_, err := e.Load(t.Context(), p)
		result <- err
	}()
	eventually(t, "a worker", func() bool { return len(marked(t, "SLIPWAY_AGENT_RUN_DIR="+c.RunDir)) > 0 })
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("the load: %v", err)
	}
	if left := marked(t, "SLIPWAY_AGENT_RUN_DIR="+c.RunDir); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if _, err := e.Load(t.Context(), p); !errors.Is(err, model.ErrUnavailable) {
		t.Errorf("a load after it: %v", err)
	}
}

func TestAWorkerThatEndsAtOnceIsReportedWithItsLastWord(t *testing.T) {
	c := bare(t)
	p := script(t, &c, "echo starting; echo 'no such accelerator' >&2; exit 7")
	_, err := open(t, c).Load(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), "exit status 7: no such accelerator") {
		t.Errorf("got %v", err)
	}
}

func TestWhatAnEarlierAgentsWorkerStartedIsEnded(t *testing.T) {
	c := bare(t)
	orphan := exec.CommandContext(t.Context(), "sleep", "1000")
	orphan.Env = marks(t, c.RunDir)
	other := exec.CommandContext(t.Context(), "sleep", "1000")
	other.Env = []string{"SLIPWAY_AGENT_RUN_DIR=" + c.RunDir + "-2"}
	for _, cmd := range []*exec.Cmd{orphan, other} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	open(t, c)
	if err := orphan.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("it ended with %v", err)
	}
	if !alive(other.Process.Pid) {
		t.Error("another agent's worker was ended too")
	}
	_ = other.Process.Kill() // it is ours
	_ = other.Wait()         // as above
}

// marks is what a worker of the agent of a run directory, which had none before, has
// in its environment.
func marks(t *testing.T, runDir string) []string {
	t.Helper()
	if err := os.MkdirAll(runDir, 0o700); err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(runDir, "lock")
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var s unix.Stat_t
	if err := unix.Stat(lock, &s); err != nil {
		t.Fatal(err)
	}
	boot, err := child.BootID()
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"SLIPWAY_AGENT_RUN_DIR=" + runDir,
		fmt.Sprintf("SLIPWAY_AGENT_RUN_MARK=%s/%d/%d", boot, s.Dev, s.Ino),
	}
}

// A copy of a run directory that has come to its path is another's.
func TestTheAgentOfACopyLeavesTheWorkersOfTheOriginalAlone(t *testing.T) {
	c := bare(t)
	worker := exec.CommandContext(t.Context(), "sleep", "1000")
	worker.Env = marks(t, c.RunDir)
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.RunDir, c.RunDir+"-moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(c.RunDir, os.DirFS(c.RunDir+"-moved")); err != nil {
		t.Fatal(err)
	}
	open(t, c)
	if !alive(worker.Process.Pid) {
		t.Error("a worker of the original was ended")
	}
	_ = worker.Process.Kill() // it is ours
	_ = worker.Wait()         // as above
}

// A worker that gives way does so also while it is loaded again after a crash, and
// no longer than it is asked to.
func TestAWorkerThatGivesWayDoesSoWhileItStartsAgain(t *testing.T) {
	c := bare(t)
	p := echo(t, &c, "", map[string]string{"TESTMODEL_LOAD_MS": "1500"})
	w := load(t, open(t, c), p)
	policy := func(pid int) uint32 {
		a, err := unix.SchedGetAttr(pid, 0)
		if err != nil {
			return unix.SCHED_NORMAL
		}
		return a.Policy
	}
	w.Yield(true)
	old := w.PID()
	if policy(old) != unix.SCHED_IDLE {
		t.Skip("this user may not lower the priority of a process and restore it")
	}
	crash := func() (pid int) {
		if err := unix.Kill(w.PID(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the next process", func() bool {
			for _, name := range marked(t, "SLIPWAY_AGENT_RUN_DIR="+c.RunDir) {
				n, err := strconv.Atoi(strings.Split(name, "/")[2])
				if err == nil && n != old {
					pid = n
				}
			}
			return pid != 0
		})
		return pid
	}
	pid := crash()
	eventually(t, "it gives way while it loads", func() bool {
		return policy(pid) == unix.SCHED_IDLE || w.PID() == pid
	})
	if w.PID() == pid {
		t.Error("it did not give way before it was ready")
	}
	eventually(t, "it is ready", func() bool { return w.PID() == pid })
	if policy(pid) != unix.SCHED_IDLE {
		t.Error("it does not give way once it is ready")
	}
	old = pid
	pid = crash()
	eventually(t, "it gives way", func() bool { return policy(pid) == unix.SCHED_IDLE })
	w.Yield(false)
	if policy(pid) != unix.SCHED_NORMAL {
		t.Error("it gives way though it need not any more")
	}
	eventually(t, "it is ready again", func() bool { return w.PID() == pid })
	if policy(pid) != unix.SCHED_NORMAL {
		t.Error("it gives way again though it need not any more")
	}
}
