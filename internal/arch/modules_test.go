package arch

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// SQLite's Go port is made for exactly one version of its C library: any other
// builds, and may corrupt a database.
func TestSQLiteHasTheLibraryThatItWasMadeFor(t *testing.T) {
	module := func(format, name string) string {
		t.Helper()
		out, err := exec.Command("go", "list", "-m", "-f", format, name).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	have := module("{{.Version}}", "modernc.org/libc")
	text, err := os.ReadFile(module("{{.GoMod}}", "modernc.org/sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "modernc.org/libc "+have+"\n") {
		t.Errorf("modernc.org/libc is %s, which modernc.org/sqlite does not name", have)
	}
}
