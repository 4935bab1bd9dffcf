package packaging_test

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	domain "github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/modelserver/onnxtest"
	"github.com/slipway-ml/slipway/internal/platform/artifact"
	"github.com/slipway-ml/slipway/internal/service/packaging"
	"github.com/slipway-ml/slipway/models"
	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

// doubler is a model that takes x, FLOAT [n, 2], and gives y.
func doubler() string {
	g := &ox.Graph{
		Name:    "double",
		Inputs:  []ox.Value{{Name: "x", Type: ox.Float, Dims: []any{"n", 2}}},
		Outputs: []ox.Value{{Name: "y", Type: ox.Float, Dims: []any{"n", 2}}},
		Nodes:   []ox.Node{{Op: "Add", Inputs: []string{"x", "x"}, Outputs: []string{"y"}}},
	}
	return string(g.Marshal())
}

// outside is the doubler with 8 bytes of data in another file.
func outside(location string) string {
	bytesField := func(n protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), b)
	}
	pair := func(k, v string) []byte {
		return bytesField(13, append(bytesField(1, []byte(k)), bytesField(2, []byte(v))...))
	}
	w := append(append(pair("location", location), pair("length", "8")...), 14<<3, 1)
	return string(bytesField(7, bytesField(5, w))) + doubler()
}

const goldenCase = `{"cases":[{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}],` +
	`"outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[[2,4]]}],"tolerance":1e-4}]}`

type attempt struct {
	framework, shapes string
	files             []file
	want              string // of the reason; "" if it compiles
	runtime           string
	inside            []string // of the compiled archive
}

func attempts() map[string]attempt {
	model := file{"model.onnx", doubler()}
	refused := "ClientError: InputConfiguration: "
	return map[string]attempt{
		"a model": {framework: "ONNX", files: []file{model}, runtime: "onnx", inside: []string{
			"model.onnx", "slipway_compiled.json",
		}},
		"a model in a version's folder": {
			framework: "ONNX",
			files:     []file{{"1/m.onnx", doubler()}, {"1/labels.txt", "a"}, {"code/x.py", ""}, {"._m.onnx", "x"}},
			runtime:   "onnx", inside: []string{"m.onnx", "labels.txt", "slipway_compiled.json"},
		},
		"no model": {
			framework: "ONNX", files: []file{{"a.txt", ""}}, want: refused + "No onnx file provided in a.txt",
		},
		"two models": {
			framework: "ONNX", files: []file{model, {"other.onnx", ""}},
			want: refused + "Multiple onnx files provided, model.onnx, other.onnx, when only one is allowed",
		},
		"no ONNX": {
			framework: "ONNX", files: []file{{"model.onnx", "<html>"}}, want: refused + "Incompatible ONNX model: ",
		},
		"shapes that fit": {
			framework: "ONNX", shapes: `{"x":[1,2]}`, files: []file{model}, runtime: "onnx",
		},
		"shapes in single quotes": {
			framework: "ONNX", shapes: `{'x': [7,2]}`, files: []file{model}, runtime: "onnx",
		},
		"a shape that does not fit": {
			framework: "ONNX", shapes: `{"x":[1,3]}`, files: []file{model},
			want: refused + "Input x has wrong shape in Input Shape dictionary.",
		},
		"an unknown input": {
			framework: "ONNX", shapes: `{"x":[1,2],"z":[1]}`, files: []file{model},
			want: refused + "Input z of DataInputConfig is not an input",
		},
		"a missing input": {
			framework: "ONNX", shapes: `{"z":[1]}`, files: []file{model}, want: refused + "Input z",
		},
		"ONNX called PyTorch": {
			framework: "PYTORCH", shapes: `[[1,2]]`, files: []file{model, {"model.pth", ""}}, runtime: "onnx",
		},
		"PyTorch": {
			framework: "PYTORCH", files: []file{{"model.pth", ""}},
			want: refused +
				"Slipway does not convert PYTORCH models. Convert the model to ONNX yourself, for example with " +
				"torch.onnx.export",
		},
		"TensorFlow without a graph": {
			framework: "TENSORFLOW", files: []file{{"a.txt", ""}},
			want: refused + "Exactly one .pb file is allowed for TensorFlow models.",
		},
		"TensorFlow": {framework: "TENSORFLOW", files: []file{{"m.pb", ""}}, want: "tf2onnx"},
		"Keras without a model": {
			framework: "KERAS", files: []file{{"a.txt", ""}}, want: refused + "No h5 file provided in a.txt",
		},
		"two Keras models": {
			framework: "KERAS", files: []file{{"a.h5", ""}, {"b.h5", ""}},
			want: refused + "Multiple h5 files provided, a.h5, b.h5, when only one is allowed",
		},
		"MXNet with two parameters": {
			framework: "MXNET", files: []file{{"a.params", ""}, {"b.params", ""}},
			want: refused + "Only one parameter file is allowed for MXNet model.",
		},
		"TensorFlow Lite": {
			framework: "TFLITE", files: []file{{"m.tflite", "\x1c\x00\x00\x00TFL3...."}}, runtime: "opaque",
			inside: []string{"m.tflite"},
		},
		"no TensorFlow Lite": {
			framework: "TFLITE", files: []file{{"m.tflite", "hello, world"}}, want: "is not a TensorFlow Lite model",
		},
		"an artifact of Neo": {
			framework: "MXNET",
			files: []file{{"compiled.so", "x"}, {"compiled.params", "y"}, {
				"compiled.meta", `{"Model":{"Inputs":[{"name":"data","dtype":"float32","shape":[1,3]}],"Outputs":[]}}`,
			}},
			runtime: "dlr", inside: []string{"compiled.so", "compiled.params", "compiled.meta"},
		},
		"golden inputs": {
			framework: "ONNX", files: []file{model, {"golden.json", goldenCase}}, runtime: "onnx",
			inside: []string{"model.onnx", "golden.json", "slipway_compiled.json"},
		},
		"golden inputs of another": {
			framework: "ONNX", files: []file{model, {"golden.json", strings.ReplaceAll(goldenCase, `"x"`, `"image"`)}},
			want: refused + `golden.json, case 1: the input "x" is missing`,
		},
		"golden inputs too short": {
			framework: "ONNX",
			files: []file{
				model, {"golden.json", strings.Replace(goldenCase, "[1,2],\"data\":[1,2]", "[1,2],\"data\":[1]", 1)},
			},
			want: "has 1 values; its shape asks for 2",
		},
		"golden nonsense": {
			framework: "ONNX", files: []file{model, {"golden.json", "[]"}},
			want: refused + "golden.json is not of the form",
		},
		"data beside the model": {
			framework: "ONNX", files: []file{{"m.onnx", outside("w.bin")}, {"w.bin", "12345678"}}, runtime: "onnx",
			inside: []string{"m.onnx", "w.bin", "slipway_compiled.json"},
		},
		"data that is missing": {
			framework: "ONNX", files: []file{{"m.onnx", outside("w.bin")}}, want: "which is not beside the model",
		},
		"data too short": {
			framework: "ONNX", files: []file{{"m.onnx", outside("w.bin")}, {"w.bin", "1"}}, want: "is too short",
		},
		"data somewhere else": {
			framework: "ONNX", files: []file{{"m.onnx", outside("../../etc/passwd")}},
			want: "which is not beside the model",
		},
		"traversal": {
			framework: "ONNX", files: []file{{"../model.onnx", doubler()}},
			want: refused + "Unable to untar input model.Please confirm the model is a tar.gz file.",
		},
		"a name that is kept": {
			framework: "ONNX", files: []file{model, {"sagemaker_edge_manifest", "{}"}},
			want: "kept for the package itself",
		},
		"a name nobody can have": {
			framework: "ONNX", files: []file{model, {"ä.txt", ""}}, want: "can't be packaged",
		},
	}
}

func TestWhatCanBeCompiledIsAndTheRestFailsWithItsReason(t *testing.T) {
	b := start(t)
	n := 0
	for name, a := range attempts() {
		n++
		job := "job-" + strconv.Itoa(n)
		j := b.compile(job, domain.Compile{
			Input: b.put(job+".tar.gz", tarGz(t, a.files...)), Framework: a.framework, Shapes: a.shapes,
		})
		if a.want != "" {
			if j.State.Status != domain.Failed || !strings.Contains(j.State.Reason, a.want) {
				t.Errorf("%s: %s %q\nwant %q", name, j.State.Status, j.State.Reason, a.want)
			}
			continue
		}
		if j.State.Status != domain.Completed || j.Compile.Result.Runtime != a.runtime {
			t.Errorf("%s: %s %q", name, j.State.Status, j.State.Reason)
			continue
		}
		got := untar(t, b.get(j.Compile.Result.URI))
		for _, f := range a.inside {
			if _, ok := got[f]; !ok {
				t.Errorf("%s: no %s in the artifact", name, f)
			}
			delete(got, f)
		}
		if len(a.inside) > 0 && len(got) > 0 {
			t.Errorf("%s: more in the artifact: %v", name, got)
		}
		p := b.pack(job, domain.Pack{CompilationJob: job, ModelName: "m", ModelVersion: strconv.Itoa(n)})
		if p.State.Status != domain.Completed {
			t.Errorf("%s: packaging: %s", name, p.State.Reason)
			continue
		}
		if _, err := b.verifier().Unpack(
			t.Context(), bytes.NewReader(b.get(p.Pack.Result.URI)), dir(t.TempDir()),
		); err != nil {
			t.Errorf("%s: its package: %v", name, err)
		}
	}
}

func TestWhatIsNotThereIsSaidAsUsersKnowIt(t *testing.T) {
	b := start(t)
	for in, want := range map[string]string{
		"s3://models/none.tar.gz": "ClientError: InputConfiguration: S3 object does not " +
			"exist. Bucket: models, Key: none.tar.gz",
		"s3://nowhere/m.tar.gz": "ClientError: InputConfiguration: S3 object does not " +
			"exist. Bucket: nowhere, Key: m.tar.gz",
		b.put(
			"text", []byte("hello, this is not an archive"),
		): "ClientError: InputConfiguration: Unable to untar input model.Please confirm the model is a tar.gz file.",
	} {
		if j := b.compile("j"+newName(), domain.Compile{Input: in, Framework: "ONNX"}); !strings.HasPrefix(
			j.State.Reason, want,
		) {
			t.Errorf("%s: %q", in, j.State.Reason)
		}
	}
	in := b.put("m.tar.gz", tarGz(t, file{"m.onnx", doubler()}))
	j := b.compile("out", domain.Compile{Input: in, Framework: "ONNX", OutputAt: "s3://nowhere/x"})
	if j.State.Status != domain.Failed ||
		j.State.Reason != "ClientError: OutputConfiguration: S3 bucket does not exist. Bucket: nowhere" {
		t.Errorf("%+v", j.State)
	}
}

// newName is different each time.
func newName() string { return strings.ReplaceAll(time.Now().Format("150405.000000000"), ".", "-") }

// stuck makes fetching wait for its context.
func stuck(begun chan<- struct{}) func(*packaging.Config) {
	return func(c *packaging.Config) {
		c.Fetch = func(ctx context.Context, _ hosting.ModelData) (artifact.Model, error) {
			begun <- struct{}{}
			<-ctx.Done()
			return artifact.Model{}, ctx.Err()
		}
	}
}

func TestAJobInWorkStopsWhenItIsAsked(t *testing.T) {
	begun := make(chan struct{}, 1)
	b := start(t, stuck(begun))
	if _, err := b.CreateCompilation(
		t.Context(), scope, "c", domain.Compile{Input: "s3://models/x", OutputAt: "s3://models/", Target: linux}, nil,
		nil,
	); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := b.DeleteCompilation(t.Context(), scope, "c"); err == nil ||
		!strings.Contains(err.Error(), "stop it before") {
		t.Errorf("deleted while it runs: %v", err)
	}
	if err := b.Stop(t.Context(), domain.Compilation, scope, "c"); err != nil {
		t.Fatal(err)
	}
	if j := b.await(domain.Compilation, "c"); j.State.Status != domain.Stopped || j.State.Reason != "" {
		t.Errorf("%+v", j.State)
	}
}

func TestAJobThatTakesTooLongTimesOut(t *testing.T) {
	b := start(t, stuck(make(chan struct{}, 1)))
	j := b.compile("c", domain.Compile{Input: "s3://models/x", MaxTime: 50 * time.Millisecond})
	if j.State.Status != domain.Failed || j.State.Reason != domain.TimeOut {
		t.Errorf("%+v", j.State)
	}
}

func TestAnOptimisationWithoutTheToolFailsInsteadOfBeingSkipped(t *testing.T) {
	b := start(t, func(c *packaging.Config) {
		c.Optimizer = func() ([]string, error) { return []string{"/nowhere/slipway-onnx"}, nil }
	})
	in := b.put("m.tar.gz", tarGz(t, file{"m.onnx", doubler()}))
	j := b.compile("c", domain.Compile{Input: in, Framework: "ONNX", Optimize: "basic"})
	if j.State.Status != domain.Failed || !strings.Contains(j.State.Reason, "slipway-onnx was not found") {
		t.Errorf("%+v", j.State)
	}
}

func TestTheRealRuntimeOptimisesAModelAndTheRecordSaysSo(t *testing.T) {
	library := onnxtest.Library()
	if library == "" {
		onnxtest.Runtime(t) // it skips, or fails under CI
	}
	tool := filepath.Join(t.TempDir(), "slipway-onnx")
	if out, err := exec.Command(
		"go", "build", "-o", tool, "github.com/slipway-ml/slipway/cmd/slipway-onnx",
	).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("SLIPWAY_ONNXRUNTIME", library)
	b := start(t, func(c *packaging.Config) { c.Optimizer = func() ([]string, error) { return []string{tool}, nil } })
	unloadable(t, b)
	in := b.put("m.tar.gz", models.Archive("v2"))
	for _, level := range []string{"basic", "extended", "all"} {
		j := b.compile("c-"+level, domain.Compile{Input: in, Framework: "ONNX", Optimize: level})
		if j.State.Status != domain.Completed {
			t.Fatalf("%s: %+v", level, j.State)
		}
		if len(j.Compile.Result.Notes) != 1 ||
			!strings.HasPrefix(j.Compile.Result.Notes[0], "Optimised ("+level+") by onnxruntime 1.") {
			t.Errorf("%s: notes %q", level, j.Compile.Result.Notes)
		}
		if got := untar(t, b.get(j.Compile.Result.URI))["slipway_compiled.json"]; !strings.Contains(
			got, `"after_sha256"`,
		) ||
			!strings.Contains(got, `"tool": "onnxruntime `) {
			t.Errorf("%s: %s", level, got)
		}
	}
	broken := b.put("b.tar.gz", tarGz(t, file{"m.onnx", strings.ReplaceAll(doubler(), "Add", "Odd")}))
	if j := b.compile(
		"broken", domain.Compile{Input: broken, Framework: "ONNX", Optimize: "basic"},
	); j.State.Status != domain.Failed ||
		!strings.Contains(j.State.Reason, "could not be optimised: the model can't be optimised: ") {
		t.Errorf("%+v", j.State)
	}
}

// unloadable compiles models that are well formed and that the runtime refuses.
func unloadable(t *testing.T, b *bench) {
	t.Helper()
	const bad = "ClientError: InputConfiguration: Incompatible ONNX model: "
	for name, c := range map[string]struct{ from, to, want string }{
		"operator": {"\x03Add", "\x03Odd", bad + "No Op registered for Odd"},
		"version":  {"\x08\x08", "\x08\x63", bad + "Unsupported model IR version: 99"},
		"nothing":  {"", "", ""},
	} {
		in := b.put(name+".tar.gz", tarGz(t, file{"m.onnx", strings.Replace(doubler(), c.from, c.to, 1)}))
		j := b.compile("load-"+name, domain.Compile{Input: in, Framework: "ONNX"})
		if (j.State.Status == domain.Completed) != (c.want == "") || !strings.HasPrefix(j.State.Reason, c.want) {
			t.Errorf("%s: %+v", name, j.State)
		}
	}
}

func TestShapesThatGiveOneSymbolTwoSizesAreRefused(t *testing.T) {
	g := &ox.Graph{
		Name: "sum",
		Inputs: []ox.Value{
			{Name: "a", Type: ox.Float, Dims: []any{"n", 2}}, {Name: "b", Type: ox.Float, Dims: []any{"n", 2}},
		},
		Outputs: []ox.Value{{Name: "y", Type: ox.Float, Dims: []any{"n", 2}}},
		Nodes:   []ox.Node{{Op: "Add", Inputs: []string{"a", "b"}, Outputs: []string{"y"}}},
	}
	b := start(t)
	in := b.put("m.tar.gz", tarGz(t, file{"m.onnx", string(g.Marshal())}))
	for shapes, want := range map[string]string{
		`{"a":[4,2],"b":[3,2]}`: "DataInputConfig contradicts the model: n is 4 in input a and 3 in input b.",
		`{"a":[4,2],"b":[4,2]}`: "",
		`{"b":[4,2],"a":[7,2]}`: "contradicts the model: n is",
	} {
		j := b.compile("c-"+strconv.Itoa(len(want)), domain.Compile{Input: in, Framework: "ONNX", Shapes: shapes})
		if (j.State.Status == domain.Completed) != (want == "") || !strings.Contains(j.State.Reason, want) {
			t.Errorf("%s: %+v", shapes, j.State)
		}
	}
}
