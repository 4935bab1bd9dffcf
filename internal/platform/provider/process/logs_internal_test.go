package process

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// smallLimits returns a provider with small limits, for its logs alone.
func smallLimits(t *testing.T) *Provider {
	t.Helper()
	p, err := open(Config{Dir: t.TempDir(), LogBytes: 4000, LogsTotal: 5000, LogAge: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.shut)
	return p
}

func (p *Provider) put(t *testing.T, path string, n int, at time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Repeat("0123456 x\n", n/10)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func (p *Provider) names(t *testing.T) string {
	t.Helper()
	files, err := os.ReadDir(p.paths.logs())
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, f := range files {
		st, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s:%d", f.Name(), st.Size()))
	}
	return strings.Join(list, " ")
}

func TestALogIsRotatedUnderItsWriter(t *testing.T) {
	p := smallLimits(t)
	b := bounds{p.paths, 4000, p.log}
	p.entries["x"] = &entry{id: "x", turn: make(chan struct{}, 1), run: &run{}}
	w, err := p.claimLog(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	write := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if _, err := fmt.Fprintf(w, "line %04d\n", i); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, upTo := range []int{100, 300, 1000, 1100} {
		write(upTo-100, upTo)
		if upTo > 100 {
			write(upTo-100, upTo) // past half of the limit
		}
		if err := b.all(); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.names(t); got != "x.log:1000 x.log.1:2000" && got != "x.log:0 x.log.1:2000" &&
		got != "x.log:2000 x.log.1:2000" {
		t.Errorf("kept %s", got)
	}
	write(2000, 2003)
	got, err := p.Logs(t.Context(), "x", 100)
	if err != nil || !strings.HasSuffix(string(got), "line 2000\nline 2001\nline 2002\n") ||
		!strings.HasPrefix(string(got), "line 10") || len(got) > 100 {
		t.Errorf("Logs = %q, %v", got, err)
	}
	if all, err := p.Logs(t.Context(), "x", 1<<30); err != nil || len(all) > 4000 ||
		!strings.HasPrefix(string(all), "line ") {
		t.Errorf("Logs returned %d bytes, %v", len(all), err)
	}
}

func TestALogOfOneEndlessLineCanBeRead(t *testing.T) {
	p := smallLimits(t)
	if err := os.WriteFile(p.paths.log("x"), []byte(strings.Repeat("x", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tail := range []int{-5, 0, 1, 499, 500, 501} {
		if got, err := p.Logs(t.Context(), "x", tail); err != nil || len(got) != min(max(tail, 0), 500) {
			t.Errorf("tail %d: %d bytes, %v", tail, len(got), err)
		}
	}
}

func TestLogsOfRemovedInstancesAreBoundedByAgeAndSum(t *testing.T) {
	now := time.Now()
	p := smallLimits(t)
	p.entries["lives"] = &entry{id: "lives", turn: make(chan struct{}, 1), run: &run{}}
	p.put(t, p.paths.log("lives"), 1000, now.Add(-48*time.Hour))
	p.put(t, p.paths.log("too-old"), 10, now.Add(-2*time.Hour))
	p.put(t, p.paths.olderLog("too-old"), 10, now.Add(-3*time.Hour))
	p.put(t, p.paths.log("new"), 1000, now)
	p.put(t, p.paths.olderLog("new"), 1500, now.Add(-2*time.Hour))
	p.put(t, p.paths.log("next"), 1500, now.Add(-time.Minute))
	p.put(t, p.paths.log("beyond-the-sum"), 1500, now.Add(-2*time.Minute))
	p.put(t, p.paths.log("half-copied")+".1.tmp", 100, now)
	if err := errors.Join(bounds{p.paths, 4000, p.log}.all(), p.pruneLogs(now)); err != nil {
		t.Fatal(err)
	}
	if got, want := p.names(t), "lives.log:1000 new.log:1000 new.log.1:1500 next.log:1500"; got != want {
		t.Errorf("kept %s, want %s", got, want)
	}
}

func FuzzRecordsNeverNameEverything(f *testing.F) {
	f.Add([]byte(`{"id":"x","phase":"running","pid":77,"start":5}`))
	f.Add([]byte(`{"id":"x","phase":"running","pid":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := paths{t.TempDir()}
		if err := os.MkdirAll(p.instances(), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p.record("x"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := p.read("x")
		if err != nil || r.ID != provider.ID("x") || r.Phase == running && r.PID <= 1 {
			t.Errorf("%q was read as %+v, %v", b, r, err)
		}
	})
}
