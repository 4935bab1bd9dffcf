package codec_test

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/codec"
)

func everyType() []tensor.Tensor {
	var list []tensor.Tensor
	for typ := tensor.Bool; typ <= tensor.String; typ++ {
		b := tensor.NewBuilder(typ, 2)
		for _, text := range []string{"0", "1"} {
			if err := b.AppendText([]byte(text)); err != nil {
				panic(err)
			}
		}
		list = append(list, b.Tensor("t "+typ.String(), []int64{2, 1}))
	}
	inf := tensor.NewBuilder(tensor.Float32, 2)
	inf.AppendFloat(math.Inf(-1))
	inf.AppendFloat(math.NaN())
	return append(list, inf.Tensor("inf", []int64{2}), tensor.Tensor{
		Name: "none", Type: tensor.Int8, Shape: []int64{0, 3},
	})
}

func TestTensorsReadBackAsTheyWereWritten(t *testing.T) {
	want := everyType()
	got, err := codec.DecodeOIPTensors(codec.AppendOIPTensors(nil, want))
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
}

func TestAnAnswerIsReadInJSONAndInBinary(t *testing.T) {
	want := everyType()
	for _, binary := range []bool{false, true} {
		req := &codec.Request{Form: codec.OIP, Binary: binary}
		a, err := codec.Encode(nil, codec.OIP, codec.Media{}, req, want, "m")
		if err != nil {
			t.Fatal(err)
		}
		size := a.JSONSize
		if !binary {
			size = len(a.Body)
		}
		got, err := codec.DecodeOIPAnswer(a.Body, size)
		if len(got) == len(want) && got[len(got)-1].Data != nil {
			got[len(got)-1].Data = nil // an empty slice says the same
		}
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("binary %v: %v\n%s", binary, err, d)
		}
	}
}

func TestARequestHeadIsWhatTheServerReads(t *testing.T) {
	sig := tensor.Signature{Inputs: []tensor.Spec{{Name: "a", Type: tensor.Float32}, {Name: "s", Type: tensor.String}}}
	in := []tensor.Tensor{
		{Name: "a", Type: tensor.Float32, Shape: []int64{1, 2}, Data: []byte{0, 0, 128, 63, 0, 0, 0, 64}},
		{Name: "s", Type: tensor.String, Shape: []int64{2}, Strings: []string{"", "x"}},
	}
	for _, binary := range []bool{false, true} {
		body := codec.AppendOIPHead(nil, in, binary)
		size := len(body)
		if binary {
			for i := range in {
				body = codec.AppendOIPData(body, &in[i])
			}
		}
		r, err := codec.DecodeOIP(body, size, &sig)
		if d := cmp.Diff(in, r.Inputs); err != nil || d != "" || r.Binary != binary {
			t.Errorf("binary %v: %v\n%s", binary, err, d)
		}
	}
}

func TestAMalformedAnswerIsRefused(t *testing.T) {
	for name, body := range map[string]string{
		"no JSON":          `{`,
		"no outputs":       `{"model_name":"m"}`,
		"outputs twice":    `{"outputs":[],"outputs":[]}`,
		"outputs no array": `{"outputs":{}}`,
		"an unknown type":  `{"outputs":[{"name":"a","datatype":"FP8","shape":[1],"data":[1]}]}`,
		"no shape":         `{"outputs":[{"name":"a","datatype":"FP32","data":[1]}]}`,
		"a negative shape": `{"outputs":[{"name":"a","datatype":"FP32","shape":[-1],"data":[1]}]}`,
		"a vast shape":     `{"outputs":[{"name":"a","datatype":"FP32","shape":[9999999999,9999999999],"data":[1]}]}`,
		"too few elements": `{"outputs":[{"name":"a","datatype":"FP32","shape":[2],"data":[1]}]}`,
		"no elements":      `{"outputs":[{"name":"a","datatype":"FP32","shape":[2],"data":[]}]}`,
		"no data":          `{"outputs":[{"name":"a","datatype":"FP32","shape":[0]}]}`,
		"binary that is away": `{"outputs":[{"name":"a","datatype":"FP32","shape":[1],` +
			`"parameters":{"binary_data_size":4}}]}`,
	} {
		if outs, err := codec.DecodeOIPAnswer([]byte(body), len(body)); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, %v", name, outs, err)
		}
	}
	if _, err := codec.DecodeOIPAnswer([]byte("{}"), 3); !errors.Is(err, fault.Invalid) {
		t.Errorf("a JSON part longer than the body: %v", err)
	}
}

func FuzzDecodeOIPAnswer(f *testing.F) {
	a, err := codec.Encode(nil, codec.OIP, codec.Media{}, &codec.Request{Form: codec.OIP, Binary: true}, everyType(),
		"m")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(a.Body, a.JSONSize)
	f.Add([]byte(`{"outputs":[{"name":"a","datatype":"BYTES","shape":[0,2],"data":[[]]}]}`), 70)
	f.Fuzz(func(t *testing.T, body []byte, size int) {
		outs, err := codec.DecodeOIPAnswer(body, size)
		if err != nil {
			return
		}
		for i := range outs {
			if n, ok := tensor.Elements(outs[i].Shape, 1<<40); !ok || n != int64(outs[i].Len()) {
				t.Fatalf("%+v", outs[i])
			}
		}
	})
}
