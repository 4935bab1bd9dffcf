package device_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/device"
	"github.com/slipway-ml/slipway/internal/agent/disk"
	"github.com/slipway-ml/slipway/internal/agent/handles"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// pkg is a package that was made for a test. Its model answers every call with
// its own bytes.
type pkg struct {
	name, version string
	object        []byte
	sum           string
	content       []byte // of model.onnx
}

// factory signs packages.
type factory struct {
	root     *bundle.Authority
	key      *bundle.Key
	verifier *bundle.Verifier
	serial   uint64
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newFactory(t testing.TB) *factory {
	t.Helper()
	root, err := bundle.NewAuthority("plant", time.Unix(1_700_000_000, 0))
	must(t, err)
	key, err := root.NewKey(1, time.Unix(1_700_000_000, 0))
	must(t, err)
	return &factory{root: root, key: key, verifier: &bundle.Verifier{Roots: []*x509.Certificate{root.Root}}}
}

// pack makes a package; change may spoil its manifest, golden says what its
// golden inputs expect of it ("" for none).
func (f *factory) pack(t testing.TB, name, version, golden string, change func(*bundle.Manifest)) *pkg {
	t.Helper()
	f.serial++
	p := &pkg{name: name, version: version}
	noise := rand.NewChaCha8([32]byte{byte(f.serial)})
	p.content = make([]byte, 900)
	_, _ = noise.Read(p.content) // it never fails
	files := []bundle.Source{bundle.Bytes("model.onnx", p.content)}
	if golden != "" {
		files = append(files, bundle.Bytes(bundle.GoldenName, []byte(golden)))
	}
	m := bundle.Manifest{Version: 1, Metadata: bundle.Metadata{
		ModelName: name, ModelVersion: version, PackagingJob: "job", Serial: f.serial, Key: 1, Runtime: "onnx",
		Target: bundle.Target{OS: "LINUX", Arch: "X86_64"},
	}}
	if change != nil {
		change(&m)
	}
	var b bytes.Buffer
	if _, err := bundle.Write(t.Context(), &b, m, files, f.key); err != nil {
		t.Fatal(err)
	}
	p.object = b.Bytes()
	p.seal()
	return p
}

func (p *pkg) seal() {
	sum := sha1.Sum(p.object)
	p.sum = hex.EncodeToString(sum[:])
}

func (p *pkg) definition(handle string) edge.Definition {
	return edge.Definition{Handle: handle, S3URL: "s3://bucket/" + p.sum, SHA1: p.sum, State: edge.Deploy}
}

// cloud is a server in memory with a lever for each bad day.
type cloud struct {
	objects  map[string][]byte
	offered  []edge.Deployment
	results  []edge.Result // as they came, also again
	troubles []edge.Result // what was said of deployments that were not over
	beats    []edge.Heartbeat
	hints    edge.Hints
	inactive bool
	down     error
	keep     bool // offer what is finished too
	fetch    func(url string, offset int64, body []byte) (io.Reader, string, error)
	polls    int
	fetches  int
	fetched  int64
}

func newCloud() *cloud { return &cloud{objects: map[string][]byte{}} }

func (c *cloud) put(ps ...*pkg) {
	for _, p := range ps {
		c.objects["s3://bucket/"+p.sum] = p.object
	}
}

func (c *cloud) Registration(context.Context) (bool, time.Duration, error) {
	return !c.inactive, time.Hour, c.down
}

func (c *cloud) Deployments(context.Context) ([]edge.Deployment, edge.Hints, error) {
	if c.down != nil {
		return nil, edge.Hints{}, c.down
	}
	c.polls++
	return slices.Clone(c.offered), c.hints, nil
}

func (c *cloud) Heartbeat(_ context.Context, h edge.Heartbeat) (edge.Hints, error) {
	if c.down != nil {
		return edge.Hints{}, c.down
	}
	c.beats = append(c.beats, h)
	if h.Result != nil && h.Result.Status == "" {
		c.troubles = append(c.troubles, *h.Result)
	} else if h.Result != nil {
		c.results = append(c.results, *h.Result)
		if !c.keep {
			c.offered = slices.DeleteFunc(slices.Clone(c.offered), func(d edge.Deployment) bool {
				return d.Name == h.Result.Deployment
			})
		}
	}
	return c.hints, nil
}

func (c *cloud) Fetch(_ context.Context, url string, offset int64) (io.ReadCloser, int64, string, error) {
	c.fetches++
	object, ok := c.objects[url]
	if !ok {
		return nil, 0, "", fault.New(fault.NotFound, "the object does not exist")
	}
	if offset > int64(len(object)) {
		return nil, 0, "", fault.New(fault.Conflict, "the object has become shorter")
	}
	var body io.Reader = bytes.NewReader(object[offset:])
	etag := "1"
	if c.fetch != nil {
		var err error
		if body, etag, err = c.fetch(url, offset, object[offset:]); err != nil {
			return nil, 0, "", err
		}
	}
	return io.NopCloser(counted{c, body}), int64(len(object)), etag, nil
}

type counted struct {
	c *cloud
	r io.Reader
}

func (r counted) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	r.c.fetched += int64(n)
	return n, err
}

// engine loads models from a disk. A model is its bytes.
type engine struct {
	disk   fs.FS
	most   int                        // models that fit into the memory; 0: any number
	refuse func(content []byte) error // lever
	before func(p model.Package)      // lever
	alive  map[*runner]bool           // not closed
}

type runner struct {
	e       *engine
	dir     string
	content []byte
}

func (e *engine) Load(_ context.Context, p model.Package) (model.Runner, error) {
	if e.before != nil {
		e.before(p)
	}
	content, err := fs.ReadFile(e.disk, strings.TrimPrefix(p.Dir, "/")+"/model.onnx")
	if err != nil {
		return nil, err
	}
	if e.most > 0 && len(e.alive) >= e.most {
		return nil, fmt.Errorf("%w: %d are loaded", model.ErrNoMemory, len(e.alive))
	}
	if e.refuse != nil {
		if err := e.refuse(content); err != nil {
			return nil, err
		}
	}
	r := &runner{e, p.Dir, content}
	e.alive[r] = true
	return r, nil
}

func (r *runner) Signature() tensor.Signature { return tensor.Signature{} }

func (r *runner) Predict(context.Context, []tensor.Tensor) ([]tensor.Tensor, error) {
	return []tensor.Tensor{{Data: r.content}}, nil
}

func (r *runner) Close(context.Context) error {
	delete(r.e.alive, r)
	return nil
}

// box is one device: what survives a restart, and what does not.
type box struct {
	t      testing.TB
	f      *factory
	cloud  *cloud
	seed   uint64
	now    time.Time
	alter  func(*device.Config)
	levers func(*engine)

	disk   *disk.Memory
	table  *handles.Table
	engine *engine
	d      *device.Device
}

var settings = &device.Settings{Slice: 1500, Reserve: 2000, Growth: 2}

func newBox(t testing.TB, f *factory, c *cloud) *box {
	return &box{t: t, f: f, cloud: c, now: time.Unix(1_800_000_000, 0), disk: disk.NewMemory(disk.NewPool(), 0)}
}

// boot starts the device on its disk; it is an error that only a cut excuses.
func (b *box) boot() error {
	b.seed++
	b.table = handles.New(handles.Options{GapWait: time.Millisecond})
	b.engine = &engine{disk: b.disk, alive: map[*runner]bool{}}
	if b.levers != nil {
		b.levers(b.engine)
	}
	cfg := device.Config{
		Fleet: "plant", Name: "cam-1", AgentVersion: "1.0", Disk: b.disk, Cloud: b.cloud, Engine: b.engine,
		Table:    b.table,
		Verifier: b.f.verifier, Machine: device.Machine{OS: "LINUX", Arch: "X86_64"}, Golden: golden,
		Rand: rand.New(rand.NewPCG(b.seed, 1)), Settings: settings, Log: slog.New(slog.DiscardHandler),
	}
	if b.alter != nil {
		b.alter(&cfg)
	}
	var err error
	b.d, err = device.Open(b.t.Context(), cfg)
	if err != nil && !errors.Is(err, disk.ErrCut) {
		b.t.Fatalf("the device does not start: %v", err)
	}
	return err
}

// golden passes unless the cases say otherwise.
func golden(_ context.Context, _ model.Runner, cases []byte) error {
	if string(cases) == "pass" {
		return nil
	}
	return errors.New("case 1 of 1 differs")
}

// run lets the device work until it has nothing to do for a while, the power is
// gone, or it took too many steps.
func (b *box) run(each func()) {
	b.t.Helper()
	b.now = b.now.Add(10 * time.Minute) // the next poll is due
	for range 400 {
		if !b.disk.Alive() {
			return
		}
		wake := b.d.Step(b.t.Context(), b.now)
		if each != nil && b.disk.Alive() {
			each()
		}
		idle := wake.Sub(b.now) > 4*time.Minute && b.d.State().Job == nil && len(b.d.State().Results) == 0
		if idle {
			return
		}
		b.now = wake
	}
	b.t.Fatalf("the device does not come to rest: %+v", b.d.State())
}

// serves tells by handle which of the packages answers.
func (b *box) serves(ps ...*pkg) map[string]*pkg {
	out := map[string]*pkg{}
	for _, i := range b.table.List() {
		got, err := b.table.Predict(b.t.Context(), i.Handle, nil)
		if err != nil {
			b.t.Fatalf("%s does not answer: %v", i.Handle, err)
		}
		k := slices.IndexFunc(ps, func(p *pkg) bool { return bytes.Equal(p.content, got[0].Data) })
		if k < 0 {
			b.t.Fatalf("%s answers with bytes of no package", i.Handle)
		}
		if i.ModelName != ps[k].name || i.ModelVersion != ps[k].version {
			b.t.Fatalf("%s is called %s %s, and is %s %s", i.Handle, i.ModelName, i.ModelVersion, ps[k].name,
				ps[k].version)
		}
		out[i.Handle] = ps[k]
	}
	return out
}

// wantTidy checks that nothing is left on the disk that nothing refers to.
func (b *box) wantTidy() {
	b.t.Helper()
	refs := map[string]bool{}
	for _, h := range b.d.State().Handles {
		refs[string(h.Current)], refs[string(h.Previous)], refs[string(h.Held)] = true, true, true
	}
	for _, dir := range []string{"packages", "parts", "staging"} {
		entries, err := fs.ReadDir(b.disk, dir)
		must(b.t, err)
		for _, e := range entries {
			if dir != "packages" || !refs[e.Name()] {
				b.t.Fatalf("%s/%s is left on the disk", dir, e.Name())
			}
		}
	}
	entries, err := fs.ReadDir(b.disk, ".")
	must(b.t, err)
	for _, e := range entries {
		if !strings.Contains(" packages parts staging state.a state.b ", " "+e.Name()+" ") {
			b.t.Fatalf("%s is left on the disk", e.Name())
		}
	}
	if n := len(b.engine.alive); n != len(b.table.List()) {
		b.t.Fatalf("%d models are in memory for %d handles", n, len(b.table.List()))
	}
}

func names(m map[string]*pkg) string {
	var out []string
	for _, h := range slices.Sorted(maps.Keys(m)) {
		out = append(out, h+"="+m[h].version)
	}
	return strings.Join(out, " ")
}
