package process_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/provider"
	"github.com/slipway-ml/slipway/internal/platform/provider/process"
	"github.com/slipway-ml/slipway/internal/platform/provider/providertest"
)

// shell runs a script as an instance and returns what it printed.
func shell(t *testing.T, h *home, script string, s provider.Spec) string {
	t.Helper()
	p := h.open()
	s.Image, s.Command = "sh", []string{"sh", "-c", script, "sh", "{port}", "{model_dir}"}
	mustEnsure(t, p, "x", s)
	untilExited(t, p, "x")
	out, err := p.Logs(t.Context(), "x", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func untilExited(t *testing.T, p *process.Provider, id provider.ID) provider.Status {
	t.Helper()
	for deadline := time.Now().Add(providertest.Patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		all, err := p.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range all {
			if st.ID == id && st.Exited {
				return st
			}
		}
	}
	t.Fatalf("%s did not exit", id)
	return provider.Status{}
}

func someModel(context.Context, hosting.ModelData) (string, error) { return "/some/model", nil }

func TestTheModelDirectoriesInUseAreThoseOfListedInstances(t *testing.T) {
	t.Parallel()
	h := newHome(t, process.Config{Fetch: someModel})
	p := h.open()
	s := spec(t, nil)
	mustEnsure(t, p, "without", s)
	s.ModelData = &hosting.ModelData{}
	mustEnsure(t, p, "x", s)
	want := func() {
		t.Helper()
		if got := p.ModelDirs(); !slices.Equal(got, []string{"/some/model"}) {
			t.Errorf("in use: %q", got)
		}
	}
	want()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p = h.open()
	want() // of an adopted one
	for _, id := range []provider.ID{"x", "without"} {
		if err := p.Remove(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if got := p.ModelDirs(); len(got) != 0 {
		t.Errorf("in use by nobody: %q", got)
	}
}

func TestAnInstanceSeesItsOwnVariablesAndNoneOfTheServers(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "server-secret")
	t.Setenv("SLIPWAY_FAILPOINT", "nothing")
	t.Setenv("LANG", "xx_YY.UTF-8")
	h := newHome(t, process.Config{Fetch: someModel})
	out := shell(t, h, "env", provider.Spec{
		ModelData: &hosting.ModelData{},
		Env:       map[string]string{"A": "1=2", "TMPDIR": "/mine", "SAGEMAKER_BIND_TO_PORT": "1"},
	})
	got := map[string]string{}
	for line := range strings.Lines(out) {
		k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		got[k] = v
	}
	want := map[string]string{
		"A": "1=2", "TMPDIR": "/mine", "LANG": "xx_YY.UTF-8", "PATH": os.Getenv("PATH"), "HOME": os.Getenv("HOME"),
		"SM_MODEL_DIR": "/some/model", "PWD": h.cfg.Dir + "/work/x",
		"SLIPWAY_INSTANCE_ID": "x", "SLIPWAY_INSTANCE_STATE": h.cfg.Dir + "/instances/x.json",
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %q, want %q", k, got[k], v)
		}
		delete(got, k)
	}
	if got["SAGEMAKER_BIND_TO_PORT"] == "1" {
		t.Error("the model chose its port")
	}
	for _, k := range []string{"SAGEMAKER_BIND_TO_PORT", "OLDPWD", "_", "SHLVL"} { // the shell's own and the port
		delete(got, k)
	}
	if len(got) != 0 {
		t.Errorf("it also sees %v", got)
	}
}

func TestThePlaceholdersOfACommandAreFilled(t *testing.T) {
	t.Parallel()
	h := newHome(t, process.Config{})
	const script = `test "$1" = "$SAGEMAKER_BIND_TO_PORT" && echo "$2" && ls -A "$2" &&
		ls -l /proc/self/fd | wc -l && cat && tty`
	out := shell(t, h, script, provider.Spec{})
	// Three descriptors, the directory that ls reads, and ls's head line; an
	// empty standard input; an empty model directory.
	if want := h.cfg.Dir + "/no-model\n5\nnot a tty\n"; out != want {
		t.Errorf("it printed %q, want %q", out, want)
	}
}

func TestEnvironmentsThatWouldLoadForeignCodeAreRefused(t *testing.T) {
	t.Parallel()
	h := newHome(t, process.Config{})
	p := h.open()
	for name, env := range map[string]map[string]string{
		"preloading":       {"LD_PRELOAD": "/m/evil.so"},
		"a library path":   {"LD_LIBRARY_PATH": "/m"},
		"converters":       {"GCONV_PATH": "/m"},
		"an empty name":    {"": "x"},
		"a name with =":    {"A=B": "x"},
		"a value with \\0": {"A": "x\x00LD_PRELOAD=/m/evil.so"},
	} {
		_, err := p.Ensure(t.Context(), "x", provider.Spec{Image: "i", Command: []string{"/bin/sh"}, Env: env})
		if !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := ids(t, p); got != "" {
		t.Errorf("it left %q", got)
	}
}

func TestAProgramThatCannotBeStartedIsSaidToBeInvalid(t *testing.T) {
	t.Parallel()
	h := newHome(t, process.Config{})
	p := h.open()
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"plain": 0o644, "garbage": 0o755, "orphan": 0o755} {
		content := map[string]string{"plain": "x", "garbage": "\x7fELFnot", "orphan": "#!/no/such/interpreter\n"}[name]
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, program := range []string{
		"no-such-program-anywhere", "/no/such/program", dir, dir + "/plain",
		dir + "/garbage", dir + "/orphan", "sh\x00",
	} {
		_, err := p.Ensure(t.Context(), "x", provider.Spec{Image: "team/model:1", Command: []string{program}})
		if kind, public := fault.Public(err); kind != fault.Invalid || !strings.Contains(public, "team/model:1") {
			t.Errorf("%q: %v", program, err)
		}
	}
	if got := ids(t, p); got != "" {
		t.Errorf("it left %q", got)
	}
	if left, err := os.ReadDir(h.cfg.Dir + "/instances"); err != nil || len(left) != 0 {
		t.Errorf("records left: %v, %v", left, err)
	}
}

func TestASecondServerOnTheSameDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	h := newHome(t, process.Config{})
	h.open()
	if p, err := process.New(h.cfg); err == nil ||
		!strings.Contains(err.Error(), "another server uses this directory") {
		t.Errorf("New = %v, %v", p, err)
	}
}

func TestAnInstanceThatLostItsPortGetsAnother(t *testing.T) {
	t.Parallel()
	h := newHome(t, process.Config{})
	p := h.open()
	s := spec(t, map[string]string{"TESTMODEL_LISTEN_MS": "300"})
	st := mustEnsure(t, p, "x", s)
	thief, err := net.Listen("tcp", st.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	if st := untilExited(t, p, "x"); st.Detail != "exit status 1" {
		t.Errorf("status is %+v", st)
	}
	again := mustEnsure(t, p, "x", spec(t, nil))
	if again.Address == st.Address {
		t.Error("it got the lost port again")
	}
	untilReady(t, again.Address)
}

func TestPortsComeFromTheConfiguredRange(t *testing.T) {
	t.Parallel()
	h := newHome(t, process.Config{FirstPort: 29310, LastPort: 29312})
	p := h.open()
	seen := map[string]bool{}
	free := 0
	for i := range 3 {
		st, err := p.Ensure(t.Context(), provider.ID(fmt.Sprintf("m-%d", i)), spec(t, nil))
		if err != nil {
			break // somebody else on this machine has one of them
		}
		free++
		if seen[st.Address] || !strings.HasPrefix(st.Address, "127.0.0.1:2931") {
			t.Errorf("address %s, after %v", st.Address, seen)
		}
		seen[st.Address] = true
	}
	if _, err := p.Ensure(t.Context(), "one-more", spec(t, nil)); !errors.Is(err, fault.Unavailable) {
		t.Errorf("with the range used up: %v", err)
	}
	if free == 0 {
		t.Skip("ports 29310 to 29312 are taken on this machine")
	}
	if err := p.Remove(t.Context(), "m-0"); err != nil {
		t.Fatal(err)
	}
	mustEnsure(t, p, "one-more", spec(t, nil))
}

func TestASignalledInstanceSaysSo(t *testing.T) {
	t.Parallel()
	h := newHome(t, process.Config{})
	p := h.open()
	untilReady(t, mustEnsure(t, p, "x", spec(t, nil)).Address)
	for _, pid := range marked(t, h.cfg.Dir+"/") {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if st := untilExited(t, p, "x"); st.Detail != "killed by signal 9" {
		t.Errorf("status is %+v", st)
	}
}

// Where no init collects orphans, an ended instance stays a zombie for ever.
func TestAZombieCountsAsExited(t *testing.T) {
	for name, cfg := range map[string]process.Config{"with descriptors": {}, "without": {NoPidfd: true}} {
		t.Run(name, func(t *testing.T) {
			if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
				t.Skip("this kernel has no subreapers:", err)
			}
			defer func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) }() // as it was
			h := newHome(t, cfg)
			h.dieAt("process.recorded:2", "ensure=dies-before", "ensure=dies-later")
			pids := map[string]int{}
			for _, id := range []string{"dies-before", "dies-later"} {
				pids[id] = marked(t, h.cfg.Dir+"/instances/"+id+".json")[0]
			}
			if err := syscall.Kill(pids["dies-before"], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			untilZombie(t, pids["dies-before"])
			p := h.open()
			if st := untilExited(t, p, "dies-before"); st.Address != "" {
				t.Errorf("status is %+v", st)
			}
			if err := syscall.Kill(pids["dies-later"], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if st := untilExited(t, p, "dies-later"); st.Detail != "killed by signal 9" &&
				!strings.Contains(st.Detail, "unknown") {
				t.Errorf("status is %+v", st)
			}
			for id, pid := range pids {
				if err := p.Remove(t.Context(), provider.ID(id)); err != nil {
					t.Error(err)
				}
				var ws syscall.WaitStatus
				if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil {
					t.Error("it was no zombie of ours:", err)
				}
			}
			h.usable(p, false)
		})
	}
}

// A program may end its first thread and live on in others; the kernel shows it
// as a zombie then.
func TestAProgramWithoutItsFirstThreadLives(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil || runtime.GOARCH != "amd64" {
		t.Skip("this test needs python3 on amd64")
	}
	const script = "import threading,time,ctypes; threading.Thread(target=time.sleep,args=(1000,)).start(); " +
		"ctypes.CDLL(None).syscall(60,0)"
	for name, cfg := range map[string]process.Config{"with descriptors": {}, "without": {NoPidfd: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, cfg)
			p := h.open()
			s := provider.Spec{Image: "p", Command: []string{python, "-c", script}}
			st := mustEnsure(t, p, "x", s)
			untilZombie(t, h.pid("x")) // python may have helpers while it starts
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			p = h.open()
			if again := mustEnsure(t, p, "x", s); again != st {
				t.Errorf("it became %+v", again)
			}
			if err := p.Remove(t.Context(), "x"); err != nil {
				t.Error(err)
			}
			if n := h.copies("x"); n != 0 {
				t.Errorf("%d copies are left", n)
			}
		})
	}
}

func untilZombie(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(providertest.Patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), ") Z ") {
			return
		}
	}
	t.Fatal("it does not die")
}

func untilReady(t testing.TB, address string) {
	t.Helper()
	for deadline := time.Now().Add(providertest.Patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		resp, err := http.Get("http://" + address + "/ping")
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body) // nothing in it
			_ = resp.Body.Close()                 // as above
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
	}
	t.Fatalf("%s is never ready", address)
}

func TestWhoeverTookThePortIsNotTheInstance(t *testing.T) {
	t.Parallel()
	h := newHome(t, process.Config{})
	p := h.open()
	st := mustEnsure(t, p, "x", spec(t, map[string]string{"TESTMODEL_LISTEN_MS": "600000"}))
	if itself, err := p.Listens(t.Context(), "x"); err != nil || itself {
		t.Errorf("nobody listens yet, but Listens = %t, %v", itself, err)
	}
	thief, err := net.Listen("tcp", st.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	if itself, err := p.Listens(t.Context(), "x"); err != nil || itself {
		t.Errorf("somebody else listens, but Listens = %t, %v", itself, err)
	}
	own := mustEnsure(t, p, "y", spec(t, nil))
	untilReady(t, own.Address)
	if itself, err := p.Listens(t.Context(), "y"); err != nil || !itself {
		t.Errorf("the instance listens, but Listens = %t, %v", itself, err)
	}
}
