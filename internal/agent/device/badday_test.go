package device_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/disk"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// badDay is a deployment of alpha 2.0 over 1.0 on which something goes wrong.
type badDay struct {
	lever  func(t *testing.T, b *box, w *wares) // before the deployment is offered
	status string
	reason string // part of what the operator reads
	most   int64  // bytes fetched at most; 0: not checked
}

var badDays = map[string]badDay{
	"a connection that breaks off again and again": {
		lever:  func(_ *testing.T, b *box, _ *wares) { b.cloud.fetch = cutShort(500) },
		status: "SUCCESS", most: 6000,
	},
	"a transfer that ends early without an error": {
		lever: func(_ *testing.T, b *box, _ *wares) {
			b.cloud.fetch = func(_ string, _ int64, body []byte) (io.Reader, string, error) {
				return bytes.NewReader(body[:min(400, len(body))]), "1", nil
			}
		},
		status: "SUCCESS",
	},
	"a server that fails the first requests": {
		lever: func(_ *testing.T, b *box, _ *wares) {
			n := 0
			b.cloud.fetch = func(_ string, _ int64, body []byte) (io.Reader, string, error) {
				if n++; n < 5 {
					return nil, "", fault.New(fault.Unavailable, "slow down")
				}
				return bytes.NewReader(body), "1", nil
			}
		},
		status: "SUCCESS",
	},
	"a transfer that stalls for ever": {
		lever: func(_ *testing.T, b *box, _ *wares) {
			b.cloud.fetch = func(_ string, offset int64, body []byte) (io.Reader, string, error) {
				return io.MultiReader(bytes.NewReader(body[:max(0, 500-offset)]), broken{}), "1", nil
			}
		},
		status: "FAIL", reason: "could not be downloaded in 8 attempts: connection reset",
	},
	"an object that is not there": {
		lever:  func(_ *testing.T, b *box, w *wares) { delete(b.cloud.objects, "s3://bucket/"+w.a2.sum) },
		status: "FAIL", reason: "the object does not exist",
	},
	"an object that changes while it is fetched": {
		lever: func(_ *testing.T, b *box, _ *wares) {
			n := 0
			b.cloud.fetch = func(_ string, _ int64, body []byte) (io.Reader, string, error) {
				n++
				return bytes.NewReader(body), string(rune('1' + min(n/2, 1))), nil
			}
		},
		status: "SUCCESS",
	},
	"an object that never stays the same": {
		lever: func(_ *testing.T, b *box, _ *wares) {
			n := 0
			b.cloud.fetch = func(_ string, _ int64, body []byte) (io.Reader, string, error) {
				n++
				return bytes.NewReader(body), strings.Repeat("x", n), nil
			}
		},
		status: "FAIL", reason: "the package changed while it was downloaded",
	},
	"one download with a wrong byte": {
		lever: func(_ *testing.T, b *box, _ *wares) {
			n := 0
			b.cloud.fetch = func(_ string, _ int64, body []byte) (io.Reader, string, error) {
				body = bytes.Clone(body)
				if n++; n == 1 {
					body[100] ^= 1
				}
				return bytes.NewReader(body), "1", nil
			}
		},
		status: "SUCCESS",
	},
	"every download with a wrong byte": {
		lever: func(_ *testing.T, b *box, w *wares) {
			o := bytes.Clone(w.a2.object)
			o[len(o)/2] ^= 1
			b.cloud.objects["s3://bucket/"+w.a2.sum] = o
		},
		status: "FAIL", reason: "checksum mismatch",
	},
	"a package signed by a stranger": {
		lever: func(t *testing.T, b *box, w *wares) {
			*w.a2 = *newFactory(t).pack(t, "alpha", "2.0", "", nil)
			b.cloud.put(w.a2)
		},
		status: "FAIL", reason: "does not trust",
	},
	"a package that was tampered with, and its checksum too": {
		lever: func(_ *testing.T, b *box, w *wares) {
			i := bytes.Index(w.a2.object, []byte(`"model_version":"2.0"`))
			w.a2.object = bytes.Clone(w.a2.object)
			w.a2.object[i+len(`"model_version":"`)] = '3'
			w.a2.seal()
			b.cloud.put(w.a2)
		},
		status: "FAIL", reason: "signature",
	},
	"a package for another processor": {
		lever: func(t *testing.T, b *box, w *wares) {
			*w.a2 = *b.f.pack(t, "alpha", "2.0", "", func(m *bundle.Manifest) { m.Metadata.Target.Arch = "ARM64" })
			b.cloud.put(w.a2)
		},
		status: "FAIL", reason: "for the architecture ARM64; this device has X86_64",
	},
	"a package for another machine": {
		lever: func(t *testing.T, b *box, w *wares) {
			*w.a2 = *b.f.pack(t, "alpha", "2.0", "", func(m *bundle.Manifest) {
				m.Metadata.Target = bundle.Target{Device: "jetson_nano"}
			})
			b.cloud.put(w.a2)
		},
		status: "FAIL", reason: "jetson_nano",
	},
	"a model that fails its golden inputs": {
		lever: func(t *testing.T, b *box, w *wares) {
			*w.a2 = *b.f.pack(t, "alpha", "2.0", "fail", nil)
			b.cloud.put(w.a2)
		},
		status: "FAIL", reason: "golden inputs: case 1 of 1 differs",
	},
	"a model that cannot be loaded": {
		lever: func(_ *testing.T, b *box, w *wares) {
			b.engine.refuse = func(content []byte) error {
				if bytes.Equal(content, w.a2.content) {
					return errors.New("unknown operator")
				}
				return nil
			}
		},
		status: "FAIL", reason: "unknown operator",
	},
	"a disk without room": {
		lever:  func(_ *testing.T, b *box, _ *wares) { b.disk.Resize(b.disk.Used() + 3000) },
		status: "FAIL", reason: "the disk is full", most: 1,
	},
	"a disk that says EIO to the download": {
		lever: func(_ *testing.T, b *box, _ *wares) {
			b.disk.Fault(func(op disk.Op) error {
				if strings.HasPrefix(op.Name, "parts/") && op.Kind == "sync" {
					return syscall.EIO
				}
				return nil
			})
		},
		status: "FAIL", reason: "input/output error",
	},
}

// On a bad day the device survives, says why, and serves what it served.
func TestBadDaysAreSurvivedOrRefusedWithTheReason(t *testing.T) {
	f := newFactory(t)
	for name, day := range badDays {
		t.Run(name, func(t *testing.T) {
			w := newWares(t, f)
			b := newBox(t, f, newCloud())
			b.cloud.put(w.all()...)
			must(t, b.boot())
			b.cloud.offered = []edge.Deployment{deploy("d-0", edge.RollbackOnFailure, w.a1.definition("a"))}
			b.run(nil)
			b.cloud.results, b.cloud.fetched = nil, 0
			day.lever(t, b, w)
			b.cloud.offered = []edge.Deployment{deploy("d-1", edge.RollbackOnFailure, w.a2.definition("a"))}
			b.run(func() { b.serves(w.all()...) })
			r := only(t, b.cloud.results)
			if r.Status != day.status || !strings.Contains(r.Models[0].Reason, day.reason) {
				t.Fatalf("the device says %+v", r)
			}
			want := "a=1.0"
			if day.status == "SUCCESS" {
				want = "a=2.0"
			}
			if got := names(b.serves(w.all()...)); got != want {
				t.Errorf("the device serves %q", got)
			}
			if r.Models[0].State != edge.Deploy {
				t.Errorf("the state is said to be %s", r.Models[0].State)
			}
			if day.most > 0 && b.cloud.fetched > day.most {
				t.Errorf("%d bytes were fetched of %d", b.cloud.fetched, len(w.a2.object))
			}
			b.wantTidy()
		})
	}
}

func only(t *testing.T, rs []edge.Result) edge.Result {
	t.Helper()
	if len(rs) != 1 {
		t.Fatalf("%d results were reported: %+v", len(rs), rs)
	}
	return rs[0]
}

// The disk may fill up, or break, at any single operation.
func TestADiskThatFailsAnywhereLeavesTheOldOrTheNew(t *testing.T) {
	collectLess(t)
	f := newFactory(t)
	w := newWares(t, f)
	first := newBox(t, f, newCloud())
	first.cloud.put(w.all()...)
	must(t, first.boot())
	first.cloud.offered = []edge.Deployment{
		deploy("d-0", edge.RollbackOnFailure, w.a1.definition("a"), w.b1.definition("b")),
	}
	first.run(nil)
	stride := 1
	if raceEnabled {
		stride = 11
	}
	for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
		for _, times := range []int{1, 3, 1 << 30} { // then it is well again, or never
			n := 1
			for ; failing(t, first, w, cause, n, times); n += stride {
			}
			t.Logf("%v for %d operations, from each of %d on", cause, times, n-1)
		}
	}
}

// failing runs an update of two handles on a disk that fails from operation n
// on, and says whether the update got as far.
func failing(t *testing.T, first *box, w *wares, cause error, n, times int) bool {
	b := newBox(t, first.f, newCloud())
	b.cloud.put(w.all()...)
	b.disk, _ = first.disk.Copy()
	must(t, b.boot())
	from := b.disk.Ops() + n
	b.disk.Fault(func(op disk.Op) error {
		frees := op.Kind == "remove" || op.Kind == "syncdir" || op.Kind == "rename"
		if op.N >= from && op.N < from+times && (!errors.Is(cause, syscall.ENOSPC) || !frees) {
			return cause
		}
		return nil
	})
	oldOrNew := func(b *box, when string) string {
		got := names(b.serves(w.all()...))
		if got != "a=1.0 b=1.0" && got != "a=2.0 b=2.0" {
			t.Fatalf("%v from operation %d on, %s: the device serves %q", cause, n, when, got)
		}
		return got
	}
	b.cloud.offered = []edge.Deployment{
		deploy("d-1", edge.RollbackOnFailure, w.a2.definition("a"), w.b2.definition("b")),
	}
	for range 40 { // it may never come to rest
		b.now = b.d.Step(t.Context(), b.now)
		oldOrNew(b, "at work")
	}
	reached := b.disk.Ops() >= from
	if times < 100 {
		b.disk.Fault(nil)
		b.run(nil)
		r := only(t, b.cloud.results)
		if got := oldOrNew(b, "in the end"); (r.Status == "SUCCESS") != (got == "a=2.0 b=2.0") {
			t.Fatalf("%v at operation %d: the device serves %q and says %+v", cause, n, got, r)
		}
		b.wantTidy()
	}
	// What the disk has must agree with what was said.
	for seed := range uint64(2) {
		again := *b
		again.disk = b.disk.Reboot(seed)
		must(t, again.boot())
		got := oldOrNew(&again, "after a restart")
		for _, r := range b.cloud.results {
			if (r.Status == "SUCCESS") != (got == "a=2.0 b=2.0") {
				t.Fatalf("%v from operation %d on: after a restart the device serves %q, and said %+v", cause, n, got,
					r)
			}
		}
	}
	return reached
}

func TestAnInstalledPackageIsNotFetchedAgain(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	b := newBox(t, f, newCloud())
	b.cloud.put(w.all()...)
	must(t, b.boot())
	for i, d := range []edge.Definition{
		w.a1.definition("a"), w.a2.definition("a"), w.a1.definition("a"), w.a1.definition("a"),
		w.a1.definition("other"),
	} {
		fetches := b.cloud.fetches
		b.cloud.results = nil
		b.cloud.offered = []edge.Deployment{deploy("d-"+string(rune('0'+i)), edge.RollbackOnFailure, d)}
		b.run(nil)
		r := only(t, b.cloud.results)
		if r.Status != "SUCCESS" || r.Models[0].Name != "alpha" || r.Models[0].Version == "" {
			t.Fatalf("deployment %d: %+v", i, r)
		}
		if again := b.cloud.fetches > fetches; again != (i < 2) {
			t.Errorf("deployment %d: %d fetches", i, b.cloud.fetches-fetches)
		}
		b.wantTidy()
	}
}

func TestAFinishedDeploymentThatIsOfferedAgainIsOnlyReportedAgain(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	b := newBox(t, f, newCloud())
	b.cloud.put(w.all()...)
	must(t, b.boot())
	d1 := deploy("d-1", edge.RollbackOnFailure, w.a1.definition("a"))
	b.cloud.offered = []edge.Deployment{d1}
	b.run(nil)
	b.cloud.offered = []edge.Deployment{deploy("d-2", edge.RollbackOnFailure, w.a2.definition("a"))}
	b.run(nil)
	for range 2 { // the second time after a restart
		b.cloud.results, b.cloud.fetches = nil, 0
		b.cloud.offered = []edge.Deployment{d1}
		b.run(nil)
		if r := only(t, b.cloud.results); r.Deployment != "d-1" || r.Status != "SUCCESS" {
			t.Fatalf("the device says %+v", r)
		}
		if got := names(b.serves(w.all()...)); got != "a=2.0" || b.cloud.fetches > 0 {
			t.Fatalf("after a replay the device serves %q, with %d fetches", got, b.cloud.fetches)
		}
		b.disk = b.disk.Reboot(0)
		must(t, b.boot())
	}
}

func TestAPackageOlderThanTheFloorIsRefused(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	b := newBox(t, f, newCloud())
	high := f.pack(t, "alpha", "3.0", "", func(m *bundle.Manifest) { m.Metadata.Floor = m.Metadata.Serial })
	b.cloud.put(append(w.all(), high)...)
	must(t, b.boot())
	for i, p := range []*pkg{w.a1, high, w.a1, w.a2, w.b1} {
		b.cloud.results = nil
		b.cloud.offered = []edge.Deployment{
			deploy("d-"+string(rune('0'+i)), edge.RollbackOnFailure, p.definition("h-"+p.name)),
		}
		b.run(nil)
		r := only(t, b.cloud.results)
		if refused := r.Status == "FAIL" &&
			strings.Contains(r.Models[0].Reason, "too old"); refused != (i == 2 || i == 3) {
			t.Fatalf("package %s %s: %+v", p.name, p.version, r)
		}
		b.disk = b.disk.Reboot(0) // it is remembered
		must(t, b.boot())
	}
	if got := names(b.serves(append(w.all(), high)...)); got != "h-alpha=3.0 h-beta=1.0" {
		t.Errorf("the device serves %q", got)
	}
}

func TestADeploymentThatIsNotOfferedAnyMoreIsGivenUp(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	b := newBox(t, f, newCloud())
	b.cloud.put(w.all()...)
	b.alter = nil
	must(t, b.boot())
	b.cloud.fetch = func(string, int64, []byte) (io.Reader, string, error) { return broken{}, "1", nil }
	b.cloud.hints = edge.Hints{Poll: 5 * time.Second}
	b.cloud.offered = []edge.Deployment{deploy("d-1", edge.RollbackOnFailure, w.a1.definition("a"))}
	for b.cloud.fetches == 0 {
		b.now = b.d.Step(t.Context(), b.now)
	}
	b.cloud.offered, b.cloud.hints = nil, edge.Hints{Poll: time.Hour}
	b.run(nil)
	if r := only(t, b.cloud.results); r.Status != "STOPPED" || edge.OutcomeOf(r) != edge.Failure {
		t.Errorf("the device says %+v", r)
	}
	b.wantTidy()
	// Resumed under another name it is taken up again.
	b.cloud.fetch, b.cloud.results, b.cloud.hints = nil, nil, edge.Hints{Poll: 5 * time.Minute}
	b.cloud.offered = []edge.Deployment{deploy("d-2", edge.RollbackOnFailure, w.a1.definition("a"))}
	b.now = b.now.Add(2 * time.Hour)
	b.run(nil)
	if got := names(b.serves(w.all()...)); got != "a=1.0" {
		t.Errorf("the device serves %q", got)
	}
}

func TestDeploymentsThatMakeNoSenseFailAtOnce(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	good := w.a1.definition("a")
	traversal, https, state := good, good, good
	traversal.SHA1 = "../../identity/private.key"
	https.S3URL = "https://elsewhere/object"
	state.State = "DESTROY"
	for name, defs := range map[string][]edge.Definition{
		"nothing":                nil,
		"a handle twice":         {good, w.b1.definition("a")},
		"a handle with a slash":  {good, w.b1.definition("../x")},
		"a checksum with a path": {traversal},
		"an object elsewhere":    {https},
		"an unknown state":       {state, w.b1.definition("b")},
		"too many":               make([]edge.Definition, 100),
	} {
		b := newBox(t, f, newCloud())
		b.cloud.put(w.all()...)
		must(t, b.boot())
		b.cloud.offered = []edge.Deployment{{Name: "d-1", Definitions: defs}}
		b.run(nil)
		r := only(t, b.cloud.results)
		if edge.OutcomeOf(r) != edge.Failure || r.Message == "" || b.cloud.fetches > 0 {
			t.Errorf("%s: %+v after %d fetches", name, r, b.cloud.fetches)
		}
		b.wantTidy()
	}
}
