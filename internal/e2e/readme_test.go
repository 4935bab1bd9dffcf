package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The sessions in the README are run as they stand, one after the other, in the
// repository's folder. What they leave under way must come out as the README
// says: the better model takes over.
func TestTheReadmesSessionWorksVerbatim(t *testing.T) {
	py := python(t)
	const readsEndpoint = "import botocore; assert tuple(map(int, botocore.__version__.split('.')[:2])) >= (1, 31)"
	if exec.Command(py, "-c", readsEndpoint).Run() != nil {
		t.Skip("this machine's boto3 is too old to read AWS_ENDPOINT_URL, which the README says")
	}
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var sessions []string
	for _, after := range strings.Split(string(text), "```python\n")[1:] {
		block, _, _ := strings.Cut(after, "```")
		sessions = append(sessions, block)
	}
	if len(sessions) != 4 {
		t.Fatalf("the README has %d Python sessions, not 4", len(sessions))
	}
	s := startServer(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	run := func(session string) string {
		script := filepath.Join(s.dir, "session.py")
		if err := os.WriteFile(script, []byte("import os\nos.chdir(os.environ['REPOSITORY'])\n"+session), 0o600); err != nil {
			t.Fatal(err)
		}
		return s.client("env", "REPOSITORY="+root, py, script)
	}
	out := run(strings.Join(sessions[:3], ""))
	// The first image of the test set is a nine, and v1 knows.
	if !strings.HasPrefix(out, "b'9,") {
		t.Errorf("the session printed %q", out)
	}
	if now := s.sdk().awaitInService("digits"); now != "digits-2" {
		t.Errorf("the guarded update ended on %s", now)
	}
	s.joins("plant", "cam-1")
	if out := run(sessions[3]); strings.TrimSpace(out) != "DEPLOYED" {
		t.Errorf("the plan printed %q", out)
	}
}

// joins enrolls a device with the README's command and starts its agent.
func (s *server) joins(fleet, device string) {
	s.t.Helper()
	home := filepath.Join(s.dir, device)
	if out, err := exec.Command(program(s.t, "slipway"), "device", "enroll", fleet, device, "--bundle", home, "--config", s.file, "--data-dir", s.dataDir).CombinedOutput(); err != nil {
		s.t.Fatalf("enroll: %v\n%s", err, out)
	}
	log, err := os.Create(home + ".log")
	if err != nil {
		s.t.Fatal(err)
	}
	agent := exec.Command(program(s.t, "slipway-agent"), "--config", filepath.Join(home, "agent.json"))
	agent.Stdout, agent.Stderr = log, log
	if err := agent.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = agent.Process.Signal(syscall.SIGTERM) // fails only if it has ended
		if err := agent.Wait(); err != nil {
			text, _ := os.ReadFile(home + ".log") // for people
			s.t.Errorf("the agent: %v\n%s", err, text)
		}
		_ = log.Close()
	})
}
