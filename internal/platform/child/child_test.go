package child_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/child"
)

const role = "CHILD_TEST_ROLE"

// TestMain is also the program that the tests start: one that listens, or one
// that leaves it to a child of its own, says where, and waits to be killed.
func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "listen":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		fmt.Println(l.Addr().(*net.TCPAddr).Port)
	case "launch":
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), role+"=listen")
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			panic(err)
		}
	case "":
		os.Exit(m.Run())
	}
	time.Sleep(time.Hour) // a child lives until it is ended
}

// start runs this program in a role, in a session of its own, until the test
// ends. It returns the process and the port that it or its child says.
func start(t *testing.T, name string, env ...string) (pid, port int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), role+"="+name), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the test may have done it
		_ = cmd.Wait()                                      // it was killed
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if port, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, port
}

// eventually waits for what other processes do.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after 20 s: %s", what)
		}
	}
}

func TestOnlyTheProcessesOfAChildCountAsTheOnesThatListen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	self, port := start(t, "listen")
	launcher, behind := start(t, "launch")
	free, err := child.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		port, leader int
		want         bool
	}{
		"the child itself":          {port, self, true},
		"a child of the child":      {behind, launcher, true},
		"another child":             {port, launcher, false},
		"a child of another child":  {behind, self, false},
		"somebody else":             {l.Addr().(*net.TCPAddr).Port, self, false},
		"nobody":                    {free, self, false},
		"a child that is not there": {port, 1 << 22, false},
	} {
		for how, members := range map[string]func(int) ([]int, error){"group": child.Group, "session": child.Session} {
			if got, err := child.Listens(c.port, c.leader, members); err != nil || got != c.want {
				t.Errorf("%s, by %s: %t, %v", name, how, got, err)
			}
		}
	}
}

func TestAProcessIsTheOneThatStartedThen(t *testing.T) {
	pid, _ := start(t, "listen", "CHILD_TEST_MARK="+t.Name())
	s, err := child.ReadStat(pid)
	if err != nil || s.Dead() || s.Session != pid || s.Resident <= 0 || s.CPU < 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	if !child.Alive(pid, s.Start) || child.Alive(pid, s.Start-1) || child.Alive(1<<22, s.Start) {
		t.Error("it is taken for another one, or another one for it")
	}
	if len(child.Threads(pid)) < 2 || child.Memory(pid, "VmRSS") < child.Memory(pid, "RssAnon") ||
		child.Memory(pid, "RssAnon") == 0 {
		t.Errorf("%d threads, %d bytes", len(child.Threads(pid)), child.Memory(pid, "VmRSS"))
	}
	marked := func(pid int) bool { return child.Env(pid, "CHILD_TEST_MARK") == t.Name() }
	pids, err := child.PIDs()
	if err != nil || slices.Contains(pids, os.Getpid()) || slices.Contains(pids, 1) {
		t.Fatalf("%v, %v", pids, err)
	}
	if ours := slices.DeleteFunc(pids, func(pid int) bool { return !marked(pid) }); !slices.Equal(ours, []int{pid}) {
		t.Errorf("marked: %v, want %d", ours, pid)
	}
	if child.Kill(pid, func(int) bool { return false }) || !child.Alive(pid, s.Start) {
		t.Error("somebody else's process was killed")
	}
	if !child.Kill(pid, marked) {
		t.Error("it could not be killed")
	}
	eventually(t, "it has ended", func() bool { return !child.Alive(pid, s.Start) })
	// Nobody has collected it: it is a zombie, with nothing left.
	if s, err := child.ReadStat(pid); err != nil || !s.Dead() ||
		syscall.WaitStatus(s.Exit).Signal() != syscall.SIGKILL {
		t.Errorf("%+v, %v", s, err)
	}
	if marked(pid) || child.Memory(pid, "VmRSS") != 0 {
		t.Error("a zombie has an environment or memory")
	}
}

func TestAFileThatAChildWritesToIsTheFileAndNotACopy(t *testing.T) {
	dir := t.TempDir()
	file, err := os.Create(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := os.WriteFile(dir+"/copy", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	cmd.Stderr = file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if path, same := child.Opened(cmd.Process.Pid, "fd/2", file.Name()); path != file.Name() || !same {
		t.Errorf("it writes to %s, %v", path, same)
	}
	if path, same := child.Opened(cmd.Process.Pid, "fd/2", dir+"/copy"); path != file.Name() || same {
		t.Errorf("it writes to the copy, %s", path)
	}
	if _, same := child.Opened(os.Getpid(), "fd/2", file.Name()); same {
		t.Error("this test writes to it")
	}
	if err := os.Rename(file.Name(), dir+"/moved"); err != nil {
		t.Fatal(err)
	}
	if path, same := child.Opened(cmd.Process.Pid, "fd/2", dir+"/moved"); path != dir+"/moved" || !same {
		t.Errorf("after a move it writes to %s, %v", path, same)
	}
	_ = cmd.Process.Kill() // Wait says how it went
	_ = cmd.Wait()         // it was killed
}

func TestAPortIsOneChildsUntilItIsReleased(t *testing.T) {
	first, err := child.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := child.NewPorts(first, first)
	if err != nil {
		t.Fatal(err)
	}
	if !ports.Hold(first) || ports.Hold(first) {
		t.Error("a port was held twice, or not once")
	}
	if port, err := ports.Reserve(); err == nil {
		t.Errorf("port %d was given out a second time", port)
	}
	ports.Release(first)
	l, err := net.Listen("tcp", net.JoinHostPort(child.Loopback, strconv.Itoa(first)))
	if err != nil {
		t.Skipf("somebody on this machine took port %d: %v", first, err)
	}
	if port, err := ports.Reserve(); err == nil {
		t.Errorf("port %d was given out although somebody listens on it", port)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if port, err := ports.Reserve(); err != nil || port != first {
		t.Errorf("%d, %v", port, err)
	}
	for _, bad := range [][2]int{{-1, 5}, {9, 8}, {1, 70000}} {
		if _, err := child.NewPorts(bad[0], bad[1]); err == nil {
			t.Errorf("%v was taken for a range", bad)
		}
	}
}

func TestTheMachineSaysWhatItHas(t *testing.T) {
	total, available, ok := child.MachineMemory()
	if !ok || available <= 0 || total < available || total > 1<<50 {
		t.Errorf("memory: %d of %d, %t", available, total, ok)
	}
	if busy, all := child.MachineCPU(); busy == 0 || all <= busy {
		t.Errorf("processors: busy %d of %d ticks", busy, all)
	}
	if boot, err := child.BootID(); err != nil || len(boot) < 30 {
		t.Errorf("boot %q, %v", boot, err)
	}
	if n := child.OOMKills(); n < 0 {
		t.Errorf("%d processes were killed for lack of memory", n)
	}
}
