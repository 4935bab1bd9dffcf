package cli

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
)

// calls are the commands that talk to a server, with arguments.
func calls(dir string) map[string]string {
	return map[string]string{
		"wait":                 "e",
		"deployments":          "e",
		"deployment":           "d-1",
		"gate":                 "e",
		"pause":                "e",
		"resume":               "e",
		"promote":              "e",
		"abort":                "e",
		"plan update-endpoint": "--endpoint-name e --endpoint-config-name c",
		"edge show":            "p",
		"edge policy":          "p --json",
		"edge floor":           "m --serial 1",
		"device enroll":        "f d",
		"device list":          "f",
		"device revoke":        "f d",
		"signing create":       "",
		"signing list":         "",
		"signing show":         "",
		"signing export":       "--dir " + dir,
		"signing rotate":       "",
		"sim-devices":          "--fleet f --count 1",
		"sim-devices --json":   "--fleet f --count 1",
		"deployments --json":   "e",
		"wait --timeout 1h":    "e",
	}
}

// talksToNobody are the commands that do not.
func talksToNobody() []string {
	return []string{"server", "keep-logs", "env", "demo", "version"} // the end-to-end tests interrupt the first two
}

func TestEveryCommandThatTalksIsKnown(t *testing.T) {
	known := map[string]bool{}
	for c := range calls("") {
		name, _, _ := strings.Cut(c, " --")
		known[name] = true
	}
	for _, c := range talksToNobody() {
		known[c] = true
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if name := strings.TrimPrefix(c.CommandPath(), "slipway "); !c.HasSubCommands() && !known[name] {
			t.Errorf("whether %q can be interrupted is not tested", name)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(New())
}

func TestACommandThatIsInterruptedSaysNothing(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, args := range calls(dir) {
		t.Run(name, func(t *testing.T) {
			for sig, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
				asked := make(chan struct{}, 1)
				srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body) // only then the server notices that the client left
					select {
					case asked <- struct{}{}:
					default:
					}
					<-r.Context().Done()
				}))
				var out bytes.Buffer
				cmd := exec.CommandContext(t.Context(), exe)
				cmd.Args = append([]string{"slipway"}, strings.Fields(name+" "+args)...) // what TestMain goes by
				cmd.Env = append(
					os.Environ(), "AWS_ENDPOINT_URL="+srv.URL, "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b",
				)
				cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				ended := make(chan struct{})
				go func() {
					_ = cmd.Wait() // its code says how it ended
					close(ended)
				}()
				select {
				case <-asked:
				case <-ended:
					t.Fatalf("it asked nobody and exited with %d: %s", cmd.ProcessState.ExitCode(), &out)
				}
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				<-ended
				if got := cmd.ProcessState.ExitCode(); got != want || out.Len() > 0 {
					t.Errorf("%v: it exits with %d and says %q", sig, got, &out)
				}
				srv.CloseClientConnections()
				srv.Close()
			}
		})
	}
}
