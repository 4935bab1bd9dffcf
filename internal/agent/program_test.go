package agent_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/agent/cloudtest"
	"github.com/slipway-ml/slipway/internal/platform/provider/testmodel/build"
)

// program returns slipway-agent.
func program(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a program")
	}
	return build.Agent(t)
}

// process is a running slipway-agent.
type process struct {
	cmd   *exec.Cmd
	ready chan struct{}
	log   lines
	ended chan struct{}
}

// launch starts path; ready is closed when it says so.
func launch(t *testing.T, path string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, args...), ready: make(chan struct{}), ended: make(chan struct{})}
	p.log.out = t.Output()
	out, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		var once sync.Once
		for lines := bufio.NewScanner(out); lines.Scan(); {
			_, _ = p.log.Write(append(bytes.Clone(lines.Bytes()), '\n'))
			if bytes.Contains(lines.Bytes(), []byte("slipway-agent is ready")) {
				once.Do(func() { close(p.ready) })
			}
		}
		_ = p.cmd.Wait() // how it ended is in ProcessState
	}()
	t.Cleanup(p.kill)
	return p
}

// kill ends it as a power cut would, and waits.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

func (p *process) wait(t *testing.T) {
	t.Helper()
	select {
	case <-p.ready:
	case <-p.ended:
		t.Fatalf("it ended: %v\n%s", p.cmd.ProcessState, p.log.String())
	case <-time.After(30 * time.Second):
		t.Fatalf("it is not ready after 30 s:\n%s", p.log.String())
	}
}

// pss is what the process takes of the machine's memory, in KiB.
func pss(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Skip("the kernel does not say what a process takes: ", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no Pss in smaps_rollup")
	return 0
}

// The promise is the median over five minutes (SLIPWAY_IDLE=5m); by default one
// second has to do. It runs alone: pages that several agents share count less.
func TestAnIdleAgentIsSmall(t *testing.T) {
	path := program(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the program has %.1f MiB", float64(info.Size())/(1<<20))
	if info.Size() > 20<<20 {
		t.Error("that is more than 20 MiB")
	}
	w := newWorld(t, map[string]any{"slipway_poll_seconds": 300, "slipway_heartbeat_seconds": 300})
	w.Answer("X-Slipway-Poll-After", "300")
	w.Answer("X-Slipway-Heartbeat-After", "300")
	p := launch(t, path, "--config", w.config)
	p.wait(t)
	cloudtest.Until(t.Context(), t, "the first heartbeat came", func() bool { return len(w.Beats()) > 0 })
	idle, err := time.ParseDuration(os.Getenv("SLIPWAY_IDLE"))
	if err != nil {
		idle = time.Second
	}
	var samples []int
	for end := time.Now().Add(idle); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		samples = append(samples, pss(t, p.cmd.Process.Pid))
	}
	slices.Sort(samples)
	median := samples[len(samples)/2]
	t.Logf("median PSS over %v: %.1f MiB (%.1f to %.1f)", idle, float64(median)/1024, float64(samples[0])/1024,
		float64(samples[len(samples)-1])/1024)
	if median > 20<<10 {
		t.Error("that is more than 20 MiB")
	}
}

func TestTheProgramIsKilledTwentyTimesDuringUpdatesAndAlwaysServesTheOldOrTheNew(t *testing.T) {
	t.Parallel()
	const kills = 20
	path := program(t)
	w := newWorld(t, nil)
	var all []cloudtest.Deployment // the n-th one multiplies by n+1
	for n := range kills + 1 {
		all = append(all, w.release(t, float64(n+1)))
	}
	w.Offer(all...)
	begin := w.hold(t, len(all))
	random := rand.New(rand.NewPCG(7, 7))
	p := launch(t, path, "--config", w.config)
	p.wait(t)
	began := time.Now()
	begin(0)
	w.result(t, all[0].DeploymentName)
	usual := time.Since(began) * 3 / 2 // the next ones take no longer, kills excepted
	before := identity(t, w)
	old, served := float32(1), map[float32]int{}
	for kill := range kills {
		// A deployment begins, and the power goes at any moment of it.
		next := float32(kill + 2)
		begin(kill + 1)
		time.Sleep(time.Duration(random.Int64N(int64(usual)))) // what the device does is real
		p.kill()
		p = launch(t, path, "--config", w.config)
		p.wait(t)
		y, err := w.application(t).predict(t.Context(), 1)
		if err != nil || y != old && y != next {
			t.Fatalf("after kill %d it answers %g (%v), neither the old %g nor the new %g\n%s", kill, y, err, old, next,
				p.log.String())
		}
		served[y-old]++
		// What was begun is finished, whatever happened.
		if res := w.result(t, all[kill+1].DeploymentName); res.DeploymentStatus != "SUCCESS" {
			t.Fatalf("after kill %d: %+v", kill, res)
		}
		if y, err := w.application(t).predict(t.Context(), 1); err != nil || y != next {
			t.Fatalf("after kill %d the deployment is done and it answers %g (%v), want %g", kill, y, err, next)
		}
		old = next
	}
	t.Logf("of %d kills, each within %v, %d left the old model and %d the new", kills, usual, served[0], served[1])
	if identity(t, w) != before {
		t.Error("the identity was touched")
	}
	w.waitForCrashes(t, kills)
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("SIGHUP ended it with %d", code)
	}
}

// waitForCrashes waits until the agent says that it crashed so often.
func (w *world) waitForCrashes(t *testing.T, want int) {
	t.Helper()
	var crashes any
	cloudtest.Until(t.Context(), t, "the crashes were counted", func() bool {
		for _, b := range w.Beats() {
			for _, m := range b.AgentMetrics {
				if m.MetricName == "AgentCrashCount" {
					crashes = m.Value
				}
			}
		}
		return crashes == float64(want)
	})
}

// hold lets no deployment begin before begin is called with its number: an agent
// that has finished one asks for the next at once, and gets no answer until
// then. What was begun goes on.
func (w *world) hold(t *testing.T, count int) (begin func(number int)) {
	may := make([]chan struct{}, count)
	for i := range may {
		may[i] = make(chan struct{})
	}
	w.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		next := w.ended()
		if r.URL.Path != "/GetDeployments" || next == count {
			return false
		}
		select {
		case <-may[next]:
		case <-r.Context().Done():
		case <-t.Context().Done():
		}
		return false
	})
	return func(number int) { close(may[number]) }
}

// ended returns how many deployments have had a result.
func (w *world) ended() int {
	names := map[string]bool{}
	for _, b := range w.Beats() {
		if b.DeploymentResult != nil {
			names[b.DeploymentResult.DeploymentName] = true
		}
	}
	return len(names)
}

func TestTheCommandLineIsEdgeManagersAndOurs(t *testing.T) {
	t.Parallel()
	path := program(t)
	w := newWorld(t, nil)
	p := launch(t, path, "-a", w.path("other"), "-c", w.config)
	p.wait(t)
	p.kill()
	run := func(args ...string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
		if err == nil && args[0] != "-version" {
			t.Errorf("%q ended well", args)
		}
		return string(out)
	}
	for says, args := range map[string][]string{
		"exists already; -f":            {"-a", w.path("other"), "-c", w.config},
		"--config FILE":                 {"-a", w.path("other")},
		"no such file":                  {"--config", w.path("none")},
		"flag provided but not defined": {"--nonsense"},
		"needs --token and --dir":       {"enroll", "--dir", w.dir},
		"not an enrollment token":       {"enroll", "--token", "x", "--dir", w.path("new")},
		"0.":                            {"-version"},
	} {
		if got := run(args...); !strings.Contains(got, says) {
			t.Errorf("%q says %q, want %q", args, got, says)
		}
	}
	launch(t, path, "-a", w.path("other"), "-c", w.config, "-f").wait(t)
	for line := range strings.Lines(p.log.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line of the log is not JSON: %s", line)
		}
	}
}

// Whoever is asked for a token at a terminal can leave by Ctrl-C.
func TestAnEnrollmentThatWaitsForItsTokenCanBeInterrupted(t *testing.T) {
	path := program(t)
	for sig, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		in, typed, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		cmd := exec.CommandContext(ctx, path, "enroll", "--token", "-", "--dir", t.TempDir())
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := typed.WriteString("half a token"); err != nil {
			t.Fatal(err)
		}
		for left := -1; left != 0 && ctx.Err() == nil; time.Sleep(time.Millisecond) { // until it has read that
			if left, err = unix.IoctlGetInt(int(typed.Fd()), unix.TIOCINQ); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // its code says how it ended
		cancel()
		if got := cmd.ProcessState.ExitCode(); got != want || said.Len() > 0 {
			t.Errorf("%v: it exits with %d and says %q", sig, got, &said)
		}
		if err := errors.Join(in.Close(), typed.Close()); err != nil {
			t.Error(err)
		}
	}
}
