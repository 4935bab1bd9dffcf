package serve_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/slipway-ml/slipway/internal/agent/capture"
	em "github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

func meta(name string, typ em.DataType, shape ...int32) *em.TensorMetadata {
	return &em.TensorMetadata{Name: []byte(name), DataType: typ, Shape: shape}
}

func value(m *em.TensorMetadata, data []byte) *em.Tensor {
	return &em.Tensor{TensorMetadata: m, Data: &em.Tensor_ByteData{ByteData: data}}
}

func TestPredictTakesWhateverMetadataLeavesOut(t *testing.T) {
	w := start(t, nil)
	const f32 = em.DataType_FLOAT32
	for name, m := range map[string]*em.TensorMetadata{
		"everything said":               meta(inputName, f32, 2, 4),
		"no metadata":                   nil,
		"a name":                        meta(inputName, 0),
		"a type":                        meta("", f32),
		"a shape without a name":        meta("", f32, 2, 4),
		"the shape that ListModels has": meta(inputName, f32, -1, 4),
	} {
		t.Run(name, func(t *testing.T) {
			r, err := w.agent.Predict(t.Context(), &em.PredictRequest{
				Name: "double", Tensors: []*em.Tensor{value(m, floats(1, 2, 3, 4, 5, 6, 7, 8))},
			})
			if err != nil {
				t.Fatal(err)
			}
			out := r.Tensors[0]
			if !bytes.Equal(out.GetByteData(), floats(2, 4, 6, 8, 10, 12, 14, 16)) {
				t.Errorf("got % x", out.GetByteData())
			}
			o := out.TensorMetadata
			if string(o.Name) != "doubled" || o.DataType != f32 || len(o.Shape) != 2 || o.Shape[0] != 2 ||
				o.Shape[1] != 4 {
				t.Errorf("got %v", o)
			}
		})
	}
}

// refused is a request that Predict must refuse, and what it must say.
type refused struct {
	model   string
	tensors []*em.Tensor
	code    codes.Code
	says    string
}

func (w *world) refuses(t *testing.T, cases map[string]refused) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := w.agent.Predict(t.Context(), &em.PredictRequest{Name: c.model, Tensors: c.tensors})
			if says := wantCode(t, err, c.code); !strings.Contains(says, c.says) {
				t.Errorf("got  %s\nwant %s", says, c.says)
			}
		})
	}
}

func TestPredictSaysWhichInputIsWrongAndWhatWasExpected(t *testing.T) {
	const f32 = em.DataType_FLOAT32
	start(t, nil).refuses(t, map[string]refused{
		"another type": {
			"double",
			[]*em.Tensor{value(meta(inputName, em.DataType_FLOAT64, 1, 4), make([]byte, 32))},
			codes.InvalidArgument, `input "donn\xe9es": expected shape [n, 4] of FLOAT, got [1, 4] of FLOAT64`,
		},
		"another width": {
			"double",
			[]*em.Tensor{value(meta(inputName, f32, 1, 5), make([]byte, 20))},
			codes.InvalidArgument, `input "donn\xe9es": expected shape [n, 4] of FLOAT, got [1, 5]`,
		},
		"fewer bytes than the shape": {
			"double",
			[]*em.Tensor{value(meta(inputName, f32, 2, 4), make([]byte, 31))},
			codes.InvalidArgument, `input "donn\xe9es": the shape [2, 4] of FLOAT takes 32 bytes, got 31`,
		},
		"no whole number of rows": {
			"double",
			[]*em.Tensor{value(nil, make([]byte, 20))},
			codes.InvalidArgument,
			`input "donn\xe9es": 20 bytes can't be of shape [-1, 4]: a whole number of 16 bytes is expected`,
		},
		"nothing": {
			"double",
			[]*em.Tensor{value(nil, nil)},
			codes.InvalidArgument,
			`input "donn\xe9es": 0 bytes can't be of shape [-1, 4]: a whole number of 16 bytes is expected`,
		},
	})
}

func TestPredictRefusesTensorsThatItCannotPlace(t *testing.T) {
	const f32 = em.DataType_FLOAT32
	start(t, nil).refuses(t, map[string]refused{
		"no tensor": {
			"double", nil, codes.InvalidArgument, `input "donn\xe9es" is missing: expected shape [n, 4] of FLOAT`,
		},
		"two tensors": {
			"double",
			[]*em.Tensor{value(nil, make([]byte, 16)), value(nil, make([]byte, 16))},
			codes.InvalidArgument, "tensor 1 has no name, and the model takes 1 inputs",
		},
		"one twice": {
			"double",
			[]*em.Tensor{value(nil, make([]byte, 16)), value(meta(inputName, 0), make([]byte, 16))},
			codes.InvalidArgument, `the input "donn\xe9es" comes twice`,
		},
		"another name": {
			"double",
			[]*em.Tensor{value(meta("image", f32, 1, 4), make([]byte, 16))},
			codes.InvalidArgument, `the model has no input "image"; it takes "donn\xe9es"`,
		},
		"a negative dimension": {
			"double",
			[]*em.Tensor{value(meta(inputName, f32, -2, 4), make([]byte, 16))},
			codes.InvalidArgument, `input "donn\xe9es": the shape [-2, 4] leaves`,
		},
		"dimensions that overflow": {
			"double",
			[]*em.Tensor{value(meta(inputName, f32, 1<<31-1, 1<<31-1), make([]byte, 16))},
			codes.InvalidArgument, "is too large",
		},
		"many dimensions": {
			"double",
			[]*em.Tensor{value(meta(inputName, f32, make([]int32, 100_000)...), nil)},
			codes.InvalidArgument, "got more than 16 dimensions",
		},
		"no metadata for a model that says nothing": {
			"any",
			[]*em.Tensor{value(nil, make([]byte, 16))},
			codes.InvalidArgument, "tensor 0 needs its tensor_metadata",
		},
		"an unknown type": {
			"any",
			[]*em.Tensor{value(meta("x", 99, 4), make([]byte, 4))},
			codes.InvalidArgument, `input "x": the data type 99 is unknown`,
		},
		"too many tensors": {
			"any", slices.Repeat([]*em.Tensor{{}}, 257), codes.InvalidArgument,
			"257 tensors are more than the limit of 256",
		},
		"no such model": {"other", nil, codes.NotFound, `no model is loaded under the name "other"`},
	})
}

func TestTypesThatTheProtocolLacksTravelUnderOneOfTheirSize(t *testing.T) {
	w := start(t, nil)
	spec := func(name string, typ tensor.Type) tensor.Spec {
		return tensor.Spec{Name: name, Type: typ, Ranked: true, Shape: []tensor.Dim{{Size: -1}}}
	}
	sig := tensor.Signature{
		Inputs: []tensor.Spec{spec("bool", tensor.Bool), spec("uint64", tensor.Uint64), spec("string", tensor.String)},
	}
	w.models.Swap("mixed", load(echo{sig}, "1"))
	words := []byte("\x02\x00\x00\x00no\x03\x00\x00\x00yes")
	r, err := w.agent.Predict(t.Context(), &em.PredictRequest{Name: "mixed", Tensors: []*em.Tensor{
		value(meta("string", em.DataType_UINT8, int32(len(words))), words),
		value(meta("bool", em.DataType_UINT8, 3), []byte{0, 1, 7}),
		value(meta("uint64", em.DataType_INT64, 1), bytes.Repeat([]byte{0xff}, 8)),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []*em.Tensor{
		value(meta("bool", em.DataType_UINT8, 3), []byte{0, 1, 1}),
		value(meta("uint64", em.DataType_INT64, 1), bytes.Repeat([]byte{0xff}, 8)),
		value(meta("string", em.DataType_UINT8, int32(len(words))), words),
	} {
		if got := r.Tensors[i]; got.String() != want.String() {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	_, err = w.agent.Predict(t.Context(), &em.PredictRequest{
		Name: "mixed", Tensors: []*em.Tensor{value(meta("string", 0, 5), []byte("\xff\xff\xff\xff!"))},
	})
	if says := wantCode(t, err, codes.InvalidArgument); !strings.Contains(says, `input "string": string 0 is cut off`) {
		t.Error(says)
	}
}

func TestListAndDescribeTellOfEveryModelWhateverItsNamesAre(t *testing.T) {
	w := start(t, nil)
	list, err := w.agent.ListModels(t.Context(), &em.ListModelsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Models) != 2 || list.Models[0].Name != "any" || list.Models[1].Name != "double" ||
		list.Models[1].Url != "/models/\uFFFD" {
		t.Fatalf("got %v", list)
	}
	in := list.Models[1].InputTensorMetadatas
	if len(in) != 1 || string(in[0].Name) != inputName || in[0].DataType != em.DataType_FLOAT32 ||
		len(in[0].Shape) != 2 || in[0].Shape[0] != -1 {
		t.Errorf("its input is %v", in)
	}
	one, err := w.agent.DescribeModel(t.Context(), &em.DescribeModelRequest{Name: "double"})
	if err != nil || one.Model.String() != list.Models[1].String() {
		t.Errorf("described as %v, %v", one, err)
	}
	_, err = w.agent.DescribeModel(t.Context(), &em.DescribeModelRequest{Name: "other"})
	wantCode(t, err, codes.NotFound)
}

func TestApplicationsLoadAndUnloadModels(t *testing.T) {
	w := start(t, nil)
	pack := func(what string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "what"), []byte(what), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	good := pack("good")
	r, err := w.agent.LoadModel(t.Context(), &em.LoadModelRequest{Name: "mine-1", Url: good})
	if err != nil {
		t.Fatal(err)
	}
	if r.Model.Name != "mine-1" || r.Model.Url != good || len(r.Model.InputTensorMetadatas) != 1 {
		t.Errorf("loaded %v", r.Model)
	}
	if _, err := w.agent.Predict(t.Context(),
		&em.PredictRequest{Name: "mine-1", Tensors: []*em.Tensor{value(nil, make([]byte, 16))}}); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		as, url string
		code    codes.Code
		says    string
	}{
		"a name in use":        {"mine-1", good, codes.AlreadyExists, `the name "mine-1" is in use`},
		"a bad name":           {"-mine", good, codes.InvalidArgument, "must be letters, digits and inner hyphens"},
		"no name":              {"", good, codes.InvalidArgument, "must be letters"},
		"no folder":            {"other", filepath.Join(good, "none"), codes.NotFound, "there is no folder"},
		"a file":               {"other", filepath.Join(good, "what"), codes.NotFound, "there is no folder"},
		"somewhere else":       {"other", "s3://bucket/key", codes.NotFound, "there is no folder"},
		"a folder without one": {"other", pack("gone"), codes.NotFound, "not exist"},
		"one that is too big":  {"other", pack("huge"), codes.ResourceExhausted, "not enough memory"},
		"a forged one": {
			"other", pack("forged"), codes.FailedPrecondition, "the signature of the manifest is not by a root",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.agent.LoadModel(t.Context(), &em.LoadModelRequest{Name: c.as, Url: c.url})
			if says := wantCode(t, err, c.code); !strings.Contains(says, c.says) {
				t.Errorf("got %s", says)
			}
		})
	}
	if _, err := w.agent.UnLoadModel(t.Context(), &em.UnLoadModelRequest{Name: "mine-1"}); err != nil {
		t.Fatal(err)
	}
	_, err = w.agent.UnLoadModel(t.Context(), &em.UnLoadModelRequest{Name: "mine-1"})
	wantCode(t, err, codes.NotFound)
	_, err = w.agent.Predict(t.Context(), &em.PredictRequest{Name: "mine-1"})
	wantCode(t, err, codes.NotFound)
	if _, err := w.agent.LoadModel(t.Context(),
		&em.LoadModelRequest{Name: "mine-1", Url: "file://" + good}); err != nil {
		t.Error("the name is not free again:", err)
	}
}

func TestCapturedDataArrivesWhole(t *testing.T) {
	w := start(t, nil)
	at := time.Now().Add(-time.Minute)
	_, err := w.agent.CaptureData(t.Context(), &em.CaptureDataRequest{
		ModelName: "double", CaptureId: "capture1700000000",
		InferenceTimestamp: &em.Timestamp{Seconds: at.Unix(), Nanos: 5},
		InputTensors:       []*em.Tensor{value(meta("x", em.DataType_INT16, 2), []byte{1, 0, 2, 0})},
		OutputTensors:      []*em.Tensor{value(meta("y", em.DataType_FLOAT32, 1), floats(3))},
		Inputs: []*em.AuxilaryData{
			{Name: "jpg", Encoding: em.Encoding_NONE, Data: &em.AuxilaryData_ByteData{ByteData: []byte("\xff\xd8")}},
		},
		Outputs: []*em.AuxilaryData{
			{Name: "json", Encoding: em.Encoding_JSON, Data: &em.AuxilaryData_ByteData{ByteData: []byte("{}")}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := w.kept.got["capture1700000000"]
	if got.ModelName != "double" || got.ModelVersion != "7" || !got.Time.Equal(time.Unix(at.Unix(), 5)) {
		t.Errorf("kept %+v", got)
	}
	if x := got.Inputs[0]; x.Name != "x" || x.Type != tensor.Int16 || !bytes.Equal(x.Data, []byte{1, 0, 2, 0}) {
		t.Errorf("kept the input %+v", x)
	}
	if got.Outputs[0].Name != "y" || string(got.AuxInputs[0].Data) != "\xff\xd8" ||
		got.AuxInputs[0].Encoding != capture.None || got.AuxOutputs[0].Encoding != capture.JSON {
		t.Errorf("kept %+v", got)
	}
	st, err := w.agent.GetCaptureDataStatus(t.Context(), &em.GetCaptureDataStatusRequest{
		CaptureId: "capture1700000000",
	})
	if err != nil || st.Status != em.CaptureDataStatus_SUCCESS {
		t.Errorf("got %v, %v", st, err)
	}
	_, err = w.agent.GetCaptureDataStatus(t.Context(), &em.GetCaptureDataStatusRequest{CaptureId: "other"})
	wantCode(t, err, codes.NotFound)
}

func TestCaptureRefusesWithTheStatusOfItsReason(t *testing.T) {
	w := start(t, nil)
	for name, c := range map[string]struct {
		change func(r *em.CaptureDataRequest)
		fail   error
		code   codes.Code
	}{
		"an unknown model": {func(r *em.CaptureDataRequest) { r.ModelName = "other" }, nil, codes.NotFound},
		"the future": {
			func(r *em.CaptureDataRequest) { r.InferenceTimestamp.Seconds = time.Now().Unix() + 60 }, nil,
			codes.OutOfRange,
		},
		"no time at all": {
			func(r *em.CaptureDataRequest) { r.InferenceTimestamp.Nanos = -1 }, nil, codes.InvalidArgument,
		},
		"a tensor cut short": {
			func(r *em.CaptureDataRequest) { r.InputTensors[0].Data = nil }, nil, codes.InvalidArgument,
		},
		"an unknown encoding": {
			func(r *em.CaptureDataRequest) { r.Inputs = []*em.AuxilaryData{{Encoding: 9}} }, nil, codes.InvalidArgument,
		},
		"an id that was there": {nil, capture.ErrDuplicate, codes.AlreadyExists},
		"a full buffer":        {nil, capture.ErrFull, codes.ResourceExhausted},
		"no network":           {nil, capture.ErrOffline, codes.FailedPrecondition},
	} {
		t.Run(name, func(t *testing.T) {
			r := &em.CaptureDataRequest{
				ModelName: "double", CaptureId: "a", InferenceTimestamp: &em.Timestamp{Seconds: 1},
				InputTensors: []*em.Tensor{value(meta("x", em.DataType_INT16, 1), []byte{1, 0})},
			}
			if c.change != nil {
				c.change(r)
			}
			w.kept.fail = c.fail
			_, err := w.agent.CaptureData(t.Context(), r)
			wantCode(t, err, c.code)
		})
	}
}
