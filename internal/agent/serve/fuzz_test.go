package serve

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
	"github.com/slipway-ml/slipway/internal/agent/proto/oip"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/codec"
)

// signatures are what models may say of themselves, from everything to nothing.
func signatures() []tensor.Signature {
	spec := func(name string, t tensor.Type, dims ...int64) tensor.Spec {
		s := tensor.Spec{Name: name, Type: t, Ranked: true}
		for _, d := range dims {
			s.Shape = append(s.Shape, tensor.Dim{Size: d})
		}
		return s
	}
	return []tensor.Signature{
		{Inputs: []tensor.Spec{spec("x", tensor.Float32, -1, 4)}},
		{Inputs: []tensor.Spec{spec("a", tensor.Bool, 2), spec("b", tensor.String, -1), spec("c", tensor.Int64)}},
		{Inputs: []tensor.Spec{spec("x", tensor.String, -1, 2), {Name: "y", Type: tensor.Float16}}},
		{},
	}
}

// sound checks what decoders promise of tensors that they let through.
func sound(t *testing.T, in []tensor.Tensor, g *tensor.Signature, err error) {
	t.Helper()
	if err != nil {
		if !errors.Is(err, fault.Invalid) && !errors.Is(err, fault.Limit) && !errors.Is(err, fault.Unsupported) {
			t.Fatalf("a bad request is answered by %v", err)
		}
		return
	}
	for i := range in {
		n, ok := tensor.Elements(in[i].Shape, maxElements)
		if !ok || n != int64(in[i].Len()) || in[i].Type == tensor.Invalid {
			t.Fatalf("tensor %d is of shape %v and %s, with %d elements", i, in[i].Shape, in[i].Type, in[i].Len())
		}
	}
	if len(g.Inputs) > 0 {
		if err := g.Check(in); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzEdgeManagerTensors(f *testing.F) {
	for _, shape := range [][]int32{nil, {1, 4}, {-1, 4}, {2}, {1 << 30, 1 << 30, 1 << 30}} {
		for d := range edgemanager.DataType_name {
			m := &edgemanager.TensorMetadata{Name: []byte("x"), DataType: edgemanager.DataType(d), Shape: shape}
			b, err := proto.Marshal(&edgemanager.PredictRequest{Tensors: []*edgemanager.Tensor{
				{TensorMetadata: m, Data: &edgemanager.Tensor_ByteData{ByteData: make([]byte, 16)}},
				{
					Data: &edgemanager.Tensor_SharedMemoryHandle{
						SharedMemoryHandle: &edgemanager.SharedMemoryHandle{SegmentId: 1 << 40},
					},
				},
			}})
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, g := range signatures() {
			var r edgemanager.PredictRequest
			if proto.Unmarshal(b, &r) != nil {
				return
			}
			s := source{who: &Caller{Socket: true, UID: 1 << 30}, left: 1 << 20}
			in, err := s.decode(r.Tensors, &g)
			sound(t, in, &g, err)
			if err == nil {
				encode(in)
			}
		}
	})
}

func FuzzInferenceTensors(f *testing.F) {
	for _, datatype := range []string{"FP32", "BYTES", "BOOL", "INT8", "FP16", "UINT64", "x"} {
		in := &oip.ModelInferRequest_InferInputTensor{Name: "x", Datatype: datatype, Shape: []int64{1, 4}}
		typed := proto.CloneOf(in)
		typed.Contents = &oip.InferTensorContents{
			Fp32Contents: make([]float32, 4), IntContents: make([]int32, 4), BytesContents: make([][]byte, 4),
		}
		for _, r := range []*oip.ModelInferRequest{
			{Inputs: []*oip.ModelInferRequest_InferInputTensor{in}, RawInputContents: [][]byte{make([]byte, 16)}},
			{Inputs: []*oip.ModelInferRequest_InferInputTensor{typed}},
		} {
			b, err := proto.Marshal(r)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, g := range signatures() {
			var r oip.ModelInferRequest
			if proto.Unmarshal(b, &r) != nil {
				return
			}
			in, err := decodeOIP(&r, &g)
			sound(t, in, &g, err)
			if err != nil {
				continue
			}
			for _, raw := range []bool{false, true} {
				var resp oip.ModelInferResponse
				encodeOIP(&resp, in, raw)
				if _, err := proto.Marshal(&resp); err != nil {
					t.Fatalf("the answer can't be sent: %v", err)
				}
			}
		}
	})
}

func FuzzAnnouncedTensors(f *testing.F) {
	f.Add([]byte(`{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}],"outputs":[{"name":"x"}]}`))
	f.Add(
		[]byte(
			`{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["a"]},{"name":"x","shape":[1],` +
				`"datatype":"BOOL","data":[true]}]}`,
		),
	)
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := announced(b)
		if err != nil {
			sound(t, nil, nil, err)
			return
		}
		r, err := codec.DecodeOIP(b, len(b), g)
		sound(t, r.Inputs, g, err)
		if err != nil {
			return
		}
		outs, err := arranged(&r, g, r.Inputs)
		if err != nil {
			sound(t, nil, nil, err)
			return
		}
		a, err := codec.Encode(nil, codec.OIP, codec.Media{}, &r, outs, "m")
		if err != nil {
			t.Fatal(err)
		}
		withVersion(&a, "2")
	})
}
