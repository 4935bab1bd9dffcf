package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/internal/platform/pgtest"
)

func TestInstancesOutliveAKilledServerAndAreAdopted(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("m", 3, nil)
	c.createEndpoint("live", "m")
	before := pids(s)
	s.kill()
	if got := pids(s); !slices.Equal(got, before) {
		t.Fatalf("the instances were %v, without the server they are %v", before, got)
	}
	s.restart()
	c.wantAnswer("live", "m")
	if got := c.describe("live").EndpointStatus; got != "InService" {
		t.Errorf("after the restart the endpoint is %s", got)
	}
	// A second copy would appear soon, if ever.
	time.Sleep(2 * time.Second)
	if got := pids(s); !slices.Equal(got, before) {
		t.Errorf("the instances were %v, adopted they are %v", before, got)
	}
	c.deleteEndpoint("live")
	eventually(t, 10*time.Second, "no instance runs", func() bool { return len(s.instances()) == 0 })
}

func TestAnInstanceThatDiedWhileTheServerWasDownIsReplaced(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("m", 2, nil)
	c.createEndpoint("live", "m")
	s.kill()
	dead := s.instances()[0]
	if err := syscall.Kill(dead.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.restart()
	for range 20 {
		c.wantAnswer("live", "m")
	}
	eventually(t, 30*time.Second, "two instances run", func() bool { return len(s.instances()) == 2 })
}

func TestAKilledInstanceIsReplaced(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("m", 2, nil)
	c.createEndpoint("live", "m")
	dead := s.instances()[0]
	if err := syscall.Kill(dead.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "two others run", func() bool {
		now := pids(s)
		return len(now) == 2 && !slices.Contains(now, dead.pid)
	})
	c.wantAnswer("live", "m")
}

// However early an instance dies, before it listens or just as it becomes
// ready, the update that started it comes to its end.
func TestAnInstanceKilledAsItStartsIsStartedAgain(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.sdk()
	c.deployable("blue", 2, nil)
	c.deployable("green", 2, nil)
	c.createEndpoint("e", "blue")
	config := "blue"
	for n := range 20 {
		config = map[string]string{"blue": "green", "green": "blue"}[config]
		before := pids(s)
		if _, err := c.sagemaker.UpdateEndpoint(
			t.Context(), &sagemaker.UpdateEndpointInput{EndpointName: aws.String("e"), EndpointConfigName: &config},
		); err != nil {
			t.Fatal(err)
		}
		for killed := false; !killed; {
			for _, pid := range pids(s) {
				if !slices.Contains(before, pid) && !killed {
					time.Sleep(time.Duration(n) * time.Millisecond) // another moment of its start each time
					_ = syscall.Kill(pid, syscall.SIGKILL)          // it is ours, dead or alive
					killed = true
				}
			}
		}
		began := time.Now()
		if got := c.awaitInService("e"); got != config {
			t.Fatalf("update %d ended with %q in service: %s", n, got, c.failureReason("e"))
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("update %d took %v after the kill", n, took)
		}
		s.wantWhole(c, config)
	}
}

func TestAServerOnPostgreSQLSurvivesAKillToo(t *testing.T) {
	url := pgtest.DSN(t)
	s := startServer(t, func(c *config.Config) { c.Database.URL = url })
	c := s.sdk()
	c.deployable("old", 2, nil)
	c.deployable("new", 2, nil)
	c.createEndpoint("e", "old")
	before := pids(s)
	s.kill()
	s.restart()
	s.wantWhole(c, "old")
	if got := pids(s); !slices.Equal(got, before) {
		t.Errorf("the instances were %v, adopted they are %v", before, got)
	}
	if _, err := c.sagemaker.UpdateEndpoint(
		t.Context(),
		&sagemaker.UpdateEndpointInput{EndpointName: aws.String("e"), EndpointConfigName: aws.String("new")},
	); err != nil {
		t.Fatal(err)
	}
	c.awaitInService("e")
	s.wantWhole(c, "new")
	c.deleteEndpoint("e")
	eventually(t, 10*time.Second, "no instance runs", func() bool { return len(s.instances()) == 0 })
	s.stop()
}

func TestASecondServerOnTheSameDataIsRefused(t *testing.T) {
	s := startServer(t)
	out, err := s.tryClient(program(t, "slipway"), "server", "--config", s.file, "--listen", "127.0.0.1:0")
	if err == nil {
		t.Errorf("a second server ran:\n%s", out)
	}
	if resp, err := http.Get(s.url + "/healthz"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the first server is not well: %v", err)
	} else {
		_ = resp.Body.Close() // nothing in it matters
	}
	s.client(program(t, "slipway"), "env", "--config", s.file)
}

// pids are the process ids of the server's instances, sorted.
func pids(s *server) []int {
	var p []int
	for _, i := range s.instances() {
		p = append(p, i.pid)
	}
	slices.Sort(p)
	return p
}

// keepers returns the processes that bound the logs of s's instances, or wait to.
func keepers(s *server) (found []string) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, path := range lines {
		line, err := os.ReadFile(path) // it may have ended meanwhile
		if err == nil && strings.HasPrefix(string(line), "slipway\x00keep-logs\x00"+s.dataDir+"/") {
			found = append(found, filepath.Dir(path))
		}
	}
	return found
}

// What bounds the logs of instances outlives the server as they do, and no longer
// than they do. Ctrl-C ends the server like SIGTERM: it has done what it was asked to.
func TestLogsAreKeptByAProcessThatGoesWithTheLastInstance(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("m", 1, nil)
	if got := keepers(s); len(got) != 0 {
		t.Errorf("without instances %v run", got)
	}
	c.createEndpoint("live", "m")
	first := keepers(s)
	if len(first) != 1 {
		t.Fatalf("%v run", first)
	}
	s.kill()
	if got := keepers(s); !slices.Equal(got, first) {
		t.Errorf("after the kill %v run, not %v", got, first)
	}
	s.restart()
	eventually(t, 30*time.Second, "this server's keeper is the only one", func() bool {
		now := keepers(s)
		return len(now) == 1 && now[0] != first[0]
	})
	s.dying.Store(true)
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-s.exited
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the server ended with %v", s.cmd.ProcessState)
	}
	if got := keepers(s); len(got) != 1 || len(s.instances()) != 1 {
		t.Errorf("without a server %v and %v run", got, s.instances())
	}
	for _, i := range s.instances() {
		if err := syscall.Kill(i.pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 30*time.Second, "no keeper is left", func() bool { return len(keepers(s)) == 0 })
}
