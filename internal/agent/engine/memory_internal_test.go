package engine

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-ml/slipway/internal/agent/model"
)

// write makes files below dir.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, body := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheTightestControlGroupDecides(t *testing.T) {
	root := t.TempDir()
	write(t, root, map[string]string{
		"system/memory.max": "1000\n", "system/memory.current": "700\n",
		"system/memory.stat":      "anon 1\ninactive_file 100\n",
		"system/agent/memory.max": "max\n", "system/agent/memory.current": "600\n",
		"loose/memory.max": "max\n", "loose/memory.current": "1\n",
		"over/memory.max": "10\n", "over/memory.current": "30\n", "over/memory.stat": "inactive_file 5\n",
	})
	for name, want := range map[string]int64{
		"/system/agent": 400, "/system": 400, "/loose": math.MaxInt64 / 2, "/over": -15, "/nowhere": math.MaxInt64 / 2,
		"/": math.MaxInt64 / 2,
	} {
		if got := groupLeft(root, name, "memory.max", "memory.current", "inactive_file"); got != want {
			t.Errorf("%s: %d are left, want %d", name, got, want)
		}
	}
	if left := machineLeft(); left <= 0 || left > 1<<50 {
		t.Errorf("this machine has %d left", left)
	}
}

func TestAnEstimateFollowsWhatWasMeasured(t *testing.T) {
	left := int64(100 << 20)
	m := &memory{factor: 2, spare: 10 << 20, left: func() int64 { return left }, known: map[string]footprint{}}
	p := model.Package{Dir: t.TempDir(), ModelName: "m", Runtime: ONNX}
	write(t, p.Dir, map[string]string{"model.onnx": string(make([]byte, 40<<20))})
	if _, err := m.reserve(p, 0); !errors.Is(err, model.ErrNoMemory) {
		t.Fatalf("96 MiB of 90 were granted: %v", err)
	}
	m.record(p, 50<<20)
	first, err := m.reserve(p, 0)
	if err != nil {
		t.Fatalf("50 MiB of 90 were refused: %v", err)
	}
	if _, err := m.reserve(p, 0); !errors.Is(err, model.ErrNoMemory) {
		t.Fatalf("50 MiB were granted beside 50 that are being taken, of 90: %v", err)
	}
	first.release()
	write(t, p.Dir, map[string]string{"more": string(make([]byte, 30<<20))})
	if _, err := m.reserve(p, 0); !errors.Is(err, model.ErrNoMemory) {
		t.Fatalf("50 MiB and twice the 30 that the files have grown by were granted, of 90: %v", err)
	}
	left = math.MaxInt64 / 2
	m.budget = 200 << 20
	if _, err := m.reserve(p, 100<<20); !errors.Is(err, model.ErrNoMemory) {
		t.Errorf("110 MiB were granted of a budget of 200 with 100 in use: %v", err)
	}
	if _, err := m.reserve(p, 80<<20); err != nil {
		t.Errorf("110 MiB were refused of a budget of 200 with 80 in use: %v", err)
	}
}

func TestATailKeepsTheEnd(t *testing.T) {
	var l tail
	for range 3000 {
		if n, err := l.Write([]byte("a line\n")); n != 7 || err != nil {
			t.Fatal(n, err)
		}
	}
	if n, err := l.Write(append(make([]byte, 10_000), "\nthe \xfflast\n\n"...)); n != 10_012 || err != nil {
		t.Fatal(n, err)
	}
	if got := l.last(); got != "the ?last" || len(l.text) > tailSize {
		t.Errorf("kept %q in %d bytes", got, len(l.text))
	}
}
