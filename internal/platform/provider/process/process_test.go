package process_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/provider"
	"github.com/slipway-ml/slipway/internal/platform/provider/process"
	"github.com/slipway-ml/slipway/internal/platform/provider/providertest"
	"github.com/slipway-ml/slipway/internal/platform/provider/testmodel/build"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == keepLogs {
		os.Exit(beKeeper(os.Args[2], os.Args[3]))
	}
	if os.Getenv(serverEnv) != "" {
		os.Exit(beServer())
	}
	// The tests wait for other processes more than they compute.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

func TestProcessesKeepTheContract(t *testing.T) {
	t.Parallel()
	providertest.Run(t, func(t *testing.T) providertest.Harness { return harness(t, process.Config{}) })
}

func TestProcessesKeepTheContractWithoutProcessDescriptors(t *testing.T) {
	t.Parallel()
	providertest.Run(t, func(t *testing.T) providertest.Harness { return harness(t, process.Config{NoPidfd: true}) })
}

// home is one provider's directory in a test; what still runs there when the
// test ends is killed.
type home struct {
	t   testing.TB
	cfg process.Config
}

func newHome(t testing.TB, cfg process.Config) *home {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Dir = filepath.Join(dir, "instances")
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	h := &home{t, cfg}
	t.Cleanup(func() {
		for _, pid := range marked(t, cfg.Dir+"/") {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone
		}
	})
	return h
}

func (h *home) open() *process.Provider {
	h.t.Helper()
	p, err := process.New(h.cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			h.t.Error(err)
		}
	})
	return p
}

func (h *home) copies(id provider.ID) int {
	return len(marked(h.t, filepath.Join(h.cfg.Dir, "instances", string(id)+".json")))
}

// pid returns the recorded process of id.
func (h *home) pid(id provider.ID) int {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.cfg.Dir, "instances", string(id)+".json"))
	if err != nil {
		h.t.Fatal(err)
	}
	var rec struct{ PID int }
	if err := json.Unmarshal(b, &rec); err != nil || rec.PID == 0 {
		h.t.Fatalf("record %s: %v", b, err)
	}
	return rec.PID
}

func spec(t testing.TB, env map[string]string) provider.Spec {
	e := maps.Clone(env)
	if e == nil {
		e = map[string]string{}
	}
	command := []string{build.Testmodel(t), "serve"}
	return provider.Spec{Image: "testmodel", Command: command, Env: e, Endpoint: "e", Variant: "v"}
}

func harness(t *testing.T, cfg process.Config) providertest.Harness {
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "name"), []byte("fetched"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Fetch = func(ctx context.Context, d hosting.ModelData) (string, error) {
		switch d.URI {
		case "s3://b/there":
			return data, nil
		case "s3://b/stuck":
			<-ctx.Done()
			return "", ctx.Err()
		default:
			return "", fault.New(fault.NotFound, "there is no object at %s", d.URI)
		}
	}
	h := newHome(t, cfg)
	at := func(uri string) hosting.ModelData { return hosting.ModelData{URI: uri, Layout: hosting.Archive} }
	return providertest.Harness{
		Open:       func() provider.Provider { return h.open() },
		Spec:       func(env map[string]string) provider.Spec { return spec(t, env) },
		Unrunnable: provider.Spec{Image: "nobody/configured-this:1"},
		ModelData:  at("s3://b/there"), MissingData: at("s3://b/missing"), StuckData: at("s3://b/stuck"),
		Copies: h.copies,
	}
}

// marked returns the live processes whose state file's path begins with prefix,
// found by this test's own reading of /proc. A process that was forked but has
// not executed its program still shows this test's environment, not the mark.
func marked(t testing.TB, prefix string) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // gone meanwhile
		}
		for v := range bytes.SplitSeq(b, []byte{0}) {
			if strings.HasPrefix(string(v), "SLIPWAY_INSTANCE_STATE="+prefix) {
				pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
				if err != nil {
					t.Fatal(err)
				}
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func mustEnsure(t testing.TB, p *process.Provider, id provider.ID, s provider.Spec) provider.Status {
	t.Helper()
	st, err := p.Ensure(t.Context(), id, s)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func ids(t testing.TB, p *process.Provider) string {
	t.Helper()
	all, err := p.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	words := make([]string, len(all))
	for i, st := range all {
		words[i] = fmt.Sprintf("%s exited=%v", st.ID, st.Exited)
	}
	return strings.Join(words, ", ")
}

// contextWithPatience is for the server that a test starts: it has no test.
func contextWithPatience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), providertest.Patience)
}
