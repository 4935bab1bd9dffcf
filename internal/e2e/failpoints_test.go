package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"
)

// At every named step, and at its first three occasions, the server is killed
// while an update runs. After the next start the update must be finished or
// undone, the traffic be whole and no instance be left over.
func TestAServerKilledAtAnyStepOfAnUpdateRecovers(t *testing.T) {
	names := slices.DeleteFunc(failPoints(t), func(name string) bool {
		// Objects are written by an upload, not by an update: see objects_test.go.
		// Plans and jobs are killed where they are tested: see crash_test.go of
		// service/fleet, and kill_test.go of service/packaging.
		owner, _, _ := strings.Cut(name, ".")
		return slices.Contains([]string{"objects", "fleet", "packaging"}, owner)
	})
	reached := make(chan string, 3*len(names))
	t.Run("steps", func(t *testing.T) {
		for _, name := range names {
			for occasion := 1; occasion <= 3; occasion++ {
				point := fmt.Sprintf("%s:%d", name, occasion)
				t.Run(point, func(t *testing.T) {
					t.Parallel()
					if dieAndRecover(t, point) {
						reached <- name
					}
				})
			}
		}
	})
	close(reached)
	died := map[string]bool{}
	for name := range reached {
		died[name] = true
	}
	for _, name := range names {
		if !died[name] && !notInAnUpdate(name) {
			t.Errorf("no update reached %s: it proves nothing", name)
		}
	}
}

// notInAnUpdate says which steps an update that goes well never takes.
func notInAnUpdate(name string) bool {
	return slices.Contains([]string{
		// An instance that ends by itself. Those of an update are asked to.
		"process.exited",
	}, name)
}

// dieAndRecover reports whether the server died at the point.
func dieAndRecover(t *testing.T, point string) (died bool) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("old", 2, nil)
	c.deployable("new", 2, nil)
	c.createEndpoint("e", "old")
	s.kill()
	held := s.instances()
	if len(held) != 2 {
		t.Fatalf("%d instances outlived the killed server, want 2", len(held))
	}

	// Armed, the server may die when it adopts them, at the update, or never.
	if s.restartWithFailPoint(point) {
		_, err := c.sagemaker.UpdateEndpoint(t.Context(), &sagemaker.UpdateEndpointInput{
			EndpointName: aws.String("e"), EndpointConfigName: aws.String("new"),
		})
		if err != nil && !s.diesWithin(5*time.Second) {
			t.Fatal(err)
		}
		for end := time.Now().Add(30 * time.Second); !s.dead() && !settled(t, c) && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
	}
	died = s.dead()
	s.kill()

	s.restart()
	config := c.awaitInService("e")
	if !died && config != "new" {
		t.Errorf("the update ended with %q in service: %s", config, c.failureReason("e"))
	}
	s.wantWhole(c, config)
	// Whatever became of the first update, the next one works.
	other := map[string]string{"old": "new", "new": "old"}[config]
	if _, err := c.sagemaker.UpdateEndpoint(
		t.Context(), &sagemaker.UpdateEndpointInput{EndpointName: aws.String("e"), EndpointConfigName: &other},
	); err != nil {
		t.Fatal(err)
	}
	if got := c.awaitInService("e"); got != other {
		t.Fatalf("the next update ended with %q in service: %s", got, c.failureReason("e"))
	}
	s.wantWhole(c, other)
	c.deleteEndpoint("e")
	eventually(
		t, 30*time.Second, "no instance is left after the delete", func() bool { return len(s.instances()) == 0 },
	)
	return died
}

// settled reports whether the armed server says that nothing is going on any
// more. It may be dead by now.
func settled(t *testing.T, c *sdk) bool {
	d, err := c.sagemaker.DescribeEndpoint(t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: aws.String("e")},
		func(o *sagemaker.Options) { o.RetryMaxAttempts = 1 })
	return err == nil && d.EndpointStatus == "InService"
}

func (s *server) diesWithin(d time.Duration) bool {
	select {
	case <-s.exited:
		return true
	case <-time.After(d):
		return false
	}
}

// wantWhole checks that an endpoint of two instances serves config and nothing
// else: every answer comes from it, both instances answer, and no third runs.
func (s *server) wantWhole(c *sdk, config string) {
	s.t.Helper()
	eventually(s.t, 30*time.Second, "exactly two instances run", func() bool { return len(s.instances()) == 2 })
	pids := map[int]bool{}
	for _, i := range s.instances() {
		pids[i.pid] = false
	}
	for n := 0; n < 200 && slices.Contains(values(pids), false); n++ {
		out, err := c.once.InvokeEndpoint(
			s.t.Context(), &sagemakerruntime.InvokeEndpointInput{EndpointName: aws.String("e"), Body: []byte("x")},
		)
		if err != nil {
			s.t.Fatalf("invocation %d: %v", n, err)
		}
		var a struct {
			Name string
			PID  int
		}
		if err := json.Unmarshal(out.Body, &a); err != nil {
			s.t.Fatal(err)
		}
		if _, ours := pids[a.PID]; a.Name != config || !ours {
			s.t.Fatalf(
				"%s (process %d) answered, but %s is in service with the processes %v", a.Name, a.PID, config, pids,
			)
		}
		pids[a.PID] = true
	}
	if slices.Contains(values(pids), false) {
		s.t.Errorf("an instance gets no traffic: %v", pids)
	}
}

func values(m map[int]bool) []bool {
	var v []bool
	for _, b := range m {
		v = append(v, b)
	}
	return v
}

var (
	hit      = regexp.MustCompile(`(?m)failpoint\.Hit\((.*)\)\s*(?://.*)?$`)
	constant = regexp.MustCompile(`(?m)^\s*(?:const )?(\w+)\s*=\s*"([a-z0-9.-]+)"`)
)

// computed lists the fail points whose names are put together at run time, by
// the source text of the name.
func computed() map[string][]string {
	return map[string][]string{
		`"instance.reported-" + strings.ToLower(string(r.Status))`: {"instance.reported-ready"},
	}
}

// failPoints finds the names in the sources, so that a new one is tested
// without anybody's thinking of it.
func failPoints(t *testing.T) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			strings.Contains(path, "/failpoint/") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range hit.FindAllStringSubmatch(string(text), -1) {
			names = append(names, resolve(t, path, strings.TrimSpace(m[1]))...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) < 8 {
		t.Fatalf("only %d fail points were found: %v", len(names), names)
	}
	return names
}

// resolve turns the argument of a failpoint.Hit into names: a string, a
// constant of the same package, or one of computed.
func resolve(t *testing.T, path, argument string) []string {
	t.Helper()
	if names, ok := computed()[argument]; ok {
		return names
	}
	if strings.HasPrefix(argument, `"`) && strings.HasSuffix(argument, `"`) {
		return []string{strings.Trim(argument, `"`)}
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range constant.FindAllStringSubmatch(string(text), -1) {
			if m[1] == argument {
				return []string{m[2]}
			}
		}
	}
	t.Fatalf("%s: failpoint.Hit(%s): what name is that?", path, argument)
	return nil
}
