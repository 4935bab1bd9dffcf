package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The session in the README is run as it stands, in the repository's folder.
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
	_, rest, _ := strings.Cut(string(text), "```python\n")
	session, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the README has no Python session")
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
}
