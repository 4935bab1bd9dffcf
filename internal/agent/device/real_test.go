package device_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/device"
	"github.com/slipway-ml/slipway/internal/agent/disk"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// files is an engine that reads models where the operating system has them.
type files struct{ *engine }

func (f files) Load(_ context.Context, p model.Package) (model.Runner, error) {
	content, err := os.ReadFile(filepath.Join(p.Dir, "model.onnx"))
	if err != nil {
		return nil, err
	}
	r := &runner{f.engine, p.Dir, content}
	f.alive[r] = true
	return r, nil
}

func TestOnARealDiskAllIsTheSameAndTheIdentityIsLeftAlone(t *testing.T) {
	home := t.TempDir()
	key := filepath.Join(home, "private.pem.key")
	must(t, os.WriteFile(key, []byte("secret"), 0o400))
	was, err := os.Stat(key)
	must(t, err)
	f := newFactory(t)
	w := newWares(t, f)
	b := newBox(t, f, newCloud())
	b.cloud.put(w.all()...)
	var real *disk.Real
	b.alter = func(c *device.Config) {
		real, err = disk.OpenReal(filepath.Join(home, "depot"))
		must(t, err)
		c.Disk, c.Engine, c.Settings = real, files{b.engine}, &device.Settings{Slice: 1500}
	}
	must(t, b.boot())
	for i, d := range []edge.Deployment{
		deploy("d-1", edge.RollbackOnFailure, w.a1.definition("a"), w.b1.definition("b")),
		deploy("d-2", edge.RollbackOnFailure, w.a2.definition("a"), w.bad.definition("b")),
		deploy("d-3", edge.RollbackOnFailure, w.a2.definition("a"), undeploy("b")),
	} {
		b.cloud.results, b.cloud.offered = nil, []edge.Deployment{d}
		b.run(nil)
		want := []string{"a=1.0 b=1.0", "a=1.0 b=1.0", "a=2.0"}[i]
		if got := names(b.serves(w.all()...)); got != want ||
			(only(t, b.cloud.results).Status == "SUCCESS") != (i != 1) {
			t.Fatalf("deployment %d: the device serves %q and says %+v", i+1, got, b.cloud.results)
		}
		must(t, real.Close())
		must(t, b.boot()) // as after a kill: nothing was closed
		if got := names(b.serves(w.all()...)); got != want {
			t.Fatalf("deployment %d: after a restart the device serves %q", i+1, got)
		}
	}
	must(t, real.Close())
	is, err := os.Stat(key)
	must(t, err)
	if content, err := os.ReadFile(key); err != nil || string(content) != "secret" || is.ModTime() != was.ModTime() ||
		is.Mode() != was.Mode() {
		t.Errorf("the identity was touched: %q, %v", content, err)
	}
	var list []string
	must(t, filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.Contains(path, "/packages/") {
			list = append(list, strings.TrimPrefix(path, home+"/"))
		}
		return err
	}))
	if got := fmt.Sprint(list); got != "[depot/state.a depot/state.b private.pem.key]" {
		t.Errorf("the disk has %s", got)
	}
}

// trickle is a server whose transfers stand still after n bytes.
type trickle struct {
	*cloud
	n int
}

func (s trickle) Fetch(ctx context.Context, url string, offset int64) (io.ReadCloser, int64, string, error) {
	object := s.objects[url]
	k := min(s.n, len(object)-int(offset))
	return io.NopCloser(io.MultiReader(bytes.NewReader(object[offset:int(offset)+k]), stalled{ctx})),
		int64(len(object)), "1", nil
}

// stalled is a connection that says nothing any more.
type stalled struct{ ctx context.Context }

func (s stalled) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func TestATransferThatStandsStillIsTakenUpAgain(t *testing.T) {
	f := newFactory(t)
	for n, status := range map[int]string{400: "SUCCESS", 0: "FAIL"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWares(t, f)
			b := newBox(t, f, newCloud())
			b.cloud.put(w.all()...)
			b.alter = func(c *device.Config) { c.Cloud = trickle{b.cloud, n} }
			must(t, b.boot())
			b.cloud.offered = []edge.Deployment{deploy("d-1", edge.RollbackOnFailure, w.a1.definition("a"))}
			start := time.Now()
			b.run(nil)
			if r := only(t, b.cloud.results); r.Status != status {
				t.Errorf("with %d bytes at a time: %+v", n, r)
			}
			if took := time.Since(start); took < 30*time.Second || took > time.Hour {
				t.Errorf("with %d bytes at a time it takes %v", n, took)
			}
		})
	}
}

// A key is rotated out by the packages that newer keys sign.
func TestAPackageOfARotatedOutKeyIsRefusedAndTheOldModelStays(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	old := f.key
	next, err := f.root.NewKey(2, time.Unix(1_700_000_000, 0))
	must(t, err)
	b := newBox(t, f, newCloud())
	f.key = next
	newer := f.pack(t, "beta", "9.0", "", func(m *bundle.Manifest) { m.Metadata.Key, m.Metadata.MinKey = 2, 2 })
	f.key = old
	b.cloud.put(append(w.all(), newer)...)
	must(t, b.boot())
	for i, d := range []edge.Definition{w.a1.definition("a"), newer.definition("b"), w.a2.definition("a")} {
		b.cloud.results = nil
		b.cloud.offered = []edge.Deployment{deploy("d-"+string(rune('1'+i)), edge.RollbackOnFailure, d)}
		b.run(nil)
	}
	if r := only(t, b.cloud.results); r.Status != "FAIL" || !strings.Contains(r.Models[0].Reason, "revoked") {
		t.Errorf("the device says %+v", r)
	}
	b.disk = b.disk.Reboot(0)
	must(t, b.boot())
	if got := names(b.serves(append(w.all(), newer)...)); got != "a=1.0 b=9.0" {
		t.Errorf("the device serves %q", got)
	}
}

// What serves may rot on the disk; the package before it is still there.
func TestAPackageThatRotsIsReplacedByTheOneBefore(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	b := newBox(t, f, newCloud())
	b.cloud.put(w.all()...)
	must(t, b.boot())
	for i, p := range []*pkg{w.a1, w.a2} {
		b.cloud.offered = []edge.Deployment{deploy("d-"+string(rune('1'+i)), edge.RollbackOnFailure, p.definition("a"))}
		b.run(nil)
	}
	rotten := bytes.Clone(w.a2.content)
	rotten[17] ^= 1
	must(t, disk.WriteSynced(b.disk, "packages/"+w.a2.sum+"/model.onnx", rotten))
	b.disk = b.disk.Reboot(1)
	must(t, b.boot())
	if got := names(b.serves(w.all()...)); got != "a=1.0" {
		t.Fatalf("with a rotten package the device serves %q", got)
	}
	b.cloud.results = nil
	b.cloud.offered = []edge.Deployment{deploy("d-3", edge.RollbackOnFailure, w.a2.definition("a"))}
	b.run(nil)
	if got := names(b.serves(w.all()...)); got != "a=2.0" || only(t, b.cloud.results).Status != "SUCCESS" {
		t.Errorf("after it was deployed again the device serves %q and says %+v", got, b.cloud.results)
	}
}

func TestWhatAnApplicationUnloadedIsLoadedWhenItIsDeployedAgain(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	b := newBox(t, f, newCloud())
	b.cloud.put(w.all()...)
	must(t, b.boot())
	for i := range 2 {
		b.cloud.offered = []edge.Deployment{
			deploy("d-"+string(rune('1'+i)), edge.RollbackOnFailure, w.a1.definition("a")),
		}
		b.run(nil)
		if got := names(b.serves(w.all()...)); got != "a=1.0" {
			t.Fatalf("the device serves %q", got)
		}
		must(t, b.table.Swap("a", nil).Close(t.Context()))
	}
}

func TestAHeartbeatSaysWhatIsLoadedAndWhenItLastAnswered(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	b := newBox(t, f, newCloud())
	b.cloud.put(w.all()...)
	b.alter = func(c *device.Config) {
		c.Metrics = func() []edge.Metric { return []edge.Metric{{Name: "PredictCount", Value: 7}} }
	}
	must(t, b.boot())
	b.cloud.offered = []edge.Deployment{deploy("d-1", edge.RollbackOnFailure, w.a1.definition("a"))}
	b.run(nil)
	first := b.cloud.beats[0]
	if first.Device != "cam-1" || first.Fleet != "plant" || first.AgentVersion != "1.0" || !first.HasModels ||
		len(first.Models) != 0 {
		t.Errorf("the first heartbeat is %+v", first)
	}
	b.serves(w.all()...) // asks the model
	b.run(nil)
	last := b.cloud.beats[len(b.cloud.beats)-1]
	if len(last.Models) != 1 || last.Models[0].Name != "alpha" || last.Models[0].Version != "1.0" ||
		last.Models[0].LatestInference.IsZero() {
		t.Errorf("the models are said to be %+v", last.Models)
	}
	if len(last.Metrics) != 1 || last.Metrics[0].Value != 7 || last.Result != nil {
		t.Errorf("the last heartbeat is %+v", last)
	}
}
