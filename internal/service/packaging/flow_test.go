package packaging_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	domain "github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
	"github.com/slipway-ml/slipway/internal/platform/onnxfile"
	"github.com/slipway-ml/slipway/internal/service/packaging"
	"github.com/slipway-ml/slipway/models"
)

// dir is a Sink that is a directory.
type dir string

func (d dir) Create(name string, _ int64) (io.WriteCloser, error) {
	return os.Create(filepath.Join(string(d), name))
}

func (b *bench) verifier() *bundle.Verifier {
	b.t.Helper()
	pem, err := b.RootsPEM(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	roots, err := bundle.ParseRoots(pem)
	if err != nil {
		b.t.Fatal(err)
	}
	return &bundle.Verifier{Roots: roots}
}

func TestARealModelIsCompiledPackagedVerifiedAndLoaded(t *testing.T) {
	b := start(t)
	in := b.put("in/digits.tar.gz", models.Archive("v2"))
	c := b.compile("digits", domain.Compile{Input: in, Framework: "ONNX"})
	if c.State.Status != domain.Completed || c.Compile.Result.URI != "s3://models/out/digits-LINUX_X86_64.tar.gz" {
		t.Fatalf("%+v", c.State)
	}
	if c.Compile.Result.Derived != `{"image":[-1,64]}` {
		t.Errorf("derived %s", c.Compile.Result.Derived)
	}
	j := b.pack("digits-2", domain.Pack{CompilationJob: "digits", ModelName: "digits", ModelVersion: "2.0"})
	if j.State.Status != domain.Completed || j.Pack.Result.URI != "s3://models/packages/digits-2.0.tar.gz" {
		t.Fatalf("%+v", j.State)
	}
	pkg := b.get(j.Pack.Result.URI)
	sum := sha1.Sum(pkg)
	a, err := b.Package(t.Context(), scope, "digits-2")
	if err != nil || a.SHA1 != hex.EncodeToString(sum[:]) || a.Size != int64(len(pkg)) || a.Serial != 1 {
		t.Errorf("%+v, %v", a, err)
	}
	if now, err := b.SHA1Now(t.Context(), a.S3URL); err != nil || now != a.SHA1 {
		t.Errorf("%s, %v", now, err)
	}
	at := t.TempDir()
	m, err := b.verifier().Unpack(t.Context(), bytes.NewReader(pkg), dir(at))
	if err != nil {
		t.Fatal(err)
	}
	if m.Metadata.ModelName != "digits" || m.Metadata.Target.OS != "LINUX" ||
		m.Metadata.Runtime != bundle.RuntimeONNX || m.Inputs[0].DataType != "FLOAT32" {
		t.Errorf("%+v", m)
	}
	if _, err := b.verifier().Check(t.Context(), os.DirFS(at)); err != nil {
		t.Error(err)
	}
	model, err := onnxfile.Find(at)
	if err != nil {
		t.Fatal(err)
	}
	if sig, err := onnxfile.ReadSignature(model); err != nil || sig.Inputs[0].Name != "image" {
		t.Errorf("%+v, %v", sig, err)
	}
	var doc struct{ Manifest, Signature, Chain string }
	if err := json.Unmarshal([]byte(j.Pack.Result.Signature), &doc); err != nil ||
		!strings.Contains(doc.Manifest, `"model_version":"2.0"`) || !strings.HasPrefix(doc.Chain, "-----BEGIN CERT") {
		t.Errorf("signature document %s, %v", j.Pack.Result.Signature, err)
	}
}

func TestPackagingNeedsACompletedCompilationButNotItsRecord(t *testing.T) {
	b := start(t)
	p := domain.Pack{CompilationJob: "c", ModelName: "digits", ModelVersion: "1", OutputAt: "s3://models/p"}
	if _, err := b.CreatePackaging(t.Context(), scope, "early", p, nil, nil); !errors.Is(err, fault.Invalid) ||
		err.Error() == "" {
		t.Errorf("without a compilation job: %v", err)
	}
	if c := b.compile(
		"bad", domain.Compile{Input: "s3://models/nothing", Framework: "ONNX"},
	); c.State.Status != domain.Failed {
		t.Fatal(c.State)
	}
	p.CompilationJob = "bad"
	if _, err := b.CreatePackaging(t.Context(), scope, "early", p, nil, nil); !errors.Is(err, fault.Invalid) {
		t.Errorf("of a failed one: %v", err)
	}
	b.compile("c", domain.Compile{Input: b.put("m.tar.gz", models.Archive("v1")), Framework: "ONNX"})
	p.CompilationJob = "c"
	if err := b.Stop(t.Context(), domain.Compilation, scope, "c"); err != nil { // an ended job: nothing happens
		t.Fatal(err)
	}
	if _, err := b.CreatePackaging(t.Context(), scope, "late", p, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteCompilation(t.Context(), scope, "c"); err != nil {
		t.Fatal(err)
	}
	if j := b.await(domain.Packaging, "late"); j.State.Status != domain.Completed {
		t.Errorf("%+v", j.State)
	}
}

func TestAnArtifactThatWasReplacedIsNotPackaged(t *testing.T) {
	b := start(t)
	c := b.compile("c", domain.Compile{Input: b.put("m.tar.gz", models.Archive("v1")), Framework: "ONNX"})
	_, key, _ := domain.SplitS3(c.Compile.Result.URI)
	b.put(key, models.Archive("v3"))
	j := b.pack("p", domain.Pack{CompilationJob: "c", ModelName: "digits", ModelVersion: "1"})
	if j.State.Status != domain.Failed || !strings.Contains(j.State.Reason, "was replaced since it was compiled") {
		t.Errorf("%+v", j.State)
	}
}

func TestAnObjectThatDevicesAreFetchingIsNotOverwritten(t *testing.T) {
	used := ""
	b := start(t, func(c *packaging.Config) {
		c.ArtifactInUse = func(_ context.Context, url string) (bool, error) { return url == used, nil }
	})
	b.compile("c", domain.Compile{Input: b.put("m.tar.gz", models.Archive("v1")), Framework: "ONNX"})
	p := domain.Pack{CompilationJob: "c", ModelName: "digits", ModelVersion: "1"}
	first := b.pack("one", p)
	if j := b.pack("two", p); j.State.Status != domain.Completed {
		t.Errorf("an object that nobody uses: %+v", j.State)
	}
	used = first.Pack.Result.URI
	if j := b.pack("three", p); j.State.Status != domain.Failed ||
		!strings.Contains(j.State.Reason, "is being deployed") {
		t.Errorf("%+v", j.State)
	}
}

func TestAPresetWritesTheRecipeAndSaysThatNothingWasRegistered(t *testing.T) {
	b := start(t)
	b.compile("c", domain.Compile{Input: b.put("m.tar.gz", models.Archive("v1")), Framework: "ONNX"})
	preset, err := domain.ParsePreset(`{"PlatformOS":"Linux","PlatformArchitecture":"Linux ARMV8"}`, "p")
	if err != nil {
		t.Fatal(err)
	}
	j := b.pack("p", domain.Pack{
		CompilationJob: "c", ModelName: "digits", ModelVersion: "1 a", Preset: "GreengrassV2Component",
		PresetConfig: preset,
	})
	out := j.Pack.Result.Preset
	if out == nil ||
		out.ARN != "arn:aws:greengrass:us-east-1:000000000000:components:SagemakerEdgeManagerp:versions:1.0.0" ||
		!strings.Contains(out.Message, "Nothing was registered") {
		t.Fatalf("%+v %+v", j.State, out)
	}
	var recipe struct {
		RecipeFormatVersion string
		Manifests           []struct{ Platform struct{ Architecture string } }
	}
	if err := json.Unmarshal(b.get("s3://models/packages/digits-1 a.greengrass-recipe.json"), &recipe); err != nil ||
		recipe.RecipeFormatVersion != "2020-01-25" || recipe.Manifests[0].Platform.Architecture != "aarch64" {
		t.Errorf("%+v, %v", recipe, err)
	}
}

func TestDevicesRefuseRevokedKeysAndOldPackagesOnceTheySawANewerOne(t *testing.T) {
	b := start(t)
	b.compile("c", domain.Compile{Input: b.put("m.tar.gz", models.Archive("v1")), Framework: "ONNX"})
	pkg := func(name string) []byte {
		t.Helper()
		return b.get(
			b.pack(name, domain.Pack{CompilationJob: "c", ModelName: "digits", ModelVersion: name}).Pack.Result.URI,
		)
	}
	old := pkg("1")
	if _, err := b.Rotate(t.Context(), packaging.Rotation{}); err != nil {
		t.Fatal(err)
	}
	second := pkg("2")
	v := b.verifier()
	accept := func(p []byte) error {
		m, err := v.Unpack(t.Context(), bytes.NewReader(p), dir(t.TempDir()))
		if err == nil {
			v.Trust = v.Trust.Learn(&m)
		}
		return err
	}
	if err := errors.Join(accept(second), accept(old)); err != nil {
		t.Fatalf("a rotated key without revocation: %v", err)
	}
	after, err := b.Rotate(t.Context(), packaging.Rotation{Revoke: true})
	if err != nil || len(after.Keys) != 3 || !after.Keys[1].Revoked || after.Keys[2].PrivateKey != "" {
		t.Fatalf("%+v, %v", after, err)
	}
	if err := b.SetFloor(t.Context(), scope, "digits", 3); err != nil {
		t.Fatal(err)
	}
	third := pkg("3")
	if err := errors.Join(accept(second), accept(third)); err != nil {
		t.Fatal(err)
	}
	if err := accept(second); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("a revoked key: %v", err)
	}
	if v.Trust.Floors["digits"] != 3 {
		t.Errorf("floors %v", v.Trust.Floors)
	}
	if _, err := b.Rotate(t.Context(), packaging.Rotation{NewRoot: true, Revoke: true}); err != nil {
		t.Fatal(err)
	}
	if err := accept(pkg("4")); err == nil || !strings.Contains(err.Error(), "does not trust") {
		t.Errorf("a root that the device does not have: %v", err)
	}
	v.Roots = b.verifier().Roots
	if err := accept(third); err == nil {
		t.Error("a root that was given up is still exported")
	}
}

func TestKeysSurviveARestart(t *testing.T) {
	at := t.TempDir()
	var before, after []byte
	for _, to := range []*[]byte{&before, &after} {
		t.Run("run", func(t *testing.T) {
			pem, err := open(t, at).RootsPEM(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			*to = pem
		})
	}
	if !bytes.Equal(before, after) || len(before) == 0 {
		t.Errorf("%s\n%s", before, after)
	}
}
