package engine

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/platform/child"
)

// baseMemory is what a worker takes that has loaded nothing: slipway-onnx takes
// about 9 MiB, interpreters more.
const baseMemory = 16 << 20

// memory decides whether another worker fits.
type memory struct {
	budget, spare int64
	factor        float64
	left          func() int64 // of the machine and the control group

	mu      sync.Mutex
	pending int64                // of workers that are starting
	known   map[string]footprint // by runtime and model name
}

type footprint struct{ file, memory int64 }

const knownModels = 256

func newMemory(c *Config) *memory {
	return &memory{
		budget: c.Budget, spare: c.Reserve, factor: c.Factor, left: machineLeft, known: map[string]footprint{},
	}
}

type reservation struct {
	m     *memory
	bytes int64
}

func (r *reservation) release() {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	r.m.pending -= r.bytes
}

// reserve sets memory aside for a worker that is about to start, given what the
// running ones hold; it is model.ErrNoMemory if there is not enough.
func (m *memory) reserve(p model.Package, used int64) (*reservation, error) {
	size := packageSize(p.Dir)
	left := m.left()
	m.mu.Lock()
	defer m.mu.Unlock()
	need := m.estimate(p, size)
	left = left - m.spare - m.pending
	if m.budget > 0 {
		left = min(left, m.budget-used-m.pending)
	}
	if need > left {
		return nil, fmt.Errorf(
			"%w: it takes about %d MiB and %d MiB are left", model.ErrNoMemory, need>>20, max(left, 0)>>20)
	}
	m.pending += need
	return &reservation{m, need}, nil
}

// estimate says how much a worker for p will hold: what the last one of that
// model held, and the difference of the files; mu is held.
func (m *memory) estimate(p model.Package, size int64) int64 {
	grown := func(bytes int64) int64 { return int64(min(m.factor*float64(bytes), math.MaxInt64/4)) }
	if k, ok := m.known[p.Runtime+"/"+p.ModelName]; ok {
		return k.memory + grown(max(size-k.file, 0))
	}
	return baseMemory + grown(size)
}

// record notes what a worker for p holds.
func (m *memory) record(p model.Package, bytes int64) {
	if bytes <= 0 {
		return
	}
	size := packageSize(p.Dir)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.known) >= knownModels {
		clear(m.known) // a device has a handful of models; estimates will do again
	}
	m.known[p.Runtime+"/"+p.ModelName] = footprint{size, bytes}
}

// packageSize returns the bytes of all files in dir, as far as they can be seen.
func packageSize(dir string) (sum int64) {
	// Load fails on its own if dir can't be read
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	return sum
}

// machineLeft returns the bytes that the machine, and every control group that
// this process is in, can still give.
func machineLeft() int64 {
	left := int64(math.MaxInt64 / 2)
	if _, available, ok := child.MachineMemory(); ok {
		left = available
	}
	groups, _ := os.ReadFile("/proc/self/cgroup") // without control groups nothing is limited
	for line := range strings.Lines(string(groups)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		switch {
		case f[0] == "0" && f[1] == "": // version 2
			left = min(left, groupLeft("/sys/fs/cgroup", f[2], "memory.max", "memory.current", "inactive_file"))
		case strings.Contains(","+f[1]+",", ",memory,"):
			left = min(left,
				groupLeft("/sys/fs/cgroup/memory", f[2], "memory.limit_in_bytes", "memory.usage_in_bytes",
					"total_inactive_file"))
		}
	}
	return left
}

// groupLeft returns what a control group and those above it can still give.
func groupLeft(root, name, limit, usage, idle string) int64 {
	left := int64(math.MaxInt64 / 2)
	for dir := path.Clean("/" + name); ; dir = path.Dir(dir) {
		most, limited := number(root, dir, limit)
		used, ok := number(root, dir, usage)
		if limited && ok {
			// Cached files that nobody used lately make room by themselves.
			if b, err := os.ReadFile(path.Join(root, dir, "memory.stat")); err == nil {
				cached, _ := child.Counter(b, idle) // none, then
				used -= min(cached, used)
			}
			left = min(left, most-used)
		}
		if dir == "/" {
			return left
		}
	}
}

func number(root, dir, file string) (int64, bool) {
	b, err := os.ReadFile(path.Join(root, dir, file))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil // "max" is no limit
}
