package simdevices_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
	"github.com/slipway-ml/slipway/internal/simdevices"
)

// plant is a server in memory: one deployment for every device, offered until
// the device reports how it went.
type plant struct {
	verifier *bundle.Verifier
	object   []byte
	sum      string
	offer    edge.Deployment

	mu      sync.Mutex
	results map[string]edge.Result // by device: the first that came
	again   int                    // results that came once more
	models  map[string]int         // by device: how many it said are loaded
	fetched int
}

const goldenCases = `{"cases":[{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}],` +
	`"outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[2]}]}]}`

func newPlant(t testing.TB) *plant {
	t.Helper()
	root, err := bundle.NewAuthority("plant", time.Unix(1_700_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	key, err := root.NewKey(1, time.Unix(1_700_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	_, err = bundle.Write(t.Context(), &b, bundle.Manifest{Version: 1, Metadata: bundle.Metadata{
		ModelName: "digits", ModelVersion: "1.0", PackagingJob: "job", Serial: 1, Key: 1, Runtime: "onnx",
		Target: bundle.Target{OS: "LINUX", Arch: "X86_64"},
	}},
		[]bundle.Source{
			bundle.Bytes("model.onnx", bytes.Repeat([]byte("weights "), 2000)),
			bundle.Bytes("golden.json", []byte(goldenCases)),
		}, key)
	if err != nil {
		t.Fatal(err)
	}
	p := &plant{
		verifier: &bundle.Verifier{Roots: []*x509.Certificate{root.Root}}, object: b.Bytes(),
		results: map[string]edge.Result{}, models: map[string]int{},
	}
	sum := sha1.Sum(p.object)
	p.sum = hex.EncodeToString(sum[:])
	p.offer = edge.Deployment{Name: "d-1", OnFailure: edge.RollbackOnFailure, Definitions: []edge.Definition{
		{Handle: "digits", S3URL: "s3://bucket/digits.tar.gz", SHA1: p.sum, State: edge.Deploy},
	}}
	return p
}

func (p *plant) Registration(context.Context, string, string) (bool, time.Duration, error) {
	return true, time.Hour, nil
}

func (p *plant) Deployments(_ context.Context, _, device string) ([]edge.Deployment, edge.Hints, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, done := p.results[device]; done {
		return nil, edge.Hints{}, nil
	}
	return []edge.Deployment{p.offer}, edge.Hints{}, nil
}

func (p *plant) Heartbeat(_ context.Context, h edge.Heartbeat) (edge.Hints, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.HasModels {
		p.models[h.Device] = len(h.Models)
	}
	if h.Result != nil && h.Result.Status != "" { // or else it says what is in the way
		if _, had := p.results[h.Device]; had {
			p.again++
		} else {
			p.results[h.Device] = *h.Result
		}
	}
	return edge.Hints{}, nil
}

func (p *plant) Fetch(_ context.Context, _ string, offset int64) (io.ReadCloser, int64, string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetched++
	if offset > int64(len(p.object)) {
		return nil, 0, "", fault.New(fault.Conflict, "the object is shorter")
	}
	return io.NopCloser(bytes.NewReader(p.object[offset:])), int64(len(p.object)), "1", nil
}

// carryOut runs a fleet until it is idle, and stops it.
func carryOut(t testing.TB, cfg simdevices.Config) *simdevices.Fleet {
	t.Helper()
	f, err := simdevices.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { f.Run(ctx) })
	for range 720 {
		time.Sleep(10 * time.Second) // of a bubble
		if f.Idle() {
			break
		}
	}
	stop()
	wg.Wait()
	if !f.Idle() {
		t.Fatalf("the fleet is not idle after two hours: %+v", f.Report())
	}
	return f
}

func TestAfterAnyFaultsTheServerKnowsWhatEveryDeviceKnows(t *testing.T) {
	for name, c := range map[string]simdevices.Config{
		"on good days":    {},
		"lost replies":    {Loss: 0.3},
		"devices leaving": {Offline: 0.5},
		"bad packages":    {Fail: 0.2},
		"all of it":       {Loss: 0.1, Offline: 0.3, Fail: 0.1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // and it ends only if every goroutine does
				p := newPlant(t)
				c.Server, c.Verifier, c.Fleet, c.Count, c.Seed, c.Workers = p, p.verifier, "plant", 200, 7, 16
				compare(t, p, c, carryOut(t, c))
			})
		})
	}
}

func compare(t *testing.T, p *plant, c simdevices.Config, f *simdevices.Fleet) {
	t.Helper()
	var good, bad int64
	for d := range f.Devices() {
		refused := simdevices.Refuses(c.Seed, c.Fail, d.Name, "digits", "1.0")
		told := p.results[d.Name]
		if n := len(d.State.Done); n != 1 || d.State.Done[0].Deployment != "d-1" ||
			d.State.Done[0].Status != told.Status {
			t.Fatalf("%s: the device says %+v, the server %+v", d.Name, d.State.Done, told)
		}
		if ok := told.Status == "SUCCESS"; ok != (refused == "") || ok != (len(d.Table) == 1) ||
			ok != (len(d.State.Handles) == 1) || len(d.Table) != p.models[d.Name] {
			t.Fatalf("%s refuses by %q, reported %q, has %v loaded, %v on its disk, and said %d", d.Name, refused,
				told.Status, d.Table, d.State.Handles, p.models[d.Name])
		}
		switch refused {
		case "":
			good++
			if d.Table[0] != "digits=digits 1.0" || string(d.State.Handles[0].Current) != p.sum {
				t.Fatalf("%s serves %v of %v", d.Name, d.Table, d.State.Handles)
			}
			continue
		case simdevices.ByEngine:
			refused = "the simulated engine refuses"
		case simdevices.ByGolden:
			refused = "failed its golden inputs: case 1 of 1"
		}
		bad++
		if got := edge.Message(told, edge.RollbackOnFailure); !strings.Contains(got, refused) {
			t.Fatalf("%s says %q, not that %s", d.Name, got, refused)
		}
	}
	r := f.Report()
	if r.Deployed != good || r.Failed != bad || r.Registered != c.Count {
		t.Errorf("%d and %d ended well and badly; the report: %+v", good, bad, r)
	}
	if lossy := c.Loss > 0; lossy != (p.again > 0) {
		t.Errorf("with loss %v %d results came twice", c.Loss, p.again)
	}
	t.Logf("%d took it, %d refused; %d results came again, %d downloads for %d devices; %s", good, bad, p.again,
		p.fetched, c.Count, r.Line(simdevices.Report{}))
}

func TestTheSeedDecidesWhoRefuses(t *testing.T) {
	count := func(seed uint64) (n int, who string) {
		for i := range 10_000 {
			if why := simdevices.Refuses(seed, 0.02, simdevices.Name(i), "digits", "1.0"); why != "" {
				n++
				who += fmt.Sprint(i, why)
			}
		}
		return n, who
	}
	n, who := count(7)
	if _, again := count(7); again != who || n < 140 || n > 260 {
		t.Errorf("%d of 10000 refuse, and others the second time: %v", n, again != who)
	}
	if _, other := count(8); other == who {
		t.Error("another seed decides the same")
	}
}

func TestAConfigurationThatMakesNoSenseIsRefused(t *testing.T) {
	for name, c := range map[string]simdevices.Config{
		"no device": {}, "too many": {Count: simdevices.MaxDevices + 1}, "all is lost": {Count: 1, Loss: 1},
		"never here": {Count: 1, Offline: 1}, "more than all": {Count: 1, Fail: 1.1},
		"back in time": {Count: 1, Poll: -1},
	} {
		if _, err := simdevices.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestADeviceCostsLittleMemory(t *testing.T) {
	const n = 2000
	measure := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	synctest.Test(t, func(t *testing.T) {
		p := newPlant(t)
		before := measure()
		f := carryOut(t, simdevices.Config{
			Server: p, Verifier: p.verifier, Fleet: "plant", Count: n, Seed: 1, Workers: 8,
		})
		p.results, p.models = nil, nil // the server's
		each := (measure() - before) / n
		t.Logf("a device that has deployed a package costs %d bytes", each)
		if each > 6<<10 {
			t.Errorf("a device costs %d bytes", each)
		}
		runtime.KeepAlive(f)
	})
}

// A hundred thousand devices that come once a minute and find nothing to do.
func BenchmarkAMinuteOfAHundredThousandDevices(b *testing.B) {
	const n = 100_000
	p := newPlant(b)
	for i := range n {
		p.results[simdevices.Name(i)] = edge.Result{}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f, err := simdevices.New(simdevices.Config{
		Server: p, Verifier: p.verifier, Fleet: "plant", Count: n, Seed: 1, Workers: 64, Poll: time.Second,
		Heartbeat: time.Second,
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { f.Run(ctx) })
	for f.Report().Registered < n {
		time.Sleep(10 * time.Millisecond)
	}
	calls := func() int64 {
		r := f.Report()
		return r.Calls["poll"].Answered + r.Calls["heartbeat"].Answered
	}
	b.ResetTimer()
	// A minute of polls and heartbeats, as fast as this process can.
	for from := calls(); calls()-from < int64(2*n*b.N); {
		time.Sleep(10 * time.Millisecond)
	}
	b.StopTimer()
	stop()
	wg.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "bytes/device")
	runtime.KeepAlive(f)
}
