package cli

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

func TestACommandThatIsInterruptedSaysNothing(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for sig, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		asked := make(chan struct{}, 1)
		srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then the server notices that the client left
			asked <- struct{}{}
			<-r.Context().Done()
		}))
		var out bytes.Buffer
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Args = []string{"slipway", "wait", "e"} // what TestMain goes by
		cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+srv.URL, "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b")
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-asked
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // its code says how it ended
		if got := cmd.ProcessState.ExitCode(); got != want || out.Len() > 0 {
			t.Errorf("%v: it exits with %d and says %q", sig, got, &out)
		}
		srv.Close()
	}
}
