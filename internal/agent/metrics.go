package agent

import (
	"context"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/handles"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/child"
)

// quiet is how long what changes little is not said again: an idle device pays
// for every byte.
const quiet = time.Hour

// noticeable is a change that is said at once, in points of a percentage.
const noticeable = 20.0

// metrics are the values of a heartbeat (spec §7.6): how long the agent runs and
// how often it crashed, the device's processor and memory in percent, and for
// each model the milliseconds that loading it took, the calls it had since, and
// the milliseconds of a call on average since it was last told.
type metrics struct {
	device  string
	started time.Time
	crashes int64
	stats   func() []handles.Stats
	now     func() time.Time

	told        time.Time // the last time that everything was
	cpu, memory float64   // as told
	busy, all   uint64    // of the processor, as last read
	calls       map[string]handles.Stats
	mu          sync.Mutex
	loads       []edge.Metric // since the last heartbeat; guarded by mu
}

func newMetrics(device string, crashes int64, stats func() []handles.Stats) *metrics {
	m := &metrics{
		device: dimension("device/" + device), started: time.Now(), crashes: crashes, stats: stats, now: time.Now,
		calls: map[string]handles.Stats{},
	}
	m.busy, m.all = child.MachineCPU()
	return m
}

// dimension makes a name fit the API's pattern (spec §1.5).
func dimension(s string) string { return strings.ReplaceAll(s, "_", "-") }

// collect returns what there is to tell. It is for one goroutine.
func (m *metrics) collect() []edge.Metric {
	now := m.now()
	say := func(dimension, name string, v float64) edge.Metric {
		return edge.Metric{Dimension: dimension, Name: name, Value: v, At: now.Truncate(time.Second)}
	}
	var out []edge.Metric
	cpu, memory := m.utilization()
	if m.told.IsZero() || now.Sub(m.told) >= quiet {
		m.told = now
		m.cpu, m.memory = math.Inf(1), math.Inf(1)
		out = append(out,
			say(m.device, "AgentStarted", math.Round(now.Sub(m.started).Seconds())),
			say(m.device, "AgentCrashCount", float64(m.crashes)))
	}
	if math.Abs(cpu-m.cpu) >= noticeable {
		m.cpu = cpu
		out = append(out, say(m.device, "CpuUtilization", cpu))
	}
	if math.Abs(memory-m.memory) >= noticeable {
		m.memory = memory
		out = append(out, say(m.device, "MemoryUtilization", memory))
	}
	out = append(out, m.drainLoads()...)
	return append(out, m.predictions(say)...)
}

// predictions tells of the models that were called since the last time.
func (m *metrics) predictions(say func(string, string, float64) edge.Metric) (out []edge.Metric) {
	present := map[string]handles.Stats{}
	for _, s := range m.stats() {
		present[s.Handle] = s
		before := m.calls[s.Handle]
		if before.Calls > s.Calls { // another model has the handle
			before = handles.Stats{}
		}
		if n := s.Calls - before.Calls; n > 0 {
			at := dimension("model/" + s.Handle)
			mean := (s.Elapsed - before.Elapsed).Seconds() * 1000 / float64(n)
			out = append(out, say(at, "PredictCount", float64(s.Calls)), say(at, "PredictLatency", round(mean)))
		}
	}
	m.calls = present
	return out
}

func (m *metrics) drainLoads() []edge.Metric {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.loads
	m.loads = nil
	return out
}

// maxLoads bounds the loads that wait to be told of.
const maxLoads = 16

func (m *metrics) loaded(p model.Package, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.loads) < maxLoads {
		m.loads = append(m.loads, edge.Metric{
			Dimension: dimension("model/" + p.ModelName), Name: "ModelLoadTime",
			Value: float64(took.Milliseconds()), At: m.now().Truncate(time.Second),
		})
	}
}

func round(v float64) float64 { return math.Round(v*1000) / 1000 }

// utilization returns the device's processor, since the last time, and memory
// in percent; 0 where the kernel does not say.
func (m *metrics) utilization() (cpu, memory float64) {
	busy, all := child.MachineCPU()
	if all > m.all {
		cpu = math.Round(1000*float64(busy-m.busy)/float64(all-m.all)) / 10
	}
	m.busy, m.all = busy, all
	total, available, ok := child.MachineMemory()
	if ok && total > 0 {
		memory = math.Round(1000*float64(total-min(available, total))/float64(total)) / 10
	}
	return cpu, memory
}

// timed is an engine whose loads are measured.
type timed struct {
	model.Engine
	loaded func(model.Package, time.Duration)
}

func (t timed) Load(ctx context.Context, p model.Package) (model.Runner, error) {
	start := time.Now()
	r, err := t.Engine.Load(ctx, p)
	if err == nil {
		t.loaded(p, time.Since(start))
	}
	return r, err
}
