package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	session, blocks := "", 0
	for _, after := range strings.Split(string(text), "```python\n")[1:] {
		block, _, _ := strings.Cut(after, "```")
		session += block
		blocks++
	}
	if blocks != 2 {
		t.Fatalf("the README has %d Python sessions, not 2", blocks)
	}
	s := startServer(t)
	script := filepath.Join(s.dir, "session.py")
	if err := os.WriteFile(script, []byte("import os\nos.chdir(os.environ['REPOSITORY'])\n"+session), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	out := s.client("env", "REPOSITORY="+root, py, script)
	// The first image of the test set is a nine, and v1 knows.
	if !strings.HasPrefix(out, "b'9,") {
		t.Errorf("the session printed %q", out)
	}
	if now := s.sdk().awaitInService("digits"); now != "digits-2" {
		t.Errorf("the guarded update ended on %s", now)
	}
}
