package process_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	"github.com/slipway-ml/slipway/internal/platform/provider"
	"github.com/slipway-ml/slipway/internal/platform/provider/process"
)

// serverEnv makes this test binary a server: its value is the directory. The
// arguments are what it does: "ensure=<id>", "remove=<id>", "await-exit=<id>".
const serverEnv = "PROCESS_TEST_SERVER"

func beServer() int {
	if err := serveSteps(os.Getenv(serverEnv), os.Args[1:]); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func serveSteps(dir string, steps []string) error {
	p, err := process.New(process.Config{Dir: dir, LogBytes: chatter, Keeper: keeper()})
	if err != nil {
		return err
	}
	defer p.Close()
	ctx, cancel := contextWithPatience()
	defer cancel()
	command := []string{os.Getenv("TESTMODEL"), "serve"}
	for _, step := range steps {
		verb, id, _ := strings.Cut(step, "=")
		var err error
		switch verb {
		case "ensure":
			_, err = p.Ensure(ctx, provider.ID(id),
				provider.Spec{Image: "testmodel", Command: command, StopGrace: 5 * time.Second})
		case "ensure-short-lived":
			env := map[string]string{"TESTMODEL_EXIT": "7"}
			_, err = p.Ensure(ctx, provider.ID(id), provider.Spec{Image: "testmodel", Command: command, Env: env})
		case "ensure-chatty":
			_, err = p.Ensure(ctx, provider.ID(id), chatty())
		case "remove":
			err = p.Remove(ctx, provider.ID(id))
		case "await-change":
			select {
			case <-p.Changes():
			case <-ctx.Done():
				err = ctx.Err()
			}
		default:
			err = fmt.Errorf("unknown step %q", step)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dieAt runs a server that performs steps and must die at the fail point.
func (h *home) dieAt(point string, steps ...string) {
	h.t.Helper()
	cmd := exec.Command(os.Args[0], steps...)
	cmd.Env = append(os.Environ(), serverEnv+"="+h.cfg.Dir, failpoint.Env+"="+point,
		"TESTMODEL="+spec(h.t, nil).Command[0],
		"AWS_SECRET_ACCESS_KEY=server-secret")
	out, err := cmd.CombinedOutput()
	exit, _ := errors.AsType[*exec.ExitError](err)
	if exit == nil || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		h.t.Fatalf("the server was to die at %s: %v\n%s", point, err, out)
	}
}

// TestAServerKilledAtAnyStepLosesAndDoublesNothing lets a server die at every
// named step and checks what the next one finds and can do.
func TestAServerKilledAtAnyStepLosesAndDoublesNothing(t *testing.T) {
	const keeps, unstarted, gone = "x exited=false", "x exited=true", ""
	cases := map[string]struct {
		steps []string
		found string // List of the next server
	}{
		"process.intended":  {[]string{"ensure=x"}, unstarted},
		"process.forked":    {[]string{"ensure=x"}, unstarted},
		"process.recorded":  {[]string{"ensure=x"}, keeps},
		"process.signalled": {[]string{"ensure=x", "remove=x"}, ""}, // keeps or unstarted: the signal is on its way
		"process.stopped":   {[]string{"ensure=x", "remove=x"}, unstarted},
		"process.forgotten": {[]string{"ensure=x", "remove=x"}, gone},
		"process.exited":    {[]string{"ensure-short-lived=x", "await-change="}, unstarted},
		"process.adopting":  {nil, unstarted},
	}
	for _, point := range process.FailPoints() {
		c, ok := cases[point]
		if !ok {
			t.Errorf("fail point %s has no case", point)
		}
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, process.Config{})
			if point == "process.adopting" {
				h.dieAt("process.forked", "ensure=x")
			}
			h.dieAt(point, c.steps...)
			p := h.open()
			if got := ids(t, p); got != c.found && point != "process.signalled" {
				t.Errorf("the next server finds %q, want %q", got, c.found)
			}
			h.usable(p, c.found == keeps)
		})
	}
}

// usable checks that x can be ensured, exists once, and can be removed, and
// that nothing is left then.
func (h *home) usable(p *process.Provider, runs bool) {
	t := h.t
	if want := map[bool]int{true: 1}[runs]; h.copies("x") > 1 || runs && h.copies("x") != want {
		t.Errorf("%d copies of x exist", h.copies("x"))
	}
	// An instance that was already told to stop may end after it was adopted.
	for st := mustEnsure(t, p, "x", spec(t, nil)); ; st = mustEnsure(t, p, "x", spec(t, nil)) {
		if !st.Exited {
			break
		}
	}
	if n := h.copies("x"); n > 1 {
		t.Errorf("%d copies of x exist after Ensure", n)
	}
	if err := p.Remove(t.Context(), "x"); err != nil {
		t.Error(err)
	}
	if n := len(marked(t, h.cfg.Dir+"/")); n != 0 {
		t.Errorf("%d processes are left", n)
	}
	if left, err := os.ReadDir(h.cfg.Dir + "/instances"); err != nil || len(left) != 0 {
		t.Errorf("records left: %v, %v", left, err)
	}
	if left, err := os.ReadDir(h.cfg.Dir + "/work"); err != nil || len(left) != 0 {
		t.Errorf("working directories left: %v, %v", left, err)
	}
}

func TestManyInstancesSurviveAServerThatIsKilled(t *testing.T) {
	t.Parallel()
	h := newHome(t, process.Config{})
	var steps []string
	for i := range 10 {
		steps = append(steps, fmt.Sprintf("ensure=m-%d", i))
	}
	h.dieAt("process.recorded:10", steps...)
	p := h.open()
	if got := strings.Count(ids(t, p), "exited=false"); got != 10 {
		t.Errorf("%d run: %s", got, ids(t, p))
	}
	for i := range 10 {
		id := provider.ID(fmt.Sprintf("m-%d", i))
		mustEnsure(t, p, id, spec(t, nil))
		if n := h.copies(id); n != 1 {
			t.Errorf("%d copies of %s", n, id)
		}
		if err := p.Remove(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

// A process that was forked and has not executed its program can't be found by
// its environment. The lock on the log tells that it is there.
func TestAProcessWithoutMarksThatHoldsTheLogIsFoundByTheLock(t *testing.T) {
	t.Parallel()
	h := newHome(t, process.Config{})
	h.dieAt("process.intended", "ensure=x")
	log, err := os.OpenFile(h.cfg.Dir+"/logs/x.log", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := syscall.Flock(int(log.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	stray := exec.Command("/bin/sleep", "1000")
	stray.Stdout, stray.Env = log, []string{}
	if err := stray.Start(); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	p := h.open()
	if err := stray.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("the stray process: %v", err)
	}
	h.usable(p, false)
}

func TestAReusedPidIsNotTakenForAnInstance(t *testing.T) {
	t.Parallel()
	h := newHome(t, process.Config{})
	h.dieAt("process.recorded", "ensure=x")
	for _, pid := range marked(t, h.cfg.Dir+"/") {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	// The same pid, as if somebody else had it now: this test itself.
	path := h.cfg.Dir + "/instances/x.json"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), `"pid":`)
	_, rest, _ = strings.Cut(rest, ",")
	other := fmt.Sprintf(`{"id":"x","phase":"running","pid":%d,%s`, os.Getpid(), rest)
	if err := os.WriteFile(path, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	p := h.open()
	if got := ids(t, p); got != "x exited=true" {
		t.Errorf("found %q", got)
	}
	h.usable(p, false)
}

func TestADamagedRecordLeavesNoProcessBehind(t *testing.T) {
	for name, damage := range map[string]string{
		"empty, as after a power loss": "",
		"half a record":                `{"id":"x","pha`,
		"the pid of everything":        `{"id":"x","phase":"running","pid":-1}`,
		"the pid of init":              `{"id":"x","phase":"running","pid":1}`,
		"another instance's record":    `{"id":"y","phase":"running","pid":77}`,
		"a phase nobody knows":         `{"id":"x","phase":"dancing","pid":77}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, process.Config{})
			h.dieAt("process.recorded", "ensure=x")
			if err := os.WriteFile(h.cfg.Dir+"/instances/x.json", []byte(damage), 0o600); err != nil {
				t.Fatal(err)
			}
			p := h.open()
			if got := ids(t, p); got != "x exited=true" {
				t.Errorf("found %q", got)
			}
			if n := h.copies("x"); n != 0 {
				t.Errorf("%d copies run", n)
			}
			h.usable(p, false)
		})
	}
}

func TestALostRecordLeavesNoProcessBehind(t *testing.T) {
	t.Parallel()
	h := newHome(t, process.Config{})
	h.dieAt("process.recorded", "ensure=x")
	if err := os.Remove(h.cfg.Dir + "/instances/x.json"); err != nil {
		t.Fatal(err)
	}
	p := h.open()
	if got := ids(t, p); got != "" {
		t.Errorf("found %q", got)
	}
	h.usable(p, false)
}
